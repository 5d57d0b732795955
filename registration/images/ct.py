"""A CT from wherever it lies: a folder of DICOM files, or one image file."""

from __future__ import annotations

from pathlib import Path

from kinematics.errors import InvalidInputError
from registration.images.dicom_series import read_series
from registration.images.volume import Volume, read_image


def read_ct(path: Path, series: str | None = None, *, frame: str = "ct") -> Volume:
    """Read a DICOM folder or a NIfTI-1, NRRD or MetaImage file, which is taken to be in HU.

    Args:
        path: Folder or file.
        series: UID of the series, where the folder holds several.
        frame: Frame that the volume's LPS coordinates are called.

    Raises:
        InvalidInputError: A series is named for a file; else as `read_series` and `read_image`.
    """
    if path.is_dir():
        return read_series(path, series, frame=frame)
    if series is not None:
        raise InvalidInputError(
            "a series is named, but the CT is not a DICOM folder",
            value=series,
            file=str(path),
            remedy="leave --series out, or name the folder of the series",
        )
    return read_image(path, frame)
