"""The phantoms for planning: valid cases, the same bytes again, and what each is named for really holds."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from guidance.case.case import Case
from guidance.case.checks import check_case
from guidance.case.policy import PolicyKind
from guidance.case.target import entry_region_mm, target_centroid_mm, target_points_mm
from guidance.planning.refusal.infeasible import target_diameter_mm
from guidance.procedure.interlocks import deepest_mm
from guidance.scene import BipolarNeedle, SuiteDescription
from kinematics.errors import InvalidInputError
from sim.phantom import MONOPOLAR, make_phantom
from sim.planning_phantoms import PLANNING_PHANTOMS, planning_phantom

SEEDS = (0, 5)
VOXEL_MM = 3.4
"""The diagonal of a voxel: what touches may be measured as far apart as this, centre to centre."""


@cache
def _made(name: str, seed: int) -> Case:
    return planning_phantom(seed, name)


def _mask(case: Case, name: str) -> np.ndarray:
    return np.asarray(case.labels.voxels == case.description.structure(name).label)


def _apart_mm(case: Case, name: str) -> float:
    """Return the least distance [mm] of the tumour's voxels to a structure's, centre to centre."""
    far = ndimage.distance_transform_edt(~_mask(case, name), sampling=case.labels.spacing_mm)
    return float(far[_mask(case, "tumour")].min())


def _beside(case: Case, name: str) -> np.ndarray:
    """Return the unit vector from the tumour's centre to the part of a structure beside it."""
    off = case.labels.points_mm(np.argwhere(_mask(case, name))) - target_centroid_mm(case)
    towards = off[np.abs(off[:, 0]) < 8.0].mean(axis=0)
    return np.asarray(towards / np.linalg.norm(towards))


def _rays(within_deg: float, count: int = 500) -> np.ndarray:
    """Return even unit vectors within an angle of straight anterior, frame `ct`, shape (n, 3)."""
    n = np.arange(count) + 0.5
    height, turn = 1.0 - n / count * (1.0 - np.cos(np.radians(within_deg))), n * np.pi * (3.0 - np.sqrt(5.0))
    across = np.sqrt(1.0 - height**2)
    return np.stack([across * np.cos(turn), -height, across * np.sin(turn)], axis=-1)


def _crossed(case: Case, rays: np.ndarray, names: list[str], length_mm: float = 130.0) -> np.ndarray:
    """Tell which rays from the tumour's centre meet one of the structures."""
    along = target_centroid_mm(case) + np.arange(0.0, length_mm, 0.8)[None, :, None] * rays[:, None]
    index = np.rint(case.labels.indices(along)).astype(int)
    inside = ((index >= 0) & (index < case.labels.shape)).all(axis=-1)
    index = np.where(inside[..., None], index, 0)
    numbers = [case.description.structure(n).label for n in names]
    return np.asarray((np.isin(case.labels.voxels[tuple(np.moveaxis(index, -1, 0))], numbers) & inside).any(axis=1))


def _forbidden(case: Case) -> list[str]:
    return [s.name for s in case.description.structures if s.policy.kind is PolicyKind.FORBIDDEN]


@pytest.mark.parametrize("name", PLANNING_PHANTOMS)
def test_each_is_a_valid_case_and_the_same_again(name: str) -> None:
    """It passes the checks of a case, is known by its name, and repeats to the bit; another seed is another patient."""
    case = _made(name, 0)
    check_case(case)
    assert case.description.name == ("phantom-0" if name == "usual" else f"phantom-0-{name}")
    again = planning_phantom(0, name)
    for one, two in ((case.ct, again.ct), (case.labels, again.labels), (case.body, again.body)):
        assert one.sha256() == two.sha256()
    assert again.description.sha256() == case.description.sha256()
    assert (case.description.ct_sha256, case.description.labels_sha256, case.description.body_sha256) == (
        case.ct.sha256(),
        case.labels.sha256(),
        case.body.sha256(),
    )
    assert _made(name, 5).labels.sha256() != case.labels.sha256()


def test_what_is_expected_is_said_in_words() -> None:
    """Four are impossible, each for a reason; the others should have a plan."""
    assert {name: p.expected for name, p in PLANNING_PHANTOMS.items() if p.why} == {
        "bowel-all-round": "no plan: no corridor",
        "over-50-mm": "no plan: 50.0 mm or 50 mm",
        "skin-cut": "no plan: skin",
        "unknown-in-front": "no plan: unknown or unlabelled",
    }
    assert sum(p.expected == "plan" for p in PLANNING_PHANTOMS.values()) == 8


