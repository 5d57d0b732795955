"""∇·(σ∇v) = −ρ on a grid of cubic cells: conjugate gradients, preconditioned by one multigrid cycle.

Finite volumes, seven points, the harmonic mean of σ between two cells; where a tissue conducts better one way, its
tensor's diagonal acts between cells and the rest by central slopes. Coarse grids have twice the cells' size, their
conductances are added up from the fine ones'. A cycle smooths once down and once up, red and black cells in turn and
in the mirrored order on the way up, which keeps it symmetric. It works in single precision; the residual, which
decides, is kept in double.

The outer boundary is open: what leaves there is what a dipole in the grid's middle would let out, ∂v/∂n = −κ·v with
κ = 2·(n·r)/r², which lets a grid end near the electrodes.

Reference: Trottenberg, Oosterlee, Schüller, Multigrid (2001), 2.8 and 7.8 (red-black cycles as preconditioner).
"""

from __future__ import annotations

import os
from dataclasses import InitVar, dataclass, field

import numpy as np
from numpy.typing import NDArray

# Threads that wait sleep: spinning, which is what they do unless told, doubles the time on a machine that is shared.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from guidance.ablation import multigrid_loops as loops
from kinematics.errors import InvalidInputError
from kinematics.units import M_PER_MM

DIPOLE_FALL = 2.0
"""How fast a dipole's potential falls, as a power of the distance."""
COARSEST = 7
"""Cells along the shortest side below which a grid is not halved further, and is solved directly."""
DIRECT_MAX = 3000
"""Cells of the coarsest grid that are solved directly; more are smoothed."""
SWEEPS = 20

Single = NDArray[np.float32]
Double = NDArray[np.float64]
Three = tuple[Single, Single, Single]


