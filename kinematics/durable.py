"""Files that are either whole or absent: written beside, synchronised, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from kinematics.errors import StorageError


def write_via(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` with a temporary path beside `path` (same suffixes), then rename onto `path`.

    Raises:
        StorageError: The disk refused (full, read-only, not a directory); `path` is as it was.
    """
    suffix = "".join(path.suffixes[-2:])
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except (OSError, RuntimeError) as error:  # SimpleITK reports a full disk as RuntimeError
        cause = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
        raise StorageError(
            str(path), cause, "free some space or name another folder with --out, then repeat the step"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises StorageError."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_via(path, write)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 `content` to `path`, whole or not at all. Raises StorageError."""
    write_bytes(path, content.encode())
