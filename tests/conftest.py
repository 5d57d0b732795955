"""Cases that many tests share."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription, Structure, Tissue
from guidance.case.policy import Policy, PolicyKind
from registration.images.volume import Volume


@pytest.fixture(scope="session")
def box_case() -> Case:
    """A box of tissue with an off-centre tumour and one vessel; voxels of 2 × 2 × 3 mm, left-handed axes."""
    affine = np.diag([2.0, -2.0, 3.0, 1.0])
    affine[:3, 3] = (-61.0, 55.0, -42.0)
    ct = np.full((60, 56, 40), -1000, dtype=np.int16)
    labels = np.zeros(ct.shape, dtype=np.uint8)
    body = np.zeros(ct.shape, dtype=np.uint8)
    inside = (slice(6, 54), slice(8, 46), slice(2, 38))
    ct[inside] = 40
    body[inside] = 1
    labels[26:33, 20:26, 15:20] = 1
    labels[36:40, 14:30, 4:36] = 2
    structures = (
        Structure(name="tumour", label=1, policy=Policy(kind=PolicyKind.FREE), tissue=Tissue.TUMOUR),
        Structure(
            name="aorta",
            label=2,
            policy=Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=2.0),
            tissue=Tissue.VESSEL,
        ),
    )
    image, mask = Volume(ct, affine), Volume(labels, affine)
    mask_of_body = Volume(body, affine)
    description = CaseDescription(
        name="box",
        ct_sha256=image.sha256(),
        labels_sha256=mask.sha256(),
        body_sha256=mask_of_body.sha256(),
        structures=structures,
        target="tumour",
        eligibility=ASSUMED_ELIGIBLE,
    )
    return Case(description, image, mask, mask_of_body)
