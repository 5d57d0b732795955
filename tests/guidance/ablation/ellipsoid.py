"""The ellipsoid that figures were worked out for beforehand, and electrodes around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid

SEMI_AXES_MM = np.array([12.0, 9.0, 8.0])
MARGIN_MM = 5.0
RADIUS_MM = 0.535
TRIANGLE = [("E1", "E2", 2700.0), ("E2", "E3", 2700.0), ("E1", "E3", 2700.0)]


def grid(cell_mm: float = 1.0, room_mm: float = 35.0) -> TreatmentGrid:
    """A grid around the ellipsoid, which is centred at the origin of frame `ct`, off its cells by a little."""
    shape = 2 * np.ceil((SEMI_AXES_MM + room_mm) / cell_mm).astype(int)
    affine = np.diag([cell_mm, cell_mm, cell_mm, 1.0])
    affine[:3, 3] = -0.5 * (shape - 1) * cell_mm + (0.037, 0.023, 0.031)
    cells = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    points = cells * cell_mm + affine[:3, 3]

    def within(semi_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = ((points / semi_mm) ** 2).sum(axis=-1) <= 1.0
        return inside

    return TreatmentGrid(affine, within(SEMI_AXES_MM), within(SEMI_AXES_MM + MARGIN_MM))


def polygon(sides: int, side_mm: float, turn_rad: float = 0.3) -> NDArray[np.float64]:
    """Corners of a regular polygon around the origin, shape (sides, 2)."""
    turns = turn_rad + 2.0 * np.pi * np.arange(sides) / sides
    return 0.5 * side_mm / np.sin(np.pi / sides) * np.stack([np.cos(turns), np.sin(turns)], axis=-1)


def electrodes(
    places_mm: NDArray[np.float64],
    *,
    exposure_mm: float = 20.0,
    pull_back_mm: tuple[float, ...] = (0.0, 10.0),
    tip_mm: float = 15.0,
    along: int = 0,
) -> list[ElectrodeLine]:
    """Parallel electrodes along one axis of the ellipsoid, at places across it."""
    axis = np.eye(3)[along]
    across = [np.eye(3)[a] for a in range(3) if a != along]
    return [
        ElectrodeLine(
            id=f"E{n + 1}",
            tip_mm=tip_mm * axis + x * across[0] + y * across[1],
            axis=axis,
            exposure_mm=exposure_mm,
            pull_back_mm=pull_back_mm,
            radius_mm=RADIUS_MM,
        )
        for n, (x, y) in enumerate(places_mm)
    ]


def askew(lines: list[ElectrodeLine], seed: int) -> list[ElectrodeLine]:
    """The same electrodes as a hand would place them: tips off by millimetres, axes by degrees."""
    rng = np.random.default_rng(seed)
    found = []
    for line in lines:
        axis = line.axis + rng.normal(0.0, 0.04, 3)
        found.append(
            ElectrodeLine(
                id=line.id,
                tip_mm=line.tip_mm + rng.normal(0.0, 1.2, 3),
                axis=axis / np.linalg.norm(axis),
                exposure_mm=line.exposure_mm,
                pull_back_mm=line.pull_back_mm,
                radius_mm=line.radius_mm,
            )
        )
    return found
