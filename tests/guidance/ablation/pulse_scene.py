"""Fields of pairs without a solver: those of two line ends, in proportion to the voltage, and firings of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.coverage import Coverage
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.treatment import coverage_of


@dataclass(frozen=True)
class Firing:
    """One pair at one position."""

    a: str
    b: str
    position: int
    voltage_v: float
    current_a: float
    field_v_per_cm: NDArray[np.float32]


@dataclass(frozen=True)
class Solved:
    """What a solver returns, as far as the pulse plan looks at it."""

    firings: tuple[Firing, ...]
    coverage: Coverage


def pair_shape(grid: TreatmentGrid, a: ElectrodeLine, b: ElectrodeLine, position: int) -> NDArray[np.float64]:
    """Field per volt [1/cm]: of two cylinders in their plane, falling off beyond the exposures' ends."""
    points = np.argwhere(np.ones(grid.shape, dtype=bool)) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    product, fall = np.ones(len(points)), np.ones(len(points))
    for line in (a, b):
        first, last = line.exposure_ends_mm(position)
        gap = points - 0.5 * (first + last)
        along = gap @ line.axis
        off = np.linalg.norm(gap - along[:, None] * line.axis, axis=1)
        product *= np.maximum(off, line.radius_mm)
        fall *= np.exp(-(np.abs(along / (0.55 * line.exposure_mm)) ** 4))
    apart = float(np.linalg.norm(a.tip_mm - b.tip_mm))
    shape: NDArray[np.float64] = 10.0 * 0.5 * apart / np.arccosh(0.5 * apart / a.radius_mm) / product * np.sqrt(fall)
    return shape.reshape(grid.shape)


def solver(
    grid: TreatmentGrid,
    lines: Sequence[ElectrodeLine],
    *,
    amperes_per_volt: float = 0.005,
    bend: float = 0.0,
    threshold_v_per_cm: float = 500.0,
) -> Callable[[list[tuple[str, str, float]]], Solved]:
    """Return a solver whose calls can be counted; `bend` makes fields fall behind the voltage, as a rising σ may."""
    by_name = {line.id: line for line in lines}
    shapes: dict[tuple[str, str, int], NDArray[np.float64]] = {}

    def solve(pairs: list[tuple[str, str, float]]) -> Solved:
        firings = []
        for a, b, voltage in pairs:
            for p in range(len(by_name[a].pull_back_mm)):
                if (a, b, p) not in shapes:
                    shapes[a, b, p] = pair_shape(grid, by_name[a], by_name[b], p)
                acts = voltage * (1.0 - bend * (voltage / 3000.0))
                field = (shapes[a, b, p] * acts).astype(np.float32)
                firings.append(Firing(a, b, p, voltage, amperes_per_volt * voltage * (1.0 + 0.1 * p), field))
        peak = np.maximum.reduce([f.field_v_per_cm for f in firings])
        return Solved(tuple(firings), coverage_of(grid, peak, threshold_v_per_cm))

    return solve


def counted(solve: Callable[[list[tuple[str, str, float]]], Solved]) -> tuple[Callable[..., Solved], list[Solved]]:
    """Return a solver that remembers what it returned."""
    seen: list[Solved] = []

    def remembering(pairs: list[tuple[str, str, float]]) -> Solved:
        seen.append(solve(pairs))
        return seen[-1]

    return remembering, seen
