"""The abdominal wall followed inward from the skin, against a drawn one."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.abdominal_wall import WALL, add_wall, cavity_mask
from guidance.case.label_canvas import LabelCanvas
from registration.images.volume import Volume

CENTRE = np.array([3.0, -5.0])
SKIN, OUTER, INNER = (105.0, 80.0), (88.0, 64.0), (77.0, 54.0)
"""Semi-axes [mm] of the skin, and of the outer and inner face of the muscle."""


def _within(x: np.ndarray, y: np.ndarray, semi: tuple[float, float]) -> np.ndarray:
    return np.asarray((x / semi[0]) ** 2 + (y / semi[1]) ** 2 <= 1.0)


@pytest.fixture(scope="module")
def scene() -> tuple[LabelCanvas, Volume, dict[str, np.ndarray]]:
    """Skin, fat, a ring of muscle with a gap in front (the white line), an organ against it, a vessel behind it."""
    affine = np.diag([1.2, -1.2, 2.5, 1.0])
    affine[:3, 3] = (-115.0, 95.0, 0.0)
    shape = (196, 160, 7)
    grid = Volume(np.zeros(shape, np.uint8), affine)
    p = grid.points_mm(np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))
    x, y = p[..., 0] - CENTRE[0], p[..., 1] - CENTRE[1]
    body = _within(x, y, SKIN)
    ring = _within(x, y, OUTER) & ~_within(x, y, INNER)
    gap = ring & (np.abs(x) < 5.0) & (y < 0.0)
    organ = _within(x, y, INNER) & (np.hypot(x + 52.0, y) < 25.0)
    vessel = np.hypot(x, y + 30.0) < 4.0
    cord = np.hypot(x, y - 62.0) < 5.0
    ct = np.full(shape, -1000.0)
    ct[body] = -100.0
    ct[body & ~_within(x, y, (SKIN[0] - 2.0, SKIN[1] - 2.0))] = 30.0
    ct[(ring & ~gap) | vessel | cord] = 50.0
    ct[organ] = 80.0
    ct += np.random.default_rng(3).normal(0.0, 12.0, shape)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[organ], labels[cord] = 1, 2
    canvas = LabelCanvas(grid.with_voxels(ct.astype(np.int16)), labels, {"liver": 1, "spinal_cord": 2})
    truth = {"cavity": _within(x, y, INNER) & (y < 57.0), "ring": ring & ~gap, "vessel": vessel, "body": body}
    return canvas, grid.with_voxels(body.astype(np.uint8)), truth


def test_cavity_is_what_lies_behind_the_muscle(scene: tuple[LabelCanvas, Volume, dict[str, np.ndarray]]) -> None:
    """Also behind the gap in front, and beside an organ that touches the wall: right to 3 % of its voxels."""
    canvas, body, truth = scene
    cavity = cavity_mask(canvas, body)
    assert (cavity != truth["cavity"]).sum() < 0.03 * truth["cavity"].sum()
    assert cavity[truth["vessel"]].all()


def test_wall_is_the_muscle_and_not_the_skin(scene: tuple[LabelCanvas, Volume, dict[str, np.ndarray]]) -> None:
    """The ring is labelled, the vessel behind the gap and the skin's surface are not."""
    canvas, body, truth = scene
    add_wall(canvas, cavity_mask(canvas, body), body)
    wall = canvas.mask(WALL)
    front = truth["ring"] & (
        canvas.ct.points_mm(np.argwhere(np.ones(body.shape, bool)))[:, 1].reshape(body.shape) < 50.0
    )
    assert (wall & front).sum() > 0.93 * front.sum()
    assert not (wall & truth["vessel"]).any()
    assert not (wall & ~truth["body"]).any()
