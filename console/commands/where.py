"""Where a case named on the command line is, and where a new run goes."""

from __future__ import annotations

import time
from pathlib import Path

from console.progress import Bars
from guidance.case.case import Case
from kinematics.errors import InvalidInputError
from sim.cache import case_folder, is_kept
from sim.lidc.fetch import NAMES as FETCHED

USUAL_DEVICE = "monopolar"


def find_case(name: str, bars: Bars, device: str | None = None) -> tuple[Case, Path]:
    """Return the case called `name` and its folder: a fetched one, `phantom:SEED[:NAME]`, or a case folder.

    What is not in the cache yet, or is of an older form, is fetched or made there.

    Args:
        name: See above.
        bars: Told what is done.
        device: Kind of the device it is treated with; None stands for the case's own, or the usual one.

    Raises:
        InvalidInputError: There is no such case or device, or a case folder is of another device.
    """
    from guidance.case.store import load_case, save_case
    from guidance.scene import device_called

    if name in FETCHED:
        folder = fetched_folder(name, device or USUAL_DEVICE, bars)
        bars.note(f"case {name}: {folder}")
        return load_case(folder), folder
    if name.startswith("phantom:"):
        from sim.phantom import phantom_name
        from sim.planning_phantoms import planning_phantom

        _, seed, *rest = name.split(":")
        if not seed.isdecimal() or len(rest) > 1:
            raise InvalidInputError(
                "a phantom is named by its seed", value=name, remedy="say phantom:7, phantom:7:nodule, phantom:7:open"
            )
        kind, treated = rest[0] if rest else "usual", device_called(device or USUAL_DEVICE)
        folder = case_folder(phantom_name(int(seed), "small", kind, treated))
        if not is_kept(folder):
            save_case(planning_phantom(int(seed), kind, treated), folder)
        return load_case(folder), folder
    path = Path(name)
    if not path.is_dir():
        raise InvalidInputError(
            f"there is no case called {name!r}",
            file=str(path),
            remedy=f"use one of {', '.join(FETCHED)}, phantom:SEED, or a case folder (needlework case import)",
        )
    case = load_case(path)
    if device is not None and device_called(device).kind != case.description.device.kind:
        raise InvalidInputError(
            "the case is of another device",
            value=case.description.device.kind,
            limit=device,
            file=str(path),
            remedy="leave --device out, or make the case again with it (needlework case import --device)",
        )
    return case, path


def fetched_folder(name: str, device: str, bars: Bars) -> Path:
    """Return the folder of a public case in the cache, of a kind of device; what is not there is fetched or made.

    Raises:
        InvalidInputError: There is no such case or device.
    """
    from guidance.case.store import load_case, save_case
    from guidance.scene import device_called

    treated, usual = device_called(device), case_folder(name)
    folder = usual if device == USUAL_DEVICE else case_folder(f"{name}-{device}")
    if is_kept(folder):
        bars.note(f"{folder.name} is in the cache already")
        return folder
    if not is_kept(usual):
        from sim.lidc.fetch import fetch

        fetch(name, progress=bars.progress)
    if folder != usual:
        save_case(load_case(usual).treated_with(treated), folder)
    return folder


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
