"""What this machine lacks, and the one command that mends each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sim.cache import cache_root, case_folder, is_kept

NEEDED_PYTHON = (3, 11)
NEEDED_FREE_GB = 2.0
NEEDED_MEMORY_GB = 4.0
ADVISED_CORES = 2
IMPORT_SECONDS = 60.0
GIGABYTE = 1024.0**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What it is.
        ok: Whether it is there.
        what: What was found, or what goes without it.
        command: The one command that mends it; empty when there is none.
    """

    name: str
    ok: bool
    what: str
    command: str = ""


def diagnose() -> tuple[Finding, ...]:
    """Look at everything that a run may need. Nothing is changed, and nothing that is missing raises."""
    return (
        python_version(sys.version_info[:3]),
        _cores(),
        _memory(),
        free_space(cache_root()),
        _real_case(),
        can_import(
            "PDF of the report",
            "weasyprint",
            missing="the report is written as HTML only",
            command="apt-get install -y libpango-1.0-0 libpangoft2-1.0-0",
        ),
        can_import(
            "camera boards (OpenCV)",
            "cv2",
            missing="no camera calibration boards, which are to come; nothing needs it yet",
            command="apt-get install -y libgl1 libglib2.0-0",
        ),
    )


def python_version(found: tuple[int, ...]) -> Finding:
    """Compare the interpreter's version with what the stack needs."""
    text = ".".join(str(part) for part in found)
    needed = ".".join(str(part) for part in NEEDED_PYTHON)
    if found >= NEEDED_PYTHON:
        return Finding("Python", True, text)
    return Finding(
        "Python", False, f"{text}, needed {needed} or newer", "apt-get install -y python3.11 python3.11-venv"
    )


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if count >= ADVISED_CORES:
        return Finding("processor cores", True, str(count))
    return Finding("processor cores", False, f"{count}; a run takes longer than on {ADVISED_CORES}")


def _memory() -> Finding:
    try:
        total_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    except (ValueError, OSError, AttributeError):
        return Finding("memory", True, "unknown on this system")
    enough = total_gb >= NEEDED_MEMORY_GB
    what = f"{total_gb:.1f} GB" + ("" if enough else f"; a run on a whole CT needs {NEEDED_MEMORY_GB:g} GB")
    return Finding("memory", enough, what)


def free_space(folder: Path, usage: Callable[[Path], int] | None = None) -> Finding:
    """Look at the space left where cases are kept.

    Args:
        folder: The cache; it need not exist yet.
        usage: Returns the free bytes of an existing folder; `shutil.disk_usage` by default.
    """
    existing = next((f for f in (folder, *folder.parents) if f.is_dir()), Path("/"))
    free = usage(existing) if usage is not None else shutil.disk_usage(existing).free
    free_gb = free / GIGABYTE
    if free_gb >= NEEDED_FREE_GB:
        return Finding("space for cases", True, f"{free_gb:.0f} GB free in {existing}")
    return Finding(
        "space for cases",
        False,
        f"{free_gb:.1f} GB free in {existing}, needed {NEEDED_FREE_GB:g} GB",
        "export XDG_CACHE_HOME=/a/folder/with/space",
    )


def _real_case() -> Finding:
    folder = case_folder("lidc")
    if is_kept(folder):
        return Finding("real CT case (lidc)", True, str(folder))
    return Finding(
        "real CT case (lidc)", False, "not in the cache, or of an older version", "needlework case fetch lidc"
    )


def can_import(name: str, module: str, *, missing: str, command: str) -> Finding:
    """Try to import `module` in a process of its own, so that a broken system library cannot hurt this one."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=IMPORT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, False, f"could not be tried ({type(error).__name__}); {missing}", command)
    if done.returncode == 0:
        return Finding(name, True, "ready")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    cause = lines[-1][:160] if lines else f"ended with status {done.returncode}"
    return Finding(name, False, f"{cause}; {missing}", command)
