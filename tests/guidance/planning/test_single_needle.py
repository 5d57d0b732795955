"""One bipolar needle: its pulls, its lines, how far it reaches, and the search that ends in a plan or in numbers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.case.case import Case
from guidance.planning import choice
from guidance.planning import search as search_module
from guidance.planning.clearance.electrodes import shaft_clearances
from guidance.planning.combining.single_needle import hopeless, longest_step_mm, pulls, reach_mm
from guidance.planning.plan import Plan, PlanStatus
from guidance.protocol import PANCREAS_IRE_DEFAULT
from guidance.scene import BipolarNeedle, ElectrodeDevice, SuiteDescription
from sim.phantom import make_phantom
from tests.guidance.ablation import rings
from tests.guidance.planning.coarse import beside, coarse_search

NEEDLE = BipolarNeedle()
SUITE = SuiteDescription(device=NEEDLE)


@given(st.floats(1.0, 200.0), st.floats(2.0, 12.0), st.floats(4.0, 20.0))
def test_positions_overlap_and_stay_on_the_treated_length(length: float, conductor: float, gap: float) -> None:
    """The first way is one position; steps are even, in half millimetres, and leave the protocol's overlap."""
    device = BipolarNeedle(diameter_mm=0.9, conductor_mm=conductor, gap_mm=gap)
    ways = pulls(length, device, PANCREAS_IRE_DEFAULT)
    assert ways[0].pull_back_mm == (0.0,)
    counts = [len(w.pull_back_mm) for w in ways]
    assert counts == sorted(counts) and counts[-1] <= 4
    for way in ways:
        assert way.exposure_mm == device.span_mm
        steps = np.diff(way.pull_back_mm)
        assert way.pull_back_mm[0] == 0.0 and way.pull_back_mm[-1] < length
        assert (steps > 0.0).all() and (steps <= longest_step_mm(device, PANCREAS_IRE_DEFAULT) + 1e-9).all()
        np.testing.assert_allclose(2.0 * steps, np.rint(2.0 * steps))


def test_half_the_pitch_is_offered_and_the_longest_step() -> None:
    """7.5 mm fills the gap, 17 mm leaves 5 of 22 mm overlapping."""
    steps = {w.pull_back_mm[1] for w in pulls(60.0, NEEDLE, PANCREAS_IRE_DEFAULT) if len(w.pull_back_mm) > 1}
    assert steps == {7.5, 17.0}


@pytest.mark.parametrize("threshold", [400.0, 500.0, 800.0])
def test_the_reach_is_that_of_the_rings(threshold: float) -> None:
    """Farthest distance from the axis at which the true cylinders still pass the threshold: within 2 %."""
    found = rings.solve()
    away, height = np.meshgrid(np.arange(2.0, 12.0, 0.02), np.arange(0.5, NEEDLE.span_mm, 0.5), indexing="ij")
    passing = found.at(away, height) >= threshold
    assert reach_mm(NEEDLE, threshold) == pytest.approx(away[passing].max(), rel=0.02)
    assert reach_mm(BipolarNeedle(voltage_v=1.0), threshold) == 0.0


def planned(case: Case, **changes: Any) -> Plan:
    """The search's answer, from fewer directions."""
    with coarse_search():
        return search_module.plan(case, beside(), **{"suite": SUITE, "protocol": PANCREAS_IRE_DEFAULT, **changes})


@pytest.fixture(scope="module")
def nodule() -> Case:
    """A phantom that one needle covers."""
    return make_phantom(4, tumour="nodule", device=NEEDLE).with_tissue_set("uniform-0.2")


@pytest.fixture(scope="module")
def found(nodule: Case) -> Plan:
    """Its plan."""
    return planned(nodule)


