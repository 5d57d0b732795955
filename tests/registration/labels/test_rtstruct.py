"""RT Structure Set, written by pydicom: contours become voxels of the CT at their true place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.labels.rtstruct import centroid_mm, read_rtstruct, read_structures
from tests.registration.labels.label_files import grid, write_structures

CENTRE, SEMI = np.array((18.7, 16.3, 6.6)), np.array((12.4, 10.3, 5.2))
HOLE = np.array((20.1, 14.9, 6.6)), np.array((5.1, 4.2, 3.1))


def _ellipse(centre: np.ndarray, semi: np.ndarray, k: float) -> np.ndarray | None:
    """Indices of an ellipsoid's outline in slice k."""
    rest = 1.0 - ((k - centre[2]) / semi[2]) ** 2
    if rest <= 0.005:
        return None
    turn = np.linspace(0.0, 2.0 * np.pi, 240, endpoint=False)
    u, v = centre[0] + semi[0] * rest**0.5 * np.cos(turn), centre[1] + semi[1] * rest**0.5 * np.sin(turn)
    return np.column_stack((u, v, np.full_like(u, k)))


def _contours(ct: Volume, planes: Sequence[float], hole: bool = True) -> list[np.ndarray]:
    drawn = []
    for k in planes:
        for centre, semi in ((CENTRE, SEMI), HOLE)[: 1 + hole]:
            outline = _ellipse(centre, semi, k)
            if outline is not None:
                drawn.append(ct.points_mm(outline))
    return drawn


def _centroid(mask: np.ndarray, ct: Volume) -> np.ndarray:
    return ct.points_mm(np.argwhere(mask)).mean(axis=0)


@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
def test_centroid_and_volume_of_a_shape_with_a_hole(tmp_path: Path, turn_deg: float) -> None:
    """On an upright and a turned CT the voxels have the true centroid to 0.1 voxel, and the true volume to 1 %."""
    ct = grid(turn_deg)
    write_structures(tmp_path / "s.dcm", {"shell": _contours(ct, range(ct.shape[2]))}, "1.2.9", ("1.5", "1.6"))
    found = read_rtstruct(tmp_path / "s.dcm", ct)
    assert dict(found.names) == {1: "shell"} and found.frame_of_reference_uid == "1.2.9" and not found.notes
    assert found.referenced_instances == {"1.5", "1.6"}
    mask = found.mask(1)
    slices = np.arange(ct.shape[2])
    areas = [
        np.pi * s[0] * s[1] * np.clip(1 - ((slices - c[2]) / s[2]) ** 2, 0, None) for c, s in ((CENTRE, SEMI), HOLE)
    ]
    volume = areas[0].sum() - areas[1].sum()
    moment = sum(
        sign * np.array([c[0] * a.sum(), c[1] * a.sum(), (slices * a).sum()])
        for sign, a, c in ((1, areas[0], CENTRE), (-1, areas[1], HOLE[0]))
    )
    off = (np.argwhere(mask).mean(axis=0) - moment / volume) @ np.eye(3)
    assert np.abs(off).max() <= 0.1, off
    assert mask.sum() == pytest.approx(volume, rel=0.01)
    assert not mask[20, 15, 6] and mask[9, 16, 6]  # the hole, and the shell beside it


def test_polygons_and_voxels_agree_on_the_centroid(tmp_path: Path) -> None:
    """The polygons' own centroid, which uses no voxel, is that of the voxels."""
    ct = grid(25.0)
    write_structures(tmp_path / "s.dcm", {"shell": _contours(ct, range(ct.shape[2]))})
    polygons = centroid_mm(read_structures(tmp_path / "s.dcm").rois[0])
    assert polygons is not None
    assert np.linalg.norm(polygons - _centroid(read_rtstruct(tmp_path / "s.dcm", ct).mask(1), ct)) <= 0.1


def test_the_slice_axis_is_found(tmp_path: Path) -> None:
    """The same patient with the image's axes stored in another order and sense has the same voxels there."""
    ct = grid(25.0)
    write_structures(tmp_path / "s.dcm", {"shell": _contours(ct, range(ct.shape[2]))})
    affine = ct.affine.copy()
    affine[:3, 3] = ct.points_mm([0, ct.shape[1] - 1, 0])
    affine[:3, 1] *= -1.0
    affine[:, :3] = affine[:, (2, 0, 1)]
    stored = Volume(np.zeros((ct.shape[2], ct.shape[0], ct.shape[1]), np.int16), affine)
    first, second = (read_rtstruct(tmp_path / "s.dcm", v).mask(1) for v in (ct, stored))
    np.testing.assert_array_equal(first, np.flip(second.transpose(1, 2, 0), 1))


