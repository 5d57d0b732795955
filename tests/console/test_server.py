"""The console: what it shows is what the run folder holds, and it stays on this machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from console.run_state import describe
from console.server import check_host, create_app, serve
from kinematics.errors import InvalidInputError, RefusedError

ELECTRODE = {"id": "E1", "depth_mm": 80.0, "clearance": {"structure": "aorta", "mm": 3.0}}


def _write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value, sort_keys=True, indent=2) + "\n")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with one that awaits approval, beside something secret."""
    folder = tmp_path / "runs"
    run = folder / "20260102-101010-lidc"
    run.mkdir(parents=True)
    _write(run, "run.json", {"case_name": "lidc", "seed": 4, "version": "0.1"})
    _write(run, "registration.json", {"accepted": True, "fiducials": [{"tracked": True}, {"tracked": False}]})
    _write(run, "plan.json", {"status": "ok", "electrodes": [ELECTRODE]})
    _write(tmp_path, "run.json", {"secret": True})
    return folder


@pytest.fixture
def client(runs: Path) -> TestClient:
    """A client on this machine, of a console that only shows."""
    return TestClient(create_app(runs), base_url="http://127.0.0.1:8017")


def _approving(runs: Path, calls: list[tuple[str, str]]) -> TestClient:
    def approve(run: Path, operator: str) -> None:
        calls.append((run.name, operator))
        digest = hashlib.sha256((run / "plan.json").read_bytes()).hexdigest()
        _write(run, "approval.json", {"plan_sha256": digest, "operator": operator})

    return TestClient(create_app(runs, approve), base_url="http://localhost:8017")


def test_runs_are_listed_with_what_comes_next(client: TestClient) -> None:
    """One line a run; folders that are no runs are not listed."""
    assert client.get("/api/runs").json() == [
        {"name": "20260102-101010-lidc", "case": "lidc", "seed": 4, "outcome": "under way", "next_step": "approve"}
    ]


