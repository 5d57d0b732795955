"""Labels from any form: the file says itself what it is."""

from __future__ import annotations

from pathlib import Path

from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import broken
from registration.images.volume import Volume
from registration.labels import dicom_seg, rtstruct
from registration.labels.label_image import read_label_image
from registration.labels.label_set import LabelSet
from registration.labels.seg_nrrd import describes_segments, header_fields, read_seg_nrrd

FORMS = "a label image (NIfTI, NRRD, MetaImage), seg.nrrd, DICOM SEG or RTSTRUCT"


def read_labels(path: Path, ct: Volume) -> LabelSet:
    """Read labels: NIfTI, NRRD, MetaImage, seg.nrrd, DICOM SEG or RTSTRUCT, told apart by content.

    Args:
        path: File, or a folder that holds exactly one SEG or RTSTRUCT among its DICOM files.
        ct: The CT; contours are brought onto its voxels, everything else keeps its own grid.

    Raises:
        InvalidInputError: Missing, damaged, none of these forms, or a folder with none or several of them.
    """
    file = _in_folder(path) if path.is_dir() else path
    if not file.is_file():
        raise InvalidInputError("the labels are not there", file=str(file), remedy="check the path")
    kind = _sop_class(file)
    if kind is None:
        if file.name.lower().endswith(".nrrd") and describes_segments(header_fields(file)):
            return read_seg_nrrd(file)
        if file.suffix.lower() == ".dcm":
            raise InvalidInputError("the labels cannot be read: no DICOM file", file=str(file), remedy=f"give {FORMS}")
        return read_label_image(file)
    if kind in dicom_seg.SOP_CLASSES:
        return dicom_seg.read_dicom_seg(file)
    if kind == rtstruct.SOP_CLASS:
        return rtstruct.read_rtstruct(file, ct)
    raise InvalidInputError(
        "the DICOM file holds no labels", value=kind or None, file=str(file), remedy=f"give {FORMS}"
    )


def _in_folder(folder: Path) -> Path:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    found = [p for p in files if _sop_class(p) in {*dicom_seg.SOP_CLASSES, rtstruct.SOP_CLASS}]
    if len(found) != 1:
        raise InvalidInputError(
            "the folder holds " + (f"{len(found)} files" if found else "no file") + " with labels in DICOM",
            value=", ".join(p.name for p in found) or None,
            limit=1,
            file=str(folder),
            remedy=f"name the file: {FORMS}",
        )
    return found[0]


def _sop_class(file: Path) -> str | None:
    """Return the SOP class of a DICOM file, empty where it has none; None for any other file."""
    with file.open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            return None
    import pydicom

    try:
        return str(pydicom.dcmread(file, specific_tags=["SOPClassUID"], stop_before_pixels=True).get("SOPClassUID", ""))
    except broken() as error:
        raise InvalidInputError(
            f"a DICOM file is damaged or truncated ({type(error).__name__})",
            file=str(file),
            remedy="export it again",
        ) from error
