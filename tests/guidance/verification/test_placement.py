"""The placement's file: which registration the needles were measured by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guidance.verification.placement import ImageAgreement, Placement, PlacementStatus
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A placement's file, of a run whose image could not confirm the fiducials."""
    agreement = ImageAgreement(
        fiducials_used=6,
        fiducial_fre_mm=0.2,
        fiducial_tre_p95_mm=0.4,
        fiducial_covariance=np.eye(6),
        image_difference_mm=None,
        image_p95_mm=None,
        image_covariance=None,
    )
    placement = Placement(
        status=PlacementStatus.OK,
        reasons=(),
        needles=(),
        missing=(),
        T_plan_check=Transform.identity("ct", "check"),
        registration=agreement,
        check_ct_sha256="c" * 64,
        plan_sha256="p" * 64,
    )
    placement.save(tmp_path / "placement.json")
    return tmp_path / "placement.json"


def test_the_file_says_which_registration_was_used(saved: Path) -> None:
    """The key stands in the file; a file from before it, always measured by the fiducials, is read as that."""
    text = json.loads(saved.read_text())
    assert text["registration"].pop("used") == "fiducials"
    saved.write_text(json.dumps(text))
    assert Placement.load(saved).registration.used == "fiducials"


def test_a_file_that_claims_another_way_is_refused(saved: Path) -> None:
    """No needle is measured by the image: a file that says so is not this program's."""
    text = json.loads(saved.read_text())
    text["registration"]["used"] = "image"
    saved.write_text(json.dumps(text))
    with pytest.raises(InvalidInputError, match="used"):
        Placement.load(saved)
