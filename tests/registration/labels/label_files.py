"""Label files of every form, written by other libraries or by hand, for a scene whose truth is known."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from registration.images.volume import Volume

SHAPE = (40, 36, 14)
NAMES = {1: "liver", 2: "spleen", 5: "Portal Vein"}


def grid(turn_deg: float = 0.0) -> Volume:
    """An empty CT grid of 0.8 × 0.7 × 2.5 mm, turned about an axis that is none of the patient's."""
    rotation = Rotation.from_rotvec(np.radians(turn_deg) * np.array([0.36, 0.48, 0.8])).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation * [0.8, 0.7, 2.5]
    affine[:3, 3] = (-33.0, 21.0, 140.0)
    return Volume(np.zeros(SHAPE, dtype=np.int16), affine)


def masks() -> dict[int, np.ndarray]:
    """Three ellipsoids without symmetry; the first and the last overlap, and some slices in between are empty."""
    i, j, k = np.indices(SHAPE)

    def ellipsoid(centre: tuple[float, ...], semi: tuple[float, ...]) -> np.ndarray:
        parts = [((x - c) / s) ** 2 for x, c, s in zip((i, j, k), centre, semi, strict=True)]
        return np.sum(parts, axis=0) <= 1.0

    return {
        1: ellipsoid((12.2, 14.7, 3.9), (9.1, 8.3, 2.4)),
        2: ellipsoid((29.4, 21.1, 10.2), (6.2, 9.4, 1.7)),
        5: ellipsoid((16.8, 19.3, 4.4), (5.3, 4.1, 1.3)),
    }


def ct_series(volume: Volume, folder: Path, frame_uid: str | None = None) -> list[Dataset]:
    """Write a plain CT series and return its datasets, lowest slice first."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), frame_uid or generate_uid()
    axes = volume.affine[:3, :3] / volume.spacing_mm
    found = []
    for k in range(volume.shape[2]):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = (
            CTImageStorage,
            data.SOPInstanceUID,
        )
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = (
            "CT",
            "x",
            "X^Y",
            "",
            "",
        )
        data.StudyID, data.StudyDate, data.StudyTime, data.AccessionNumber = "1", "20200101", "000000", ""
        data.ReferringPhysicianName, data.SeriesNumber, data.InstanceNumber = "", 1, k + 1
        data.ImageOrientationPatient = [f"{v:.12g}" for v in (*axes[:, 0], *axes[:, 1])]
        data.ImagePositionPatient = [f"{v:.12g}" for v in volume.points_mm([0, 0, k])]
        data.PixelSpacing = [float(volume.spacing_mm[1]), float(volume.spacing_mm[0])]
        data.SliceThickness = float(volume.spacing_mm[2])
        data.Rows, data.Columns = volume.shape[1], volume.shape[0]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.PixelData = np.ascontiguousarray(volume.voxels[:, :, k].T.astype("<i2")).tobytes()
        data.save_as(folder / f"{k:03d}.dcm", enforce_file_format=True)
        found.append(data)
    return found


def write_seg(
    path: Path,
    source: Sequence[Dataset],
    stack: np.ndarray,
    names: Mapping[int, str],
    kind: str = "BINARY",
    **options: Any,
) -> None:
    """Write a segmentation with highdicom.

    Args:
        path: File.
        source: Images that it was drawn on, in the order of the slices of `stack`.
        stack: Shape (slice, row, column) of numbers, or with a last axis of segments.
        names: Label by number.
        kind: Segmentation type.
        options: Passed on.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=n,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n, name in names.items()
    ]
    hd.seg.Segmentation(
        source_images=list(source),
        pixel_array=stack,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="1",
        device_serial_number="1",
        **options,
    ).save_as(path)


def write_structures(
    path: Path,
    contours_mm: Mapping[str, Sequence[np.ndarray]],
    frame_uid: str = "1.2.3",
    instances: Sequence[str] = (),
    geometry: str = "CLOSED_PLANAR",
) -> Dataset:
    """Write an RT Structure Set with pydicom; structures are numbered from 1."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.RTStructureSetStorage, generate_uid()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.Modality, data.FrameOfReferenceUID = "RTSTRUCT", frame_uid
    data.StructureSetROISequence, data.ROIContourSequence = DicomSequence(), DicomSequence()
    for n, (name, drawn) in enumerate(contours_mm.items(), 1):
        roi, item = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = n, name, frame_uid
        item.ReferencedROINumber, item.ContourSequence = n, DicomSequence()
        for points in drawn:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = geometry, len(points)
            contour.ContourData = [f"{v:.10g}" for v in points.ravel()]
            contour.ContourImageSequence = DicomSequence()
            for uid in instances:
                image = Dataset()
                image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, uid
                contour.ContourImageSequence.append(image)
            item.ContourSequence.append(contour)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(item)
    data.save_as(path, enforce_file_format=True)
    return data


def write_seg_nrrd(
    path: Path,
    layers: Sequence[np.ndarray],
    affine: np.ndarray,
    segments: Sequence[Mapping[str, object]],
    space: str | None = "left-posterior-superior",
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write a seg.nrrd by hand. `affine` is to LPS; for a RAS space its vectors are turned here."""
    ras = space is not None and space.startswith("right")
    to_space = np.diag([-1.0, -1.0, 1.0]) if ras else np.eye(3)
    vectors = [" ".join(f"({','.join(f'{v:.12g}' for v in to_space @ affine[:3, n])})" for n in range(3))]
    origin = ",".join(f"{v:.12g}" for v in to_space @ affine[:3, 3])
    stacked = len(layers) > 1
    sizes = ([len(layers)] if stacked else []) + list(layers[0].shape)
    head = [
        "NRRD0004",
        f"type: {'unsigned char' if layers[0].dtype == np.uint8 else 'unsigned short'}",
        f"dimension: {len(sizes)}",
        f"space: {space}" if space else "space dimension: 3",
        "sizes: " + " ".join(str(n) for n in sizes),
        "space directions: " + ("none " if stacked else "") + vectors[0],
        "kinds: " + ("list " if stacked else "") + "domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: ({origin})",
    ]
    for n, segment in enumerate(segments):
        head += [f"Segment{n}_{key}:={value}" for key, value in segment.items()]
    head += [f"{key}:={value}" for key, value in (fields or {}).items()]
    voxels = np.stack(layers) if stacked else layers[0]
    body = gzip.compress(voxels.astype(voxels.dtype.newbyteorder("<")).tobytes(order="F"), 1)
    path.write_bytes(("\n".join(head) + "\n\n").encode() + body)
