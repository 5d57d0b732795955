"""The pictures of tolerances: what is listed, and that the patient's sides lie where the letters say."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.planning.tolerances.tolerance_map import ToleranceMap
from guidance.report.inputs import ReportInputs
from guidance.report.planes import orientation, plane_across
from guidance.report.tolerance_view import on_screen, rules_by_shift, tolerance_picture, towards_ct


@pytest.fixture
def tolerance(weighed_run: ReportInputs) -> ToleranceMap:
    """Of the first needle."""
    assert weighed_run.plan is not None
    found = weighed_run.plan.electrodes[0].tolerance
    assert found is not None
    return found


def test_the_tightest_rule_comes_first(tolerance: ToleranceMap) -> None:
    """Each rule once with its least shift; where nothing breaks comes last."""
    assert rules_by_shift(tolerance) == [
        ("clearance to splenic_vein", 1.5),
        ("coverage of tumour + 5 mm", 3.0),
        ("", 6.0),
    ]


def test_rays_point_where_the_letters_say(tolerance: ToleranceMap) -> None:
    """A needle from straight ahead is seen with the patient's left on the right and the head up, as in other views."""
    plane = plane_across(np.zeros(3), np.array([0.0, 1.0, 0.0]), 6.0)
    assert (orientation(plane.right_ct), orientation(plane.down_ct)) == ("L", "F")
    units = on_screen(tolerance, plane)
    np.testing.assert_allclose(units[0], [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(units[6], [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1.0)
    assert [orientation(towards_ct(tolerance, a)) for a in (0.0, 90.0, 180.0, 270.0)] == ["L", "F", "R", "H"]
    # Seen along an oblique needle, a ray keeps its place in the patient.
    axis = np.array([0.3, 0.9, -0.2]) / np.linalg.norm([0.3, 0.9, -0.2])
    oblique = plane_across(np.zeros(3), axis, 6.0)
    turned = tolerance.model_copy(update={"first_ct": oblique.down_ct, "second_ct": -oblique.right_ct})
    np.testing.assert_allclose(on_screen(turned, oblique)[0], [0.0, 1.0], atol=1e-12)


def test_plans_without_maps_have_no_picture(weighed_run: ReportInputs, full_run: ReportInputs) -> None:
    """One panel for each needle that has a map; none, no picture."""
    assert tolerance_picture(full_run) is None
    picture = tolerance_picture(weighed_run)
    assert picture is not None and picture.png.startswith(b"\x89PNG")
    assert "to 6 mm" in picture.caption and "to 6°" in picture.caption
