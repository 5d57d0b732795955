"""The command that registers a run, from the suite's own points or from files."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from console.progress import Bars
from console.tables import show_registration
from kinematics.errors import InvalidInputError, RefusedError
from registration.named_points import Axes
from registration.tracking.port import TrackingStatus
from registration.tracking.steady import steady_samples
from sim.registration_inputs import FOUND, read_inputs
from sim.steps import SimulatedProcedure

if TYPE_CHECKING:
    from registration.tracking.igtl_client import IgtlTracker

PASS = 0
FIRST_SAMPLE_S = 3.0
"""A tracker that sends nothing for so long is not running."""


def register_run(
    run: Path,
    as_json: bool,
    *,
    ct_points: Path | None,
    ct_axes: str | None,
    marking_rms_mm: float,
    tracked_points: Path | None,
    tracked_axes: str | None,
    tracker: str | None,
    pivot: Path | None,
    skin_scan: Path | None,
    calibration: Path | None,
) -> int:
    """Register a run folder.

    Raises:
        InvalidInputError: A file or option that cannot be used.
        RefusedError: The registration is not accepted; what was found is saved all the same.
    """
    if tracker is not None and tracked_points is not None:
        raise InvalidInputError(
            "tracked points come from a file or live, not from both", value=f"{tracked_points}, {tracker}"
        )
    with Bars() as bars, ExitStack() as opened:
        procedure = SimulatedProcedure(run, bars.progress)
        given = read_inputs(
            procedure.case,
            procedure.suite.clock.now_s,
            procedure.settings.suite.fiducials.diameter_mm,
            ct_points=ct_points,
            ct_axes=_axes(ct_axes, "--ct-points-axes", ct_points),
            marking_rms_mm=marking_rms_mm,
            tracked_points=tracked_points,
            tracked_axes=_axes(tracked_axes, "--tracked-points-axes", tracked_points),
            pivot=pivot,
            skin_scan=skin_scan,
            calibration=calibration,
        )
        if tracker is not None:
            live = opened.enter_context(_connected(tracker))
            given = given.live(tracker, steady_samples(live), time.monotonic(), procedure.suite.clock.now_s)
        registration = procedure.register(given)
    if as_json:
        print(registration.canonical_json(), end="")
    else:
        show_registration(registration)
        for what, source in given.told.items():
            if source != FOUND.get(what):
                print(f"{what}: {source}")
    if not registration.accepted:
        raise RefusedError("register", registration.reasons)
    return PASS


def _connected(address: str) -> IgtlTracker:
    """Return a tracker that has sent a first sample. Raises RefusedError, with the last reason, when none came."""
    from registration.tracking.igtl_client import IgtlTracker, parse_address

    found = IgtlTracker(*parse_address(address))
    sample = found.wait_s(FIRST_SAMPLE_S)
    if sample.status is not TrackingStatus.OK:
        found.close()
        raise RefusedError("register", (*sample.reasons, f"nothing to register from {address} in {FIRST_SAMPLE_S:g} s"))
    return found


def _axes(value: str | None, option: str, file: Path | None) -> Axes | None:
    if value is None:
        return None
    if file is None:
        raise InvalidInputError(f"{option} says the axes of a file that is not given", value=value)
    if value.upper() not in (Axes.LPS, Axes.RAS):
        raise InvalidInputError(f"{option} is not known", value=value, limit="LPS or RAS")
    return Axes(value.upper())
