"""The operator's console: what each run has reached, its figures, its report, and approval; on this machine only."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field

from console.run_state import describe, summarise
from kinematics.errors import InvalidInputError, NeedleworkError

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "[::1]"}
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
STATIC = {"index.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}
REPORTS = {"report.html": "text/html", "report.pdf": "application/pdf"}
VALUES = ("case", "registration", "plan", "approval", "execution", "placement", "verdict", "timing")
# The report carries its own styles and pictures; nothing may come from another address.
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
)

Approve = Callable[[Path, str], None]
"""Run folder and operator's name; records the approval of the saved plan or raises NeedleworkError."""


class ApprovalRequest(BaseModel):
    """What the page sends: who approves, and the hash of the plan that they saw."""

    operator: str = Field(min_length=1, max_length=120)
    plan_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def create_app(runs: Path, approve: Approve | None = None) -> FastAPI:
    """Return the console's application over a folder of runs.

    It reads the run folders and writes nothing, except an approval, through `approve`, when that is given. Requests
    that name another host than this machine's loopback are refused, so that no web page elsewhere can reach it.

    Args:
        runs: The folder that holds run folders.
        approve: How an approval is recorded; None for a console that only shows.

    Raises:
        InvalidInputError: `runs` is not a folder.
    """
    if not runs.is_dir():
        raise InvalidInputError(
            "there is no folder of runs", file=str(runs), remedy="start one: needlework run, or name a folder"
        )
    app = FastAPI(title="needlework console", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if not _local(request):
            return JSONResponse({"detail": "this console answers on this machine only"}, status_code=403)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/")
    def index() -> Response:
        return _static("index.html")

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        return _static(name)

    @app.get("/api/runs")
    def list_runs() -> list[dict[str, Any]]:
        found = [p for p in runs.iterdir() if RUN_NAME.fullmatch(p.name) and (p / "run.json").is_file()]
        return [summarise(p) for p in sorted(found, key=lambda p: p.name, reverse=True)]

    @app.get("/api/runs/{name}")
    def show(name: str) -> dict[str, Any]:
        return {**describe(_run(runs, name)), "can_approve": approve is not None}

    @app.get("/api/runs/{name}/{value}.json")
    def value(name: str, value: str) -> Response:
        if value not in VALUES:
            raise HTTPException(404, "there is no such value")
        return _file(_run(runs, name) / f"{value}.json", "application/json")

    @app.get("/runs/{name}/{report}")
    def report(name: str, report: str) -> Response:
        if report not in REPORTS:
            raise HTTPException(404, "there is no such report")
        return _file(_run(runs, name) / report, REPORTS[report])

    @app.post("/api/runs/{name}/approve")
    def approve_plan(name: str, body: ApprovalRequest) -> dict[str, Any]:
        if approve is None:
            raise HTTPException(405, "this console only shows; approve with: needlework approve RUN")
        path = _run(runs, name)
        state = describe(path)
        if state["plan_sha256"] != body.plan_sha256:
            raise HTTPException(409, "the plan has changed since it was shown; look at it again")
        if state["executed"]:
            raise HTTPException(409, "the needles of this run already stand; its plan cannot be approved again")
        try:
            approve(path, body.operator)
        except NeedleworkError as error:
            raise HTTPException(409, str(error)) from error
        return describe(path)

    return app


def _local(request: Request) -> bool:
    """Tell whether a request names this machine: its Host, and its Origin where the browser sends one."""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if re.sub(r":\d+$", "", host) not in LOOPBACK_NAMES:
        return False
    return origin is None or origin == f"http://{host}"


def _static(name: str) -> Response:
    if name not in STATIC:
        raise HTTPException(404, "there is no such page")
    return Response(files("console.web").joinpath(name).read_bytes(), media_type=STATIC[name])


def _run(runs: Path, name: str) -> Path:
    """Return the run folder called `name`; refuses names and links that lead out of `runs`."""
    path = runs / name
    if not RUN_NAME.fullmatch(name) or path.resolve().parent != runs.resolve() or not (path / "run.json").is_file():
        raise HTTPException(404, "there is no such run")
    return path


def _file(path: Path, kind: str) -> Response:
    if path.is_symlink() or not path.is_file():
        raise HTTPException(404, "this run has not come so far")
    return FileResponse(path, media_type=kind)


def _approve_simulated(run: Path, operator: str) -> None:
    from sim.steps import SimulatedProcedure

    SimulatedProcedure(run).approve(operator, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def check_host(host: str) -> None:
    """Refuse to be reached from another machine.

    Raises:
        InvalidInputError: `host` is not a loopback address.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidInputError(
            "the console is bound to this machine only", value=host, limit=LOOPBACK, remedy=f"leave it at {LOOPBACK}"
        )


def serve(runs: Path, port: int, host: str = LOOPBACK) -> None:
    """Serve the console of a folder of runs, or of one run, until it is stopped.

    Raises:
        InvalidInputError: There is no such folder, the port is taken, or `host` is not this machine's loopback.
    """
    import uvicorn

    check_host(host)
    one = (runs / "run.json").is_file()
    app = create_app(runs.resolve().parent if one else runs, _approve_simulated)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InvalidInputError(
                f"the port cannot be used ({error.strerror})", value=port, remedy="name another one with --port"
            ) from error
    where = f"http://{host}:{port}/" + (f"#{runs.resolve().name}" if one else "")
    print(f"console at {where} (stop with Ctrl-C). Research software, not a medical device.", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")
