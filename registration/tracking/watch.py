"""Whether robot, camera, table and patient still stand as they were registered, and which of them has moved.

Three motions are compared at the patient's fiducials: of the table in the tracker, of the robot in the tracker (from
its encoders and the body on its flange), and of the table against the robot, which no camera changes. A camera that
moved shows in the first two and not in the third; a table in the first and third; a robot's base in the last two. A
patient who moved on the table shows in the fiducials against the body on the table; one of whom only a part moved, in
fiducials that are gone while markers are seen that are none of them.
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
STRAY_MM = 60.0
"""A single marker within this of where two or more fiducials are gone may be one of them, and not a reflection."""
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
        self._decoys = np.zeros((0, 3))
        """Markers seen beside all fiducials, so none of them, frame `reference` [mm]: as they were last seen so."""
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
        on_table, reasons = np.full_like(self._at_reference, np.nan), tuple[str, ...]()
        if still:
            on_table, reasons = self._on_table(reference.inverse().points(sample.points_tracker_mm))
        if reasons:
            return self._lost(WatchState.MISSING, reasons, now_s)
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

    def _on_table(self, seen: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
        """Return how each fiducial moved against the table, and why that is not enough to go by.

        Args:
            seen: The single markers, frame `reference` [mm], shape (m, 3).

        Returns:
            The motions [mm], shape (n, 3), NaN where a fiducial is not seen; and the reasons, none where all is well.
        """
        own = self._at_reference
        moved = np.full_like(own, np.nan)
        pairs = _nearest_pairs(own, seen)
        decoys = _nearest_pairs(self._decoys, seen)
        strays = [j for j in range(len(seen)) if j not in pairs.values() and j not in decoys.values()]
        gone = [i for i in range(len(own)) if i not in pairs]
        if not gone:
            self._decoys = seen[[j for j in range(len(seen)) if j not in pairs.values()]]
        pairs |= {gone[i]: strays[j] for i, j in _moved_together(own[gone], seen[strays]).items()}
        if len(pairs) < len(own) - 2:  # hidden, or moved by no common shift: their pattern tells
            matched = match(own, seen, tolerance_mm=OWN_MM / 2.0)
            if matched.status is CorrespondenceStatus.OK and len(matched.pairs) > len(pairs):
                pairs = dict(matched.pairs)
        i, j = list(pairs), list(pairs.values())
        moved[i] = seen[j] - own[i]
        gone = [n for n in range(len(own)) if n not in pairs]
        strays = [n for n in range(len(seen)) if n not in j and n not in decoys.values()]
        return moved, self._doubts(own[gone], seen[strays], len(seen))

    def _doubts(self, gone: FloatArray, strays: FloatArray, markers: int) -> tuple[str, ...]:
        """Return why the fiducials `gone`, with the markers `strays` that are none of them, leave the patient open."""
        count = len(self._at_reference)
        seen = count - len(gone)
        if seen < FEWEST_MARKERS:
            return (
                f"{seen} of {count} fiducials are seen among {markers} single markers, at least {FEWEST_MARKERS} are "
                "needed: clear their view",
            )
        if len(gone) < 2 or len(strays) == 0:  # one hidden and one reflection happen, and five others hold the patient
            return ()
        nearest = float(_distances(gone, strays).min())
        if len(strays) < 2 and nearest > STRAY_MM:
            return ()
        return (
            f"{len(gone)} of {count} fiducials are gone from where they were registered, and {len(strays)} single "
            f"markers are seen that are none of them, the nearest {nearest:.1f} mm from one: a part of the patient may "
            "have moved: clear their view and take away what reflects, or register again",
        )

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


def _distances(points: FloatArray, others: FloatArray) -> FloatArray:
    """Return the distance of each of `points` (n, 3) to each of `others` (m, 3) [mm], shape (n, m)."""
    distances: FloatArray = np.linalg.norm(points[:, None, :] - others[None, :, :], axis=-1)
    return distances


def _nearest_pairs(points: FloatArray, seen: FloatArray) -> dict[int, int]:
    """Return for each of `points` (n, 3) the nearest of `seen` (m, 3) within `OWN_MM`, each marker for one point."""
    distances, pairs = _distances(points, seen), {}
    while distances.min(initial=np.inf) <= OWN_MM:
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        pairs[int(i)] = int(j)
        distances[i, :], distances[:, j] = np.inf, np.inf
    return pairs


def _moved_together(gone: FloatArray, strays: FloatArray) -> dict[int, int]:
    """Return the pairs of `gone` (n, 3) and `strays` (m, 3) that most share one shift; none where fewer than two do.

    Two reflections lie apart as two fiducials do, to half of `OWN_MM` in three directions, about once in a million.
    """
    best: dict[int, int] = {}
    for shift in (strays[None, :, :] - gone[:, None, :]).reshape(-1, 3):
        near = _distances(gone + shift, strays) <= OWN_MM / 2.0
        pairs = {int(i): int(j) for i, j in zip(*np.nonzero(near & (near.sum(axis=1) == 1)[:, None]), strict=True)}
        if len(set(pairs.values())) == len(pairs) > max(len(best), 1):
            best = pairs
    return best


def _seen_rows(looks: list[FloatArray]) -> list[FloatArray]:
    """Return for each fiducial seen at least once its motions over the looks, each of shape (looks, 3)."""
    stacked = np.stack(looks, axis=1)
    return [rows for rows in stacked if np.isfinite(rows).any()]


def _rms(moved_mm: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.sum(np.square(moved_mm), axis=-1))))


def _moved(state: WatchState, moved_mm: float, numbers: str, confirmed: bool) -> Watched:
    reason = f"{MOVED[state]} moved since the registration ({numbers}): register again"
    return Watched(state, (reason,), moved_mm, confirmed)
