"""How two frames of reference lie to each other, as a DICOM Spatial Registration.

The object lives in the frame that the matrix leads *to* (its own Frame of Reference UID); the matrix takes points of
the other frame, named in the item, into it (PS3.3 C.20.2.1.1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guidance.report.dicom.objects import (
    NOTICE,
    SeriesNames,
    code,
    describe_content,
    made_uid,
    matrix_values,
    new_object,
    numbers_mark,
    refer_to_series,
    reference,
    save,
    text,
)
from kinematics.frames import Transform

SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"


def write_spatial_registration(
    T: Transform,
    *,
    to_uid: str,
    to_images: list[Any],
    from_images: list[Any],
    comment: str,
    position_reference: str = "",
    names: SeriesNames,
    path: Path,
) -> Any:
    """Write `T_<to>_<from>`, found from fiducials, as an object of the frame `to`.

    Args:
        T: Takes points [mm] of the images `from_images` into the frame `to`.
        to_uid: UID of the frame `to`.
        to_images: The series in the frame `to`, listed with the identity; empty for a frame without images.
        from_images: The series in the other frame.
        comment: What the matrix says, for a person.
        position_reference: What a frame that is not a patient's is fixed to.
        names: Patient, study and description.
        path: The file.

    Returns:
        The data set written.

    Raises:
        OSError: The disk refused.
    """
    from_uid = from_images[0].FrameOfReferenceUID
    data = new_object(names, SPATIAL_REGISTRATION, "REG", f"{to_uid}|{from_uid}|{numbers_mark(T.matrix)}")
    describe_content(data, "NEEDLEWORK", NOTICE)
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = to_uid, position_reference
    items = []
    if to_images:
        items.append(_item(to_uid, to_images, Transform.identity(T.to, T.to), "the frame itself", identity=True))
    items.append(_item(from_uid, from_images, T, comment))
    data.RegistrationSequence = items
    refer_to_series(data, *([to_images] if to_images else []), from_images)
    save(data, path)
    return data


def _item(uid: str, images: list[Any], T: Transform, comment: str, *, identity: bool = False) -> Any:
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes

    matrix = Dataset()
    matrix.FrameOfReferenceTransformationMatrixType = "RIGID"
    matrix.FrameOfReferenceTransformationMatrix = matrix_values(T)
    method = Dataset()
    method.FrameOfReferenceTransformationComment = text(comment)
    method.RegistrationTypeCodeSequence = [
        code(codes.DCM.FrameOfReferenceIdentity if identity else codes.DCM.FiducialAlignment)
    ]
    method.MatrixSequence = [matrix]
    item = Dataset()
    item.FrameOfReferenceUID = uid
    item.ReferencedImageSequence = [reference(i) for i in images]
    item.MatrixRegistrationSequence = [method]
    return item


def robot_frame_uid(names: SeriesNames, T_robot_ct: Transform) -> str:
    """Return the UID of the robot's frame *as of this registration*.

    Another registration puts the same patient elsewhere; under one UID the two would contradict each other.
    """
    return made_uid("robot", names.study_uid, numbers_mark(T_robot_ct.matrix))
