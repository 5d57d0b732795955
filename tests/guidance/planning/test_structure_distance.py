"""Distances to structures: against every voxel's box, along drawn shafts."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.case import Case
from guidance.planning.chance.structure_distance import StructureDistances
from guidance.planning.grid.anatomy import build_anatomy
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

RADIUS_MM = 0.535
AXIS = np.array([0.2, 0.95, -0.15]) / np.linalg.norm([0.2, 0.95, -0.15])
TIPS_MM = np.array([[11.0, 4.0, -5.0], [10.5, 6.0, 4.0]])
DEPTHS_MM = np.array([40.0, 44.0])


def ragged(case: Case) -> Case:
    """Return the case with a vessel of loose voxels: corners, edges, notches and holes."""
    labels = case.labels.voxels.copy()
    kept = np.random.default_rng(3).uniform(size=labels.shape) < 0.3
    labels[(labels == 2) & ~kept] = 0
    return Case(case.description, case.ct, Volume(labels, case.labels.affine), case.body)


def bent(count: int, rng: np.random.Generator) -> FloatArray:
    """Return curves that stray from the planned needles by a few millimetres."""
    curves = np.zeros((count, 2, 3, 3))
    curves[:, :, 0] = TIPS_MM - DEPTHS_MM[:, None] * AXIS + rng.normal(0.0, 1.5, (count, 1, 3))
    curves[:, :, 1] = AXIS + rng.normal(0.0, 0.01, (count, 2, 3))
    curves[:, :, 2] = rng.normal(0.0, 1e-3, (count, 2, 3))
    return curves


@pytest.mark.parametrize("loose", [False, True])
def test_distances_are_those_to_the_boxes(box_case: Case, loose: bool) -> None:
    """Every 0.05 mm of each shaft against every box: equal below the limit, and never below it by mistake."""
    case = ragged(box_case) if loose else box_case
    T = build_anatomy(case, RADIUS_MM, 100.0).T_ct_grid
    curves = bent(60, np.random.default_rng(1))
    distances = StructureDistances.around(case, T, TIPS_MM, AXIS, DEPTHS_MM, RADIUS_MM)
    assert distances.names == ("aorta",)
    found = distances.clearances_mm(curves, DEPTHS_MM)[:, :, 0]
    boxes = np.argwhere(case.labels.voxels == 2)
    spacing = case.labels.spacing_mm
    truly = np.empty_like(found)
    for d, n in np.ndindex(found.shape):
        deep = np.arange(0.0, DEPTHS_MM[n] + 0.025, 0.05)[:, None]
        line = curves[d, n, 0] + deep * (curves[d, n, 1] + deep * curves[d, n, 2])
        index = case.labels.indices(T.points(line))
        near = boxes[(np.abs(boxes[:, None] - index[::80]) * spacing).max(axis=-1).min(axis=1) < 12.0]
        gap = np.maximum(np.abs(index[:, None] - near) - 0.5, 0.0) * spacing
        truly[d, n] = np.sqrt((gap**2).sum(axis=-1).min(initial=1e6)) - RADIUS_MM
    below = truly < 2.0
    assert 10 < below.sum() < below.size - 10
    # What lies between two samples of a shaft is nearer by up to 0.01 mm where it touches, and by more inside.
    outside = below & (truly > -0.1)
    assert np.allclose(found[outside], truly[outside], atol=0.015)
    assert (found[~below] >= 2.0 - 0.01).all()
    assert (np.abs(found - truly)[below & ~outside] < 0.1).all()


def test_a_structure_that_is_far_is_left_out(box_case: Case) -> None:
    """More than its limit and 8 mm away it has no chance; without any the distances are empty."""
    T = build_anatomy(box_case, RADIUS_MM, 100.0).T_ct_grid
    far = TIPS_MM - [25.0, 0.0, 0.0]
    distances = StructureDistances.around(box_case, T, far, AXIS, DEPTHS_MM, RADIUS_MM)
    assert distances.names == ()
    assert distances.clearances_mm(bent(3, np.random.default_rng(1)), DEPTHS_MM).shape == (3, 2, 0)
