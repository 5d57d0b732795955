"""Every array in a public value is read-only, wherever the value is defined."""

from __future__ import annotations

import numpy as np
import pytest

from kinematics.frames import Transform
from registration.volume import Volume
from sim.truth import NeedleTruth


def test_transform_matrix_is_read_only() -> None:
    """A transform cannot be changed behind the back of who holds it."""
    matrix = np.eye(4)
    transform = Transform(to="a", from_="b", matrix=matrix)
    matrix[0, 3] = 5.0
    assert transform.translation_mm[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        transform.matrix[0, 3] = 1.0


def test_volume_is_read_only() -> None:
    """Voxels and affine refuse writes."""
    volume = Volume(np.zeros((2, 3, 4), dtype=np.int16), np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2.0


def test_needle_truth_round_trip_is_read_only() -> None:
    """Reading a value back gives read-only arrays as well."""
    needle = NeedleTruth(id="E1", centreline_ct_mm=[[0, 0, 0], [0, 0, 1.5]], exposure_mm=15)
    again = NeedleTruth.model_validate_json(needle.canonical_json())
    assert again.sha256() == needle.sha256()
    with pytest.raises(ValueError, match="read-only"):
        again.centreline_ct_mm[0, 0] = 1.0
