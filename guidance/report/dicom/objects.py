"""What every DICOM object of ours has in common: whose it is, its UIDs, that it is for research, and its bytes.

UIDs are made from what an object holds, and every date is fixed, so that the same input writes the same bytes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinematics.frames import Transform

NOTICE = "RESEARCH ONLY, NOT FOR CLINICAL USE"
SHORT_NOTICE = "RESEARCH ONLY"
MANUFACTURER = "needlework"
SOFTWARE_VERSION = "research"
PRIVATE_SCHEME = "99NEEDLEWORK"
BODY_PART = "ABDOMEN"
"""Not paired; without a body part, an object would have to say of which side it is."""
# Fixed, for the same inputs give the same bytes.
DATE, TIME = "20000101", "000000"
FORM = "needlework DICOM, form 2"
"""Part of every UID: another form of the same content is another object. Raise it when the content changes."""


@dataclass(frozen=True)
class SeriesNames:
    """Whose series it is, and how it is called."""

    patient: str
    """Patient ID."""
    study: str
    """Any text that identifies the study; hashed into a UID where `study_instance_uid` is not known."""
    description: str
    number: int
    study_instance_uid: str | None = None
    frame_of_reference_uid: str | None = None
    patient_name: str | None = None

    @property
    def study_uid(self) -> str:
        """UID of the study: its own where known, else made from `study`."""
        return self.study_instance_uid or made_uid("study", self.study)

    def frame_uid(self, frame: str) -> str:
        """UID of the frame of reference: its own where known, else made from the study and the frame's name."""
        return self.frame_of_reference_uid or made_uid("frame", self.study, frame)


def made_uid(*marks: str) -> str:
    """Return the UID that belongs to these texts, always the same."""
    from pydicom.uid import generate_uid

    # The library strings its sources together: without their lengths, "ab", "c" and "a", "bc" would be one.
    return str(generate_uid(entropy_srcs=[FORM, *(f"{len(m)}:{m}" for m in marks)]))


def new_object(names: SeriesNames, sop_class: str, modality: str, series_mark: str, instance_mark: str = "1") -> Any:
    """Return a data set with the modules on patient, study, series, equipment and SOP filled in.

    Args:
        names: Patient, study and description.
        sop_class: UID of the SOP class.
        modality: Such as CT, REG, FID, RTSTRUCT.
        series_mark: Identifies the series' content; with `names` it makes the series' UID.
        instance_mark: Identifies the object within its series.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    marks = (names.patient, names.study_uid, modality, names.description, series_mark)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = sop_class
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = made_uid("instance", *marks, instance_mark)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.InstanceCreationDate, data.InstanceCreationTime = DATE, TIME
    data.StudyDate = data.SeriesDate = DATE
    data.StudyTime = data.SeriesTime = TIME
    data.AccessionNumber, data.Modality, data.Manufacturer = "", modality, MANUFACTURER
    data.ManufacturerModelName, data.SoftwareVersions = NOTICE, SOFTWARE_VERSION
    data.StudyDescription = NOTICE
    data.SeriesDescription = text(f"{names.description}: {SHORT_NOTICE}")
    data.PatientName = text(names.patient_name or f"{names.patient}^").replace("=", " ")
    data.PatientID = text(names.patient)
    data.PatientBirthDate, data.PatientSex, data.ReferringPhysicianName = "", "", ""
    data.StudyInstanceUID = names.study_uid
    data.SeriesInstanceUID = made_uid("series", *marks)
    data.StudyID, data.SeriesNumber = "1", names.number
    return data


def describe_content(data: Any, label: str, description: str) -> None:
    """Fill in the content identification macro of an object that is not an image."""
    data.InstanceNumber, data.BodyPartExamined = 1, BODY_PART
    data.ContentDate, data.ContentTime = DATE, TIME
    data.ContentLabel, data.ContentDescription, data.ContentCreatorName = label, text(description), ""


def reference(data: Any) -> Any:
    """Return an item that refers to the object `data`."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    return item


def refer_to_series(data: Any, *series: list[Any]) -> None:
    """List in `data` the objects of each series of its own study that it refers to."""
    from pydicom.dataset import Dataset

    items = []
    for objects in series:
        item = Dataset()
        item.SeriesInstanceUID = objects[0].SeriesInstanceUID
        item.ReferencedInstanceSequence = [reference(o) for o in objects]
        items.append(item)
    data.ReferencedSeriesSequence = items


def code(concept: Any) -> Any:
    """Return the code sequence item of a pydicom code."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
        concept.value,
        concept.scheme_designator,
        (concept.meaning),
    )
    return item


def matrix_values(transform: Transform) -> list[str]:
    """Return the 16 numbers of a transform row by row, as decimal strings."""
    return [decimal(v) for v in transform.matrix.ravel()]


def decimal(value: float) -> str:
    """Return a decimal string of at most 16 characters."""
    for digits in range(12, 0, -1):
        written = f"{float(value) + 0.0:.{digits}g}"
        if len(written) <= 16:
            return written
    return "0"


def text(value: str, longest: int = 64) -> str:
    """Return what a DICOM text of one line can hold of `value`: no backslash, no control character."""
    return "".join(" " if c == "\\" or not c.isprintable() else c for c in value)[:longest].strip()


def save(data: Any, path: Path) -> None:
    """Write the object to `path`. Raises OSError.

    It is encoded in memory first: within an encoder, a disk that refuses would come out as an error of the encoder.
    """
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def numbers_mark(*arrays: Any) -> str:
    """Return a text that identifies arrays of numbers, for a UID."""
    return "|".join(np.asarray(a, dtype=np.float64).tobytes().hex() for a in arrays)
