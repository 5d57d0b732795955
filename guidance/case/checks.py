"""What must hold of a case before anything is computed from it."""

from __future__ import annotations

import numpy as np

from guidance.ablation.conductivity import tissue_set
from guidance.case.case import Case
from guidance.case.extent import labelled_span
from guidance.case.target import target_points_mm
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

TARGET_SURROUND_MM = 10.0
"""The labels must reach this far beyond the tumour: what they do not cover is unknown, not free."""


def check_case(case: Case) -> None:
    """Refuse a case that cannot be planned on.

    Raises:
        InvalidInputError: Labels or body on another grid; a structure without a voxel or a label without a
            structure; an unknown tissue set; an unknown or empty target; a target outside the body, or nearer than
            10 mm to the end of the labelled extent.
    """
    check_same_grid(case.ct, case.labels, "the labels")
    check_same_grid(case.ct, case.body, "the skin mask")
    description = case.description
    tissue_set(description.tissue_set)
    description.structure(description.target)
    points = target_points_mm(case)
    present = {int(v) for v in np.unique(case.labels.voxels)} - {0}
    known = {s.label: s.name for s in description.structures}
    unnamed = sorted(present - set(known))
    if unnamed:
        raise InvalidInputError(
            "the label image holds labels that no structure describes",
            value=unnamed,
            file=case.labels.file,
            remedy="add them to the table of roles",
        )
    missing = sorted(known[label] for label in set(known) - present)
    if missing:
        raise InvalidInputError(
            "structures of the case have no voxel in the label image",
            value=", ".join(missing),
            file=case.labels.file,
            remedy="remove them from the table of roles, or give the label image that holds them",
        )
    _check_inside(case, points)
    _check_extent(case, points)


def check_same_grid(ct: Volume, other: Volume, what: str) -> None:
    """Refuse an image that does not lie on the grid of the CT (0.1 mm at the corners)."""
    if ct.same_grid(other, 0.1):
        return
    first, last = (float(np.linalg.norm(a - b)) for a, b in zip(_ends_mm(ct), _ends_mm(other), strict=True))
    raise InvalidInputError(
        f"{what} do not lie on the grid of the CT: first voxels {first:.2f} mm apart, last voxels {last:.2f} mm",
        value=f"shape {other.shape}, spacing {other.spacing_mm.round(3).tolist()} mm, origin {_origin(other)} mm",
        limit=f"shape {ct.shape}, spacing {ct.spacing_mm.round(3).tolist()} mm, origin {_origin(ct)} mm, "
        "corners within 0.1 mm",
        file=other.file,
        remedy="resample them to the CT by their geometry (nearest neighbour), and import again",
    )


def _ends_mm(volume: Volume) -> FloatArray:
    return volume.points_mm([(0, 0, 0), [n - 1 for n in volume.shape]])


def _origin(volume: Volume) -> list[float]:
    return [round(float(v), 2) for v in volume.affine[:3, 3]]


def _check_inside(case: Case, points_mm: np.ndarray) -> None:
    index = np.rint(case.body.indices(points_mm)).astype(int)
    outside = int((case.body.voxels[index[:, 0], index[:, 1], index[:, 2]] == 0).sum())
    if outside:
        raise InvalidInputError(
            "part of the tumour lies outside the skin",
            value=f"{outside} of {len(index)} voxels",
            file=case.labels.file,
            remedy="check that labels and CT belong together",
        )


def _check_extent(case: Case, points_mm: np.ndarray) -> None:
    """The extent of the labels is the box of everything labelled but the target itself."""
    spans = labelled_span(case)
    if spans is None:
        raise InvalidInputError(
            "nothing but the tumour is labelled: what lies round it is unknown",
            file=case.labels.file,
            remedy="label vessels, bowel and bone first",
        )
    index = case.labels.indices(points_mm)
    for axis, (first, last) in enumerate(spans):
        spacing = float(case.labels.spacing_mm[axis])
        below = (float(index[:, axis].min()) - first) * spacing
        above = (last - float(index[:, axis].max())) * spacing
        # Labels that fill the image to its edge cannot reach further than the image does.
        at_edge = (first == 0, last == case.labels.shape[axis] - 1)
        for room, edge in ((below, at_edge[0]), (above, at_edge[1])):
            if room < (0.0 if edge else TARGET_SURROUND_MM):
                raise InvalidInputError(
                    f"the tumour lies outside the labelled extent along image axis {'ijk'[axis]}",
                    value=round(room, 1),
                    limit=TARGET_SURROUND_MM,
                    unit="mm",
                    file=case.labels.file,
                    remedy="use labels that reach at least this far beyond the tumour",
                )
