"""The exceptions of the stack, under one root, each carrying its data.

An expected "no" (no plan, ambiguous fiducials, an unreachable pose) is not an exception: it is a result with a
status and reasons. What is here is bad input, a disk that refuses, and a latched safety stop.
"""

from __future__ import annotations

from typing import Any


class NeedleworkError(Exception):
    """Root of everything that this stack raises on purpose."""


class InvalidInputError(NeedleworkError, ValueError):
    """Input that cannot be used: says what, where, the limit and the remedy.

    Args:
        what: One sentence: what is wrong.
        value: The offending value, if one can be named.
        limit: The limit that it breaks, if any.
        unit: Unit of `value` and `limit`.
        frame: Frame in which `value` is expressed.
        file: File that held the value.
        remedy: What the person should do.
    """

    def __init__(
        self,
        what: str,
        *,
        value: Any = None,
        limit: Any = None,
        unit: str | None = None,
        frame: str | None = None,
        file: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.value = value
        self.limit = limit
        self.unit = unit
        self.frame = frame
        self.file = file
        self.remedy = remedy
        super().__init__(self._paragraph())

    def _paragraph(self) -> str:
        parts = [self.what.rstrip(".") + "."]
        unit = f" {self.unit}" if self.unit else ""
        if self.file is not None:
            parts.append(f"File: {self.file}.")
        if self.value is not None:
            frame = f" (frame {self.frame})" if self.frame else ""
            parts.append(f"Value: {self.value}{unit}{frame}.")
        if self.limit is not None:
            parts.append(f"Limit: {self.limit}{unit}.")
        if self.remedy is not None:
            parts.append(f"What to do: {self.remedy.rstrip('.')}.")
        return " ".join(parts)


class FrameMismatchError(InvalidInputError):
    """Two quantities in different frames met."""


class StorageError(NeedleworkError):
    """A file could not be written whole; what stood there before is untouched."""

    def __init__(self, file: str, cause: str, remedy: str) -> None:
        self.file = file
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"Cannot write {file}: {cause}. Nothing was changed. What to do: {remedy}.")


class RefusedError(NeedleworkError):
    """A step that cannot go on, for named reasons that are not faults of the program.

    Args:
        step: The step that refuses (`register`, `plan`, `execute`, ...).
        reasons: One sentence each, with number and limit.
    """

    def __init__(self, step: str, reasons: tuple[str, ...]) -> None:
        self.step = step
        self.reasons = reasons
        super().__init__(f"{step} refused: " + "; ".join(reasons))


class SafetyStop(NeedleworkError):
    """A limit was broken in motion. Latched: only a named act of the operator clears it.

    Args:
        check: Name of the check that stopped the motion.
        value: Measured value.
        limit: Limit.
        unit: Unit of both.
    """

    def __init__(self, check: str, value: float, limit: float, unit: str) -> None:
        self.check = check
        self.value = value
        self.limit = limit
        self.unit = unit
        super().__init__(f"safety stop: {check} = {value:.4g} {unit}, limit {limit:.4g} {unit}")
