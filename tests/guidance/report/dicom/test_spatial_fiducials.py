"""The fiducials, read by hand, stand where they were found, in the CT's frame of reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2


def test_fiducials_come_back(written):
    """Identifier, place and uncertainty of every fiducial; tracked or not is said."""
    data = written.read("fiducials.dcm")
    (group,) = data.FiducialSetSequence
    assert group.FrameOfReferenceUID == written.slices()[0].FrameOfReferenceUID
    assert data.StudyInstanceUID == written.slices()[0].StudyInstanceUID
    found = {f.FiducialIdentifier: f for f in group.FiducialSequence}
    assert set(found) == {f.id for f in written.registration.fiducials}
    for fiducial in written.registration.fiducials:
        item = found[fiducial.id]
        assert (item.ShapeType, item.NumberOfContourPoints) == ("POINT", 1)
        np.testing.assert_allclose([float(v) for v in item.ContourData], fiducial.centre_ct_mm, atol=1e-6)
        # The covariance of the fixture is 0.1 mm on each axis.
        assert item.ContourUncertaintyRadius == pytest.approx(0.1 * np.sqrt(chi2.ppf(0.95, 3)), rel=0.01)
        assert ("not seen" in item.FiducialDescription) == (not fiducial.tracked)
    assert len({f.FiducialUID for f in found.values()}) == len(found)
