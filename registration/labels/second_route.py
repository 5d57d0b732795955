"""Where labels lie, by a second route that shares no reader and no affine with the first.

NIfTI, NRRD and MetaImage headers are parsed by hand, with their voxels; DICOM SEG goes through highdicom, and contours
are measured as polygons. What the first route (SimpleITK or pydicom, then the affine of `Volume`) makes of the same
file must agree: a mistake in axes, sense, offset or order shows as millimetres.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from registration.labels import dicom_seg, metaimage, rtstruct, seg_nrrd
from registration.labels.label_set import LabelSet

Centroids = dict[int, FloatArray]

_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_NRRD_TYPES = {
    ("uchar", "unsigned char", "uint8", "uint8_t"): "u1",
    ("signed char", "int8", "int8_t"): "i1",
    ("short", "short int", "signed short", "int16", "int16_t"): "i2",
    ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"): "u2",
    ("int", "signed int", "int32", "int32_t"): "i4",
    ("uint", "unsigned int", "uint32", "uint32_t"): "u4",
    ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"): "i8",
    ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"): "u8",
    ("float",): "f4",
    ("double",): "f8",
}
_TO_LPS = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}


def centroids_mm(labels: LabelSet, numbers: Iterable[int]) -> tuple[str, Centroids]:
    """Return the centroids of labels in LPS [mm], found by a reader of its own.

    Args:
        labels: As read by the first route: names the file and its kind.
        numbers: Labels wanted; those without a voxel are left out.

    Returns:
        What the second route is, and the centroids. None are returned where the form has no second reader here.
    """
    wanted = sorted(set(numbers))
    if labels.file is None:
        return "no file", {}
    path = Path(labels.file)
    name = path.name.lower()
    try:
        if labels.kind == dicom_seg.KIND:
            return "frames placed by highdicom", _of_segmentation(path, wanted)
        if labels.kind == rtstruct.KIND:
            return "polygons of the contours", _of_contours(path, labels, wanted)
        if labels.kind == seg_nrrd.KIND or name.endswith((".nrrd", ".nhdr")):
            return "NRRD header parsed by hand", _of_nrrd(path, labels, wanted)
        if name.endswith((".nii", ".nii.gz")):
            return "NIfTI header parsed by hand", _of_nifti(path, wanted)
        if name.endswith(metaimage.SUFFIXES):
            return "MetaImage header parsed by hand", _of_metaimage(path, wanted)
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError, struct.error):
        # What this route cannot read it does not vouch for; the first route has said what is wrong with the file.
        return "no second reader", {}
    return "no second reader", {}


def _of_segmentation(path: Path, wanted: list[int]) -> Centroids:
    import highdicom

    segmentation = highdicom.seg.segread(path)
    found: Centroids = {}
    for number in wanted:
        volume = segmentation.get_volume(segment_numbers=[number], rescale_fractional=True)
        where = np.argwhere(np.asarray(volume.array)[..., 0] >= dicom_seg.FRACTION)
        if len(where):
            found[number] = np.asarray(volume.map_indices_to_reference(where), dtype=np.float64).mean(axis=0)
    return found


def _of_contours(path: Path, labels: LabelSet, wanted: list[int]) -> Centroids:
    """Structures that reach beyond the CT are left out: their voxels are cut there, and their contours are not."""
    grid = labels.layers[0]
    last = np.array(grid.shape) - 0.5
    found: Centroids = {}
    for roi in rtstruct.read_structures(path).rois:
        centroid = rtstruct.centroid_mm(roi) if roi.number in wanted else None
        if centroid is None:
            continue
        index = grid.indices(np.concatenate(roi.contours_mm))
        if ((index >= -0.5) & (index <= last)).all():
            found[roi.number] = centroid
    return found


def _of_metaimage(path: Path, wanted: list[int]) -> Centroids:
    found = metaimage.parsed(path)
    return {} if found is None else _moments(lambda n: found[0] == n, wanted, found[1])


def _of_nifti(path: Path, wanted: list[int]) -> Centroids:
    content = _unzipped(path.read_bytes())
    order = "<" if struct.unpack_from("<i", content, 0)[0] == 348 else ">"

    def read(form: str, offset: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + form, content, offset)

    sizes = [int(n) for n in read("3h", 42)]
    kind = int(read("h", 70)[0])
    if read("i", 0)[0] != 348 or kind not in _NIFTI_TYPES:
        return {}
    pixdim = np.array(read("8f", 76))
    slope, intercept = read("2f", 112)
    quaternion_code, shape_code = read("2h", 252)
    affine = np.eye(4)
    if shape_code > 0:
        affine[:3] = np.array(read("12f", 280)).reshape(3, 4)
    elif quaternion_code > 0:
        b, c, d, x, y, z = read("6f", 256)
        affine[:3, :3] = _rotation(b, c, d) * pixdim[1:4] * [1.0, 1.0, -1.0 if pixdim[0] < 0 else 1.0]
        affine[:3, 3] = (x, y, z)
    else:
        return {}
    stored = np.frombuffer(content, order + _NIFTI_TYPES[kind], int(np.prod(sizes)), int(read("f", 108)[0]))
    voxels = stored.reshape(sizes, order="F")
    if slope not in (0.0, 1.0) or intercept != 0.0:
        voxels = voxels * (slope or 1.0) + intercept
    found = _moments(lambda n: voxels == n, wanted, affine)
    return {n: centroid * (-1.0, -1.0, 1.0) for n, centroid in found.items()}


def _rotation(b: float, c: float, d: float) -> FloatArray:
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _of_nrrd(path: Path, labels: LabelSet, wanted: list[int]) -> Centroids:
    content = path.read_bytes()
    end = re.search(rb"\r?\n\r?\n", content)
    fields: dict[str, str] = {}
    for line in content[: end.start() if end else None].decode("utf-8", errors="replace").splitlines()[1:]:
        key, _, value = line.partition(":=" if ":=" in line else ":")
        fields[key.strip().lower()] = value.strip()
    kind = next((t for words, t in _NRRD_TYPES.items() if fields.get("type", "").lower() in words), None)
    flips = _TO_LPS.get(fields.get("space", "").lower())
    if kind is None or flips is None or fields.get("encoding", "").lower() not in {"raw", "gzip", "gz"}:
        return {}
    detached = fields.get("data file", fields.get("datafile"))
    if detached is None:
        body = content[end.end() :] if end else b""
    elif (path.parent / detached).is_file():
        body = (path.parent / detached).read_bytes()
    else:
        return {}
    sizes = [int(word) for word in fields["sizes"].split()]
    stored = _stored(body, fields, np.dtype((">" if fields.get("endian", "").lower() == "big" else "<") + kind), sizes)
    directions = re.findall(r"none|\([^)]*\)", fields["space directions"])
    lists = [n for n, word in enumerate(directions) if word == "none"]
    stored = np.moveaxis(stored, lists[0], -1) if lists else stored[..., np.newaxis]
    affine = np.eye(4)
    for n, word in enumerate(word for word in directions if word != "none"):
        affine[:3, n] = _vector(word)
    affine[:3, 3] = _vector(fields["space origin"])
    found = _moments(_places(labels, stored, fields), wanted, affine)
    return {n: centroid * flips for n, centroid in found.items()}


def _stored(body: bytes, fields: dict[str, str], kind: np.dtype[Any], sizes: list[int]) -> NDArray[Any]:
    """Return an NRRD's voxels: lines are skipped as they are stored, bytes (-1: all but the last) once unpacked."""
    for _ in range(int(fields.get("line skip", fields.get("lineskip", "0")))):
        body = body[body.index(b"\n") + 1 :]
    if fields["encoding"].lower() != "raw":
        body = _unzipped(body)
    count = int(np.prod(sizes))
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    first = len(body) - count * kind.itemsize if skip == -1 else skip
    return np.frombuffer(body, kind, count, first).reshape(sizes, order="F")


