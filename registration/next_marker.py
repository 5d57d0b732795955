"""Where one more marker would lower the predicted error most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray, Vec3
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from kinematics.value import Value
from registration.accuracy import check_covariances, check_fiducials, motion_jacobian, quick_p95, worst_p95

APART_MM = 20.0
"""A new marker stays this far from the others, so that each is seen, and matched, by itself."""
_CLOSE = 0.02
"""Candidates this near to the best by the quick figure are compared by the exact one."""


class NextMarker(Value):
    """One more marker, and the error that it would leave, at the worst of the tumour and the entry region."""

    centre_ct_mm: Vec3
    fiducial: str | None = None
    """A fiducial that stands there already and was not tracked; None for a place on the skin."""
    from_tumour_mm: Vec3
    """From the tumour, LPS."""
    before_mm: float
    """Predicted 95 % error at the worst place now."""
    after_mm: float
    """The same with the marker."""
    least_mm: float
    """The same without any error of fiducials: what no marker can lower (calibration, tip of the tool, arm)."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """What the predicted error depends on, frame `robot`.

    Args:
        points_mm: Fiducials of the fit, shape (n, 3).
        covariances_mm2: What they are weighted by the inverse of, shape (n, 3, 3).
        fixed: 6 × 6 of all that no marker changes, about `pivot_mm`.
        pivot_mm: Shape (3,).
        places_mm: Where the error counts, shape (m, 3).
    """

    points_mm: FloatArray
    covariances_mm2: FloatArray
    fixed: FloatArray
    pivot_mm: FloatArray
    places_mm: FloatArray

    def information(self) -> FloatArray:
        """Return JᵀWJ of the fit, 6 × 6 about the pivot. Raises InvalidInputError as `accuracy.check_fiducials`."""
        points = check_fiducials(self.points_mm, "robot")
        return np.asarray(_information(points, self.covariances_mm2, self.pivot_mm).sum(axis=0))

    def spreads(self, covariances6: FloatArray) -> FloatArray:
        """Return the 3 × 3 at every place for every 6 × 6 of a fit (k, 6, 6), the fixed part added: (k, m, 3, 3)."""
        jacobian = motion_jacobian(self.places_mm, self.pivot_mm)
        return np.asarray(np.einsum("mai,kij,mbj->kmab", jacobian, covariances6 + self.fixed, jacobian, optimize=True))


def _information(points: FloatArray, covariances: FloatArray, pivot: FloatArray) -> FloatArray:
    """Return what each point tells of the motion, shape (n, 6, 6)."""
    weights = np.linalg.inv(check_covariances(covariances, len(points)))
    jacobian = motion_jacobian(points, pivot)
    return np.asarray(np.einsum("nia,nij,njb->nab", jacobian, weights, jacobian, optimize=True))


def best_addition(geometry: Geometry, candidates_mm: Any, covariances_mm2: Any) -> tuple[int, float]:
    """Return which candidate leaves the smallest error at the worst place, and that 95 % error [mm].

    Each candidate adds its information to the fit's. All are ranked by `quick_p95`; those close to the best are
    computed exactly.

    Args:
        geometry: The present fit.
        candidates_mm: Where a marker may be, frame `robot`, shape (k, 3), k ≥ 1.
        covariances_mm2: Localisation covariance of each, both sides' errors added, shape (k, 3, 3).

    Raises:
        InvalidInputError: No candidate, no place, a singular covariance, or fiducials that determine no motion.
    """
    candidates = np.asarray(candidates_mm, dtype=np.float64).reshape(-1, 3)
    if len(candidates) == 0 or len(geometry.places_mm) == 0:
        raise InvalidInputError(
            "nothing to choose from", value=(len(candidates), len(geometry.places_mm)), remedy="name candidates, places"
        )
    added = _information(candidates, np.asarray(covariances_mm2, dtype=np.float64), geometry.pivot_mm)
    spreads = geometry.spreads(np.asarray(np.linalg.inv(added + geometry.information()[None]), dtype=np.float64))
    quick = quick_p95(spreads).max(axis=1)
    near = np.flatnonzero(quick <= (1.0 + _CLOSE) * quick.min())
    exact = [worst_p95(spreads[k])[1] for k in near]
    best = int(np.argmin(exact))
    return int(near[best]), exact[best]


def least_p95(geometry: Geometry) -> float:
    """Return the 95 % error [mm] at the worst place if fiducials had no error at all."""
    return worst_p95(geometry.spreads(np.zeros((1, 6, 6)))[0])[1]


def advise(
    geometry: Geometry,
    T_robot_ct: Transform,
    tumour_ct_mm: Any,
    *,
    untracked_ct_mm: Mapping[str, Any],
    places_ct_mm: Any,
    before_mm: float,
    limit_mm: float,
) -> NextMarker | None:
    """Return the marker that would help most; None where there is nothing to choose from.

    A fiducial that stands already and is not tracked is preferred to a new one when it is enough, or better: a new
    one needs a new CT. A new marker is taken to be located as well as those of the fit are on average.

    Args:
        geometry: The present fit.
        T_robot_ct: The fit.
        tumour_ct_mm: Shape (3,).
        untracked_ct_mm: Fiducials in the CT that were not tracked, by name.
        places_ct_mm: Where a new marker could stand, shape (k, 3).
        before_mm: The present error at the worst place.
        limit_mm: What is enough.
    """
    typical = geometry.covariances_mm2.mean(axis=0)
    markers_ct = [*T_robot_ct.inverse().points(geometry.points_mm), *untracked_ct_mm.values()]
    least = least_p95(geometry)

    def best(choices_ct: FloatArray, names: Sequence[str] | None) -> NextMarker | None:
        if len(choices_ct) == 0:
            return None
        spread = np.broadcast_to(typical, (len(choices_ct), 3, 3))
        chosen, after = best_addition(geometry, T_robot_ct.points(choices_ct), spread)
        return NextMarker(
            centre_ct_mm=choices_ct[chosen],
            fiducial=None if names is None else names[chosen],
            from_tumour_mm=choices_ct[chosen] - np.asarray(tumour_ct_mm, dtype=np.float64),
            before_mm=before_mm,
            after_mm=after,
            least_mm=least,
        )

    standing = best(np.array(list(untracked_ct_mm.values())).reshape(-1, 3), list(untracked_ct_mm))
    new = best(far_enough(places_ct_mm, markers_ct), None)
    if standing is None or new is None:
        return standing or new
    return standing if standing.after_mm <= max(limit_mm, new.after_mm) else new


def far_enough(candidates_mm: Any, markers_mm: Any) -> FloatArray:
    """Return the candidates (k, 3) that keep clear of all markers (n, 3), same frame."""
    candidates = np.asarray(candidates_mm, dtype=np.float64).reshape(-1, 3)
    markers = np.asarray(markers_mm, dtype=np.float64).reshape(-1, 3)
    gap = np.linalg.norm(candidates[:, None] - markers[None], axis=-1).min(axis=1, initial=np.inf)
    return np.asarray(candidates[gap >= APART_MM])


def where(offset_lps_mm: Sequence[float] | FloatArray) -> str:
    """Return an offset [mm, LPS] in the patient's words: "62 mm left of, 85 mm in front of and 30 mm headward of"."""
    words = (("left of", "right of"), ("behind", "in front of"), ("headward of", "footward of"))
    said = [
        f"{abs(v):.0f} mm {forward if v > 0.0 else backward}"
        for v, (forward, backward) in zip(offset_lps_mm, words, strict=True)
        if abs(v) >= 0.5
    ]
    if not said:
        return "at"
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
