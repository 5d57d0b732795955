"""The second route finds the same centroids as the first, from every form, and a wrong affine does not escape it."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from registration.images.volume import Volume, to_sitk, write_image
from registration.labels.label_set import LabelSet
from registration.labels.moments import moments
from registration.labels.reading import read_labels
from registration.labels.second_route import centroids_mm
from tests.registration.labels.label_files import (
    ct_series,
    grid,
    masks,
    write_seg,
    write_seg_nrrd,
    write_structures,
)


def _numbers() -> np.ndarray:
    voxels = np.zeros(grid().shape, dtype=np.uint8)
    voxels[masks()[1]], voxels[masks()[2]] = 1, 2
    return voxels


def _write(form: str, folder: Path, ct: Volume) -> Path:
    path = folder / form
    if form.endswith(".seg.nrrd"):
        names = [{"Name": n, "LabelValue": v, "Layer": 0} for n, v in (("liver", 1), ("spleen", 2))]
        space = "right-anterior-superior" if form.startswith("ras") else "left-posterior-superior"
        if form.startswith("layers"):
            layers = [masks()[n].astype(np.uint8) for n in (1, 2)]
            names = [{"Name": n, "LabelValue": 1, "Layer": k} for k, n in enumerate(("liver", "spleen"))]
            write_seg_nrrd(path, layers, ct.affine, names, space)
        else:
            write_seg_nrrd(path, [_numbers()], ct.affine, names, space)
    elif form == "seg.dcm":
        stack = np.stack([masks()[n].transpose(2, 1, 0) for n in (1, 2)], axis=-1).astype(np.uint8)
        write_seg(path, ct_series(ct, folder / "ct"), stack, {1: "liver", 2: "spleen"})
    elif form == "rt.dcm":
        drawn = {}
        for name, number in (("liver", 1), ("spleen", 2)):
            drawn[name] = [ct.points_mm(box) for k in range(ct.shape[2]) if (box := _outline(number, k)) is not None]
        write_structures(path, drawn)
    else:
        write_image(ct.with_voxels(_numbers()), path)
    return path


def _outline(number: int, k: int) -> np.ndarray | None:
    """A rectangle in slice k that encloses whole voxels."""
    hits = np.argwhere(masks()[number][:, :, k])
    if len(hits) == 0:
        return None
    (u0, v0), (u1, v1) = hits.min(axis=0) - 0.5, hits.max(axis=0) + 0.5
    return np.array([(u0, v0, k), (u1, v0, k), (u1, v1, k), (u0, v1, k)], dtype=float)


FORMS = (
    "l.nii.gz",
    "l.nii",
    "l.nrrd",
    "l.nhdr",
    "l.mha",
    "l.mhd",
    "lps.seg.nrrd",
    "ras.seg.nrrd",
    "layers.seg.nrrd",
    "seg.dcm",
    "rt.dcm",
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
def test_both_routes_agree(tmp_path: Path, form: str, turn_deg: float) -> None:
    """To a thousandth of a millimetre, on an upright and a turned grid."""
    ct = grid(turn_deg)
    found = read_labels(_write(form, tmp_path, ct), ct)
    first = {n: m.centre_mm for layer in found.layers for n, m in moments(layer).items()}
    route, second = centroids_mm(found, first)
    assert route and set(second) == set(first) == {1, 2}
    for number, centroid in second.items():
        np.testing.assert_allclose(centroid, first[number], atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_a_first_route_that_flips_an_axis_does_not_escape(tmp_path: Path, form: str) -> None:
    """Were the first route to mistake the sense of an axis, or half a voxel, the second would stand against it."""
    ct = grid(25.0)
    found = read_labels(_write(form, tmp_path, ct), ct)
    for fault in (
        np.diag([-1.0, 1.0, 1.0, 1.0]),
        np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    ):
        wrong = [Volume(layer.voxels, fault @ layer.affine) for layer in found.layers]
        first = {n: m.centre_mm for layer in wrong for n, m in moments(layer).items()}
        if form == "rt.dcm":  # its second route knows nothing of the voxels' grid but which structures it cuts
            _, second = centroids_mm(found, first)
        else:
            _, second = centroids_mm(replace(found, layers=tuple(wrong)), first)
        assert min(np.linalg.norm(second[n] - first[n]) for n in second) > 0.3


@pytest.mark.parametrize("form", ["l.nii.gz", "l.nrrd", "l.nhdr", "l.mha", "l.mhd", "lps.seg.nrrd"])
def test_the_second_route_never_asks_the_first_one_s_reader(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SimpleITK is not asked for voxels, header or statistics: were it wrong, both routes would be."""
    found = read_labels(_write(form, tmp_path, grid(25.0)), grid(25.0))

    def asked(*_arguments: object, **_options: object) -> None:
        pytest.fail("the second route reads with SimpleITK")

    for name in ("ReadImage", "ImageFileReader", "LabelShapeStatisticsImageFilter"):
        monkeypatch.setattr(sitk, name, asked)
    route, second = centroids_mm(found, [1, 2])
    assert "parsed by hand" in route and set(second) == {1, 2}


