"""Thermal properties: complete, sourced, and laid on the grid by structure."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.thermal import PERFUSED, ThermalMap, ThermalProperties, ThermalSet, is_blood, thermal_set
from guidance.case.case import Case, Structure, Tissue
from guidance.case.policy import Policy, PolicyKind
from kinematics.errors import InvalidInputError


def test_the_named_sets_are_complete_sourced_and_plausible() -> None:
    """Every tissue with a source; diffusivities of soft tissue near 0.1–0.2 mm²/s; no perfusion in the upper bound."""
    for name in ("perfused", "unperfused"):
        found = thermal_set(name)
        assert set(found.tissues) == set(Tissue) and all(p.source for p in found.tissues.values())
    for tissue, p in PERFUSED.tissues.items():
        if tissue is not Tissue.AIR:
            assert 0.09 < 1e6 * p.conductivity_w_per_m_k / p.heat_capacity_j_per_m3_k < 0.2
    assert all(p.perfusion_per_s == 0.0 for p in thermal_set("unperfused").tissues.values())
    assert PERFUSED.tissues[Tissue.PANCREAS].perfusion_per_s > 5.0 * PERFUSED.tissues[Tissue.TUMOUR].perfusion_per_s


def test_what_is_wrong_is_refused_by_name() -> None:
    """An unknown set, a set that lacks a tissue, a negative figure, NaN, a missing source, a cell without row."""
    with pytest.raises(InvalidInputError, match="no thermal set called 'warm'.*perfused, unperfused"):
        thermal_set("warm")
    with pytest.raises(InvalidInputError, match="lacks tissues: pancreas"):
        ThermalSet(
            name="mine",
            described="",
            tissues={t: p for t, p in PERFUSED.tissues.items() if t is not Tissue.PANCREAS},
        )
    good = PERFUSED.tissues[Tissue.LIVER].model_dump()
    for wrong in (
        {"conductivity_w_per_m_k": -0.1},
        {"density_kg_per_m3": 0.0},
        {"perfusion_per_s": float("nan")},
        {"source": ""},
    ):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            ThermalProperties(**{**good, **wrong})
    kind = np.ones((2, 3, 4), dtype=np.uint8)
    with pytest.raises(InvalidInputError, match="no row"):
        ThermalMap(kind, np.ones((1, 3)), ("one",), "mine")
    with pytest.raises(InvalidInputError, match="negative"):
        ThermalMap(0 * kind, np.array([[1.0, -1.0, 0.0]]), ("one",), "mine")
    with pytest.raises(InvalidInputError, match="NaN"):
        ThermalMap(0 * kind, np.array([[1.0, np.nan, 0.0]]), ("one",), "mine")


def _row(tissues: ThermalMap, cells: np.ndarray) -> list[str]:
    return sorted({tissues.names[k] for k in np.unique(tissues.kind[cells])})


def test_tissues_lie_where_the_labels_say(box_case: Case) -> None:
    """Tumour, held vessel, background inside the skin, and air outside it."""
    grid = TreatmentGrid.around_target(box_case)
    tissues = ThermalMap.on(box_case.description, grid, PERFUSED)
    assert _row(tissues, grid.tumour) == ["tumour"]
    assert _row(tissues, grid.labels == 2) == ["vessel, held"]
    assert _row(tissues, (grid.labels == 0) & grid.body) == ["background"]
    assert _row(tissues, ~grid.body) == ["air"]
    assert (~grid.body).any()
    assert tissues.table[tissues.names.index("vessel, held"), 0] == 0.0
    standing = ThermalMap.on(box_case.description, grid, PERFUSED, vessels_held=False)
    blood = PERFUSED.tissues[Tissue.VESSEL]
    assert standing.table[standing.names.index("vessel"), 0] == pytest.approx(1.0 / blood.heat_capacity_j_per_m3_k)
    with pytest.raises(ValueError, match="read-only"):
        tissues.kind[0, 0, 0] = 1


def test_a_duct_is_a_vessel_whose_content_stands(box_case: Case) -> None:
    """It conducts electricity as a vessel does, and is not kept cool by flow."""
    assert is_blood("aorta", Tissue.VESSEL) and not is_blood("common_bile_duct", Tissue.VESSEL)
    assert not is_blood("liver", Tissue.LIVER)
    duct = Structure(name="duct_virtual", label=2, policy=Policy(kind=PolicyKind.FREE), tissue=Tissue.VESSEL)
    description = box_case.description.model_copy(update={"structures": (box_case.description.structures[0], duct)})
    grid = TreatmentGrid.around_target(box_case)
    tissues = ThermalMap.on(description, grid, PERFUSED)
    assert _row(tissues, grid.labels == 2) == ["vessel"]