@pytest.mark.parametrize(("planes", "told"), [(range(0, 14, 2), "5.00 mm"), ([k + 0.3 for k in range(13)], "2.50 mm")])
def test_contours_that_are_not_one_on_each_slice(tmp_path: Path, planes: Sequence[float], told: str) -> None:
    """Every second slice, or planes between the slices: filled from the nearest, to half a slice, and told."""
    ct = grid()
    write_structures(tmp_path / "s.dcm", {"solid": _contours(ct, planes, hole=False)})
    found = read_rtstruct(tmp_path / "s.dcm", ct)
    assert any(told in note for note in found.notes)
    where = np.argwhere(found.mask(1))
    assert np.abs(where.mean(axis=0) - CENTRE)[:2].max() < 0.1
    assert abs(float(where[:, 2].mean()) - CENTRE[2]) < 0.5
    slices = np.unique(where[:, 2])
    np.testing.assert_array_equal(slices, np.arange(slices[0], slices[-1] + 1))
    assert len(where) == pytest.approx(4.0 / 3.0 * np.pi * SEMI.prod(), rel=0.12)


def test_a_gap_that_is_wider_than_usual_is_left_open_and_told(tmp_path: Path) -> None:
    """Two parts of a structure are not joined: more than three times the usual distance stays open, with a warning."""
    ct = grid()
    write_structures(tmp_path / "s.dcm", {"parts": _contours(ct, [3, 4, 8, 9, 10], hole=False)})
    found = read_rtstruct(tmp_path / "s.dcm", ct)
    assert sorted(set(np.argwhere(found.mask(1))[:, 2].tolist())) == [3, 4, 8, 9, 10]
    assert any("parts: WARNING: 1 gap(s)" in note and "10.00 mm" in note for note in found.notes)


@pytest.mark.parametrize(
    ("planes", "told"),
    [
        ([2, 4, 6, 7, 9, 11], "5.00 mm apart"),
        ([2, 4, 6, 8, 10, 11], "5.00 mm apart"),
        ([2, 3, 5, 7, 9, 11], "5.00 mm apart"),
        ([3, 4, 5, 8, 9], "7.50 mm, were filled"),
        ([2, 3, 4, 7, 8, 11], "2 gap(s) between its contours, of up to 7.50 mm, were filled"),
        ([2.5, 5.5, 6.5, 9.5], "7.50 mm apart"),
    ],
)
def test_skipped_slices_are_filled_whatever_else_is_adjacent(
    tmp_path: Path, planes: Sequence[float], told: str
) -> None:
    """Each slice between the lowest and the highest contour has the nearest: one adjacent pair alters nothing."""
    ct = grid()
    write_structures(tmp_path / "s.dcm", {"vessel": _contours(ct, planes, hole=False)})
    found = read_rtstruct(tmp_path / "s.dcm", ct)
    assert any(told in note for note in found.notes) and not any("open" in note for note in found.notes)
    for k in range(int(np.ceil(planes[0])), int(planes[-1]) + 1):
        off = np.abs(np.array(planes) - k)
        wanted = np.zeros(ct.shape[:2], dtype=bool)
        for n in np.flatnonzero(off == off.min()):
            outline = _ellipse(CENTRE, SEMI, planes[n])
            assert outline is not None
            outline[:, 2] = 0
            write_structures(tmp_path / "one.dcm", {"one": [ct.points_mm(outline)]})
            wanted |= read_rtstruct(tmp_path / "one.dcm", ct).mask(1)[:, :, 0]
        np.testing.assert_array_equal(found.mask(1)[:, :, k], wanted)


@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
def test_polygons_and_voxels_agree_on_uneven_planes(tmp_path: Path, turn_deg: float) -> None:
    """Planes weigh by what they stand for: a column drawn densely at one end has its centroid in the middle."""
    ct = grid(turn_deg)
    outline = _ellipse(CENTRE, SEMI, CENTRE[2])
    assert outline is not None
    for planes in ([1, 2, 3, 4, 5, 7, 9, 11], [0, 2, 4, 6, 7, 9, 11], [1, 2, 3, 4, 7, 10, 11]):
        drawn = [ct.points_mm(np.column_stack((outline[:, :2], np.full(len(outline), float(k))))) for k in planes]
        write_structures(tmp_path / "s.dcm", {"column": drawn})
        polygons = centroid_mm(read_structures(tmp_path / "s.dcm").rois[0])
        voxels = read_rtstruct(tmp_path / "s.dcm", ct).mask(1)
        assert polygons is not None
        np.testing.assert_array_equal(np.unique(np.argwhere(voxels)[:, 2]), np.arange(planes[0], planes[-1] + 1))
        assert np.linalg.norm(polygons - _centroid(voxels, ct)) <= 0.25 * 2.5


