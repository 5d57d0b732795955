"""The voxels of a DICOM CT slice in HU: decoded by a library, and refused where the compression was lossy.

A lossy CT is refused, not read with a warning: what its compression moved or blurred is unknown, and stands in no error
budget, while every accuracy that is stated downstream (markers, needles) was measured on images without it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import broken, damaged, in_short
from registration.images.dicom_slice import CtSlice
from registration.images.jpeg_stream import JPEG_STREAMS, MAYBE_LOSSY, jpeg_stream
from registration.images.tilt import OUTSIDE_HU

THICKEST_PADDING_HU = -1000
"""A padding value above air would make holes of tissue."""
_JPEG_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_RLE = "1.2.840.10008.1.2.5"
_DECODER = "gdcm"
"""Decodes `JPEG_STREAMS`, and nothing else that may be installed beside it does: one decoder, tested to the bit."""


def check_readable(one: CtSlice) -> None:
    """Refuse a slice whose voxels cannot or must not be decoded, by its header alone.

    Raises:
        InvalidInputError: No transfer syntax, one without a decoder, one whose decoder is not installed, or lossy
            compression.
    """
    from pydicom.pixels import get_decoder

    file, data = str(one.file.path), one.file.data
    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise InvalidInputError(
            "a DICOM file does not say how its voxels are stored (no transfer syntax)",
            file=file,
            remedy="export the series again as DICOM files (part 10)",
        )
    if str(data.get("LossyImageCompression", "")) == "01" or syntax in _JPEG_LOSSY:
        ratio, method = data.get("LossyImageCompressionRatio", ""), data.get("LossyImageCompressionMethod", "")
        raise _lossy(one, f"{syntax.name}, ratio {ratio or 'not said'}, method {method or 'not said'}")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise _no_decoder(one, "there is no decoder for it") from error
    plugins = decoder.available_plugins
    # The syntaxes that are not compressed need no plug-in.
    if syntax.is_encapsulated and (not plugins or (syntax in JPEG_STREAMS and _DECODER not in plugins)):
        raise _no_decoder(one, "its decoder is not installed")


def hounsfield(one: CtSlice) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """Return a slice's HU, shape (rows, columns), and what is to be said about it.

    Stored values are rescaled by the slice's own slope and intercept and rounded; what does not fit in int16 is
    clipped. Padding, which is not part of the image, becomes `OUTSIDE_HU`.

    Raises:
        InvalidInputError: Damaged or truncated voxels, lossy compression, or a padding value that tissue has too.
    """
    from pydicom.encaps import get_frame
    from pydicom.pixels import pixel_array

    data, frame = one.file.data, one.frame or 0
    syntax, notes = data.file_meta.TransferSyntaxUID, []
    try:
        buffer = data.PixelData
        if syntax.is_encapsulated:
            notes += _check_compressed(one, get_frame(buffer, frame, number_of_frames=one.file.frames))
        else:
            needed = one.size[0] * one.size[1] * int(data.BitsAllocated) // 8 * one.file.frames
            if len(buffer) < needed:
                raise damaged(one.file.path, f"it holds {len(buffer)} bytes of voxels of {needed}")
            if len(buffer) > needed + 1:
                notes.append("there are more bytes of voxels than rows and columns ask for: the rest is left aside")
        plugin = _DECODER if syntax in JPEG_STREAMS else ""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            stored = pixel_array(data, index=frame, raw=True, decoding_plugin=plugin)
        if syntax == _RLE and said:  # more came out than rows and columns hold
            raise damaged(one.file.path, str(said[0].message))
    except InvalidInputError:
        raise
    except broken() as error:
        raise damaged(one.file.path, in_short(error)) from error
    finally:
        if one.frame is None and "PixelData" in data:
            del data.PixelData  # a series is large: keep what was decoded alone
    if stored.shape != one.size:
        raise damaged(one.file.path, f"its voxels decode to {stored.shape}, not {one.size}")
    padding = _padding(one, stored)
    values = _rescaled(stored, one.slope, one.intercept)
    if padding is not None and padding.any():
        thickest = int(values[padding].max())
        if thickest > THICKEST_PADDING_HU:
            raise InvalidInputError(
                "the padding value of a slice is a HU that tissue has too: what lies outside the field cannot be told",
                value=thickest,
                limit=THICKEST_PADDING_HU,
                unit="HU",
                file=str(one.file.path),
                remedy="export the original CT series, with its own padding value",
            )
        values[padding] = OUTSIDE_HU
        notes.append(f"padding outside the field is set to {OUTSIDE_HU} HU")
    return values, tuple(notes)


def _rescaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.int16]:
    wide: NDArray[Any]
    if slope == int(slope) and intercept == int(intercept) and max(abs(slope), abs(intercept)) < 2**14:
        # Whole numbers stay whole, and cost half the time.
        wide = stored.astype(np.int64 if stored.itemsize > 2 else np.int32)
        wide *= int(slope)
        wide += int(intercept)
    else:
        wide = np.rint(stored * slope + intercept)
    clipped: NDArray[np.int16] = np.clip(wide, -32768, 32767).astype(np.int16)
    return clipped


def _padding(one: CtSlice, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where the stored values are padding; None when the slice has no padding value."""
    data = one.file.data
    value, limit = data.get("PixelPaddingValue"), data.get("PixelPaddingRangeLimit")
    if value is None:
        return None
    try:
        bits = int(data.BitsAllocated)
        # Written as signed by some scanners where the voxels are unsigned, and the other way round.
        ends = [
            _wrapped(int(v), bits, signed=stored.dtype.kind == "i") for v in (value, value if limit is None else limit)
        ]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            "the padding value of a slice is no number",
            value=str(value),
            file=str(one.file.path),
            remedy="export the original CT series",
        ) from error
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _wrapped(value: int, bits: int, *, signed: bool) -> int:
    value %= 1 << bits
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value


