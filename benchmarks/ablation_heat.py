"""The heat of pulses: energy kept, and how long eight trains take.

    python -m benchmarks.ablation_heat

Three electrodes 18 mm apart, 20 mm exposure, two positions, in tissue that opens (ramp 0.2 to 0.7 S/m), 96 cells a
side: the field is solved, and its trains are followed. Checked first: without conduction and perfusion the heat that is
stored is voltage times current times the time that pulses are on. Exits with 1 when a figure is missed.
"""

from __future__ import annotations

import os
import platform
import sys
import time

import numpy as np

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.heat import Train, heat
from guidance.ablation.thermal import ThermalMap, thermal_set
from guidance.ablation.tissue_map import TissueMap
from guidance.ablation.treatment import predict
from guidance.case.case import Tissue
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from kinematics.arrays import FloatArray

CELLS, PULSES, PULSE_US, PER_MIN = 96, 100, 90.0, 90.0
SECONDS, ENERGY = 2.0, 0.01
"""Asked of eight trains, and of the energy (ours)."""
RAMP = (0.2, 0.7, 400.0, 800.0)


def opening(_affine: FloatArray, shape: tuple[int, int, int]) -> TissueMap:
    """Return one tissue whose σ rises with the field."""
    return TissueMap(np.zeros(shape, dtype=np.uint8), np.array([RAMP]), None, ("tissue",), "benchmark")


def main() -> int:
    """Print the table; 1 when a figure was missed."""
    affine = np.eye(4)
    affine[:3, 3] = -0.5 * (CELLS - 1) + np.array([0.037, 0.023, 0.031])
    inside = np.zeros((CELLS,) * 3, dtype=bool)
    inside[40:56, 40:56, 40:56] = True
    grid = TreatmentGrid(affine, inside, inside)
    turns = 2.0 * np.pi * np.arange(3) / 3
    lines = [
        ElectrodeLine(
            f"E{n + 1}",
            np.array([15.0, 10.39 * np.cos(t), 10.39 * np.sin(t)]),
            np.array([1.0, 0.0, 0.0]),
            20.0,
            (0.0, 10.0),
            0.535,
        )
        for n, t in enumerate(turns)
    ]
    pairs = [("E1", "E2", 2700.0), ("E2", "E3", 2700.0), ("E1", "E3", 2700.0)]
    firings = predict(grid, lines, pairs, 500.0, opening).firings
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {CELLS}³ cells")
    trains = [
        Train.synchronised(
            f.power_w_per_m3,
            pulse_length_us=PULSE_US,
            pulses=PULSES,
            heart_rate_per_min=PER_MIN,
            delivered_w=f.voltage_v * f.current_a,
        )
        for f in firings
    ]
    for f in firings[:3]:
        share = float(f.power_w_per_m3.sum(dtype=np.float64)) * 1e-9 / f.voltage_v / f.current_a
        print(f"  {f.a}–{f.b}: {f.current_a:.1f} A; power in the cells over voltage times current {share:.3f}")
    tissue = thermal_set("perfused").tissues[Tissue.PANCREAS]
    # Tissue that conducts nothing counts as gas, and takes no heat: the balance is that of tissue that hardly does.
    hardly = tissue.model_copy(update={"conductivity_w_per_m_k": 1e-6, "perfusion_per_s": 0.0})
    kept = heat(grid, ThermalMap.uniform(grid.shape, hardly), trains[:1], PROTOCOL).peak.voxels
    stored = float((kept.astype(np.float64) - 37.0).sum()) * 1e-9 * hardly.heat_capacity_j_per_m3_k
    given = firings[0].voltage_v * firings[0].current_a * 1e-6 * PULSE_US * PULSES
    off = abs(stored / given - 1.0)
    alive = ThermalMap.uniform(grid.shape, tissue)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        heat(grid, alive, (trains * 2)[:8], PROTOCOL)
        times.append(time.perf_counter() - begun)
    fine = heat(grid, alive, trains, PROTOCOL, refinement=4.0).figures
    once = heat(grid, alive, trains, PROTOCOL).figures
    change = abs(once.hot_ml - fine.hot_ml) / fine.hot_ml
    rows = (
        ("energy stored against voltage × current × time", off, ENERGY, ""),
        ("volume above 50 °C against steps four times shorter", change, 0.02, ""),
        ("eight trains, median of 3", float(np.median(times)), SECONDS, "s"),
    )
    for what, value, limit, unit in rows:
        print(f"{what:<56} {value:9.3g} <= {limit:g} {unit:<3} {'ok' if value <= limit else 'MISSED'}")
    print(f"  hottest {once.hottest_c:.0f} °C, {once.hot_ml:.2f} ml above {once.limit_c:g} °C")
    return 0 if all(value <= limit for _, value, limit, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