def test_overlapping_structures_keep_their_voxels(tmp_path: Path) -> None:
    """Two structures in one place lie in two layers; an empty one is named and has no voxel."""
    ct = grid()
    drawn = {"outer": _contours(ct, range(14), hole=False), "inner": _contours(ct, range(14), hole=False), "none": []}
    write_structures(tmp_path / "s.dcm", drawn)
    found = read_rtstruct(tmp_path / "s.dcm", ct)
    assert len(found.layers) == 2 and found.present() == {1, 2} and found.names[3] == "none"
    np.testing.assert_array_equal(found.mask(1), found.mask(2))


def test_structures_beyond_the_ct_are_told(tmp_path: Path) -> None:
    """One that encloses no voxel of the CT is named; when none does, the set is refused."""
    ct = grid()
    away = [c + np.array([0.0, 0.0, 300.0]) for c in _contours(ct, range(14), hole=False)]
    write_structures(tmp_path / "s.dcm", {"here": _contours(ct, range(14)), "away": away})
    assert any("away" in note for note in read_rtstruct(tmp_path / "s.dcm", ct).notes)
    write_structures(tmp_path / "s.dcm", {"away": away})
    with pytest.raises(InvalidInputError, match="no contour encloses"):
        read_rtstruct(tmp_path / "s.dcm", ct)


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Oblique contours, planes closer than slices, several frames, no closed contour, another class, a cut file."""
    path, ct = tmp_path / "s.dcm", grid()
    drawn = {"solid": _contours(ct, range(14), hole=False)}

    def refused(said: str, on: Volume = ct) -> None:
        with pytest.raises(InvalidInputError, match=said) as caught:
            read_rtstruct(path, on)
        assert caught.value.file == str(path) and caught.value.remedy

    write_structures(path, drawn)
    refused("do not follow the slices", grid(25.0))
    write_structures(path, {"solid": _contours(ct, np.arange(0, 13, 0.5), hole=False)})
    refused("closer together than the slices")
    write_structures(path, drawn, geometry="OPEN_NONPLANAR")
    refused("no closed contour")
    data = write_structures(path, {**drawn, "other": drawn["solid"]})
    data.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.4"
    data.save_as(path, enforce_file_format=True)
    refused("several frames of reference")
    data = write_structures(path, {**drawn, "other": drawn["solid"]})
    data.StructureSetROISequence[1].ROINumber = 1
    data.save_as(path, enforce_file_format=True)
    refused("number is doubled")
    data = write_structures(path, drawn)
    data.ROIContourSequence[0].ReferencedROINumber = 4
    data.save_as(path, enforce_file_format=True)
    refused("not described")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.save_as(path, enforce_file_format=True)
    refused("no structure set")
    write_structures(path, drawn)
    path.write_bytes(path.read_bytes()[:3000])
    refused("damaged or truncated|no closed contour")


def test_points_are_passed_over(tmp_path: Path) -> None:
    """A point beside closed contours is no structure's volume, and a note names it."""
    ct = grid()
    data = write_structures(
        tmp_path / "s.dcm", {"solid": _contours(ct, range(14), hole=False), "mark": [np.ones((1, 3))]}
    )
    data.ROIContourSequence[1].ContourSequence[0].ContourGeometricType = "POINT"
    data.save_as(tmp_path / "s.dcm", enforce_file_format=True)
    found = read_rtstruct(tmp_path / "s.dcm", ct)
    assert found.present() == {1} and any("mark" in note for note in found.notes)


def test_a_structure_without_area_has_no_centroid(tmp_path: Path) -> None:
    """Points on one line, or no contour at all."""
    line = np.array([(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (2.0, 0.0, 1.0)])
    write_structures(tmp_path / "s.dcm", {"line": [line], "none": []})
    assert [centroid_mm(roi) for roi in read_structures(tmp_path / "s.dcm").rois] == [None, None]
