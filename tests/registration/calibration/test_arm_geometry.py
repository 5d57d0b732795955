"""The arm's geometry from markers on its tool: held-back poses, stated error, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinematics.arm_model import load_lbr
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.forward import flange_pose
from kinematics.frames import Transform
from kinematics.inverse import InverseStatus, inverse
from registration.calibration.arm_geometry import ArmGeometry, calibrate_arm
from registration.calibration.arm_postures import choose_postures
from tests.registration.calibration.true_arms import MARKERS_FLANGE_MM, SeenArm, postures, rms, seen_arm

NOISE_MM = 0.25


def _measured(rng: np.random.Generator, arm: SeenArm, q: np.ndarray, noise_mm: float = NOISE_MM) -> np.ndarray:
    places = arm.places(q)
    return np.asarray(places + rng.normal(0.0, noise_mm / 3**0.5, places.shape))


def _nominal_error(arm: SeenArm, held: np.ndarray) -> float:
    """Return the rms error of the nominal arm on held-back postures, its base and markers exactly known."""
    nominal = SeenArm(arm.nominal, arm.nominal, arm.T_tracker_robot, arm.markers_flange_mm)
    return rms(nominal.places(held) - arm.places(held))


@pytest.mark.parametrize("tip_rms_mm", [0.3, 1.0])
@pytest.mark.parametrize("hard", [False, True], ids=["origins off", "zeros, lengths, tilts"])
def test_held_back_poses_are_met_within_a_quarter_millimetre(tip_rms_mm: float, hard: bool) -> None:
    """50 postures, a tracker of 0.25 mm: 100 others are predicted to < 0.15 mm rms, and as well as was foretold."""
    rng = np.random.default_rng(3)
    arm = seen_arm(rng, tip_rms_mm, hard=hard)
    q, held = postures(rng, 50, 0.9), postures(rng, 100, 0.5)
    found = calibrate_arm(arm.nominal, q, _measured(rng, arm, q), tracker_rms_mm=NOISE_MM)
    before, after = _nominal_error(arm, held), rms(found.markers_tracker_mm(held) - arm.places(held))
    assert before > 0.6 * tip_rms_mm
    assert after < 0.15
    assert after == pytest.approx(found.predicted_rms_mm, rel=0.6)
    assert found.misfit == pytest.approx(1.0, abs=0.15)
    assert found.outliers == ()


def test_one_marker_is_enough_and_exact_sight_gives_the_exact_arm() -> None:
    """A single marker, 60 postures, no noise to speak of: held-back places to a few micrometres."""
    rng = np.random.default_rng(4)
    arm = seen_arm(rng, 0.6, markers_flange_mm=MARKERS_FLANGE_MM[:1])
    q, held = postures(rng, 60, 0.9), postures(rng, 50, 0.5)
    found = calibrate_arm(arm.nominal, q, _measured(rng, arm, q, 1e-4), tracker_rms_mm=1e-4)
    assert rms(found.markers_tracker_mm(held) - arm.places(held)) < 5e-3


def test_the_calibrated_arm_is_an_arm() -> None:
    """Its inverse kinematics answers, and the flange's error has fallen as well: poses between two frames known."""
    rng = np.random.default_rng(5)
    arm = seen_arm(rng, 1.0)
    q = postures(rng, 50, 0.9)
    found = calibrate_arm(arm.nominal, q, _measured(rng, arm, q), tracker_rms_mm=NOISE_MM)
    pose = flange_pose(found.arm, postures(rng, 1, 0.4)[0])
    solutions = inverse(found.arm, pose)
    assert solutions.status is InverseStatus.OK
    assert flange_pose(found.arm, solutions.q_rad[0])[:3, 3] == pytest.approx(pose[:3, 3], abs=1e-5)
    # Base and flange are frames of choice: between two postures, only the arm's own motion counts.
    first, second = postures(rng, 2, 0.5)
    true = np.linalg.inv(flange_pose(arm.true, first)) @ flange_pose(arm.true, second)
    off = []
    for model in (arm.nominal, found.arm):
        motion = np.linalg.inv(flange_pose(model, first)) @ flange_pose(model, second)
        off.append(float(np.linalg.norm((motion - true)[:3, 3])))
    assert off[1] < 0.5 * off[0]


def test_the_answer_does_not_depend_on_where_the_tracker_stands() -> None:
    """Another tracker frame changes the base alone."""
    rng = np.random.default_rng(6)
    arm = seen_arm(rng, 0.6)
    q = postures(rng, 30, 0.9)
    seen = _measured(rng, arm, q)
    move = Transform.of("tracker", "tracker", Rotation.from_rotvec([0.3, 2.0, -1.0]).as_matrix(), (300, -90, 1100))
    first = calibrate_arm(arm.nominal, q, seen, tracker_rms_mm=NOISE_MM)
    second = calibrate_arm(arm.nominal, q, move.points(seen), tracker_rms_mm=NOISE_MM)
    assert second.arm.origins == pytest.approx(first.arm.origins, abs=1e-6)
    assert second.T_tracker_robot.matrix == pytest.approx((move @ first.T_tracker_robot).matrix, abs=1e-5)
    assert second.predicted_rms_mm == pytest.approx(first.predicted_rms_mm, rel=1e-6)


