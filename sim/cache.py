"""Where cases are kept: the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the folder of needlework in the user's cache (XDG_CACHE_HOME, or ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "needlework"


def case_folder(name: str) -> Path:
    """Return the folder of the cached case called `name`; it need not exist."""
    return cache_root() / "cases" / name


def is_kept(folder: Path) -> bool:
    """Tell whether `folder` holds a case that can be read: one of an older form is to be made anew."""
    from guidance.case.case import is_of_older_form

    description = folder / "case.json"
    return description.exists() and not is_of_older_form(description)
