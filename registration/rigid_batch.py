"""Rigid fits of many small sets of points at once, for Monte Carlo and for searches.

The same answers as `rigid.fit`, by other means: Horn's quaternion instead of a singular value decomposition, in
compiled loops that fit each set on its own, so that the answer does not depend on the number of threads.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import get_num_threads, njit
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.rigid import COLLINEAR_MM, STEPS
from registration.rigid_closed import FITTED, LINE_FROM, LINE_TO, MIRRORED, closed_fit

_NOT_POSITIVE, _UNSETTLED = 4, 5
_FEW = 500
"""Fewer sets than this are not worth a second thread."""


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _cholesky(m: Any, size: int) -> bool:
    """Replace the lower triangle of symmetric `m` by its Cholesky factor; False when not positive definite."""
    for a in range(size):
        for b in range(a + 1):
            left = m[a, b]
            for k in range(b):
                left -= m[a, k] * m[b, k]
            if a == b:
                if not left > 1e-15 * m[a, a]:
                    return False
                m[a, a] = math.sqrt(left)
            else:
                m[a, b] = left / m[b, b]
    return True


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _turn(w: Any, out: Any) -> None:
    """Write the rotation by the rotation vector `w` (Rodrigues)."""
    x, y, z = w[0], w[1], w[2]
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    # Below 1e-4 rad the series are exact to rounding.
    s = math.sin(angle) / angle if angle > 1e-4 else 1.0 - square / 6.0
    c = (1.0 - math.cos(angle)) / square if angle > 1e-4 else 0.5 - square / 24.0
    out[0, 0], out[0, 1], out[0, 2] = 1.0 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y
    out[1, 0], out[1, 1], out[1, 2] = c * x * y + s * z, 1.0 - c * (x * x + z * z), c * y * z - s * x
    out[2, 0], out[2, 1], out[2, 2] = c * x * z - s * y, c * y * z + s * x, 1.0 - c * (x * x + y * y)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _most_likely(
    source: Any, target: Any, covariances: Any, from_covariances: Any, rotation: Any, translation: Any
) -> int:
    """Improve a fit to the most likely one by Gauss–Newton; the mathematics are those of `rigid.most_likely`."""
    count = len(source)
    mapped = np.empty((count, 3))
    turned = np.empty((3, 3))
    half = np.empty((3, 3))
    total = np.empty((3, 3))
    rows = np.empty((3, 7))
    normal = np.empty((6, 6))
    step = np.empty(6)
    pivot = np.empty(3)
    turn = np.empty((3, 3))
    extent = 0.0
    for _ in range(STEPS):
        for a in range(3):
            pivot[a] = 0.0
        for i in range(count):
            for a in range(3):
                mapped[i, a] = translation[a]
                for b in range(3):
                    mapped[i, a] += rotation[a, b] * source[i, b]
                pivot[a] += mapped[i, a] / count
        for a in range(6):
            step[a] = 0.0
            for b in range(6):
                normal[a, b] = 0.0
        extent = 0.0
        for i in range(count):
            for a in range(3):
                for b in range(3):
                    half[a, b] = 0.0
                    for k in range(3):
                        half[a, b] += rotation[a, k] * from_covariances[i, k, b]
            for a in range(3):
                for b in range(3):
                    turned[a, b] = 0.0
                    for k in range(3):
                        turned[a, b] += half[a, k] * rotation[b, k]
                    total[a, b] = covariances[i, a, b] + turned[a, b]
            if not _cholesky(total, 3):
                return _NOT_POSITIVE
            # The last column is the residual; whitened in place by forward substitution, here and below.
            for a in range(3):
                rows[a, 6] = target[i, a] - mapped[i, a]
            for a in range(3):
                for k in range(a):
                    rows[a, 6] -= total[a, k] * rows[k, 6]
                rows[a, 6] /= total[a, a]
            z = rows[2, 6] / total[2, 2]
            y = (rows[1, 6] - total[2, 1] * z) / total[1, 1]
            x = (rows[0, 6] - total[1, 0] * y - total[2, 0] * z) / total[0, 0]
            p = mapped[i, 0] - pivot[0] + turned[0, 0] * x + turned[0, 1] * y + turned[0, 2] * z
            q = mapped[i, 1] - pivot[1] + turned[1, 0] * x + turned[1, 1] * y + turned[1, 2] * z
            r = mapped[i, 2] - pivot[2] + turned[2, 0] * x + turned[2, 1] * y + turned[2, 2] * z
            extent = max(extent, abs(p), abs(q), abs(r))
            for a in range(3):
                for b in range(6):
                    rows[a, b] = 0.0
                rows[a, a] = 1.0
            rows[0, 4], rows[0, 5] = r, -q
            rows[1, 3], rows[1, 5] = -r, p
            rows[2, 3], rows[2, 4] = q, -p
            for a in range(3):
                for b in range(6):
                    for k in range(a):
                        rows[a, b] -= total[a, k] * rows[k, b]
                    rows[a, b] /= total[a, a]
            for a in range(6):
                for k in range(3):
                    step[a] += rows[k, a] * rows[k, 6]
                    for b in range(a + 1):
                        normal[a, b] += rows[k, a] * rows[k, b]
        if not _cholesky(normal, 6):
            return _NOT_POSITIVE
        for a in range(6):
            for k in range(a):
                step[a] -= normal[a, k] * step[k]
            step[a] /= normal[a, a]
        for a in range(5, -1, -1):
            for k in range(a + 1, 6):
                step[a] -= normal[k, a] * step[k]
            step[a] /= normal[a, a]
        _turn(step[3:], turn)
        for a in range(3):
            for b in range(3):
                half[a, b] = 0.0
                for k in range(3):
                    half[a, b] += turn[a, k] * rotation[k, b]
        rotation[:, :] = half
        for a in range(3):
            half[0, a] = translation[a] - pivot[a]
        for a in range(3):
            translation[a] = pivot[a] + step[a]
            for k in range(3):
                translation[a] += turn[a, k] * half[0, k]
        if np.abs(step[:3]).max() + np.abs(step[3:]).max() * extent <= 1e-13 * extent + 1e-12:
            return FITTED
    return _UNSETTLED


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
        faults[n] = closed_fit(source[n], target[n], rotations[n], translations[n])
        if faults[n] == FITTED and len(to_cov) > 0:
            c = to_cov[n if len(to_cov) > 1 else 0]
            d = from_cov[n if len(from_cov) > 1 else 0]
            faults[n] = _most_likely(source[n], target[n], c, d, rotations[n], translations[n])


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
    _NOT_POSITIVE: "a localisation covariance is not positive definite",
    _UNSETTLED: f"the most likely fit did not settle in {STEPS} steps",
}


def _refuse_first(faults: NDArray[np.int64]) -> None:
    wrong = np.flatnonzero(faults)
    if len(wrong):
        first = int(wrong[0])
        raise InvalidInputError(
            f"set {first} of the batch: {_SAID[int(faults[first])]} ({len(wrong)} of {len(faults)} sets are unfit)"
        )
