"""Slicer's seg.nrrd, written by hand: names, layers, the space and the cropped extent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.labels.seg_nrrd import describes_segments, header_fields, read_seg_nrrd
from tests.registration.labels.label_files import grid, masks, write_seg_nrrd

FLAT = ({"Name": "liver", "ID": "a", "LabelValue": 3, "Layer": 0}, {"Name": "spleen", "LabelValue": 7, "Layer": 0})


def _flat() -> np.ndarray:
    voxels = np.zeros(grid().shape, dtype=np.uint8)
    voxels[masks()[1]], voxels[masks()[2]] = 3, 7
    return voxels


@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
def test_segments_lie_at_their_points(tmp_path: Path, space: str, turn_deg: float) -> None:
    """Names, label values and places come back from an LPS and from a RAS file alike."""
    path, ct = tmp_path / "s.seg.nrrd", grid(turn_deg)
    write_seg_nrrd(path, [_flat()], ct.affine, FLAT, space)
    found = read_seg_nrrd(path)
    assert dict(found.names) == {3: "liver", 7: "spleen"} and len(found.layers) == 1
    np.testing.assert_allclose(found.layers[0].affine, ct.affine, atol=1e-9)
    np.testing.assert_array_equal(found.mask(3), masks()[1])
    np.testing.assert_array_equal(found.mask(7), masks()[2])
    assert found.reach.shape == ct.shape and not found.notes and not found.renumbered


def test_layers_that_share_a_label_value_are_numbered_anew(tmp_path: Path) -> None:
    """Overlapping segments with value 1 in their own layers keep all their voxels, under numbers from 1."""
    layers = [masks()[n].astype(np.uint8) for n in (1, 5)]
    segments = [{"Name": name, "LabelValue": 1, "Layer": n} for n, name in enumerate(("liver", "vein"))]
    write_seg_nrrd(tmp_path / "s.seg.nrrd", layers, grid(25.0).affine, segments)
    found = read_seg_nrrd(tmp_path / "s.seg.nrrd")
    assert dict(found.names) == {1: "liver", 2: "vein"} and found.renumbered and found.notes
    for number, mask in ((1, masks()[1]), (2, masks()[5])):
        np.testing.assert_array_equal(found.mask(number), mask)


def test_files_from_before_shared_layers(tmp_path: Path) -> None:
    """Without label values and layers, each segment has the layer of its order."""
    layers = [masks()[n].astype(np.uint8) for n in (1, 5)]
    write_seg_nrrd(tmp_path / "s.seg.nrrd", layers, grid().affine, [{"ID": "Segment_1"}, {"Name": "vein"}])
    found = read_seg_nrrd(tmp_path / "s.seg.nrrd")
    assert dict(found.names) == {1: "Segment_1", 2: "vein"}
    np.testing.assert_array_equal(found.mask(2), masks()[5])


@pytest.mark.parametrize("first", [(0, 0, 0), (-2, 3, 5)])
def test_a_cropped_file_reaches_as_far_as_the_image_it_was_drawn_on(tmp_path: Path, first: tuple[int, ...]) -> None:
    """The reference geometry (to RAS, with extents that need not start at 0) gives the reach; the voxels stay put."""
    ct = grid(25.0)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.affine
    to_ras[:3, 3] -= to_ras[:3, :3] @ np.array(first)
    words = [f"{v:.12g}" for v in to_ras.ravel()]
    words += [str(n) for f, size in zip(first, ct.shape, strict=True) for n in (f, f + size - 1)]
    geometry = f"Oversampling factor|1|x&Reference image geometry|{';'.join(words)};|how&Smoothing factor|0.5|x&"
    affine = ct.affine.copy()
    affine[:3, 3] = ct.points_mm([3, 4, 1])
    fields = {"Segmentation_ConversionParameters": geometry}
    write_seg_nrrd(tmp_path / "s.seg.nrrd", [_flat()[3:, 4:, 1:]], affine, FLAT, fields=fields)
    found = read_seg_nrrd(tmp_path / "s.seg.nrrd")
    assert found.reach.shape == ct.shape and any("cropped" in note for note in found.notes)
    np.testing.assert_allclose(found.reach.affine, ct.affine, atol=1e-6)
    np.testing.assert_allclose(found.layers[0].affine, affine, atol=1e-9)


@pytest.mark.parametrize("geometry", ["1;0;0;x;", "1;2;3;", ";".join(["0"] * 22) + ";"])
def test_a_reference_geometry_that_is_none_leaves_the_reach_of_the_voxels(tmp_path: Path, geometry: str) -> None:
    """No number, too few of them, or a singular matrix: the file's own grid is the reach."""
    fields = {"Segmentation_ConversionParameters": f"Reference image geometry|{geometry}|how&"}
    write_seg_nrrd(tmp_path / "s.seg.nrrd", [_flat()], grid().affine, FLAT, fields=fields)
    assert read_seg_nrrd(tmp_path / "s.seg.nrrd").reach.shape == grid().shape


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        (FLAT[:1], "no segment describes"),
        ((*FLAT, {"Name": "x", "LabelValue": 3, "Layer": 0}), "shares its label value"),
        ((*FLAT, {"Name": "x", "LabelValue": 9, "Layer": 2}), "lies nowhere"),
        ((*FLAT, {"Name": "x", "LabelValue": 0, "Layer": 0}), "lies nowhere"),
        ((*FLAT, {"Name": "x", "LabelValue": "one"}), "is no number"),
    ],
)
def test_segments_that_do_not_fit_the_voxels_are_refused(tmp_path: Path, segments: tuple, said: str) -> None:
    """Undescribed voxels, two segments in one place, a layer that is not there."""
    write_seg_nrrd(tmp_path / "s.seg.nrrd", [_flat()], grid().affine, segments)
    with pytest.raises(InvalidInputError, match=said) as caught:
        read_seg_nrrd(tmp_path / "s.seg.nrrd")
    assert caught.value.file == str(tmp_path / "s.seg.nrrd") and caught.value.remedy


def test_no_space_no_data_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    """Left and right unknown; a single voxel, which stands for nothing; a damaged stream; a scanner's axes."""
    path = tmp_path / "s.seg.nrrd"
    write_seg_nrrd(path, [_flat()], grid().affine, FLAT, space=None)
    with pytest.raises(InvalidInputError, match="has no 'space'"):
        read_seg_nrrd(path)
    write_seg_nrrd(path, [np.zeros((1, 1, 1), np.uint8)], grid().affine, FLAT)
    with pytest.raises(InvalidInputError, match="single voxel"):
        read_seg_nrrd(path)
    write_seg_nrrd(path, [_flat()], grid().affine, FLAT)
    whole = path.read_bytes()
    flipped = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]  # in the checksum
    for content in (whole[:-60], flipped):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="damaged or truncated"):
            read_seg_nrrd(path)
    write_seg_nrrd(path, [_flat()], grid().affine, FLAT, space="scanner-xyz")
    with pytest.raises(InvalidInputError, match="not one of the patient"):
        read_seg_nrrd(path)


def test_a_header_tells_whether_it_describes_segments(tmp_path: Path) -> None:
    """A plain label image under this name describes none."""
    path = tmp_path / "s.seg.nrrd"
    write_seg_nrrd(path, [_flat()], grid().affine, FLAT)
    assert describes_segments(header_fields(path))
    write_seg_nrrd(path, [_flat()], grid().affine, ())
    assert not describes_segments(header_fields(path))
    path.write_bytes(b"NRRD0004\nnothing")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        header_fields(path)
