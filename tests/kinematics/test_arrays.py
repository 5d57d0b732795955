"""Arrays of public values: copies, finite, read-only, of the stated shape, plain lists in JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kinematics.arrays import Points3, Rows7, Vec3, read_only
from kinematics.errors import InvalidInputError
from kinematics.value import Value


class _Held(Value):
    point_mm: Vec3
    points_mm: Points3
    rows_rad: Rows7


def test_read_only_copies() -> None:
    """The copy does not follow its source, cannot be written, and is C-ordered float64."""
    source = np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3))
    copy = read_only(source, (None, 3))
    source[0, 0] = 9
    assert copy[0, 0] == 0.0 and copy.dtype == np.float64 and copy.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        copy[0, 0] = 1.0


@pytest.mark.parametrize(
    ("array", "shape", "why"),
    [
        ([1.0, 2.0], (3,), "expected shape"),
        ([[1.0, 2.0]], (None, 3), "expected shape"),
        ([1.0, 2.0, 3.0], (None, 3), "expected shape"),
        ([1.0, np.nan, 3.0], (3,), "NaN"),
        ([1.0, np.inf, 3.0], None, "NaN or infinity"),
    ],
)
def test_refusals(array: list, shape: tuple | None, why: str) -> None:
    """A wrong shape, NaN and infinity are refused."""
    with pytest.raises(ValueError, match=why):
        read_only(array, shape)


def test_no_rows_keep_their_width() -> None:
    """An empty list stands for no rows of any width, and for no vector."""
    assert read_only([], (None, 7)).shape == (0, 7)
    assert read_only([], (None,)).shape == (0,)
    with pytest.raises(ValueError, match="expected shape"):
        read_only([], (3,))


def test_fields_of_values() -> None:
    """Fields are checked by their alias, and come back from JSON as they were, even without rows."""
    held = _Held(point_mm=[1, 2, 3], points_mm=np.zeros((0, 3)), rows_rad=np.ones((2, 7)))
    again = _Held.model_validate_json(held.canonical_json())
    assert json.loads(held.canonical_json())["point_mm"] == [1.0, 2.0, 3.0]
    assert np.array_equal(again.rows_rad, held.rows_rad)
    assert again.points_mm.shape == (0, 3)
    assert not held.rows_rad.flags.writeable
    with pytest.raises(InvalidInputError, match="points_mm"):
        _Held(point_mm=[1, 2, 3], points_mm=np.zeros(3), rows_rad=np.ones((2, 7)))
