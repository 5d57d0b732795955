"""Inner loops of the field: what |E| the potential makes, and what σ makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange


@njit(cache=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _settled(density: float, row: Any) -> float:
    """Return the σ at which a current density stands: σ = ramp(density / σ). Rows: resting, permeabilised, from, to."""
    low, high, begin, end = row[0], row[1], row[2], row[3]
    if high <= low or density <= low * begin:
        return low  # type: ignore[no-any-return]
    if density >= high * end:
        return high  # type: ignore[no-any-return]
    rise = (high - low) / (end - begin)
    base = low - rise * begin
    field = (np.sqrt(base * base + 4.0 * rise * density) - base) / (2.0 * rise)
    return density / field  # type: ignore[no-any-return]


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _alike(here: int, one: int, two: int, three: int, four: int) -> bool:
    return one == here and two == here and three == here and four == here


@njit(cache=True, inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _sharper(before2: float, before: float, after: float, after2: float, cell: float) -> float:
    """Return what a slope over four cells has beyond that over two."""
    return ((after2 - before2) - 2.0 * (after - before)) / (12.0 * cell)


@njit(cache=True, parallel=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def respond(
    potential: Any, gx: Any, gy: Any, gz: Any, cell: float, sigma: Any, kind: Any, parts: Any, oblique: Any,
    table: Any, least: Any, index: Any, near: Any, relax: float, field: Any, settled: Any, partial: Any,
) -> None:  # fmt: skip
    """Write |E| [V/mm] by cell and the σ that it asks for, half of it from the current density that flows.

    The normal current through a cell's two faces is averaged, which is right across a step of σ; away from needles and
    steps the slope is taken over four cells. σ moves towards
    the value at which the present current density would stand: that cannot swing, however steep the ramp.

    Args:
        potential: Framed.
        gx: Conductances, framed, as `gy` and `gz`.
        gy: See `gx`.
        gz: See `gx`.
        cell: Size of the cells [mm].
        sigma: By cell, as the potential was solved with.
        kind: Row of `table` by cell.
        parts: Diagonal of the tensors by kind.
        oblique: Whether a kind's tensor has off-diagonal parts: there, slopes are of the potential itself.
        table: Resting and permeabilised σ [S/m], and the ramp's ends [V/mm], by kind.
        least: σ below which a cell does not fall (what it has been in this train).
        index: Row of `near` by cell, or −1.
        near: What the needles add to the field [V/mm].
        relax: How far σ moves, as a power of the ratio.
        field: Written.
        settled: Written.
        partial: Per plane: the sums of (change of σ · E)² and of (σ · E)², shape (ni, 2).
    """
    ni, nj, nk = sigma.shape
    to_field = 1.0 / (1e-3 * cell * cell)
    for i in prange(ni):
        changed, whole = 0.0, 0.0
        for j in range(nj):
            for k in range(nk):
                a, b, c = i + 1, j + 1, k + 1
                here = potential[a, b, c]
                what = kind[i, j, k]
                now = sigma[i, j, k]
                if oblique[what]:
                    one, two = min(a + 1, ni), max(a - 1, 1)
                    ex = (potential[two, b, c] - potential[one, b, c]) / (cell * (one - two))
                    one, two = min(b + 1, nj), max(b - 1, 1)
                    ey = (potential[a, two, c] - potential[a, one, c]) / (cell * (one - two))
                    one, two = min(c + 1, nk), max(c - 1, 1)
                    ez = (potential[a, b, two] - potential[a, b, one]) / (cell * (one - two))
                else:
                    flow = gx[a, b, c] * (potential[a - 1, b, c] - here) + gx[a + 1, b, c] * (
                        here - potential[a + 1, b, c]
                    )
                    ex = 0.5 * to_field * flow / (now * parts[what, 0])
                    flow = gy[a, b, c] * (potential[a, b - 1, c] - here) + gy[a, b + 1, c] * (
                        here - potential[a, b + 1, c]
                    )
                    ey = 0.5 * to_field * flow / (now * parts[what, 1])
                    flow = gz[a, b, c] * (potential[a, b, c - 1] - here) + gz[a, b, c + 1] * (
                        here - potential[a, b, c + 1]
                    )
                    ez = 0.5 * to_field * flow / (now * parts[what, 2])
                row = index[i, j, k]
                if row < 0:
                    if 1 < i < ni - 2 and _alike(
                        what, kind[i - 2, j, k], kind[i - 1, j, k], kind[i + 1, j, k], kind[i + 2, j, k]
                    ):
                        before, after = potential[a - 1, b, c], potential[a + 1, b, c]
                        ex += _sharper(potential[a - 2, b, c], before, after, potential[a + 2, b, c], cell)
                    if 1 < j < nj - 2 and _alike(
                        what, kind[i, j - 2, k], kind[i, j - 1, k], kind[i, j + 1, k], kind[i, j + 2, k]
                    ):
                        before, after = potential[a, b - 1, c], potential[a, b + 1, c]
                        ey += _sharper(potential[a, b - 2, c], before, after, potential[a, b + 2, c], cell)
                    if 1 < k < nk - 2 and _alike(
                        what, kind[i, j, k - 2], kind[i, j, k - 1], kind[i, j, k + 1], kind[i, j, k + 2]
                    ):
                        before, after = potential[a, b, c - 1], potential[a, b, c + 1]
                        ez += _sharper(potential[a, b, c - 2], before, after, potential[a, b, c + 2], cell)
                else:
                    ex += near[row, 0]
                    ey += near[row, 1]
                    ez += near[row, 2]
                strength = np.sqrt(ex * ex + ey * ey + ez * ez)
                field[i, j, k] = strength
                wanted = max(_settled(now * strength, table[what]), least[i, j, k])
                ratio = wanted / now
                new = now * ratio**relax if ratio != 1.0 else now
                # A relaxed step keeps to what the tissue can be.
                new = min(max(new, max(table[what, 0], least[i, j, k])), max(table[what, 1], least[i, j, k]))
                settled[i, j, k] = new
                flowing = now * strength
                change = (wanted - now) * strength
                changed += change * change
                whole += flowing * flowing
        partial[i, 0] = changed
        partial[i, 1] = whole
