"""A case on oblique, left-handed axes, and all that is written of it as DICOM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure
from guidance.case.policy import Policy, PolicyKind
from guidance.report.dicom.export import write_dicom
from guidance.verification.placement import Placement
from kinematics.frames import Transform
from registration.images.volume import Volume
from registration.registration import Registration


@pytest.fixture(scope="session")
def oblique_case() -> Case:
    """A small asymmetric case on rotated, left-handed axes; the tumour has a hole, a vessel is in two pieces."""
    rng = np.random.default_rng(4)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.2, -0.15, 0.3]).as_matrix() @ np.diag([1.5, -1.4, 2.5])
    affine[:3, 3] = (-40.0, 60.0, -300.0)
    ct = rng.normal(40, 20, (50, 46, 40)).astype(np.int16)
    labels = np.zeros(ct.shape, np.uint8)
    labels[20:27, 18:23, 17:21] = 3
    labels[22:24, 20, 18:20] = 0
    labels[30:33, 5:40, 10:30] = 1
    labels[30:33, 14:17, 12:18] = 0
    labels[5:9, 5:9, 15:20] = 2
    structures = (
        Structure(name="vessel", label=1, policy=Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=2.0)),
        Structure(name="liver", label=2, policy=Policy(kind=PolicyKind.COSTLY, price=1.0)),
        Structure(name="tumour", label=3, policy=Policy(kind=PolicyKind.FREE)),
    )
    description = CaseDescription(
        name="t",
        ct_sha256="a",
        labels_sha256="b",
        structures=structures,
        target="tumour",
        body_sha256="",
        eligibility=ASSUMED_ELIGIBLE,
    )
    body = Volume(np.ones(ct.shape, np.uint8), affine)
    return Case(description, Volume(ct, affine), Volume(labels, affine), body)


@dataclass(frozen=True, eq=False)
class Written:
    """A folder of DICOM, and what it was written from."""

    folder: Path
    case: Case
    registration: Registration
    check_ct: Volume
    placement: Placement
    lesion: Volume

    def read(self, name: str) -> pydicom.Dataset:
        """Return one object, read back."""
        return pydicom.dcmread(self.folder / name)

    def slices(self, series: str = "planning") -> list[pydicom.Dataset]:
        """Return a series, in the order of its file names."""
        return [pydicom.dcmread(p) for p in sorted((self.folder / series).iterdir())]


@pytest.fixture(scope="session")
def written(oblique_case, full_run, tmp_path_factory) -> Written:
    """All the objects, with transforms that turn about every axis."""
    turn = Rotation.from_rotvec([0.02, -0.05, 0.11]).as_matrix()
    T_ct_check = Transform.of("ct", "check", turn, [3.25, -11.5, 7.125])
    placement = full_run.placement.model_copy(update={"T_plan_check": T_ct_check})
    robot = Rotation.from_rotvec([1.4, 0.1, -0.2]).as_matrix()
    registration = full_run.registration.model_copy(
        update={"T_robot_ct": Transform.of("robot", "ct", robot, [450.5, 150.25, 20.125])}
    )
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    affine[:3, 3] = oblique_case.ct.points_mm((18, 22, 15))
    grid = np.moveaxis(np.indices((14, 12, 10)), 0, -1)
    lesion = Volume((np.linalg.norm((grid - [6, 5, 5]) / [6, 5, 4], axis=-1) < 1).astype(np.uint8), affine)
    check = Volume(oblique_case.ct.voxels[:, :, :9].copy(), oblique_case.ct.affine, "check")
    folder = tmp_path_factory.mktemp("run") / "dicom"
    write_dicom(
        folder,
        case=oblique_case,
        planning_ct=oblique_case.ct,
        registration=registration,
        check_ct=check,
        placement=placement,
        lesion=lesion,
    )
    return Written(folder, oblique_case, registration, check, placement, lesion)


def with_provenance(case: Case, **known: str) -> Case:
    """Return the case with these entries in its provenance."""
    return replace(case, description=case.description.model_copy(update={"provenance": known}))
