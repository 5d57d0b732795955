"""The compiled inner loops of rigid fits: one set of paired points, bare arrays, faults as numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from registration.rigid import COLLINEAR_MM, MIRROR_FACTOR, MIRROR_MM, STEPS

OK, LINE_FROM, LINE_TO, MIRRORED, NOT_POSITIVE, UNSETTLED = 0, 1, 2, 3, 4, 5


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _turned(m: Any, v: Any, size: int) -> None:
    """Diagonalise symmetric `m` in place by cyclic Jacobi rotations; the columns of `v` are the eigenvectors."""
    for a in range(size):
        for b in range(size):
            v[a, b] = 1.0 if a == b else 0.0
    for _ in range(30):
        off = 0.0
        whole = 0.0
        for a in range(size):
            whole += m[a, a] * m[a, a]
            for b in range(a + 1, size):
                off += m[a, b] * m[a, b]
        if off <= 1e-34 * (whole + off):
            return
        for p in range(size - 1):
            for q in range(p + 1, size):
                if m[p, q] == 0.0:
                    continue
                theta = 0.5 * (m[q, q] - m[p, p]) / m[p, q]
                t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    t = -t
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(size):
                    x, y = m[k, p], m[k, q]
                    m[k, p], m[k, q] = c * x - s * y, s * x + c * y
                for k in range(size):
                    x, y = m[p, k], m[q, k]
                    m[p, k], m[q, k] = c * x - s * y, s * x + c * y
                m[p, q] = 0.0
                m[q, p] = 0.0
                for k in range(size):
                    x, y = v[k, p], v[k, q]
                    v[k, p], v[k, q] = c * x - s * y, s * x + c * y


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def middle_eigenvalue(xx: float, yy: float, zz: float, xy: float, xz: float, yz: float) -> float:
    """Return the middle eigenvalue of a symmetric 3 × 3 in closed form (Smith 1961)."""
    mean = (xx + yy + zz) / 3.0
    a, b, c = xx - mean, yy - mean, zz - mean
    spread = (a * a + b * b + c * c + 2.0 * (xy * xy + xz * xz + yz * yz)) / 6.0
    if spread <= 0.0:
        return mean
    size = math.sqrt(spread)
    half = 0.5 * (a * (b * c - yz * yz) - xy * (xy * c - yz * xz) + xz * (xy * yz - b * xz)) / (spread * size)
    angle = math.acos(min(1.0, max(-1.0, half))) / 3.0
    return mean + 2.0 * size * math.cos(angle - 2.0 * math.pi / 3.0)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def fit_moments(h: Any, rotation: Any) -> tuple[float, float]:
    """Write the rotation that best carries one centred set onto another, from their moments.

    Args:
        h: Sum over the points of (from)(to)ᵀ, 3 × 3, both centred.
        rotation: Where the 3 × 3 rotation goes.

    Returns:
        The sum of (R from)·(to) for this rotation, and the largest for any improper one.

    Reference:
        Horn 1987, JOSA A 4:629, for the 4 × 4; its least eigenvalue is minus what the best reflection reaches.
    """
    n = np.empty((4, 4))
    v = np.empty((4, 4))
    n[0, 0] = h[0, 0] + h[1, 1] + h[2, 2]
    n[1, 1] = h[0, 0] - h[1, 1] - h[2, 2]
    n[2, 2] = -h[0, 0] + h[1, 1] - h[2, 2]
    n[3, 3] = -h[0, 0] - h[1, 1] + h[2, 2]
    n[0, 1] = h[1, 2] - h[2, 1]
    n[0, 2] = h[2, 0] - h[0, 2]
    n[0, 3] = h[0, 1] - h[1, 0]
    n[1, 2] = h[0, 1] + h[1, 0]
    n[1, 3] = h[2, 0] + h[0, 2]
    n[2, 3] = h[1, 2] + h[2, 1]
    for a in range(4):
        for b in range(a):
            n[a, b] = n[b, a]
    _turned(n, v, 4)
    best = 0
    least = 0
    for a in range(1, 4):
        if n[a, a] > n[best, best]:
            best = a
        if n[a, a] < n[least, least]:
            least = a
    w, x, y, z = v[0, best], v[1, best], v[2, best], v[3, best]
    length = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / length, x / length, y / length, z / length
    rotation[0, 0] = w * w + x * x - y * y - z * z
    rotation[1, 1] = w * w - x * x + y * y - z * z
    rotation[2, 2] = w * w - x * x - y * y + z * z
    rotation[0, 1], rotation[1, 0] = 2.0 * (x * y - w * z), 2.0 * (x * y + w * z)
    rotation[0, 2], rotation[2, 0] = 2.0 * (x * z + w * y), 2.0 * (x * z - w * y)
    rotation[1, 2], rotation[2, 1] = 2.0 * (y * z - w * x), 2.0 * (y * z + w * x)
    return n[best, best], -n[least, least]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def closed_form(source: Any, target: Any, rotation: Any, translation: Any) -> int:
    """Write the unweighted fit of one set; return what is wrong with it."""
    count = len(source)
    mean = np.zeros((2, 3))
    for i in range(count):
        for a in range(3):
            mean[0, a] += source[i, a] / count
            mean[1, a] += target[i, a] / count
    h = np.zeros((3, 3))
    own = np.zeros((2, 6))
    for i in range(count):
        x, y, z = source[i, 0] - mean[0, 0], source[i, 1] - mean[0, 1], source[i, 2] - mean[0, 2]
        u, v, w = target[i, 0] - mean[1, 0], target[i, 1] - mean[1, 1], target[i, 2] - mean[1, 2]
        h[0, 0] += x * u
        h[0, 1] += x * v
        h[0, 2] += x * w
        h[1, 0] += y * u
        h[1, 1] += y * v
        h[1, 2] += y * w
        h[2, 0] += z * u
        h[2, 1] += z * v
        h[2, 2] += z * w
        own[0, 0] += x * x
        own[0, 1] += y * y
        own[0, 2] += z * z
        own[0, 3] += x * y
        own[0, 4] += x * z
        own[0, 5] += y * z
        own[1, 0] += u * u
        own[1, 1] += v * v
        own[1, 2] += w * w
        own[1, 3] += u * v
        own[1, 4] += u * w
        own[1, 5] += v * w
    for side in range(2):
        o = own[side]
        if not middle_eigenvalue(o[0], o[1], o[2], o[3], o[4], o[5]) >= COLLINEAR_MM * COLLINEAR_MM * count:
            return LINE_FROM if side == 0 else LINE_TO
    proper, improper = fit_moments(h, rotation)
    for a in range(3):
        translation[a] = mean[1, a]
        for b in range(3):
            translation[a] -= rotation[a, b] * mean[0, b]
    size = own[0, 0] + own[0, 1] + own[0, 2] + own[1, 0] + own[1, 1] + own[1, 2]
    left = max(size - 2.0 * proper, 0.0)
    if left > MIRROR_MM * MIRROR_MM * count and left > MIRROR_FACTOR * MIRROR_FACTOR * (size - 2.0 * improper):
        return MIRRORED
    return OK


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
def most_likely(
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
                return NOT_POSITIVE
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
            return NOT_POSITIVE
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
            return OK
    return UNSETTLED