def test_one_needle_through_a_nodule(found: Plan) -> None:
    """One electrode, one pair along its axis at the device's voltage, accepted coverage, and a way for the arm."""
    assert found.status is PlanStatus.OK, found.reasons
    (needle,), (pair,) = found.electrodes, found.pairs
    assert needle.id == "E1" and found.order == ("E1",) and len(found.insertions) == 1
    assert (pair.a, pair.b, pair.spacing_mm, pair.voltage_v) == ("E1.distal", "E1.proximal", 15.0, 2700.0)
    assert (pair.angle_deg, pair.depth_mismatch_mm) == (0.0, 0.0)
    assert pair.current_a == pytest.approx(rings.solve().current_a, rel=0.01)
    assert needle.exposure_mm == 22.0
    assert needle.clearance.mm >= 2.0
    assert found.coverage is not None
    assert found.coverage.tumour_percent >= 98.0 and found.coverage.with_margin_percent >= 90.0
    assert found.search["arrays"] >= found.search["arrays_of_1"] > 0
    assert found.alternatives and all(a.electrodes == 1 and a.spacing_mm == 15.0 for a in found.alternatives)
    assert Plan.model_validate_json(found.canonical_json()).sha256() == found.sha256()


def test_a_shaft_of_16_gauge_needs_more_room(nodule: Case, found: Plan) -> None:
    """The stated clearance is from the surface of the thicker shaft."""
    needle = found.electrodes[0]
    out = (needle.entry_ct_mm - needle.tip_ct_mm) / needle.depth_mm
    thin = shaft_clearances(nodule, needle.tip_ct_mm, out, needle.depth_mm, ElectrodeDevice().radius_mm)
    assert needle.clearances[0].structure == thin[0].structure
    assert needle.clearances[0].mm == pytest.approx(thin[0].mm - 0.5 * (1.65 - 1.07))


def test_what_one_needle_cannot_cover_is_refused_with_numbers() -> None:
    """The usual tumour: how much is covered, how far the needle reaches, how far it would have to, and what to do."""
    refused = planned(make_phantom(4, device=NEEDLE))
    assert refused.status is PlanStatus.INFEASIBLE and not refused.electrodes
    first = refused.reasons[0]
    assert first.startswith("one bipolar needle covers ") and "asked are 98 % and 90 %" in first
    assert f"at 2700 V it passes 500 V/cm up to {reach_mm(NEEDLE, 500.0):.1f} mm from its axis" in first
    assert "plan an array of electrodes" in first
    assert any("estimated (one needle)" in reason for reason in refused.reasons)
    assert refused.search["arrays_cut_coverage_estimate"] > 0


def test_a_current_over_the_devices_limit_is_refused(nodule: Case) -> None:
    """The field's current against 5 A: no plan, and the limit is named."""
    weak = BipolarNeedle(current_max_a=5.0)
    case = replace(nodule, description=nodule.description.model_copy(update={"device": weak}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "FIELDS", 1)
        patch.setattr(search_module, "_beyond_reach", lambda *_given: ())
        refused = planned(case, suite=SuiteDescription(device=weak))
    assert refused.status is PlanStatus.INFEASIBLE
    assert any("7 A, over the device's 5 A" in reason for reason in refused.reasons)


def test_a_case_of_electrodes_is_not_planned_with_a_needle(nodule: Case) -> None:
    """Case and suite must name the same device."""
    refused = planned(nodule, suite=SuiteDescription())
    assert refused.status is PlanStatus.INFEASIBLE
    assert "the case asks for the electrode '16 G bipolar needle, 150 mm', the suite has" in refused.reasons[0]


@pytest.mark.parametrize(
    ("percents", "device", "ends"),
    [
        ((99.0, 79.0), NEEDLE, True),
        ((87.0, 95.0), NEEDLE, True),
        ((90.0, 82.0), NEEDLE, False),
        ((99.0, 95.0), NEEDLE, False),
        ((20.0, 10.0), ElectrodeDevice(), False),
    ],
)
def test_only_what_is_far_short_ends_the_search(
    percents: tuple[float, float], device: BipolarNeedle | ElectrodeDevice, ends: bool
) -> None:
    """More than ten points below what is asked; what is nearer is looked at again, and arrays always are."""

    def accepted(tumour_percent: float, margin_percent: float) -> bool:
        return tumour_percent >= 98.0 and margin_percent >= 90.0

    scorer: Any = SimpleNamespace(device=device, accepted=accepted)
    worse: Any = SimpleNamespace(tumour_percent=10.0, margin_percent=5.0)
    best: Any = SimpleNamespace(tumour_percent=percents[0], margin_percent=percents[1])
    assert hopeless(scorer, [worse, best]) is ends
    assert not hopeless(scorer, [])
