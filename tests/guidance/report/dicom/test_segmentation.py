"""The segmentation, read by two ways, is the parts that were marked."""

from __future__ import annotations

import highdicom
import numpy as np
from pydicom.sr.codedict import codes

from guidance.report.dicom.segmentation import STANDARD_CODES


def by_hand(data):
    """Each segment's voxels as LPS points: bits unpacked and placed by the header, without a library's decoder."""
    size = data.Rows * data.Columns
    bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")
    frames = bits[: size * int(data.NumberOfFrames)].reshape(-1, data.Rows, data.Columns)
    shared = data.SharedFunctionalGroupsSequence[0]
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    axes = np.array([float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]).reshape(2, 3)
    labels = {s.SegmentNumber: s.SegmentLabel for s in data.SegmentSequence}
    found = {}
    for group, frame in zip(data.PerFrameFunctionalGroupsSequence, frames, strict=True):
        name = labels[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        origin = np.array([float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient])
        for r, c in np.argwhere(frame):
            found.setdefault(name, []).append(origin + c * spacing[1] * axes[0] + r * spacing[0] * axes[1])
    return {name: np.array(points) for name, points in found.items()}


def ordered(points):
    """Points in an order of their own, to a hundredth of a millimetre."""
    rounded = np.round(points, 2) + 0.0
    return rounded[np.lexsort(rounded.T)]


def test_the_bits_are_the_labels(written):
    """Target and vessel come back at their LPS points; the zone keeps its volume and place."""
    found = by_hand(written.read("segmentation.dcm"))
    assert set(found) == {"tumour", "ablation zone", "vessel"}
    case = written.case
    ends = [[float(v) for v in s.ImagePositionPatient] for s in (written.slices()[0], written.slices()[-1])]
    first, last = (int(k) for k in np.rint(case.ct.indices(ends)[:, 2]))
    for name, label in (("tumour", 3), ("vessel", 1)):
        index = np.argwhere(case.labels.voxels == label)
        index = index[(index[:, 2] >= first) & (index[:, 2] <= last)]
        np.testing.assert_allclose(ordered(found[name]), ordered(case.ct.points_mm(index)), atol=0.011)
    inside = written.lesion.points_mm(np.argwhere(written.lesion.voxels))
    np.testing.assert_allclose(found["ablation zone"].mean(axis=0), inside.mean(axis=0), atol=0.25)
    volume_mm3 = len(found["ablation zone"]) * float(np.prod(case.ct.spacing_mm))
    assert abs(volume_mm3 / (len(inside) * 1.2**3) - 1) < 0.05


def test_another_library_agrees(written):
    """highdicom finds the same segments with as many voxels, and the frame of the planning series."""
    segmentation = highdicom.seg.segread(written.folder / "segmentation.dcm")
    found = by_hand(written.read("segmentation.dcm"))
    slices = written.slices()
    pixels = segmentation.get_pixels_by_source_instance([s.SOPInstanceUID for s in slices])
    for number in segmentation.segment_numbers:
        name = segmentation.get_segment_description(number).segment_label
        assert pixels[..., number - 1].sum() == len(found[name])
    assert segmentation.FrameOfReferenceUID == slices[0].FrameOfReferenceUID


def test_standard_codes_exist():
    """Every keyword names a code of SNOMED CT."""
    for keyword in STANDARD_CODES.values():
        assert getattr(codes.SCT, keyword).scheme_designator == "SCT"
