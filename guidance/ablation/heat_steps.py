"""One step of the heat equation in time, on cubic cells: a stabilised Runge–Kutta–Chebyshev method.

Second order; what is steady stays exactly so; each stage keeps the heat that it moves. The operator is symmetric in
the norm that heat capacity weighs, so its spectrum is real, and a row sum bounds it: the number of stages follows
from the step, and every step is stable whatever its length and however tissues differ. (Alternating directions, three
sweeps a step, grow without bound at steps of ten seconds where neighbours conduct a hundred times better.)

Reference: B. P. Sommeijer, L. F. Shampine, J. G. Verwer, RKC: an explicit solver for parabolic PDEs, J. Comput. Appl.
Math. 88:315, 1997; numbers of equations below are theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kinematics.arrays import FloatArray

Float32 = NDArray[np.float32]
DAMPING = 2.0 / 13.0
STAGES_MAX = 40
"""Beyond, rounding in single precision adds up: a longer step is taken in parts."""


@dataclass(frozen=True, eq=False)
class Cells:
    """What a step needs of the tissue, by cell or by face.

    Args:
        faces: Conductance between neighbours [W/(m³·K)] along i, j, k: one more along the axis than there are cells,
            the outermost 0.
        warming: 1/ρc [K·m³/J]; 0 where the temperature is held.
        drain: What blood carries away [W/(m³·K)].
        fastest_per_s: Bound of the largest rate at which a difference decays [1/s].
    """

    faces: tuple[Float32, Float32, Float32]
    warming: Float32
    drain: Float32
    fastest_per_s: float

    @classmethod
    def of(cls, warming: Float32, conductivity: Float32, drain: Float32, cell_mm: float) -> Self:
        """Return the cells of a tissue.

        Args:
            warming: 1/ρc [K·m³/J].
            conductivity: k [W/(m·K)]; nothing passes where it is 0.
            drain: [W/(m³·K)].
            cell_mm: Size of the cells.
        """
        fi, fj, fk = (_faces(conductivity, axis, cell_mm) for axis in range(3))
        # Gershgorin: the diagonal, and what stands beside it.
        rows = fi[:-1] + fi[1:] + fj[:, :-1] + fj[:, 1:] + fk[:, :, :-1] + fk[:, :, 1:]
        fastest = float((warming * (np.float32(2.0) * rows + drain)).max())
        return cls((fi, fj, fk), warming, drain, fastest)

    def advance(self, rise: Float32, peak: Float32, power: Float32, step_s: float) -> None:
        """Take one step, and raise the running maximum.

        Args:
            rise: Above blood [K], written.
            peak: Largest rise so far [K], written.
            power: Heat made [W/m³].
            step_s: Length of the step; taken in equal parts when it is very long.
        """
        parts = max(1, math.ceil(step_s * self.fastest_per_s / _reach(STAGES_MAX)))
        part_s = step_s / parts
        weights = _weights(_stages(part_s * self.fastest_per_s))
        room = np.empty((3, *rise.shape), dtype=np.float32)
        for _ in range(parts):
            _advance(rise, peak, room, power, np.float32(part_s), *self.faces, self.warming, self.drain, weights)


def _faces(conductivity: Float32, axis: int, cell_mm: float) -> Float32:
    """Return the harmonic mean of k at the faces along an axis, per cell size squared."""
    low = conductivity[tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))]
    high = conductivity[tuple(slice(1, None) if a == axis else slice(None) for a in range(3))]
    faces = np.zeros(tuple(n + (a == axis) for a, n in enumerate(conductivity.shape)), dtype=np.float32)
    total = low + high
    inner = faces[tuple(slice(1, -1) if a == axis else slice(None) for a in range(3))]
    np.divide(np.float32(2.0) * low * high, total, out=inner, where=total > 0.0)
    faces /= np.float32((1e-3 * cell_mm) ** 2)
    return faces


def _reach(stages: int) -> float:
    """Return the longest stable step, in units of the fastest decay: β of eq. (2.8), taken a little short."""
    return (stages - 1) ** 2 / 1.54 - 1.0


def _stages(reach: float) -> int:
    """Return the number of stages for a step: inverse of `_reach`, two at least."""
    return max(2, 1 + math.ceil(math.sqrt(1.54 * (reach + 1.0))))


def _weights(stages: int) -> FloatArray:
    """Return μ, ν, μ̃, γ̃ of eq. (2.4) for stages 1 … s, shape (s, 4)."""
    w0 = 1.0 + DAMPING / stages**2
    t, dt, ddt = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for _ in range(2, stages + 1):
        ddt.append(2.0 * (2.0 * dt[-1] + w0 * ddt[-1]) - ddt[-2])
        dt.append(2.0 * (t[-1] + w0 * dt[-1]) - dt[-2])
        t.append(2.0 * w0 * t[-1] - t[-2])
    w1 = dt[stages] / ddt[stages]
    b = [ddt[j] / dt[j] ** 2 if j >= 2 else ddt[2] / dt[2] ** 2 for j in range(stages + 1)]
    rows = [(1.0, 0.0, b[1] * w1, 0.0)]
    for j in range(2, stages + 1):
        mu, nu, mu_tilde = 2.0 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], 2.0 * b[j] * w1 / b[j - 1]
        rows.append((mu, nu, mu_tilde, -(1.0 - b[j - 1] * t[j - 1]) * mu_tilde))
    return np.array(rows)


# One thread, loops over whole arrays with the innermost along memory: what lets the compiler use vectors.
@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _moved(line: Any, i: int, j: int, rise: Any, fi: Any, fj: Any, fk: Any, drain: Any) -> None:
    """Set `line` to what conduction and blood bring along k [W/m³]."""
    ni, nj, nk = rise.shape
    below, above, left, right = max(i - 1, 0), min(i + 1, ni - 1), max(j - 1, 0), min(j + 1, nj - 1)
    for k in range(nk):
        here = rise[i, j, k]
        line[k] = (
            fi[i, j, k] * (rise[below, j, k] - here)
            + fi[i + 1, j, k] * (rise[above, j, k] - here)
            + fj[i, j, k] * (rise[i, left, k] - here)
            + fj[i, j + 1, k] * (rise[i, right, k] - here)
            - drain[i, j, k] * here
        )
    for k in range(1, nk):
        line[k] += fk[i, j, k] * (rise[i, j, k - 1] - rise[i, j, k])
    for k in range(nk - 1):
        line[k] += fk[i, j, k + 1] * (rise[i, j, k + 1] - rise[i, j, k])


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _stage(
    out: Any, last: Any, first: Any, row: Any, t: Any, fi: Any, fj: Any, fk: Any, warming: Any, drain: Any
) -> None:
    """Write the change of stage j over that of stage j − 2, which `out` holds: eq. (2.4).

    The equation is linear: the rate at a stage is that at the start, in `first`, and what the change adds to it. So a
    rise that is even everywhere stays so to the last digit.
    """
    ni, nj, nk = out.shape
    mu, nu, rate = np.float32(row[0]), np.float32(row[1]), np.float32(row[2]) * t
    of_first = np.float32(row[2] + row[3])
    line = np.empty(nk, dtype=np.float32)
    for i in range(ni):
        for j in range(nj):
            _moved(line, i, j, last, fi, fj, fk, drain)
            for k in range(nk):
                out[i, j, k] = (
                    mu * last[i, j, k]
                    + nu * out[i, j, k]
                    + rate * warming[i, j, k] * line[k]
                    + of_first * first[i, j, k]
                )


@njit(cache=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def _advance(
    rise: Any,
    peak: Any,
    room: Any,
    power: Any,
    t: Any,
    fi: Any,
    fj: Any,
    fk: Any,
    warming: Any,
    drain: Any,
    weights: Any,
) -> None:
    ni, nj, nk = rise.shape
    first, older, newer = room[0], room[1], room[2]
    line = np.empty(nk, dtype=np.float32)
    for i in range(ni):
        for j in range(nj):
            _moved(line, i, j, rise, fi, fj, fk, drain)
            for k in range(nk):
                first[i, j, k] = t * warming[i, j, k] * (line[k] + power[i, j, k])
                older[i, j, k] = np.float32(0.0)
                newer[i, j, k] = np.float32(weights[0, 2]) * first[i, j, k]
    for stage in range(1, len(weights)):
        _stage(older, newer, first, weights[stage], t, fi, fj, fk, warming, drain)
        older, newer = newer, older
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                rise[i, j, k] += newer[i, j, k]
                peak[i, j, k] = max(peak[i, j, k], rise[i, j, k])
