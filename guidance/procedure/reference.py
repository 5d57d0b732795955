"""The patient reference: the tracker's look at robot, table and patient, beside the arm's encoders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from guidance.procedure.ports import Clock
from guidance.scene import SuiteDescription
from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.errors import SafetyStop
from kinematics.forward import flange_pose
from kinematics.frames import Transform
from registration.tracking.port import Tracker
from registration.tracking.scene import TrackedScene
from registration.tracking.watch import MOVED, MOVED_MM, SceneWatch, Watched, WatchState

PERIOD_S = 0.05
"""Between two looks: no tracker worth asking is slower, and the control loop is not held up."""
SETTLE_S = 2.0
"""Longest wait for a look that says clearly what it sees."""


class TrackedReference:
    """Implements the ReferencePort with a tracker.

    Args:
        tracker: Sees the bodies on table and arm, and the fiducials.
        clock: Time of its samples.
        scene: What it saw at registration.
        suite: Where the body sits on the flange.
    """

    def __init__(self, tracker: Tracker, clock: Clock, scene: TrackedScene, suite: SuiteDescription) -> None:
        self._tracker, self._clock = tracker, clock
        self._watch = SceneWatch(scene)
        self._model, self._flange_arm = load_lbr(), suite.T_flange_arm.matrix
        self._looked_s = -np.inf
        self._last = Watched()

    def look(self, q_rad: FloatArray, *, still: bool) -> Watched:
        """Return what the tracker sees with the encoders at `q_rad` [rad], (7,); `still`: nobody breathes."""
        now = self._clock.now_s()
        if now - self._looked_s >= PERIOD_S:
            T_robot_arm = Transform(to="robot", from_="arm", matrix=flange_pose(self._model, q_rad) @ self._flange_arm)
            self._last = self._watch.look(self._tracker.sample(), now, T_robot_arm, still=still)
            self._looked_s = now
        return self._last


def settled(look: Callable[[], Watched], now_s: Callable[[], float], wait: Callable[[], None]) -> Watched:
    """Look until all is well or a motion is confirmed, for `SETTLE_S` at most; return the last look.

    Args:
        look: Looks once.
        now_s: Returns the time [s].
        wait: Waits a little, at rest.
    """
    begun, watched = now_s(), look()
    while not (watched.state is WatchState.OK or (watched.moved and watched.confirmed)):
        if now_s() - begun >= SETTLE_S:
            break
        wait()
        watched = look()
    return watched


def moved_stop(watched: Watched) -> SafetyStop:
    """Return the stop that a confirmed motion is."""
    return SafetyStop(f"motion of {MOVED[watched.state]} (register again)", watched.moved_mm, MOVED_MM, "mm")
