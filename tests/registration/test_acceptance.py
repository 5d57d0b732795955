"""Accepted or refused, and the reasons in words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from registration.acceptance import IDEAL_P95_MM, Judgement
from registration.accuracy import LARGEST_TURN_RAD
from registration.fle import FleEstimate
from registration.next_marker import NextMarker
from registration.registration import FiducialResult, Shares, TrePrediction
from registration.residuals import LeftOut, ResidualTest

SHARES = Shares(
    tumour={"fiducial_ct": 26.0, "tracker": 14.0, "pivot": 0.2, "calibration": 59.8},
    entry_region={"fiducial_ct": 41.0, "tracker": 19.0, "pivot": 0.0, "calibration": 40.0},
)
ONE = LeftOut(np.array([3.0, 0.8, 0.0]), 0.06 * np.eye(3), 160.0, 2e-34)
SOUND = ResidualTest(False, 0.4, 0.3, 0.33, 0.6, (None,) * 5, ())
MARKER = NextMarker(
    centre_ct_mm=np.array([95.4, -60.0, -310.0]),
    from_tumour_mm=np.array([62.0, -85.0, 30.0]),
    before_mm=2.31,
    after_mm=1.42,
    least_mm=0.9,
)


def _fiducial(n: int, **more: object) -> FiducialResult:
    known = {"tracked": n != 6, "residual_mm": 0.3, "centre_ct_mm": np.zeros(3), "covariance_mm2": np.eye(3)}
    known |= {"hidden_shift_mm": 0.6 if n != 6 else None, **more}
    return FiducialResult(id=f"F{n}", **known)


GOOD = Judgement(
    limit_p95_mm=2.0,
    tre=TrePrediction(tumour=0.8, entry_region=0.9),
    shares=SHARES,
    turn_rms_rad=0.003,
    least_mm=None,
    next_marker=None,
    test=SOUND,
    fle_mm=FleEstimate(estimate=1.21, low=0.9, high=1.9, assumed=0.39),
    fiducials=tuple(_fiducial(n) for n in range(1, 7)),
    used=("F1", "F2", "F3", "F4", "F5"),
)


def test_a_good_one_is_accepted_without_a_word() -> None:
    """Nothing to say."""
    assert GOOD.verdict() == (True, ())


def test_the_limit_is_kept_when_met() -> None:
    """At the limit accepted, above it refused, at the tumour as in the entry region."""
    for place in ("tumour", "entry_region"):
        at = {"tumour": 0.8, "entry_region": 0.9, place: 2.0}
        assert replace(GOOD, tre=TrePrediction(**at)).verdict()[0]
        above = {**at, place: 2.0001}
        none = GOOD.tre.model_copy(update={place: math.nan})
        assert not replace(GOOD, tre=none).verdict()[0]
        assert not replace(GOOD, tre=TrePrediction(**above)).verdict()[0]


def test_too_large_an_error_gives_place_limit_shares_and_help() -> None:
    """One reason for each place, then the marker that would help, with its place in the patient's words."""
    found = replace(GOOD, tre=TrePrediction(tumour=2.31, entry_region=2.2), least_mm=0.9, next_marker=MARKER)
    accepted, reasons = found.verdict()
    assert not accepted
    assert reasons == (
        "predicted 95 % error at the tumour 2.31 mm exceeds 2 mm (5 of 6 fiducials matched); of its variance "
        "calibration 60 %, fiducial ct 26 %, tracker 14 %",
        "predicted 95 % error at the entry region 2.20 mm exceeds 2 mm (5 of 6 fiducials matched); of its variance "
        "fiducial ct 41 %, calibration 40 %, tracker 19 %",
        "a marker at (95, -60, -310) mm LPS, 62 mm left of, 85 mm in front of and 30 mm headward of the tumour, would "
        "bring the larger of the errors from 2.31 to 1.42 mm; it needs a new planning CT",
    )


def test_help_says_when_it_is_not_enough_or_not_known() -> None:
    """A marker that leaves it above the limit; no place known; a fiducial that the tracker does not see."""
    large = replace(GOOD, tre=TrePrediction(tumour=2.31, entry_region=0.9), least_mm=0.9)
    assert large.verdict()[1][-1] == "add fiducials nearer to where the error is too large, or spread them"
    little = MARKER.model_copy(update={"after_mm": 2.0001})
    assert replace(large, next_marker=little).verdict()[1][-1].endswith("; that alone is not enough")
    enough = MARKER.model_copy(update={"after_mm": 2.0})
    assert replace(large, next_marker=enough).verdict()[1][-1].endswith("a new planning CT")
    standing = MARKER.model_copy(update={"fiducial": "F6"})
    assert replace(large, next_marker=standing).verdict()[1][-1] == (
        "fiducial F6 is not tracked: seen by the tracker it would bring the larger of the errors from 2.31 to 1.42 mm"
    )


def test_no_marker_helps_when_the_calibration_alone_is_too_large() -> None:
    """Then it is said, and no marker is asked for; at the limit one still may."""
    large = replace(GOOD, tre=TrePrediction(tumour=2.31, entry_region=0.9), next_marker=MARKER)
    said = replace(large, least_mm=2.05).verdict()[1][-1]
    assert "no marker can help" in said and "2.05 mm would remain, limit 2 mm" in said
    assert "a marker at" in replace(large, least_mm=2.0).verdict()[1][-1]


