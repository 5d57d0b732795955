"""Inner loops of the multigrid: conductances between cells, smoothing, and the way between two grids.

Every array has one cell more on each side than the grid (a frame of zeros), so that no loop asks where it is. What
lies beyond the grid is at 0 V: the outer faces' conductances say how much flows there, and 0 insulates.
`gx[i, j, k]` is the conductance [S] between cells i − 1 and i along the first axis, `gy` and `gz` alike.

Loops run over planes in parallel; sums are taken plane by plane, so that no figure depends on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange


@njit(cache=True, parallel=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def conduct(sigma: Any, kind: Any, parts: Any, scale: float, gx: Any, gy: Any, gz: Any) -> None:
    """Write the conductances between the cells: the harmonic mean of σ, times the size of a cell.

    Args:
        sigma: By cell, without frame, shape (ni, nj, nk).
        kind: Row of `parts` by cell.
        parts: What of σ acts along each axis, by kind, shape (rows, 3): 1 where the tissue conducts alike all ways.
        scale: Size of a cell [m], so that conductances come out in S.
        gx: Written between cells; the outer faces are left as they are.
        gy: See `gx`.
        gz: See `gx`.
    """
    ni, nj, nk = sigma.shape
    for i in prange(ni):
        for j in range(nj):
            for k in range(nk):
                here, row = sigma[i, j, k], parts[kind[i, j, k]]
                if i > 0:
                    u, v = here * row[0], sigma[i - 1, j, k] * parts[kind[i - 1, j, k], 0]
                    gx[i + 1, j + 1, k + 1] = 2.0 * scale * u * v / (u + v)
                if j > 0:
                    u, v = here * row[1], sigma[i, j - 1, k] * parts[kind[i, j - 1, k], 1]
                    gy[i + 1, j + 1, k + 1] = 2.0 * scale * u * v / (u + v)
                if k > 0:
                    u, v = here * row[2], sigma[i, j, k - 1] * parts[kind[i, j, k - 1], 2]
                    gz[i + 1, j + 1, k + 1] = 2.0 * scale * u * v / (u + v)


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def coarsen(gx: Any, gy: Any, gz: Any, cx: Any, cy: Any, cz: Any) -> None:
    """Write the conductances of the grid of twice the cells: four faces side by side, twice as far apart.

    An outer face conducts to what lies beyond by its area alone, so its four are added up undivided.
    """
    ni, nj, nk = cx.shape[0] - 2, cx.shape[1] - 2, cx.shape[2] - 2
    for i in prange(1, ni + 2):
        for j in range(1, nj + 2):
            for k in range(1, nk + 2):
                a, b, c = 2 * i - 1, 2 * j - 1, 2 * k - 1
                if j <= nj and k <= nk:
                    total = gx[a, b, c] + gx[a, b + 1, c] + gx[a, b, c + 1] + gx[a, b + 1, c + 1]
                    cx[i, j, k] = total if i in (1, ni + 1) else 0.5 * total
                if i <= ni and k <= nk:
                    total = gy[a, b, c] + gy[a + 1, b, c] + gy[a, b, c + 1] + gy[a + 1, b, c + 1]
                    cy[i, j, k] = total if j in (1, nj + 1) else 0.5 * total
                if i <= ni and j <= nj:
                    total = gz[a, b, c] + gz[a + 1, b, c] + gz[a, b + 1, c] + gz[a + 1, b + 1, c]
                    cz[i, j, k] = total if k in (1, nk + 1) else 0.5 * total


@njit(cache=True, parallel=True, fastmath=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def smooth(x: Any, b: Any, gx: Any, gy: Any, gz: Any, colour: int) -> None:
    """Set the cells of one colour of a chequerboard to what their neighbours ask for."""
    for i in prange(1, x.shape[0] - 1):
        for j in range(1, x.shape[1] - 1):
            first = 1 + (i + j + 1 + colour) % 2
            for k in range(first, x.shape[2] - 1, 2):
                w, e = gx[i, j, k], gx[i + 1, j, k]
                s, n = gy[i, j, k], gy[i, j + 1, k]
                d, u = gz[i, j, k], gz[i, j, k + 1]
                flow = (
                    b[i, j, k]
                    + w * x[i - 1, j, k]
                    + e * x[i + 1, j, k]
                    + s * x[i, j - 1, k]
                    + n * x[i, j + 1, k]
                    + d * x[i, j, k - 1]
                    + u * x[i, j, k + 1]
                )
                x[i, j, k] = flow / (w + e + s + n + d + u)


@njit(cache=True, parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
def leaving(x: Any, gx: Any, gy: Any, gz: Any, out: Any, partial: Any) -> None:
    """Write what leaves each cell [A], and per plane the sum of x · out."""
    for i in prange(1, x.shape[0] - 1):
        total = 0.0
        for j in range(1, x.shape[1] - 1):
            for k in range(1, x.shape[2] - 1):
                here = x[i, j, k]
                flow = (
                    gx[i, j, k] * (here - x[i - 1, j, k])
                    + gx[i + 1, j, k] * (here - x[i + 1, j, k])
                    + gy[i, j, k] * (here - x[i, j - 1, k])
                    + gy[i, j + 1, k] * (here - x[i, j + 1, k])
                    + gz[i, j, k] * (here - x[i, j, k - 1])
                    + gz[i, j, k + 1] * (here - x[i, j, k + 1])
                )
                out[i, j, k] = flow
                total += here * flow
        partial[i] = total


@njit(cache=True, parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
def left_over(x: Any, b: Any, gx: Any, gy: Any, gz: Any, out: Any) -> None:
    """Write b less what leaves each cell."""
    for i in prange(1, x.shape[0] - 1):
        for j in range(1, x.shape[1] - 1):
            for k in range(1, x.shape[2] - 1):
                here = x[i, j, k]
                out[i, j, k] = b[i, j, k] - (
                    gx[i, j, k] * (here - x[i - 1, j, k])
                    + gx[i + 1, j, k] * (here - x[i + 1, j, k])
                    + gy[i, j, k] * (here - x[i, j - 1, k])
                    + gy[i, j + 1, k] * (here - x[i, j + 1, k])
                    + gz[i, j, k] * (here - x[i, j, k - 1])
                    + gz[i, j, k + 1] * (here - x[i, j, k + 1])
                )


@njit(cache=True, parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
def to_coarse(fine: Any, coarse: Any) -> None:
    """Write the currents of the coarse cells: each fine cell's, shared as `to_fine` weighs (its transpose)."""
    ni, nj, nk = coarse.shape[0] - 2, coarse.shape[1] - 2, coarse.shape[2] - 2
    for i in prange(1, ni + 1):
        wi = np.array([0.25, 0.75, 0.75, 0.25], dtype=np.float32)
        wj, wk = wi.copy(), wi.copy()
        wi[1] = 1.0 if i == 1 else 0.75
        wi[2] = 1.0 if i == ni else 0.75
        for j in range(1, nj + 1):
            wj[1] = 1.0 if j == 1 else 0.75
            wj[2] = 1.0 if j == nj else 0.75
            for k in range(1, nk + 1):
                wk[1] = 1.0 if k == 1 else 0.75
                wk[2] = 1.0 if k == nk else 0.75
                total = np.float32(0.0)
                for a in range(4):
                    for b in range(4):
                        row = np.float32(0.0)
                        for c in range(4):
                            row += wk[c] * fine[2 * i - 2 + a, 2 * j - 2 + b, 2 * k - 2 + c]
                        total += wi[a] * wj[b] * row
                coarse[i, j, k] = total


