"""A campaign: one plan for a case, the errors of N seeds drawn on it, on the local cores or a dask cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from guidance.planning.plan import Plan
from guidance.protocol_rules import Code
from guidance.scene import SuiteDescription
from kinematics.errors import InvalidInputError
from kinematics.value import Value
from registration.budget import ErrorBudget
from sim.trial import Trial, run_trial

LOOPBACK = "127.0.0.1"
TRIAL_MEMORY_GB = 2.0
"""What one trial on a whole CT takes at its peak, rounded up."""
PUBLISHED = {
    "pair_distance_error_mm": 1.3,
    "pair_angle_error_deg": 2.7,
    "source": "CT navigation, IRE, phantom, medians: Sci Rep Oct 2021, 330 pairs",
}


class Spread(Value):
    """Summary of one quantity over a campaign."""

    count: int
    median: float
    mean: float
    sd: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Summarise `values`; None when there is none."""
        if not values:
            return None
        array = np.array(values)
        return cls(
            count=len(array),
            median=float(np.median(array)),
            mean=float(array.mean()),
            sd=float(array.std(ddof=1)) if len(array) > 1 else 0.0,
            p95=float(np.percentile(array, 95)),
            max=float(array.max()),
        )


class Calibration(Value):
    """What was predicted beside what was found."""

    structure_hit_probability_predicted: float | None
    structure_hit_share_found: float | None
    """Share of trials in which any true shaft touched a forbidden structure."""
    coverage_probability_predicted: float | None
    coverage_share_found: float | None
    tip_within_predicted_p95_share: float | None
    """Share of needles whose true tip error is within its own predicted 95 % radius."""
    registration_within_predicted_p95_share: float | None


class Campaign(Value):
    """What `campaign.json` holds."""

    case: str
    trials: int
    seed: int
    budget: ErrorBudget
    fidelity: str
    plan_sha256: str
    pair_distance_error_mm: Spread | None
    pair_angle_error_deg: Spread | None
    lateral_error_mm: Spread | None
    tip_error_mm: Spread | None
    finder_tip_error_mm: Spread | None
    finder_chord_error_deg: Spread | None
    structure_hits: int
    passed: int
    readjustments: Spread | None
    calibration: Calibration
    failures: tuple[str, ...]
    failed_checks: dict[str, int]
    published: dict[str, Any] = Field(default_factory=lambda: dict(PUBLISHED))
    trials_per_second: float
    seconds: float
    results: tuple[Trial, ...]


def local_workers() -> int:
    """Return how many trials this machine can run side by side: one a core that it may use, as far as memory goes."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fitting = int(psutil.virtual_memory().available / 1024.0**3 / TRIAL_MEMORY_GB)
    return max(1, min(cores, fitting))


def _share(flags: Sequence[bool]) -> float | None:
    return float(np.mean(flags)) if flags else None


def summarise(
    case: str,
    plan: Plan,
    budget: ErrorBudget,
    fidelity: str,
    seed: int,
    trials: Sequence[Trial],
    seconds: float,
) -> Campaign:
    """Summarise trials into the campaign's value. Trials without a verdict count as not passed, and are listed."""
    judged = [t for t in trials if t.failure is None]
    electrodes = [e for t in judged for e in t.electrodes]
    pairs = [p for t in judged for p in t.pairs]
    counts: dict[str, int] = {}
    for trial in judged:
        for name in trial.failed_checks:
            counts[name] = counts.get(name, 0) + 1
    coverage_checks = {code.value.words for code in (Code.COVERAGE_TUMOUR_MIN, Code.COVERAGE_MARGIN_MIN)}
    registered = [
        t.registration_error_mm <= t.registration_predicted_p95_mm
        for t in judged
        if t.registration_error_mm is not None and t.registration_predicted_p95_mm is not None
    ]
    return Campaign(
        case=case,
        trials=len(trials),
        seed=seed,
        budget=budget,
        fidelity=fidelity,
        plan_sha256=plan.sha256(),
        pair_distance_error_mm=Spread.of([abs(p.spacing_error_mm) for p in pairs]),
        pair_angle_error_deg=Spread.of([p.angle_deg for p in pairs]),
        lateral_error_mm=Spread.of([e.lateral_error_mm for e in electrodes]),
        tip_error_mm=Spread.of([e.tip_error_mm for e in electrodes]),
        finder_tip_error_mm=Spread.of([e.finder_tip_mm for e in electrodes]),
        finder_chord_error_deg=Spread.of([e.finder_chord_deg for e in electrodes]),
        structure_hits=sum(t.structure_hits for t in judged),
        passed=sum(t.passed for t in trials),
        readjustments=Spread.of([float(t.readjustments) for t in judged]),
        calibration=Calibration(
            structure_hit_probability_predicted=plan.hit_probability,
            structure_hit_share_found=_share([t.structure_hits > 0 for t in judged]),
            coverage_probability_predicted=plan.coverage.probability if plan.coverage else None,
            coverage_share_found=_share([not coverage_checks & set(t.failed_checks) for t in judged]),
            tip_within_predicted_p95_share=_share([e.true_tip_error_mm <= e.predicted_tip_p95_mm for e in electrodes]),
            registration_within_predicted_p95_share=_share(registered),
        ),
        failures=tuple(f"seed {t.seed}: {t.failure}" for t in trials if t.failure is not None),
        failed_checks=counts,
        trials_per_second=len(trials) / seconds,
        seconds=round(seconds, 3),
        results=tuple(sorted(trials, key=lambda t: t.seed)),
    )


def run_trials(
    case_folder: str,
    case_name: str,
    plan: Plan,
    *,
    budget: ErrorBudget,
    suite: SuiteDescription,
    trials: int,
    seed: int,
    fidelity: str,
    scheduler: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Campaign:
    """Run `trials` seeds from `seed` on, on the local cores or on the dask scheduler at an address.

    A trial whose worker dies is run again elsewhere; one that raises is listed under `failures`.

    Raises:
        InvalidInputError: The scheduler does not answer.
    """
    from distributed import Client, LocalCluster, as_completed

    begun = time.perf_counter()
    cluster: Any = None
    try:
        if scheduler is None:
            cluster = LocalCluster(
                n_workers=local_workers(), threads_per_worker=1, dashboard_address=None, host=LOOPBACK, memory_limit=0
            )
            client = Client(cluster)
        else:
            client = Client(scheduler, timeout=10)
    except OSError as error:
        raise InvalidInputError(
            f"the dask scheduler does not answer: {error}",
            value=scheduler,
            remedy="check the address, or leave it out",
        ) from error
    done: list[Trial] = []
    with client:
        futures = {
            client.submit(run_trial, case_folder, plan, budget, suite, s, fidelity, pure=False): s
            for s in range(seed, seed + trials)
        }
        for future in as_completed(futures):
            fault = future.exception()
            if fault is None:
                done.append(future.result())
            else:
                done.append(Trial(seed=futures[future], passed=False, failure=f"{type(fault).__name__}: {fault}"))
            if progress is not None:
                progress("trials", len(done) / trials)
    if cluster is not None:
        cluster.close()
    return summarise(case_name, plan, budget, fidelity, seed, done, time.perf_counter() - begun)