def test_above_the_ideal_is_a_warning() -> None:
    """Accepted, with the marker where it is known; at the ideal nothing is said, and above the limit only the fault."""
    assert replace(GOOD, tre=TrePrediction(tumour=IDEAL_P95_MM, entry_region=0.9)).verdict() == (True, ())
    warned = replace(GOOD, tre=TrePrediction(tumour=1.4, entry_region=0.9))
    accepted, reasons = warned.verdict()
    assert accepted and reasons == ("predicted 95 % error at the tumour 1.40 mm is above the ideal 1 mm",)
    assert "; a marker at (95, -60, -310)" in replace(warned, next_marker=MARKER).verdict()[1][0]
    at_limit = replace(GOOD, tre=TrePrediction(tumour=1.4, entry_region=2.0), next_marker=MARKER)
    assert "; a marker at (95, -60, -310)" in at_limit.verdict()[1][0]
    both = replace(GOOD, tre=TrePrediction(tumour=1.4, entry_region=2.5), next_marker=MARKER).verdict()[1]
    assert [r.count("a marker at") for r in both] == [0, 1, 0]
    assert both[-1].endswith("above the ideal 1 mm")
    assert replace(GOOD, tre=TrePrediction(tumour=2.0, entry_region=0.9)).verdict()[1][0].endswith("the ideal 1 mm")
    assert not any("ideal" in r for r in replace(GOOD, tre=TrePrediction(tumour=2.1, entry_region=0.9)).verdict()[1])


def test_a_turn_beyond_what_can_be_predicted_is_refused() -> None:
    """Five degrees rms: up to there first order was checked."""
    assert replace(GOOD, turn_rms_rad=LARGEST_TURN_RAD).verdict()[0]
    accepted, reasons = replace(GOOD, turn_rms_rad=1.2 * LARGEST_TURN_RAD).verdict()
    assert not accepted and reasons[0].startswith("the predicted error of rotation, 6.0° rms, exceeds 5°")


def test_a_wrong_fiducial_is_named_with_its_distance() -> None:
    """F4, 3.1 mm off, with what sound ones stay within, chance and limit."""
    test = replace(SOUND, alarm=True, misfit_chance=0.0, left_out=(None, None, None, ONE, None), suspects=(3,))
    accepted, reasons = replace(GOOD, test=test).verdict()
    assert not accepted
    assert reasons == (
        "fiducial F4 stands 3.1 mm from where the other 4 put it (95 % of sound ones within 0.7 mm, chance 2e-34, "
        "limit 0.001 over all): it has moved, or is another thing; re-seat or cover it, and register again",
    )


def test_several_that_cannot_be_told_apart_are_all_named() -> None:
    """Both distances, and what to look at."""
    test = replace(SOUND, alarm=True, left_out=(None, ONE, None, ONE, None), suspects=(3, 1))
    (reason,) = replace(GOOD, test=test).verdict()[1]
    assert reason.startswith("one of these fiducials has moved") and "F4 stands 3.1 mm" in reason
    assert "F2 stands 3.1 mm" in reason


def test_a_misfit_of_all_says_what_the_residuals_show() -> None:
    """The estimate with its interval beside the budget's."""
    test = replace(SOUND, alarm=True, misfit_chance=3.2e-5)
    (reason,) = replace(GOOD, test=test).verdict()[1]
    assert "chance 3e-05, limit 0.001" in reason
    assert "1.21 mm by the residuals (95 %: 0.90 to 1.90 mm), 0.39 mm by the budget" in reason


@pytest.mark.parametrize(
    ("tracked", "off_mm", "said"), [(False, 3.14, True), (False, None, False), (True, 3.14, False)]
)
def test_a_fiducial_that_was_left_out_because_it_moved_is_told(tracked: bool, off_mm: float | None, said: bool) -> None:
    """Accepted on the others, with its name and distance; one that is merely unseen is not accused."""
    six = (*GOOD.fiducials[:5], _fiducial(6, tracked=tracked, leave_one_out_mm=off_mm))
    accepted, reasons = replace(GOOD, fiducials=six).verdict()
    assert accepted and len(reasons) == int(said)
    assert not said or "fiducial F6 was left out: a tracked point stands 3.1 mm" in reasons[0]


def test_a_fiducial_that_nothing_checks_is_refused() -> None:
    """Named, with the least number and what to bring into view; one that moved away is not asked for."""
    free = tuple(_fiducial(n, hidden_shift_mm=None) for n in (1, 2, 3))
    three = replace(GOOD, fiducials=(*free, _fiducial(6), _fiducial(7, tracked=False)), used=("F1", "F2", "F3"))
    accepted, reasons = three.verdict()
    assert not accepted
    assert reasons == (
        "nothing checks F1, F2, F3 of 3 matched: without one of them the others do not say where it belongs, so one "
        "that moved would show in no residual (limit: 4 that check each other): bring another fiducial into the "
        "tracker's view (F6, F7), and register again",
    )
    assert "add a fiducial, and" in replace(three, fiducials=free).verdict()[1][0]
    gone = replace(three, fiducials=(*free, _fiducial(6, leave_one_out_mm=4.0))).verdict()[1][0]
    assert "add a fiducial, and" in gone


def test_a_fiducial_that_could_shift_the_tumour_unnoticed_is_refused() -> None:
    """At the limit accepted; above it named with what it may do."""
    others = GOOD.fiducials[1:]
    assert replace(GOOD, fiducials=(_fiducial(1, hidden_shift_mm=2.0), *others)).verdict() == (True, ())
    accepted, reasons = replace(GOOD, fiducials=(_fiducial(1, hidden_shift_mm=2.06), *others)).verdict()
    assert not accepted and len(reasons) == 1
    assert reasons[0].startswith("fiducial F1 is hardly checked") and "by 2.1 mm (95 %), limit 2 mm" in reasons[0]
    assert "view (F6)" in reasons[0]