def test_the_usual_one_is_the_phantom_that_there_was() -> None:
    """By its own name too, and with another device."""
    case = planning_phantom(3, "usual", BipolarNeedle())
    assert case.description.sha256() == make_phantom(3, device=BipolarNeedle()).description.sha256()
    assert planning_phantom(3, "nodule").description.sha256() == make_phantom(3, tumour="nodule").description.sha256()


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_stands_in_front_of_the_open_one(seed: int) -> None:
    """No way within 45° of anterior meets anything forbidden, and the tumour is small."""
    case = _made("open", seed)
    assert not _crossed(case, _rays(45.0), [n for n in _forbidden(case) if n != "tumour"]).any()
    assert target_diameter_mm(case) < 20.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "vessels"),
    [("against-vein", {"splenic_vein": (0, 1, 0)}),
     ("between-vessels", {"splenic_vein": (0, 1, 0), "splenic_artery": (0, 0, 1)})],
)  # fmt: skip
def test_vessels_touch_the_tumour_on_their_side(seed: int, name: str, vessels: dict[str, tuple[int, int, int]]) -> None:
    """Less than a voxel's diagonal away, and where they are said to be; in the usual anatomy no vessel is so near."""
    case = _made(name, seed)
    for vessel, side in vessels.items():
        assert _apart_mm(case, vessel) < VOXEL_MM
        assert _beside(case, vessel) @ np.array(side) > 0.97
    assert min(_apart_mm(_made("usual", seed), n) for n in ("portal_vein_and_splenic_vein", "aorta")) > VOXEL_MM


@pytest.mark.parametrize("seed", SEEDS)
def test_bowel_leaves_one_window(seed: int) -> None:
    """Some ways are open; they are all within one cone, and every way round it is shut."""
    case = _made("one-window", seed)
    rays = _rays(75.0)
    open_ = ~_crossed(case, rays, ["colon", "small_bowel"])
    assert 0.1 < open_.mean() < 0.6
    middle = rays[open_].mean(axis=0)
    off = np.degrees(np.arccos(rays @ (middle / np.linalg.norm(middle))))
    assert off[open_].max() < 46.0 and off[~open_].min() > 38.0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_only_way_from_the_front_is_through_the_stomach(seed: int) -> None:
    """Within 60° of anterior; and the stomach is costly, not forbidden."""
    case = _made("behind-stomach", seed)
    assert _crossed(case, _rays(60.0), ["stomach"]).all()
    assert case.description.structure("stomach").policy.kind is PolicyKind.COSTLY
    assert not _crossed(_made("open", seed), _rays(60.0), ["liver"]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_deep_one_ends_near_the_longest_path(seed: int) -> None:
    """From the skin straight in front to the tumour's far side: within 20 mm of what one apnoea has time for."""
    case = _made("deep", seed)
    points = target_points_mm(case)
    body = np.argwhere(case.body.voxels > 0)
    column = np.abs(case.body.points_mm(body)[:, [0, 2]] - points.mean(axis=0)[[0, 2]]).max(axis=1) < 3.0
    depth_mm = points[:, 1].max() - case.body.points_mm(body[column])[:, 1].min()
    limit_mm = deepest_mm(SuiteDescription())
    assert limit_mm - 20.0 < depth_mm < limit_mm - 3.0


@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_are_those_said(seed: int) -> None:
    """The large tumour is 38 to 45 mm across, the impossible one over 50 mm."""
    assert 38.0 < target_diameter_mm(_made("large", seed)) < 45.0
    assert 50.0 < target_diameter_mm(_made("over-50-mm", seed)) < 58.0


@pytest.mark.parametrize("seed", SEEDS)
def test_bowel_shuts_every_side(seed: int) -> None:
    """Also the sides and the back."""
    case = _made("bowel-all-round", seed)
    assert _crossed(case, _rays(180.0, 2000), ["colon", "small_bowel"]).all()
    assert case.description.structure("colon").policy.kind is PolicyKind.FORBIDDEN


@pytest.mark.parametrize("seed", SEEDS)
def test_the_skin_is_cut_off(seed: int) -> None:
    """No skin in front of the tumour is in the image; the same patient is whole in the one that is registered."""
    with pytest.raises(InvalidInputError, match="no skin in view"):
        entry_region_mm(_made("skin-cut", seed))
    whole = PLANNING_PHANTOMS["skin-cut"].registered_on
    assert whole is not None
    case = whole(seed, MONOPOLAR)
    assert len(entry_region_mm(case)) > 5
    np.testing.assert_allclose(target_centroid_mm(case), target_centroid_mm(_made("skin-cut", seed)), atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_lies_in_front_is_unknown(seed: int) -> None:
    """Every way from the front or the side meets it and, from the front, nothing else that is forbidden."""
    case = _made("unknown-in-front", seed)
    assert case.description.structure("unknown").policy.kind is PolicyKind.FORBIDDEN
    rays = _rays(90.0)
    assert _crossed(case, rays[np.abs(rays[:, 2]) < 0.6], ["unknown"]).all()  # steeper ones leave the image's ends
    assert not _crossed(case, _rays(45.0), [n for n in _forbidden(case) if n != "unknown"]).any()
    assert _apart_mm(case, "unknown") > 18.0
    assert case.body.voxels[_mask(case, "unknown")].all()
