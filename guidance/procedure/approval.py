"""The approval value: who approved which plan."""

from __future__ import annotations

from pydantic import Field

from kinematics.value import Value


class Approval(Value):
    """A person's approval of one plan, by its hash. What was approved is what moves."""

    plan_sha256: str = Field(min_length=64, max_length=64)
    operator: str = Field(min_length=1)
    approved_utc: str