def test_a_run_shows_steps_values_and_the_next_command(client: TestClient, runs: Path) -> None:
    """Two steps done, the third next, with its command; values are the files' own bytes."""
    run = client.get("/api/runs/20260102-101010-lidc").json()
    assert [s["state"] for s in run["steps"]] == ["done", "done", "waiting", "waiting", "waiting", "waiting"]
    assert run["command"] == f"needlework approve {run['path']}"
    assert [f["tracked"] for f in run["registration"]["fiducials"]] == [True, False]
    assert run["can_approve"] is False
    raw = client.get("/api/runs/20260102-101010-lidc/plan.json")
    assert raw.content == (runs / "20260102-101010-lidc" / "plan.json").read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/../plan.json",
        "/api/runs/%2e%2e",
        "/api/runs/..%2f..",
        "/api/runs/20260102-101010-lidc/..%2f..%2frun.json",
        "/api/runs/20260102-101010-lidc/run.json",
        "/runs/20260102-101010-lidc/journal.sqlite",
        "/runs/20260102-101010-lidc/..%2fplan.json",
        "/runs/%2e%2e/report.html",
        "/static/..%2f__init__.py",
        "/static/__init__.py",
        "/api/runs/.hidden",
    ],
)
def test_nothing_outside_the_runs_is_served(client: TestClient, path: str) -> None:
    """Paths that climb, hidden names and files that are not meant to be shown are not found."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_links_out_of_the_folder_are_not_followed(client: TestClient, runs: Path, tmp_path: Path) -> None:
    """Neither a run nor a report that is a link to somewhere else is served."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _write(elsewhere, "run.json", {"secret": True})
    (runs / "linked").symlink_to(elsewhere)
    (runs / "20260102-101010-lidc" / "report.html").symlink_to(tmp_path / "run.json")
    assert client.get("/api/runs/linked").status_code == 404
    assert client.get("/runs/20260102-101010-lidc/report.html").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "127.0.0.1.evil.example"}, {"origin": "http://evil.example"}, {"host": ""}],
)
def test_other_hosts_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    """A page elsewhere that makes a browser ask here gets nothing (DNS rebinding, cross-site requests)."""
    assert client.get("/api/runs", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_only_loopback_is_bound(runs: Path, host: str) -> None:
    """Any other address is refused before anything listens."""
    with pytest.raises(InvalidInputError, match="this machine only"):
        serve(runs, 8017, host)


def test_loopback_addresses_pass() -> None:
    """Both families' loopback is this machine."""
    check_host("127.0.0.1")
    check_host("::1")


def test_the_page_names_no_other_address(client: TestClient) -> None:
    """Page, script and style come from here, say the disclaimer, and forbid the rest by policy."""
    page = client.get("/")
    assert "not a medical device" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("app.js", "style.css"):
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert "://" not in answer.text
    assert "://" not in page.text


def test_an_approval_is_of_the_plan_that_was_shown(runs: Path) -> None:
    """The hash decides: another is refused and nothing is written; the right one is recorded."""
    calls: list[tuple[str, str]] = []
    client = _approving(runs, calls)
    where = "/api/runs/20260102-101010-lidc"
    stale = client.post(f"{where}/approve", json={"operator": "A. Operator", "plan_sha256": "0" * 64})
    assert stale.status_code == 409 and calls == []
    shown = client.get(where).json()["plan_sha256"]
    done = client.post(f"{where}/approve", json={"operator": "A. Operator", "plan_sha256": shown})
    assert done.status_code == 200 and calls == [("20260102-101010-lidc", "A. Operator")]
    assert done.json()["next_step"] == "execute" and done.json()["approved"]
    _write(runs / "20260102-101010-lidc", "plan.json", {"status": "ok", "electrodes": []})
    assert client.get(where).json()["approved"] is False


def test_an_approval_needs_a_name_and_a_plan_that_has_not_moved(runs: Path) -> None:
    """No name, no approval; once needles stand, none either."""
    calls: list[tuple[str, str]] = []
    client = _approving(runs, calls)
    where = "/api/runs/20260102-101010-lidc"
    shown = client.get(where).json()["plan_sha256"]
    assert client.post(f"{where}/approve", json={"operator": "", "plan_sha256": shown}).status_code == 422
    _write(runs / "20260102-101010-lidc", "execution.json", {"completed": True})
    assert client.post(f"{where}/approve", json={"operator": "A", "plan_sha256": shown}).status_code == 409
    assert calls == []


def test_a_console_that_only_shows_approves_nothing(client: TestClient) -> None:
    """Without a way to record it, approval is refused with the command."""
    shown = client.get("/api/runs/20260102-101010-lidc").json()["plan_sha256"]
    answer = client.post("/api/runs/20260102-101010-lidc/approve", json={"operator": "A", "plan_sha256": shown})
    assert answer.status_code == 405
    assert "needlework approve" in answer.json()["detail"]


def test_a_refusal_to_approve_is_passed_on(runs: Path) -> None:
    """What the step says reaches the operator."""

    def approve(_run: Path, _operator: str) -> None:
        raise RefusedError("approve", ("the plan is infeasible",))

    client = TestClient(create_app(runs, approve), base_url="http://127.0.0.1")
    shown = client.get("/api/runs/20260102-101010-lidc").json()["plan_sha256"]
    answer = client.post("/api/runs/20260102-101010-lidc/approve", json={"operator": "A", "plan_sha256": shown})
    assert answer.status_code == 409 and "infeasible" in answer.json()["detail"]


def test_refused_and_damaged_steps_stop_a_run(runs: Path) -> None:
    """An infeasible plan is refused with its reasons; a file cut short is damaged; nothing comes next."""
    run = runs / "20260102-101010-lidc"
    _write(run, "plan.json", {"status": "infeasible", "reasons": ["too near the aorta"]})
    state = describe(run)
    assert state["outcome"] == "refused" and state["next_step"] is None
    assert state["steps"][1] == {"name": "plan", "state": "refused", "reasons": ["too near the aorta"]}
    (run / "plan.json").write_text('{"status": "o')
    assert describe(run)["steps"][1]["state"] == "damaged"


def test_an_outcome_is_the_verdicts(runs: Path) -> None:
    """Pass and fail come from the verdict file."""
    run = runs / "20260102-101010-lidc"
    for passed, word in ((True, "pass"), (False, "fail")):
        _write(run, "verdict.json", {"passed": passed, "checks": []})
        assert describe(run)["outcome"] == word


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """There is nothing to serve."""
    with pytest.raises(InvalidInputError, match="no folder of runs"):
        create_app(tmp_path / "nowhere")
