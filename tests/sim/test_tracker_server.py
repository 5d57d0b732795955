"""The simulated tracker served by a second process, and a run registered live from it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from console.cli import status_of
from guidance.case.store import save_case
from registration.tracking.igtl_client import IgtlTracker
from registration.tracking.port import TrackingStatus
from sim.phantom import make_phantom
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that was started."""
    folder = tmp_path_factory.mktemp("served")
    case = make_phantom(2, "small")
    save_case(case, folder / "case")
    settings = RunSettings(case_folder=str(folder / "case"), case_name=case.description.name, seed=5, version="test")
    return SimulatedProcedure.start(folder / "run", case, settings).folder.path


@pytest.fixture(scope="module")
def served(run: Path) -> Iterator[str]:
    """The address of a server for that run, in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "sim.tracker_server", str(run), "--version", "2"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert server.stdout is not None
    found = re.fullmatch(r"listening on (127\.0\.0\.1:\d+)\n", server.stdout.readline())
    assert found is not None
    yield found[1]
    server.kill()
    server.wait()


def test_what_is_served_is_what_the_tracker_sees(run: Path, served: str) -> None:
    """The same spheres within the tracker's noise, and both bodies."""
    host, port = served.split(":")
    with IgtlTracker(host, int(port)) as tracker:
        until = time.monotonic() + 5.0
        sample = tracker.wait_s(5.0)
        while not len(sample.points_tracker_mm) and time.monotonic() < until:
            time.sleep(0.05)
            sample = tracker.sample()
    own = SimulatedProcedure(run).suite.tracker.sample()
    assert sample.status is TrackingStatus.OK and len(sample.points_tracker_mm) == len(own.points_tracker_mm)
    apart = np.linalg.norm(sample.points_tracker_mm[:, None] - own.points_tracker_mm[None], axis=-1).min(axis=1)
    assert apart.max() < 2.0
    assert {b.name for b in sample.bodies} == {"reference", "arm"}


def test_a_run_is_registered_live(run: Path, served: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`register --tracker` takes the points of that process, says so, and is accepted."""
    assert status_of(["register", str(run), "--tracker", served, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"]
    assert json.loads((run / "registration_inputs.json").read_text())["tracker"] == f"OpenIGTLink at {served}"
    assert (run / "scene.json").exists()


def test_no_tracker_and_two_sources_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that nobody listens on, no address, a file and a tracker at once: status 2, and what was there stays."""
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.suffix == ".json"}
    for arguments, said in (
        (["--tracker", "127.0.0.1:1"], "nothing to register from 127.0.0.1:1 in 3 s"),
        (["--tracker", "nowhere:"], "a tracker is named HOST:PORT"),
        (["--tracker", "127.0.0.1:1", "--tracked-points", "p.csv"], "not from both"),
    ):
        assert status_of(["register", str(run), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.suffix == ".json"} == before


def test_a_scan_of_the_skin_is_compared(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a phantom, whose skin is a tube, the scan slides: a warning in registration.json, accepted all the same."""
    procedure = SimulatedProcedure(run)
    body = procedure.case.body
    front = np.argwhere(np.diff(body.voxels.astype(int), axis=1) > 0)[::40]
    T = procedure.suite.patient.T_tracker_ct
    file = tmp_path / "scan.csv"
    lines = [",".join(f"{v:.2f}" for v in p) for p in T.points(body.points_mm(front + np.array([0.0, 0.5, 0.0])))]
    file.write_text("x_mm,y_mm,z_mm\n" + "\n".join(lines) + "\n")
    assert status_of(["register", str(run), "--skin-scan", str(file), "--json"]) == 0
    skin = json.loads(capsys.readouterr().out)["skin"]
    assert skin["status"] in ("sliding", "poor") and skin["points"] == len(lines) and skin["difference_mm"] is None
