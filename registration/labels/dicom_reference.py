"""What a DICOM CT series says of itself, and whether labels were drawn on it: compared by UID, not by looks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kinematics.errors import InvalidInputError
from registration.images.dicom_folder import NAMELESS
from registration.images.dicom_series import slice_files
from registration.labels.label_set import LabelSet


@dataclass(frozen=True)
class DicomReference:
    """The identity of a CT series."""

    frame_of_reference_uid: str
    study_instance_uid: str
    series_instance_uid: str
    instances: frozenset[str]


def read_reference(path: Path, series_uid: str | None = None) -> DicomReference | None:
    """Return the identity of the CT series in a folder, by its slices alone; None for a file, which has no identity.

    A localiser, or another series beside the CT, lends it nothing: the series and its files are those of
    `read_series`.

    Args:
        path: What the CT is read from.
        series_uid: The series, where the folder holds several.

    Raises:
        InvalidInputError: No CT series, several and none named, or a damaged file.
    """
    if not path.is_dir():
        return None
    files = slice_files(path, series_uid)
    return DicomReference(
        files[0].text("FrameOfReferenceUID"),
        files[0].text("StudyInstanceUID"),
        files[0].text("SeriesInstanceUID") or NAMELESS,
        frozenset(file.text("SOPInstanceUID") for file in files) - {""},
    )


def check_reference(labels: LabelSet, ct: DicomReference | None) -> tuple[str, ...]:
    """Refuse labels that were drawn in another frame of reference, or on another series; say what was compared.

    The same frame of reference is not enough: two phases of one examination share it, and the patient breathes between
    them. So where the labels name the images that they were drawn on, one of them at least must be in the series.

    Args:
        labels: As read.
        ct: Identity of the CT; None where its file has none.

    Returns:
        One sentence for each comparison that was made, or could not be.

    Raises:
        InvalidInputError: Another frame of reference; none of the images that the labels name is in the series.
    """
    uid = labels.frame_of_reference_uid
    if ct is None or not ct.frame_of_reference_uid or uid is None:
        holder = "the labels" if uid is None else "the CT"
        return (f"frame of reference not compared: {holder} name none",)
    if uid != ct.frame_of_reference_uid:
        raise InvalidInputError(
            f"the {labels.kind} was drawn in another frame of reference than that of the CT",
            value=uid,
            limit=ct.frame_of_reference_uid,
            file=labels.file,
            remedy="use the labels that were drawn on this CT, or the CT that they were drawn on",
        )
    told = ["frame of reference: that of the CT"]
    if not labels.referenced_instances or not ct.instances:
        return (*told, "the labels do not name the images that they were drawn on")
    missing = len(labels.referenced_instances - ct.instances)
    if missing == len(labels.referenced_instances):
        raise InvalidInputError(
            f"the {labels.kind} was drawn on another series: none of its images is in the CT",
            value=f"{missing} images, such as {min(labels.referenced_instances)}",
            limit=f"series {ct.series_instance_uid}",
            file=labels.file,
            remedy="use the series that it was drawn on; the patient may have breathed between the two",
        )
    if missing:
        told.append(f"{missing} of {len(labels.referenced_instances)} images that the labels name are not in the CT")
    return tuple(told)