@njit(cache=True, parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
def to_fine(coarse: Any, fine: Any) -> None:
    """Add the coarse grid's potential to the fine one's, linearly between centres, evenly beyond the outermost."""
    ni, nj, nk = coarse.shape[0] - 2, coarse.shape[1] - 2, coarse.shape[2] - 2
    near, far = np.float32(0.75), np.float32(0.25)
    for i in prange(1, 2 * ni + 1):
        a = (i + 1) // 2
        a2 = min(max(a - 1 + 2 * ((i + 1) % 2), 1), ni)
        for j in range(1, 2 * nj + 1):
            b = (j + 1) // 2
            b2 = min(max(b - 1 + 2 * ((j + 1) % 2), 1), nj)
            for c in range(1, nk + 1):
                here = near * (near * coarse[a, b, c] + far * coarse[a, b2, c]) + far * (
                    near * coarse[a2, b, c] + far * coarse[a2, b2, c]
                )
                c1, c2 = max(c - 1, 1), min(c + 1, nk)
                before = near * (near * coarse[a, b, c1] + far * coarse[a, b2, c1]) + far * (
                    near * coarse[a2, b, c1] + far * coarse[a2, b2, c1]
                )
                after = near * (near * coarse[a, b, c2] + far * coarse[a, b2, c2]) + far * (
                    near * coarse[a2, b, c2] + far * coarse[a2, b2, c2]
                )
                fine[i, j, 2 * c - 1] += near * here + far * before
                fine[i, j, 2 * c] += near * here + far * after


@njit(cache=True, parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
def advance(x: Any, r: Any, p: Any, q: Any, step: float, single: Any, partial: Any) -> None:
    """Take a step of conjugate gradients: x += step·p, r −= step·q, r in single precision too; per plane, sum r²."""
    for i in prange(1, x.shape[0] - 1):
        total = 0.0
        for j in range(1, x.shape[1] - 1):
            for k in range(1, x.shape[2] - 1):
                x[i, j, k] += step * p[i, j, k]
                left = r[i, j, k] - step * q[i, j, k]
                r[i, j, k] = left
                single[i, j, k] = left
                total += left * left
        partial[i] = total


@njit(cache=True, parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
def inner(a: Any, b: Any, partial: Any) -> None:
    """Write per plane the sum of a · b."""
    for i in prange(1, a.shape[0] - 1):
        total = 0.0
        for j in range(1, a.shape[1] - 1):
            for k in range(1, a.shape[2] - 1):
                total += a[i, j, k] * b[i, j, k]
        partial[i] = total


@njit(cache=True, parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
def turn(p: Any, z: Any, share: float) -> None:
    """Write the next direction of search: z + share·p."""
    for i in prange(1, p.shape[0] - 1):
        for j in range(1, p.shape[1] - 1):
            for k in range(1, p.shape[2] - 1):
                p[i, j, k] = z[i, j, k] + share * p[i, j, k]


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def across(x: Any, sigma: Any, kind: Any, off: Any, scale: float, flow: Any) -> None:
    """Write what the tensor's off-diagonal parts drive through each cell along each axis [A].

    Slopes are central differences, one-sided at the grid's ends (where the frame is no neighbour).

    Args:
        x: Potential, framed.
        sigma: By cell, framed.
        kind: By cell, without frame.
        off: By kind, shape (rows, 3): xy, xz, yz, relative to σ.
        scale: Size of a cell [m].
        flow: Written, framed, shape (3, ...); its frame stays 0.
    """
    ni, nj, nk = kind.shape
    for i in prange(1, ni + 1):
        for j in range(1, nj + 1):
            for k in range(1, nk + 1):
                row = off[kind[i - 1, j - 1, k - 1]]
                if row[0] == 0.0 and row[1] == 0.0 and row[2] == 0.0:
                    flow[0, i, j, k] = flow[1, i, j, k] = flow[2, i, j, k] = 0.0
                    continue
                here = scale * sigma[i, j, k]
                dx = 0.5 * (x[min(i + 1, ni), j, k] - x[max(i - 1, 1), j, k])
                dy = 0.5 * (x[i, min(j + 1, nj), k] - x[i, max(j - 1, 1), k])
                dz = 0.5 * (x[i, j, min(k + 1, nk)] - x[i, j, max(k - 1, 1)])
                flow[0, i, j, k] = here * (row[0] * dy + row[1] * dz)
                flow[1, i, j, k] = here * (row[0] * dx + row[2] * dz)
                flow[2, i, j, k] = here * (row[1] * dx + row[2] * dy)


@njit(cache=True, parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
def add_across(flow: Any, sign: float, out: Any) -> None:
    """Add to `out`, times `sign`, what leaves each cell by the flows of `across`: the transpose of its slopes."""
    ni, nj, nk = out.shape[0] - 2, out.shape[1] - 2, out.shape[2] - 2
    for i in prange(1, ni + 1):
        for j in range(1, nj + 1):
            for k in range(1, nk + 1):
                total = flow[0, i - 1, j, k] - flow[0, i + 1, j, k]
                total += flow[1, i, j - 1, k] - flow[1, i, j + 1, k]
                total += flow[2, i, j, k - 1] - flow[2, i, j, k + 1]
                if i == 1:
                    total -= flow[0, 1, j, k]
                if i == ni:
                    total += flow[0, ni, j, k]
                if j == 1:
                    total -= flow[1, i, 1, k]
                if j == nj:
                    total += flow[1, i, nj, k]
                if k == 1:
                    total -= flow[2, i, j, 1]
                if k == nk:
                    total += flow[2, i, j, nk]
                out[i, j, k] += 0.5 * sign * total


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def factor(gx: Any, gy: Any, gz: Any) -> Any:
    """Return the Cholesky factor of the operator on a small grid, by rows of its band, shape (cells, band + 1).

    An insulated grid has no unique potential: a trace of a leak in every cell gives it one.
    """
    ni, nj, nk = gx.shape[0] - 2, gx.shape[1] - 2, gx.shape[2] - 2
    band = nj * nk
    count = ni * band
    low = np.zeros((count, band + 1))  # low[r, band] is the diagonal, low[r, band - d] stands d columns before it
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                r = (i * nj + j) * nk + k
                a, b, c = i + 1, j + 1, k + 1
                total = np.float64(gx[a, b, c]) + gx[a + 1, b, c] + gy[a, b, c] + gy[a, b + 1, c]
                low[r, band] = (total + gz[a, b, c] + gz[a, b, c + 1]) * (1.0 + 1e-7)
                if i > 0:
                    low[r, 0] -= gx[a, b, c]
                if j > 0:
                    low[r, band - nk] -= gy[a, b, c]
                if k > 0:
                    low[r, band - 1] -= gz[a, b, c]
    for r in range(count):
        for c in range(max(0, r - band), r + 1):
            total = low[r, band - r + c]
            for m in range(max(0, r - band), c):
                total -= low[r, band - r + m] * low[c, band - c + m]
            low[r, band - r + c] = math.sqrt(total) if c == r else total / low[c, band]
    return low


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def substitute(low: Any, b: Any, x: Any) -> None:
    """Write the potential of a source on a small grid, both framed, from the factor of its operator."""
    ni, nj, nk = b.shape[0] - 2, b.shape[1] - 2, b.shape[2] - 2
    count, band = low.shape[0], low.shape[1] - 1
    y = b[1:-1, 1:-1, 1:-1].astype(np.float64).reshape(-1)
    for r in range(count):
        for m in range(max(0, r - band), r):
            y[r] -= low[r, band - r + m] * y[m]
        y[r] /= low[r, band]
    for r in range(count - 1, -1, -1):
        y[r] /= low[r, band]
        for m in range(max(0, r - band), r):
            y[m] -= low[r, band - r + m] * y[r]
    x[1:-1, 1:-1, 1:-1] = y.reshape((ni, nj, nk)).astype(np.float32)
