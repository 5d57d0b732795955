"""The canvas that phantoms are painted on: labels on a grid, painted over each other in order, jittered by a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray
from registration.images.volume import Volume
from sim.tumour import Blob

Mask = NDArray[np.bool_]


@dataclass
class Canvas:
    """Labels, numbered in the order in which their names were first painted.

    Args:
        grid: Where the voxels lie.
        origin_mm: The middle of the body, frame `ct`: places are told from there.
        rng: Draws every jitter.
        left_out: Names that are not painted; their jitter is drawn all the same, so that the others stay.
    """

    grid: Volume
    origin_mm: FloatArray
    rng: np.random.Generator
    left_out: frozenset[str] = frozenset()
    labels: NDArray[np.uint8] = field(init=False)
    names: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.grid.shape, dtype=np.uint8)

    def at(self, x: float, y: float, z: float, jitter_mm: float = 2.5) -> FloatArray:
        """Return a jittered point, frame `ct` [mm]; x, y, z are from the middle of the body."""
        return np.array([x, y, z]) + self.origin_mm + self.rng.uniform(-jitter_mm, jitter_mm, 3)

    def line(self, *points: tuple[float, float, float]) -> FloatArray:
        """Return a polyline, moved as a whole by a jitter of 1.5 mm, frame `ct` [mm], shape (n, 3)."""
        return np.array(points) + self.origin_mm + self.rng.uniform(-1.5, 1.5, 3)

    def near(self, value: float) -> float:
        """Return a value jittered by 8 %."""
        return value * self.rng.uniform(0.92, 1.08)

    def paint(self, name: str, box: tuple[slice, ...], inside: Mask, spared: tuple[str, ...] = ()) -> None:
        """Give the voxels of `box` that are `inside` the label of `name`, over all but what is `spared`."""
        if name in self.left_out:
            return
        label = self.names.setdefault(name, len(self.names) + 1)
        if spared:
            inside = inside & ~np.isin(self.labels[box], [self.names[s] for s in spared if s in self.names])
        self.labels[box][inside] = label

    def shape(
        self,
        name: str,
        centre_mm: FloatArray,
        reach_mm: FloatArray | float,
        inside: Callable[[FloatArray], Mask],
        spared: tuple[str, ...] = (),
    ) -> None:
        """Paint what `inside` tells of offsets [mm] from `centre_mm`, shape (..., 3), within a box of ± `reach_mm`."""
        box, points = self._box(centre_mm - reach_mm, centre_mm + reach_mm)
        self.paint(name, box, inside(points - centre_mm), spared)

    def ellipsoid(
        self, name: str, centre_mm: FloatArray, semi_mm: tuple[float, float, float], spared: tuple[str, ...] = ()
    ) -> None:
        """Paint an ellipsoid along the axes."""
        semi = np.array(semi_mm)
        self.shape(name, centre_mm, semi, lambda off: ((off / semi) ** 2).sum(axis=-1) <= 1.0, spared)

    def tube(self, name: str, line_mm: FloatArray, radius_mm: float) -> None:
        """Paint all within `radius_mm` of a polyline, shape (n, 3)."""
        box, points = self._box(line_mm.min(axis=0) - radius_mm, line_mm.max(axis=0) + radius_mm)
        nearest = np.full(points.shape[:-1], np.inf)
        for a, b in pairwise(line_mm):
            along = b - a
            t = np.clip(((points - a) @ along) / (along @ along), 0.0, 1.0)
            nearest = np.minimum(nearest, ((points - a - t[..., None] * along) ** 2).sum(axis=-1))
        self.paint(name, box, nearest <= radius_mm**2)

    def blob(self, name: str, centre_mm: FloatArray, blob: Blob) -> None:
        """Paint a blob."""
        self.shape(name, centre_mm, 1.5 * float(blob.semi_axes_mm.max()), blob.inside)

    def _box(self, low_mm: FloatArray, high_mm: FloatArray) -> tuple[tuple[slice, ...], FloatArray]:
        corners = self.grid.indices(np.array([low_mm, high_mm]))
        low = np.clip(np.floor(corners.min(axis=0)), 0, self.grid.shape).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, self.grid.shape).astype(int)
        index = np.stack(
            np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1
        )
        return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), self.grid.points_mm(index)
