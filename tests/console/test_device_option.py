"""`--device` on the command line: a case is made, fetched, imported or run with electrodes or one bipolar needle."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from console.cli import REFUSED, status_of
from console.commands.where import fetched_folder, find_case
from console.progress import Bars
from guidance.case.case import ASSUMED_ELIGIBLE, CaseDescription
from guidance.case.store import save_case
from guidance.scene import BipolarNeedle, ElectrodeDevice
from registration.images.volume import write_image
from sim.cache import case_folder
from sim.phantom import make_phantom
from sim.run_folder import RunSettings

NEEDLE = BipolarNeedle()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_phantom_is_made_and_started_with_a_needle(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The case names the device, and the run's suite has it: nothing else has to be told."""
    assert status_of(["case", "phantom", "--seed", "4", "--tumour", "nodule", "--device", "bipolar"]) == 0
    assert "device 16 G bipolar needle" in capsys.readouterr().out
    folder = case_folder("phantom-4-nodule-bipolar")
    assert CaseDescription.load(folder / "case.json").device == NEEDLE
    run = tmp_path / "run"
    assert status_of(["start", "phantom:4:nodule", "--device", "bipolar", "--out", str(run)]) == 0
    assert RunSettings.load(run / "run.json").suite.device == NEEDLE
    # A case folder brings its own device.
    assert status_of(["start", str(folder), "--out", str(tmp_path / "again")]) == 0
    assert RunSettings.load(tmp_path / "again" / "run.json").suite.device == NEEDLE


def test_without_the_option_nothing_changes() -> None:
    """A phantom is treated with electrodes, under the name that it always had."""
    with Bars() as bars:
        case, folder = find_case("phantom:4", bars)
    assert case.description.device == ElectrodeDevice() and folder == case_folder("phantom-4")


def test_a_public_case_is_kept_once_for_each_device() -> None:
    """The needle's is made from the one in the cache, and says so in its name; voxels are the same."""
    save_case(make_phantom(4), case_folder("lidc"))
    with Bars() as bars:
        folder = fetched_folder("lidc", "bipolar", bars)
        case, again = find_case("lidc", bars, "bipolar")
        usual, _ = find_case("lidc", bars)
    assert folder == again == case_folder("lidc-bipolar")
    assert case.description.name == "phantom-4-bipolar"
    assert case.description.device == NEEDLE and usual.description.device == ElectrodeDevice()
    assert case.labels.sha256() == usual.labels.sha256()


def test_an_import_names_its_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CT with labels, treated with one needle."""
    phantom = make_phantom(1)
    write_image(phantom.ct, tmp_path / "ct.nii.gz")
    write_image(phantom.labels, tmp_path / "labels.nii.gz")
    (tmp_path / "answers.json").write_text(json.dumps(ASSUMED_ELIGIBLE.model_dump()))
    with (tmp_path / "roles.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "name"], *([s.label, s.name] for s in phantom.description.structures)])
    given = {"ct": "ct.nii.gz", "labels": "labels.nii.gz", "roles": "roles.csv", "answers": "answers.json"}
    options = [f"--{name}={tmp_path / file}" for name, file in given.items()]
    assert status_of(["case", "import", "mine", *options, "--device", "bipolar", f"--out={tmp_path / 'case'}"]) == 0
    assert CaseDescription.load(tmp_path / "case" / "case.json").device == NEEDLE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["case", "phantom", "--device", "laser"], ("there is no such device", "laser", "monopolar, bipolar")),
        (["case", "phantom", "--tumour", "huge"], ("no such phantom tumour", "usual, nodule")),
        (["start", "phantom:4:huge"], ("there is no such phantom", "nodule", "one-window")),
        (["start", "phantom:4:nodule:x"], ("a phantom is named by its seed", "phantom:7:nodule")),
        (["start", "phantom:4", "--device", "laser"], ("there is no such device",)),
        (["case", "fetch", "lidc", "--device", "laser"], ("there is no such device",)),
    ],
)
def test_what_there_is_not_is_refused(
    arguments: list[str], says: tuple[str, ...], capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    """With status 2 and the names that there are; nothing is kept."""
    assert status_of(arguments) == REFUSED
    error = capsys.readouterr().err
    assert all(word in error for word in says)
    assert not (cache / "needlework" / "cases").exists()


def test_a_case_folder_of_another_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its plan would be for other needles: the case says which, and is made anew for others."""
    save_case(make_phantom(4), tmp_path / "case")
    run = tmp_path / "run"
    assert status_of(["start", str(tmp_path / "case"), "--device", "bipolar", "--out", str(run)]) == REFUSED
    error = capsys.readouterr().err
    assert "the case is of another device" in error and "monopolar" in error and "bipolar" in error
    assert not run.exists()
