"""Cell death by Peleg and Fermi: half survive at the middle field, more field and more pulses kill more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.ablation.cell_death import SURVIVAL_DEAD, survival
from kinematics.errors import InvalidInputError


@pytest.mark.parametrize(("pulses", "middle"), [(1, 3996.0 * np.exp(-0.03)), (90, 268.5), (100, 198.9)])
def test_half_survive_at_the_middle_field(pulses: int, middle: float) -> None:
    """Ec = 3996·exp(−0.03·n) V/cm (Golberg & Rubinsky): 268.5 V/cm after 90 pulses."""
    assert survival(np.array([middle]), pulses)[0] == pytest.approx(0.5, abs=2e-2)


def test_the_width_is_the_reference_s() -> None:
    """One width A = 1441·exp(−0.06·n) above the middle: 1 / (1 + e)."""
    pulses = 20
    field = 3996.0 * np.exp(-0.6) + 1441.0 * np.exp(-1.2)
    assert survival(np.array([field]), pulses)[0] == pytest.approx(1.0 / (1.0 + np.e))


@given(st.floats(0.0, 2e4), st.floats(0.0, 2e4), st.integers(1, 200), st.integers(1, 200))
def test_more_field_never_lets_more_survive(one: float, two: float, n: int, m: int) -> None:
    """A share between 0 and 1, falling with the field; far above the middle nothing survives."""
    low, high = sorted((one, two))
    alive = survival(np.array([low, high]), n)
    assert 0.0 <= alive[1] <= alive[0] <= 1.0
    assert survival(np.array([1e5]), m)[0] <= SURVIVAL_DEAD


def test_no_pulse_is_refused() -> None:
    """Zero pulses kill nothing, and are no input."""
    with pytest.raises(InvalidInputError, match="no pulse"):
        survival(np.zeros(1), 0)
