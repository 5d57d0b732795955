"""Room between hubs, against the arm's own collision code and against arrays that are plainly free or full."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.planning.combining.hubs import order_exists
from kinematics.arm_model import load_lbr
from kinematics.collision import Capsule, Margins, Obstacles
from kinematics.insertion import InsertionStatus, plan_insertion
from kinematics.tool import default_tool

MARGIN_MM = 2.5
UP = np.array([0.0, 0.0, 1.0])


def _inserted(lateral: np.ndarray, order: tuple[int, ...]) -> bool:
    """Whether the arm inserts vertical needles at these places in this order, only hubs standing in the way."""
    tool = default_tool()
    standing: list[Capsule] = []
    for n in order:
        tip = np.array([480.0 + lateral[n, 0], 150.0 + lateral[n, 1], 20.0])
        path = plan_insertion(
            load_lbr(),
            tool,
            tip + 80.0 * UP,
            tip,
            approach_mm=30.0,
            obstacles=Obstacles(capsules=tuple(standing)),
            margins=Margins(needles_mm=MARGIN_MM),
        )
        if path.status is not InsertionStatus.OK:
            return False
        face = tip + tool.needle_length_mm * UP
        standing.append(Capsule(face, face + tool.hub_length_mm * UP, 0.5 * tool.hub_diameter_mm, f"hub {n}"))
    return True


def test_two_needles() -> None:
    """Two hubs beside each other need two half hubs and a margin, fingers turned across: 4.5 + 2.5 + 4.5 mm."""
    tool = default_tool()
    for distance, free in ((11.4, False), (11.6, True), (40.0, True)):
        assert order_exists(np.array([[0.0, 0.0], [distance, 0.0]]), tool, MARGIN_MM) is free


def test_a_needle_walled_in_goes_first() -> None:
    """A middle needle with others all round, too near to pass between last, can still go in first."""
    turns = np.linspace(0.0, 2.0 * np.pi, 3, endpoint=False)
    ring = 14.0 * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    assert order_exists(np.vstack([[[0.0, 0.0]], ring]), default_tool(), MARGIN_MM)
    assert not order_exists(np.array([[0.0, 0.0], [9.0, 3.0], [3.0, 9.0]]), default_tool(), MARGIN_MM)


@pytest.mark.parametrize("seed", range(6))
def test_the_arm_agrees(seed: int) -> None:
    """Where no order has room here the arm finds none; where the arm finds one there is room here."""
    from itertools import permutations

    rng = np.random.default_rng(seed)
    lateral = rng.uniform(-11.0, 11.0, (3, 2))
    room = order_exists(lateral, default_tool(), MARGIN_MM)
    by_arm = any(_inserted(lateral, order) for order in permutations(range(3)))
    assert room or not by_arm
    if not room:
        assert not by_arm


def test_turning_the_array_changes_nothing() -> None:
    """An array that is turned about its axis by a multiple of the rolls' step has the same answer."""
    rng = np.random.default_rng(2)
    answers = []
    for _ in range(40):
        lateral = rng.uniform(-19.0, 19.0, (4, 2))
        turn = np.pi / 72 * 17
        c, s = np.cos(turn), np.sin(turn)
        turned = lateral @ np.array([[c, -s], [s, c]])
        answers.append(order_exists(lateral, default_tool(), MARGIN_MM))
        assert order_exists(turned + np.array([3.0, -5.0]), default_tool(), MARGIN_MM) is answers[-1]
    assert any(answers) and not all(answers)
