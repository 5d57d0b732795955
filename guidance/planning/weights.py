"""What makes one array better than another: normalised terms, and the weights that add them up."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kinematics.value import Value

Weight = Annotated[float, Field(ge=0.0, le=1.0e6, allow_inf_nan=False)]
Term = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Terms(Value):
    """Soft criteria of one array, each 0 at its best and about 1 where it is clearly bad.

    Args:
        touching: Sum over the needles of the chance to touch something forbidden, over the protocol's limit.
        clearance: How far the shafts stay short of 3 mm beyond what the policy asks, over 3 mm; mean of the needles.
        depth: Mean depth over 150 mm.
        crossing: Mean price of what is crossed, over 40.
        skin_angle: Mean angle between the needles and the skin's normal, over 60°.
        needles: Needles beyond two.
        pull_backs: Positions beyond one.
        coverage: What the estimated coverage lacks of 99.8 % of the tumour, over 2 points, and of 97 % of tumour +
            margin, over 4 points.
        overtreatment: Healthy tissue in the estimated lesion, over the volume of tumour + margin.
        robustness: 1 less the chance that no hard rule of the verdict is broken.
        arm: How near the arm comes to a joint's limit, 0 at 30° or more, 1 at the margin that it keeps.
    """

    touching: Term
    clearance: Term
    depth: Term
    crossing: Term
    skin_angle: Term
    needles: Term
    pull_backs: Term
    coverage: Term
    overtreatment: Term = 0.0
    robustness: Term = 0.0
    arm: Term = 0.0


class Weights(Value):
    """Weight of each term, under the same name. Defaults of this project, a site's own replace them."""

    touching: Weight = 1.0
    clearance: Weight = 1.0
    depth: Weight = 1.0
    crossing: Weight = 1.0
    skin_angle: Weight = 0.3
    needles: Weight = 0.3
    pull_backs: Weight = 0.1
    coverage: Weight = 1.0
    overtreatment: Weight = 0.2
    robustness: Weight = 2.0
    arm: Weight = 0.3

    def score(self, terms: Terms) -> float:
        """Return the weighted sum; less is better."""
        return float(sum(getattr(self, name) * getattr(terms, name) for name in type(terms).model_fields))