def good_shape(least: tuple[int, int, int], halvings: int = 4) -> tuple[int, int, int]:
    """Return the next larger cell counts that can be halved so often."""
    step = 1 << halvings
    i, j, k = (-(-n // step) * step for n in least)
    return i, j, k


@dataclass(eq=False)
class _Level:
    shape: tuple[int, int, int]
    g: Three
    x: Single
    b: Single
    r: Single

    @classmethod
    def of(cls, shape: tuple[int, int, int]) -> _Level:
        ni, nj, nk = shape
        empty = [np.zeros((ni + 2, nj + 2, nk + 2), dtype=np.float32) for _ in range(6)]
        return cls(shape, (empty[0], empty[1], empty[2]), empty[3], empty[4], empty[5])


@dataclass(frozen=True, eq=False)
class Anisotropic:
    """Tensors of σ by kind, relative to it, in the grid's axes.

    Args:
        kind: Row by cell.
        parts: Diagonal, shape (rows, 3).
        off: xy, xz, yz, shape (rows, 3).
    """

    kind: NDArray[np.uint8]
    parts: Single
    off: Single

    @classmethod
    def none(cls, shape: tuple[int, int, int]) -> Anisotropic:
        """Return one kind for all cells, which conducts alike all ways."""
        kind = np.broadcast_to(np.uint8(0), shape)
        return cls(kind, np.ones((1, 3), dtype=np.float32), np.zeros((1, 3), dtype=np.float32))

    @property
    def crosses(self) -> bool:
        """Whether any tensor has off-diagonal parts."""
        return bool(np.any(self.off))


@dataclass(eq=False)
class Multigrid:
    """The grids of one shape; σ may be set again and again. Arrays that cross its border have a frame of one cell.

    Args:
        shape: Cell counts; best a multiple of 16 (`good_shape`).
        cell_mm: Size of the cells.
        open_end: Whether current leaves through the outer boundary as from a dipole inside; insulated otherwise.
        shapes: Tensors by kind; none when all tissue conducts alike all ways.
    """

    shape: tuple[int, int, int]
    cell_mm: float
    open_end: bool = True
    shapes: InitVar[Anisotropic | None] = None
    _levels: list[_Level] = field(default_factory=list)
    _sigma: Single | None = None
    _flow: Single | None = None
    _factor: Double | None = None
    _shapes: Anisotropic = field(init=False)

    def __post_init__(self, shapes: Anisotropic | None) -> None:
        self._shapes = Anisotropic.none(self.shape) if shapes is None else shapes
        shape = self.shape
        while True:
            self._levels.append(_Level.of(shape))
            if min(shape) < COARSEST or any(n % 2 for n in shape):
                break
            shape = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
        if self._shapes.crosses:
            ni, nj, nk = self.shape
            self._flow = np.zeros((3, ni + 2, nj + 2, nk + 2), dtype=np.float32)
            self._sigma = np.zeros((ni + 2, nj + 2, nk + 2), dtype=np.float32)

    def framed(self) -> Double:
        """Return zeros on the grid with its frame, for a potential or a source."""
        ni, nj, nk = self.shape
        return np.zeros((ni + 2, nj + 2, nk + 2))

    @property
    def conductances(self) -> Three:
        """Conductances [S] between the cells as they were set, framed."""
        return self._levels[0].g

    def conduct(self, sigma_s_per_m: Single) -> None:
        """Set σ by cell.

        Raises:
            InvalidInputError: σ is not positive, not finite, or on another grid.
        """
        if sigma_s_per_m.shape != self.shape:
            raise InvalidInputError("σ is not on the field's grid", value=sigma_s_per_m.shape, limit=self.shape)
        least = float(sigma_s_per_m.min())
        if not (least > 0.0 and float(sigma_s_per_m.max()) < np.inf):  # NaN fails as well
            raise InvalidInputError("σ must be positive and finite everywhere", value=least, limit=0.0, unit="S/m")
        shapes = self._shapes
        loops.conduct(sigma_s_per_m, shapes.kind, shapes.parts, np.float32(M_PER_MM * self.cell_mm), *self.conductances)
        if self._sigma is not None:
            self._sigma[1:-1, 1:-1, 1:-1] = sigma_s_per_m
        if self.open_end:
            self._open(sigma_s_per_m)
        for fine, coarse in zip(self._levels, self._levels[1:], strict=False):
            loops.coarsen(*fine.g, *coarse.g)
        last = self._levels[-1]
        small = int(np.prod(last.shape)) <= DIRECT_MAX
        self._factor = loops.factor(*last.g) if small else None

    def _open(self, sigma: Single) -> None:
        """Set the outer faces' conductances to what a dipole in the middle would let out."""
        cell, shapes = self.cell_mm, self._shapes
        at = [(np.arange(n) - 0.5 * (n - 1)) * cell for n in self.shape]
        for axis, n in enumerate(self.shape):
            one, two = (a for a in range(3) if a != axis)
            half = 0.5 * n * cell
            fall = DIPOLE_FALL * half / (half**2 + at[one][:, None] ** 2 + at[two][None, :] ** 2)
            per_sigma = M_PER_MM * cell**2 * fall / (1.0 + 0.5 * cell * fall)
            for cells, face in ((0, 1), (n - 1, n + 1)):
                where: list[slice | int] = [slice(1, -1)] * 3
                where[axis] = face
                inside: list[slice | int] = [slice(None)] * 3
                inside[axis] = cells
                part = shapes.parts[shapes.kind[tuple(inside)], axis]
                self.conductances[axis][tuple(where)] = sigma[tuple(inside)] * part * per_sigma

    def solve(self, source_a: Double, potential_v: Double, tolerance: float, iterations: int) -> tuple[int, float]:
        """Improve a potential until its residual is a share of the source, or iterations are used up.

        Args:
            source_a: Current that enters in each cell [A], framed.
            potential_v: Where to begin; written. Framed, zeros in the frame.
            tolerance: Residual over source, in the sums of squares' roots.
            iterations: At most.

        Returns:
            Iterations taken, and the residual reached.
        """
        level = self._levels[0]
        partial = np.zeros(source_a.shape[0])
        loops.inner(source_a, source_a, partial)
        norm = float(np.sqrt(partial.sum()))
        residual = np.zeros_like(source_a)
        loops.left_over(potential_v, source_a, *level.g, residual)
        self._cross(potential_v, -1.0, residual)
        level.b[...] = residual
        loops.inner(residual, residual, partial)
        left = float(np.sqrt(partial.sum())) / norm
        if left <= tolerance:
            return 0, left
        self._cycle(0)
        search = level.x.astype(np.float64)
        image = np.zeros_like(source_a)
        loops.inner(residual, level.x, partial)
        energy = float(partial.sum())
        for iteration in range(1, iterations + 1):
            loops.leaving(search, *level.g, image, partial)
            if self._cross(search, 1.0, image):
                loops.inner(search, image, partial)
            step = energy / float(partial.sum())
            loops.advance(potential_v, residual, search, image, step, level.b, partial)
            left = float(np.sqrt(partial.sum())) / norm
            if left <= tolerance or not np.isfinite(left):
                return iteration, left
            self._cycle(0)
            loops.inner(residual, level.x, partial)
            energy, before = float(partial.sum()), energy
            loops.turn(search, level.x, energy / before)
        return iterations, left

    def _cross(self, potential: Double, sign: float, out: Double) -> bool:
        """Add what the tensors' off-diagonal parts let leave each cell; tell whether there are any."""
        if self._flow is None or self._sigma is None:
            return False
        shapes = self._shapes
        loops.across(potential, self._sigma, shapes.kind, shapes.off, M_PER_MM * self.cell_mm, self._flow)
        loops.add_across(self._flow, sign, out)
        return True

    def _cycle(self, number: int) -> None:
        level = self._levels[number]
        level.x.fill(0.0)
        if number == len(self._levels) - 1:
            self._coarsest(level)
            return
        loops.smooth(level.x, level.b, *level.g, 0)
        loops.smooth(level.x, level.b, *level.g, 1)
        loops.left_over(level.x, level.b, *level.g, level.r)
        coarse = self._levels[number + 1]
        loops.to_coarse(level.r, coarse.b)
        self._cycle(number + 1)
        loops.to_fine(coarse.x, level.x)
        loops.smooth(level.x, level.b, *level.g, 1)
        loops.smooth(level.x, level.b, *level.g, 0)

    def _coarsest(self, level: _Level) -> None:
        if self._factor is not None:
            loops.substitute(self._factor, level.b, level.x)
            return
        for first in [0] * SWEEPS + [1] * SWEEPS:
            loops.smooth(level.x, level.b, *level.g, first)
            loops.smooth(level.x, level.b, *level.g, 1 - first)
