"""What a run's registration is made from where a person gives it: points of the CT, points of the tracker, calibration.

What is not given comes from the simulated suite: spheres found in the planning CT, its tracker, its calibration.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from guidance.case.case import Case
from kinematics.arrays import read_only
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration.calibration.calibration_file import read_calibration
from registration.calibration.tip_file import read_tip_spread
from registration.named_points import Axes, NamedPoints
from registration.point_files import read_ct_points, read_tracker_points
from registration.registration import Registration
from registration.sources import MeasuredErrors
from registration.sphere import FoundSphere
from registration.surface.agreement import SkinScan
from registration.surface.scan_file import read_scan
from registration.tracking.port import Tracker, TrackerSample
from sim.patient import NOMINAL_ROTATION_ROBOT_CT

MARKING_RMS_MM = 0.5
"""Default localisation error of a person who marks the centre of a sphere, rms of the 3-D vector: our estimate."""
LARGEST_MARKING_RMS_MM = 5.0
SKIN_REACH_MM = 20.0
"""A fiducial's centre stands 5 mm above the skin; the rest is room for a large one, and for the mask of the skin."""
LARGEST_TURN_DEG = 60.0
FOUND = {
    "ct": "spheres found in the planning CT",
    "tracker": "the simulated tracker",
    "calibration": "the simulated suite's",
}


@dataclass(frozen=True, eq=False)
class RegistrationInputs:
    """What is given; None where the simulated suite's own is used. `told` says where each came from."""

    spheres: tuple[FoundSphere, ...] | None = None
    tracker: Tracker | None = None
    T_robot_tracker: Transform | None = None
    measured: MeasuredErrors | None = None
    skin_scan: SkinScan | None = None
    told: Mapping[str, str] = field(default_factory=lambda: dict(FOUND))

    def live(
        self, address: str, samples: Sequence[TrackerSample], now_s: float, clock: Callable[[], float]
    ) -> RegistrationInputs:
        """Return the same with what a live tracker showed, told by its address.

        Args:
            address: HOST:PORT.
            samples: Its last samples, timed on the clock that says `now_s`.
            now_s: When they were taken over [s].
            clock: The suite's clock, which they are timed on from here.
        """
        ahead_s = clock() - now_s
        tracker = SamplesAsTracker([replace(sample, time_s=sample.time_s + ahead_s) for sample in samples])
        return replace(self, tracker=tracker, told={**self.told, "tracker": f"OpenIGTLink at {address}"})


class SamplesAsTracker:
    """Samples behind the tracker's port: one after the other, and then the last one, which ages.

    Args:
        samples: One or more, timed on the suite's clock.
    """

    def __init__(self, samples: Sequence[TrackerSample]) -> None:
        self._left = list(samples)

    def sample(self) -> TrackerSample:
        """Return the next sample."""
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


class PointsAsTracker:
    """Points that were measured and written down, behind the tracker's port.

    They carry no time of their own: whoever gives the file says that they hold now.

    Args:
        points: Frame `tracker`.
        clock: Returns the time [s].
    """

    def __init__(self, points: NamedPoints, clock: Callable[[], float]) -> None:
        self._points, self._clock = points, clock

    def sample(self) -> TrackerSample:
        """Return the points, as of now."""
        return TrackerSample(self._clock(), self._points.points_mm)


