"""Mutation testing of the safety-critical modules: change one thing in the code, and see whether its tests notice.

    python -m benchmarks.mutation [MODULE ...] [--limit 60] [--seed 0]

Each mutant differs from the module in one place: a comparison moved to its boundary or turned round, + for -, `and`
for `or`, a number a little larger or smaller, a condition negated, a `not` or a sign taken away, a call left out, a
function that returns at once. The module's own test files run on a copy of the tree, one mutant at a time. Survivors
are printed with line and change: each is a test that is missing, or a change that makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "guidance/check.py",
    "guidance/protocol_checks.py",
    "guidance/protocol_rules.py",
    "guidance/ablation/array_check.py",
    "guidance/procedure/guard.py",
    "guidance/procedure/interlocks.py",
    "guidance/verification/rules.py",
    "registration/acceptance.py",
    "registration/accuracy.py",
    "registration/hidden_shift.py",
    "registration/residuals.py",
    "registration/self_check.py",
    "registration/sources.py",
    "registration/tracking/sample_check.py",
    "registration/tracking/watch.py",
)
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "*.egg-info")
BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}
Change = tuple[ast.AST, str, object]
"""A node, its field, and what to put there."""


def changes(node: ast.AST) -> Iterator[Change]:
    """Yield the changes of one node."""
    if isinstance(node, ast.Compare):
        for table in (BOUNDARY, TURNED):
            for n, op in enumerate(node.ops):
                if type(op) in table:
                    yield node, "ops", [*node.ops[:n], table[type(op)](), *node.ops[n + 1 :]]
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield node, "op", ARITHMETIC[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        yield node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node, "op", ast.UAdd() if isinstance(node.op, ast.USub | ast.Invert) else ast.Not()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, "value", not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        step = 1 if isinstance(node.value, int) else 0.1 * abs(node.value) or 1.0
        yield node, "value", node.value + step
        yield node, "value", node.value - step
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield node, "test", ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield node, "value", ast.Constant(None)
    if isinstance(node, ast.FunctionDef):
        yield node, "body", [ast.Return(), *node.body]


def children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below that run: no annotations, no decorators, no doc, nothing for the type checker alone."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            ):
                yield child


def mutants(node: ast.AST, line: int = 0) -> Iterator[tuple[int, str, str]]:
    """Change the tree in place, one change at a time; yield line, before and after, then change it back."""
    line = getattr(node, "lineno", line)
    for target, name, new in changes(node):
        old = getattr(target, name)
        before = ast.unparse(target).splitlines()[0]
        if isinstance(target, ast.UnaryOp) and isinstance(new, ast.Not):  # `not` is taken away by a second one
            target.operand = ast.UnaryOp(ast.Not(), target.operand)
            yield line, before, ast.unparse(ast.fix_missing_locations(target))
            target.operand = target.operand.operand
            continue
        setattr(target, name, new)
        after = ast.unparse(ast.fix_missing_locations(target)).splitlines()
        yield line, before, "return at once" if name == "body" else after[0]
        setattr(target, name, old)
    for child in children(node):
        yield from mutants(child, line)


def tests_pass(copy: Path, tests: list[str], limit_s: float, compiled: bool) -> bool:
    """Run tests in the copy; False when one fails or time is up."""
    # Bytecode is kept by time (to the second) and size of the source, which two mutants may share.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {} if compiled else {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def run(module: str, limit: int, seed: int, copy: Path, compiled: bool) -> tuple[int, int]:
    """Try mutants of one module; return how many were killed, and how many there were."""
    place = Path(module)
    tests = sorted(str(p.relative_to(copy)) for p in (copy / "tests" / place.parent).glob(f"test_{place.stem}*.py"))
    original = (copy / place).read_text()
    tree = ast.parse(original)
    (copy / place).write_text(ast.unparse(tree))
    begun = time.perf_counter()
    if not tests_pass(copy, tests, 600.0, compiled):
        raise SystemExit(f"{tests[0]} fails on {module} as it is")
    limit_s = 10.0 + 5.0 * (time.perf_counter() - begun)
    count = sum(1 for _ in mutants(tree))
    chosen = set(random.Random(seed).sample(range(count), min(limit, count)))
    killed = 0
    for n, (line, before, after) in enumerate(mutants(tree)):
        if n not in chosen:
            continue
        (copy / place).write_text(ast.unparse(ast.fix_missing_locations(tree)))
        dead = not tests_pass(copy, tests, limit_s, compiled)
        killed += dead
        if not dead:
            print(f"survived  {module}:{line}: {before}  ->  {after}", flush=True)
    (copy / place).write_text(original)
    print(f"{module}: {killed} killed of {len(chosen)} tried ({count} possible, seed {seed})", flush=True)
    return killed, len(chosen)


def main() -> int:
    """Run the benchmark; 0 when no mutant survived."""
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--limit", type=int, default=60, help="mutants of each module, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among them")
    parser.add_argument("--compiled", action="store_true", help="let numba compile: where tests are slow without")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        results = [run(module, options.limit, options.seed, copy, options.compiled) for module in options.modules]
    return 0 if all(killed == tried for killed, tried in results) else 1


if __name__ == "__main__":
    sys.exit(main())
