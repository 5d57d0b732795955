"""What a stream says of itself, read from markers written by hand."""

from __future__ import annotations

import struct

import pytest

from registration.images.jpeg_stream import JpegStream, jpeg_stream

JPEG, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"


def segment(marker: int, content: bytes) -> bytes:
    """A marker segment."""
    return struct.pack(">HH", marker, len(content) + 2) + content


def jpeg(near: int = 0, transform: int = 0, frame: int = 0xFFC3) -> bytes:
    """A JPEG or JPEG-LS stream of 13 rows, 17 columns and 12 bits, without voxels."""
    size = segment(frame, struct.pack(">BHHB", 12, 13, 17, 1) + b"\1\x11\0")
    return b"\xff\xd8" + size + segment(0xFFDA, bytes([1, 1, 0, near, 0, transform])) + b"\0\0\xff\xd9"


def jpeg_2000(wavelet: int = 1, depth: int = 0x8F) -> bytes:
    """A JPEG 2000 stream of 13 rows and 17 columns on a shifted grid, without voxels."""
    size = segment(0xFF51, struct.pack(">H8I", 0, 20, 15, 3, 2, 20, 15, 0, 0) + struct.pack(">HB", 1, depth) + b"\1\1")
    style = segment(0xFF52, bytes([0, 0, 0, 1, 0, 2, 4, 4, 0, wavelet]))
    return b"\xff\x4f" + size + style + segment(0xFF90, bytes(8)) + b"\xff\xd9\0"


@pytest.mark.parametrize(
    ("stream", "syntax", "expected"),
    [
        (jpeg(), JPEG, JpegStream(13, 17, 1, 12, None)),
        (jpeg(transform=2), JPEG, JpegStream(13, 17, 1, 12, "2 bits dropped")),
        (jpeg(frame=0xFFF7), JPEG_LS, JpegStream(13, 17, 1, 12, None)),
        (jpeg(near=3, frame=0xFFF7), JPEG_LS, JpegStream(13, 17, 1, 12, "values up to 3 off")),
        (jpeg_2000(), JPEG_2000, JpegStream(13, 17, 1, 16, None)),
        (jpeg_2000(wavelet=0, depth=11), JPEG_2000, JpegStream(13, 17, 1, 12, "irreversible wavelet")),
    ],
)
def test_size_depth_and_loss_are_read(stream, syntax, expected):
    """The markers of each kind of stream are found where its standard puts them."""
    assert jpeg_stream(stream, syntax) == expected


@pytest.mark.parametrize(
    ("stream", "syntax"),
    [
        (jpeg()[:-1], JPEG),
        (jpeg(frame=0xFFF7), JPEG),
        (jpeg(), JPEG_2000),
        (jpeg_2000(), JPEG_LS),
        (jpeg().replace(b"\xff\xda", b"\xff\x01"), JPEG),
        (b"\xff\xd8\xff\xd9", JPEG),
        (b"", JPEG),
    ],
)
def test_what_is_no_whole_stream_of_its_kind_says_nothing(stream, syntax):
    """No end mark, another kind's header, a broken chain of markers: none is half read."""
    assert jpeg_stream(stream, syntax) is None
