"""Corridors against a slow, independent march through the same case."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.planning.anatomy import Anatomy, build_anatomy
from guidance.planning.corridors import Fate, Spread, skin_distance, trace, trace_corridors
from guidance.planning.directions import lateral_axes, lateral_grid, outward_directions

SPREAD = Spread(common_mm=0.3, bending_mm=0.7, breathing_mm=1.5)


@pytest.fixture(scope="module")
def anatomy(box_case: Case) -> Anatomy:
    """The box on the planning grid."""
    return build_anatomy(box_case, 0.535, 100.0)


def test_the_skin_is_where_the_body_ends(anatomy: Anatomy) -> None:
    """Straight anterior from the centroid, the depth is the distance to the flat skin within a step."""
    out = np.array([0.0, -1.0, 0.0])
    # Body voxels j < 46 with spacing −2 mm: the anterior face lies at y = 55 − 45·2 − 1 = −36 in ct.
    skin = anatomy.T_ct_grid.inverse().points(np.array([0.0, -36.0, 0.0]))[1]
    depth = skin_distance(anatomy.inside, anatomy.low_mm, 1.0, np.zeros(3), out, 100.0, 0.25)
    assert depth == pytest.approx(-skin, abs=0.7)
    assert skin_distance(anatomy.inside, anatomy.low_mm, 1.0, np.zeros(3), out, 10.0, 0.25) == -1.0


def test_a_path_that_leaves_the_image_inside_the_body_sees_no_skin(anatomy: Anatomy) -> None:
    """A body that reaches the edge of the grid gives no entry."""
    filled = np.ones_like(anatomy.inside)
    out = np.array([0.0, -1.0, 0.0])
    assert skin_distance(filled, anatomy.low_mm, 1.0, np.zeros(3), out, 500.0, 1.0) == -2.0


def test_a_second_fold_of_skin_is_no_entry(anatomy: Anatomy) -> None:
    """A path that would enter again within the air beyond the skin is refused."""
    out = np.array([0.0, -1.0, 0.0])
    depth = skin_distance(anatomy.inside, anatomy.low_mm, 1.0, np.zeros(3), out, 100.0, 0.5)
    folded = anatomy.inside.copy()
    j = round((-depth - 8.0 - anatomy.low_mm[1]) / 1.0)
    folded[:, j - 2 : j + 3, :] = 1
    assert skin_distance(folded, anatomy.low_mm, 1.0, np.zeros(3), out, 100.0, 0.5) == -3.0


def test_corridors_agree_with_a_slow_march(anatomy: Anatomy, box_case: Case) -> None:
    """Open corridors keep the clearance on the voxels themselves; blocked ones come too near or go through."""
    out = outward_directions(np.radians(60.0), np.radians(14.0))
    axes = [lateral_axes(-o) for o in out]
    first, second = (np.array([a[n] for a in axes]) for n in range(2))
    lateral = lateral_grid(16.0, 8.0)
    planes = np.full((len(out), 1), 6.0)
    found = trace_corridors(anatomy, out, first, second, lateral, planes, SPREAD, least_excess_mm=0.0)
    vessel = box_case.labels.points_mm(np.argwhere(box_case.labels.voxels == 2))
    counts = {fate: 0 for fate in Fate}
    for d in range(len(out)):
        for n, (a, b) in enumerate(lateral):
            fate = Fate(int(found.fate[d, n, 0]))
            counts[fate] += 1
            if fate not in (Fate.OPEN, Fate.FORBIDDEN):
                continue
            tip = anatomy.T_ct_grid.points(a * first[d] + b * second[d] - planes[d, 0] * out[d])
            way = anatomy.T_ct_grid.directions(out[d])
            along = tip + np.arange(0.0, 100.0, 0.5)[:, None] * way
            index = np.clip(np.rint(box_case.body.indices(along)).astype(int), 0, np.array(box_case.body.shape) - 1)
            inside = along[box_case.body.voxels[tuple(index.T)] > 0]
            gap = np.maximum(np.abs(vessel[None] - inside[:, None]) - [1.0, 1.0, 1.5], 0.0)
            clear = float(np.linalg.norm(gap, axis=-1).min()) - 0.535 - 2.0
            if fate is Fate.OPEN:
                assert clear > -1.0
            else:
                assert clear < 1.0
    assert counts[Fate.OPEN] > 20 and counts[Fate.FORBIDDEN] > 20


def test_risk_is_distance_in_standard_deviations(anatomy: Anatomy) -> None:
    """Beside a plane, with errors of registration alone, sigmas is the gap over the standard deviation."""
    x = anatomy.low_mm[0] + np.arange(anatomy.touch_mm.shape[0])
    touch = np.broadcast_to((x + 10.0)[:, None, None], anatomy.touch_mm.shape).astype(np.float32)
    price = np.full(touch.shape, 0.5, dtype=np.float32)
    out = np.array([0.0, -1.0, 0.0])
    tip = np.array([-7.0, 3.0, 0.0])
    spread = Spread(common_mm=0.8, bending_mm=0.0, breathing_mm=0.0).row
    least, sigmas, paid = trace(touch, touch - 2.0, price, anatomy.low_mm, 1.0, tip, out, 30.0, spread)
    assert least == pytest.approx(1.0, abs=1e-5)
    assert sigmas == pytest.approx(3.0 / 0.8, rel=1e-3)
    assert paid == pytest.approx(15.0, rel=0.06)
    # Bending acts at the tip alone, and breathing, head to foot, not towards this plane.
    bent = Spread(common_mm=0.8, bending_mm=10.0, breathing_mm=5.0).row
    _, nearer, _ = trace(touch, touch - 2.0, price, anatomy.low_mm, 1.0, tip, out, 30.0, bent)
    assert nearer == pytest.approx(3.0 / np.hypot(0.8, 10.0 * 0.3**2), rel=1e-3)
