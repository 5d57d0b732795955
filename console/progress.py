"""Progress on the terminal: a bar for each stage that takes over a second; plain lines when it is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """Progress bars on standard error, so that `--json` on standard output stays clean.

    `progress(stage, fraction)` is what the steps call; a stage ends at 1.0. Without a terminal each stage prints
    one line when it ends.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._live = self.console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()

    def progress(self, stage: str, fraction: float) -> None:
        """Show `stage` at `fraction` (0 to 1)."""
        if self._live:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=1.0)
            self._bars.update(self._tasks[stage], completed=min(1.0, fraction))
            return
        self._begun.setdefault(stage, time.perf_counter())
        if fraction >= 1.0:
            seconds = time.perf_counter() - self._begun.pop(stage)
            print(f"{stage:<34} {seconds:6.1f} s", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self.console.print(text, highlight=False, soft_wrap=True)
