"""The last setpoints that were sent, with what the sensors said: no events, but what explains one afterwards."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from guidance.procedure.guard import Phase, Reading
from kinematics.arrays import FloatArray
from kinematics.durable import write_bytes

CAPACITY = 20_000
"""At 8 ms between setpoints about 160 s, two needles."""
PHASES = tuple(Phase)
_ROW = np.dtype(
    [
        ("time_s", "f8"),
        ("q_rad", "f8", (7,)),
        ("phase", "u1"),
        ("depth_mm", "f8"),
        ("axial_n", "f8"),
        ("lateral_n", "f8"),
        ("gate_open", "?"),
    ]
)


class SetpointLog:
    """A ring buffer: it keeps the last `capacity` setpoints.

    Args:
        capacity: How many.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._rows = np.zeros(capacity, dtype=_ROW)
        self._count = 0

    def __len__(self) -> int:
        """Return how many are kept."""
        return min(self._count, len(self._rows))

    def add(self, phase: Phase, q_rad: FloatArray, depth_mm: float, reading: Reading) -> None:
        """Keep one setpoint.

        Args:
            phase: What the arm was doing.
            q_rad: The setpoint [rad], shape (7,).
            depth_mm: Tip depth of the setpoint on the approved line; NaN without one.
            reading: The sensors just before it was sent.
        """
        self._rows[self._count % len(self._rows)] = (
            reading.time_s,
            q_rad,
            PHASES.index(phase),
            depth_mm,
            reading.axial_n,
            reading.lateral_n,
            reading.gate_open,
        )
        self._count += 1

    def arrays(self) -> dict[str, Any]:
        """Return one array for each column, the oldest setpoint first; `phase` counts in `phases`."""
        first = self._count % len(self._rows) if self._count > len(self._rows) else 0
        rows = np.roll(self._rows, -first)[: len(self)]
        names: tuple[str, ...] = _ROW.names or ()
        return {**{name: rows[name] for name in names}, "phases": np.array([str(p) for p in PHASES])}

    def save(self, path: Path) -> None:
        """Write the arrays as NPZ, whole or not at all. Raises StorageError, leaving `path` as it was."""
        content = BytesIO()
        np.savez_compressed(content, **self.arrays())
        write_bytes(path, content.getvalue())
