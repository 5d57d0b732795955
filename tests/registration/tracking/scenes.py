"""A robot, a table and a patient before a tracker, with exact truth, for tests of what a tracker's samples say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.frames import Transform
from registration.tracking.port import ARM, REFERENCE, BodyPose, TrackerSample, TrackingStatus
from registration.tracking.scene import TrackedScene
from registration.tracking.watch import SceneWatch, Watched

FIDUCIALS = np.array(
    [[-210, 20, -30], [-160, -90, 10], [-120, -130, 45], [-170, -100, -60], [-95, -40, 80], [-110, -125, -20.0]]
)
"""Frame `reference`, mm."""
T_ROBOT_REFERENCE = Transform.of(
    "robot", "reference", Rotation.from_rotvec([0.2, 1.1, -0.4]).as_matrix(), (620, 90, -40)
)
T_TRACKER_ROBOT = Transform.of(
    "tracker", "robot", Rotation.from_rotvec([2.0, 0.3, -0.9]).as_matrix(), (300, -200, 1700)
)
T_ROBOT_ARM = Transform.of("robot", "arm", Rotation.from_rotvec([-0.3, 2.2, 0.5]).as_matrix(), (420, -130, 310))


def turned(frame: str, rotation_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Transform:
    """Return a small motion within a frame."""
    return Transform.of(frame, frame, Rotation.from_rotvec(np.radians(rotation_deg)).as_matrix(), shift_mm)


@dataclass
class Room:
    """What truly stands where; `sample` is what a tracker with a noise of `sigma_mm` per axis says."""

    T_tracker_robot: Transform = T_TRACKER_ROBOT
    T_robot_reference: Transform = T_ROBOT_REFERENCE
    T_robot_arm: Transform = T_ROBOT_ARM
    fiducials_reference_mm: np.ndarray = field(default_factory=FIDUCIALS.copy)
    sigma_mm: float = 0.0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def sample(self, time_s: float) -> TrackerSample:
        """Return bodies and markers, in any order."""
        points = (self.T_tracker_robot @ self.T_robot_reference).points(self.fiducials_reference_mm)
        points = self.rng.permutation(points + self._noise(points.shape))
        bodies = (
            BodyPose(REFERENCE, self._seen(self.T_tracker_robot @ self.T_robot_reference), quality_mm=0.1),
            BodyPose(ARM, self._seen(self.T_tracker_robot @ self.T_robot_arm), quality_mm=0.1),
        )
        return TrackerSample(time_s, points, bodies)

    def _noise(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.normal(0.0, max(self.sigma_mm, 1e-6), shape)

    def _seen(self, T: Transform) -> Transform:
        """Return a pose as four markers at 100 mm show it."""
        turn = Rotation.from_rotvec(self._noise((3,)) / 160.0).as_matrix()
        return Transform.of(T.to, T.from_, turn @ T.rotation, T.translation_mm + 0.5 * self._noise((3,)))

    def scene(self) -> TrackedScene:
        """Return the scene as registered now, without noise."""
        return TrackedScene(
            registration_sha256="",
            T_robot_tracker=self.T_tracker_robot.inverse(),
            T_tracker_reference=self.T_tracker_robot @ self.T_robot_reference,
            fiducials_reference_mm=self.fiducials_reference_mm,
        )


def looks(watch: SceneWatch, room: Room, count: int, start_s: float, *, still: bool = True) -> list[Watched]:
    """Return what the watch says of `count` samples, 20 a second."""
    times = start_s + 0.05 * np.arange(count)
    return [watch.look(room.sample(float(t)), float(t), room.T_robot_arm, still=still) for t in times]


def hidden(sample: TrackerSample, name: str, status: TrackingStatus = TrackingStatus.MISSING) -> TrackerSample:
    """Return the sample with one body not seen."""
    return replace(sample, bodies=tuple(BodyPose(name, None, status) if b.name == name else b for b in sample.bodies))
