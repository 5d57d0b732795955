"""Where the cache is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.cache import cache_root, case_folder


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CACHE_HOME moves the cache; without it, or when it is empty, it is in the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert case_folder("lidc") == tmp_path / "needlework" / "cases" / "lidc"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", unset)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert cache_root() == tmp_path / "home" / ".cache" / "needlework"


def test_asking_makes_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder need not exist, and is not made by being named."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert not case_folder("lidc").exists() and not (tmp_path / "cache").exists()
