"""A check in words, and which of many are not kept."""

from __future__ import annotations

import pytest

from guidance.check import Check, Sense, Severity, not_kept
from kinematics.errors import InvalidInputError


def check(code: str, passed: bool, severity: Severity, **changes: object) -> Check:
    """Return a check of an angle."""
    given = {"name": "angle E1–E2", "value": 6.0, "limit": 5.0, "unit": "°", "sense": Sense.AT_MOST, "source": "ours"}
    return Check(code=code, passed=passed, severity=severity, **{**given, **changes})


def test_a_check_says_value_sense_limit_source_and_code() -> None:
    """One sentence holds what a person needs to look the rule up; a count has no unit."""
    assert check("ANGLE_WARN", False, Severity.WARN).sentence == "angle E1–E2: 6.00 °, at most 5 ° (ours) [ANGLE_WARN]"
    counted = check("N", True, Severity.HARD, unit="", value=3.0, limit=2.0, sense=Sense.AT_LEAST)
    assert counted.sentence == "angle E1–E2: 3, at least 2 (ours) [N]"


@pytest.mark.parametrize(
    ("value", "passed", "text"),
    [
        (5.004, False, "5.004 °"),
        (5.0000001, False, "5.0000001 °"),
        (5.02, False, "5.02 °"),
        (4.996, True, "5.00 °"),
        (6.789, False, "6.79 °"),
    ],
)
def test_a_broken_rule_does_not_read_as_kept(value: float, passed: bool, text: str) -> None:
    """Two digits are enough, unless they would print the limit itself for what is beyond it."""
    assert check("ANGLE_WARN", passed, Severity.WARN, value=value).value_text == text


def test_a_number_without_unit_is_short() -> None:
    """Counts have no digits, a confidence two."""
    texts = [check("N", True, Severity.HARD, unit="", value=v).value_text for v in (4.0, 0.987, 0.0)]
    assert texts == ["4", "0.99", "0"]


@pytest.mark.parametrize(("number", "word"), [(1.0, "yes"), (0.0, "no")])
def test_an_answer_is_said_in_words(number: float, word: str) -> None:
    """Nobody reads 1.00 as yes."""
    found = check("C", False, Severity.HARD, unit="yes/no", value=number, limit=1.0 - number, name="severe ascites")
    assert found.sentence == f"severe ascites: {word} (ours) [C]"
    assert (found.value_text, found.limit_text) == (word, "no" if word == "yes" else "yes")


def test_what_is_not_kept_is_told_by_severity_in_order() -> None:
    """Kept ones and those of another weight are left out."""
    checks = [
        check("A", False, Severity.HARD),
        check("B", True, Severity.HARD),
        check("C", False, Severity.WARN),
        check("D", False, Severity.HARD),
        check("E", False, Severity.SHOWN),
    ]
    assert [c.code for c in not_kept(checks, Severity.HARD)] == ["A", "D"]
    assert [c.code for c in not_kept(checks, Severity.WARN)] == ["C"]
    assert [c.code for c in not_kept(checks, Severity.SHOWN)] == ["E"]


def test_a_check_survives_its_file_and_has_a_code() -> None:
    """Read back it is the same; without a code, or with a severity that is none, it is refused."""
    one = check("ANGLE_WARN", False, Severity.WARN, about=("E1–E2",))
    assert Check.model_validate_json(one.canonical_json()) == one
    with pytest.raises(InvalidInputError, match="code"):
        Check(**{k: v for k, v in one.model_dump().items() if k != "code"})
    with pytest.raises(InvalidInputError, match="severity"):
        Check(**{**one.model_dump(), "severity": "soft"})
