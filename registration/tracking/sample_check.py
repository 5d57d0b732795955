"""Whether a tracker's samples can be used: stale, missing, out of the volume and jumping told apart, with numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray
from registration.tracking.port import BodyPose, TrackerSample, TrackingStatus

_MARKERS = ""
"""In the place of a body's name: the single markers."""


@dataclass(frozen=True)
class TrackingLimits:
    """Limits of what counts as seen; each is our default, to be replaced by a site's own tracker's."""

    max_age_s: float = 0.5
    """A tracker of some tens of samples a second that has reported nothing newer sees nothing. Also the longest time
    for which all parts of one measurement may be repeated."""
    part_s: float = 1.5
    """Longest time for which one body, or all single markers, may be repeated to the last digit while others change.
    Longer than `max_age_s`, because a tracker that rounds its output does repeat a body at rest: 0.51 s was the
    longest of the recordings, and the chance of a further repetition falls by a fifth with each sample."""
    speed_mm_s: float = 1000.0
    """Faster than an arm or a hand with a tool moves here (683 mm/s was the fastest of the recordings)."""
    jitter_mm: float = 3.0
    """Added to what the speed allows between two samples: noise, and time stamps that are not exact."""
    quality_mm: float = 1.0
    """Largest rms distance of a body's markers from its known shape; beyond it, one of them is not its own."""
    reach_mm: float = 3000.0
    """The measuring volume: a cube of this half side about the tracker's origin, unless the tracker says itself."""


@dataclass(frozen=True)
class Judgement:
    """The status of a sample, and why it is not OK."""

    status: TrackingStatus = TrackingStatus.OK
    reasons: tuple[str, ...] = ()


def judge(
    sample: TrackerSample,
    now_s: float,
    limits: TrackingLimits | None = None,
    *,
    bodies: tuple[str, ...] = (),
    markers: int = 0,
) -> Judgement:
    """Judge one sample by itself.

    Args:
        sample: The sample.
        now_s: Time on its clock.
        limits: The limits; None takes the defaults.
        bodies: Names of the bodies that must be seen.
        markers: How many single markers must be seen, at least.
    """
    limits = limits or TrackingLimits()
    wanted = tuple(sample.body(name) for name in bodies)
    for status, reasons in (
        (TrackingStatus.STALE, _stale(sample, now_s, limits)),
        (TrackingStatus.MISSING, _missing(sample, wanted, markers)),
        (TrackingStatus.OUT_OF_VOLUME, _outside(sample, wanted, limits)),
        (TrackingStatus.JUMPING, _broken(sample, wanted, limits)),
    ):
        if reasons:
            return Judgement(status, tuple(reasons))
    return Judgement()


class SampleCheck:
    """Judge the samples of one tracker, one after the other: what a single sample cannot show as well.

    Args:
        limits: The limits; None takes the defaults.
        bodies: Names of the bodies that must be seen.
        markers: How many single markers must be seen, at least.
    """

    def __init__(self, limits: TrackingLimits | None = None, *, bodies: tuple[str, ...] = (), markers: int = 0) -> None:
        self._limits = limits or TrackingLimits()
        self._bodies, self._markers = bodies, markers
        self._last: TrackerSample | None = None
        self._since_s: dict[tuple[str, bytes], float] = {}
        """When each part of the measurement that `_last` holds was first reported with these digits."""

    def judge(self, sample: TrackerSample, now_s: float) -> Judgement:
        """Judge the next sample; the same one may be given again while there is no newer."""
        last, limits = self._last, self._limits
        if last is not None and sample.time_s < last.time_s:
            back = f"its time stamps went back by {last.time_s - sample.time_s:.3f} s"
            return Judgement(TrackingStatus.STALE, (f"the tracker's clock is not to be trusted: {back}",))
        if not math.isfinite(sample.time_s):
            return judge(sample, now_s, limits, bodies=self._bodies, markers=self._markers)
        self._since_s = {part: self._since_s.get(part, sample.time_s) for part in _parts(sample)}
        self._last = sample
        frozen = self._frozen(sample.time_s)
        if frozen:
            return Judgement(TrackingStatus.STALE, frozen)
        found = judge(sample, now_s, limits, bodies=self._bodies, markers=self._markers)
        if found.status is not TrackingStatus.OK or last is None:
            return found
        jumps = _jumps(last, sample, self._bodies, limits)
        return Judgement(TrackingStatus.JUMPING, tuple(jumps)) if jumps else found

    def _frozen(self, now_s: float) -> tuple[str, ...]:
        """Return what has been repeated for too long: all that is seen, or else a wanted body or the single markers."""
        limits, ages = self._limits, {part: now_s - since for part, since in self._since_s.items()}
        all_s = min(ages.values(), default=0.0)
        if all_s > limits.max_age_s:
            said = f"the same measurement for {all_s:.2f} s under new time stamps, limit {limits.max_age_s:g} s"
            return (f"the tracker is frozen: {said}",)
        old = {part: age for part, age in ages.items() if age > limits.part_s}
        said = f"to the last digit under new time stamps while others change, limit {limits.part_s:g} s"
        reasons = [
            f"the tracker's body '{name}' is frozen: the same pose for {age:.2f} s {said}"
            for (name, _), age in old.items()
            if name in self._bodies
        ]
        reasons += [
            f"the tracker's single markers are frozen: the same places for {age:.2f} s {said}"
            for (name, _), age in old.items()
            if name == _MARKERS
        ]
        return tuple(reasons)