def read_inputs(
    case: Case,
    clock: Callable[[], float],
    diameter_mm: float,
    *,
    ct_points: Path | None = None,
    ct_axes: Axes | None = None,
    marking_rms_mm: float = MARKING_RMS_MM,
    tracked_points: Path | None = None,
    tracked_axes: Axes | None = None,
    pivot: Path | None = None,
    skin_scan: Path | None = None,
    calibration: Path | None = None,
) -> RegistrationInputs:
    """Read what is given in files.

    Args:
        case: The case, whose skin the points of the CT are on.
        clock: The suite's clock.
        diameter_mm: Nominal diameter of the fiducials.
        ct_points: Fiducials in the planning CT, marked by a person.
        ct_axes: Coordinate system of a CSV that does not say it.
        marking_rms_mm: Error of the marking, rms of the 3-D vector; it comes on top of the budget's localisation.
        tracked_points: Fiducials as the tracker measured them, in any order.
        tracked_axes: What the tracker's own axes are called in a file that says LPS or RAS.
        pivot: JSON with the covariance of the tip that touched the tracked points; without it the budget's.
        skin_scan: Points of the skin as the tracker measured them, which check the fiducials.
        calibration: JSON with `T_robot_tracker`, and its covariance where that is known.

    Raises:
        InvalidInputError: A file that leaves something in doubt, a point away from the skin, an impossible error.
    """
    told = dict(FOUND)
    spheres, tracker, T_robot_tracker, tip, spread = None, None, None, None, None
    if ct_points is not None:
        points = read_ct_points(ct_points, ct_axes)
        spheres = _marked(points, case, marking_rms_mm, diameter_mm, ct_points)
        told["ct"] = f"{_from(ct_points, points)} marked by a person, error {marking_rms_mm:g} mm rms"
    if tracked_points is not None:
        seen = read_tracker_points(tracked_points, tracked_axes)
        tracker = PointsAsTracker(seen, clock)
        told["tracker"] = _from(tracked_points, seen)
        if pivot is not None:
            tip = read_tip_spread(pivot, len(seen.points_mm))
            told["pivot"] = f"{pivot.name} (sha256 {_digest(pivot)}), {tip.rms_mm:.2f} mm rms"
    elif pivot is not None:
        raise InvalidInputError(
            "a pivot calibration belongs to points that a tool touched",
            value=pivot.name,
            remedy="give them with --tracked-points, or leave --pivot out",
        )
    if calibration is not None:
        found = read_calibration(calibration)
        T_robot_tracker = found.T_robot_tracker
        spread = found.spread
        said = "with its own covariance" if spread else "with the error budget's"
        told["calibration"] = f"{calibration.name} (sha256 {_digest(calibration)}), {said}"
    scan = None
    if skin_scan is not None:
        scan = SkinScan(read_scan(skin_scan))
        told["skin scan"] = f"{len(scan.points_tracker_mm)} points of {skin_scan.name} (sha256 {_digest(skin_scan)})"
    measured = MeasuredErrors(tip=tip, calibration=spread)
    return RegistrationInputs(spheres, tracker, T_robot_tracker, measured, scan, told)


def refuse_turned(registration: Registration) -> None:
    """Refuse a patient who would not lie supine, head to the robot's y: what points in the wrong axes lead to.

    A fit of unordered points takes up a half turn without a larger residual, so nothing before this sees it.

    Raises:
        RefusedError: The patient lies more than 60° away from the nominal orientation of the robot's frame.
    """
    nominal = Transform.of("ct", "robot", NOMINAL_ROTATION_ROBOT_CT.T, np.zeros(3))
    turn_deg = math.degrees((nominal @ registration.T_robot_ct).angle_rad())
    if turn_deg > LARGEST_TURN_DEG:
        reason = (
            f"the patient would lie turned by {turn_deg:.0f}° against supine, head along the robot's y (limit "
            f"{LARGEST_TURN_DEG:g}°): points in the wrong axes (LPS for RAS), or another calibration"
        )
        raise RefusedError("register", (reason,))


def _marked(points: NamedPoints, case: Case, rms_mm: float, diameter_mm: float, file: Path) -> tuple[FoundSphere, ...]:
    if not 0.0 < rms_mm <= LARGEST_MARKING_RMS_MM:
        raise InvalidInputError(
            "the error of the marking cannot be that",
            value=rms_mm,
            limit=f"above 0, at most {LARGEST_MARKING_RMS_MM:g}",
            unit="mm",
            remedy="state the rms distance of marks from the true centre",
        )
    for name, point in zip(points.names, points.points_mm, strict=True):
        _refuse_off_the_skin(name, point, case, file)
    covariance = read_only(np.eye(3) * rms_mm**2 / 3.0)
    # A mark says where a sphere is, and nothing of how it looks.
    return tuple(
        FoundSphere(centre_mm=read_only(p), covariance_mm2=covariance, diameter_mm=diameter_mm, contrast_hu=0.0)
        for p in points.points_mm
    )


def _refuse_off_the_skin(name: str, point_ct_mm: np.ndarray, case: Case, file: Path) -> None:
    """Refuse a point that has no skin within reach: outside the image, deep in the body, or far from it."""
    body = case.body
    centre, reach = body.indices(point_ct_mm), SKIN_REACH_MM / body.spacing_mm
    low = np.clip(np.floor(centre - reach), 0, body.shape).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, 0, body.shape).astype(int)
    index = np.argwhere(np.ones(np.maximum(high - low, 0), dtype=bool)) + low
    index = index[np.linalg.norm(body.points_mm(index) - point_ct_mm, axis=1) <= SKIN_REACH_MM]
    inside = body.voxels[tuple(index.T)] > 0
    if not inside.any() or inside.all():
        raise InvalidInputError(
            f"{name!r} is not on the skin: there is {'no body' if not inside.any() else 'nothing but body'} round it",
            value=[round(float(v), 1) for v in point_ct_mm],
            limit=f"skin within {SKIN_REACH_MM:g}",
            unit="mm",
            frame="ct, LPS",
            file=str(file),
            remedy="check the coordinate system (RAS or LPS), and that the points are of this CT",
        )


def _from(file: Path, points: NamedPoints) -> str:
    return f"{len(points.names)} points of {file.name} (sha256 {_digest(file)})"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
