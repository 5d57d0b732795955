"""How long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def best(what: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the shortest of the repeats [s], and the last result."""
    times, found = [], None
    for _ in range(repeats):
        begun = time.perf_counter()
        found = what()
        times.append(time.perf_counter() - begun)
    return min(times), found
