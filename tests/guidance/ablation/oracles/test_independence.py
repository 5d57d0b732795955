"""The oracles share no code with what they judge."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ORACLES = sorted(p for p in Path(__file__).parent.glob("*.py") if not p.name.startswith("test_"))


def test_there_are_oracles() -> None:
    """An empty set would pass the other test."""
    assert len(ORACLES) >= 4


@pytest.mark.parametrize("path", ORACLES, ids=lambda p: p.name)
def test_an_oracle_imports_nothing_of_the_stack(path: Path) -> None:
    """Libraries and other oracles only."""
    rooms = {"kinematics", "registration", "guidance", "sim", "console"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        for name in names:
            parts = name.split(".")
            assert parts[0] not in rooms, name
            assert parts[0] != "tests" or "oracles" in parts, name
