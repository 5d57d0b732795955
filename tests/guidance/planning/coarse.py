"""The planner on a coarse grid, and a registration whose arm stands beside the phantom, as tests want them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from guidance.planning import planner
from guidance.planning.grid.search_grid import search_grid
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.registration import Registration
from tests.registered import registered

T_ROBOT_PHANTOM = Transform.of(
    "robot", "ct", np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]), [414.0, 482.0, -33.0]
)


def beside(budget: ErrorBudget | None = None) -> Registration:
    """Return an accepted registration with the base beside the phantom's right flank."""
    spread = np.diag(np.array([0.2, 0.15, 0.25, 0.0005, 0.0003, 0.0006]) ** 2)
    return registered(T_ROBOT_PHANTOM, spread, np.array([40.0, -36.0, -332.0]), budget=budget or ErrorBudget())


@contextmanager
def coarse_search(step_deg: float = 9.0, pitch_mm: float = 2.0) -> Iterator[None]:
    """Search fewer directions and lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "search_grid", partial(search_grid, step_rad=math.radians(step_deg), pitch_mm=pitch_mm))
        yield
