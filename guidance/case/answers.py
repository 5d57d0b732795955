"""The answers to the questions of eligibility, read from a file: each must be answered, none is assumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guidance.case.case import Eligibility
from kinematics.errors import InvalidInputError

QUESTIONS = tuple(Eligibility.model_fields)


def read_answers(path: Path | None) -> Eligibility:
    """Read the answers.

    Args:
        path: JSON file: one object with each question of `Eligibility` as a key, and `true` or `false`.

    Raises:
        InvalidInputError: No file is given; it is missing or unreadable; a question is not answered, answered twice or
            not by true or false, or is none of ours. Names the questions.
    """
    if path is None:
        raise _unanswered(QUESTIONS, None)
    if not path.is_file():
        raise InvalidInputError("the answers on eligibility are not there", file=str(path), remedy="check the path")
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_once)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"the answers on eligibility cannot be read: {error}", file=str(path), remedy=_form(QUESTIONS)
        ) from error
    if not isinstance(said, dict):
        raise InvalidInputError("the answers on eligibility are no object", file=str(path), remedy=_form(QUESTIONS))
    unknown = sorted(set(said) - set(QUESTIONS))
    if unknown:
        raise InvalidInputError(
            "answers to questions that are not asked",
            value=", ".join(unknown),
            file=str(path),
            remedy="the questions are " + ", ".join(QUESTIONS),
        )
    missing = tuple(name for name in QUESTIONS if name not in said)
    if missing:
        raise _unanswered(missing, path)
    unclear = [name for name in QUESTIONS if not isinstance(said[name], bool)]
    if unclear:
        raise InvalidInputError(
            "questions of eligibility are answered by true or false",
            value=", ".join(f"{name}: {json.dumps(said[name])}" for name in unclear),
            file=str(path),
            remedy=_form(unclear),
        )
    return Eligibility(**said)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError("answered twice: " + ", ".join(twice))
    return dict(pairs)


def _form(names: tuple[str, ...] | list[str]) -> str:
    return "give a JSON object such as {" + ", ".join(f'"{name}": true or false' for name in names) + "}"


def _unanswered(names: tuple[str, ...], path: Path | None) -> InvalidInputError:
    return InvalidInputError(
        "questions of eligibility are not answered: nothing is assumed of a patient",
        value=", ".join(names),
        file=None if path is None else str(path),
        remedy=_form(names) + (" with --answers" if path is None else ""),
    )
