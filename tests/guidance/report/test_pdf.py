"""The PDF: a copy that never ends a run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from guidance.report.pdf import COMMAND, write_pdf

PAGE = "<!doctype html><html><body><p>Research software, not a medical device.</p></body></html>"


def _runs_here() -> bool:
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


@pytest.mark.skipif(not _runs_here(), reason="libpango is not on this machine (needlework doctor says how to get it)")
def test_the_pdf_is_written(tmp_path: Path) -> None:
    """A page becomes a PDF."""
    (tmp_path / "report.html").write_text(PAGE)
    assert write_pdf(tmp_path / "report.html", tmp_path / "report.pdf") is None
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_without_the_library_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised or half-written; the sentence names what brings it."""
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    (tmp_path / "report.html").write_text(PAGE)
    note = write_pdf(tmp_path / "report.html", tmp_path / "report.pdf")
    assert note is not None and COMMAND in note
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
