"""Coverage of the target by a treatment, as values that plan and report keep."""

from __future__ import annotations

from kinematics.value import Value


class CoveragePoint(Value):
    """Coverage at one threshold."""

    threshold_v_per_cm: float
    tumour_percent: float
    with_margin_percent: float


class Coverage(CoveragePoint):
    """Coverage of the tumour and of tumour + margin at the protocol's threshold, and as a curve over 400–800 V/cm."""

    curve: tuple[CoveragePoint, ...]
    probability: float | None = None
    """That the coverage as placed is accepted, under the error budget, with the voltages chosen again once the needles
    stand; None when it was not computed."""
