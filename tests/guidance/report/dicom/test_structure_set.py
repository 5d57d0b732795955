"""The structure set, read by hand and filled by another library, is the masks that it was drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path

from guidance.report.dicom.objects import NOTICE


def regions(written):
    """Each region's voxels on the grid of the series, from the files alone: even-odd filling of its contours."""
    data, slices = written.read("structures.dcm"), written.slices()
    by_uid = {s.SOPInstanceUID: n for n, s in enumerate(slices)}
    names = {r.ROINumber: r.ROIName for r in data.StructureSetROISequence}
    shape = (slices[0].Columns, slices[0].Rows)
    centres = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 2)
    found = {}
    for region in data.ROIContourSequence:
        count = np.zeros((*shape, len(slices)), int)
        moments = []
        for contour in region.ContourSequence:
            n = by_uid[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            plane = slices[n]
            points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            axes = np.array([float(v) for v in plane.ImageOrientationPatient]).reshape(2, 3)
            away = points - [float(v) for v in plane.ImagePositionPatient]
            assert np.abs(away @ np.cross(*axes)).max() < 2e-3
            columns = away @ axes[0] / float(plane.PixelSpacing[1])
            rows = away @ axes[1] / float(plane.PixelSpacing[0])
            index = np.column_stack([columns, rows])
            count[:, :, n] += Path(np.vstack([index, index[:1]])).contains_points(centres).reshape(shape)
            cross = index[:, 0] * np.roll(index[:, 1], -1) - np.roll(index[:, 0], -1) * index[:, 1]
            middle = ((index + np.roll(index, -1, axis=0)) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
            moments.append((n, cross.sum() / 2, middle))
        found[names[region.ReferencedROINumber]] = (count % 2 == 1, moments)
    return found


def expected(written):
    """The masks in the slices that were written, by name."""
    case, slices = written.case, written.slices()
    first = round(case.ct.indices([float(v) for v in slices[0].ImagePositionPatient])[2])
    labels = case.labels.voxels[:, :, first : first + len(slices)]
    index = np.moveaxis(np.indices(labels.shape), 0, -1) + np.array([0, 0, first])
    source = np.rint(written.lesion.indices(case.ct.points_mm(index))).astype(int)
    known = ((source >= 0) & (source < written.lesion.shape)).all(axis=-1)
    source = np.where(known[..., None], source, 0)
    zone = known & (written.lesion.voxels[tuple(np.moveaxis(source, -1, 0))] > 0)
    return {"tumour": labels == 3, "vessel": labels == 1, "ablation zone": zone}


def test_every_voxel_comes_back(written):
    """Target with its hole, zone and vessel; nothing that is not near and forbidden."""
    found, masks = regions(written), expected(written)
    assert set(found) == set(masks)
    for name, mask in masks.items():
        assert mask.any()
        assert np.array_equal(found[name][0], mask), name


def test_area_and_centroid_are_the_mask_s(written):
    """Within 0.01 voxel (asked: 0.1): the half voxel beyond the centres is there."""
    found, masks = regions(written), expected(written)
    for name, (_, moments) in found.items():
        for n in {m[0] for m in moments}:
            areas = np.array([m[1] for m in moments if m[0] == n])
            middle = np.average([m[2] for m in moments if m[0] == n], axis=0, weights=areas)
            plane = masks[name][:, :, n]
            assert abs(areas).sum() == pytest.approx(plane.sum(), abs=0.01 * plane.sum())
            np.testing.assert_allclose(middle, np.argwhere(plane).mean(axis=0), atol=0.01)


def test_it_belongs_to_the_series(written):
    """Frame, study, patient and every referenced slice are those of the planning series; it says research only."""
    data, slices = written.read("structures.dcm"), written.slices()
    frame = data.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    assert {r.ReferencedFrameOfReferenceUID for r in data.StructureSetROISequence} == {slices[0].FrameOfReferenceUID}
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == slices[0].SeriesInstanceUID
    uids = [i.ReferencedSOPInstanceUID for i in series.ContourImageSequence]
    assert uids == [s.SOPInstanceUID for s in slices]
    assert (data.StudyInstanceUID, data.PatientID) == (slices[0].StudyInstanceUID, slices[0].PatientID)
    assert NOTICE in data.StructureSetDescription
    kinds = {o.ReferencedROINumber: o.RTROIInterpretedType for o in data.RTROIObservationsSequence}
    names = {r.ROINumber: r.ROIName for r in data.StructureSetROISequence}
    assert {names[n]: kind for n, kind in kinds.items()} == {
        "tumour": "GTV",
        "ablation zone": "TREATED_VOLUME",
        "vessel": "AVOIDANCE",
    }
