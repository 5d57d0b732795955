"""Anyone's CT with labels and a table of roles, made into a case; what does not fit together is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guidance.case.answers import read_answers
from guidance.case.body import body_mask
from guidance.case.case import Case, CaseDescription
from guidance.case.checks import check_case, check_same_grid
from guidance.case.landmarks import check_sides
from guidance.case.role_table import LARGEST_LABEL, RoleRow, read_roles
from kinematics.errors import InvalidInputError
from registration.images.ct import read_ct
from registration.images.volume import Volume, read_image

LOWEST_HU, HIGHEST_HU = -1024, 32767
AIR_HU = -500
"""An image in HU with skin in view holds something as thin as this."""


def import_case(
    name: str,
    ct_path: Path,
    labels_path: Path,
    roles_csv_path: Path,
    target: str,
    answers_path: Path | None,
    series: str | None = None,
) -> Case:
    """Return a checked case from files.

    Args:
        name: Name of the case.
        ct_path: Folder with one DICOM CT series, or a NIfTI, NRRD or MetaImage file [HU].
        labels_path: Label image on the CT's grid: NIfTI, NRRD or single-layer seg.nrrd.
        roles_csv_path: See `guidance.case.role_table`.
        target: Name of the tumour's structure.
        answers_path: The answers on eligibility, see `guidance.case.answers`; without a file nothing is imported.
        series: UID of the CT's series, where its folder holds several.

    Raises:
        InvalidInputError: Anything that cannot be used, with file, row, value and remedy: see the checks.
    """
    answers = read_answers(answers_path)
    rows = read_roles(roles_csv_path, target)
    _check_target(rows, target, roles_csv_path)
    ct = _read_ct(ct_path, series)
    labels = _read_labels(labels_path)
    check_same_grid(ct, labels, "the labels")
    _check_rows(labels, rows, target, roles_csv_path)
    sides = check_sides(labels, {row.structure.name: row.structure.label for row in rows})
    body = body_mask(ct)
    description = CaseDescription(
        name=name,
        ct_sha256=ct.sha256(),
        labels_sha256=labels.sha256(),
        body_sha256=body.sha256(),
        structures=tuple(sorted((row.structure for row in rows), key=lambda s: s.label)),
        target=target,
        eligibility=answers,
        provenance={
            "image": "; ".join(ct.notes) or "as given",
            "imported": f"CT {ct_path.name}, labels {labels_path.name}, roles {roles_csv_path.name}",
            "added": "skin mask, by threshold",
            "sides": "; ".join(f"{rule} ({value:g} mm)" for rule, value in sides.items())
            or "not told by anatomy: too few of the named organs",
            "eligibility": f"as answered in {answers_path.name if answers_path else 'a file'}",
            "labels": "as given: whether they are right and complete was not checked",
        },
    )
    case = Case(description, ct, labels, body)
    check_case(case)
    return case


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


def _read_labels(path: Path) -> Volume:
    if path.is_dir() or path.suffix.lower() == ".dcm":
        raise InvalidInputError(
            "labels are read from an image file",
            file=str(path),
            remedy="convert the segmentation to NIfTI or NRRD on the grid of the CT",
        )
    image = read_image(path)
    voxels = image.voxels
    if not np.issubdtype(voxels.dtype, np.integer):
        wrong = ~np.isfinite(voxels) | (voxels != np.rint(voxels))
        if wrong.any():
            raise InvalidInputError(
                "labels are whole numbers; these are not (interpolated, or an image in place of labels)",
                value=float(voxels[wrong][0]),
                file=str(path),
                remedy="resample labels by nearest neighbour, and name the label image",
            )
    low, high = int(voxels.min()), int(voxels.max())
    if low < 0 or high > LARGEST_LABEL:
        raise InvalidInputError(
            "labels lie between 0 and 65535",
            value=low if low < 0 else high,
            limit=LARGEST_LABEL,
            file=str(path),
            remedy="number the labels anew, or name the label image",
        )
    return image.with_voxels(voxels.astype(np.uint8 if high < 256 else np.uint16))


def _check_target(rows: tuple[RoleRow, ...], target: str, path: Path) -> None:
    names = [row.structure.name for row in rows]
    if target not in names:
        raise InvalidInputError(
            f"the table of roles has no structure called {target!r}, which is to be the tumour",
            file=str(path),
            remedy="name the target as it stands in the table: one of " + ", ".join(sorted(names)),
        )


def _check_rows(labels: Volume, rows: tuple[RoleRow, ...], target: str, path: Path) -> None:
    present = {int(v) for v in np.unique(labels.voxels)} - {0}
    for row in rows:
        structure = row.structure
        if structure.label in present:
            continue
        if structure.name == target:
            raise InvalidInputError(
                f"the tumour ({target}) is empty: no voxel has its label",
                value=structure.label,
                file=f"{path}, row {row.line}",
                remedy=f"correct its id, or draw it in {labels.file}",
            )
        raise InvalidInputError(
            f"no voxel has the label of {structure.name}",
            value=structure.label,
            file=f"{path}, row {row.line}",
            remedy=f"remove the row, or name a label image that holds it; {labels.file} holds "
            + ", ".join(str(v) for v in sorted(present)),
        )
    unnamed = sorted(present - {row.structure.label for row in rows})
    if unnamed:
        raise InvalidInputError(
            f"the label image {labels.file} holds labels that the table of roles does not name",
            value=", ".join(str(v) for v in unnamed),
            file=str(path),
            remedy="add a row for each: what is not named cannot be avoided",
        )
