"""The doctor: what is missing is named with its command, and nothing that is missing raises."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.doctor import can_import, diagnose, free_space, python_version


def test_a_missing_library_is_named_with_its_command() -> None:
    """The finding says what fails, what goes without it, and the one command."""
    found = can_import("PDF", "there_is_no_such_module", missing="no PDF", command="apt-get install -y it")
    assert not found.ok
    assert "there_is_no_such_module" in found.what and "no PDF" in found.what
    assert found.command == "apt-get install -y it"
    assert can_import("json", "json", missing="", command="").ok


def test_an_import_that_aborts_does_not_end_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken system library may abort the interpreter: it does so elsewhere."""
    (tmp_path / "deadly_module.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = can_import("deadly", "deadly_module", missing="nothing", command="mend")
    assert not found.ok and found.command == "mend"


@pytest.mark.parametrize(("version", "ok"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 14, 1), True)])
def test_the_python_version_is_compared_by_number(version: tuple[int, ...], ok: bool) -> None:
    """3.9 is older than 3.11, and what is too old has a command."""
    found = python_version(version)
    assert found.ok is ok
    assert bool(found.command) is not ok


def test_space_is_looked_up_where_the_cache_will_be(tmp_path: Path) -> None:
    """A cache that is not there yet is looked up through its nearest existing folder."""
    asked: list[Path] = []

    def usage(folder: Path) -> int:
        asked.append(folder)
        return 10**9

    found = free_space(tmp_path / "not" / "yet", usage)
    assert asked == [tmp_path]
    assert not found.ok and "0.9 GB" in found.what
    assert free_space(tmp_path, lambda _: 10**10).ok


def test_the_real_case_is_found_or_its_command_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache lacks the case; a cache that has it does not. Everything else is looked at as well."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {f.name: f for f in diagnose()}
    assert found["real CT case (lidc)"].command == "needlework case fetch lidc"
    assert {"Python", "memory", "processor cores", "space for cases", "PDF of the report"} < set(found)
    folder = tmp_path / "needlework" / "cases" / "lidc"
    folder.mkdir(parents=True)
    (folder / "case.json").write_text("{}")
    assert {f.name: f for f in diagnose()}["real CT case (lidc)"].ok
