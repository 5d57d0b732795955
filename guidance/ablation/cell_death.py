"""Cell death by Peleg and Fermi's statistics: an option beside the threshold; in vitro figures, not for planning.

    S = 1 / (1 + exp((E − Ec) / A)),   Ec = E0·exp(−k1·n),   A = A0·exp(−k2·n)

Reference: Golberg & Rubinsky, Biomed. Eng. Online 9:13, 2010 (via Garcia et al. 2014): cells in suspension.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.errors import InvalidInputError

E0_V_PER_CM = 3996.0
A0_V_PER_CM = 1441.0
K1_PER_PULSE = 0.03
K2_PER_PULSE = 0.06
SURVIVAL_DEAD = 1e-3
"""At or below, tissue counts as dead."""


def survival(field_v_per_cm: NDArray[Any], pulses: int) -> NDArray[np.float64]:
    """Return the share of cells that survive so many pulses, 0 to 1.

    Args:
        field_v_per_cm: |E|.
        pulses: Number of them.

    Raises:
        InvalidInputError: Fewer than one pulse.
    """
    if pulses < 1:
        raise InvalidInputError("cells are not killed by no pulse", value=pulses, limit=1)
    middle = E0_V_PER_CM * np.exp(-K1_PER_PULSE * pulses)
    width = A0_V_PER_CM * np.exp(-K2_PER_PULSE * pulses)
    # Beyond some 700 the exponential overflows, and nothing survives either way.
    steep = np.clip((np.asarray(field_v_per_cm, dtype=np.float64) - middle) / width, -700.0, 700.0)
    found: NDArray[np.float64] = 1.0 / (1.0 + np.exp(steep))
    return found
