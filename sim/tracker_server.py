"""The simulated tracker as an OpenIGTLink server in a process of its own, on this machine only.

    python -m sim.tracker_server RUN [--port 0] [--rate 20] [--version 1]

Shows what the tracker of the run folder RUN sees. Sends STATUS, POINT (single markers) and TDATA (the bodies on table
and arm) at the rate, and prints one line, `listening on 127.0.0.1:PORT`, when it is ready. Research software, not a
medical device.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from registration.tracking.igtl_messages import StatusMessage, TrackingDataMessage
from registration.tracking.port import BodyPose, Tracker, TrackerSample, TrackingStatus
from registration.tracking.sample_check import TrackingLimits

LOOPBACK = "127.0.0.1"


def packed(sample: TrackerSample, stamp_s: float, header_version: int = 1) -> bytes:
    """Return a sample as the messages that are sent for it, all with one time stamp [s]; bodies that are well only."""
    from pyigtl.messages import MessageBase, PointMessage

    well = sample.status is TrackingStatus.OK
    status = StatusMessage(
        1 if well else 13,
        error="" if well else str(sample.status),
        text="; ".join(sample.reasons),
        timestamp=stamp_s,
        device_name="Tracker",
    )
    tools = {body.name: body.T.matrix for body in sample.bodies if body.T is not None and _well(body)}
    messages: list[MessageBase] = [status, TrackingDataMessage(tools, timestamp=stamp_s, device_name="Bodies")]
    if len(sample.points_tracker_mm):
        names = [f"P{n + 1}" for n in range(len(sample.points_tracker_mm))]
        points = sample.points_tracker_mm.tolist()
        messages.append(PointMessage(points, names, timestamp=stamp_s, device_name="Markers"))
    for message in messages:
        message.header_version = header_version
    return b"".join(message.pack() for message in messages)


def _well(body: BodyPose) -> bool:
    bent = body.quality_mm is not None and body.quality_mm > TrackingLimits().quality_mm
    return body.status is TrackingStatus.OK and not bent


def serve(
    tracker: Tracker,
    listener: socket.socket,
    rate_hz: float,
    now_s: Callable[[], float],
    header_version: int = 1,
) -> None:
    """Send the tracker's samples to whoever connects, until the listener is closed.

    Args:
        tracker: Whose samples are sent, each stamped with when it was measured.
        listener: Bound and listening.
        rate_hz: Samples a second.
        now_s: Time on the clock of the samples [s].
        header_version: 1, or 2 (protocol 3).
    """
    lock = threading.Lock()

    def feed(connection: socket.socket) -> None:
        with connection:
            while True:
                with lock:
                    sample, now = tracker.sample(), now_s()
                try:
                    connection.sendall(packed(sample, time.time() - (now - sample.time_s), header_version))
                except OSError:  # the client has gone
                    return
                time.sleep(1.0 / rate_hz)

    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=feed, args=(connection,), daemon=True).start()


def main() -> int:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--version", type=int, choices=(1, 2), default=1)
    arguments = parser.parse_args()
    from sim.steps import SimulatedProcedure

    suite = SimulatedProcedure(arguments.run).suite
    with socket.create_server((LOOPBACK, arguments.port)) as listener:
        print(f"listening on {LOOPBACK}:{listener.getsockname()[1]}", flush=True)
        serve(suite.tracker, listener, arguments.rate, suite.clock.now_s, arguments.version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
