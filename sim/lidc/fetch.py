"""The real CT case: fetch it once, add what its labels lack, check it, keep it in the cache.

Nothing heavy is imported here: the command line reads `NAMES` before it knows whether a case is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kinematics.errors import InvalidInputError
from sim.cache import case_folder

if TYPE_CHECKING:
    from guidance.case.case import Case

NAMES = ("lidc", "lidc-head")


def fetch(name: str, progress: Callable[[str, float], None] | None = None) -> Case:
    """Make the case called `name` from the public CT and keep it in `sim.cache.case_folder(name)`.

    Args:
        name: `lidc` (virtual tumour in the pancreas body) or `lidc-head` (in the head).
        progress: Called with stage and fraction.

    Raises:
        InvalidInputError: There is no such case; the download failed; the files are not what they should be.
        StorageError: The disk refused.
    """
    if name not in NAMES:
        raise InvalidInputError("there is no such public case", value=name, remedy=f"use one of {', '.join(NAMES)}")
    from guidance.case.checks import check_case
    from guidance.case.store import save_case
    from sim.lidc.anatomy import derive, read_sources
    from sim.lidc.source import source_files

    tell = progress or _silent
    case = derive(name, read_sources(source_files(tell), tell), tell)
    check_case(case)
    tell("keep the case", 0.0)
    save_case(case, case_folder(name))
    tell("keep the case", 1.0)
    return case


def _silent(_stage: str, _fraction: float) -> None:
    """Tell nobody."""
