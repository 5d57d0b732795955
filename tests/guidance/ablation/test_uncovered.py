"""Where the part lies that is not covered, told as a person would."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.uncovered import most_of


def array(turn: np.ndarray, shift: np.ndarray) -> list[ElectrodeLine]:
    """Two needles 16 mm apart, tips at z = 0 and down the z axis, 20 mm exposed, at 0 and 10 mm, then moved."""
    return [
        ElectrodeLine(name, turn @ np.array([x, 0.0, 0.0]) + shift, turn @ [0.0, 0.0, 1.0], 20.0, (0.0, 10.0), 0.5)
        for name, x in (("E1", -8.0), ("E2", 8.0))
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([(8.0, 1.0, 6.0)], "100 % of it lies beyond the tips, up to 6 mm beyond E2's"),
        ([(-7.0, 0.0, -41.0)], "100 % of it lies above the uppermost exposures, up to 11 mm above E1's"),
        ([(-8.0, 9.0, -12.0)], "100 % of it lies beside the exposures, up to 9 mm beside E1's"),
        ([(12.0, 0.0, -29.0)], "100 % of it lies beside the exposures, up to 4 mm beside E2's"),
        (
            [(8.0, 1.0, 6.0), (8.0, 2.0, 3.0), (-8.0, 0.0, 9.0), (-8.0, 7.0, -9.0)],
            "75 % of it lies beyond the tips, up to 6 mm beyond E2's",
        ),
    ],
)
def test_the_main_way_and_the_electrode_that_it_is_seen_from(
    seed: int, points: list[tuple[float, ...]], says: str
) -> None:
    """Beyond the tips, above the exposures or beside them, in millimetres, however the scene lies."""
    turn, shift = Rotation.random(random_state=seed).as_matrix(), np.array([30.0, -200.0, 90.0]) * seed
    assert most_of(np.array(points) @ turn.T + shift, array(turn, shift)) == says
