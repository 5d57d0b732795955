"""DICOM for other programs: the planning and check CT as series, target, lesion and structures as a segmentation.

To keep a run folder small, the planning series holds the slices round the target only; the check series is whole, so
that it can be judged again (`needlework verify RUN --ct`). UIDs are made from the images' digests, so that
the same run writes the same objects. Every object says that it is for research only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.policy import PolicyKind
from guidance.case.target import target_points_mm
from kinematics.errors import StorageError
from registration.images.volume import Volume

Progress = Callable[[str, float], None]

NOTICE = "RESEARCH ONLY, NOT FOR CLINICAL USE"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
PLAN_MARGIN_MM = 30.0
LEAST_STRUCTURE_VOXELS = 20
MANUFACTURER = "needlework"
# Fixed, for the same inputs give the same bytes.
DATE, TIME = "20000101", "000000"


@dataclass(frozen=True)
class SeriesNames:
    """How a written series is called."""

    patient: str
    study: str
    """Any text that identifies the study; hashed into a UID."""
    description: str
    number: int


def write_dicom(
    folder: Path,
    *,
    case: Case,
    check_ct: Volume | None = None,
    lesion: Volume | None = None,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write `planning/`, `check/` and `segmentation.dcm` into `folder`, whole or not at all.

    Args:
        folder: Made anew; what stood there is replaced.
        case: Planning CT, labels and structures.
        check_ct: The CT with needles, frame `check`; left out when None.
        lesion: uint8 or bool volume, frame `ct`, on any grid: where the field passes the threshold.
        progress: Told the stage and the fraction done.

    Returns:
        The three paths that exist, inside `folder`.

    Raises:
        StorageError: The disk refused; `folder` is as it was.
    """
    tell = progress or (lambda _stage, _fraction: None)
    study = case.description.ct_sha256 or case.ct.sha256()
    beside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
        tell("planning CT as DICOM", 0.0)
        first, last = _slices_round_target(case)
        plan_names = SeriesNames(case.description.name, study, "Planning CT, slices round the target", 1)
        part = case.ct.crop((0, 0, first), (*case.ct.shape[:2], last))
        sources = write_series(part, beside / "planning", plan_names)
        tell("segmentation as DICOM", 0.3)
        _write_segmentation(case, part, first, last, lesion, sources, beside / "segmentation.dcm")
        if check_ct is not None:
            tell("check CT as DICOM", 0.7)
            check_names = SeriesNames(case.description.name, study, "Check CT with needles", 2)
            write_series(check_ct, beside / "check", check_names)
        os.chmod(beside, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
        beside = None
    except OSError as error:
        raise StorageError(
            str(folder), error.strerror or str(error), "free some space or name another folder with --out"
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
    tell("DICOM written", 1.0)
    return tuple(p for p in (folder / "planning", folder / "check", folder / "segmentation.dcm") if p.exists())


def write_check_series(volume: Volume, folder: Path, *, patient: str = "anonymous") -> Path:
    """Write a whole CT with needles as a DICOM series into `folder`; return the folder."""
    write_series(volume, folder, SeriesNames(patient, volume.sha256(), "Check CT with needles", 2))
    return folder


def write_series(volume: Volume, folder: Path, names: SeriesNames) -> list[Any]:
    """Write a volume in HU as a series of CT images, one file a slice.

    Args:
        volume: int16 HU; its affine may be left-handed: each slice says where it lies.
        folder: Made when absent.
        names: Patient, study and description.

    Returns:
        The data sets written (pydicom), in the order of k.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    digest = volume.sha256()
    spacing = volume.spacing_mm
    axes = volume.affine[:3, :3] / spacing
    datasets = []
    for k in range(volume.shape[2]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = CT_STORAGE
        uid = generate_uid(entropy_srcs=[digest, names.description, str(k)])
        image.file_meta.MediaStorageSOPInstanceUID = uid
        image.SpecificCharacterSet = "ISO_IR 192"
        image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        image.SOPClassUID, image.SOPInstanceUID = CT_STORAGE, uid
        image.StudyDate = image.SeriesDate = image.ContentDate = DATE
        image.StudyTime = image.SeriesTime = image.ContentTime = TIME
        image.AccessionNumber, image.Modality, image.Manufacturer = "", "CT", MANUFACTURER
        image.ManufacturerModelName = NOTICE
        image.StudyDescription = NOTICE
        image.SeriesDescription = f"{names.description}: {NOTICE}"[:64]
        image.PatientName, image.PatientID = f"{names.patient}^", names.patient[:64]
        image.PatientBirthDate, image.PatientSex, image.ReferringPhysicianName = "", "", ""
        image.PatientPosition = "HFS"
        image.StudyInstanceUID = generate_uid(entropy_srcs=["study", names.study])
        image.SeriesInstanceUID = generate_uid(entropy_srcs=["series", digest, names.description])
        image.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", names.study, volume.frame])
        image.PositionReferenceIndicator = ""
        image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", names.number, k + 1
        image.AcquisitionNumber = 1
        image.KVP = None
        image.ImagePositionPatient = [_ds(v) for v in volume.points_mm((0, 0, k))]
        image.ImageOrientationPatient = [_ds(v) for v in (*axes[:, 0], *axes[:, 1])]
        image.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
        image.SliceThickness = _ds(spacing[2])
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = volume.shape[1], volume.shape[0]
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "HU"
        image.WindowCenter, image.WindowWidth = "40", "400"
        plane = np.ascontiguousarray(volume.voxels[:, :, k].T, dtype="<i2")
        image.PixelData = plane.tobytes()
        image.save_as(folder / f"{k + 1:04d}.dcm", enforce_file_format=True)
        datasets.append(image)
    return datasets


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{float(value):.10g}"[:16]


def _slices_round_target(case: Case) -> tuple[int, int]:
    index = case.ct.indices(target_points_mm(case))[:, 2]
    pad = PLAN_MARGIN_MM / case.ct.spacing_mm[2]
    first = int(max(0, np.floor(index.min() - pad)))
    return first, int(min(case.ct.shape[2], np.ceil(index.max() + pad) + 1))


def _near_target(case: Case) -> dict[int, int]:
    """Return how many voxels of each label lie in the box of the target and its surroundings."""
    index = case.labels.indices(target_points_mm(case))
    pad = PLAN_MARGIN_MM / case.labels.spacing_mm
    box = case.labels.crop(np.floor(index.min(axis=0) - pad), np.ceil(index.max(axis=0) + pad) + 1)
    labels, counts = np.unique(box.voxels, return_counts=True)
    return {int(label): int(count) for label, count in zip(labels, counts, strict=True)}


def _on_grid(mask: Volume, grid: Volume) -> NDArray[np.bool_]:
    """Nearest-voxel resampling of a mask onto another grid of the same frame, through the affines."""
    inside = np.argwhere(np.asarray(mask.voxels) > 0)
    out = np.zeros(grid.shape, dtype=np.bool_)
    if len(inside) == 0:
        return out
    ends = zip(inside.min(axis=0) - 1, inside.max(axis=0) + 1, strict=True)
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T
    box = grid.indices(mask.points_mm(corners))
    low = np.clip(np.floor(box.min(axis=0)).astype(int), 0, grid.shape)
    high = np.clip(np.ceil(box.max(axis=0)).astype(int) + 1, 0, grid.shape)
    if (high <= low).any():
        return out
    ranges = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1)
    source = np.rint(mask.indices(grid.points_mm(cells))).astype(int)
    known = ((source >= 0) & (source < mask.shape)).all(axis=-1)
    source = np.clip(source, 0, np.array(mask.shape) - 1)
    values = np.asarray(mask.voxels)[source[..., 0], source[..., 1], source[..., 2]] > 0
    out[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = values & known
    return out


def _write_segmentation(
    case: Case, part: Volume, first: int, last: int, lesion: Volume | None, sources: list[Any], path: Path
) -> None:
    import highdicom
    from highdicom.sr.coding import CodedConcept
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    labels = case.labels.voxels[:, :, first:last]
    near = _near_target(case)
    chosen: list[tuple[str, Any, Any, NDArray[np.bool_]]] = []
    abnormal, anatomical = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.AnatomicalStructure
    target = case.description.structure(case.description.target)
    chosen.append((target.name, abnormal, codes.SCT.Neoplasm, labels == target.label))
    if lesion is not None:
        zone = CodedConcept("ABLATION_ZONE", "99NEEDLEWORK", "Predicted ablation zone")
        chosen.append(("ablation zone", abnormal, zone, _on_grid(lesion, part)))
    for structure in case.description.structures:
        if structure.policy.kind is PolicyKind.FORBIDDEN and near.get(structure.label, 0) >= LEAST_STRUCTURE_VOXELS:
            code = CodedConcept(structure.name.upper()[:16], "99NEEDLEWORK", structure.name[:64])
            chosen.append((structure.name, anatomical, code, labels == structure.label))
    chosen = [c for c in chosen if c[3].any()]
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=n + 1,
            segment_label=name[:64],
            segmented_property_category=category,
            segmented_property_type=code,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name=MANUFACTURER, version="research", family=codes.cid7162.MorphologicalOperations
            ),
        )
        for n, (name, category, code, _) in enumerate(chosen)
    ]
    pixels = np.stack([mask.transpose(2, 1, 0) for _, _, _, mask in chosen], axis=-1).astype(np.uint8)
    digest = case.description.labels_sha256 or case.labels.sha256()
    marks = [digest, part.sha256(), "" if lesion is None else lesion.sha256()]
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(entropy_srcs=["segmentation series", *marks]),
        series_number=3,
        sop_instance_uid=generate_uid(entropy_srcs=["segmentation", *marks]),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MANUFACTURER,
        software_versions="research",
        device_serial_number="0",
        content_description=NOTICE,
        series_description=f"Target, lesion and structures: {NOTICE}"[:64],
        content_label="NEEDLEWORK",
    )
    segmentation.save_as(path)