def _stale(sample: TrackerSample, now_s: float, limits: TrackingLimits) -> list[str]:
    age_s = now_s - sample.time_s
    if not 0.0 <= age_s <= limits.max_age_s:
        age = f"{age_s:.2f} s old, limit {limits.max_age_s:g} s" + (" (from the future)" if age_s < 0.0 else "")
        return [f"the tracker's sample is stale: {age}; look at the tracker, then try again", *sample.reasons]
    return list(_said(sample, TrackingStatus.STALE))


def _said(sample: TrackerSample, status: TrackingStatus) -> tuple[str, ...]:
    """Return what the tracker says of the whole sample when it calls it that."""
    if sample.status is not status:
        return ()
    return sample.reasons or (f"the tracker calls its own sample {status.value.replace('_', ' ')}",)


def _missing(sample: TrackerSample, wanted: tuple[BodyPose, ...], markers: int) -> list[str]:
    reasons = list(_said(sample, TrackingStatus.MISSING))
    reasons += [
        f"the tracker does not see the body '{body.name}': clear its line of sight"
        for body in wanted
        if body.T is None or body.status is TrackingStatus.MISSING
    ]
    seen = len(sample.points_tracker_mm)
    if seen < markers:
        reasons.append(f"the tracker sees {seen} single markers, at least {markers} are needed: clear their view")
    return reasons


def _outside(sample: TrackerSample, wanted: tuple[BodyPose, ...], limits: TrackingLimits) -> list[str]:
    reasons = list(_said(sample, TrackingStatus.OUT_OF_VOLUME))
    for body in wanted:
        if body.T is None:
            continue
        reach = float(np.abs(body.T.translation_mm).max())
        if body.status is TrackingStatus.OUT_OF_VOLUME:
            reasons.append(f"the tracker calls the body '{body.name}' out of its volume: move the tracker or the body")
        elif reach > limits.reach_mm:
            reasons.append(
                f"the body '{body.name}' is {reach:.0f} mm from the tracker's origin along one axis, limit "
                f"{limits.reach_mm:g} mm"
            )
    far = int(np.count_nonzero(np.abs(sample.points_tracker_mm).max(axis=1, initial=0.0) > limits.reach_mm))
    if far:
        reasons.append(f"{far} single markers are outside the volume of ±{limits.reach_mm:g} mm about the tracker")
    return reasons


def _broken(sample: TrackerSample, wanted: tuple[BodyPose, ...], limits: TrackingLimits) -> list[str]:
    reasons = list(_said(sample, TrackingStatus.JUMPING))
    for body in wanted:
        if body.status in (TrackingStatus.JUMPING, TrackingStatus.STALE):
            reasons.append(f"the tracker calls the body '{body.name}' {body.status}")
        elif body.quality_mm is not None and body.quality_mm > limits.quality_mm:
            reasons.append(
                f"the markers of the body '{body.name}' are {body.quality_mm:.2f} mm rms out of its shape, limit "
                f"{limits.quality_mm:g} mm: one is hidden, bent, or another's"
            )
    return reasons


def _jumps(last: TrackerSample, sample: TrackerSample, bodies: tuple[str, ...], limits: TrackingLimits) -> list[str]:
    since_s = sample.time_s - last.time_s
    allowed = limits.speed_mm_s * since_s + limits.jitter_mm
    reasons = []
    for name in bodies:
        before, now = last.body(name).T, sample.body(name).T
        if before is None or now is None:
            continue
        moved = float(np.linalg.norm(now.translation_mm - before.translation_mm))
        if moved > allowed:
            reasons.append(_jump(f"the body '{name}'", moved, since_s, allowed))
    # Single markers have no names: they jumped together when most of those seen before have no neighbour now.
    near = _nearest_mm(last.points_tracker_mm, sample.points_tracker_mm)
    if len(near) >= 3 and len(sample.points_tracker_mm) >= 3 and 2 * int((near <= allowed).sum()) <= len(near):
        gone = near > allowed
        reasons.append(_jump(f"{gone.sum()} of {len(near)} single markers", float(near[gone].min()), since_s, allowed))
    return reasons


def _jump(what: str, moved_mm: float, since_s: float, allowed_mm: float) -> str:
    return f"{what} jumped {moved_mm:.1f} mm in {since_s:.3f} s, limit {allowed_mm:.1f} mm"


def _nearest_mm(points: FloatArray, others: FloatArray) -> FloatArray:
    """Return for each of `points` (n, 3) its distance to the nearest of `others` [mm], shape (n,); n may be 0."""
    if len(points) == 0 or len(others) == 0:
        return np.full(len(points), np.inf)
    nearest: FloatArray = np.linalg.norm(points[:, None, :] - others[None, :, :], axis=-1).min(axis=1)
    return nearest


def _parts(sample: TrackerSample) -> list[tuple[str, bytes]]:
    """Return what a sample holds, each to the last digit: its bodies by name, and its single markers in their order."""
    parts = [(body.name, body.T.matrix) for body in sample.bodies if body.T is not None]
    if len(sample.points_tracker_mm):
        parts.append((_MARKERS, sample.points_tracker_mm))
    # Adding zero turns -0 into 0: the two are one number, and would be two strings of bytes.
    return [(name, (numbers + 0.0).tobytes()) for name, numbers in parts]
