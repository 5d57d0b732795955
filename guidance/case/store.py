"""A case on disk: three images and `case.json`, checked by their hashes when read back."""

from __future__ import annotations

from pathlib import Path

from guidance.ablation.conductivity import tissue_set
from guidance.case.case import Case, CaseDescription
from kinematics.errors import InvalidInputError
from registration.images.volume import read_image, write_image

FILES = {"ct": "ct.nii.gz", "labels": "labels.nii.gz", "body": "body.nii.gz"}


def save_case(case: Case, folder: Path) -> None:
    """Write the case to `folder`; `case.json` comes last, so that a folder with it is whole.

    Raises:
        StorageError: The disk refused.
    """
    (folder / "case.json").unlink(missing_ok=True)
    write_image(case.ct, folder / FILES["ct"])
    write_image(case.labels, folder / FILES["labels"])
    write_image(case.body, folder / FILES["body"])
    case.description.save(folder / "case.json")


def load_case(folder: Path) -> Case:
    """Read a case back.

    Raises:
        InvalidInputError: A file is missing or damaged, an image is not the one that `case.json` describes, the case
            is of an older form, or its tissue set is unknown.
    """
    description = CaseDescription.load(folder / "case.json")
    tissue_set(description.tissue_set)
    ct = read_image(folder / FILES["ct"])
    labels = read_image(folder / FILES["labels"])
    body = read_image(folder / FILES["body"])
    for image, expected in (
        (ct, description.ct_sha256),
        (labels, description.labels_sha256),
        (body, description.body_sha256),
    ):
        if image.sha256() != expected:
            raise InvalidInputError(
                "the image is not the one that case.json describes (its hash differs)",
                value=image.sha256()[:12],
                limit=expected[:12],
                file=image.file,
                remedy="restore the file, or make the case again",
            )
    return Case(description, ct, labels, body)
