"""The campaign's summary, on trials whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.planning.plan import Plan, PlanStatus
from registration.budget import ErrorBudget
from sim.campaign import Spread, summarise
from sim.trial import Trial, TrialElectrode, TrialPair


def _electrode(tip_mm: float, true_tip_mm: float, clearance_mm: float = 3.0) -> TrialElectrode:
    return TrialElectrode(
        id="E1",
        lateral_error_mm=0.5 * tip_mm,
        tip_error_mm=tip_mm,
        predicted_tip_p95_mm=3.0,
        true_tip_error_mm=true_tip_mm,
        finder_tip_mm=0.1 * tip_mm,
        finder_chord_deg=0.2,
        true_clearance_mm=clearance_mm,
    )


PLAN = Plan(status=PlanStatus.OK, reasons=(), case_sha256="c", registration_sha256="r", hit_probability=0.25)


def test_spread_matches_numpy() -> None:
    """Median, mean, sample deviation, 95th percentile and maximum are those of the values."""
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    spread = Spread.of(values)
    assert spread is not None
    assert spread.median == pytest.approx(np.median(values))
    assert spread.sd == pytest.approx(np.std(values, ddof=1))
    assert spread.p95 == pytest.approx(np.percentile(values, 95))
    assert (spread.count, spread.max) == (6, 9.0)
    assert Spread.of([]) is None


def test_a_trial_without_a_verdict_counts_against_the_share_that_passes() -> None:
    """A refused trial is listed and not dropped; its missing figures do not enter the spreads."""
    trials = [
        Trial(
            seed=5,
            passed=True,
            pairs=(TrialPair(spacing_error_mm=-1.0, angle_deg=2.0),),
            electrodes=(_electrode(2.0, 2.1),),
            registration_error_mm=0.5,
            registration_predicted_p95_mm=1.0,
        ),
        Trial(
            seed=4,
            passed=False,
            failed_checks=("coverage of the tumour",),
            pairs=(TrialPair(spacing_error_mm=3.0, angle_deg=1.0),),
            electrodes=(_electrode(4.0, 4.2, clearance_mm=-0.5),),
            structure_hits=1,
            registration_error_mm=1.5,
            registration_predicted_p95_mm=1.0,
        ),
        Trial(seed=6, passed=False, failure="register refused: too few"),
    ]
    campaign = summarise("box", PLAN, ErrorBudget(), "fast", 4, trials, 6.0)
    assert (campaign.trials, campaign.passed, campaign.structure_hits) == (3, 1, 1)
    assert campaign.failures == ("seed 6: register refused: too few",)
    assert [t.seed for t in campaign.results] == [4, 5, 6]
    assert campaign.trials_per_second == pytest.approx(0.5)
    assert campaign.pair_distance_error_mm is not None
    # The size of the error counts, not its sign.
    assert campaign.pair_distance_error_mm.median == pytest.approx(2.0)
    assert campaign.calibration.structure_hit_share_found == pytest.approx(0.5)
    assert campaign.calibration.tip_within_predicted_p95_share == pytest.approx(0.5)
    assert campaign.calibration.registration_within_predicted_p95_share == pytest.approx(0.5)
    assert campaign.calibration.coverage_share_found == pytest.approx(0.5)
    assert campaign.failed_checks == {"coverage of the tumour": 1}
