"""Rigid fits of many small sets of points at once, for Monte Carlo and for searches.

The same answers as `rigid.fit`, by other means: Horn's quaternion instead of a singular value decomposition, in
compiled loops that fit each set on its own, so that the answer does not depend on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import get_num_threads, njit
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.rigid import COLLINEAR_MM, STEPS
from registration.rigid_loops import (
    LINE_FROM,
    LINE_TO,
    MIRRORED,
    NOT_POSITIVE,
    OK,
    UNSETTLED,
    closed_form,
    most_likely,
)

_FEW = 500
"""Fewer sets than this are not worth a second thread."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def _fit_range(
    first: int,
    last: int,
    source: Any,
    target: Any,
    to_cov: Any,
    from_cov: Any,
    rotations: Any,
    translations: Any,
    faults: Any,
) -> None:
    """Fit the sets `first` to `last`. Covariances have as many rows as sets, or one for all, or none."""
    for n in range(first, last):
        faults[n] = closed_form(source[n], target[n], rotations[n], translations[n])
        if faults[n] == OK and len(to_cov) > 0:
            c = to_cov[n if len(to_cov) > 1 else 0]
            d = from_cov[n if len(from_cov) > 1 else 0]
            faults[n] = most_likely(source[n], target[n], c, d, rotations[n], translations[n])


def _plain(array: Any) -> FloatArray:
    """Return `array` as the one kind of array that the loops are compiled for; copied only when it is another."""
    return np.require(array, dtype=np.float64, requirements=["C", "W"])


def _per_point(covariances: Any, shape: tuple[int, int], frame: str) -> FloatArray:
    """Return covariances as (b or 1, n, 3, 3)."""
    if covariances is None:
        return np.zeros((1, shape[1], 3, 3))
    given = np.asarray(covariances, dtype=np.float64)
    if given.shape not in ((shape[1], 3, 3), (*shape, 3, 3)) or not np.isfinite(given).all():
        raise InvalidInputError(
            "one finite 3 × 3 covariance per point is needed", value=given.shape, limit=(*shape, 3, 3), frame=frame
        )
    return _plain(given.reshape(-1, shape[1], 3, 3))


def fit_batch(
    from_mm: Any, to_mm: Any, *, covariances_mm2: Any = None, from_covariances_mm2: Any = None
) -> tuple[FloatArray, FloatArray]:
    """Fit b rigid motions to b paired sets of n points.

    Equal to `rigid.fit` to 1e-9 mm at points within some metres of the origin, and bit for bit the same with any
    number of threads (`numba.set_num_threads`).

    Args:
        from_mm: Shape (b, n, 3), frame `from`.
        to_mm: Shape (b, n, 3), frame `to`, in the same order.
        covariances_mm2: Errors of `to_mm`, in frame `to`, shape (n, 3, 3) for all sets or (b, n, 3, 3). When both
            covariances are None, all points weigh the same.
        from_covariances_mm2: Errors of `from_mm`, in frame `from`, same shapes.

    Returns:
        Rotations (b, 3, 3) and translations [mm] (b, 3) that carry `from` to `to`.

    Raises:
        InvalidInputError: Shapes that do not fit, non-finite numbers, fewer than three points; or one set, named by
            its place, that `rigid.fit` would refuse: coincident, collinear, mirrored, a covariance that is not
            positive definite, or no convergence.
    """
    source, target = _plain(from_mm), _plain(to_mm)
    if source.ndim != 3 or source.shape[2] != 3 or source.shape != target.shape:
        raise InvalidInputError("a batch of paired points is two arrays (b, n, 3)", value=(source.shape, target.shape))
    if source.shape[1] < 3:
        raise InvalidInputError("a rigid fit needs at least three points", value=source.shape[1], limit=3)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise InvalidInputError("a batch of points holds NaN or infinity")
    shape = (source.shape[0], source.shape[1])
    if covariances_mm2 is None and from_covariances_mm2 is None:
        to_cov = from_cov = np.zeros((0, shape[1], 3, 3))
    else:
        to_cov = _per_point(covariances_mm2, shape, "to")
        from_cov = _per_point(from_covariances_mm2, shape, "from")
    rotations, translations = np.empty((shape[0], 3, 3)), np.empty((shape[0], 3))
    faults = np.zeros(shape[0], dtype=np.int64)

    def part(first: int, last: int) -> None:
        _fit_range(first, last, source, target, to_cov, from_cov, rotations, translations, faults)

    # Plain threads around loops that let go of the interpreter: safe to call from any thread, unlike prange.
    edges = np.linspace(0, shape[0], get_num_threads() + 1).astype(int).tolist() if shape[0] > _FEW else [0, shape[0]]
    with ThreadPoolExecutor(len(edges) - 1) as pool:
        for done in [pool.submit(part, a, b) for a, b in pairwise(edges)]:
            done.result()
    _refuse_first(faults)
    return rotations, translations


_SAID = {
    LINE_FROM: f"the points of frame `from` lie within {COLLINEAR_MM:g} mm of one line, or coincide",
    LINE_TO: f"the points of frame `to` lie within {COLLINEAR_MM:g} mm of one line, or coincide",
    MIRRORED: "the points are mirrored: a reflection fits far better than any rotation",
    NOT_POSITIVE: "a localisation covariance is not positive definite",
    UNSETTLED: f"the most likely fit did not settle in {STEPS} steps",
}


def _refuse_first(faults: NDArray[np.int64]) -> None:
    wrong = np.flatnonzero(faults)
    if len(wrong):
        first = int(wrong[0])
        raise InvalidInputError(
            f"set {first} of the batch: {_SAID[int(faults[first])]} ({len(wrong)} of {len(faults)} sets are unfit)"
        )
