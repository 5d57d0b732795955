"""The registrations, read by hand, take points where the transforms take them, between the frames of the series."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(11)


def matrices(data):
    """Each item's matrix by the UID of the frame that it starts from."""
    found = {}
    for item in data.RegistrationSequence:
        method = item.MatrixRegistrationSequence[0]
        (matrix,) = method.MatrixSequence
        assert matrix.FrameOfReferenceTransformationMatrixType == "RIGID"
        values = np.array([float(v) for v in matrix.FrameOfReferenceTransformationMatrix]).reshape(4, 4)
        found[item.FrameOfReferenceUID] = (values, method.RegistrationTypeCodeSequence[0].CodeValue)
    return found


def moved(matrix, points):
    """Points after a 4 × 4, column by column."""
    return (matrix @ np.vstack([points.T, np.ones(len(points))]))[:3].T


def test_check_to_planning(written):
    """A point of the check CT comes to where the placement puts it, in the frame of the planning series."""
    data = written.read("check_to_planning.dcm")
    ct, check = written.slices()[0].FrameOfReferenceUID, written.slices("check")[0].FrameOfReferenceUID
    assert data.FrameOfReferenceUID == ct != check
    found = matrices(data)
    assert set(found) == {ct, check}
    np.testing.assert_array_equal(found[ct][0], np.eye(4))
    points = RNG.uniform(-200, 200, (9, 3))
    np.testing.assert_allclose(moved(found[check][0], points), written.placement.T_plan_check.points(points), atol=1e-6)
    assert (found[ct][1], found[check][1]) == ("125021", "125022")
    listed = {s.SeriesInstanceUID: len(s.ReferencedInstanceSequence) for s in data.ReferencedSeriesSequence}
    series = [written.slices(), written.slices("check")]
    assert listed == {s[0].SeriesInstanceUID: len(s) for s in series}


def test_planning_to_robot(written):
    """A point of the planning CT comes to the robot's frame, which is neither CT's and says what it is fixed to."""
    data = written.read("planning_to_robot.dcm")
    ct, check = written.slices()[0].FrameOfReferenceUID, written.slices("check")[0].FrameOfReferenceUID
    assert data.FrameOfReferenceUID not in {ct, check}
    assert "ROBOT BASE" in data.PositionReferenceIndicator
    found = matrices(data)
    assert set(found) == {ct}
    points = RNG.uniform(-200, 200, (9, 3))
    expected = written.registration.T_robot_ct.points(points)
    np.testing.assert_allclose(moved(found[ct][0], points), expected, atol=1e-6)
