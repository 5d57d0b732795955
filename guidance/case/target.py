"""The target of a case: its voxels, its centre, and the skin through which it may be reached."""

from __future__ import annotations

import numpy as np

from guidance.case.case import Case
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

ENTRY_CONE_DEG = 50.0
ENTRY_RINGS = (0.0, 15.0, 30.0, ENTRY_CONE_DEG)
MARCH_STEP_MM = 1.0
MARCH_LIMIT_MM = 400.0


def target_points_mm(case: Case) -> FloatArray:
    """Return the centres of the target's voxels in the CT frame [mm], shape (n, 3).

    Raises:
        InvalidInputError: The target has no voxel.
    """
    label = case.description.structure(case.description.target).label
    indices = np.argwhere(case.labels.voxels == label)
    if len(indices) == 0:
        raise InvalidInputError(
            f"the tumour ({case.description.target}) is empty: no voxel has its label",
            value=label,
            file=case.labels.file,
            remedy="name the label of the tumour in the table of roles, or draw it",
        )
    return case.labels.points_mm(indices)


def target_centroid_mm(case: Case) -> FloatArray:
    """Return the target's centroid in the CT frame [mm], shape (3,). Raises InvalidInputError when it is empty."""
    centroid: FloatArray = target_points_mm(case).mean(axis=0)
    return centroid


def entry_region_mm(case: Case) -> FloatArray:
    """Return skin points in front of the target, where needles are likely to enter.

    Rays go from the target's centroid in directions within 50° of anterior, each to the last voxel of the body.
    The registration is judged there before any needle is planned.

    Returns:
        Points on the skin in the CT frame [mm], shape (n, 3), n ≥ 1.

    Raises:
        InvalidInputError: The target is empty, or no ray leaves the body inside the image.
    """
    centre = target_centroid_mm(case)
    steps = np.arange(0.0, MARCH_LIMIT_MM, MARCH_STEP_MM)
    shape = np.array(case.body.shape)
    points = []
    for ring in np.radians(ENTRY_RINGS):
        for turn in np.linspace(0.0, 2.0 * np.pi, 1 if ring == 0.0 else 8, endpoint=False):
            ray = np.array([np.sin(ring) * np.cos(turn), -np.cos(ring), np.sin(ring) * np.sin(turn)])
            along = centre + steps[:, None] * ray
            index = np.rint(case.body.indices(along)).astype(int)
            inside_image = ((index >= 0) & (index < shape)).all(axis=1)
            index, along = index[inside_image], along[inside_image]
            body = case.body.voxels[index[:, 0], index[:, 1], index[:, 2]] > 0
            # A ray that is still inside the body at the image's edge has met no skin.
            if body.any() and not body[-1]:
                points.append(along[np.flatnonzero(body)[-1]])
    if not points:
        raise InvalidInputError(
            "no skin in view in front of the tumour: every ray leaves the image inside the body",
            value=np.round(centre, 1).tolist(),
            unit="mm",
            frame="ct",
            remedy="use a CT whose field of view holds the anterior skin",
        )
    return np.array(points)
