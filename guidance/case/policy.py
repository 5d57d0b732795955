"""What a needle may do to a structure: forbidden with a clearance, costly with a price, or free."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from kinematics.value import Value


class PolicyKind(StrEnum):
    """How planning treats a structure."""

    FORBIDDEN = "forbidden"
    COSTLY = "costly"
    FREE = "free"


class Policy(Value):
    """The rule for one structure."""

    kind: PolicyKind
    clearance_mm: float = Field(0.0, ge=0.0)
    """Forbidden only: least distance from the shaft's surface."""
    price: float = Field(0.0, ge=0.0)
    """Costly only: price per mm of path inside."""
    exposure_clearance_mm: float = Field(0.0, ge=0.0)
    """Least distance from the surface of the exposure, from the tip to its end when it is pulled back farthest.

    For what a shaft may cross and the field should not stand in; what is forbidden keeps its clearance anyway."""
