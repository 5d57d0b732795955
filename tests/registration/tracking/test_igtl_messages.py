"""Messages packed and taken apart, against bytes laid out by hand, and bytes that are none."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyigtl.messages import CRC64, TransformMessage

from registration.tracking.igtl_messages import (
    ProtocolError,
    StatusMessage,
    TrackingDataMessage,
    body_bytes,
    message_of,
)

MATRIX = np.array([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30.5], [0, 0, 0, 1]])


def _header(kind: bytes, body: bytes, version: int = 1) -> bytes:
    return struct.pack("> H 12s 20s II Q Q", version, kind, b"device", 12, 1 << 31, len(body), CRC64(body))


def test_tdata_is_laid_out_as_the_protocol_says() -> None:
    """Name, type, reserved, then the 3 × 4 by columns; read back equal."""
    by_hand = struct.pack("> 20s B B 12f", b"stylus", 1, 0, 0, 1, 0, -1, 0, 0, 0, 0, 1, 10, 20, 30.5)
    packed = TrackingDataMessage({"stylus": MATRIX}, timestamp=12.5, device_name="device").pack()
    assert packed == _header(b"TDATA", by_hand) + by_hand
    read = message_of(packed[:58], packed[58:])
    assert read is not None and read.timestamp == pytest.approx(12.5)
    np.testing.assert_array_equal(read.tools["stylus"], MATRIX)


def test_status_is_laid_out_as_the_protocol_says() -> None:
    """Code, subcode, name, text with its nought; read back equal."""
    by_hand = struct.pack("> H q 20s", 13, -2, b"not ready") + b"warming up\0"
    packed = StatusMessage(13, -2, "not ready", "warming up", timestamp=12.5, device_name="device").pack()
    assert packed == _header(b"STATUS", by_hand) + by_hand
    read = message_of(packed[:58], packed[58:])
    assert read is not None
    assert (read.code, read.subcode, read.error, read.text) == (13, -2, "not ready", "warming up")


def test_unknown_kinds_are_passed_over_and_wrong_ones_refused() -> None:
    """The protocol's own way with what it does not know; lengths, versions and checksums are not its own."""
    assert message_of(_header(b"SENSOR", b"abc"), b"abc") is None
    assert body_bytes(_header(b"SENSOR", b"abc")) == 3
    for header, said in (
        (_header(b"TDATA", b"", 3), "header version 3"),
        (_header(b"", b""), "no OpenIGTLink header"),
        (_header(b"\xff\xfe", b""), "no OpenIGTLink header"),
        (b"\0" * 57, "no OpenIGTLink header"),
    ):
        with pytest.raises(ProtocolError, match=said):
            body_bytes(header)
    for kind, body, said in (
        (b"TDATA", b"1" * 69, "no whole tools"),
        (b"STATUS", b"1" * 9, "30 at least"),
        (b"TRANSFORM", b"1" * 9, "cannot be taken apart"),
    ):
        with pytest.raises(ProtocolError, match=said):
            message_of(_header(kind, body), body)


@given(st.binary(min_size=58, max_size=58), st.binary(max_size=200))
def test_whatever_comes_is_a_message_or_a_refusal(header: bytes, body: bytes) -> None:
    """No other exception, whatever the bytes."""
    try:
        body_bytes(header)
        message_of(header, body)
    except ProtocolError:
        return


@given(st.integers(0, 105), st.integers(0, 255))
def test_one_changed_byte_is_seen(place: int, value: int) -> None:
    """In body or checksum; the fields of the header are not under the checksum, and are checked by themselves."""
    packed = bytearray(TransformMessage(MATRIX, timestamp=1.0, device_name="d").pack())
    if place < 50 or packed[place] == value:
        return
    packed[place] = value
    with pytest.raises(ProtocolError, match="checksum"):
        message_of(bytes(packed[:58]), bytes(packed[58:]))
