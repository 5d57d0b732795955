"""A volume as a series of CT images, one file a slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from guidance.report.dicom.objects import BODY_PART, DATE, TIME, SeriesNames, decimal, new_object, save
from registration.images.volume import Volume

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def write_series(volume: Volume, folder: Path, names: SeriesNames) -> list[Any]:
    """Write a volume in HU as a series of CT images, one file a slice.

    Args:
        volume: int16 HU; its affine may be left-handed: each slice says where it lies.
        folder: Made when absent.
        names: Patient, study and description.

    Returns:
        The data sets written (pydicom), in the order of k.

    Raises:
        OSError: The disk refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = volume.sha256()
    spacing = volume.spacing_mm
    axes = volume.affine[:3, :3] / spacing
    datasets = []
    for k in range(volume.shape[2]):
        image = new_object(names, CT_STORAGE, "CT", digest, str(k))
        image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        image.PatientPosition = "HFS"
        image.BodyPartExamined = BODY_PART
        image.FrameOfReferenceUID = names.frame_uid(volume.frame)
        image.PositionReferenceIndicator = ""
        image.ContentDate, image.ContentTime = DATE, TIME
        image.InstanceNumber, image.AcquisitionNumber = k + 1, 1
        image.KVP = None
        image.ImagePositionPatient = [decimal(v) for v in volume.points_mm((0, 0, k))]
        image.ImageOrientationPatient = [decimal(v) for v in (*axes[:, 0], *axes[:, 1])]
        image.PixelSpacing = [decimal(spacing[1]), decimal(spacing[0])]
        image.SliceThickness = decimal(spacing[2])
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = volume.shape[1], volume.shape[0]
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "HU"
        image.WindowCenter, image.WindowWidth = "40", "400"
        image.PixelData = np.ascontiguousarray(volume.voxels[:, :, k].T, dtype="<i2").tobytes()
        save(image, folder / f"{k + 1:04d}.dcm")
        datasets.append(image)
    return datasets
