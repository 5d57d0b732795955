"""Two parallel cylinders, meshed to their true surface, in tissue that varies from place to place and with |E|.

Finite volumes on bipolar coordinates: x = c·sinh τ / (cosh τ − cos s), y = c·sin s / (cosh τ − cos s), and z along the
needles. The needles' surfaces are the faces τ = ± τ0, so that nothing of a needle is smaller than a cell; cells grow
by themselves with the distance. In the plane across the needles the map is conformal: a face between two cells
conducts σ·Δs/Δτ per length, whatever their size. The scene is symmetric in y, and half of it is meshed (0 < s < π).

σ(|E|) is met by Picard iteration, under-relaxed in log σ.

Units: mm, V, S/m, A, V/cm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyamg import ruge_stuben_solver
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg, spsolve

Array = NDArray[np.float64]
Tissue = Callable[[Array, Array], Array]
"""σ [S/m] at points [mm], shape (..., 3), where |E| is as given [V/cm]."""

FAR_MM = 250.0
"""The cells that reach to infinity end here."""
INSIDE = 3.0
"""The tissue before a flat end is meshed to exp(−3) of the radius from the pole of the coordinates."""
OUTSIDE_S_PER_M = 1e-300
RELAX = 0.4
"""Where the current is given, as round a wire, a step of 1 overshoots by the law's slope d ln σ / d ln |E|, up to 3."""


def ramp(resting: float, permeabilised: float, low_v_per_cm: float, high_v_per_cm: float, field: Array) -> Array:
    """Return σ that grows along a straight line from one field to the other."""
    part = np.clip((field - low_v_per_cm) / (high_v_per_cm - low_v_per_cm), 0.0, 1.0)
    return np.asarray(resting + (permeabilised - resting) * part)


@dataclass(frozen=True, eq=False)
class Grid:
    """Faces of the cells.

    Args:
        pole_mm: c.
        tau: Faces of the bipolar coordinate, τ; two of them are at ± τ0.
        turn_rad: Faces of s, from 0 to π.
        z_mm: Faces along the needles.
    """

    pole_mm: float
    tau: Array
    turn_rad: Array
    z_mm: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.tau) - 1, len(self.turn_rad) - 1, len(self.z_mm) - 1

    def scale_mm(self, tau: Array, turn_rad: Array) -> Array:
        """Return mm per unit of τ and of s."""
        return np.asarray(self.pole_mm / (np.cosh(tau) - np.cos(turn_rad)))

    def points_mm(self, tau: Array, turn_rad: Array, z_mm: Array) -> Array:
        tau, turn_rad, z_mm = np.broadcast_arrays(tau, turn_rad, z_mm)
        scale = self.scale_mm(tau, turn_rad)
        return np.stack([scale * np.sinh(tau), scale * np.sin(turn_rad), z_mm], axis=-1)

    def middles(self) -> tuple[Array, Array, Array]:
        tau, turn, z = (0.5 * (f[1:] + f[:-1]) for f in (self.tau, self.turn_rad, self.z_mm))
        return tau[:, None, None], turn[None, :, None], z[None, None, :]

    def area_mm2(self) -> Array:
        """Return the cells' areas across the needles, by sums of points, to FAR_MM and no farther."""
        at, weight = np.polynomial.legendre.leggauss(12)
        area = np.zeros(self.shape[:2])
        dt, ds = np.diff(self.tau), np.diff(self.turn_rad)
        for p, wp in zip(0.5 + 0.5 * at, 0.5 * weight, strict=True):
            for q, wq in zip(0.5 + 0.5 * at, 0.5 * weight, strict=True):
                tau, turn = (self.tau[:-1] + p * dt)[:, None], self.turn_rad[:-1] + q * ds
                near = np.hypot(*np.moveaxis(self.points_mm(tau, turn, np.zeros(1)), -1, 0)[:2]) < FAR_MM
                area += wp * wq * dt[:, None] * ds * np.where(near, self.scale_mm(tau, turn) ** 2, 0.0)
        return area


def _grown(first_mm: float, growth: float, end_mm: float) -> Array:
    """Return steps from 0 to `end_mm` that begin with about `first_mm` and grow."""
    count = max(2, math.ceil(math.log(1.0 + end_mm * (growth - 1.0) / first_mm) / math.log(growth)))
    steps = growth ** np.arange(count)
    return np.concatenate([[0.0], np.cumsum(steps) * end_mm / steps.sum()])


@dataclass(frozen=True)
class Fineness:
    """How finely a pair is meshed: cells from a needle to the plane midway, round the half turn, the first along z."""

    tau: int = 12
    turn: int = 16
    first_mm: float = 0.12
    growth: float = 1.35

    def refined(self) -> Fineness:
        """Return one of half the size."""
        return Fineness(2 * self.tau, 2 * self.turn, 0.5 * self.first_mm, math.sqrt(self.growth))


