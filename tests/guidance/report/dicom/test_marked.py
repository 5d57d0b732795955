"""Which parts are shown, and the lesion on the grid of the series."""

from __future__ import annotations

import numpy as np

from guidance.report.dicom.marked import PartKind, marked_parts, slices_round_target
from registration.images.volume import Volume


def test_target_lesion_and_near_forbidden_structures(oblique_case):
    """A costly structure is not marked, nor is a lesion that lies elsewhere."""
    first, last = slices_round_target(oblique_case)
    grid = oblique_case.ct.crop((0, 0, first), (*oblique_case.ct.shape[:2], last))
    lesion = Volume(np.ones((4, 5, 3), np.uint8), oblique_case.ct.affine)
    parts = marked_parts(oblique_case, grid, first, last, lesion)
    assert [(p.name, p.kind) for p in parts] == [("tumour", PartKind.TARGET), ("vessel", PartKind.FORBIDDEN)]
    moved = oblique_case.ct.affine.copy()
    moved[:3, 3] = oblique_case.ct.points_mm((21, 18, 18))
    parts = marked_parts(oblique_case, grid, first, last, Volume(lesion.voxels, moved))
    zone = next(p for p in parts if p.kind is PartKind.ABLATION_ZONE)
    low = np.argwhere(zone.mask).min(axis=0) + np.array([0, 0, first])
    assert tuple(low) == (21, 18, 18)
    assert zone.mask.sum() == 60


def test_slices_hold_the_target_and_30_mm_more(oblique_case):
    """On slices of 2.5 mm: 12 more on either side, or to the end of the CT."""
    first, last = slices_round_target(oblique_case)
    assert (first, last) == (17 - 12, 20 + 12 + 1)
