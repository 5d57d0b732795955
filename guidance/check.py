"""A check: one rule with what was found, its limit and where that comes from."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from kinematics.value import Value

ANSWER = "yes/no"
"""Unit of a check whose value is an answer: 1 is yes, 0 is no."""


class Severity(StrEnum):
    """What a rule that is not kept does."""

    HARD = "hard"
    """Decides: there is no plan, or the verdict is fail."""
    WARN = "warn"
    """Is said wherever plan or verdict are shown."""
    SHOWN = "shown"
    """Stands in the table, beside what is called ideal; it judges nothing."""


class Sense(StrEnum):
    """How a value must lie to its limit; the limit itself always passes."""

    AT_LEAST = "at least"
    AT_MOST = "at most"
    EXACTLY = "exactly"


class Check(Value):
    """One rule, applied. `passed` compares `value` with `limit` in the sense of `sense`."""

    code: str
    """Stable: other programs may rely on it. `about` says of what; code and `about` together occur once."""
    about: tuple[str, ...] = ()
    name: str
    """The rule in words, with what it is about."""
    value: float
    limit: float
    unit: str
    sense: Sense
    passed: bool
    severity: Severity = Severity.HARD
    source: str

    @property
    def value_text(self) -> str:
        """What was found, with its unit: a broken rule never reads as if its limit were held."""
        if self.unit == ANSWER:
            return "yes" if self.value else "no"
        near = not self.passed and abs(self.value - self.limit) < 0.01
        number = f"{self.value:.9g}" if near else f"{self.value:.2f}" if self.unit else f"{round(self.value, 2):g}"
        return f"{number} {self.unit}".strip()

    @property
    def limit_text(self) -> str:
        """The limit, with its unit."""
        if self.unit == ANSWER:
            return "yes" if self.limit else "no"
        return f"{self.limit:g} {self.unit}".strip()

    @property
    def sentence(self) -> str:
        """The check as one sentence: rule, value, limit, source and code."""
        if self.unit == ANSWER:
            return f"{self.name}: {self.value_text} ({self.source}) [{self.code}]"
        return f"{self.name}: {self.value_text}, {self.sense} {self.limit_text} ({self.source}) [{self.code}]"


def not_kept(checks: Iterable[Check], severity: Severity) -> tuple[Check, ...]:
    """Return the checks of one severity that are not kept, in their order."""
    return tuple(c for c in checks if not c.passed and c.severity is severity)
