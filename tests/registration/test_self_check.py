"""A registration whose parts contradict each other is refused by name, from a file too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.registration import Registration, Shares
from registration.residuals import RARE
from registration.sources import shares_percent
from tests.registered import registered, stated_fiducials

POINT = np.array([40.0, -30.0, -320.0])
ENTRY = POINT + np.array([10.0, -80.0, 20.0])
T = Transform.of("robot", "ct", Rotation.from_rotvec([0.4, 1.0, -2.0]).as_matrix(), (400.0, -80.0, 900.0))


def _sound(**other: Any) -> Registration:
    root = np.random.default_rng(2).normal(size=(6, 6)) * np.array([0.15] * 3 + [1e-3] * 3)[:, None]
    sources = {"tracker": root @ root.T, "pivot": np.zeros((6, 6)), "arm": np.diag([0.03] * 3 + [0.0] * 3)}
    places = [T.points(POINT), T.points(ENTRY)]
    tumour, entry = (shares_percent(sources, places[0], p) for p in places)
    return registered(
        T, sum(sources.values()), POINT, worst_entry_ct_mm=ENTRY, covariance_sources=sources, limit_p95_mm=3.0,
        shares=Shares(tumour=tumour, entry_region=entry), misfit_chance=RARE, fre_chance=0.3, **other,
    )  # fmt: skip


def _set(*keys: str | int, to: Any) -> Callable[[Any], None]:
    def edit(value: Any) -> None:
        for key in keys[:-1]:
            value = value[key]
        value[keys[-1]] = to(value[keys[-1]]) if callable(to) else to

    return edit


def _load(edit: Callable[[Any], None], folder: Path, found: Registration) -> Registration:
    value = json.loads(found.canonical_json())
    edit(value)
    path = folder / "registration.json"
    path.write_text(json.dumps(value))
    return Registration.load(path)


def _negated(matrix: Any) -> Any:
    return (-np.array(matrix)).tolist()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_set("tre_p95_mm", "tumour", to=0.01), r"tre_p95_mm\.tumour is 0\.01 mm, but the covariance gives"),
        (_set("tre_p95_mm", "entry_region", to=50.0), r"tre_p95_mm\.entry_region is 50 mm"),
        (_set("tre_p95_mm", "tumour", to=-1.0), "tumour.* greater than or equal to 0"),
        (_set("tre_p95_mm", "tumour", to=float("nan")), "tumour.* finite"),
        (_set("fre_mm", to=float("nan")), "fre_mm.* finite"),
        (_set("fre_mm", to=-0.1), "fre_mm.* greater than or equal to 0"),
        (_set("fre_chance", to=1.5), "fre_chance.* less than or equal to 1"),
        (_set("covariance", to=_negated), "covariance has a negative variance"),
        (_set("covariance", 4, 4, to=lambda v: -v), "covariance has a negative variance"),
        (_set("covariance", 0, 5, to=9.0), "covariance is not symmetric"),
        (_set("covariance", to=lambda m: (4.0 * np.array(m)).tolist()), "covariance is not the sum of covariance_so"),
        (_set("covariance", 0, 0, to=float("nan")), "covariance.* NaN"),
        (_set("covariance_sources", to={}), "covariance is not the sum"),
        (_set("covariance_sources", "arm", to=np.zeros((6, 6)).tolist()), "covariance is not the sum"),
        (_set("covariance_sources", "tracker", to=_negated), r"covariance_sources\.tracker has a negative variance"),
        (_set("covariance_point_ct_mm", 1, to=float("inf")), "covariance_point_ct_mm.* infinity"),
        (_set("covariance_point_ct_mm", 1, to=500.0), "but the covariance gives"),
        (_set("worst_entry_ct_mm", 2, to=0.0), r"tre_p95_mm\.entry_region is"),
        (_set("shares", "tumour", "arm", to=-3.0), r"shares\.tumour are not those of covariance_sources"),
        (_set("shares", "entry_region", "arm", to=float("nan")), r"shares\.entry_region are not those"),
        (_set("shares", "entry_region", to={}), r"shares\.entry_region are not those"),
        (_set("T_robot_ct", 0, to=_negated), "T_robot_ct"),
        (_set("limit_p95_mm", to=float("nan")), "limit_p95_mm.* finite"),
        (_set("limit_p95_mm", to=0.2), r"accepted, but tre_p95_mm\.tumour .* exceeds limit_p95_mm 0\.2 mm"),
        (_set("suspects", to=["F1"]), "accepted, but F1 is a suspect"),
        (_set("suspects", to=["F9"]), "suspects names what is no fiducial"),
        (_set("misfit_chance", to=0.9 * RARE), r"accepted, but misfit_chance 0\.0009 is below 0\.001"),
        (_set("fiducials", 1, "chance", to=0.9 * RARE / 5), r"accepted, but a fiducial's place has chance 0\.00018"),
        (_set("fiducials", to=lambda f: f[:3]), "accepted, but 3 fiducials are tracked, limit 4"),
        (_set("fiducials", 2, "hidden_shift_mm", to=None), "accepted, but nothing checks fiducial F3"),
        (_set("fiducials", 2, "hidden_shift_mm", to=3.1), "accepted, but nothing checks fiducial F3 within .* 3 mm"),
        (_set("fiducials", 2, "id", to="F1"), "two fiducials have one id"),
        (_set("fiducials", 2, "tracked", to=False), "fiducial F3 has a residual and was not tracked"),
        (_set("fiducials", 2, "residual_mm", to=-0.2), "residual_mm.* greater than or equal to 0"),
        (_set("fiducials", 2, "covariance_mm2", to=_negated), "covariance_mm2 of F3 has a negative variance"),
    ],
)
def test_a_file_that_was_changed_is_refused(edit: Callable[[Any], None], words: str, tmp_path: Path) -> None:
    """The part that cannot be true is named, with file and remedy."""
    with pytest.raises(InvalidInputError, match=words) as refused:
        _load(edit, tmp_path, _sound())
    assert refused.value.file == str(tmp_path / "registration.json") and refused.value.remedy


def test_what_is_sound_loads_as_it_was(tmp_path: Path) -> None:
    """Accepted or refused; at the limit of the chances; with a fiducial that was not tracked, in a scene anywhere."""
    for found in (_sound(), _sound(accepted=False), _sound(fiducials=stated_fiducials(untracked=(3,)))):
        assert _load(lambda _: None, tmp_path, found).sha256() == found.sha256()


def test_what_was_refused_may_break_the_limits(tmp_path: Path) -> None:
    """Suspects, a rare misfit, too few, unchecked and too large an error are what refusals are made of."""
    fiducials = [f.model_copy(update={"hidden_shift_mm": None}) for f in stated_fiducials()[:3]]
    found = _sound(accepted=False, fiducials=tuple(fiducials), suspects=("F1",))
    assert not _load(_set("misfit_chance", to=0.0), tmp_path, found).accepted
    assert not _load(_set("limit_p95_mm", to=0.1), tmp_path, found).accepted


def test_a_rotation_beyond_prediction_is_not_accepted() -> None:
    """The limit of the first order holds in the value as in the judgement."""
    wide = np.diag([1e-4] * 3 + [0.003] * 3)
    assert not registered(T, wide, POINT, accepted=False).accepted
    with pytest.raises(InvalidInputError, match="rotation is too unsure"):
        registered(T, wide, POINT)


def test_nothing_uncertain_is_no_contradiction() -> None:
    """Zeros are a covariance."""
    nothing = np.zeros((6, 6))
    assert registered(T, nothing, POINT, shares=Shares(tumour={"tracker": 0.0}, entry_region={"tracker": 0.0})).accepted