def test_elasticity_is_said_and_foretold() -> None:
    """Joints that give under the arm's weight are not geometry: the error that stays is foretold, and refused."""
    for stiffness_nm_rad, accepted in ((3.0e5, True), (1.0e5, False)):
        rng = np.random.default_rng(7)
        arm = seen_arm(rng, 0.6, stiffness_nm_rad=stiffness_nm_rad)
        q, held = postures(rng, 60, 0.9), postures(rng, 60, 0.5)
        seen = _measured(rng, arm, q)
        found = calibrate_arm(arm.nominal, q, seen, tracker_rms_mm=NOISE_MM, limit_rms_mm=1.0)
        truth = arm.places(held)
        after = rms(found.markers_tracker_mm(held) - truth)
        assert found.unexplained_rms_mm > 0.03 and found.misfit > 1.0
        assert after == pytest.approx(found.predicted_rms_mm, rel=0.4)
        assert after < 0.6 * _nominal_error(arm, held)
        if accepted:
            calibrate_arm(arm.nominal, q, seen, tracker_rms_mm=NOISE_MM)
        else:
            with pytest.raises(RefusedError, match="neither noise nor geometry"):
                calibrate_arm(arm.nominal, q, seen, tracker_rms_mm=NOISE_MM)


def test_a_wrong_posture_is_left_out_by_name() -> None:
    """A joint read late in posture 11, and a marker swapped in 40: both are named."""
    rng = np.random.default_rng(8)
    arm = seen_arm(rng, 0.6)
    q = postures(rng, 50, 0.9)
    seen = _measured(rng, arm, q)
    read = q.copy()
    read[11, 2] += 0.02
    seen[40, [0, 1]] = seen[40, [1, 0]]
    assert calibrate_arm(arm.nominal, read, seen, tracker_rms_mm=NOISE_MM).outliers == (11, 40)


def _calibrate(rng: np.random.Generator, arm: SeenArm, q: np.ndarray, **changes: np.ndarray) -> ArmGeometry:
    seen = changes.get("seen")
    return calibrate_arm(
        arm.nominal, changes.get("read", q), _measured(rng, arm, q) if seen is None else seen, tracker_rms_mm=NOISE_MM
    )


def test_poor_postures_are_refused() -> None:
    """Too few, all alike, a joint never moved: what is missing is said."""
    rng = np.random.default_rng(9)
    arm = seen_arm(rng, 0.6)
    with pytest.raises(InvalidInputError, match="more postures"):
        _calibrate(rng, arm, postures(rng, 19, 0.9))
    with pytest.raises(RefusedError, match="tell too little of the arm"):
        _calibrate(rng, arm, postures(rng, 40, 0.08))
    frozen = postures(rng, 40, 0.9)
    frozen[:, 1] = 0.3
    with pytest.raises(RefusedError, match="joint 2 used 0% of its range"):
        _calibrate(rng, arm, frozen)


def test_wrong_measurements_are_refused() -> None:
    """Shapes, NaN, beyond the limits, degrees, metres, a mirror, pairs mixed up, a loose tool."""
    rng = np.random.default_rng(10)
    arm = seen_arm(rng, 0.6)
    q = postures(rng, 40, 0.9)
    seen = _measured(rng, arm, q)
    for changes, words in (
        ({"seen": seen[:-1]}, r"\(n, m, 3\)"),
        ({"seen": np.where(np.arange(40)[:, None, None] == 3, np.nan, seen)}, "not finite"),
        ({"read": np.degrees(q)}, "outside the joints' limits"),
        ({"seen": seen / 1000.0}, "do not move as the arm does"),
        ({"seen": seen * (1, 1, -1)}, "mirrored"),
        ({"seen": rng.permutation(seen)}, "do not move as the arm does"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            _calibrate(rng, arm, q, **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="stated above zero"):
        calibrate_arm(arm.nominal, q, seen, tracker_rms_mm=0.0)
    with pytest.raises(RefusedError, match="do not follow the arm|do not fit the others"):
        _calibrate(rng, arm, q, seen=seen + rng.normal(0, 2.0, (40, 1, 3)))


def test_chosen_postures_tell_more_than_random_ones() -> None:
    """Thirty chosen of 300 foretell a smaller error than thirty taken as they come; a smaller set is its beginning."""
    rng = np.random.default_rng(11)
    arm = seen_arm(rng, 0.6, markers_flange_mm=MARKERS_FLANGE_MM[:1])
    pool = postures(rng, 300, 0.9)
    chosen = choose_postures(arm.nominal, pool, arm.markers_flange_mm, 30, tracker_rms_mm=NOISE_MM)
    assert len(set(chosen.tolist())) == 30
    fewer = choose_postures(arm.nominal, pool, arm.markers_flange_mm, 12, tracker_rms_mm=NOISE_MM)
    assert fewer.tolist() == chosen[:12].tolist()
    foretold = [
        calibrate_arm(arm.nominal, q, _measured(rng, arm, q), tracker_rms_mm=NOISE_MM).predicted_rms_mm
        for q in (pool[chosen], pool[:30])
    ]
    assert foretold[0] < 0.95 * foretold[1]
    with pytest.raises(InvalidInputError, match="not that many postures"):
        choose_postures(load_lbr(), pool[:5], arm.markers_flange_mm, 6, tracker_rms_mm=NOISE_MM)
