"""A tracker behind OpenIGTLink: read in a thread, checked, put on our clock, never older than it says.

TRANSFORM and TDATA are bodies, by the device's or tool's name; POINT holds single markers; STATUS is what the tracker
says of itself. A peer that is gone, silent, slow or sends what cannot be trusted is a sample with a status and a
reason; the connection is then made anew.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.tracking.igtl_messages import HEADER_BYTES, STATUS_OK, ProtocolError, body_bytes, message_of
from registration.tracking.port import TOGETHER_S, BodyPose, TrackerSample, TrackingStatus

PORT = 18944
CONNECT_S = 1.0
RETRY_S = 0.2
PART_S = 0.5
"""A message that has begun must be whole within this: a tracker sends one in far less than a millisecond."""
DRIFT = 1e-4
"""Two clocks drift apart by no more than this (s/s). The least delay seen is let grow so fast and no faster: what
comes later and later is old, and is not to look fresh because everything else is late as well."""
_RIGID = 1e-3
_AN_INSTANT_S = 5e-3
_GOOD = ("ok", "true", "1", "valid")


@dataclass(frozen=True, eq=False)
class _Part:
    time_s: float
    value: Any


class IgtlTracker:
    """Implements the Tracker port on an OpenIGTLink server. `close` it, or use it in a `with` statement.

    Time stamps of the peer are brought to this machine's clock by the least delay seen in this connection, from the
    stamp to a message's first byte. So a sample is older than it says by the fastest message's travel, some
    milliseconds; a peer that is late by the same time from its first message on cannot be told from another clock.
    A peer's clock that is set back makes its samples stale until it is connected anew.

    Args:
        host: Address of the server.
        port: Its port.
        clock: The clock that samples are timed on; this machine's monotonic one when None.
    """

    def __init__(self, host: str, port: int = PORT, *, clock: Callable[[], float] | None = None) -> None:
        self._address, self._clock = (host, port), clock or time.monotonic
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._parts: dict[str, _Part] = {}
        self._points = _Part(-np.inf, np.zeros((0, 3)))
        self._in_tdata: set[str] = set()
        self._told = (-np.inf, -np.inf)
        self._said = (TrackingStatus.MISSING, f"no connection to {host}:{port} yet")
        self._begun_s = self._offset_at_s = -np.inf
        self._offset_s = np.inf
        self._thread = threading.Thread(target=self._run, name="igtl-tracker", daemon=True)
        self._thread.start()

    def __enter__(self) -> IgtlTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; returns when the thread has ended."""
        self._ended.set()
        self._thread.join(timeout=2.0 * (CONNECT_S + PART_S))

    def sample(self) -> TrackerSample:
        """Return the latest measurement, timed on the clock; never waits."""
        with self._lock:
            parts, points, (status, reason) = dict(self._parts), self._points, self._said
            told_newest, told_s = self._told
        now, clock = time.monotonic(), self._clock()
        newest = max([points.time_s, *(p.time_s for p in parts.values())])
        if not np.isfinite(newest):
            reasons = (reason,) if reason else ("the tracker is connected and has sent no measurement",)
            return TrackerSample(clock, np.zeros((0, 3)), status=TrackingStatus.MISSING, reasons=reasons)
        bodies = tuple(
            BodyPose(name, Transform.of("tracker", name, part.value[:3, :3], part.value[:3, 3]))
            if newest - part.time_s <= TOGETHER_S and part.value is not None
            else BodyPose(name, None, TrackingStatus.MISSING)
            for name, part in sorted(parts.items())
        )
        seen = points.value if newest - points.time_s <= TOGETHER_S else np.zeros((0, 3))
        time_s = clock - (now - newest)
        # One measurement keeps one time, however often it is asked for: two clocks are never read at one instant.
        if newest == told_newest and abs(time_s - told_s) < _AN_INSTANT_S:
            time_s = told_s
        with self._lock:
            self._told = (newest, time_s)
        return TrackerSample(time_s, seen, bodies, status, (reason,) if reason else ())

    def wait_s(self, timeout_s: float) -> TrackerSample:
        """Return the first sample that the tracker calls well, or the last one when the time [s] is up."""
        until = time.monotonic() + timeout_s
        while (found := self.sample()).status is not TrackingStatus.OK and time.monotonic() < until:
            time.sleep(0.02)
        return found

    def _run(self) -> None:
        try:
            self._connect()
        finally:  # whatever ended it: nobody reads any more
            self._say(TrackingStatus.MISSING, f"{self._where} is not read any more")

    def _connect(self) -> None:
        while not self._ended.is_set():
            try:
                with socket.create_connection(self._address, CONNECT_S) as connection:
                    self._say(TrackingStatus.OK, "")
                    self._offset_s = np.inf  # another peer, another clock
                    self._read(connection)
            except ProtocolError as error:
                self._say(TrackingStatus.MISSING, f"{self._where} sends what cannot be trusted: {error}")
            except OSError as error:
                self._say(TrackingStatus.MISSING, f"no connection to {self._where} ({error})")
            self._ended.wait(RETRY_S)

    @property
    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    def _say(self, status: TrackingStatus, reason: str) -> None:
        with self._lock:
            self._said = (status, reason)

    def _read(self, connection: socket.socket) -> None:
        connection.settimeout(0.1)
        while not self._ended.is_set():
            header = self._exactly(connection, HEADER_BYTES, begun=False)
            if header is None:
                continue
            body = self._exactly(connection, body_bytes(header), begun=True) or b""
            message = message_of(header, body)
            if message is not None:
                self._take(message)

    def _exactly(self, connection: socket.socket, count: int, *, begun: bool) -> bytes | None:
        """Return `count` bytes; None when nothing at all came and nothing was due.

        Raises:
            ProtocolError: A message that began was not whole in time.
            OSError: The peer closed the connection.
        """
        parts: list[bytes] = []
        have, until = 0, time.monotonic() + PART_S
        while have < count:
            if self._ended.is_set():
                return None
            if (begun or have) and time.monotonic() > until:
                raise ProtocolError(f"a message stopped after {have} of {count} bytes for {PART_S:g} s")
            try:
                part = connection.recv(count - have)
            except TimeoutError:
                if not begun and not have:
                    return None
                continue
            if not part:
                raise ConnectionResetError("the peer closed it")
            if not have:
                until = time.monotonic() + PART_S
            if not have and not begun:
                self._begun_s = time.monotonic()
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def _take(self, message: Any) -> None:
        grown_s = (
            self._offset_s + DRIFT * (self._begun_s - self._offset_at_s) if np.isfinite(self._offset_s) else np.inf
        )
        self._offset_s, self._offset_at_s = min(grown_s, self._begun_s - message.timestamp), self._begun_s
        time_s = message.timestamp + self._offset_s
        kind = message.message_type
        with self._lock:
            if kind == "TRANSFORM":
                seen = _rigid(message.matrix) if _said_seen(message.metadata) else None
                self._parts[body_name(message.device_name)] = _Part(time_s, seen)
            elif kind == "TDATA":
                tools = {body_name(name): _rigid(matrix) for name, matrix in message.tools.items()}
                gone = dict.fromkeys(self._in_tdata - tools.keys())
                self._in_tdata |= tools.keys()
                self._parts.update({name: _Part(time_s, matrix) for name, matrix in {**gone, **tools}.items()})
            elif kind == "POINT":
                self._points = _Part(time_s, _finite(message.positions))
            elif kind == "STATUS":
                well = message.code == STATUS_OK
                said = f"the tracker says: {message.error or f'status {message.code}'} {message.text}".strip()
                self._said = (TrackingStatus.OK, "") if well else (TrackingStatus.MISSING, said)


