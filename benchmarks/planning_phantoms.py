"""Plan on the named phantoms, from easy to impossible, and on both real cases; one table of what came of it.

    python -m benchmarks.planning_phantoms [NAME ...] [--seed 0] [--out benchmarks/planning_phantoms.md]

Each case is registered in the simulated suite (seed 0, the default budget) and planned once. Seconds are of the plan
alone, field and all, from images that are loaded, on this machine as loaded as it is. Exits with 1 where a phantom has
a plan though none should be, has none though one should be, or gives no reason of the kind that it must. The real
cases have no expectation; they must have been fetched (needlework case fetch lidc, lidc-head).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from guidance.case.case import Case
from guidance.case.store import load_case, save_case
from guidance.planning.plan import Plan, PlanStatus
from guidance.planning.search import plan as search_plan
from guidance.protocol import named
from guidance.scene import SuiteDescription
from kinematics.errors import InvalidInputError, RefusedError
from registration.budget import ErrorBudget
from registration.registration import Registration
from sim.cache import case_folder
from sim.phantom import MONOPOLAR, SIZES, make_phantom
from sim.planning_phantoms import PLANNING_PHANTOMS, PlanningPhantom, planning_phantom
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure

REAL = ("lidc", "lidc-head")
SUITE = SuiteDescription()
REGISTERED_SEED = 0
REASON_CHARACTERS = 160
HEAD = (
    "case",
    "tests",
    "expected",
    "found",
    "electrodes",
    "least clearance, mm",
    "crosses, mm",
    "tumour / + margin, %",
    "chances, %: no touch / coverage / spacing / verdict",
    "seconds",
    "as expected",
)


@dataclass(frozen=True)
class Outcome:
    """What planning on one case gave; `plan` is None where the case could not even be registered."""

    name: str
    tests: str
    expected: str
    plan: Plan | None
    reasons: tuple[str, ...]
    seconds: float
    as_expected: bool | None
    """None: nothing was expected."""

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        said = "" if self.as_expected is None else "yes" if self.as_expected else "**NO**"
        told = (self.name, self.tests, self.expected)
        if self.plan is None or self.plan.status is not PlanStatus.OK:
            why = shortened(self.reasons[0]) if self.reasons else "no reason given"
            return (*told, f"no plan: {why}", "", "", "", "", "", f"{self.seconds:.1f}", said)
        return (*told, "plan", *figures(self.plan), f"{self.seconds:.1f}", said)


def shortened(reason: str) -> str:
    """Return a reason as one cell of the table."""
    text = reason.replace("|", "/")
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"


def figures(plan: Plan) -> tuple[str, str, str, str, str]:
    """Return electrodes, least clearance, what they cross at a price, coverage and chances of a plan."""
    covered, chances = plan.coverage, plan.chances
    coverage = "" if covered is None else f"{covered.tumour_percent:.1f} / {covered.with_margin_percent:.1f}"
    nearest = min((e.clearance for e in plan.electrodes), key=lambda c: c.mm)
    sure = ""
    if chances is not None:
        shares = (1.0 - chances.touching, chances.coverage, chances.spacing, chances.verdict)
        sure = " / ".join(f"{100.0 * share:.1f}" for share in shares)
    crossed = {
        name: max(e.crossed.get(name, 0.0) for e in plan.electrodes) for e in plan.electrodes for name in e.crossed
    }
    through = ", ".join(f"{name} {mm:.0f}" for name, mm in sorted(crossed.items()))
    return str(len(plan.electrodes)), f"{nearest.mm:.1f} ({nearest.structure})", through, coverage, sure


def registered(case: Case) -> Registration:
    """Register a case in the simulated suite. Raises what that raises."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_case(case, folder / "case")
        settings = RunSettings(
            case_folder=str(folder / "case"),
            case_name=case.description.name,
            seed=REGISTERED_SEED,
            suite=SUITE,
            budget=ErrorBudget(),
            fidelity="fast",
            version="benchmark",
        )
        return SimulatedProcedure.start(folder / "run", case, settings).register()


def planned(name: str, case: Case, on: Case, phantom: PlanningPhantom | None) -> Outcome:
    """Register `on`, which shows the same patient as `case`, plan on `case`, and compare with what is expected."""
    found, reasons, begun = None, (), time.perf_counter()
    try:
        registration = registered(on)
        begun = time.perf_counter()
        found = search_plan(case, registration, suite=SUITE, protocol=named(case.description.protocol))
        reasons = found.reasons
    except RefusedError as error:
        reasons = error.reasons
    except InvalidInputError as error:
        reasons = (str(error),)
    seconds = time.perf_counter() - begun
    has_plan = found is not None and found.status is PlanStatus.OK
    if phantom is None:
        return Outcome(name, "a real CT", "", found, reasons, seconds, None)
    said = any(word in reason for word in phantom.why for reason in reasons)
    fine = has_plan if not phantom.why else not has_plan and said
    return Outcome(name, phantom.tests, phantom.expected, found, reasons, seconds, fine)


def outcome(name: str, seed: int) -> Outcome:
    """Plan on a case by its name."""
    if name in REAL:
        case = load_case(case_folder(name))
        return planned(name, case, case, None)
    phantom = PLANNING_PHANTOMS[name]
    case = planning_phantom(seed, name)
    on = case if phantom.registered_on is None else phantom.registered_on(seed, MONOPOLAR)
    return planned(name, case, on, phantom)


def table(outcomes: list[Outcome]) -> str:
    """Return the table in Markdown."""
    rows = (HEAD, ("---",) * len(HEAD), *(o.row for o in outcomes))
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def page(outcomes: list[Outcome], seed: int) -> str:
    """Return the page that is kept: what was run, on what, and the table."""
    names = [o.name for o in outcomes if o.as_expected is not None]
    return (
        "# Planning, from easy to impossible\n\n"
        f"`python -m benchmarks.planning_phantoms`: phantoms of seed {seed} "
        f"({' × '.join(f'{v:g}' for v in SIZES['small'])} mm, `phantom:{seed}:NAME` on the command line) and the real "
        "cases, registered in the simulated suite under the default error budget. Python "
        f"{platform.python_version()}, {os.cpu_count()} cores.\n\n"
        f"{table(outcomes)}\n"
        f"As expected: {sum(bool(o.as_expected) for o in outcomes)} of {len(names)} phantoms.\n"
    )


def main() -> int:
    """Run the benchmark; 0 when every phantom gave what was expected."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join((*PLANNING_PHANTOMS, *REAL))}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    names = options.names or [*PLANNING_PHANTOMS, *REAL]
    unknown = sorted(set(names) - {*PLANNING_PHANTOMS, *REAL})
    if unknown:
        parser.error(f"there is no case called {', '.join(unknown)}")
    # Compiles the inner loops, so that the first row's seconds are as warm as the others'.
    warm = make_phantom(0)
    search_plan(warm, registered(warm), suite=SUITE, protocol=named(warm.description.protocol))
    outcomes = []
    for name in names:
        outcomes.append(outcome(name, options.seed))
        print(f"{name}: {' | '.join(c for c in outcomes[-1].row[2:] if c)}", flush=True)
        for reason in outcomes[-1].reasons[1:]:
            print(f"    {reason}", flush=True)
    print(f"\n{table(outcomes)}")
    if options.out is not None:
        options.out.write_text(page(outcomes, options.seed))
    return 1 if any(o.as_expected is False for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
