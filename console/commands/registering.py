"""The command that registers a run, from the suite's own points or from files."""

from __future__ import annotations

from pathlib import Path

from console.progress import Bars
from console.tables import show_registration
from kinematics.errors import InvalidInputError, RefusedError
from registration.named_points import Axes
from sim.registration_inputs import FOUND, read_inputs
from sim.steps import SimulatedProcedure

PASS = 0


def register_run(
    run: Path,
    as_json: bool,
    *,
    ct_points: Path | None,
    ct_axes: str | None,
    marking_rms_mm: float,
    tracked_points: Path | None,
    tracked_axes: str | None,
    calibration: Path | None,
) -> int:
    """Register a run folder.

    Raises:
        InvalidInputError: A file or option that cannot be used.
        RefusedError: The registration is not accepted; what was found is saved all the same.
    """
    with Bars() as bars:
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
            calibration=calibration,
        )
        registration = procedure.register(given)
    if as_json:
        print(registration.canonical_json(), end="")
    else:
        show_registration(registration)
        for what, source in given.told.items():
            if source != FOUND[what]:
                print(f"{what}: {source}")
    if not registration.accepted:
        raise RefusedError("register", registration.reasons)
    return PASS


def _axes(value: str | None, option: str, file: Path | None) -> Axes | None:
    if value is None:
        return None
    if file is None:
        raise InvalidInputError(f"{option} says the axes of a file that is not given", value=value)
    if value.upper() not in (Axes.LPS, Axes.RAS):
        raise InvalidInputError(f"{option} is not known", value=value, limit="LPS or RAS")
    return Axes(value.upper())
