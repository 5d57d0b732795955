"""A peer in a process of its own that behaves in one of several ways: python igtl_peer.py MODE.

Prints its port, serves one connection after the other, and ends when it is ended.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

import numpy as np
from pyigtl.messages import CRC64, PointMessage, TransformMessage

from registration.tracking.igtl_messages import StatusMessage, TrackingDataMessage

POINTS = [(10.0, -20.0, 30.5), (1.0, 2.0, 3.0), (-7.0, 8.0, 900.25)]
TABLE = np.array([[0.0, -1, 0, 100], [1, 0, 0, -50], [0, 0, 1, 900], [0, 0, 0, 1]])
ARM = np.array([[1.0, 0, 0, 7], [0, 1, 0, 8], [0, 0, 1, 9], [0, 0, 0, 1]])


def frame(number: int, version: int = 1, ahead_s: float = 0.0) -> bytes:
    """One sample, different each time, of a clock that is `ahead_s` ahead."""
    stamp = time.time() + ahead_s
    moved = TABLE.copy()
    moved[0, 3] += 0.001 * (number % 100)
    parts = [
        StatusMessage(timestamp=stamp, device_name="Tracker"),
        TrackingDataMessage({"reference": moved}, timestamp=stamp, device_name="Bodies"),
        TransformMessage(ARM, timestamp=stamp, device_name="ArmToTracker"),
        PointMessage(POINTS, ["a", "b", "c"], timestamp=stamp, device_name="Markers"),
    ]
    for part in parts:
        part.header_version = version
    return b"".join(part.pack() for part in parts)


def lively(number: int, mode: str) -> bytes:
    """A sample in which everything has its noise, as a camera has; in some modes no more after a while."""
    stamp, rng = time.time(), np.random.default_rng(0 if mode == "frozen" and number >= 5 else number)
    table, arm = TABLE.copy(), ARM.copy()
    table[:3, 3] += rng.normal(0.0, 0.1, 3)
    arm[:3, 3] += rng.normal(0.0, 0.1, 3)
    points = np.asarray(POINTS) + rng.normal(0.0, 0.1, (3, 3))
    if mode == "jumping" and number % 2:
        points += 60.0
    tools = {} if mode == "dropped" and number >= 5 else {"reference": table}
    seen = TransformMessage(arm, timestamp=stamp, device_name="ArmToTracker")
    if mode == "out of sight" and number >= 5:
        seen.metadata = {"TransformStatus": "OUT_OF_VIEW"}
    if mode == "invalid" and number >= 5:
        seen.metadata = {"TransformValid": "false"}
    parts = [
        StatusMessage(timestamp=stamp, device_name="Tracker"),
        TrackingDataMessage(tools, timestamp=stamp, device_name="Bodies"),
        seen,
        PointMessage(points.tolist(), ["a", "b", "c"], timestamp=stamp, device_name="Markers"),
    ]
    for part in parts:
        part.header_version = 2
    return b"".join(part.pack() for part in parts)


def odd(mode: str) -> bytes:
    """A message whose frame and checksum are right, and that no tracker sends."""
    if mode == "image":  # its scalar type is none
        body = struct.pack("> H 4B 3H 12f 6H", 1, 1, 99, 2, 2, 1, 1, 1, *[0.0] * 12, 0, 0, 0, 1, 1, 1) + b"\0"
        return (
            struct.pack("> H 12s 20s 2I 2Q", 1, b"IMAGE", b"Picture", int(time.time()), 0, len(body), CRC64(body))
            + body
        )
    if mode == "nameless":
        return TransformMessage(ARM, device_name="ToTracker").pack()
    message = TransformMessage(ARM, device_name="ArmToTracker")
    message.header_version, message.metadata = 2, {"k": "v"}
    raw = message.pack()
    body = raw[58:].replace(struct.pack("> 3H I", 1, 1, 3, 1), struct.pack("> 3H I", 1, 1, 77, 1))
    return raw[:50] + struct.pack("> Q", CRC64(body)) + body


def spoiled(mode: str, good: bytes) -> bytes:
    """What comes after some good samples."""
    header = bytearray(good[:58])
    if mode == "garbage":
        return np.random.default_rng(1).integers(0, 256, 4000).astype(np.uint8).tobytes()
    if mode == "checksum":
        return good[:-1] + bytes([good[-1] ^ 1])
    if mode == "version":
        header[:2] = struct.pack("> H", 9)
    elif mode == "huge":
        header[42:50] = struct.pack("> Q", 2 << 30)
    return bytes(header) + good[58:]


def feed(connection: socket.socket, mode: str) -> None:
    """Send samples, well at first."""
    for number in range(10**9):
        good = frame(number, 2 if mode == "protocol 3" else 1, 3600.0 if mode == "other clock" else 0.0)
        if mode == "broken" and number >= 5:
            connection.sendall(StatusMessage(13, error="not ready", text="camera is warming up").pack())
        elif mode == "half" and number == 5:
            connection.sendall(good[:100])
            time.sleep(30.0)
        elif mode == "silent" and number == 5:
            time.sleep(30.0)
        elif mode in ("image", "nameless", "encoding") and number == 5:
            connection.sendall(odd(mode))
        elif mode == "late":  # well for a second, then everything is two seconds old
            connection.sendall(frame(number, 1, -2.0 if number >= 50 else 0.0))
        elif mode in ("lively", "frozen", "jumping", "dropped", "out of sight", "invalid"):
            connection.sendall(lively(number, mode))
        elif mode in ("garbage", "checksum", "version", "huge") and number >= 5:
            connection.sendall(spoiled(mode, good))
        elif mode == "trickle":
            for byte in good:
                connection.sendall(bytes([byte]))
        else:
            connection.sendall(good)
        time.sleep(1.0 if mode == "slow" and number >= 5 else 0.02)


def main() -> None:
    """Serve for ever."""
    with socket.create_server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    feed(connection, sys.argv[1])
                except OSError:
                    continue


if __name__ == "__main__":
    main()
