"""Registrations for tests of what comes after: made from a covariance, their parts agreeing with one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from kinematics.frames import Transform
from registration.accuracy import point_covariance, radial_p95
from registration.budget import ErrorBudget
from registration.registration import FiducialResult, Registration, TrePrediction

FIVE_CT_MM = np.array([[-90.0, -60, -40], [80, -75, -55], [-60, -95, 50], [70, -90, 70], [5, -110, -5]])


def stated_fiducials(centres_ct_mm: Any = FIVE_CT_MM, *, untracked: tuple[int, ...] = ()) -> tuple[FiducialResult, ...]:
    """Return fiducials F1, F2, ... that check each other, all tracked but those of the given indices."""
    return tuple(
        FiducialResult(
            id=f"F{n + 1}",
            centre_ct_mm=centre,
            covariance_mm2=0.01 * np.eye(3),
            tracked=n not in untracked,
            residual_mm=None if n in untracked else 0.2,
            hidden_shift_mm=None if n in untracked else 0.5,
        )
        for n, centre in enumerate(np.asarray(centres_ct_mm))
    )


def registered(T_robot_ct: Transform, covariance: Any, point_ct_mm: Any, **other: Any) -> Registration:
    """Return a registration of this covariance (6 x 6 about `point_ct_mm`): accepted, unless said otherwise.

    The worst entry is 60 mm in front of the point, and the limit far off, unless they are given.
    """
    matrix, point = np.asarray(covariance, dtype=np.float64), np.asarray(point_ct_mm, dtype=np.float64)
    entry = np.asarray(other.get("worst_entry_ct_mm", point - (0.0, 60.0, 0.0)))
    pivot = T_robot_ct.points(point)
    tumour, there = (radial_p95(point_covariance(matrix, pivot, T_robot_ct.points(p))) for p in (point, entry))
    given: dict[str, Any] = {
        "T_robot_ct": T_robot_ct,
        "accepted": True,
        "reasons": (),
        "limit_p95_mm": 1000.0,
        "fre_mm": 0.3,
        "tre_p95_mm": TrePrediction(tumour=tumour, entry_region=there),
        "worst_entry_ct_mm": entry,
        "covariance": matrix,
        "covariance_point_ct_mm": point,
        "covariance_sources": {"tracker": matrix},
        "fiducials": stated_fiducials(),
        "budget": ErrorBudget(),
    }
    return Registration(**{**given, **other})
