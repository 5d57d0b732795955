"""What planning refuses before it searches, and the words for what a search cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.planning.refusal.infeasible import Tally, reasons_before_search, target_diameter_mm
from guidance.protocol import PANCREAS_IRE_DEFAULT, Protocol
from guidance.scene import ElectrodeDevice, SuiteDescription
from tests.guidance.planning.test_risk import BUDGET, TURNED, registration


def reasons(
    case: Case, device: ElectrodeDevice | None = None, protocol: Protocol = PANCREAS_IRE_DEFAULT, **answers: bool
) -> tuple[str, ...]:
    """Return the reasons for a case with this electrode and these answers."""
    device = device or ElectrodeDevice()
    said = ASSUMED_ELIGIBLE.model_copy(update=answers)
    description = case.description.model_copy(update={"device": device, "eligibility": said})
    suite = SuiteDescription(device=device)
    return reasons_before_search(replace(case, description=description), registration(TURNED, BUDGET), suite, protocol)


def test_nothing_stands_against_the_usual_case(box_case: Case) -> None:
    """The default electrode may be planned with."""
    assert reasons(box_case) == ()


def test_a_needle_that_would_buckle_at_the_skin_is_refused(box_case: Case) -> None:
    """250 mm free bear 2 N, half of the critical load of about 4 N; 4 N are predicted. 150 mm bear them."""
    (said,) = reasons(box_case, ElectrodeDevice(name="19 G electrode, 250 mm", usable_length_mm=250.0))
    assert "buckle at the skin" in said
    assert "4.0 N predicted, limit 2.1 N" in said and "250 mm" in said
    gentle = Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), "puncture_force_n": 2.0})
    long = ElectrodeDevice(name="19 G electrode, 250 mm", usable_length_mm=250.0)
    assert reasons(box_case, long, gentle) == ()
    # As the fourth power of the diameter: a thinner needle of the usual length buckles as well.
    assert "buckle" in reasons(box_case, ElectrodeDevice(diameter_mm=0.9))[0]


def test_an_electrode_without_an_allowed_exposure_is_refused(box_case: Case) -> None:
    """Only exposures longer than the pancreas allows: named, with the range."""
    (said,) = reasons(box_case, ElectrodeDevice(exposures_mm=(25.0, 40.0)))
    assert "no exposure from 5 to 20 mm" in said


@pytest.mark.parametrize(("answer", "refused"), [("severe_ascites", True), ("metal_in_zone", False)])
def test_absolute_contraindications_refuse_and_relative_ones_do_not(box_case: Case, answer: str, refused: bool) -> None:
    """An absolute one is the reason; a relative one is none (the plan carries it as a warning)."""
    said = reasons(box_case, **{answer: True})
    assert len(said) == refused and all(r.startswith("severe ascites: yes (absolute") for r in said)


def test_a_tumour_beyond_the_limit_is_refused_by_its_code(box_case: Case) -> None:
    """A twentieth of a millimetre over it the sentence names value, limit, source and code; at the limit it passes."""
    width = target_diameter_mm(box_case)
    # 7 × 6 × 5 voxels of 2 × 2 × 3 mm: the diagonal of the box, to the nearest of 400 directions.
    assert width == pytest.approx(np.linalg.norm([14.0, 12.0, 15.0]), rel=0.01)
    tight = {"tumour_diameter_ideal_mm": 10.0, "tumour_diameter_warn_mm": 20.0}
    small = Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), **tight, "tumour_diameter_max_mm": width - 0.05})
    (said,) = reasons(box_case, protocol=small)
    assert said.startswith(f"diameter of the tumour: {width:.2f} mm, at most {width - 0.05:g} mm (WJG 2023")
    assert said.endswith("[TUMOUR_DIAMETER_MAX]")
    exact = Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), **tight, "tumour_diameter_max_mm": width})
    assert reasons(box_case, protocol=exact) == ()


def test_a_margin_below_the_least_is_refused(box_case: Case) -> None:
    """A protocol that treats 4.9 mm round the tumour is no protocol of this table."""
    thin = Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), "margin_mm": 4.9})
    (said,) = reasons(box_case, protocol=thin)
    assert said.startswith("margin round the tumour: 4.90 mm, at least 5 mm") and "[MARGIN_MIN]" in said


def test_a_registration_is_held_to_the_protocol_of_the_case(box_case: Case) -> None:
    """Accepted under another limit, it is refused here; not accepted, its own reasons say why, once."""
    accepted = registration(TURNED, BUDGET)
    predicted = accepted.tre_p95_mm.tumour
    limit = {"registration_p95_ideal_mm": 0.1, "registration_p95_max_mm": predicted - 0.05}
    strict = Protocol(**{**PANCREAS_IRE_DEFAULT.model_dump(), **limit})
    (said,) = reasons_before_search(box_case, accepted, SuiteDescription(), strict)
    assert "[REGISTRATION_P95_MAX]" in said and f"{predicted:.2f} mm" in said
    refused = accepted.model_copy(update={"accepted": False, "reasons": ("tumour too far off",)})
    (said,) = reasons_before_search(box_case, refused, SuiteDescription(), strict)
    assert said == "the registration was not accepted: tumour too far off"


def test_what_was_cut_at_the_labels_end_is_said() -> None:
    """The count, and the sentence of the array that came nearest."""
    tally = Tally()
    for stage in ("corridors", "arrays", "arrays_refined"):
        tally.add(stage, 5)
    tally.cut("arrays_cut_unlabelled", 3.0, "far")
    tally.cut("arrays_cut_unlabelled", 1.0, "near")
    said = tally.reasons()
    assert said[0].endswith("the one that came farthest fails on unlabelled")
    assert "nearest miss, unlabelled: near" in said
    assert "unlabelled 2" in said[-1]


def test_the_first_reason_is_how_far_the_search_came() -> None:
    """Nothing open, nothing that fits, nothing that passes; an array that was given is answered for alone."""
    tally = Tally()
    tally.add("corridors", 9)
    tally.add("corridors_cut_forbidden", 9)
    assert tally.reasons()[0] == "no corridor from the skin to the target's depth is open"
    tally.add("corridors", 4)
    assert tally.reasons()[0] == "4 corridors are open, but no array of the family fits into them"
    tally.add("arrays", 3)
    tally.cut("arrays_cut_coverage_estimate", 2.0, "low")
    tally.cut("arrays_cut_arm_reach", 1.0, "out of reach")
    first, *rest = tally.reasons()
    assert first == "no array passes every limit; the one that came farthest fails on arm reach"
    assert rest[:2] == ["nearest miss, coverage estimate: low", "nearest miss, arm reach: out of reach"]
    assert rest[2] == "of 13 corridors and 3 arrays, cut by: forbidden 9, coverage estimate 1, arm reach 1"
    given = Tally(given=True)
    given.add("arrays_refused")
    given.nearest["arrays_refused"] = "E2: too deep"
    assert given.reasons() == ("E2: too deep",)
