"""Where a marker can stand on the box case: on its skin, in air, in the field, off the entries."""

from __future__ import annotations

import numpy as np

from guidance.case.case import Case
from guidance.case.marker_places import ENTRY_CLEAR_DEG, marker_places_mm
from guidance.case.target import target_centroid_mm
from guidance.scene import FiducialSet
from registration.images.volume import Volume


def test_places_stand_off_the_skin_and_off_the_entries(box_case: Case) -> None:
    """Dozens of places, each 5 mm from the nearest body voxel's face, none in the cone, on both sides."""
    case = box_case
    places = marker_places_mm(case, FiducialSet())
    assert len(places) > 20
    body = case.body.points_mm(np.argwhere(case.body.voxels > 0))
    for place in places[::3]:
        gap = np.sqrt(((body - place) ** 2).sum(axis=1).min()) - 0.5 * case.body.spacing_mm[:2].min()
        assert abs(gap - 5.0) < 0.6
    off = places - target_centroid_mm(case)
    angle = np.degrees(np.arccos(-off[:, 1] / np.linalg.norm(off, axis=1)))
    assert angle.min() >= ENTRY_CLEAR_DEG
    assert off[:, 0].min() < -30.0 and off[:, 0].max() > 30.0


def test_a_body_that_fills_the_field_has_no_place(box_case: Case) -> None:
    """No skin in view: no place, and no error."""
    full = Volume(np.ones_like(box_case.body.voxels), box_case.body.affine)
    assert marker_places_mm(Case(box_case.description, box_case.ct, box_case.labels, full), FiducialSet()).shape == (
        0,
        3,
    )
