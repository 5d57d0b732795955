"""The rules of the house that a reader cannot see at a glance."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("kinematics", "registration", "guidance", "sim", "console")
ORDER = {room: rank for rank, room in enumerate(ROOMS)}
SHIPPED = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def test_there_is_something_to_check() -> None:
    """An empty set would pass every other test here."""
    assert len(SHIPPED) > 60
    assert len(TESTS) > 25


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    """A room imports itself and what lies before it, never what lies after it."""
    own = ORDER[path.relative_to(ROOT).parts[0]]
    for name in _imported(_tree(path)):
        room = name.split(".")[0]
        assert ORDER.get(room, -1) <= own, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_assert_in_shipped_code(path: Path) -> None:
    """Validation that `python -O` removes is no validation."""
    assert not [n.lineno for n in ast.walk(_tree(path)) if isinstance(n, ast.Assert)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    """A file past 400 lines holds two nouns."""
    assert len(path.read_text().splitlines()) <= 400


def _is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    body = [n for n in function.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return not body or all(isinstance(n, ast.Pass) for n in body)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_ghost_arguments(path: Path) -> None:
    """An argument that nothing reads is a promise that nothing keeps."""
    for function in ast.walk(_tree(path)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or _is_stub(function):
            continue
        spec = function.args
        names = {a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
        names -= {"self", "cls"} | {n for n in names if n.startswith("_")}
        used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        assert names <= used, f"{function.name} at line {function.lineno} ignores {sorted(names - used)}"


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_shadowed_tests(path: Path) -> None:
    """Two tests of one name in one scope: the first would never run."""
    tree = _tree(path)
    for scope in [tree, *[n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]]:
        names = [n.name for n in scope.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test")]
        assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


@pytest.mark.parametrize("room", ROOMS)
def test_each_package_is_ours(room: str) -> None:
    """PyPI has unrelated distributions of these names."""
    module = importlib.import_module(room)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / room / "__init__.py"


def test_the_judge_does_not_use_the_planner() -> None:
    """Verification may know the plan value, and no geometry of the planner."""
    allowed = {"guidance.planning.plan"}
    for path in (ROOT / "guidance" / "verification").rglob("*.py"):
        planning = {n for n in _imported(_tree(path)) if n.startswith("guidance.planning")}
        assert planning <= allowed, f"{path.name} imports {planning - allowed}"


def test_start_up_is_light() -> None:
    """The command line's start imports none of the heavy libraries."""
    code = (
        "import sys, console.cli; "
        "heavy = {'numba','scipy','SimpleITK','mujoco','matplotlib','cv2','weasyprint','distributed','pydicom'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"
