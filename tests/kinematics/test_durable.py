"""Files are whole or absent, whatever the disk does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kinematics.durable import write_bytes, write_text, write_via
from kinematics.errors import StorageError


def _full(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_written_is_there(tmp_path: Path) -> None:
    """Folders are made, bytes and text arrive, nothing else stays behind."""
    path = tmp_path / "a" / "b.json"
    write_text(path, "plan ± 1\n")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, existing: bool
) -> None:
    """When synchronising or renaming fails, the old file is untouched (or still absent), and no rest stays."""
    path = tmp_path / "plan.json"
    if existing:
        path.write_text("old")
    monkeypatch.setattr(os, call, _full)
    with pytest.raises(StorageError, match="No space left") as refusal:
        write_text(path, "new")
    assert str(path) in str(refusal.value)
    assert [p.name for p in tmp_path.iterdir()] == (["plan.json"] if existing else [])
    assert not existing or path.read_text() == "old"


def test_a_writer_that_fails_half_way(tmp_path: Path) -> None:
    """A library's RuntimeError is a storage error too; half a file never shows."""
    path = tmp_path / "image.nii.gz"
    seen = []

    def half(temporary: Path) -> None:
        seen.append(temporary)
        temporary.write_bytes(b"half")
        raise RuntimeError("first line\nitk: write failed")

    with pytest.raises(StorageError, match="itk: write failed"):
        write_via(path, half)
    assert seen[0].parent == tmp_path and seen[0].name.endswith(".nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_another_error_of_the_writer_passes(tmp_path: Path) -> None:
    """A fault of the program is not dressed up as the disk's; no rest stays either."""

    def wrong(_temporary: Path) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        write_via(tmp_path / "x", wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A parent that is no folder is refused by the path's name."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file/plan.json"):
        write_text(tmp_path / "file" / "plan.json", "new")
