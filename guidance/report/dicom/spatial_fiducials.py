"""The fiducials found in the planning CT, as a DICOM Spatial Fiducials object in the CT's frame of reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guidance.report.dicom.objects import (
    NOTICE,
    SeriesNames,
    decimal,
    describe_content,
    made_uid,
    new_object,
    numbers_mark,
    save,
    text,
)
from registration.accuracy import radial_p95
from registration.registration import FiducialResult

SPATIAL_FIDUCIALS = "1.2.840.10008.5.1.4.1.1.66.2"


def write_spatial_fiducials(
    fiducials: tuple[FiducialResult, ...], frame_uid: str, names: SeriesNames, path: Path
) -> Any:
    """Write each fiducial as a point with its identifier and the 95 % radius of its localisation in the image.

    Args:
        fiducials: Fiducials found, at least one.
        frame_uid: UID of the planning CT's frame of reference.
        names: Patient, study and description.
        path: The file.

    Returns:
        The data set written.

    Raises:
        OSError: The disk refused.
    """
    from pydicom.dataset import Dataset

    mark = "|".join([frame_uid, *(f"{f.id}:{numbers_mark(f.centre_ct_mm, f.covariance_mm2)}" for f in fiducials)])
    data = new_object(names, SPATIAL_FIDUCIALS, "FID", mark)
    describe_content(data, "NEEDLEWORK", NOTICE)
    items = []
    for fiducial in fiducials:
        item = Dataset()
        item.FiducialIdentifier = text(fiducial.id, 16)
        item.FiducialDescription = text(
            f"fiducial in the CT, {'seen' if fiducial.tracked else 'not seen'} by the tracker; "
            "uncertainty radius: 95 %, of the localisation in the image"
        )
        item.FiducialUID = made_uid("fiducial", data.SOPInstanceUID, fiducial.id)
        item.ShapeType = "POINT"
        item.ContourUncertaintyRadius = round(radial_p95(fiducial.covariance_mm2), 6)
        item.NumberOfContourPoints = 1
        item.ContourData = [decimal(v) for v in fiducial.centre_ct_mm]
        items.append(item)
    group = Dataset()
    group.FrameOfReferenceUID, group.FiducialSequence = frame_uid, items
    data.FiducialSetSequence = [group]
    save(data, path)
    return data
