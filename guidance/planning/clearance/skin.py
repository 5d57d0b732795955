"""The skin where a needle goes in: its normal, and how slantwise the needle meets it."""

from __future__ import annotations

import math

import numpy as np

from guidance.case.case import Case
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError

SIGMA_MM = 4.0
"""Of the Gaussian that the body mask is smoothed by: wider than its steps, narrower than the body's curves."""
TRUNCATE = 4.0
LEAST_STEP = 0.05
"""Share of the gradient at a flat skin; with less, the skin is about 10 mm off."""


def skin_normal_ct(case: Case, entry_ct_mm: FloatArray) -> FloatArray:
    """Return the outward unit normal of the skin, frame `ct`, shape (3,).

    It is the gradient of the body mask smoothed by a Gaussian of 4 mm, summed over the image's own voxels about the
    entry itself. The image goes on beyond its edge as it is there.

    Args:
        case: Its body mask is the skin.
        entry_ct_mm: A point on the skin, frame `ct`.

    Raises:
        InvalidInputError: No skin within about 10 mm of the entry.
    """
    body, spacing = case.body, case.body.spacing_mm
    at = body.indices(entry_ct_mm)
    reach = TRUNCATE * SIGMA_MM / spacing
    index = [np.arange(math.floor(at[a] - reach[a]), math.ceil(at[a] + reach[a]) + 1) for a in range(3)]
    away_mm = [(index[a] - at[a]) * spacing[a] for a in range(3)]
    weight = [np.exp(-0.5 * (d / SIGMA_MM) ** 2) for d in away_mm]
    picks = [np.clip(index[a], 0, body.shape[a] - 1) for a in range(3)]
    mask = (body.voxels[np.ix_(*picks)] > 0).astype(np.float64)
    inward = np.array(
        [
            np.einsum("ijk,i,j,k->", mask, *[w * d if a == axis else w for a, (w, d) in enumerate(axes)])
            for axis, axes in ((axis, list(zip(weight, away_mm, strict=True))) for axis in range(3))
        ]
    )
    flat = SIGMA_MM / math.sqrt(2.0 * math.pi) * math.prod(float(w.sum()) for w in weight)
    size = float(np.linalg.norm(inward))
    if size < LEAST_STEP * flat:
        raise InvalidInputError(
            "there is no skin at the entry",
            value=[round(float(v), 1) for v in entry_ct_mm],
            unit="mm",
            frame="ct",
            remedy="take the point where the needle leaves the body mask",
        )
    directions = body.affine[:3, :3] / spacing
    normal: FloatArray = directions @ (-inward / size)
    return normal


def skin_angle_deg(case: Case, entry_ct_mm: FloatArray, out_ct: FloatArray) -> float:
    """Return the angle between a needle and the skin's outward normal at its entry [°], 0 where it stands upright.

    Args:
        case: Its body mask is the skin.
        entry_ct_mm: Where the needle goes in, frame `ct`.
        out_ct: Unit vector from the tip to the skin.

    Raises:
        InvalidInputError: No skin within about 10 mm of the entry.
    """
    normal = skin_normal_ct(case, entry_ct_mm)
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(normal, out_ct))), float(normal @ out_ct)))
