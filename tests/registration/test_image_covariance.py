"""The covariance of a match: the same wherever the patient lies, and wide enough for what hangs together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from kinematics.frames import Transform
from registration.image_covariance import _spread, match_covariance
from registration.images.volume import Volume

CENTRE = np.array([3.0, -2.0, 5.0])
SPACING = 2.5


def _scans(radius_mm: float) -> tuple[Volume, Volume, Volume, Transform]:
    """A check scan of tissue, its mask, the plan of the same tissue, and the match that is true."""
    rng = np.random.default_rng(4)
    tissue = gaussian_filter(rng.normal(size=(44, 44, 44)), 2.0)
    tissue *= 50.0 / tissue.std()
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = CENTRE - 21.5 * SPACING
    plan, check = (
        Volume((tissue + rng.normal(0, 10, tissue.shape)).astype(np.float32), affine, frame)
        for frame in ("ct", "check")
    )
    places = check.points_mm(np.moveaxis(np.indices(check.shape), 0, -1))
    mask = check.with_voxels((np.linalg.norm(places - CENTRE, axis=-1) <= radius_mm).astype(np.uint8))
    return check, plan, mask, Transform.identity("ct", "check")


@pytest.mark.parametrize("seed", [1, 2])
def test_where_the_patient_lies_on_the_table_does_not_matter(seed: int) -> None:
    """The check scan elsewhere in its scanner, the match with it: the same covariance."""
    check, plan, mask, T = _scans(40.0)
    here = match_covariance(check, plan, mask, T, CENTRE)
    shift = np.random.default_rng(seed).uniform(-200, 200, 3)
    affine = check.affine.copy()
    affine[:3, 3] += shift
    moved, its_mask = (Volume(v.voxels, affine, "check") for v in (check, mask))
    there = match_covariance(moved, plan, its_mask, Transform.of("ct", "check", np.eye(3), -shift), CENTRE)
    assert here is not None and there is not None
    assert there == pytest.approx(here, rel=1e-6, abs=1e-12)


def test_a_turned_plan_turns_the_covariance() -> None:
    """The plan turned by a quarter about the tumour: the covariance is the old one in the new axes."""
    check, plan, mask, T = _scans(40.0)
    here = match_covariance(check, plan, mask, T, CENTRE)
    turn = Rotation.from_rotvec([0.0, 0.0, np.pi / 2]).as_matrix().round()
    affine = plan.affine.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = turn @ (affine[:3, 3] - CENTRE) + CENTRE
    turned = Transform.of("ct", "check", turn, CENTRE - turn @ CENTRE)
    there = match_covariance(check, Volume(plan.voxels, affine), mask, turned, CENTRE)
    assert here is not None and there is not None
    both = np.kron(np.eye(2), turn)
    assert there == pytest.approx(both @ here @ both.T, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("reach_mm", [2.0, 3.0])
def test_the_spread_is_that_of_sums_that_hang_together(reach_mm: float) -> None:
    """Fields of known reach summed over the ball: the variance found over many draws is that foretold, within 40 %.

    The reach is the Gaussian's; fields correlate over 1.4 times that. Blocks far smaller than 30 mm fail at 3 mm.
    """
    rng = np.random.default_rng(7)
    places = np.moveaxis(np.indices((19, 19, 19)), 0, -1).reshape(-1, 3) * 5.0 - 45.0
    inside = np.linalg.norm(places, axis=1) <= 45.0
    sums, foretold = [], []
    for _ in range(60):
        field = gaussian_filter(rng.normal(size=(6, 31, 31, 31)), (0, *[reach_mm / 5.0] * 3))[:, 6:25, 6:25, 6:25]
        scores = field.reshape(6, -1).T[inside]
        sums.append(scores.sum(axis=0))
        spread = _spread(places[inside], scores, np.eye(6))
        assert spread is not None
        foretold.append(np.trace(spread))
    assert np.mean(foretold) == pytest.approx(float(np.sum(np.var(sums, axis=0))), rel=0.4)


def test_too_little_image_foretells_nothing() -> None:
    """A ball that holds only a few blocks gives no covariance."""
    check, plan, mask, T = _scans(12.0)
    assert match_covariance(check, plan, mask, T, CENTRE) is None
