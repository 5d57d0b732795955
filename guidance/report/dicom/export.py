"""DICOM for other programs: both CTs, what is marked in them, the fiducials, and how the frames lie to each other.

To keep a run folder small, the planning series holds the slices round the target only; the check series is whole, so
that it can be judged again (`needlework verify RUN --ct`). Where the case came from a DICOM series, its patient,
study and frame of reference are kept; all else is made from digests. Every object says that it is for research only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from guidance.case.case import Case, CaseDescription
from guidance.report.dicom.marked import marked_parts, slices_round_target
from guidance.report.dicom.objects import SeriesNames, made_uid
from guidance.report.dicom.segmentation import write_segmentation
from guidance.report.dicom.series import write_series
from guidance.report.dicom.spatial_fiducials import write_spatial_fiducials
from guidance.report.dicom.spatial_registration import robot_frame_uid, write_spatial_registration
from guidance.report.dicom.structure_set import write_structure_set
from guidance.verification.placement import Placement
from kinematics.errors import InvalidInputError, StorageError
from kinematics.progress import Progress
from registration.images.volume import Volume
from registration.registration import Registration

FRAME_KEY, STUDY_KEY = "frame_of_reference_uid", "study_instance_uid"
PATIENT_ID_KEY, PATIENT_NAME_KEY = "patient_id", "patient_name"
ROBOT_FRAME = "ROBOT BASE: X PATIENT LEFT, Y HEAD, Z UP"


def write_dicom(
    folder: Path,
    *,
    case: Case,
    planning_ct: Volume,
    registration: Registration | None = None,
    check_ct: Volume | None = None,
    placement: Placement | None = None,
    lesion: Volume | None = None,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write all that there is of a run into `folder`, whole or not at all.

    `planning/` and `check/` (CT), `segmentation.dcm` (SEG) and `structures.dcm` (RTSTRUCT) of target, lesion and
    near forbidden structures, `fiducials.dcm` (FID), `check_to_planning.dcm` and `planning_to_robot.dcm` (REG).

    Args:
        folder: Made anew; what stood there is replaced.
        case: Labels and structures.
        planning_ct: The planning CT, in which the fiducials are seen, on the grid of the case.
        registration: The fiducials found; and where the robot is, which is left out unless it was accepted.
        check_ct: The CT with needles, frame `check`; left out when None.
        placement: How the check CT lies to the planning CT; left out when None.
        lesion: uint8 or bool volume, frame `ct`, on any grid: where the field passes the threshold.
        progress: Told the stage and the fraction done.

    Returns:
        The paths that exist, inside `folder`.

    Raises:
        InvalidInputError: A planning CT on another grid, or a UID in the case's provenance that is none.
        StorageError: The disk refused; `folder` is as it was.
    """
    if not planning_ct.same_grid(case.labels):
        raise InvalidInputError("the planning CT is not on the grid of the case", value=planning_ct.shape)
    tell = progress or (lambda _stage, _fraction: None)
    names = _names(case.description, case)
    beside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
        tell("planning CT as DICOM", 0.0)
        first, last = slices_round_target(case)
        part = planning_ct.crop((0, 0, first), (*planning_ct.shape[:2], last))
        planning = write_series(part, beside / "planning", names)
        tell("what is marked as DICOM", 0.2)
        parts = marked_parts(case, part, first, last, lesion)
        write_segmentation(parts, planning, beside / "segmentation.dcm", 3)
        titled = replace(names, description="Target, lesion and structures", number=4)
        write_structure_set(parts, part, planning, titled, beside / "structures.dcm")
        if registration is not None:
            _write_registration(registration, planning, names, beside)
        if check_ct is not None:
            tell("check CT as DICOM", 0.6)
            _write_check(check_ct, placement, planning, names, beside)
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
    return tuple(sorted(folder.iterdir()))


def _names(description: CaseDescription, case: Case) -> SeriesNames:
    known = description.provenance
    return SeriesNames(
        patient=known.get(PATIENT_ID_KEY, description.name),
        patient_name=known.get(PATIENT_NAME_KEY),
        study=description.ct_sha256 or case.ct.sha256(),
        description="Planning CT, slices round the target",
        number=1,
        study_instance_uid=_uid(known, STUDY_KEY),
        frame_of_reference_uid=_uid(known, FRAME_KEY),
    )


def _uid(known: dict[str, str], key: str) -> str | None:
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    value = known.get(key)
    if value and not UID(value, validation_mode=IGNORE).is_valid:
        raise InvalidInputError(
            f"the case's {key} is not a DICOM UID", value=value, remedy="import the case again from its series"
        )
    return value or None


def _write_registration(registration: Registration, planning: list[Any], names: SeriesNames, folder: Path) -> None:
    if registration.fiducials:
        titled = replace(names, description="Fiducials found in the planning CT", number=5)
        frame = planning[0].FrameOfReferenceUID
        write_spatial_fiducials(registration.fiducials, frame, titled, folder / "fiducials.dcm")
    if registration.accepted:  # what was refused is not handed on
        write_spatial_registration(
            registration.T_robot_ct,
            to_uid=robot_frame_uid(names, registration.T_robot_ct),
            to_images=[],
            from_images=planning,
            comment=f"to the robot's base; p95 at the tumour {registration.tre_p95_mm.tumour:.2f} mm",
            position_reference=ROBOT_FRAME,
            names=replace(names, description="Planning CT to robot", number=6),
            path=folder / "planning_to_robot.dcm",
        )


def _write_check(
    check_ct: Volume, placement: Placement | None, planning: list[Any], names: SeriesNames, folder: Path
) -> None:
    # Its own frame: the patient of another run, or after moving, lies elsewhere in it.
    frame = made_uid("frame", names.study_uid, "check", check_ct.sha256())
    titled = replace(names, description="Check CT with needles", number=2, frame_of_reference_uid=frame)
    check = write_series(check_ct, folder / "check", titled)
    if placement is None:
        return
    write_spatial_registration(
        placement.T_plan_check,
        to_uid=planning[0].FrameOfReferenceUID,
        to_images=planning,
        from_images=check,
        comment=f"{placement.registration.fiducials_used} fiducials; p95 at the tumour "
        f"{placement.registration.fiducial_tre_p95_mm:.2f} mm",
        names=replace(names, description="Check CT to planning CT", number=7),
        path=folder / "check_to_planning.dcm",
    )
