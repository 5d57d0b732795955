"""Figures of a registration as a person reads them."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.frames import Transform
from registration.fle import AxisFle, FleEstimate
from registration.words import localisation, rare, residual, shares_in_words
from tests.registered import registered

BARE = registered(Transform.identity("robot", "ct"), np.diag([1.0] * 3 + [1e-6] * 3), np.zeros(3), fre_mm=0.31)


@pytest.mark.parametrize(
    ("chance", "said"), [(0.0, "below 1e-06"), (3.2e-5, "3e-05"), (0.0096, "0.01"), (0.02, "0.02"), (0.573, "0.57")]
)
def test_a_chance_is_never_nothing(chance: float, said: str) -> None:
    """What cannot be computed is below a bound; small ones keep one digit."""
    assert rare(chance) == said


def test_shares_are_ranked_and_small_ones_left_out() -> None:
    """The largest first."""
    assert shares_in_words({"tracker": 30.4, "pivot": 0.4, "fiducial_ct": 69.2}) == "fiducial ct 69 %, tracker 30 %"


def test_the_residual_stands_beside_what_is_expected() -> None:
    """With its chance; a registration from before has the number alone."""
    assert residual(BARE) == "0.31 mm"
    full = BARE.model_copy(update={"fre_expected_mm": 0.33, "fre_chance": 0.57})
    assert residual(full) == "0.31 mm (0.33 mm expected; as much or more: chance 0.57)"


def test_the_localisation_error_has_its_interval_and_axes() -> None:
    """Per axis where there are enough fiducials; a dash for a registration from before."""
    assert localisation(BARE) == "–"
    fle = FleEstimate(estimate=0.4, low=0.3, high=0.6, assumed=0.39)
    assert localisation(BARE.model_copy(update={"fle_mm": fle})) == "0.40 mm (95 %: 0.30 to 0.60), stated 0.39 mm"
    axes = tuple(AxisFle(estimate=v, low=v / 2, high=2 * v) for v in (0.1, 0.2, 0.4))
    told = localisation(BARE.model_copy(update={"fle_mm": fle.model_copy(update={"axes": axes})}))
    assert told.endswith("stated 0.39 mm; R–L 0.10 (0.05 to 0.20), A–P 0.20 (0.10 to 0.40), F–H 0.40 (0.20 to 0.80)")
