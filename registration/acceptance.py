"""Whether a registration is accepted, and the reasons in words: on the predicted error, and on a fit that is sound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registration.accuracy import LARGEST_TURN_RAD
from registration.fle import FleEstimate
from registration.next_marker import NextMarker, where
from registration.registration import FiducialResult, Shares, TrePrediction
from registration.residuals import RARE, ResidualTest
from registration.self_check import LEAST_CHECKED
from registration.words import rare, shares_in_words

IDEAL_P95_MM = 1.0


@dataclass(frozen=True)
class Judgement:
    """What is judged.

    Args:
        limit_p95_mm: Largest 95 % error at the tumour and at the entry region.
        tre: Predicted errors.
        shares: Of the sources, at the same places.
        turn_rms_rad: Rms of the predicted error of rotation.
        least_mm: 95 % error at the worst place if fiducials had no error at all; None where nothing is too large.
        next_marker: What would help most, if it is known.
        test: Of the residuals.
        fle_mm: The localisation error that the residuals show.
        fiducials: As found, in the CT's order.
        used: Identifiers of those in the fit, in the order of `test`.
    """

    limit_p95_mm: float
    tre: TrePrediction
    shares: Shares
    turn_rms_rad: float
    least_mm: float | None
    next_marker: NextMarker | None
    test: ResidualTest
    fle_mm: FleEstimate
    fiducials: Sequence[FiducialResult]
    used: Sequence[str]

    def verdict(self) -> tuple[bool, tuple[str, ...]]:
        """Return whether it is accepted, and the reasons: faults first, then warnings."""
        faults = [*self._too_large(), *self._turn(), *self._misfit(), *self._unchecked()]
        warnings = [*self._above_ideal(), *self._moved()]
        return not faults, (*faults, *warnings)

    def _places(self) -> tuple[tuple[str, float, Mapping[str, float]], ...]:
        return (
            ("tumour", self.tre.tumour, self.shares.tumour),
            ("entry region", self.tre.entry_region, self.shares.entry_region),
        )

    def _too_large(self) -> list[str]:
        faults = [
            f"predicted 95 % error at the {name} {error:.2f} mm exceeds {self.limit_p95_mm:g} mm ({len(self.used)} of "
            f"{len(self.fiducials)} fiducials matched); of its variance {shares_in_words(shares)}"
            for name, error, shares in self._places()
            if not error <= self.limit_p95_mm
        ]
        return [*faults, self._help()] if faults else []

    def _help(self) -> str:
        if self.least_mm is not None and self.least_mm > self.limit_p95_mm:
            return (
                f"no marker can help: without any error of fiducials {self.least_mm:.2f} mm would remain, limit "
                f"{self.limit_p95_mm:g} mm: calibrate the tracker to the robot, or the arm, again, or state what was "
                "measured of them"
            )
        marker = self.next_marker
        if marker is None:
            return "add fiducials nearer to where the error is too large, or spread them"
        enough = "" if marker.after_mm <= self.limit_p95_mm else "; that alone is not enough"
        return f"{_said(marker)}{enough}"

    def _turn(self) -> list[str]:
        if self.turn_rms_rad <= LARGEST_TURN_RAD:
            return []
        return [
            f"the predicted error of rotation, {math.degrees(self.turn_rms_rad):.1f}° rms, exceeds "
            f"{math.degrees(LARGEST_TURN_RAD):g}°, up to which errors can be predicted: spread the fiducials"
        ]

    def _misfit(self) -> list[str]:
        if not self.test.alarm:
            return []
        named = [(self.used[k], self.test.left_out[k]) for k in self.test.suspects]
        stands = [
            f"{name} stands {one.distance_mm:.1f} mm from where the other {len(self.used) - 1} put it "
            f"(95 % of sound ones within {one.p95_mm:.1f} mm, chance {rare(one.chance)}, limit {RARE:g} over all)"
            for name, one in named
            if one is not None
        ]
        if len(stands) == 1:
            return [f"fiducial {stands[0]}: it has moved, or is another thing; re-seat or cover it, and register again"]
        if stands:
            return [
                "one of these fiducials has moved, or is another thing, and the others cannot tell which: "
                f"{'; '.join(stands)}; look at them, re-seat or cover one, and register again"
            ]
        fle = self.fle_mm
        return [
            f"the fiducials fit worse than the error budget allows (chance {rare(self.test.misfit_chance)}, limit "
            f"{RARE:g}): their localisation error is {fle.estimate:.2f} mm by the residuals (95 %: {fle.low:.2f} to "
            f"{fle.high:.2f} mm), {fle.assumed:.2f} mm by the budget: several have moved, or the budget is too small"
        ]

    def _unchecked(self) -> list[str]:
        used = [f for f in self.fiducials if f.id in self.used]
        unseen = [f.id for f in self.fiducials if f.id not in self.used and f.leave_one_out_mm is None]
        more = f"bring another fiducial into the tracker's view ({', '.join(unseen)})" if unseen else "add a fiducial"
        free = [f.id for f in used if f.hidden_shift_mm is None]
        faults = []
        if free:
            faults.append(
                f"nothing checks {', '.join(free)} of {len(used)} matched: without one of them the others do not say "
                f"where it belongs, so one that moved would show in no residual (limit: {LEAST_CHECKED} that check "
                f"each other): {more}, and register again"
            )
        faults += [
            f"fiducial {f.id} is hardly checked by the others: where it passes for sound it may shift the tumour or an "
            f"entry by {f.hidden_shift_mm:.1f} mm (95 %), limit {self.limit_p95_mm:g} mm: {more}, and register again"
            for f in used
            if f.hidden_shift_mm is not None and f.hidden_shift_mm > self.limit_p95_mm
        ]
        return faults

    def _above_ideal(self) -> list[str]:
        if not IDEAL_P95_MM < self.tre.tumour <= self.limit_p95_mm:
            return []
        told = f"predicted 95 % error at the tumour {self.tre.tumour:.2f} mm is above the ideal {IDEAL_P95_MM:g} mm"
        marker = self.next_marker
        if marker is None or max(self.tre.tumour, self.tre.entry_region) > self.limit_p95_mm:
            return [told]
        return [f"{told}; {_said(marker)}"]

    def _moved(self) -> list[str]:
        return [
            f"fiducial {f.id} was left out: a tracked point stands {f.leave_one_out_mm:.1f} mm from where the others "
            "put it; it has moved, or is another thing"
            for f in self.fiducials
            if not f.tracked and f.leave_one_out_mm is not None
        ]


def _said(marker: NextMarker) -> str:
    change = f"bring the larger of the errors from {marker.before_mm:.2f} to {marker.after_mm:.2f} mm"
    if marker.fiducial is not None:
        return f"fiducial {marker.fiducial} is not tracked: seen by the tracker it would {change}"
    x, y, z = marker.centre_ct_mm
    return (
        f"a marker at ({x:.0f}, {y:.0f}, {z:.0f}) mm LPS, {where(marker.from_tumour_mm)} the tumour, would {change}; "
        "it needs a new planning CT"
    )
