"""What an array ablates, as intervals along its axis over every cell of the lateral grid: the search's own estimate.

The needles of an array are parallel and end in one plane, so in uniform tissue its lesion, seen along the axis, depends
on the array alone and not on where it stands. It is taken as the union of its pairs' lesions, each fired alone; the
idle needles between, which float, are left out. `Scorer.coverage` counts them, and the voxel field decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.ablation.electrode import ElectrodeLine, conducting, conductor_ids
from guidance.ablation.surrogate import TargetPoints
from guidance.planning.combining.arrays import SIDE_MAX_MM
from guidance.planning.combining.family import Family
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, Device, ElectrodeDevice
from kinematics.arrays import FloatArray

BESIDE_MM = 14
"""Lesions end nearer to a needle than this."""
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LesionColumns:
    """Cells over which each member of a family ablates, and where along the axis.

    Args:
        cell_at: Number of the cell at each step of the lateral grid from the member's centre, -1 where nothing is
            ablated; shape (members, s, s).
        spans_mm: Ends of the ablated intervals, back from the tip, ascending; by exposure, cell, interval (two for a
            bipolar needle, which has a waist); an empty one begins and ends at 0. Shape (exposures, cells, k, 2).
    """

    cell_at: NDArray[np.int32]
    spans_mm: Float32


def lesion_columns(
    family: Family, exposures_mm: tuple[float, ...], device: Device, protocol: Protocol
) -> LesionColumns:
    """Return the lesions of every member for every exposure, one position each.

    Args:
        family: Members.
        exposures_mm: Exposures; of a bipolar needle its one span.
        device: Electrode or bipolar needle.
        protocol: Threshold, and voltage by distance.
    """
    if isinstance(device, BipolarNeedle):
        return _single(device, protocol.threshold_v_per_cm, family.pitch_mm)
    sides, _ = _pulsed(family)
    volts = tuple(protocol.firing_voltage_v(side) for side in sides)
    return _of_pairs(family, exposures_mm, device.radius_mm, protocol.threshold_v_per_cm, volts)


@lru_cache(maxsize=16)
def _pulsed(family: Family) -> tuple[tuple[float, ...], FloatArray]:
    """Return the sides of all pulsed pairs, and for each pair its member, the number of its side, and two places."""
    sides_mm: list[float] = []
    pairs = []
    for member in range(len(family.counts)):
        lateral = family.lateral_mm(member)
        for a in range(len(lateral)):
            for b in range(a + 1, len(lateral)):
                side = round(float(np.linalg.norm(lateral[a] - lateral[b])), 6)
                if side <= SIDE_MAX_MM + 1e-6:
                    if side not in sides_mm:
                        sides_mm.append(side)
                    pairs.append((member, sides_mm.index(side), *lateral[a], *lateral[b]))
    return tuple(sides_mm), np.array(pairs)


@lru_cache(maxsize=4)
def _of_pairs(
    family: Family, exposures_mm: tuple[float, ...], radius_mm: float, threshold: float, volts: tuple[float, ...]
) -> LesionColumns:
    """Return the unions of the lesions of each member's pairs."""
    reach = round((family.reach_mm + BESIDE_MM) / family.pitch_mm)
    ticks = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    sides, pairs = _pulsed(family)
    half = np.array(
        [
            [_half_mm(side, e, radius_mm, volt, threshold) for e in exposures_mm]
            for side, volt in zip(sides, volts, strict=True)
        ]
    )
    found = np.full((len(exposures_mm), len(family.counts), len(grid)), -1.0, dtype=np.float32)
    _raise_half(pairs, half, grid * family.pitch_mm, found)
    ablated = (found > 0.0).any(axis=0)
    members, cells = np.nonzero(ablated)
    half_mm = np.maximum(found[:, members, cells], 0.0)
    middle = 0.5 * np.array(exposures_mm)[:, None]
    spans = np.where(half_mm[..., None] > 0.0, np.stack([middle - half_mm, middle + half_mm], axis=-1), 0.0)
    numbers = np.full(ablated.shape, -1, dtype=np.int32)
    numbers[members, cells] = np.arange(len(members))
    return LesionColumns(
        numbers.reshape(-1, len(ticks), len(ticks)), np.ascontiguousarray(spans[:, :, None, :], dtype=np.float32)
    )


