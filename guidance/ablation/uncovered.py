"""Where the part lies that a treatment does not cover, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guidance.ablation.electrode import ElectrodeLine
from kinematics.arrays import FloatArray


def most_of(points_ct_mm: FloatArray, lines: Sequence[ElectrodeLine]) -> str:
    """Return where most of some points lie, as seen from the electrodes' treated lengths.

    Each point belongs to the electrode whose treated length (from the tip to the end of the exposure at the last
    pull-back) is nearest, and lies beyond its tip, above that length or beside it, whichever way is the longest.

    Args:
        points_ct_mm: Frame `ct`, shape (n, 3), at least one.
        lines: Electrodes, at least one.
    """
    distances, ways = [], []
    for line in lines:
        gap = points_ct_mm - line.tip_mm
        along = gap @ line.axis
        beside = np.linalg.norm(gap - along[:, None] * line.axis, axis=1)
        above = -along - (max(line.pull_back_mm) + line.exposure_mm)
        way = np.stack([along, above, beside])
        ways.append(way)
        distances.append(np.hypot(np.maximum(way[:2].max(axis=0), 0.0), beside))
    nearest = np.argmin(distances, axis=0)
    reach = np.stack(ways)[nearest, :, np.arange(len(nearest))]  # (n, 3)
    kind = np.argmax(reach, axis=1)
    counts = np.bincount(3 * nearest + kind, minlength=3 * len(lines)).reshape(-1, 3)
    main = int(np.argmax(counts.sum(axis=0)))
    which = int(np.argmax(counts[:, main]))
    share = 100.0 * float(counts[:, main].sum()) / len(nearest)
    far = float(reach[(nearest == which) & (kind == main), main].max())
    words = (
        f"beyond the tips, up to {far:.0f} mm beyond {lines[which].id}'s",
        f"above the uppermost exposures, up to {far:.0f} mm above {lines[which].id}'s",
        f"beside the exposures, up to {far:.0f} mm beside {lines[which].id}'s",
    )
    return f"{share:.0f} % of it lies {words[main]}"
