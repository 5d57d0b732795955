"""`--tissue-set` where a case is made: kept in the case, refused by name when there is none of that name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.cli import status_of
from guidance.ablation.conductivity import SETS
from guidance.case.case import DEFAULT_TISSUE_SET, Case
from guidance.case.store import load_case, save_case
from sim.cache import case_folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_phantom_has_the_set_that_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the folder and on the screen."""
    out = tmp_path / "out"
    assert status_of(["case", "phantom", "--seed", "3", "--tissue-set", "uniform-0.2", "--out", str(out)]) == 0
    assert "tissue set uniform-0.2" in capsys.readouterr().out
    assert load_case(out).description.tissue_set == "uniform-0.2"


def test_a_kept_case_takes_another_set_and_keeps_it(box_case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """Its images stay as they are; asking for no set leaves what it has."""
    folder = case_folder("lidc")
    save_case(box_case, folder)
    images = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}
    for option, expected in (
        ([], DEFAULT_TISSUE_SET),
        (["--tissue-set", "ire-table-fat"], "ire-table-fat"),
        ([], "ire-table-fat"),
    ):
        capsys.readouterr()
        assert status_of(["case", "fetch", "lidc", "--json", *option]) == 0
        assert json.loads(capsys.readouterr().out)["tissue_set"] == expected
        assert load_case(folder).description == box_case.with_tissue_set(expected).description
    assert images == {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


@pytest.mark.parametrize(
    "command",
    [
        ["fetch", "lidc"],
        ["phantom"],
        ["import", "mine", "--ct", "a", "--labels", "b", "--roles", "c"],
    ],
)
def test_an_unknown_set_is_refused_before_anything_is_made(
    box_case: Case, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, the names there are, and no change to what was kept."""
    save_case(box_case, case_folder("lidc"))
    assert status_of(["case", *command, "--tissue-set", "soft"]) == 2
    error = capsys.readouterr().err
    assert "no tissue set called 'soft'" in error and all(name in error for name in SETS)
    assert load_case(case_folder("lidc")).description == box_case.description
    assert [path.name for path in case_folder("lidc").parent.iterdir()] == ["lidc"]
