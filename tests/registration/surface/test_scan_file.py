"""A scan in a CSV file, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.surface.scan_file import read_scan


def test_points_are_read_as_they_stand(tmp_path: Path) -> None:
    """Three numbers a line, a blank line passed over, a byte-order mark no matter."""
    file = tmp_path / "scan.csv"
    file.write_text("\ufeffx_mm, y_mm,z_mm\n1,2,3.5\n\n-4e1,5,6\n", encoding="utf-8")
    np.testing.assert_array_equal(read_scan(file), [[1, 2, 3.5], [-40, 5, 6]])


@pytest.mark.parametrize(
    ("text", "said", "row"),
    [
        ("a,b,c\n1,2,3\n", "header of the scan is wrong", 1),
        ("x_mm,y_mm,z_mm\n1,2\n", "three numbers", 2),
        ("x_mm,y_mm,z_mm\n1,2,3\n1,nan,3\n", "three numbers", 3),
        ("x_mm,y_mm,z_mm\n1,two,3\n", "three numbers", 2),
        ("x_mm,y_mm,z_mm\n", "has no point", None),
        (None, "is not there", None),
        (b"\xff\xfe\x00", "cannot be read", None),
    ],
)
def test_what_is_no_scan_is_refused(tmp_path: Path, text: str | bytes | None, said: str, row: int | None) -> None:
    """Each with the file, the row where there is one, and what to do."""
    file = tmp_path / "scan.csv"
    if isinstance(text, bytes):
        file.write_bytes(text)
    elif text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInputError, match=said) as caught:
        read_scan(file)
    assert str(caught.value.file).endswith(f"scan.csv, row {row}" if row else "scan.csv") and caught.value.remedy