class ResolvedPair:
    """Two needles along z at x = ± spacing / 2, conducting for |z| < exposure / 2, at ± voltage / 2.

    Args:
        spacing_mm: Between the axes.
        radius_mm: Of each.
        exposure_mm: None: endless needles, one layer of cells, currents per mm.
        voltage_v: The needle at positive x is positive.
        tissue: σ by place and field; symmetric in y.
        shaft: True: above the exposure stands an insulated shaft; False: tissue.
        fineness: Of the mesh.
        breaks_mm: Places along z where σ steps: faces of cells are laid there.

    Raises:
        ValueError: The iteration does not come to rest.
    """

    def __init__(
        self,
        spacing_mm: float,
        radius_mm: float,
        exposure_mm: float | None,
        voltage_v: float,
        tissue: Tissue,
        *,
        shaft: bool = False,
        fineness: Fineness | None = None,
        breaks_mm: tuple[float, ...] = (),
    ) -> None:
        fine = fineness or Fineness()
        self.tau0 = math.acosh(0.5 * spacing_mm / radius_mm)
        between = np.linspace(-self.tau0, self.tau0, 2 * fine.tau + 1)
        ends = exposure_mm is not None
        beyond = np.linspace(self.tau0, self.tau0 + INSIDE, max(2, fine.tau // 2) + 1)[1:]
        tau = np.concatenate([-beyond[::-1], between, beyond]) if ends else between
        z = np.array([0.0, 1.0])
        if exposure_mm is not None:
            half = 0.5 * exposure_mm
            marks = sorted({-half, half, *breaks_mm})
            out = _grown(fine.first_mm, fine.growth, 120.0)
            z = np.concatenate([marks[0] - out[::-1], marks[-1] + out])
            for low, high in itertools.pairwise(marks):
                inner = _grown(fine.first_mm, fine.growth, 0.5 * (high - low))
                z = np.concatenate([z, low + inner, high - inner])
            z = np.unique(np.round(z, 9))
        pole = math.sqrt(0.25 * spacing_mm**2 - radius_mm**2)
        self.grid = Grid(pole, tau, np.linspace(0.0, math.pi, fine.turn + 1), z)
        self.voltage_v = voltage_v
        self._tissue = tissue
        middle = self.grid.middles()
        inside = np.broadcast_to(np.abs(middle[0]) > self.tau0, self.grid.shape)
        along = np.broadcast_to(middle[2], self.grid.shape)
        held = inside & (np.abs(along) < 0.5 * exposure_mm) if exposure_mm is not None else inside
        self._held = np.where(held, np.sign(middle[0]), 0.0)
        self._gone = inside & ~held & (along > 0.0) if shaft and exposure_mm is not None else np.zeros_like(held)
        self._ends = ends
        self._area = self.grid.area_mm2()
        self._points = self.grid.points_mm(*middle)
        self._levels: LinearOperator | None = None
        self._guess = np.zeros(self._held.size)
        self.iterations = 0
        self._solve()

    def _solve(self) -> None:
        sigma = self._tissue(self._points, np.zeros(self.grid.shape))
        for self.iterations in range(1, 80):
            potential, flows = self._linear(sigma)
            field = self._field(potential, sigma, flows)
            wanted = self._tissue(self._points, field)
            off = float(np.abs(wanted / sigma - 1.0)[self._held == 0.0].max())
            if off < 5e-4:
                break
            sigma = np.exp((1.0 - RELAX) * np.log(sigma) + RELAX * np.log(wanted))
        else:
            raise ValueError(f"sigma does not come to rest: it still changes by {off:.2g}")
        self.sigma_s_per_m, self._potential, self._strength = sigma, potential, field
        self.current_a = self._current(flows)

    def _linear(self, sigma: Array) -> tuple[Array, list[Array]]:
        """Return the potential of each cell, and the flow through each inner face, along rising indices [A]."""
        shape = self.grid.shape
        size = int(np.prod(shape))
        index = np.arange(size).reshape(shape)
        rows, columns, values = [], [], []
        # The resistances from a cell's middle to its faces; a needle has none, what is no tissue has no end of it.
        resist = self._resistances(sigma)
        faces = []
        for axis, r in enumerate(resist):
            low, high = _sides(axis)
            total = r[low] + r[high]
            g = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0.0)  # 0 within a needle
            faces.append(g)
            a, b, g = index[low].ravel(), index[high].ravel(), g.ravel()
            rows += [a, b, a, b]
            columns += [b, a, a, b]
            values += [-g, -g, g, g]
        plates = {}
        if not self._ends:  # the needles are the ends of the mesh
            for side, cell in ((-1.0, 0), (1.0, -1)):
                plates[side] = 1.0 / resist[0][cell].ravel()
                rows.append(index[cell].ravel())
                columns.append(index[cell].ravel())
                values.append(plates[side])
        matrix = sparse.csr_matrix(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (size, size)
        )
        half = 0.5 * self.voltage_v
        volts = half * self._held.ravel()
        free = np.flatnonzero((self._held.ravel() == 0.0) & ~self._gone.ravel())
        right = -(matrix @ volts)
        for side, g in plates.items():
            right[index[0 if side < 0 else -1].ravel()] += side * half * g
        volts[free] = self._inverse(matrix[free][:, free], right[free], self._guess[free])
        self._guess = volts
        potential = volts.reshape(shape)
        flows = []
        for axis, g in enumerate(faces):
            low, high = _sides(axis)
            flows.append(g * (potential[low] - potential[high]))
        if plates:
            first = (plates[-1.0] * (-half - potential[0].ravel())).reshape(1, *shape[1:])
            last = (plates[1.0] * (potential[-1].ravel() - half)).reshape(1, *shape[1:])
            flows[0] = np.concatenate([first, flows[0], last])
        return potential, flows

    def _inverse(self, matrix: sparse.csr_matrix, right: Array, guess: Array) -> Array:
        """Solve by conjugate gradients; the multigrid that preconditions them is renewed when they grow slow."""
        if matrix.shape[0] < 1000:
            return np.asarray(spsolve(matrix.tocsc(), right))
        if self._levels is None:
            self._levels = ruge_stuben_solver(matrix, max_coarse=200).aspreconditioner()
        count = 0

        def counted(_: Array) -> None:
            nonlocal count
            count += 1

        found, status = cg(matrix, right, x0=guess, rtol=1e-8, maxiter=400, M=self._levels, callback=counted)
        if status != 0:
            raise ValueError("the linear system is not solved")
        if count > 25:
            self._levels = None
        return np.asarray(found)

    def _resistances(self, sigma: Array) -> list[Array]:
        """Return the resistance from each cell's middle to its faces along each axis [Ω]."""
        dt, ds = np.diff(self.grid.tau)[:, None, None], np.diff(self.grid.turn_rad)[None, :, None]
        dz = np.diff(self.grid.z_mm)[None, None, :]
        conducts = 1e-3 * np.where(self._gone, OUTSIDE_S_PER_M, sigma)
        found = [0.5 * dt / (ds * dz * conducts), 0.5 * ds / (dt * dz * conducts)]
        found.append(0.5 * dz / (np.maximum(self._area, 1e-12)[:, :, None] * conducts))
        return [np.where(self._held != 0.0, 0.0, r) for r in found]

    def _field(self, potential: Array, sigma: Array, flows: list[Array]) -> Array:
        """Return |E| at the cells' middles [V/cm], from the flows through both faces along each axis."""
        grid = self.grid
        scale = grid.scale_mm(*grid.middles()[:2])
        sizes = [np.diff(f) for f in (grid.tau, grid.turn_rad, grid.z_mm)]
        total = np.zeros(grid.shape)
        for axis, r in enumerate(self._resistances(sigma)):
            flow = flows[axis]
            if flow.shape[axis] < grid.shape[axis]:  # nothing flows through the outer faces
                flow = np.pad(flow, [(1, 1) if a == axis else (0, 0) for a in range(3)])
            low, high = _sides(axis)
            fall = r * (flow[low] + flow[high])
            size = sizes[axis].reshape([-1 if a == axis else 1 for a in range(3)])
            total += (fall / (size if axis == 2 else size * scale)) ** 2
        return np.where((self._held != 0.0) | self._gone, 0.0, 10.0 * np.sqrt(total))

    def _current(self, flows: list[Array]) -> float:
        """Return what leaves the positive needle [A], or [A/mm]; the half that is meshed counts twice."""
        total = 0.0
        for axis, flow in enumerate(flows):
            if flow.shape[axis] > self.grid.shape[axis]:
                total += float(-flow[-1].sum())
                continue
            low, high = _sides(axis)
            total += float(flow[(self._held[low] > 0.0) & (self._held[high] <= 0.0)].sum())
            total -= float(flow[(self._held[high] > 0.0) & (self._held[low] <= 0.0)].sum())
        return 2.0 * total

    def field_v_per_cm(self, points_mm: Array) -> Array:
        """Return |E| [V/cm] at points in the tissue between and round the needles (not before their ends)."""
        from scipy.interpolate import RegularGridInterpolator

        grid = self.grid
        points = np.asarray(points_mm, dtype=np.float64)
        x, y = points[..., 0], np.abs(points[..., 1])
        c = grid.pole_mm
        tau = 0.5 * np.log(((x + c) ** 2 + y**2) / ((x - c) ** 2 + y**2))
        turn = np.arctan2(2.0 * c * y, x**2 + y**2 - c**2)
        tau_at, turn_at, z_at = (m.ravel() for m in grid.middles())
        tissue = np.abs(tau_at) < self.tau0
        # |E| times the map's scale varies little across; beyond both ends of the half turn it repeats.
        smooth = (self._strength * grid.scale_mm(*grid.middles()[:2]))[tissue]
        smooth = np.concatenate([smooth[:, :1], smooth, smooth[:, -1:]], axis=1)
        turns = np.concatenate([[-turn_at[0]], turn_at, [2.0 * math.pi - turn_at[-1]]])
        if len(z_at) == 1:
            smooth, z_at = np.repeat(smooth, 2, axis=2), grid.z_mm
        look = RegularGridInterpolator((tau_at[tissue], turns, z_at), smooth, bounds_error=False, fill_value=None)
        found: Array = look(np.stack([tau, turn, points[..., 2]], axis=-1)) / grid.scale_mm(tau, turn)
        return found


def _sides(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the cells before and after each inner face along an axis."""
    low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    return low, high
