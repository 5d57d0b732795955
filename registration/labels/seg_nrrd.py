"""Segments of 3D Slicer (`.seg.nrrd`): names, label values and layers from the header, and the cropped extent.

Reference: the segmentation file format in Slicer's developer guide. `SegmentN_LabelValue` and `SegmentN_Layer` say
where a segment lies; files from before layers were shared have neither, and give each segment a layer of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError
from registration.images.text_header import check_text_header
from registration.images.volume import Volume, from_sitk
from registration.labels.label_image import label_voxels
from registration.labels.label_set import LabelSet, Packer, Reach, present_in

KIND = "seg.nrrd"
_FIELD = re.compile(r"Segment(\d+)_(Name|ID|LabelValue|Layer)")
_REFERENCE = re.compile(r"Reference image geometry\|([^|&]*)\|")


@dataclass(frozen=True)
class _Segment:
    index: int
    name: str
    value: int
    layer: int


def describes_segments(fields: Mapping[str, str]) -> bool:
    """Tell from a header's key-value pairs whether the file describes segments; if not, it is a label image."""
    return any(_FIELD.fullmatch(key) for key in fields)


def read_seg_nrrd(path: Path) -> LabelSet:
    """Read the segments of a file that describes some.

    Label values are kept as numbers where they differ from each other; else the segments are numbered from 1 in
    their order, and a note says so.

    Raises:
        InvalidInputError: Damaged; no patient space (see `check_text_header`); a single voxel, which stands for no
            image data; a segment in a layer that is not there; two segments in one place; a voxel value that no
            segment describes.
    """
    image = _load(path)
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    if max(image.GetSize()) == 1:
        raise InvalidInputError(
            "the segmentation holds no image data (a single voxel)", file=str(path), remedy="draw segments, save again"
        )
    layers = _layers(image, str(path))
    segments = _segments(fields, len(layers), str(path))
    grid = from_sitk(_first_component(image), file=str(path))
    return _label_set(layers, segments, grid, fields, str(path))


def header_fields(path: Path) -> dict[str, str]:
    """Return the key-value pairs of a NRRD file's header. Raises InvalidInputError when it cannot be read."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _damaged(path, error) from error
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def _load(path: Path) -> Any:
    import SimpleITK as sitk

    check_text_header(path)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _damaged(path, error) from error
    if image.GetDimension() != 3:
        raise InvalidInputError(
            "a segmentation has three axes, and at most one list of layers",
            value=image.GetDimension(),
            limit=3,
            file=str(path),
            remedy="save it from the segmentation module, not as a sequence",
        )
    return image


def _damaged(path: Path, error: RuntimeError) -> InvalidInputError:
    said = str(error).strip().splitlines()[-1].split(": ")[-1]
    return InvalidInputError(
        f"the segmentation cannot be read: it is damaged, truncated or of an unknown kind ({said})",
        file=str(path),
        remedy="export it again",
    )


def _layers(image: Any, file: str) -> list[NDArray[Any]]:
    import SimpleITK as sitk

    voxels = sitk.GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        voxels = voxels[..., np.newaxis]
    return [label_voxels(voxels[..., n].transpose(2, 1, 0), file) for n in range(voxels.shape[-1])]


def _first_component(image: Any) -> Any:
    import SimpleITK as sitk

    return image if image.GetNumberOfComponentsPerPixel() == 1 else sitk.VectorIndexSelectionCast(image, 0)


def _segments(fields: Mapping[str, str], layers: int, file: str) -> list[_Segment]:
    indices = sorted({int(m.group(1)) for key in fields if (m := _FIELD.fullmatch(key))})
    found = []
    for order, n in enumerate(indices):
        name = fields.get(f"Segment{n}_Name") or fields.get(f"Segment{n}_ID") or f"Segment_{n}"
        try:
            value = int(fields.get(f"Segment{n}_LabelValue", "1"))
            layer = int(fields.get(f"Segment{n}_Layer", str(order if layers > 1 else 0)))
        except ValueError as error:
            raise InvalidInputError(
                f"label value or layer of segment {name} is no number", file=file, remedy="save the file again"
            ) from error
        if value < 1 or not 0 <= layer < layers:
            raise InvalidInputError(
                f"segment {name} lies nowhere in the file",
                value=f"label value {value}, layer {layer}",
                limit=f"{layers} layers, label values from 1",
                file=file,
                remedy="save the file again; it was changed after it was written",
            )
        found.append(_Segment(n, name.strip(), value, layer))
    places = [(s.layer, s.value) for s in found]
    for s in found:
        if places.count((s.layer, s.value)) > 1:
            raise InvalidInputError(
                f"segment {s.name} shares its label value and layer with another",
                value=f"label value {s.value}, layer {s.layer}",
                file=file,
                remedy="save the file again; it was changed after it was written",
            )
    return found


def _label_set(
    layers: list[NDArray[Any]], segments: list[_Segment], grid: Volume, fields: Mapping[str, str], file: str
) -> LabelSet:
    for n, layer in enumerate(layers):
        nameless = sorted(present_in(layer) - {s.value for s in segments if s.layer == n})
        if nameless:
            raise InvalidInputError(
                "the segmentation holds voxel values that no segment describes",
                value=nameless,
                file=file,
                remedy="describe them, or erase them: what is not named cannot be avoided",
            )
    distinct = len({s.value for s in segments}) == len(segments)
    numbers = [s.value if distinct else order + 1 for order, s in enumerate(segments)]
    packer = Packer(grid.shape, max(numbers))
    for number, s in zip(numbers, segments, strict=True):
        packer.add(number, layers[s.layer] == s.value)
    notes = [] if distinct else ["segments of different layers share label values: numbered from 1 in their order"]
    reach = _reference_reach(fields) or Reach.of(grid)
    if reach.shape != grid.shape:
        notes.append(f"stored cropped to {grid.shape} voxels; the image it was drawn on has {reach.shape}")
    return LabelSet(
        tuple(grid.with_voxels(layer) for layer in packer.layers) or (grid.with_voxels(np.zeros_like(layers[0])),),
        reach,
        KIND,
        dict(zip(numbers, (s.name for s in segments), strict=True)),
        notes=tuple(notes),
        file=file,
        renumbered=not distinct,
    )


def _reference_reach(fields: Mapping[str, str]) -> Reach | None:
    """Return the grid of the image that was segmented, where the file tells: 4 × 4 to RAS row by row, then extents."""
    match = _REFERENCE.search(fields.get("Segmentation_ConversionParameters", ""))
    if match is None:
        return None
    try:
        numbers = [float(word) for word in match.group(1).split(";") if word.strip()]
    except ValueError:
        return None
    if len(numbers) != 22 or not np.isfinite(numbers).all():
        return None
    to_ras = np.array(numbers[:16]).reshape(4, 4)
    first = np.array(numbers[16::2])
    shape = (np.array(numbers[17::2]) - first + 1.0).astype(int)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ to_ras
    affine[:3, 3] += affine[:3, :3] @ first
    if shape.min() < 1 or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return None
    return Reach(affine, (int(shape[0]), int(shape[1]), int(shape[2])))
