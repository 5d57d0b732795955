"""`case series` lists what a DICOM folder holds; `case import --series` and `verify` take one of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from console.cli import REFUSED, status_of
from guidance.report.dicom.objects import SeriesNames
from guidance.report.dicom.series import write_series
from registration.images.volume import Volume


@pytest.fixture
def folder(tmp_path):
    """Two CT series, the second with a slice missing, and a file that is none."""
    for n, name in enumerate(("thin", "thick")):
        image = Volume(np.full((5, 4, 6), 10 * n, np.int16), np.diag([0.7, 0.9, 1.0 + n, 1.0]))
        write_series(image, tmp_path / name, SeriesNames("phantom", "study", name, n))
    (tmp_path / "thick" / "0003.dcm").unlink()
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


def test_series_are_listed_with_size_spacing_and_what_is_wrong(folder, capsys):
    """One block a series: what it is, its grid, or why it cannot be read and what to do."""
    assert status_of(["case", "series", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "2 series" in text and "--series UID" in text
    assert "CT  thin: RESEARCH ONLY" in text and "6 files" in text and "5 x 4 x 6 voxels of 0.7 x 0.9 x 1 mm" in text
    assert "cannot be read as a CT: 1 slice is missing between 0002.dcm and 0004.dcm" in text and "What to do" in text


def test_series_as_json(folder, capsys):
    """The same for programs."""
    assert status_of(["case", "series", str(folder), "--json"]) == 0
    found = {one["description"][:4]: one for one in json.loads(capsys.readouterr().out)}
    assert found["thin"]["size"] == [5, 4, 6] and found["thin"]["spacing_mm"] == pytest.approx([0.7, 0.9, 1.0])
    assert found["thin"]["problem"] is None and len(found["thin"]["files"]) == 6
    assert found["thic"]["size"] is None and "missing" in found["thic"]["problem"]


def test_a_folder_that_is_not_there_is_refused(folder, capsys):
    """With status 2 and its name."""
    assert status_of(["case", "series", str(folder / "none")]) == REFUSED
    assert "not there" in capsys.readouterr().err


def test_import_passes_the_series_on(folder, capsys, tmp_path):
    """Without a UID both are listed; an unknown UID is refused; a UID for a file that is no folder too."""
    for name, text in (("roles.csv", "id,name\n1,tumour\n"), ("labels.nrrd", ""), ("ct.nrrd", "")):
        (tmp_path / name).write_text(text)
    from guidance.case.case import ASSUMED_ELIGIBLE

    (tmp_path / "answers.json").write_text(json.dumps(ASSUMED_ELIGIBLE.model_dump()))

    def refused(ct, *more):
        paths = [f"--{n}={tmp_path / f}" for n, f in (("labels", "labels.nrrd"), ("roles", "roles.csv"))]
        answers = f"--answers={tmp_path / 'answers.json'}"
        assert status_of(["case", "import", "mine", f"--ct={ct}", *paths, answers, *more]) == REFUSED
        return capsys.readouterr().err

    assert "several CT series" in refused(folder)
    assert "no CT series with this UID" in refused(folder, "--series", "1.2.3")
    assert "not a DICOM folder" in refused(tmp_path / "ct.nrrd", "--series", "1.2.3")