def test_detached_and_shifted_voxels_are_found_by_hand(tmp_path: Path) -> None:
    """Bytes and lines to skip, voxels at the end of the file, big-endian, uncompressed: as SimpleITK reads them."""
    ct = grid(25.0)
    voxels = _numbers().astype(">u2").tobytes(order="F")
    for form, old, new, data in (
        ("l.nhdr", "encoding: gzip", "encoding: raw\nendian: big\nbyte skip: 5", b"12345" + voxels),
        ("l.nhdr", "encoding: gzip", "encoding: raw\nendian: big\nbyte skip: -1", b"1234567" + voxels),
        ("l.nhdr", "encoding: gzip", "encoding: gzip\nendian: big\nline skip: 1", b"x\n" + gzip.compress(voxels)),
        ("l.mhd", "CompressedData = True", "HeaderSize = 5", b"12345" + voxels),
        ("l.mhd", "CompressedData = True", "HeaderSize = -1", b"1234567" + voxels),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        path = _write(form, folder, ct)
        text = "\n".join(
            line
            for line in path.read_text().splitlines()
            if not line.startswith(("endian", "CompressedDataSize", "ElementDataFile", "data file"))
        )
        text = text.replace(old, new).replace("unsigned char", "unsigned short").replace("MET_UCHAR", "MET_USHORT")
        text = text.replace("ByteOrderMSB = False", "ByteOrderMSB = True")
        last = "data file: voxels\n\n" if form == "l.nhdr" else "ElementDataFile = voxels\n"
        path.write_text(text.rstrip("\n") + "\n" + last)
        (folder / "voxels").write_bytes(data)
        found = read_labels(path, ct)
        first = {n: m.centre_mm for n, m in moments(found.layers[0]).items()}
        route, second = centroids_mm(found, first)
        assert "by hand" in route and set(second) == {1, 2}, new
        for number, centroid in second.items():
            np.testing.assert_allclose(centroid, first[number], atol=1e-3)


def test_a_nifti_with_a_quaternion_alone(tmp_path: Path) -> None:
    """The quaternion, its sense factor and the voxel sizes place the labels as ITK does."""
    path = tmp_path / "l.nii"
    image = to_sitk(Volume(np.flip(_numbers(), 2).copy(), _left_handed()))
    sitk.WriteImage(image, str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 254, 0)
    path.write_bytes(content)
    found = read_labels(path, grid())
    first = {n: m.centre_mm for n, m in moments(found.layers[0]).items()}
    _, second = centroids_mm(found, first)
    for number, centroid in second.items():
        np.testing.assert_allclose(centroid, first[number], atol=1e-3)


def _left_handed() -> np.ndarray:
    affine = grid(25.0).affine.copy()
    affine[:3, 3] = grid(25.0).points_mm([0, 0, grid().shape[2] - 1])
    affine[:3, 2] *= -1.0
    return affine


def test_forms_without_a_second_reader_give_none(tmp_path: Path) -> None:
    """No file, and encodings that are not read by hand: an empty answer, never a guess."""
    found = read_labels(_write("l.nii.gz", tmp_path, grid()), grid())
    assert centroids_mm(replace(found, file=None), [1])[1] == {}
    for change in (("encoding: gzip", "encoding: bzip2"), ("type: unsigned char", "type: block"), ("LPS", "x")):
        path = _write("lps.seg.nrrd", tmp_path, grid())
        labels = read_labels(path, grid())
        content = path.read_bytes().replace(b"left-posterior-superior", b"LPS").replace(*(c.encode() for c in change))
        path.write_bytes(content)
        assert centroids_mm(labels, [1])[1] == {}
    for change in ((b"ElementType = MET_UCHAR", b"ElementType = MET_NONE"), (b"NDims = 3", b"NDims = 4")):
        path = _write("l.mha", tmp_path, grid())
        labels = read_labels(path, grid())
        path.write_bytes(path.read_bytes().replace(*change))
        assert centroids_mm(labels, [1])[1] == {}
    labels = read_labels(_write("l.mha", tmp_path, grid()), grid())
    path.write_bytes(path.read_bytes().replace(b"Offset = ", b"Position = 1 2 3\nOffset = "))
    assert centroids_mm(labels, [1])[1] == {}
    assert isinstance(found, LabelSet)
