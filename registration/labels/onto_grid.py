"""Labels brought onto the grid of a CT through both affines, by nearest neighbour; never through the index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume, from_sitk, to_sitk, without_dust
from registration.labels.label_set import LabelSet, Mask, Reach

COARSEST_MM = 5.0
"""Labels coarser than this, and coarser than the CT, are refused: their edges may be off by half of it."""
TOLD_CHANGE = 0.1
"""A structure whose volume changes by more than this share is named."""
EDGE = 0.5 + 1e-6
"""A voxel reaches this far from its centre, in voxels."""


@dataclass(frozen=True, eq=False)
class LabelsOnGrid:
    """Labels on the grid of a CT.

    Args:
        layers: As those of the label set, on the CT's grid.
        within: Shape of the CT: its voxels that lie in the reach of the labels; the others are unknown.
        notes: What the resampling did, one sentence each.
    """

    layers: tuple[Volume, ...]
    within: Mask
    notes: tuple[str, ...]


def onto_grid(labels: LabelSet, ct: Volume) -> LabelsOnGrid:
    """Bring labels onto the voxels of the CT.

    Each CT voxel takes the label of the voxel that its centre lies in: exact where the grids are the same up to
    order and sense of their axes, or one is a crop of the other; else edges move by up to half a label voxel.

    Raises:
        InvalidInputError: Labels and CT do not overlap; labels coarser than 5 mm and than the CT; a label that has
            voxels in the CT's view and loses all of them.
    """
    own = labels.layers[0]
    _check_spacing(labels, own, ct)
    within = _within(labels.reach, ct) | _within(Reach.of(own), ct)
    if not within.any():
        raise InvalidInputError(
            "labels and CT do not overlap: they lie at different places",
            value=f"labels centred at {_centre(own)} mm",
            limit=f"CT centred at {_centre(ct)} mm",
            frame="ct",
            file=labels.file,
            remedy="use the labels that were made from this CT",
        )
    if own.same_grid(ct, 1e-3):
        return LabelsOnGrid(tuple(ct.with_voxels(layer.voxels) for layer in labels.layers), within, ())
    layers = tuple(_nearest(layer, ct) for layer in labels.layers)
    return LabelsOnGrid(layers, within, _changes(labels, layers, ct))


def _check_spacing(labels: LabelSet, own: Volume, ct: Volume) -> None:
    coarsest = float(own.spacing_mm.max())
    limit = max(COARSEST_MM, float(ct.spacing_mm.max()) * 1.001)
    if coarsest > limit:
        raise InvalidInputError(
            "the labels are too coarse for clearances of a few millimetres",
            value=round(coarsest, 2),
            limit=round(limit, 2),
            unit="mm",
            file=labels.file,
            remedy="use labels on the grid of the CT",
        )


def _nearest(layer: Volume, ct: Volume) -> Volume:
    import SimpleITK as sitk

    affine = without_dust(ct.affine)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(ct.shape)
    resampler.SetOutputOrigin(affine[:3, 3].tolist())
    resampler.SetOutputSpacing(ct.spacing_mm.tolist())
    resampler.SetOutputDirection((affine[:3, :3] / ct.spacing_mm).ravel().tolist())
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    resampler.SetDefaultPixelValue(0)
    found = from_sitk(resampler.Execute(to_sitk(layer)))
    return Volume(np.ascontiguousarray(found.voxels), ct.affine, ct.frame, layer.file)


def _within(reach: Reach, ct: Volume) -> Mask:
    """Return the CT's voxels whose centres lie in the voxels of `reach`."""
    to_reach = np.linalg.inv(reach.affine) @ ct.affine
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in ct.shape])).reshape(3, -1).T
    ends = corners @ to_reach[:3, :3].T + to_reach[:3, 3]
    last = np.array(reach.shape) - 1
    if ((ends >= -EDGE) & (ends <= last + EDGE)).all():
        return np.ones(ct.shape, dtype=bool)
    inside = np.ones(ct.shape, dtype=bool)
    i, j, k = np.ogrid[: ct.shape[0], : ct.shape[1], : ct.shape[2]]
    for axis in range(3):
        a, b, c = to_reach[axis, :3]
        # One slice at a time, so that no index array of the whole image is held.
        for n in range(ct.shape[2]):
            at = a * i[:, :, 0] + b * j[:, :, 0] + (c * k[0, 0, n] + to_reach[axis, 3])
            inside[:, :, n] &= (at >= -EDGE) & (at <= last[axis] + EDGE)
    return inside


def _changes(labels: LabelSet, layers: tuple[Volume, ...], ct: Volume) -> tuple[str, ...]:
    own = labels.layers[0]
    before = _volumes_ml(labels.layers)
    after = _volumes_ml(layers)
    beyond = _beyond_ml(labels, ct)
    notes = [f"brought from {_grid(own)} onto {_grid(ct)} by nearest neighbour"]
    if not _matches(own, ct):
        notes[0] += f": edges moved by up to {0.5 * float(np.linalg.norm(own.spacing_mm)):.1f} mm"
    left = {n: before[n] - beyond.get(n, 0.0) for n in before}
    lost = [n for n in before if n not in after and left[n] > 0.0]
    if lost:
        raise InvalidInputError(
            "structures are lost on the grid of the CT: they are thinner than its voxels",
            value=", ".join(labels.called(n) for n in lost),
            file=labels.file,
            remedy="draw them on the CT, or use a CT with thinner slices",
        )
    if beyond:
        notes.append(f"{sum(beyond.values()):.2f} ml of the labels lie outside the CT, and were left out")
    changed = {n: after.get(n, 0.0) - left[n] for n in before}
    told = [
        f"{labels.called(n)} {changed[n]:+.2f} of {left[n]:.2f} ml"
        for n in sorted(before)
        if abs(changed[n]) > TOLD_CHANGE * before[n]
    ]
    if told:
        notes.append("volumes changed by resampling: " + "; ".join(told))
    return tuple(notes)


def _volumes_ml(layers: tuple[Volume, ...]) -> dict[int, float]:
    found: dict[int, float] = {}
    for layer in layers:
        counts = np.bincount(layer.voxels.ravel())
        voxel_ml = float(layer.spacing_mm.prod()) / 1000.0
        found.update({int(n): float(counts[n]) * voxel_ml for n in np.flatnonzero(counts) if n})
    return found


def _beyond_ml(labels: LabelSet, ct: Volume) -> dict[int, float]:
    """Return what lies outside the CT's voxels, by label [ml]."""
    own = labels.layers[0]
    outside = ~_within(Reach.of(ct), own)
    if not outside.any():
        return {}
    return _volumes_ml(tuple(own.with_voxels(np.where(outside, v.voxels, 0)) for v in labels.layers))


def _matches(own: Volume, ct: Volume) -> bool:
    """Tell whether the label voxels are voxels of the CT, up to order and sense of the axes and a crop."""
    to_ct = np.linalg.inv(ct.affine) @ own.affine
    return bool(
        np.allclose(np.abs(to_ct[:3, :3]).sum(axis=0), 1.0, atol=1e-4) and np.abs(to_ct - np.rint(to_ct)).max() < 1e-2
    )


def _grid(volume: Volume) -> str:
    return " × ".join(f"{s:.2f}" for s in volume.spacing_mm) + " mm"


def _centre(volume: Volume) -> list[float]:
    centre: FloatArray = volume.points_mm(0.5 * (np.array(volume.shape) - 1.0))
    return [round(float(v), 1) for v in centre]