def _check_compressed(one: CtSlice, encoded: bytes) -> list[str]:
    """Refuse a compressed frame that is not whole, not what its header says, or lossy by its own account."""
    data = one.file.data
    syntax = data.file_meta.TransferSyntaxUID
    if syntax not in JPEG_STREAMS:
        return []
    stream = jpeg_stream(encoded, syntax)
    if stream is None:
        raise damaged(one.file.path, f"its compressed voxels stop after {len(encoded)} bytes, or do not begin as such")
    bits = int(data.BitsAllocated)
    # The decoder trusts the header: a stream of another size would be read askew, or beyond its end.
    if (stream.rows, stream.columns, stream.samples) != (*one.size, 1) or not bits // 2 < stream.bits <= bits:
        raise damaged(
            one.file.path,
            f"its compressed voxels are {stream.rows} x {stream.columns} x {stream.samples} of {stream.bits} bits, "
            f"not {one.size[0]} x {one.size[1]} x 1 of {bits // 2 + 1} to {bits}",
        )
    if stream.loss is not None:
        raise _lossy(one, f"{syntax.name}, {stream.loss}")
    if syntax in MAYBE_LOSSY and one.file.text("LossyImageCompression") != "00":
        return ["its compression may be lossy and the header does not say that it is not; its stream shows no loss"]
    return []


def _lossy(one: CtSlice, how: str) -> InvalidInputError:
    return InvalidInputError(
        "the CT was compressed with loss: what that moved or blurred is unknown, and in no error budget",
        value=how,
        limit="lossless",
        file=str(one.file.path),
        remedy="fetch the original series from the scanner or archive",
    )


def _no_decoder(one: CtSlice, why: str) -> InvalidInputError:
    syntax = one.file.data.file_meta.TransferSyntaxUID
    return InvalidInputError(
        f"the voxels of a DICOM file cannot be decoded: {why}",
        value=f"{syntax.name} ({syntax})",
        limit="uncompressed, deflated, RLE, JPEG lossless, JPEG-LS lossless, JPEG 2000 lossless",
        file=str(one.file.path),
        remedy="install python-gdcm where it is missing; else export the series uncompressed",
    )