@lru_cache(maxsize=256)
def _half_mm(side_mm: float, exposure_mm: float, radius_mm: float, voltage_v: float, threshold: float) -> FloatArray:
    """Return half the ablated length of one pair over a quarter of the lateral plane [mm], on nodes 1 mm apart.

    Axes: along the pair from its middle, and across. Negative where nothing is ablated, so that the edge lies between
    nodes where it belongs.
    """
    needles = [
        ElectrodeLine(n, np.array([x, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), exposure_mm, (0.0,), radius_mm)
        for n, x in (("a", -0.5 * side_mm), ("b", 0.5 * side_mm))
    ]
    along = np.arange(0.0, 0.5 * SIDE_MAX_MM + BESIDE_MM + 1.0)
    across = np.arange(0.0, BESIDE_MM + 1.0)
    up = np.arange(0.0, 0.5 * exposure_mm + BESIDE_MM + 1.0)
    shape = (len(along), len(across), len(up))
    ratio: FloatArray = np.zeros(shape)
    if voltage_v > 0.0:
        lines = conducting(needles, ElectrodeDevice())
        field = _field(lines, [("a", "b", voltage_v)], (along, across, up - 0.5 * exposure_mm))
        ratio = field.reshape(shape).astype(np.float64) / threshold
    beyond = np.maximum((ratio >= 1.0).sum(axis=-1), 1)  # the first node along the axis that is not ablated
    i, j = np.indices(shape[:2])
    inner, outer = ratio[i, j, beyond - 1], ratio[i, j, np.minimum(beyond, len(up) - 1)]
    part = np.where(inner >= 1.0, (inner - 1.0) / np.maximum(inner - outer, 1e-9), 0.0)
    edge: FloatArray = np.where(ratio[..., 0] >= 1.0, beyond - 1 + part, -_slope_mm(ratio[..., 0]))
    return edge


def _slope_mm(ratio: FloatArray) -> FloatArray:
    """Return how far below the axis a column that is not ablated counts as ending [mm], by its largest field."""
    return np.clip(20.0 * (1.0 - ratio), 0.0, 20.0)


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _raise_half(pairs: Any, half: Any, places: Any, found: Any) -> None:
    """Raise each member's half lengths by those of its pairs: rows of member, side, and two places."""
    for r in range(pairs.shape[0]):
        member, side = int(pairs[r, 0]), int(pairs[r, 1])
        ux, uy = pairs[r, 4] - pairs[r, 2], pairs[r, 5] - pairs[r, 3]
        size = np.sqrt(ux * ux + uy * uy)
        ux, uy = ux / size, uy / size
        for c in range(places.shape[0]):
            x = places[c, 0] - 0.5 * (pairs[r, 2] + pairs[r, 4])
            y = places[c, 1] - 0.5 * (pairs[r, 3] + pairs[r, 5])
            u, v = abs(x * ux + y * uy), abs(y * ux - x * uy)
            i, j = int(u), int(v)
            if i + 1 >= half.shape[2] or j + 1 >= half.shape[3]:
                continue
            u, v = u - i, v - j
            for e in range(half.shape[1]):
                h = half[side, e]
                value = (h[i, j] * (1 - v) + h[i, j + 1] * v) * (1 - u) + (
                    h[i + 1, j] * (1 - v) + h[i + 1, j + 1] * v
                ) * u
                found[e, member, c] = max(found[e, member, c], value)


def _single(device: BipolarNeedle, threshold_v_per_cm: float, pitch_mm: float) -> LesionColumns:
    """Return the lesion of one bipolar needle: up to two intervals over each cell."""
    needle = ElectrodeLine("E1", np.zeros(3), np.array([0.0, 0.0, 1.0]), device.span_mm, (0.0,), device.radius_mm)
    step = 0.25
    back = np.arange(-BESIDE_MM, device.span_mm + BESIDE_MM, step)
    reach = round(BESIDE_MM / pitch_mm)
    ticks = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    # On the axis itself the field of thin lines means nothing: the cell takes what is beside it.
    away = np.maximum(np.round(np.linalg.norm(grid, axis=1) * pitch_mm, 6), 2.0 * device.radius_mm)
    radii, which = np.unique(away, return_inverse=True)
    pair = (*conductor_ids("E1"), device.voltage_v)
    field = _field(conducting([needle], device), [pair], (radii, np.zeros(1), -back)).reshape(len(radii), len(back))
    ablated = np.pad(field >= threshold_v_per_cm, ((0, 0), (1, 1)))
    spans = np.zeros((len(radii), 2, 2), dtype=np.float32)
    for r, row in enumerate(ablated):
        edges = np.flatnonzero(np.diff(row.astype(np.int8))).reshape(-1, 2)[:2]
        spans[r, : len(edges)] = back[0] + step * (edges - 0.5)
    kept = np.flatnonzero(spans[which].any(axis=(1, 2)))
    cell_at = np.full((1, len(grid)), -1, dtype=np.int32)
    cell_at[0, kept] = np.arange(len(kept))
    return LesionColumns(cell_at.reshape(1, len(ticks), len(ticks)), np.ascontiguousarray(spans[which[kept]][None]))


def _field(lines: list[ElectrodeLine], pairs: list[tuple[str, str, float]], axes: tuple[FloatArray, ...]) -> Float32:
    """Return the largest |E| [V/cm] at every node of a grid, in the order of its axes."""
    nodes = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=-1)
    at = TargetPoints(nodes, nodes)
    values = at.largest_v_per_cm(lines, pairs)
    # Places are kept in an order of their own.
    order = np.lexsort(np.round(nodes, 6).T[::-1])
    found = np.empty(len(nodes), dtype=np.float32)
    found[order] = values
    return found
