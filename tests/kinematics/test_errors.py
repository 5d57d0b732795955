"""Errors carry their data and say it in one paragraph."""

from __future__ import annotations

import pytest

from kinematics.errors import (
    FrameMismatchError,
    InvalidInputError,
    NeedleworkError,
    RefusedError,
    SafetyStop,
    StorageError,
)


def test_invalid_input_says_everything_once() -> None:
    """What, file, value with unit and frame, limit and remedy are in the text and in the fields."""
    error = InvalidInputError(
        "the slice is missing.", value=3.5, limit=2.5, unit="mm", frame="ct", file="a.dcm", remedy="send it again."
    )
    assert str(error) == (
        "the slice is missing. File: a.dcm. Value: 3.5 mm (frame ct). Limit: 2.5 mm. What to do: send it again."
    )
    assert (error.value, error.limit, error.unit, error.frame, error.file) == (3.5, 2.5, "mm", "ct", "a.dcm")


def test_invalid_input_without_data() -> None:
    """Only what is known is said; a value of 0 is known."""
    assert str(InvalidInputError("no")) == "no."
    assert str(InvalidInputError("no", value=0.0)) == "no. Value: 0.0."


@pytest.mark.parametrize(
    "error",
    [
        InvalidInputError("a"),
        FrameMismatchError("b"),
        StorageError("f", "full", "free some"),
        RefusedError("plan", ("a", "b")),
        SafetyStop("force", 5.0, 2.0, "N"),
    ],
)
def test_one_root(error: Exception) -> None:
    """Everything raised on purpose has one root; bad input is a ValueError, too."""
    assert isinstance(error, NeedleworkError)
    assert isinstance(error, ValueError) is isinstance(error, InvalidInputError)


def test_texts_name_number_and_limit() -> None:
    """A stop says check, value, limit and unit; a refusal its step and reasons; storage that nothing changed."""
    assert str(SafetyStop("force", 5.25, 2.0, "N")) == "safety stop: force = 5.25 N, limit 2 N"
    assert str(RefusedError("plan", ("one", "two"))) == "plan refused: one; two"
    assert "Nothing was changed" in str(StorageError("f.json", "disk full", "free some space"))