def _said_seen(metadata: dict[str, str]) -> bool:
    """Tell whether what a peer says of a pose calls it good: a tool out of sight is sent on with its last pose.

    Reference:
        PlusServer's and Slicer's `TransformStatus` (`OK`) and PlusServer's `TransformValid` (`true`), in the metadata
        of header version 2.
    """
    said = {key.lower(): str(value).strip().lower() for key, value in metadata.items()}
    return said.get("transformstatus", "ok") in _GOOD and said.get("transformvalid", "true") in _GOOD


def body_name(device: str) -> str:
    """Return the name of a body: the device's in lower case, without `ToTracker`. Raises ProtocolError without one."""
    name = re.sub(r"totracker$", "", device.strip().lower())
    if not name:
        raise ProtocolError(f"a body without a name ({device!r})")
    return name


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, or `HOST` with the standard port. Raises InvalidInputError."""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(PORT))
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise InvalidInputError(
            "a tracker is named HOST:PORT", value=text, remedy=f"such as 127.0.0.1:{PORT}, where the tracker listens"
        )
    return host, int(port)


def _rigid(matrix: Any) -> FloatArray | None:
    """Return the matrix with its rotation made exact (it comes in single precision); None when it is none."""
    given = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(given).all():
        return None
    u, _, vt = np.linalg.svd(given[:3, :3])
    near = u @ vt
    if np.abs(near - given[:3, :3]).max() > _RIGID or np.linalg.det(near) < 0.0:
        return None
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = near, given[:3, 3]
    return result


def _finite(positions: Any) -> FloatArray:
    points = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]
