"""How tissue conducts: what a σ may be, and what the named sets say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.ablation.conductivity import SETS, Anisotropy, TissueConductivity, TissueSet, tissue_set
from guidance.case.case import Tissue
from guidance.case.roles import structure_of
from kinematics.errors import InvalidInputError

GOOD = {
    "resting_s_per_m": 0.1,
    "permeabilised_s_per_m": 0.4,
    "ramp_from_v_per_cm": 300.0,
    "ramp_to_v_per_cm": 700.0,
    "source": "invented for a test",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resting_s_per_m": -0.1}, "resting σ.*positive"),
        ({"resting_s_per_m": 0.0}, "resting σ.*positive"),
        ({"resting_s_per_m": math.nan}, "resting σ.*positive"),
        ({"permeabilised_s_per_m": math.inf}, "permeabilised σ"),
        ({"permeabilised_s_per_m": math.nan}, "permeabilised σ"),
        ({"permeabilised_s_per_m": 0.09}, "permeabilised σ.*Limit: 0.1 S/m"),
        ({"ramp_from_v_per_cm": 700.0, "ramp_to_v_per_cm": 300.0}, "ramp.*higher"),
        ({"ramp_from_v_per_cm": 700.0}, "ramp.*higher"),
        ({"ramp_from_v_per_cm": -1.0}, "ramp.*higher"),
        ({"ramp_to_v_per_cm": math.nan}, "ramp.*higher"),
        ({"ramp_to_v_per_cm": math.inf}, "ramp.*higher"),
        ({"ramp_to_v_per_cm": None}, "ramp.*higher"),
        ({"ramp_from_v_per_cm": None}, "ramp.*higher"),
        ({"ramp_from_v_per_cm": None, "ramp_to_v_per_cm": None}, "σ rises.*which field"),
        ({"source": ""}, "source"),
    ],
)
def test_what_cannot_be_a_conductivity_is_refused(changes: dict[str, object], said: str) -> None:
    """Not positive, not a number, falling, with half a ramp or one that runs backwards, or without a source."""
    TissueConductivity(**GOOD)
    with pytest.raises(InvalidInputError, match=said):
        TissueConductivity(**{**GOOD, **changes})


@pytest.mark.parametrize("name", ["resting_s_per_m", "permeabilised_s_per_m", "source"])
def test_a_missing_number_is_refused_by_name(name: str) -> None:
    """Nothing is assumed of σ."""
    with pytest.raises(InvalidInputError, match=f"{name}.*required"):
        TissueConductivity(**{k: v for k, v in GOOD.items() if k != name})


@pytest.mark.parametrize(
    ("axis", "ratio", "said"),
    [
        ((0.0, 0.6, 0.7), 2.0, "unit vector"),
        ((0.0, 0.0, 0.0), 2.0, "unit vector"),
        ((0.0, math.nan, 1.0), 2.0, "axis_ct"),
        ((0.0, 0.6, 0.8), 0.0, "positive"),
        ((0.0, 0.6, 0.8), -2.0, "positive"),
        ((0.0, 0.6, 0.8), math.nan, "positive"),
        ((0.0, 0.6, 0.8), math.inf, "positive"),
    ],
)
def test_what_cannot_be_an_anisotropy_is_refused(axis: tuple[float, ...], ratio: float, said: str) -> None:
    """The axis is a unit vector, the ratio a positive number."""
    Anisotropy(axis_ct=(0.0, 0.6, 0.8), along_over_across=2.0)
    with pytest.raises(InvalidInputError, match=said):
        Anisotropy(axis_ct=axis, along_over_across=ratio)


@given(
    st.tuples(*[st.floats(-1.0, 1.0)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    st.floats(0.05, 20.0),
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
def test_the_tensor_has_the_ratio_and_the_axis(
    axis: tuple[float, ...], ratio: float, turn: tuple[float, float, float]
) -> None:
    """Its own directions are the axis and what is across it; determinant 1; it turns with the scene."""
    unit = np.array(axis) / np.linalg.norm(axis)
    shape = Anisotropy(axis_ct=unit, along_over_across=ratio).shape_ct()
    along = unit @ shape @ unit
    across = (np.trace(shape) - along) / 2.0
    assert shape @ unit == pytest.approx(along * unit, abs=1e-9 * along)
    assert along / across == pytest.approx(ratio)
    assert np.linalg.det(shape) == pytest.approx(1.0)
    rotation = Rotation.from_rotvec(turn).as_matrix()
    turned = Anisotropy(axis_ct=-rotation @ unit, along_over_across=ratio).shape_ct()
    assert turned == pytest.approx(rotation @ shape @ rotation.T, abs=1e-9 * along)


def test_a_set_that_lacks_a_tissue_is_refused() -> None:
    """Every class has a σ; the one that is missing is named."""
    whole = tissue_set("ire-table")
    data = {**dict(whole), "tissues": {t: c for t, c in whole.tissues.items() if t is not Tissue.BONE}}
    with pytest.raises(InvalidInputError, match="ire-table lacks.*bone"):
        TissueSet(**data)
    data["tissues"] = {**whole.tissues, "plasma": whole.tissues[Tissue.FAT]}
    with pytest.raises(InvalidInputError, match="plasma"):
        TissueSet(**data)


def test_an_unknown_set_is_refused_with_the_names_there_are() -> None:
    """The operator sees what can be chosen."""
    with pytest.raises(InvalidInputError, match="'ire-tabel'") as caught:
        tissue_set("ire-tabel")
    assert caught.value.remedy is not None and all(name in caught.value.remedy for name in SETS)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_named_set_is_complete_cited_and_solvable(name: str) -> None:
    """Found by its own name, read back from JSON the same, a source everywhere, a contrast of 10⁴ at most."""
    chosen = tissue_set(name)
    assert chosen.name == name
    again = TissueSet.model_validate_json(chosen.canonical_json())
    assert again.sha256() == chosen.sha256() and again.tissues == chosen.tissues
    every = [*chosen.tissues.values(), *chosen.structures.values()]
    assert all(len(c.source) > 10 for c in every)
    assert max(c.permeabilised_s_per_m for c in every) / min(c.resting_s_per_m for c in every) <= 1e4


def test_the_page_says_what_the_sets_say() -> None:
    """Each row of the default set in docs/tissue.md has its numbers; every other set is named there."""
    page = (Path(__file__).parents[3] / "docs" / "tissue.md").read_text()
    assert all(f"`{name}`" in page for name in SETS)
    rows = [[cell.strip() for cell in line.split("|")[1:5]] for line in page.splitlines() if line.startswith("|")]
    for tissue, c in tissue_set("ire-table").tissues.items():
        ramp = "constant" if c.ramp_to_v_per_cm is None else f"{c.ramp_from_v_per_cm:g}–{c.ramp_to_v_per_cm:g}"
        assert [tissue.value, f"{c.resting_s_per_m:g}", f"{c.permeabilised_s_per_m:g}", ramp] in rows


def test_the_variants_differ_from_the_table_in_one_thing() -> None:
    """The extremes of the pancreas bracket the table and share its resting σ; `-fat` changes the unlabelled only."""
    table, low, high, fat, uniform = (
        tissue_set(n)
        for n in (
            "ire-table",
            "ire-table-pancreas-2.5",
            "ire-table-pancreas-3.6",
            "ire-table-fat",
            "uniform-0.2",
        )
    )
    for variant in (low, high):
        others = {t: c for t, c in variant.tissues.items() if t is not Tissue.PANCREAS}
        assert others == {t: table.tissues[t] for t in others}
        assert (variant.unlabelled, variant.outside) == (table.unlabelled, table.outside)
    rest = [s.tissues[Tissue.PANCREAS].resting_s_per_m for s in (low, table, high)]
    rise = [s.tissues[Tissue.PANCREAS].permeabilised_s_per_m / rest[0] for s in (low, table, high)]
    assert len(set(rest)) == 1 and rise[0] == pytest.approx(2.5) and rise[2] == pytest.approx(3.6)
    assert rise[0] < rise[1] < rise[2]
    assert fat.tissues == table.tissues and fat.unlabelled is Tissue.FAT is not table.unlabelled
    assert {(c.resting_s_per_m, c.permeabilised_s_per_m) for c in uniform.tissues.values()} == {(0.2, 0.2)}


def test_a_structures_own_entry_wins_over_its_class() -> None:
    """By the structure's name; others of the class keep the class's σ."""
    own = TissueConductivity(resting_s_per_m=0.16, permeabilised_s_per_m=0.16, source="invented for a test")
    chosen = TissueSet(**{**dict(tissue_set("ire-table")), "structures": {"kidney_left": own}})
    left, right = structure_of("kidney_left", 3), structure_of("kidney_right", 4)
    assert left.tissue is right.tissue
    assert chosen.of(left) == own
    assert chosen.of(right) == chosen.tissues[right.tissue]
