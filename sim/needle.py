"""Where a needle truly stands: driven straight by its hub, bent by the tissue, and carried by it once let go."""

from __future__ import annotations

import numpy as np

from kinematics.arrays import FloatArray
from registration.budget import ErrorBudget

NEEDLE_STREAM = 3
STEP_MM = 1.0


def draw_bend_mm(budget: ErrorBudget, seed: int, electrode: str) -> FloatArray:
    """Return the drift at 100 mm depth [mm] in two lateral directions, shape (2,).

    Zero mean, and the rms of the vector is the budget's, because a trocar tip is symmetric. The draw depends on
    the seed and the electrode's name alone.
    """
    rng = np.random.default_rng([seed, NEEDLE_STREAM, *electrode.encode()])
    return rng.normal(0.0, budget.bending_rms_at_100mm_mm / np.sqrt(2.0), 2)


def lateral_axes(axis: FloatArray) -> FloatArray:
    """Return two unit directions across `axis` (unit), shape (2, 3), the same for the same axis."""
    helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(axis, first)])


def centreline_ct_mm(
    *,
    hub_ct_mm: FloatArray,
    axis_ct: FloatArray,
    skin_mm: float,
    tip_mm: float,
    bend_at_100mm_mm: FloatArray,
    tissue_ct_mm: FloatArray,
) -> FloatArray:
    """Return the centreline of a needle let go in tissue, in the tissue's state of the CTs.

    Bending: the part `d` mm below the skin drifts by bend · (d / 100)², whose curvature is constant.
    Breathing: the needle was put into tissue that stood off its place by `tissue_ct_mm` (at the tip's depth). It
    goes back with the tissue: its tip by the whole of that; across its axis it turns about the skin, which hardly
    moves; along its axis, being stiff, it moves as one.

    Args:
        hub_ct_mm: The hub's distal face when let go, where the arm truly held it.
        axis_ct: Unit direction, hub to tip, as truly held.
        skin_mm: Distance from the hub's face to the skin along the axis.
        tip_mm: Distance from the hub's face to the tip (usable length).
        bend_at_100mm_mm: Drift at 100 mm depth in the two `lateral_axes`, shape (2,).
        tissue_ct_mm: Displacement of the tissue at the tip from its place in the CTs, shape (3,).

    Returns:
        Points from the hub's face to the tip, 1 mm or less apart, shape (n, 3).
    """
    along = np.linspace(0.0, tip_mm, int(np.ceil(tip_mm / STEP_MM)) + 1)
    depth = along - skin_mm
    drift = (np.maximum(depth, 0.0) / 100.0) ** 2
    lateral = lateral_axes(axis_ct)
    line = hub_ct_mm + along[:, None] * axis_ct + drift[:, None] * (bend_at_100mm_mm @ lateral)
    along_axis = float(tissue_ct_mm @ axis_ct) * axis_ct
    share = depth / max(tip_mm - skin_mm, 1.0)
    result: FloatArray = line - along_axis - share[:, None] * (tissue_ct_mm - along_axis)
    return result
