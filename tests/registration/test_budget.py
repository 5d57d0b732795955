"""The error budget as a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinematics.errors import InvalidInputError
from registration.budget import ErrorBudget


def test_bending_grows_with_the_square_of_depth() -> None:
    """1 mm at 100 mm is 0.25 mm at half and 2.25 mm at one and a half of it."""
    budget = ErrorBudget()
    assert [budget.bending_rms_mm(d) for d in (50.0, 100.0, 150.0)] == pytest.approx([0.25, 1.0, 2.25])


def test_a_negative_or_unknown_error_is_refused() -> None:
    """The field that is wrong is named."""
    with pytest.raises(InvalidInputError, match="tracker_rms_mm"):
        ErrorBudget(tracker_rms_mm=-0.1)
    with pytest.raises(InvalidInputError, match="arm_rms_mm"):
        ErrorBudget(arm_rms_mm=float("inf"))
    with pytest.raises(InvalidInputError, match="tracker_mm"):
        ErrorBudget(tracker_mm=0.1)


def test_the_budget_survives_its_file_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Saved and loaded it is the same; cut short it names the file."""
    path = tmp_path / "budget.json"
    ErrorBudget(arm_rms_mm=0.7).save(path)
    assert ErrorBudget.load(path) == ErrorBudget(arm_rms_mm=0.7)
    path.write_text(path.read_text()[:40])
    with pytest.raises(InvalidInputError, match=r"budget\.json"):
        ErrorBudget.load(path)
