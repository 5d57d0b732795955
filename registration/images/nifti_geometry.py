"""Where a NIfTI-1 image lies in the patient: its sform and qform, whether they agree, and which one is used.

The sform is used where there is one, for it is stored as a matrix; a qform beside it has to agree with it to 0.1 mm at
every corner. RAS occurs inside `geometry` only.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.axes import nearest_perpendicular

AGREEMENT_MM = 0.1
"""Two statements about a corner's place further apart than this contradict each other."""
ATLAS_CODES = {3: "Talairach", 4: "MNI", 5: "template"}
"""Form codes whose coordinates are an atlas's, not this patient's."""
_UNKNOWN_UNIT = 0
_MM_PER_UNIT = {_UNKNOWN_UNIT: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_REMEDY = "convert the original DICOM series again, with one tool and without resampling"


@dataclass(frozen=True, eq=False)
class _Header:
    shape: NDArray[np.int64]
    pixdim: FloatArray
    unit: int
    qform_code: int
    sform_code: int
    quaternion: FloatArray
    offset: FloatArray
    rows: FloatArray


def geometry(path: Path) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the affine of a whole NIfTI-1 file, and what is to be said about it.

    Args:
        path: A file without `nifti_file.fault`.

    Returns:
        Voxel index to LPS [mm], shape (4, 4), perpendicular axes of either handedness; notes.

    Raises:
        InvalidInputError: Neither form, forms that contradict each other, an atlas's coordinates, axes that are
            sheared or scaled against the voxel size, an unknown unit of length or form code, or numbers that are no
            geometry.

    Reference:
        NIfTI-1.1 header, nifti1.h, sections "3D image (volume) orientation and location in space" (methods 2 and 3).
    """
    header = _header(path)
    notes = []
    if header.unit == _UNKNOWN_UNIT:
        notes.append("the NIfTI image states no unit of length: taken as mm")
    sform = _sform(header, path) if header.sform_code > 0 else None
    qform = _qform(header, path) if header.qform_code > 0 else None
    codes = {c for c in (header.sform_code, header.qform_code) if c > 0}
    if codes and codes <= set(ATLAS_CODES):
        raise InvalidInputError(
            f"the NIfTI image lies in the coordinates of an atlas ({ATLAS_CODES[max(codes)]}), not of the patient",
            value=max(codes),
            limit="form code 1 (scanner) or 2 (aligned)",
            file=str(path),
            remedy="name the image before it was moved to the atlas",
        )
    if sform is not None and qform is not None:
        apart_mm = _apart_mm(sform, qform, header.shape)
        if apart_mm > AGREEMENT_MM:
            raise InvalidInputError(
                "the NIfTI image's sform and qform contradict each other: a corner lies in two places",
                value=round(apart_mm, 3),
                limit=AGREEMENT_MM,
                unit="mm",
                file=str(path),
                remedy=_REMEDY,
            )
        notes.append(f"placed by its sform; its qform agrees to {apart_mm:.3f} mm at every corner")
    affine = sform if sform is not None else qform
    if affine is None:
        raise InvalidInputError(
            "the NIfTI image does not say how it lies in the patient: sform and qform codes are both 0",
            value=0,
            limit="one code of 1 or 2",
            file=str(path),
            remedy=_REMEDY,
        )
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, tuple(notes)


def _header(path: Path) -> _Header:
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        raw = file.read(348)
    order = "<" if struct.unpack_from("<i", raw, 0)[0] == 348 else ">"
    axes, *sizes = struct.unpack_from(order + "8h", raw, 40)
    unit = raw[123] & 0x07  # the bits above it are the unit of time
    if unit not in _MM_PER_UNIT:
        raise InvalidInputError(
            "the NIfTI image states a unit of length that does not exist (xyzt_units)",
            value=unit,
            limit="1 (m), 2 (mm) or 3 (um)",
            file=str(path),
            remedy=_REMEDY,
        )
    scale_mm = _MM_PER_UNIT[unit]
    qform_code, sform_code = struct.unpack_from(order + "2h", raw, 252)
    for form, code in (("qform", qform_code), ("sform", sform_code)):
        if not 0 <= code <= max(ATLAS_CODES):
            raise InvalidInputError(
                f"the NIfTI image's {form} code does not exist: what its coordinates mean is not known",
                value=code,
                limit=f"0 to {max(ATLAS_CODES)}",
                file=str(path),
                remedy=_REMEDY,
            )
    forms = np.array(struct.unpack_from(order + "18f", raw, 256), dtype=np.float64)
    pixdim = np.array(struct.unpack_from(order + "4f", raw, 76), dtype=np.float64)
    pixdim[1:] *= scale_mm
    if not (np.isfinite(pixdim).all() and (pixdim[1:] > 0.0).all()):
        raise InvalidInputError(
            "the NIfTI image's voxel size is not three positive lengths",
            value=pixdim[1:].tolist(),
            unit="mm",
            file=str(path),
            remedy=_REMEDY,
        )
    shape = np.array([*sizes[: min(axes, 3)], 1, 1][:3])
    return _Header(
        shape,
        pixdim,
        unit,
        qform_code,
        sform_code,
        forms[:3],
        forms[3:6] * scale_mm,
        forms[6:].reshape(3, 4) * scale_mm,
    )


def _sform(header: _Header, path: Path) -> FloatArray:
    columns = header.rows[:, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(header.rows).all() or (lengths < 1e-6).any():
        raise InvalidInputError(
            "the NIfTI image's sform is not a placement",
            value=header.rows.tolist(),
            file=str(path),
            remedy=_REMEDY,
        )
    # Only the length along each axis can differ after this.
    straight = nearest_perpendicular(columns)
    affine = np.eye(4)
    affine[:3, 3] = header.rows[:, 3]
    sheared, rigid = affine.copy(), affine.copy()
    sheared[:3, :3], rigid[:3, :3] = columns, straight
    affine[:3, :3] = straight / lengths * header.pixdim[1:]
    for other, what in ((sheared, "axes are not perpendicular (sheared)"), (affine, "scale is not the voxel size")):
        off_mm = _apart_mm(rigid, other, header.shape)
        if off_mm > AGREEMENT_MM:
            raise InvalidInputError(
                f"the NIfTI image's sform is no rigid placement: its {what}",
                value=round(off_mm, 3),
                limit=AGREEMENT_MM,
                unit="mm at a corner",
                file=str(path),
                remedy=_REMEDY,
            )
    return rigid


def _qform(header: _Header, path: Path) -> FloatArray:
    b, c, d = header.quaternion
    rest = 1.0 - b * b - c * c - d * d
    if not (np.isfinite(header.offset).all() and rest > -1e-4):
        raise InvalidInputError(
            "the NIfTI image's qform is not a placement: its quaternion is longer than one",
            value=[float(b), float(c), float(d)],
            file=str(path),
            remedy=_REMEDY,
        )
    a = np.sqrt(max(rest, 0.0))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    qfac = -1.0 if header.pixdim[0] < 0.0 else 1.0  # 0 stands for 1
    affine = np.eye(4)
    affine[:3, :3] = nearest_perpendicular(rotation) * header.pixdim[1:] * (1.0, 1.0, qfac)
    affine[:3, 3] = header.offset
    return affine


def _apart_mm(one: FloatArray, other: FloatArray, shape: NDArray[np.int64]) -> float:
    """Largest distance [mm] between the places that two affines give to the corners of an image."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], (1,), indexing="ij"), axis=-1).reshape(-1, 4)
    return float(np.linalg.norm(corners @ (one - other)[:3].T, axis=1).max())
