"""The answers on eligibility: all ten, each yes or no, or a refusal that names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guidance.case.answers import QUESTIONS, read_answers
from guidance.case.case import ASSUMED_ELIGIBLE
from kinematics.errors import InvalidInputError

GOOD = ASSUMED_ELIGIBLE.model_dump()


def written(folder: Path, said: object) -> Path:
    """Write answers."""
    path = folder / "answers.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    return path


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_answer_is_the_one_given(tmp_path: Path, name: str) -> None:
    """One answer turned round is that one, whichever it is; a byte-order mark does no harm."""
    said = {**GOOD, name: not GOOD[name]}
    assert read_answers(written(tmp_path, said)).model_dump() == said
    assert read_answers(written(tmp_path, "\ufeff" + json.dumps(said))).model_dump() == said


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_missing_answer_is_named(tmp_path: Path, name: str) -> None:
    """Any one left out is refused, and the refusal names it and no other."""
    path = written(tmp_path, {k: v for k, v in GOOD.items() if k != name})
    with pytest.raises(InvalidInputError, match="not answered") as caught:
        read_answers(path)
    assert caught.value.value == name and caught.value.file == str(path)


def test_no_file_is_no_answer_to_any(tmp_path: Path) -> None:
    """Without a file all ten are named, with the option that gives it; a file that is not there is said."""
    with pytest.raises(InvalidInputError, match="not answered") as caught:
        read_answers(None)
    assert caught.value.value == ", ".join(QUESTIONS) and len(QUESTIONS) == 10
    assert caught.value.remedy and "--answers" in caught.value.remedy
    with pytest.raises(InvalidInputError, match="not there"):
        read_answers(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({**GOOD, "liver_failure": "no"}, 'liver_failure: "no"'),
        ({**GOOD, "severe_ascites": 0, "metal_in_zone": None}, "severe_ascites: 0, metal_in_zone: null"),
        ({**GOOD, "allergy": False}, "allergy"),
        (json.dumps(GOOD)[:-1] + ', "liver_failure": true}', "answered twice: liver_failure"),
        ("[]", "no object"),
        ("{", "cannot be read"),
    ],
)
def test_what_is_no_clear_answer_is_refused(tmp_path: Path, said: object, words: str) -> None:
    """Neither true nor false, not asked, said twice, not JSON: refused with the question."""
    path = written(tmp_path, said)
    with pytest.raises(InvalidInputError) as caught:
        read_answers(path)
    assert words in str(caught.value) and caught.value.file == str(path) and caught.value.remedy
