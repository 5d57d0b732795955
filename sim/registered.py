"""What a registration leaves beside its value: spheres for a viewer, and the scene that later looks compare with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from guidance.procedure.ports import Clock
from guidance.procedure.reference import PERIOD_S, settled
from kinematics.errors import RefusedError
from kinematics.frames import Transform
from registration.markups_json import write_markups
from registration.named_points import NamedPoints
from registration.registration import Registration
from registration.tracking.port import REFERENCE, TrackerSample
from registration.tracking.scene import TrackedScene
from registration.tracking.watch import SceneWatch, Watched, WatchState


def save_markups(registration: Registration, path: Path) -> None:
    """Write the fiducials as a point list that Slicer shows, each with its residual. Raises StorageError."""
    found = registration.fiducials
    centres = np.array([f.centre_ct_mm for f in found])
    said = tuple("not tracked" if f.residual_mm is None else f"residual {f.residual_mm:.2f} mm" for f in found)
    write_markups(path, NamedPoints(tuple(f.id for f in found), centres, "ct"), said)


def scene_of(
    tracked: TrackerSample,
    registration: Registration,
    T_robot_tracker: Transform,
    T_robot_arm: Transform,
    newer: Callable[[], TrackerSample],
    clock: Clock,
) -> TrackedScene | None:
    """Return what the tracker saw at registration; None where it shows no body on the table.

    Robot, table and patient are looked at again until all is well or a motion is confirmed: the noise of one sample
    reaches the limit once in a while.

    Args:
        tracked: The sample that was registered.
        registration: What came of it.
        T_robot_tracker: The calibration that it used.
        T_robot_arm: Where the encoders put the body on the flange.
        newer: Returns the next sample; asked only where the first one is not well by itself.
        clock: The suite's.

    Raises:
        RefusedError: Robot and tracker do not stand as they were calibrated, or too few fiducials are seen.
    """
    if tracked.body(REFERENCE).T is None:
        return None
    scene = TrackedScene.of(tracked, registration, T_robot_tracker)
    watch, first = SceneWatch(scene), iter([tracked])

    def look() -> Watched:
        sample = next(first, None) or newer()
        return watch.look(sample, sample.time_s, T_robot_arm, still=True)

    watched = settled(look, clock.now_s, lambda: clock.wait_s(PERIOD_S))
    if watched.state is not WatchState.OK:
        raise RefusedError("register", watched.reasons)
    return scene


def load_scene(path: Path, registration: Registration) -> TrackedScene:
    """Return the scene that was kept with a registration.

    Raises:
        RefusedError: There is none, or it belongs to another registration.
    """
    if not path.exists():
        raise RefusedError(
            "execute",
            (
                f"the registration was made without the body '{REFERENCE}' on the table in view, so a motion of the "
                "patient would not show: register again with it in view",
            ),
        )
    scene = TrackedScene.load(path)
    if scene.registration_sha256 != registration.sha256():
        raise RefusedError(
            "execute",
            (
                "what the tracker saw belongs to another registration than the one that was saved (a registration "
                "that was broken off): register again",
            ),
        )
    return scene
