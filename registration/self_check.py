"""Whether the parts of a registration say the same: a file that was damaged or edited does not pass for one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from kinematics.arrays import FloatArray
from registration.accuracy import LARGEST_TURN_RAD
from registration.residuals import RARE
from registration.sources import shares_percent

if TYPE_CHECKING:
    from registration.registration import Registration

LEAST_CHECKED = 4
"""Fiducials, the least of which each can be predicted from the others."""
_LEVER_MM = 100.0
_ROUNDING = 1e-6
"""Of figures that were computed twice, relative to their size."""


def disagreement(found: Registration) -> str | None:
    """Return the first thing that cannot be true of a registration that was computed; None where there is none.

    The covariances are covariances, and sum up; predicted errors and shares are those that they give; and what is
    accepted keeps every limit that it was judged by.
    """
    return next(_all(found), None)


def _all(found: Registration) -> Iterator[str]:
    yield from _covariances(found)
    yield from _predictions(found)
    yield from _names(found)
    if found.accepted:
        yield from _limits(found)


def _covariances(found: Registration) -> Iterator[str]:
    named = {f"covariance_sources.{name}": matrix for name, matrix in found.covariance_sources.items()}
    own = {f"covariance_mm2 of {f.id}": f.covariance_mm2 for f in found.fiducials}
    for name, matrix in {"covariance": found.covariance, **named, **own}.items():
        fault = _no_covariance(matrix)
        if fault:
            yield f"{name} {fault}"
    whole = _in_mm2(np.sum([np.zeros((6, 6)), *found.covariance_sources.values()], axis=0))
    stated = _in_mm2(found.covariance)
    if np.abs(whole - stated).max() > _ROUNDING * np.abs(stated).max():
        yield "covariance is not the sum of covariance_sources"


def _no_covariance(matrix: FloatArray) -> str:
    """Return what keeps a matrix from being a covariance; empty when it is one."""
    in_mm2 = _in_mm2(matrix)
    slack_mm2 = _ROUNDING * float(np.abs(in_mm2).max())
    if np.abs(in_mm2 - in_mm2.T).max() > slack_mm2:
        return "is not symmetric"
    return "has a negative variance" if np.linalg.eigvalsh(in_mm2)[0] < -slack_mm2 else ""


def _in_mm2(matrix: FloatArray) -> FloatArray:
    """Return a 3 × 3, or a 6 × 6 with rotations as what they move at `_LEVER_MM`, so that entries compare."""
    scale = np.array([1.0] * 3 + [_LEVER_MM] * (len(matrix) - 3))
    return np.asarray(matrix * np.outer(scale, scale))


def _predictions(found: Registration) -> Iterator[str]:
    point, entry = found.covariance_point_ct_mm, found.worst_entry_ct_mm
    pivot = found.T_robot_ct.points(point)
    for name, place in (("tumour", point), ("entry_region", entry)):
        stated, given = getattr(found.tre_p95_mm, name), found.tre_p95_at(place)
        if not math.isclose(stated, given, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
            yield f"tre_p95_mm.{name} is {stated:g} mm, but the covariance gives {given:g} mm there"
        if found.shares is not None:
            told = getattr(found.shares, name)
            percent = shares_percent(found.covariance_sources, pivot, found.T_robot_ct.points(place))
            if set(told) != set(percent) or any(not abs(told[k] - percent[k]) <= 1e-3 for k in percent):
                yield f"shares.{name} are not those of covariance_sources"


def _names(found: Registration) -> Iterator[str]:
    names = [f.id for f in found.fiducials]
    if len(set(names)) < len(names):
        yield "two fiducials have one id"
    if not set(found.suspects) <= set(names):
        yield "suspects names what is no fiducial"
    for f in found.fiducials:
        if f.tracked != (f.residual_mm is not None):
            yield f"fiducial {f.id} has a residual and was not tracked, or was tracked and has none"


def _limits(found: Registration) -> Iterator[str]:
    """What no accepted registration shows (see `acceptance`, which judges by the same limits)."""
    limit = found.limit_p95_mm
    for name in ("tumour", "entry_region"):
        error = getattr(found.tre_p95_mm, name)
        if not error <= limit:
            yield f"it is accepted, but tre_p95_mm.{name} {error:g} mm exceeds limit_p95_mm {limit:g} mm"
    if found.suspects:
        yield f"it is accepted, but {', '.join(found.suspects)} is a suspect"
    used = [f for f in found.fiducials if f.tracked]
    rarest = min((f.chance for f in used if f.chance is not None), default=1.0)
    if rarest * len(used) < RARE:
        yield f"it is accepted, but a fiducial's place has chance {rarest:g}, below {RARE:g} over all"
    if found.misfit_chance is not None and found.misfit_chance < RARE:
        yield f"it is accepted, but misfit_chance {found.misfit_chance:g} is below {RARE:g}"
    if math.sqrt(float(np.trace(found.covariance[3:, 3:]))) > (1.0 + _ROUNDING) * LARGEST_TURN_RAD:
        yield "it is accepted, but its rotation is too unsure for errors to be predicted"
    if len(used) < LEAST_CHECKED:
        yield f"it is accepted, but {len(used)} fiducials are tracked, limit {LEAST_CHECKED} that check each other"
    for f in used:
        if f.hidden_shift_mm is None or f.hidden_shift_mm > limit:
            yield f"it is accepted, but nothing checks fiducial {f.id} within limit_p95_mm {limit:g} mm"
