"""Time the whole chain against what it must reach, and run the 20-seed campaign on the real case.

    python -m benchmarks.chain [--trials 20] [--case lidc]

Prints one table: what, measured, asked. Times are wall-clock seconds on this machine, in this run; the case must
have been fetched and the inner loops compiled before (make setup; needlework case fetch lidc). Start-up is the
median of five. Peak memory is the largest resident set of the run's own process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NEEDLEWORK = str(Path(sys.executable).with_name("needlework"))


def seconds_of(command: list[str]) -> tuple[float, int]:
    """Run `command`, output discarded; return its wall-clock seconds and exit status."""
    begun = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode > 1:
        print(done.stderr[-2000:], file=sys.stderr)
    return time.perf_counter() - begun, done.returncode


def row(what: str, measured: Any, asked: str, ok: bool | None) -> None:
    """Print one line of the table."""
    print(f"{what:<46} {measured!s:>22}   {asked:<26} {'' if ok is None else 'ok' if ok else 'MISSED'}", flush=True)


def main() -> int:
    """Run the benchmark; 0 when everything asked for was reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--case", default="lidc")
    options = parser.parse_args()
    reached: list[bool] = []

    def judge(what: str, measured: float, unit: str, limit: float) -> None:
        ok = measured <= limit
        reached.append(ok)
        row(what, f"{measured:.2f} {unit}", f"<= {limit:g} {unit}", ok)

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    judge(
        "needlework --help, median of 5",
        statistics.median(seconds_of([NEEDLEWORK, "--help"])[0] for _ in range(5)),
        "s",
        0.5,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds, status = seconds_of([NEEDLEWORK, "run", options.case, "--out", str(folder / "run")])
        row(f"run {options.case}, seed 0: exit status", status, "0 pass, 1 fail", status <= 1)
        reached.append(status <= 1)
        judge(f"run {options.case}, in all", seconds, "s", 90.0)
        if (folder / "run" / "timing.json").exists():
            timing = json.loads((folder / "run" / "timing.json").read_text())
            if "plan_s" in timing:
                judge("planning", timing["plan_s"], "s", 20.0)
            for step, value in sorted(timing.items()):
                row(f"  {step}", f"{value:.2f} s", "", None)
        peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
        judge("peak memory", peak_gb, "GB", 4.0)
        seconds, status = seconds_of(
            [NEEDLEWORK, "campaign", options.case, "--trials", str(options.trials), "--out", str(folder / "campaign")]
        )
        if status != 0:
            row("campaign: exit status", status, "0", False)
            return 1
        campaign = json.loads((folder / "campaign" / "campaign.json").read_text())
        report_campaign(campaign, judge)
        row("campaign, in all", f"{seconds:.0f} s", "", None)
    return 0 if all(reached) else 1


def report_campaign(campaign: dict[str, Any], judge: Any) -> None:
    """Print the campaign's figures beside the published ones."""
    print(f"campaign: {campaign['trials']} trials from seed {campaign['seed']}, fidelity {campaign['fidelity']}")
    print(f"budget: {campaign['budget']}")
    for key, published in (
        ("pair_distance_error_mm", "published median 1.3"),
        ("pair_angle_error_deg", "published median 2.7"),
        ("lateral_error_mm", ""),
        ("tip_error_mm", ""),
    ):
        s = campaign[key]
        row(f"  {key}", f"{s['median']:.2f} (p95 {s['p95']:.2f})", published, None)
    row("  passed", f"{campaign['passed']} of {campaign['trials']}", "", None)
    row("  without a verdict", len(campaign["failures"]), "", None)
    row("  failed rules", json.dumps(campaign["failed_checks"]), "", None)
    row("  shafts touching a forbidden structure", campaign["structure_hits"], "", None)
    judge("finder: worst tip error", campaign["finder_tip_error_mm"]["max"], "mm", 0.5)
    judge("finder: worst chord error", campaign["finder_chord_error_deg"]["max"], "deg", 0.5)


if __name__ == "__main__":
    sys.exit(main())
