"""What a compressed CT slice says of itself, in the markers of its JPEG, JPEG-LS or JPEG 2000 stream.

Nothing is decoded here. The decoder trusts the DICOM header beside the stream: where the two differ it may return a
slice askew, or end the whole process. So they are compared first.

Reference:
    ITU-T T.81 (JPEG) B.2, T.87 (JPEG-LS) C.2, T.800 (JPEG 2000) annex A.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
JPEG_STREAMS = (*_JPEG, *_JPEG_LS, *_JPEG_2000)
"""Transfer syntaxes whose streams may be lossless."""
MAYBE_LOSSY = (_JPEG_LS[1], _JPEG_2000[1])
"""Those whose streams may also be lossy."""
_START_OF_FRAME, _START_OF_SCAN = b"\xff\xc3", b"\xff\xda"
_START_OF_FRAME_LS = b"\xff\xf7"
_SIZE, _CODING_STYLE, _START_OF_TILE = b"\xff\x51", b"\xff\x52", b"\xff\x90"
_END = b"\xff\xd9"
_REVERSIBLE = 1
"""Wavelet of JPEG 2000: 1 is the reversible 5-3, 0 the irreversible 9-7."""


@dataclass(frozen=True)
class JpegStream:
    """A stream's own account of itself.

    Args:
        rows: Height.
        columns: Width.
        samples: Values per pixel.
        bits: Bits per value.
        loss: How it loses values; None when it says that it does not.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    loss: str | None


def jpeg_stream(encoded: bytes, syntax: str) -> JpegStream | None:
    """Return what a frame in one of `JPEG_STREAMS` says of itself; None when it has no end mark or no header."""
    if not encoded.rstrip(b"\0").endswith(_END):
        return None
    try:
        if syntax in _JPEG_2000:
            size, style = _segment(encoded, _SIZE), _segment(encoded, _CODING_STYLE)
            right, below, left, above = struct.unpack_from(">4I", size, 2)
            samples, depth = struct.unpack_from(">HB", size, 34)
            loss = None if style[9] == _REVERSIBLE else "irreversible wavelet"
            return JpegStream(below - above, right - left, samples, (depth & 0x7F) + 1, loss)
        frame = _segment(encoded, _START_OF_FRAME if syntax in _JPEG else _START_OF_FRAME_LS)
        bits, rows, columns, samples = struct.unpack_from(">BHHB", frame)
        # The scan header ends in NEAR, interleave mode and point transform for JPEG-LS; a point transform drops bits.
        near, _, transform = _segment(encoded, _START_OF_SCAN)[-3:]
    except (struct.error, IndexError, ValueError):
        return None
    if syntax in _JPEG_LS and near:
        return JpegStream(rows, columns, samples, bits, f"values up to {near} off")
    dropped = transform & 0x0F
    return JpegStream(rows, columns, samples, bits, f"{dropped} bits dropped" if dropped else None)


def _segment(stream: bytes, wanted: bytes) -> bytes:
    """What a marker segment holds, without marker and length; empty when there is none."""
    at = 2
    while at + 4 <= len(stream):
        marker, length = stream[at : at + 2], struct.unpack_from(">H", stream, at + 2)[0]
        if marker == wanted:
            return stream[at + 4 : at + 2 + length]
        known = marker[0] == 0xFF and 0x50 <= marker[1] < 0xFF and not 0xD0 <= marker[1] <= 0xD9
        if not known or length < 2 or marker in (_START_OF_SCAN, _START_OF_TILE):
            break
        at += 2 + length
    return b""
