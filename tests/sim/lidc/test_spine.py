"""The rest of the spine: discs between labelled vertebrae."""

from __future__ import annotations

import numpy as np

from guidance.case.label_canvas import LabelCanvas
from registration.images.volume import Volume
from sim.lidc.spine import SPINE, add_spine_remainder


def test_disc_between_two_vertebrae_is_filled() -> None:
    """A gap of 7.5 mm between two labelled vertebrae becomes spine; the aorta in front does not."""
    shape = (60, 60, 20)
    i, j, k = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    column = np.hypot(i - 30, j - 22) < 14
    labels = np.zeros(shape, dtype=np.uint8)
    labels[column & (k < 8)], labels[column & (k >= 11)] = 1, 2
    aorta = np.hypot(i - 30, j - 47) < 8
    labels[aorta] = 3
    canvas = LabelCanvas(
        Volume(np.full(shape, 80, np.int16), np.diag([1.0, -1.0, 2.5, 1.0])),
        labels.copy(),
        {"vertebrae_L1": 2, "vertebrae_L2": 1, "aorta": 3},
    )
    add_spine_remainder(canvas)
    spine, disc = canvas.mask(SPINE), column & (k >= 8) & (k < 11)
    # A ball that does not fit into the gap leaves a rounded rim.
    assert (spine & disc).sum() > 0.75 * disc.sum()
    assert spine[disc & (np.hypot(i - 30, j - 22) < 11)].all()
    assert (spine & ~disc).sum() < 0.1 * disc.sum()
    np.testing.assert_array_equal(canvas.labels == 3, aorta)
