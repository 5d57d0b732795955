"""Tables of the registration as plain rows of text; no figure is made here, only set in words."""

from __future__ import annotations

import numpy as np

from guidance.planning.plan import Plan
from guidance.report.appearance import plain
from guidance.report.grid import NOTHING, Grid, number, triple, unit_triple
from guidance.report.planes import orientation
from kinematics.arrays import FloatArray
from registration.accuracy import point_covariance
from registration.registration import Registration
from registration.words import AXES, rare


def fiducials(registration: Registration) -> Grid:
    """Return the fiducials: localisation error, residual of the fit, and what the others say of each."""
    rows, flags = [], []
    for f in registration.fiducials:
        rows.append(
            (
                f.id,
                triple(f.centre_ct_mm),
                number(float(np.sqrt(np.trace(f.covariance_mm2))), 2),
                "yes" if f.tracked else "no",
                number(f.residual_mm, 2),
                number(f.leave_one_out_mm, 2),
                number(f.leave_one_out_p95_mm, 2),
                NOTHING if f.chance is None else rare(f.chance),
            )
        )
        moved = not f.tracked and f.leave_one_out_mm is not None
        flags.append("broken" if f.id in registration.suspects else "warned" if moved else "")
    heads = (
        "", "centre in the CT (LPS mm)", "found in the CT, rms mm", "matched", "residual mm", "off the others mm",
        "95 % of sound ones mm", "chance",
    )  # fmt: skip
    note = (
        "“off the others”: how far the tracked point is from where all the other fiducials put it; “found in the CT” "
        "is the sphere's own localisation, to which the error budget adds seat and skin."
    )
    return Grid(heads, tuple(rows), tuple(flags), note)


def predicted(registration: Registration, plan: Plan | None) -> Grid:
    """Return the predicted error at the tumour, in the entry region, and at each needle's entry and tip."""
    places: list[tuple[str, FloatArray, float | None]] = [("tumour", registration.covariance_point_ct_mm, None)]
    places.append(("entry region, worst", registration.worst_entry_ct_mm, None))
    for e in plan.electrodes if plan is not None else ():
        places += [(f"{e.id} entry", e.entry_ct_mm, e.entry_p95_mm), (f"{e.id} tip", e.tip_ct_mm, e.tre_p95_mm)]
    rows = []
    for name, point, whole in places:
        sigma = np.sqrt(np.diagonal(registration.covariance_at(point)))
        rows.append(
            (name, triple(point), *(number(float(s), 2) for s in sigma), number(registration.tre_p95_at(point), 2),
             number(whole, 2))
        )  # fmt: skip
    heads = ("", "LPS mm", *(f"{name} 1 σ mm" for name in AXES), "95 % mm", "of the needle 95 % mm")
    note = (
        "Of the registration with the arm: fiducials, tracker, calibration and arm. “of the needle” adds bending and "
        "breathing at a tip. Each prediction holds under the error budget of this report, and no further."
    )
    return Grid(heads, tuple(rows), note=note)


def shares(registration: Registration) -> Grid | None:
    """Return what each source has of the predicted error's variance; None for a registration that does not say."""
    if registration.shares is None:
        return None
    at_tumour, at_entry = registration.shares.tumour, registration.shares.entry_region
    ranked = sorted(at_tumour.items(), key=lambda item: -item[1])
    rows = tuple((plain(name), number(v, 0), number(at_entry.get(name), 0)) for name, v in ranked)
    note = "Of what the registration is accepted on, the arm's error in it."
    return Grid(("of the variance", "tumour %", "worst entry %"), rows, note=note)


def error_sources(registration: Registration) -> tuple[tuple[str, float, float], ...]:
    """Return source, rms at the tumour [mm] and share of variance, the largest first."""
    pivot = registration.T_robot_ct.points(registration.covariance_point_ct_mm)
    variances = {
        name: float(np.trace(point_covariance(matrix, pivot, pivot)))
        for name, matrix in registration.covariance_sources.items()
    }
    total = sum(variances.values()) or 1.0
    ranked = sorted(variances.items(), key=lambda item: -item[1])
    return tuple((plain(name), float(np.sqrt(max(v, 0.0))), v / total) for name, v in ranked)


def ellipsoid(registration: Registration) -> Grid:
    """Return the axes of the error ellipsoid at the tumour in the patient's directions."""
    spread, axes = np.linalg.eigh(registration.covariance_at(registration.covariance_point_ct_mm))
    rows = []
    for k in np.argsort(-spread):
        direction = axes[:, k]
        both = f"{orientation(-direction)} – {orientation(direction)}"
        rows.append((both, f"({unit_triple(direction)})", number(float(np.sqrt(max(spread[k], 0.0))), 2)))
    return Grid(("direction", "LPS", "1 σ mm"), tuple(rows))
