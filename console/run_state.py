"""What a run folder has reached, read from its files alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

STEPS = ("register", "plan", "approve", "execute", "verify", "report")
WRITES = {
    "register": "registration.json",
    "plan": "plan.json",
    "approve": "approval.json",
    "execute": "execution.json",
    "verify": "verdict.json",
    "report": "report.html",
}
DONE, REFUSED, WAITING, DAMAGED = "done", "refused", "waiting", "damaged"


def summarise(run: Path) -> dict[str, Any]:
    """Return one line for the list of runs: name, case, seed, the step that comes next, and the outcome."""
    state = describe(run)
    return {key: state[key] for key in ("name", "case", "seed", "outcome", "next_step")}


def describe(run: Path) -> dict[str, Any]:
    """Return where a run stands.

    Returns:
        `name`, `path`, `case`, `seed`, `version`; `steps` (name, state, reasons); `next_step` and `command`; `outcome`
        (`pass`, `fail`, `refused` or `under way`); `plan_sha256`, `approved`, `executed`; the parts of the saved
        values that the page shows. A file that cannot be read is a step that is damaged, never an exception.
    """
    values = {name: _load(run / file) for name, file in WRITES.items() if file.endswith(".json")}
    settings = _load(run / "run.json") or {}
    plan_sha256 = _sha256(run / "plan.json")
    approval = values["approve"] or {}
    approved = plan_sha256 is not None and approval.get("plan_sha256") == plan_sha256
    steps = [_step(name, run, values, approved) for name in STEPS]
    stopped = next((s for s in steps if s["state"] in (REFUSED, DAMAGED)), None)
    waiting = next((s["name"] for s in steps if s["state"] == WAITING), None)
    next_step = None if stopped is not None else waiting
    return {
        "name": run.name,
        "path": str(run),
        "case": settings.get("case_name", "?"),
        "seed": settings.get("seed"),
        "version": settings.get("version"),
        "steps": steps,
        "next_step": next_step,
        "command": f"needlework {next_step} {run}" if next_step else None,
        "outcome": _outcome(values["verify"], stopped),
        "plan_sha256": plan_sha256,
        "approved": approved,
        "operator": approval.get("operator") if approved else None,
        "executed": (run / WRITES["execute"]).exists(),
        "has_pdf": (run / "report.pdf").is_file(),
        "registration": _registration(values["register"]),
        "plan": _plan(values["plan"]),
        "execution": _execution(values["execute"]),
        "verdict": _verdict(values["verify"]),
        "timing": _load(run / "timing.json") or {},
    }


def _load(path: Path) -> dict[str, Any] | None:
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _sha256(path: Path) -> str | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    # As values are hashed, whatever their file's white space: see kinematics/value.py.
    text = json.dumps(value, sort_keys=True, indent=2) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


def _step(name: str, run: Path, values: dict[str, dict[str, Any] | None], approved: bool) -> dict[str, Any]:
    state, reasons = WAITING, []
    if (run / WRITES[name]).exists():
        value = values.get(name)
        if name != "report" and value is None:
            state, reasons = DAMAGED, [f"{WRITES[name]} cannot be read"]
        else:
            state, reasons = _judged(name, value or {}, approved)
    return {"name": name, "state": state, "reasons": reasons}


def _judged(name: str, value: dict[str, Any], approved: bool) -> tuple[str, list[str]]:
    reasons = [str(r) for r in value.get("reasons", [])]
    if name == "register" and not value.get("accepted", False):
        return REFUSED, reasons
    if name == "plan" and value.get("status") != "ok":
        return REFUSED, reasons
    if name == "approve" and not approved:
        return WAITING, ["the approval is for another plan"]
    if name == "execute" and not value.get("completed", False):
        return REFUSED, reasons
    return DONE, reasons


def _outcome(verdict: dict[str, Any] | None, stopped: dict[str, Any] | None) -> str:
    if verdict is not None and "passed" in verdict:
        return "pass" if verdict["passed"] else "fail"
    return "refused" if stopped is not None else "under way"


def _part(value: dict[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    return None if value is None else {key: value.get(key) for key in keys}


def _registration(value: dict[str, Any] | None) -> dict[str, Any] | None:
    part = _part(value, ("accepted", "fre_mm", "tre_p95_mm", "reasons", "suspects", "shares"))
    if part is not None and value is not None:
        keys = ("id", "tracked", "residual_mm", "leave_one_out_mm", "leave_one_out_p95_mm")
        part["fiducials"] = [_part(f, keys) for f in value.get("fiducials", [])]
    return part


def _plan(value: dict[str, Any] | None) -> dict[str, Any] | None:
    return _part(
        value,
        ("status", "reasons", "electrodes", "pairs", "coverage", "order", "hit_probability", "alternatives", "checks"),
    )


def _execution(value: dict[str, Any] | None) -> dict[str, Any] | None:
    return _part(value, ("completed", "reasons", "needles", "duration_s"))


def _verdict(value: dict[str, Any] | None) -> dict[str, Any] | None:
    return _part(value, ("passed", "checks", "pairs", "electrodes", "coverage", "advice", "budget"))
