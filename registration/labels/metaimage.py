"""A MetaImage of labels parsed by hand, header and voxels: no reader is shared with `registration.images.volume`.

Reference: the MetaIO documentation, "MetaImage" and "Spatial objects" (TransformMatrix, Offset, ElementSpacing).
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray

SUFFIXES = (".mha", ".mhd")
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LAST = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*(?:\n|\Z)", re.MULTILINE)
_MATRIX, _ORIGIN = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin")
_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")


def parsed(path: Path) -> tuple[NDArray[Any], FloatArray] | None:
    """Return the voxels (i, j, k) and the affine, index to LPS [mm], of a MetaImage; None for what is not read here.

    Not read: text, several channels or files of voxels, a scale of its values, fields that are said twice under two
    names, and bytes to skip anywhere but in a file of plain voxels.

    Raises:
        KeyError, ValueError: A field is missing or no number; the voxels do not have the length that is said.
    """
    content = path.read_bytes()
    last = _LAST.search(content)
    if last is None:
        return None
    lines = (line.partition("=") for line in content[: last.end()].decode("utf-8", "replace").splitlines())
    fields = {key.strip(): value.strip() for key, sign, value in lines if sign}
    kind = _TYPES.get(fields["ElementType"])
    skip = int(fields.get("HeaderSize", "0"))  # -1: the voxels are the end of the file
    apart = fields["ElementDataFile"].upper() != "LOCAL" and fields.get("CompressedData", "False").lower() != "true"
    plain = (
        (skip == 0 or apart)
        and fields["NDims"] == "3"
        and fields.get("BinaryData", "False").lower() == "true"
        and fields.get("ElementNumberOfChannels", "1") == "1"
        and float(fields.get("ElementToIntensityFunctionSlope", "1")) == 1.0
        and float(fields.get("ElementToIntensityFunctionOffset", "0")) == 0.0
    )
    matrix, origin, order = _one_of(fields, _MATRIX), _one_of(fields, _ORIGIN), _one_of(fields, _ORDER)
    body = _body(path, fields, content[last.end() :])
    if kind is None or not plain or matrix is None or origin is None or body is None:
        return None
    sizes = [int(word) for word in fields["DimSize"].split()]
    spacing_mm = np.array([float(word) for word in fields["ElementSpacing"].split()])
    stored = np.dtype(("<" if order is None or order.lower() == "false" else ">") + kind)
    length = int(np.prod(sizes)) * stored.itemsize
    first = len(body) - length if skip == -1 else skip
    voxels = np.frombuffer(body, stored, int(np.prod(sizes)), first).reshape(sizes, order="F")
    affine = np.eye(4)
    # Each row of the matrix as written is the direction of one axis of the voxels.
    affine[:3, :3] = np.array([float(word) for word in matrix.split()]).reshape(3, 3).T * spacing_mm
    affine[:3, 3] = [float(word) for word in origin.split()]
    return voxels, affine


def _one_of(fields: dict[str, str], names: tuple[str, ...]) -> str | None:
    said = [fields[name] for name in names if name in fields]
    return said[0] if len(said) == 1 else None


def _body(path: Path, fields: dict[str, str], after: bytes) -> bytes | None:
    """Return the bytes of the voxels; None where they lie in several files, or cannot be unpacked."""
    name = fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        body = after
    elif (path.parent / name).is_file():
        body = (path.parent / name).read_bytes()
    else:
        return None
    if fields.get("CompressedData", "False").lower() != "true":
        return body
    try:
        return zlib.decompressobj().decompress(body)
    except zlib.error:
        return None
