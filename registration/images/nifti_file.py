"""Whether a NIfTI-1 file is whole: its own reader and writer pass over a file that was cut short with a warning."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

HEADER_BYTES = 352
"""Header and extension flag of a single-file NIfTI-1 without extensions."""
_CHUNK_BYTES = 1 << 22
_KINDS = {
    8: (2, 256),
    16: (4, 512),
    24: (128,),
    32: (8, 16, 768, 2304),
    64: (32, 64, 1024, 1280),
    128: (1536, 1792),
    256: (2048,),
}
_BITS = {kind: bits for bits, kinds in _KINDS.items() for kind in kinds}
"""Bits that a voxel takes, by datatype (nifti1.h); a bit for each voxel (1) is read by nobody."""


def is_nifti(path: Path) -> bool:
    """Tell by its name whether a file is a single-file NIfTI."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def fault(path: Path) -> str | None:
    """Return what is wrong with a NIfTI file's header, length or compression; None when it is whole.

    The whole file is read: a gzip stream is checked to its checksum, and what it holds against what the header
    promises. Where the voxels begin and how long each is has to be said without a contradiction, for the reader beneath
    believes either.
    """
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            header = file.read(HEADER_BYTES)
            order = _order(header)
            if order is None:
                return _foreign(header)
            wrong = _contradiction(header, order)
            if wrong is not None:
                return wrong
            promised = _promised_bytes(header, order)
            found = len(header)
            while chunk := file.read(_CHUNK_BYTES):
                found += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return f"its compression is damaged or cut short ({error})"
    return None if found >= promised else f"it holds {found} bytes of {promised}"


def _order(header: bytes) -> str | None:
    """Order of the bytes of a single-file NIfTI-1 header with an extent; None when it is none."""
    if len(header) < 348:
        return None
    for order in "<>":
        if struct.unpack_from(order + "i", header, 0)[0] == 348:
            axes, *sizes = struct.unpack_from(order + "8h", header, 40)
            # Without the magic it is an Analyze header, whose orientation nobody agrees on, or one half of a pair.
            if 1 <= axes <= 7 and min(sizes[:axes]) >= 1 and header[344:348] == b"n+1\0":
                return order
    return None


def _contradiction(header: bytes, order: str) -> str | None:
    kind, bits = struct.unpack_from(order + "2h", header, 70)
    if kind not in _BITS:
        return f"its datatype {kind} is unknown"
    if bits != _BITS[kind]:
        return f"its bitpix {bits} contradicts its datatype {kind}, which takes {_BITS[kind]}"
    offset = float(struct.unpack_from(order + "f", header, 108)[0])
    if not (HEADER_BYTES <= offset < math.inf and offset.is_integer()):
        return f"its voxels begin at byte {offset:g} (vox_offset), not at a whole number from {HEADER_BYTES}"
    return None


def _promised_bytes(header: bytes, order: str) -> int:
    axes, *sizes = struct.unpack_from(order + "8h", header, 40)
    bits = int(struct.unpack_from(order + "h", header, 72)[0])
    return int(struct.unpack_from(order + "f", header, 108)[0]) + math.prod(int(n) for n in sizes[:axes]) * bits // 8


def _foreign(header: bytes) -> str:
    if any(header[:4] == struct.pack(order + "i", 540) for order in "<>"):
        return "it is a NIfTI-2 file, which is not read: convert it to NIfTI-1"
    return "its header is not that of a single-file NIfTI-1 image"


def written_whole(path: Path, voxel_bytes: int) -> bool:
    """Tell whether a file just written holds `voxel_bytes` of voxels, by its length alone."""
    if not path.name.lower().endswith(".gz"):
        return path.stat().st_size == HEADER_BYTES + voxel_bytes
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        held = int.from_bytes(file.read(), "little")  # a gzip member ends with the length of what it holds
    return held == (HEADER_BYTES + voxel_bytes) % 2**32
