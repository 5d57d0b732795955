"""Many noisy registrations at once, for the tests and the benchmark of what is predicted of them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray
from registration.accuracy import motion_jacobian
from registration.rigid import superpose


def layout(rng: np.random.Generator, count: int) -> FloatArray:
    """Draw fiducials as on the front and side of a body: turned, off-centre, 25 mm apart, 20 mm off their line."""
    while True:
        points = rng.uniform(-1.0, 1.0, (count, 3)) * (110.0, 60.0, 90.0)
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(count, 1)]
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] / np.sqrt(count)
        if gaps.min() >= 25.0 and spread >= 20.0:
            turned: FloatArray = points @ Rotation.random(random_state=rng).as_matrix().T + rng.uniform(-300, 300, 3)
            return turned


def target(rng: np.random.Generator, points: FloatArray) -> FloatArray:
    """Draw a target 50 to 200 mm from the fiducials' centroid."""
    way = rng.normal(size=3)
    place: FloatArray = points.mean(axis=0) + rng.uniform(50.0, 200.0) * way / np.linalg.norm(way)
    return place


def spreads(rng: np.random.Generator, count: int) -> FloatArray:
    """Draw covariances, each with axes of its own and standard deviations of 0.05 to 0.5 mm."""
    turns = Rotation.random(count, random_state=rng).as_matrix()
    found: FloatArray = (turns * rng.uniform(0.05, 0.5, (count, 1, 3)) ** 2) @ turns.swapaxes(1, 2)
    return found


def noise(rng: np.random.Generator, covariances: FloatArray, times: int) -> FloatArray:
    """Draw errors (times, n, 3) of the covariances (n, 3, 3)."""
    roots = np.linalg.cholesky(covariances)
    return np.asarray(np.einsum("nij,bnj->bni", roots, rng.standard_normal((times, len(covariances), 3))))


def fit_many(
    source: FloatArray, found: FloatArray, covariances: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Fit rotations (b, 3, 3) and translations (b, 3) to points (b, n, 3): most likely, or unweighted without covariances.

    Four Gauss–Newton steps from the unweighted fit, which is further than rounding.
    """
    rotation, translation = superpose(source, found)
    if covariances is None:
        return rotation, translation
    weights = np.linalg.inv(covariances)
    for _ in range(4):
        mapped = source @ rotation.swapaxes(1, 2) + translation[:, None, :]
        middle = mapped.mean(axis=1)
        jacobian = motion_jacobian((mapped - middle[:, None]).reshape(-1, 3), np.zeros(3)).reshape(*mapped.shape, 6)
        weighted = np.einsum("bnia,nij->bnja", jacobian, weights, optimize=True)
        information = np.einsum("bnja,bnjc->bac", weighted, jacobian, optimize=True)
        right = np.einsum("bnja,bnj->ba", weighted, found - mapped, optimize=True)
        step = np.linalg.solve(information, right[..., None])[..., 0]
        turn = Rotation.from_rotvec(step[:, 3:]).as_matrix()
        rotation = turn @ rotation
        translation = (turn @ (translation - middle)[..., None])[..., 0] + middle + step[:, :3]
    return rotation, translation


def errors_at(rotation: FloatArray, translation: FloatArray, point: FloatArray, true: FloatArray) -> FloatArray:
    """Return where each fit puts `point`, less where it truly goes, (b, 3)."""
    return np.asarray(rotation @ point + translation - true)
