"""Anyone's CT with labels and a table of roles, made into a case; what does not fit together is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from guidance.ablation.conductivity import tissue_set
from guidance.case.answers import read_answers
from guidance.case.body import body_mask
from guidance.case.case import DEFAULT_TISSUE_SET, Case, CaseDescription, Structure
from guidance.case.checks import check_case
from guidance.case.completion import Completed, complete
from guidance.case.merging import merge
from guidance.case.orientation import prove_orientation
from guidance.case.role_match import MatchedRoles, match_roles
from guidance.case.role_table import read_roles
from guidance.case.roles import structure_of
from guidance.scene import Device, ElectrodeDevice, FiducialSet
from kinematics.errors import InvalidInputError
from registration.fiducials import check_voxels
from registration.images.ct import read_ct
from registration.images.volume import Volume
from registration.labels.dicom_reference import DicomReference, check_reference, read_reference
from registration.labels.onto_grid import onto_grid
from registration.labels.reading import read_labels

LOWEST_HU, HIGHEST_HU = -1024, 32767
AIR_HU = -500
"""An image in HU with skin in view holds something as thin as this."""

OUTLINE_SHARE = 0.7
"""No organ, nor all fat, fills this much of what lies inside the skin."""


def import_case(
    name: str,
    ct_path: Path,
    labels_path: Path,
    roles_csv_path: Path,
    target: str,
    answers_path: Path | None,
    *,
    tissues: str = DEFAULT_TISSUE_SET,
    series: str | None = None,
    orientation_confirmed_by: str | None = None,
    device: Device | None = None,
    progress: Callable[[str, float], None] = lambda _stage, _fraction: None,
) -> Case:
    """Return a checked case from files.

    Args:
        name: Name of the case.
        ct_path: Folder with one DICOM CT series, or a NIfTI, NRRD or MetaImage file [HU].
        labels_path: Label image, seg.nrrd, DICOM SEG or RTSTRUCT, on any grid, see `registration.labels.reading`.
        roles_csv_path: See `guidance.case.role_table`.
        target: Name of the tumour's structure.
        answers_path: The answers on eligibility, see `guidance.case.answers`; without a file nothing is imported.
        tissues: Name of the tissue set, see `guidance.ablation.conductivity`.
        series: UID of the CT's series, where its folder holds several.
        orientation_confirmed_by: Who vouches that left is left, where the labels hold no landmark that tells.
        device: What the patient is treated with; the usual electrode when None.
        progress: Told of each stage: 0 when it begins, 1 when it is done.

    Raises:
        InvalidInputError: Anything that cannot be used, with file, row, value and remedy: see the checks.
    """
    tissue_set(tissues)
    answers = read_answers(answers_path)
    rows = read_roles(roles_csv_path, target)
    progress("read CT", 0.0)
    ct = _read_ct(ct_path, series)
    progress("read CT", 1.0)
    progress("read labels", 0.0)
    reference = read_reference(ct_path, series)
    came = read_labels(labels_path, ct)
    compared = check_reference(came, reference)
    roles = match_roles(rows, came, target, roles_csv_path)
    placed = onto_grid(came, ct)
    labels, overlaps = merge(placed.layers, roles.structures, target, came.file)
    progress("read labels", 1.0)
    progress("skin", 0.0)
    names = {s.name: s.label for s in roles.structures}
    body = body_mask(ct)
    _check_no_outline(placed.layers, roles, body, roles_csv_path)
    progress("skin", 1.0)
    progress("orientation", 0.0)
    proof = prove_orientation(came, labels, names, ct, body, orientation_confirmed_by)
    progress("orientation", 1.0)
    progress("unidentified tissue", 0.0)
    completed = complete(ct, labels, names, target, body, placed.within)
    progress("unidentified tissue", 1.0)
    description = CaseDescription(
        name=name,
        ct_sha256=ct.sha256(),
        labels_sha256=completed.labels.sha256(),
        body_sha256=body.sha256(),
        structures=_structures(roles, completed),
        target=target,
        tissue_set=tissues,
        device=device or ElectrodeDevice(),
        eligibility=answers,
        provenance={
            "image": "; ".join(ct.notes) or "as given",
            "imported": f"CT {ct_path.name}, labels {labels_path.name} ({came.kind}), roles {roles_csv_path.name}",
            "labels": "as given: whether they are right and complete was not checked",
            "labels read": "; ".join((*came.notes, *compared, *placed.notes, *roles.notes, *overlaps)),
            **_added(completed),
            **proof.told(),
            **_identity(reference),
            **_fiducials(ct),
            "eligibility": f"as answered in {answers_path.name if answers_path else 'a file'}",
        },
    )
    case = Case(description, ct, completed.labels, body)
    check_case(case)
    return case


def _check_no_outline(layers: tuple[Volume, ...], roles: MatchedRoles, body: Volume, path: Path) -> None:
    """Refuse a label that fills the body: under it nothing is unlabelled, and nothing could be found unidentified."""
    inside = body.voxels > 0
    size = max(s.label for s in roles.structures) + 1
    counts = np.sum([np.bincount(layer.voxels[inside], minlength=size)[:size] for layer in layers], axis=0)
    for structure in roles.structures:
        share = float(counts[structure.label]) / max(1, int(inside.sum()))
        if share > OUTLINE_SHARE:
            raise InvalidInputError(
                f"{structure.name} fills the body: it is an outline, not an organ",
                value=round(100.0 * share),
                limit=100.0 * OUTLINE_SHARE,
                unit="%",
                file=str(path),
                remedy="give its row the policy `ignored`",
            )


def _structures(roles: MatchedRoles, completed: Completed) -> tuple[Structure, ...]:
    """What came, and what was added: with the default role of its name, or that of its row in the table."""
    found = list(roles.structures)
    for name, how in completed.derived.items():
        label = completed.names[name]
        row = roles.added.get(name)
        found.append(row.structure(label, how) if row else structure_of(name, label, how))
    return tuple(sorted(found, key=lambda s: s.label))


def _added(completed: Completed) -> dict[str, str]:
    volumes = "; ".join(f"{name} {volume_ml:.1f} ml" for name, volume_ml in completed.volumes_ml.items())
    return {"added": f"skin mask, by threshold; {completed.wall}; {volumes}"}


def _fiducials(ct: Volume) -> dict[str, str]:
    """Say at import what would be refused at registration: slices that cannot show the usual spheres."""
    diameter = FiducialSet().diameter_mm
    try:
        check_voxels(ct, diameter)
    except InvalidInputError as error:
        return {"fiducials": f"{error.what} ({error.value} mm, limit {error.limit} mm): {error.remedy}"}
    return {}


def _identity(reference: DicomReference | None) -> dict[str, str]:
    if reference is None:
        return {}
    uids = {
        "frame_of_reference_uid": reference.frame_of_reference_uid,
        "study_instance_uid": reference.study_instance_uid,
        "series_instance_uid": reference.series_instance_uid,
    }
    return {key: uid for key, uid in uids.items() if uid}


def _read_ct(path: Path, series: str | None) -> Volume:
    image = read_ct(path, series)
    voxels = image.voxels
    if not np.isfinite(voxels).all():
        raise InvalidInputError(
            "the CT holds voxels that are no numbers", file=str(path), remedy="export it again as integers in HU"
        )
    if float(voxels.min()) > AIR_HU:
        raise InvalidInputError(
            "the CT holds no air: it is not in HU, or no skin is in view",
            value=float(voxels.min()),
            limit=AIR_HU,
            unit="HU",
            file=str(path),
            remedy="export it with rescale slope and intercept applied, with the anterior skin in view",
        )
    # What lies outside the scanner's field is marked by values below air.
    return image.with_voxels(np.clip(np.rint(voxels), LOWEST_HU, HIGHEST_HU).astype(np.int16))