def _places(labels: LabelSet, stored: NDArray[Any], fields: dict[str, str]) -> Callable[[int], NDArray[Any]]:
    """Return what finds the voxels of a label: by number alone, or by the layer and value of the segment's name."""
    if labels.kind != seg_nrrd.KIND:

        def numbered(number: int) -> NDArray[Any]:
            mask: NDArray[Any] = stored[..., 0] == number
            return mask

        return numbered
    places: dict[str, tuple[int, int]] = {}
    keys = sorted(int(m.group(1)) for key in fields if (m := re.fullmatch(r"segment(\d+)_name", key)))
    for order, n in enumerate(keys):
        default = order if stored.shape[-1] > 1 else 0
        layer = int(fields.get(f"segment{n}_layer", default))
        places[fields[f"segment{n}_name"]] = (layer, int(fields.get(f"segment{n}_labelvalue", 1)))

    def of(number: int) -> NDArray[Any]:
        layer, value = places.get(labels.called(number), (0, -1))
        mask: NDArray[Any] = stored[..., layer] == value
        return mask

    return of


def _moments(mask_of: Callable[[int], NDArray[Any]], wanted: list[int], affine: FloatArray) -> Centroids:
    found: Centroids = {}
    for number in wanted:
        mask = mask_of(number)
        count = int(mask.sum())
        if count == 0:
            continue
        sums = [
            mask.sum(axis=tuple(a for a in range(3) if a != axis)) @ np.arange(mask.shape[axis]) for axis in range(3)
        ]
        found[number] = affine[:3, :3] @ (np.array(sums, dtype=np.float64) / count) + affine[:3, 3]
    return found


def _vector(word: str) -> FloatArray:
    return np.array([float(part) for part in word.strip("()").split(",")])


def _unzipped(content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""
