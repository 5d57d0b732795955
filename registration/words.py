"""What a registration found, in words for a screen and a page."""

from __future__ import annotations

from collections.abc import Mapping

from registration.registration import Registration

AXES = ("R–L", "A–P", "F–H")
"""The CT's axes x, y, z as a person names them."""
NOTHING = "–"


def rare(chance: float) -> str:
    """Return a chance as text; what is too small to be computed is said to be below 1e-6."""
    return "below 1e-06" if chance <= 0.0 else f"{chance:.1g}" if chance < 0.01 else f"{chance:.2f}"


def shares_in_words(shares: Mapping[str, float]) -> str:
    """Return the shares [%], the largest first, without those that round to nothing."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{name.replace('_', ' ')} {percent:.0f} %" for name, percent in ranked if percent >= 0.5)


def residual(registration: Registration) -> str:
    """Return the residual of the fit beside what the stated errors let expect."""
    found = f"{registration.fre_mm:.2f} mm"
    if registration.fre_expected_mm is None or registration.fre_chance is None:
        return found
    chance = rare(registration.fre_chance)
    return f"{found} ({registration.fre_expected_mm:.2f} mm expected; as much or more: chance {chance})"


def localisation(registration: Registration) -> str:
    """Return the localisation error that the residuals show, with its interval, beside the stated one."""
    fle = registration.fle_mm
    if fle is None:
        return NOTHING
    told = f"{fle.estimate:.2f} mm (95 %: {fle.low:.2f} to {fle.high:.2f}), stated {fle.assumed:.2f} mm"
    axes = ", ".join(
        f"{name} {a.estimate:.2f} ({a.low:.2f} to {a.high:.2f})" for name, a in zip(AXES, fle.axes, strict=False)
    )
    return f"{told}; {axes}" if axes else told
