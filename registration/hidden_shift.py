"""What a fiducial that moved could do to the places that matter without being noticed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kinematics.arrays import FloatArray
from registration.accuracy import fit_gain, motion_jacobian, worst_p95
from registration.residuals import LeftOut


def hidden_shifts(
    points_mm: FloatArray,
    covariances_mm2: FloatArray,
    left_out: Sequence[LeftOut | None],
    places_mm: FloatArray,
) -> tuple[float | None, ...]:
    """Return for each fiducial how far, 95 %, it shifts the worst of the places while it passes for a sound one [mm].

    One that stands e from where the others put it carries the fit by its own gain times e. Sound ones stand off by
    e of the covariance that leaving it out foretells, so displacements of that size go unnoticed: with few
    fiducials, or with the others nearly on a line, large ones. None where the others leave it free: nothing it does
    shows at all.

    Args:
        points_mm: Fiducials of the fit, shape (n, 3).
        covariances_mm2: What they are weighted by the inverse of, shape (n, 3, 3), same frame.
        left_out: What the others say of each (`residuals.examine`).
        places_mm: Where an error counts, shape (m, 3), same frame.

    Raises:
        InvalidInputError: As `accuracy.fit_gain`.

    Reference:
        Baarda 1968, "A testing procedure for use in geodetic networks", on external reliability.
    """
    pivot = points_mm.mean(axis=0)
    gain = fit_gain(points_mm, covariances_mm2, pivot)
    jacobian = motion_jacobian(places_mm, pivot)

    def shift(k: int, one: LeftOut) -> float:
        carried = jacobian @ gain[:, k]
        return worst_p95(np.einsum("mab,bc,mdc->mad", carried, one.covariance_mm2, carried))[1]

    return tuple(None if one is None else shift(k, one) for k, one in enumerate(left_out))
