"""The policy value."""

from __future__ import annotations

import pytest

from guidance.case.policy import Policy, PolicyKind
from kinematics.errors import InvalidInputError


def test_round_trip() -> None:
    """A policy read back from its JSON is the same, and its hash too."""
    policy = Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=2.5)
    again = Policy.model_validate_json(policy.canonical_json())
    assert again == policy and again.sha256() == policy.sha256()


def test_a_policy_from_before_exposures_were_judged_is_read() -> None:
    """It asks for nothing there."""
    old = Policy.model_validate_json('{"kind": "costly", "clearance_mm": 0.0, "price": 1.0}')
    assert old == Policy(kind=PolicyKind.COSTLY, price=1.0, exposure_clearance_mm=0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "forbidden", "clearance_mm": -0.1},
        {"kind": "costly", "price": -1.0},
        {"kind": "costly", "exposure_clearance_mm": -1.0},
        {"kind": "allowed"},
        {"kind": "free", "margin": 1.0},
        {},
    ],
)
def test_what_is_not_a_policy_is_refused(wrong: dict[str, object]) -> None:
    """Negative numbers, unknown kinds and unknown fields are refused."""
    with pytest.raises(InvalidInputError, match="the policy is not valid"):
        Policy(**wrong)
