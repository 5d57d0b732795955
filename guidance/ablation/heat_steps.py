"""One step of the heat equation in time, on cubic cells: the inner loops.

Douglas's scheme: Crank–Nicolson, its matrix split into one factor per axis, so that each step is three sweeps of
tridiagonal systems. With A = A₁ + A₂ + A₃ and θ the rise above blood:

    (1 − ½Δt·A₁)(1 − ½Δt·A₂)(1 − ½Δt·A₃)(θ' − θ) = Δt·(A·θ + q/ρc)

Second order in time, exact in what is steady, stable at any step, and each sweep keeps the heat that it moves.

Reference: J. Douglas, Alternating direction methods for three space variables, Numer. Math. 4:41, 1962.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
ZERO, ONE, HALF, THIRD = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(1.0 / 3.0)


@dataclass(frozen=True, eq=False)
class Cells:
    """What the sweeps need of the tissue, by cell or by face; axes j and k swapped where the name says `turned`.

    Args:
        faces: Conductance between neighbours [W/(m³·K)] along i, j, k: one more along the axis than there are cells,
            the outermost 0.
        faces_turned: That along k.
        warming: 1/ρc [K·m³/J]; 0 where the temperature is held.
        warming_turned: The same.
        drain: What blood carries away [W/(m³·K)].
        drain_turned: The same.
    """

    faces: tuple[Float32, Float32, Float32]
    faces_turned: Float32
    warming: Float32
    warming_turned: Float32
    drain: Float32
    drain_turned: Float32

    @classmethod
    def of(cls, warming: Float32, conductivity: Float32, drain: Float32, cell_mm: float) -> Self:
        """Return the cells of a tissue.

        Args:
            warming: 1/ρc [K·m³/J].
            conductivity: k [W/(m·K)]; nothing passes where it is 0.
            drain: [W/(m³·K)].
            cell_mm: Size of the cells.
        """
        faces = tuple(_faces(conductivity, axis, cell_mm) for axis in range(3))
        return cls(
            faces=(faces[0], faces[1], faces[2]),
            faces_turned=_turned(faces[2]),
            warming=warming,
            warming_turned=_turned(warming),
            drain=drain,
            drain_turned=_turned(drain),
        )

    def advance(self, rise: Float32, peak: Float32, change: Float32, power: Float32, step_s: float) -> None:
        """Take one step, and raise the running maximum.

        Args:
            rise: Above blood [K], written.
            peak: Largest rise so far [K], written.
            change: Room of the same shape.
            power: Heat made [W/m³].
            step_s: Length of the step.
        """
        _advance(
            rise,
            peak,
            change,
            power,
            np.float32(step_s),
            *self.faces,
            self.faces_turned,
            self.warming,
            self.warming_turned,
            self.drain,
            self.drain_turned,
        )


def _faces(conductivity: Float32, axis: int, cell_mm: float) -> Float32:
    """Return the harmonic mean of k at the faces along an axis, per cell size squared."""
    low = conductivity[tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))]
    high = conductivity[tuple(slice(1, None) if a == axis else slice(None) for a in range(3))]
    shape = tuple(n + (a == axis) for a, n in enumerate(conductivity.shape))
    faces = np.zeros(shape, dtype=np.float32)
    total = low + high
    inner = faces[tuple(slice(1, -1) if a == axis else slice(None) for a in range(3))]
    np.divide(2.0 * low * high, total, out=inner, where=total > 0.0)
    faces /= np.float32((1e-3 * cell_mm) ** 2)
    return faces


def _turned(array: Float32) -> Float32:
    return np.ascontiguousarray(array.transpose(0, 2, 1))


# Single-threaded, loops over whole arrays with the innermost along memory: what lets the compiler use vectors.
@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _explicit(
    d: Any, i: int, rise: Any, fi: Any, fj: Any, fk: Any, warming: Any, drain: Any, power: Any, t: Any
) -> None:
    """Set rows 1… of `d` to Δt·(A·θ + q/ρc) in plane i."""
    ni, nj, nk = rise.shape
    below, above = max(i - 1, 0), min(i + 1, ni - 1)
    for j in range(nj):
        left, right = max(j - 1, 0), min(j + 1, nj - 1)
        for k in range(nk):
            here = rise[i, j, k]
            d[j + 1, k] = (
                power[i, j, k]
                - drain[i, j, k] * here
                + fi[i, j, k] * (rise[below, j, k] - here)
                + fi[i + 1, j, k] * (rise[above, j, k] - here)
                + fj[i, j, k] * (rise[i, left, k] - here)
                + fj[i, j + 1, k] * (rise[i, right, k] - here)
            )
        for k in range(1, nk):
            d[j + 1, k] += fk[i, j, k] * (rise[i, j, k - 1] - rise[i, j, k])
        for k in range(nk - 1):
            d[j + 1, k] += fk[i, j, k + 1] * (rise[i, j, k + 1] - rise[i, j, k])
        for k in range(nk):
            d[j + 1, k] *= t * warming[i, j, k]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _sweep(d: Any, c: Any, i: int, faces: Any, warming: Any, drain: Any, half: Any) -> None:
    """Solve (1 − ½Δt·A) x = d along the first axis of `d`, whose row 0 is 0 as is that of `c`; `half` is Δt/2."""
    count, width = d.shape[0] - 1, d.shape[1]
    share = half * THIRD
    for m in range(count):
        for k in range(width):
            low = half * warming[i, m, k] * faces[i, m, k]
            high = half * warming[i, m, k] * faces[i, m + 1, k]
            pivot = ONE / (ONE + low + high + share * warming[i, m, k] * drain[i, m, k] - low * c[m, k])
            d[m + 1, k] = (d[m + 1, k] + low * d[m, k]) * pivot
            c[m + 1, k] = high * pivot
    for m in range(count - 1, 0, -1):
        for k in range(width):
            d[m, k] += c[m, k] * d[m + 1, k]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _sweep_i(d: Any, c: Any, j: int, change: Any, fi: Any, warming: Any, drain: Any, half: Any) -> None:
    """The same along axis i of a slab, from `change`."""
    count, width = d.shape[0] - 1, d.shape[1]
    share = half * THIRD
    for m in range(count):
        for k in range(width):
            low = half * warming[m, j, k] * fi[m, j, k]
            high = half * warming[m, j, k] * fi[m + 1, j, k]
            pivot = ONE / (ONE + low + high + share * warming[m, j, k] * drain[m, j, k] - low * c[m, k])
            d[m + 1, k] = (change[m, j, k] + low * d[m, k]) * pivot
            c[m + 1, k] = high * pivot
    for m in range(count - 1, 0, -1):
        for k in range(width):
            d[m, k] += c[m, k] * d[m + 1, k]


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _advance(
    rise: Any,
    peak: Any,
    change: Any,
    power: Any,
    t: Any,
    fi: Any,
    fj: Any,
    fk: Any,
    fk_turned: Any,
    warming: Any,
    warming_turned: Any,
    drain: Any,
    drain_turned: Any,
) -> None:
    ni, nj, nk = rise.shape
    half = HALF * t
    d, c = np.zeros((nj + 1, nk), dtype=np.float32), np.zeros((nj + 1, nk), dtype=np.float32)
    d_turned, c_turned = np.zeros((nk + 1, nj), dtype=np.float32), np.zeros((nk + 1, nj), dtype=np.float32)
    for i in range(ni):
        _explicit(d, i, rise, fi, fj, fk, warming, drain, power, t)
        _sweep(d, c, i, fj, warming, drain, half)
        for j in range(nj):
            for k in range(nk):
                d_turned[k + 1, j] = d[j + 1, k]
        _sweep(d_turned, c_turned, i, fk_turned, warming_turned, drain_turned, half)
        for j in range(nj):
            for k in range(nk):
                change[i, j, k] = d_turned[k + 1, j]
    d, c = np.zeros((ni + 1, nk), dtype=np.float32), np.zeros((ni + 1, nk), dtype=np.float32)
    for j in range(nj):
        _sweep_i(d, c, j, change, fi, warming, drain, half)
        for i in range(ni):
            for k in range(nk):
                now = rise[i, j, k] + d[i + 1, k]
                rise[i, j, k] = now
                peak[i, j, k] = max(peak[i, j, k], now)
