"""Where a case named on the command line is, and where a new run goes."""

from __future__ import annotations

import time
from pathlib import Path

from console.progress import Bars
from guidance.case.case import Case
from kinematics.errors import InvalidInputError
from sim.cache import case_folder, is_kept
from sim.lidc.fetch import NAMES as FETCHED


def find_case(name: str, bars: Bars) -> tuple[Case, Path]:
    """Return the case called `name` and its folder: a fetched one, `phantom:SEED`, or a case folder.

    What is not in the cache yet, or is of an older form, is fetched or made there.

    Raises:
        InvalidInputError: There is no such case.
    """
    from guidance.case.store import load_case, save_case

    if name in FETCHED:
        folder = case_folder(name)
        if not is_kept(folder):
            from sim.lidc.fetch import fetch

            fetch(name, progress=bars.progress)
        bars.note(f"case {name}: {folder}")
        return load_case(folder), folder
    if name.startswith("phantom:"):
        kind, _, seed = name.partition(":")
        if not seed.isdecimal():
            raise InvalidInputError("a phantom is named by its seed", value=name, remedy="say phantom:7")
        folder = case_folder(f"{kind}-{int(seed)}")
        if not is_kept(folder):
            from sim.phantom import make_phantom

            save_case(make_phantom(int(seed)), folder)
        return load_case(folder), folder
    path = Path(name)
    if not path.is_dir():
        raise InvalidInputError(
            f"there is no case called {name!r}",
            file=str(path),
            remedy=f"use one of {', '.join(FETCHED)}, phantom:SEED, or a case folder (needlework case import)",
        )
    return load_case(path), path


def new_run_folder(case_name: str, out: Path | None, parent: str = "runs") -> Path:
    """Return the folder for a new run: `out`, or `<parent>/<time>-<case>`, numbered when that is taken."""
    if out is not None:
        return out
    stem = Path(parent) / f"{time.strftime('%Y%m%d-%H%M%S')}-{case_name}"
    path, count = stem, 1
    while path.exists():
        count += 1
        path = Path(f"{stem}-{count}")
    return path
