"""Whether robot, camera, table and patient still stand as they were registered, and which of them has moved.

Three motions are compared at the patient's fiducials: of the table in the tracker, of the robot in the tracker (from
its encoders and the body on its flange), and of the table against the robot, which no camera changes. A camera that
moved shows in the first two and not in the third; a table in the first and third; a robot's base in the last two. A
patient who moved on the table shows in the fiducials against the body on the table.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.frames import Transform
from registration.correspondence import CorrespondenceStatus, match
from registration.tracking.port import ARM, REFERENCE, TrackerSample, TrackingStatus
from registration.tracking.sample_check import SampleCheck, TrackingLimits
from registration.tracking.scene import FEWEST_MARKERS, OWN_MM, TrackedScene

MOVED_MM = 2.0
"""Rms motion of the fiducials that counts as moved: the largest error of a registration that is accepted."""
WINDOW = 8
WINDOW_S = 1.0
"""Motions are averaged over the last samples, as many and as long as this."""
CONFIRMED = 3
"""A motion is believed from so many samples on; noise alone does not pass the limit so often."""


class WatchState(StrEnum):
    """What a look at the scene says: all well, not seen, or moved."""

    OK = "ok"
    MISSING = "missing"
    OUT_OF_VOLUME = "out_of_volume"
    STALE = "stale"
    JUMPING = "jumping"
    CAMERA_MOVED = "camera_moved"
    TABLE_MOVED = "table_moved"
    ROBOT_MOVED = "robot_moved"
    SEVERAL_MOVED = "several_moved"
    PATIENT_MOVED = "patient_moved"


MOVED = {
    WatchState.CAMERA_MOVED: "the camera",
    WatchState.TABLE_MOVED: "the table with the patient",
    WatchState.ROBOT_MOVED: "the robot's base, or the body on its flange",
    WatchState.SEVERAL_MOVED: "more than one of camera, table and robot",
    WatchState.PATIENT_MOVED: "the patient on the table",
}


@dataclass(frozen=True)
class Watched:
    """One look: its state, why, and how far what moved has moved."""

    state: WatchState = WatchState.OK
    reasons: tuple[str, ...] = ()
    moved_mm: float = 0.0
    confirmed: bool = True
    """Whether enough samples say so; a motion that is not confirmed may still be noise."""

    @property
    def moved(self) -> bool:
        """Whether something has moved, so that the registration no longer holds."""
        return self.state in MOVED

    @property
    def lost(self) -> bool:
        """Whether nothing can be said, because the tracker does not see what it must."""
        return self.state is not WatchState.OK and not self.moved


class SceneWatch:
    """A state machine on the samples of one tracker after a registration.

    It holds no latch: what a motion leads to is the procedure's matter.

    Args:
        scene: What was registered.
        limits: Of single samples; None takes the defaults.
    """

    def __init__(self, scene: TrackedScene, limits: TrackingLimits | None = None) -> None:
        self._scene, self._limits = scene, limits or TrackingLimits()
        self._check = SampleCheck(self._limits, bodies=(REFERENCE, ARM))
        self._window: deque[tuple[float, FloatArray, FloatArray]] = deque(maxlen=WINDOW)
        self._seen_s = -np.inf
        self._last = Watched()
        self._at_reference = scene.fiducials_reference_mm
        self._at_tracker = scene.T_tracker_reference.points(self._at_reference)
        self._at_robot = scene.T_robot_tracker.points(self._at_tracker)

    def look(self, sample: TrackerSample, now_s: float, T_robot_arm: Transform, *, still: bool) -> Watched:
        """Take the next sample; return what it and those before say.

        Args:
            sample: The tracker's latest; the same one may be given again.
            now_s: Time on its clock.
            T_robot_arm: Where the encoders put the body on the flange.
            still: Whether the patient does not breathe now: only then are the fiducials compared with the table.
        """
        judged = self._check.judge(sample, now_s)
        if judged.status is not TrackingStatus.OK:
            return self._lost(WatchState(judged.status.value), judged.reasons, now_s)
        reference, arm = sample.body(REFERENCE).T, sample.body(ARM).T
        if reference is None or arm is None:  # the check has said so; this is for the type checker
            return self._lost(WatchState.MISSING, judged.reasons, now_s)
        on_table = self._on_table(sample, reference) if still else np.full_like(self._at_reference, np.nan)
        seen = int(np.isfinite(on_table[:, 0]).sum())
        if still and seen < FEWEST_MARKERS:
            reason = (
                f"{seen} of {len(on_table)} fiducials are seen among {len(sample.points_tracker_mm)} single markers, "
                f"at least {FEWEST_MARKERS} are needed: clear their view"
            )
            return self._lost(WatchState.MISSING, (reason,), now_s)
        self._seen_s = now_s
        if not self._window or sample.time_s > self._window[-1][0]:
            self._window.append((sample.time_s, self._rigid(reference, arm, T_robot_arm), on_table))
        self._last = self._concluded(sample.time_s)
        return self._last

    def _lost(self, state: WatchState, reasons: tuple[str, ...], now_s: float) -> Watched:
        """Say that it is lost, unless a drop-out is shorter than a sample may be old."""
        brief = now_s - self._seen_s <= self._limits.max_age_s
        if brief and state in (WatchState.MISSING, WatchState.OUT_OF_VOLUME) and self._last.state is WatchState.OK:
            return self._last
        self._window.clear()
        self._last = Watched(state, reasons)
        return self._last

    def _rigid(self, reference: Transform, arm: Transform, T_robot_arm: Transform) -> FloatArray:
        """Return the three motions of the fiducials [mm], shape (3, n, 3): table, robot, one against the other."""
        T_robot_tracker = T_robot_arm @ arm.inverse()
        seen = reference.points(self._at_reference)
        return np.stack(
            [
                seen - self._at_tracker,
                T_robot_tracker.points(self._at_tracker) - self._at_robot,
                T_robot_tracker.points(seen) - self._at_robot,
            ]
        )

    def _on_table(self, sample: TrackerSample, reference: Transform) -> FloatArray:
        """Return how each fiducial moved against the table [mm], shape (n, 3); NaN where it is not seen."""
        own = self._at_reference
        moved = np.full_like(own, np.nan)
        seen = reference.inverse().points(sample.points_tracker_mm)
        if len(seen) == 0:
            return moved
        distances = np.linalg.norm(own[:, None, :] - seen[None, :, :], axis=-1)
        near = np.flatnonzero(distances.min(axis=1) <= OWN_MM)
        moved[near] = seen[distances.argmin(axis=1)[near]] - own[near]
        if len(near) < len(own) - 2:  # hidden, or farther away than that: their pattern tells
            matched = match(own, seen, tolerance_mm=OWN_MM / 2.0)
            if matched.status is CorrespondenceStatus.OK and len(matched.pairs) > len(near):
                i, j = (list(column) for column in zip(*matched.pairs, strict=True))
                moved[:] = np.nan
                moved[i] = seen[j] - own[i]
        return moved

    def _concluded(self, now_s: float) -> Watched:
        window = [entry for entry in self._window if now_s - entry[0] <= WINDOW_S]
        table, robot, between = (_rms(m) for m in np.mean([w[1] for w in window], axis=0))
        confirmed = len(window) >= CONFIRMED
        if max(table, robot, between) > MOVED_MM:
            # What moved is in two of the three motions; the third is the innocent pair's.
            innocent, state = min(
                (
                    (between, WatchState.CAMERA_MOVED),
                    (robot, WatchState.TABLE_MOVED),
                    (table, WatchState.ROBOT_MOVED),
                ),
                key=lambda pair: pair[0],
            )
            if innocent > MOVED_MM:
                state = WatchState.SEVERAL_MOVED
            numbers = (
                f"table in the tracker {table:.1f} mm, robot in the tracker {robot:.1f} mm, table against robot "
                f"{between:.1f} mm, limit {MOVED_MM:g} mm each"
            )
            return _moved(state, max(table, robot, between), numbers, confirmed)
        looks = [w[2] for w in window if np.isfinite(w[2]).any()]
        if looks:
            each = np.array([np.nanmean(c, axis=0) for c in _seen_rows(looks)])
            patient = _rms(each)
            if patient > MOVED_MM:
                numbers = f"{len(each)} fiducials against the table {patient:.1f} mm rms, limit {MOVED_MM:g} mm"
                return _moved(WatchState.PATIENT_MOVED, patient, numbers, len(looks) >= CONFIRMED)
        return Watched()


def _seen_rows(looks: list[FloatArray]) -> list[FloatArray]:
    """Return for each fiducial seen at least once its motions over the looks, each of shape (looks, 3)."""
    stacked = np.stack(looks, axis=1)
    return [rows for rows in stacked if np.isfinite(rows).any()]


def _rms(moved_mm: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.sum(np.square(moved_mm), axis=-1))))


def _moved(state: WatchState, moved_mm: float, numbers: str, confirmed: bool) -> Watched:
    reason = f"{MOVED[state]} moved since the registration ({numbers}): register again"
    return Watched(state, (reason,), moved_mm, confirmed)
