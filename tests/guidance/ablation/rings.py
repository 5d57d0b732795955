"""A bipolar needle solved on rings round its axis: finite volumes with the true cylinders, and no code of the solver's.

The needle is what it is: two conductors of its radius at ± U/2, insulation between them and behind, tissue of one σ
outside and beyond the flat tip, no current through the outer end. Cells are finest at the ends of the conductors, where
the current crowds; the currents of three finenesses are extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve

TISSUE, INSULATION, DISTAL, PROXIMAL = range(4)
FAR_MM = 120.0

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rings:
    """The solution: ring radii and heights above the tip (towards the skin) [mm], |E| [V/cm], current [A]."""

    radius_mm: Array
    height_mm: Array
    field_v_per_cm: Array
    current_a: float

    def at(self, radius_mm: Array, height_mm: Array) -> Array:
        """Return |E| [V/cm] at places outside the needle, one fineness."""
        found = RegularGridInterpolator((self.radius_mm, self.height_mm), self.field_v_per_cm)
        return np.asarray(found(np.stack([radius_mm, height_mm], axis=-1)))


def solve(
    *,
    radius_mm: float = 0.825,
    conductor_mm: float = 7.0,
    gap_mm: float = 8.0,
    voltage_v: float = 2700.0,
    sigma_s_per_m: float = 0.2,
) -> Rings:
    """Return the field of the finest rings, with the current extrapolated from three finenesses."""
    found = [_solved(radius_mm, conductor_mm, gap_mm, voltage_v, sigma_s_per_m, fine) for fine in (0.1, 0.05, 0.025)]
    a, b, c = (f.current_a for f in found)
    return Rings(found[2].radius_mm, found[2].height_mm, found[2].field_v_per_cm, c + (c - b) ** 2 / (b - a - c + b))


def _away(far_mm: float, fine_mm: float, growth: float) -> Array:
    """Return distances from 0 to past `far_mm`, in growing steps."""
    found, step = [0.0], fine_mm
    while found[-1] < far_mm:
        found.append(found[-1] + step)
        step *= growth
    return np.array(found)


def _between(low: float, high: float, fine_mm: float) -> Array:
    """Return edges from one end of a stretch to the other, fine at both ends."""
    half = 0.5 * (high - low)
    steps = _away(half, fine_mm, 1.12)
    steps = steps / steps[-1] * half
    return np.concatenate([low + steps, (high - steps)[::-1]])


def _solved(radius: float, conductor: float, gap: float, voltage: float, sigma: float, fine: float) -> Rings:
    stops = np.cumsum([0.0, conductor, gap, conductor])
    heights = [-_away(FAR_MM, fine, 1.12), stops[-1] + _away(FAR_MM, fine, 1.12)]
    heights += [_between(a, b, fine) for a, b in pairwise(stops)]
    z = np.unique(np.round(np.concatenate(heights), 9))
    inner = np.linspace(0.0, radius, round(radius / fine) + 1)
    r = np.unique(np.round(np.concatenate([inner, radius + _away(FAR_MM, fine, 1.08)]), 9))
    rc, zc, dr, dz = 0.5 * (r[1:] + r[:-1]), 0.5 * (z[1:] + z[:-1]), np.diff(r), np.diff(z)
    along = np.select(
        [zc < 0.0, zc < stops[1], zc < stops[2], zc < stops[3]], [TISSUE, DISTAL, INSULATION, PROXIMAL], INSULATION
    )
    kind = np.where((rc < radius)[:, None], along, TISSUE)
    number = np.full(kind.shape, -1)
    tissue = kind == TISSUE
    number[tissue] = np.arange(tissue.sum())
    volts = np.array([0.0, 0.0, 0.5 * voltage, -0.5 * voltage])
    half = (np.broadcast_to(0.5 * dr[:, None], kind.shape), np.broadcast_to(0.5 * dz, kind.shape))
    area = (
        2.0 * np.pi * r[1:-1, None] * dz,
        np.broadcast_to(np.pi * (r[1:, None] ** 2 - r[:-1, None] ** 2), (len(rc), len(dz) - 1)),
    )
    # In a conductor the potential is known up to its surface, so its half of the way costs nothing.
    reach = tuple(np.where(kind >= DISTAL, 0.0, h) for h in half)
    rows, columns, values = [], [], []
    right, diagonal = np.zeros(tissue.sum()), np.zeros(tissue.sum())
    faces = []
    for axis in range(2):
        low, high = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        way = np.maximum(reach[axis][low] + reach[axis][high], 1e-12)
        leads = sigma * 1e-3 * area[axis] / way
        both = (kind[low] == TISSUE) & (kind[high] == TISSUE)
        i, j, g = number[low][both], number[high][both], leads[both]
        rows += [i, j]
        columns += [j, i]
        values += [-g, -g]
        np.add.at(diagonal, i, g)
        np.add.at(diagonal, j, g)
        for here, there in ((low, high), (high, low)):
            wet = (kind[here] == TISSUE) & (kind[there] >= DISTAL)
            np.add.at(diagonal, number[here][wet], leads[wet])
            np.add.at(right, number[here][wet], leads[wet] * volts[kind[there][wet]])
        faces.append((low, high, way, leads))
    every = np.arange(len(diagonal))
    matrix = csc_matrix(
        (np.concatenate([*values, diagonal]), (np.concatenate([*rows, every]), np.concatenate([*columns, every])))
    )
    potential = volts[kind]
    potential[tissue] = spsolve(matrix, right)
    current, slopes = 0.0, []
    for axis, (low, high, way, leads) in enumerate(faces):
        step = np.where((kind[low] == INSULATION) | (kind[high] == INSULATION), 0.0, potential[high] - potential[low])
        current += float((leads * step)[(kind[low] == TISSUE) & (kind[high] == DISTAL)].sum())
        current -= float((leads * step)[(kind[low] == DISTAL) & (kind[high] == TISSUE)].sum())
        slope = np.pad(step / way, [(1, 1), (0, 0)] if axis == 0 else [(0, 0), (1, 1)])
        slopes.append(0.5 * (slope[1:] + slope[:-1]) if axis == 0 else 0.5 * (slope[:, 1:] + slope[:, :-1]))
    field = np.where(tissue, 10.0 * np.hypot(*slopes), 0.0)
    return Rings(rc, zc, field, current)
