"""Unlabelled tissue and gas: what is thick, what is thin, what is neither."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.label_canvas import LabelCanvas
from guidance.case.unidentified import COMPACT, GAS, THIN, add_unidentified
from registration.images.volume import Volume

SHAPE = (100, 90, 24)


@pytest.fixture(scope="module")
def scene() -> tuple[LabelCanvas, dict[str, np.ndarray]]:
    """Fat with a loop of bowel 16 mm wide, one lying flat, a vessel, gas, and a labelled colon with a blurred edge."""
    affine = np.diag([1.0, -1.0, 2.5, 1.0])
    grid = Volume(np.zeros(SHAPE, np.uint8), affine)
    i, j, k = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    ct = np.full(SHAPE, -100.0)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    parts = {
        "loop": (np.hypot(i - 25, j - 25) < 8) & (k > 2) & (k < 18),
        "flat": (np.hypot(i - 60, j - 25) < 9) & (k >= 10) & (k < 12),
        "single": (np.hypot(i - 83, j - 25) < 9) & (k == 8),
        "vessel": np.hypot(i - 25, j - 60) < 2.5,
        "gas": (np.hypot(i - 60, j - 60) < 5) & (k > 4) & (k < 9),
        "colon": np.hypot(i - 84, j - 60) < 9,
    }
    for name in ("loop", "flat", "single", "vessel"):
        ct[parts[name]] = 40.0
    ct[parts["gas"]] = -900.0
    ct[np.hypot(i - 84, j - 60) < 10.5] = -900.0
    labels[parts["colon"]] = 1
    cavity = np.zeros(SHAPE, dtype=bool)
    cavity[3:-3, 3:-3] = True
    ct[0:2] = 60.0  # the wall: outside the cavity
    canvas = LabelCanvas(grid.with_voxels(ct.astype(np.int16)), labels, {"colon": 1})
    add_unidentified(canvas, cavity)
    return canvas, parts


def test_thick_pieces_are_compact_and_thin_ones_are_not(scene: tuple[LabelCanvas, dict[str, np.ndarray]]) -> None:
    """Loops wider than 12 mm in two slices are compact; a vessel, and a disc in one slice alone, are not."""
    canvas, parts = scene
    compact, thin = canvas.mask(COMPACT), canvas.mask(THIN)
    for name in ("loop", "flat"):
        assert (compact & parts[name]).sum() > 0.9 * parts[name].sum(), name
    for name in ("vessel", "single"):
        assert (thin & parts[name]).sum() == parts[name].sum(), name
    assert not (compact & ~(parts["loop"] | parts["flat"])).any()


def test_gas_is_found_but_for_the_blurred_edge_of_the_colon(
    scene: tuple[LabelCanvas, dict[str, np.ndarray]],
) -> None:
    """Gas in the cavity is labelled where no labelled bowel is beside it."""
    canvas, parts = scene
    np.testing.assert_array_equal(canvas.mask(GAS), parts["gas"])


def test_fat_and_what_lies_outside_the_cavity_stay_unlabelled(
    scene: tuple[LabelCanvas, dict[str, np.ndarray]],
) -> None:
    """No label beyond the pieces drawn."""
    canvas, parts = scene
    drawn = np.any(list(parts.values()), axis=0)
    assert not (canvas.labels[~drawn] != 0).any()


@pytest.mark.parametrize("off_mm", [0.0, -3e-15, 2e-7, -2e-7])
def test_the_last_digit_of_a_spacing_decides_nothing(off_mm: float) -> None:
    """Voxels of 3 mm, of which 6 mm is a whole number: a loop four voxels wide is as thick whatever rounding says."""
    shape = (30, 30, 12)
    ct, cavity = np.full(shape, -100.0), np.ones(shape, dtype=bool)
    ct[10:14, 8:22, 3:9] = 40.0  # deepest 6 mm from the voxels outside
    grid = Volume(ct.astype(np.int16), np.diag([3.0 + off_mm, 3.0 + off_mm, 3.0, 1.0]))
    canvas = LabelCanvas(grid, np.zeros(shape, dtype=np.uint8), {})
    add_unidentified(canvas, cavity)
    assert canvas.mask(COMPACT).sum() == 4 * 14 * 6
