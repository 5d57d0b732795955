"""The marked parts as an RT Structure Set: closed contours on the planes of the planning slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guidance.report.dicom.contours import outlines
from guidance.report.dicom.marked import MarkedPart, PartKind
from guidance.report.dicom.objects import (
    DATE,
    NOTICE,
    TIME,
    SeriesNames,
    new_object,
    reference,
    save,
    text,
)
from kinematics.arrays import FloatArray
from registration.images.volume import Volume

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
INTERPRETED = {
    PartKind.TARGET: "GTV",
    PartKind.ABLATION_ZONE: "TREATED_VOLUME",
    PartKind.FORBIDDEN: "AVOIDANCE",
}
COLOURS = {PartKind.TARGET: (255, 190, 0), PartKind.ABLATION_ZONE: (60, 140, 255)}
FORBIDDEN_COLOURS = ((220, 60, 60), (200, 80, 140), (170, 60, 30), (230, 120, 90), (150, 40, 80))


def write_structure_set(
    parts: tuple[MarkedPart, ...], grid: Volume, sources: list[Any], names: SeriesNames, path: Path
) -> Any:
    """Write one region of interest for each part.

    Args:
        parts: What is marked, on the grid of the sources.
        grid: The slices of the planning series.
        sources: The planning series, in the order of k.
        names: Patient, study and description.
        path: The file.

    Returns:
        The data set written.

    Raises:
        OSError: The disk refused.
    """
    from pydicom.dataset import Dataset

    mark = "|".join([sources[0].SeriesInstanceUID, *(p.digest for p in parts)])
    data = new_object(names, RT_STRUCTURE_SET, "RTSTRUCT", mark)
    frame_uid = sources[0].FrameOfReferenceUID
    data.OperatorsName = ""
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = frame_uid, ""
    data.InstanceNumber = 1
    data.StructureSetLabel, data.StructureSetName = "NEEDLEWORK", NOTICE
    data.StructureSetDescription = NOTICE
    data.StructureSetDate, data.StructureSetTime = DATE, TIME
    data.ApprovalStatus = "UNAPPROVED"
    data.ReferencedFrameOfReferenceSequence = [_referenced_frame(frame_uid, sources)]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    for number, part in enumerate(parts, start=1):
        region = Dataset()
        region.ROINumber, region.ReferencedFrameOfReferenceUID = number, frame_uid
        region.ROIName, region.ROIGenerationAlgorithm = text(part.name), "AUTOMATIC"
        data.StructureSetROISequence.append(region)
        drawn = Dataset()
        drawn.ROIDisplayColor = list(COLOURS.get(part.kind, FORBIDDEN_COLOURS[number % len(FORBIDDEN_COLOURS)]))
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [
            _contour(n, grid, k, polygon, sources[k]) for n, (k, polygon) in enumerate(outlines(part.mask), start=1)
        ]
        data.ROIContourSequence.append(drawn)
        observation = Dataset()
        observation.ObservationNumber, observation.ReferencedROINumber = number, number
        observation.RTROIInterpretedType, observation.ROIInterpreter = INTERPRETED[part.kind], ""
        data.RTROIObservationsSequence.append(observation)
    save(data, path)
    return data


def _referenced_frame(frame_uid: str, sources: list[Any]) -> Any:
    from pydicom.dataset import Dataset

    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [reference(s) for s in sources]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY_MANAGEMENT, sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = frame_uid, [study]
    return frame


def _contour(number: int, grid: Volume, k: int, polygon: FloatArray, source: Any) -> Any:
    """Return the contour item of one polygon (i, j), in slice k."""
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag

    corner, step_i, step_j = grid.points_mm((0.0, 0.0, k)), grid.affine[:3, 0], grid.affine[:3, 1]
    points = corner + polygon[:, :1] * step_i + polygon[:, 1:] * step_j
    # To a tenth of a micrometre. Encoded here: the library would wrap and check a hundred thousand numbers for seconds.
    values = "\\".join([f"{v:.4f}" for v in (points + 0.0).ravel().tolist()]).encode()
    values += b" " * (len(values) % 2)
    item = Dataset()
    item.ContourImageSequence = [reference(source)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints, item.ContourNumber = len(points), number
    tag = Tag("ContourData")
    item[tag] = RawDataElement(tag, "DS", len(values), values, 0, False, True)
    return item
