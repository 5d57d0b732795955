"""Bad input ends with status 2 and one clear paragraph: what, where, the limit, what to do; nothing half-written."""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from console.cli import status_of
from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.case.store import save_case
from registration.images.volume import Volume, read_image, write_image
from registration.tracking.port import TrackerSample
from sim.cache import case_folder
from sim.phantom import make_phantom
from sim.suite import Suite

NEEDLEWORK = str(Path(sys.executable).with_name("needlework"))


@pytest.fixture(scope="module")
def phantom() -> Case:
    """A small phantom."""
    return make_phantom(1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path: Path, phantom: Case) -> dict[str, Path]:
    """CT, labels and roles of the phantom as somebody would hand them in."""
    paths = {name: tmp_path / "given" / name for name in ("ct.nii.gz", "labels.nii.gz", "roles.csv")}
    write_image(phantom.ct, paths["ct.nii.gz"])
    write_image(phantom.labels, paths["labels.nii.gz"])
    with paths["roles.csv"].open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "name", "policy", "clearance_mm", "price", "tissue"])
        rows.writerows([s.label, s.name, "", "", "", ""] for s in phantom.description.structures)
    paths["answers.json"] = tmp_path / "given" / "answers.json"
    paths["answers.json"].write_text(json.dumps(ASSUMED_ELIGIBLE.model_dump()))
    return paths


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *said: str) -> str:
    """Run the command line; it must refuse with every word of `said` in one paragraph, and no traceback."""
    capsys.readouterr()
    status = status_of(arguments)
    error = capsys.readouterr().err
    paragraph = [line for line in error.splitlines() if line.startswith("needlework: ")]
    assert status == 2, error
    assert "Traceback" not in error
    assert len(paragraph) == 1, error
    for word in said:
        assert word in paragraph[0], (word, paragraph[0])
    return paragraph[0]


def importing(files: dict[str, Path], out: Path, **changed: str) -> list[str]:
    """Return the arguments of an import."""
    options = {
        "--ct": str(files["ct.nii.gz"]),
        "--labels": str(files["labels.nii.gz"]),
        "--roles": str(files["roles.csv"]),
        "--answers": str(files["answers.json"]),
        "--target": "tumour",
        "--out": str(out),
        **{f"--{k}": v for k, v in changed.items()},
    }
    return ["case", "import", "mine", *[word for pair in options.items() for word in pair]]


@pytest.mark.usefixtures("cache")
class TestImport:
    """Images from elsewhere."""

    def test_good_files_are_taken(self, files: dict[str, Path], tmp_path: Path) -> None:
        """What the other tests break is accepted when whole."""
        assert status_of(importing(files, tmp_path / "out")) == 0
        assert (tmp_path / "out" / "case.json").exists()

    @pytest.mark.parametrize("which", ["ct", "labels", "roles", "answers"])
    def test_a_missing_file(
        self, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
    ) -> None:
        """A file that is not there is named."""
        gone = str(tmp_path / "nowhere.nii.gz")
        refused(capsys, importing(files, tmp_path / "out", **{which: gone}), gone, "What to do")
        assert not (tmp_path / "out").exists()

    def test_unanswered_questions(
        self, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each question of eligibility that is not answered is named; without the file, all ten."""
        names = list(ASSUMED_ELIGIBLE.model_dump())
        arguments = importing(files, tmp_path / "out")
        at = arguments.index("--answers")
        refused(capsys, [*arguments[:at], *arguments[at + 2 :]], *names, "--answers")
        files["answers.json"].write_text(json.dumps({name: False for name in names[2:]}))
        said = refused(capsys, arguments, names[0], names[1], "What to do")
        assert names[2] not in said
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("which", ["ct.nii.gz", "labels.nii.gz"])
    @pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
    def test_a_truncated_image(
        self, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str, share: float
    ) -> None:
        """An image cut short is refused by name, wherever it was cut."""
        content = files[which].read_bytes()
        files[which].write_bytes(content[: int(share * len(content))])
        refused(capsys, importing(files, tmp_path / "out"), str(files[which]), "What to do")
        assert not (tmp_path / "out").exists()

    def test_no_image_at_all(self, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A text file under an image's name is refused."""
        files["ct.nii.gz"].write_text("not an image")
        refused(capsys, importing(files, tmp_path / "out"), str(files["ct.nii.gz"]), "What to do")

    def test_labels_on_another_grid(
        self, files: dict[str, Path], phantom: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Another grid of the patient is brought onto the CT's, and told; another place, or too coarse, is refused."""
        affine = phantom.labels.affine.copy()
        affine[0, 3] += 0.4
        write_image(Volume(phantom.labels.voxels, affine), files["labels.nii.gz"])
        assert status_of(importing(files, tmp_path / "moved")) == 0
        assert "nearest" in capsys.readouterr().out
        affine[0, 3] += 2000.0
        write_image(Volume(phantom.labels.voxels, affine), files["labels.nii.gz"])
        refused(capsys, importing(files, tmp_path / "out"), "do not overlap", "What to do")
        coarse = phantom.labels.affine @ np.diag([1.0, 1.0, 4.0, 1.0])
        write_image(Volume(phantom.labels.voxels[:, :, ::4], coarse), files["labels.nii.gz"])
        refused(capsys, importing(files, tmp_path / "out"), "too coarse", "5.0 mm")
        assert not (tmp_path / "out").exists()

    def test_nothing_that_tells_left_from_right(
        self, files: dict[str, Path], phantom: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without landmarks a named person must vouch; then the import is taken, with a warning in its provenance."""
        with files["roles.csv"].open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "name"])
            rows.writerows(
                [s.label, s.name if s.name == "tumour" else f"s{s.label}"] for s in phantom.description.structures
            )
        refused(capsys, importing(files, tmp_path / "out"), "left from right", "--orientation-confirmed-by NAME")
        assert status_of([*importing(files, tmp_path / "out"), "--orientation-confirmed-by", "A. Reader"]) == 0
        assert "WARNING" in capsys.readouterr().out

    def test_an_unknown_structure(
        self, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A target that is no structure is refused with the names there are."""
        refused(capsys, importing(files, tmp_path / "out", target="metastasis"), "metastasis", "aorta", "tumour")

    def test_an_empty_tumour(
        self, files: dict[str, Path], phantom: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A tumour without a voxel is refused."""
        label = phantom.description.structure("tumour").label
        voxels = np.where(phantom.labels.voxels == label, 0, phantom.labels.voxels).astype(np.uint8)
        write_image(phantom.labels.with_voxels(voxels), files["labels.nii.gz"])
        refused(capsys, importing(files, tmp_path / "out"), "tumour", "What to do")
        assert not (tmp_path / "out").exists()

    def test_a_tumour_outside_the_labelled_extent(
        self, files: dict[str, Path], phantom: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where nothing else is labelled, what lies round the tumour is unknown, and the import refused."""
        label = phantom.description.structure("tumour").label
        voxels = np.array(phantom.labels.voxels)
        top = int(np.argwhere(voxels == label)[:, 2].max())
        voxels[:, :, top + 2 :] = 0
        write_image(phantom.labels.with_voxels(voxels), files["labels.nii.gz"])
        kept = {int(v) for v in np.unique(voxels)}
        rows = list(csv.reader(files["roles.csv"].open()))
        with files["roles.csv"].open("w", newline="") as file:
            csv.writer(file).writerows(r for r in rows if r[0] == "id" or int(r[0]) in kept)
        refused(capsys, importing(files, tmp_path / "out"), "labelled extent", "10", "mm", "What to do")

    def test_a_damaged_case_folder(
        self, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An image that is not the one described is refused by its hash."""
        folder = tmp_path / "out"
        assert status_of(importing(files, folder)) == 0
        image = read_image(folder / "labels.nii.gz")
        voxels = np.array(image.voxels)
        voxels[3, 4, 5] ^= 1
        write_image(image.with_voxels(voxels), folder / "labels.nii.gz")
        refused(capsys, ["run", str(folder), "--out", str(tmp_path / "run")], "hash", "labels.nii.gz")
        assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("cache")
class TestRun:
    """A run folder and what may be wrong with it."""

    def start(self, tmp_path: Path) -> Path:
        run = tmp_path / "run"
        assert status_of(["start", "phantom:1", "--seed", "3", "--out", str(run)]) == 0
        return run

    def test_a_case_kept_by_an_older_version(
        self, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A phantom in the cache is made anew; a run that was started on the old one is refused with a remedy."""
        run = self.start(tmp_path)
        path = cache / "needlework" / "cases" / "phantom-1" / "case.json"
        new = path.read_text()
        old = json.loads(new)
        del old["body_sha256"]
        for description in (path, run / "case.json"):
            description.write_text(json.dumps(old))
        refused(capsys, ["register", str(run)], "older version", "fetch it again")
        assert status_of(["start", "phantom:1", "--out", str(tmp_path / "new")]) == 0
        assert path.read_text() == new
        refused(capsys, ["register", str(run)], "older version", "start a new run")

    def test_fetching_again_renews_a_case_of_an_older_version(
        self, cache: Path, phantom: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`case fetch` does not fail on an old cache: it makes the case anew, and reads a new one as it is."""
        made: list[str] = []

        def fetch(name: str, progress: object) -> Case:
            made.append(name)
            save_case(phantom, case_folder(name))
            return phantom

        monkeypatch.setattr("sim.lidc.fetch.fetch", fetch)
        assert status_of(["case", "fetch", "lidc"]) == 0
        path = case_folder("lidc") / "case.json"
        new = path.read_text()
        assert path.is_relative_to(cache) and status_of(["case", "fetch", "lidc"]) == 0 and made == ["lidc"]
        path.write_text(new.replace("body_sha256", "skin_sha256"))
        assert status_of(["case", "fetch", "lidc"]) == 0
        assert made == ["lidc", "lidc"] and path.read_text() == new

    def test_unknown_names(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A case or run that is not there is named, with what there is."""
        refused(capsys, ["run", "nobody", "--out", str(tmp_path / "r")], "nobody", "lidc", "phantom:SEED")
        refused(capsys, ["register", str(tmp_path / "r")], str(tmp_path / "r"), "run folder")
        refused(capsys, ["run", "phantom:x"], "phantom")
        assert not (tmp_path / "r").exists()

    def test_steps_out_of_order(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Each step names the step that it waits for."""
        run = self.start(tmp_path)
        for step in ("plan", "approve", "execute", "verify"):
            refused(capsys, [step, str(run)], "What to do")
        assert sorted(p.name for p in run.iterdir()) == ["case.json", "run.json"]

    @pytest.mark.parametrize("kind", ["two", "line"])
    def test_fiducials_that_fix_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """Fewer than three tracked points, or points on a line, are refused; no registration is written."""
        run = self.start(tmp_path)
        points = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
        if kind == "line":
            points = np.arange(6)[:, None] * np.array([30.0, 12.0, -5.0])

        class Seen:
            def sample(self) -> TrackerSample:
                return TrackerSample(0.0, points)

        monkeypatch.setattr(Suite, "tracker", Seen())
        said = refused(capsys, ["register", str(run)], "register refused", "3" if kind == "two" else "line")
        assert ("2 measured points" in said) if kind == "two" else ("points on a line" in said)
        assert not (run / "registration.json").exists()

    def test_collinear_fiducials_in_the_image(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Spheres on one line, in image and tracker alike, are refused by name."""
        from dataclasses import replace

        import sim.steps
        from registration.fiducials import find_spheres

        run = self.start(tmp_path)
        line = np.arange(5)[:, None] * np.array([30.0, 12.0, -5.0])

        def found(*arguments: object) -> tuple[object, ...]:
            spheres = find_spheres(*arguments)  # type: ignore[arg-type]
            return tuple(replace(s, centre_mm=p) for s, p in zip(spheres, line, strict=False))

        class Seen:
            def sample(self) -> TrackerSample:
                return TrackerSample(0.0, line + 400.0)

        monkeypatch.setattr(sim.steps, "find_spheres", found)
        monkeypatch.setattr(Suite, "tracker", Seen())
        refused(capsys, ["register", str(run)], "register refused", "line")
        assert not (run / "registration.json").exists()

    def test_an_unreachable_tumour(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """An arm that stands too far away gives no plan, says so, and keeps what it found."""
        run = self.start(tmp_path)
        settings = json.loads((run / "run.json").read_text())
        settings["suite"]["arm"]["lateral_right_mm"] = 1500.0
        (run / "run.json").write_text(json.dumps(settings))
        assert status_of(["register", str(run)]) == 0
        said = refused(capsys, ["plan", str(run)], "plan refused")
        assert "arm reach" in said or "reach" in said
        assert json.loads((run / "plan.json").read_text())["status"] == "infeasible"
        refused(capsys, ["approve", str(run)], "approve refused")

    def test_a_check_scan_without_fiducials(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A CT from elsewhere in which no fiducial is seen cannot be registered, and is refused with the counts."""
        run = self.start(tmp_path)
        assert status_of(["register", str(run)]) == 0
        if status_of(["plan", str(run)]) != 0:
            pytest.fail("the phantom of this test must have a plan")
        empty = Volume(np.full((60, 60, 60), -1000, dtype=np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
        write_image(empty, tmp_path / "empty.nii.gz")
        refused(capsys, ["verify", str(run), "--ct", str(tmp_path / "empty.nii.gz")], "fiducials", "0 in the check CT")
        assert not (run / "external").exists()


@pytest.mark.parametrize("limit_bytes", [1_000, 60_000])
def test_a_disk_that_refuses(tmp_path: Path, limit_bytes: int) -> None:
    """When the system refuses to let a file grow, the command says which file, and leaves no part of one."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    done = subprocess.run(
        [NEEDLEWORK, "case", "phantom", "--seed", "2", "--out", str(tmp_path / "case")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_files,
        # A byte-code file cut short by this limit would outlive the test.
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Cannot write" in done.stderr and "What to do" in done.stderr
    left = [p.name for p in (tmp_path / "case").iterdir()] if (tmp_path / "case").exists() else []
    assert not [name for name in left if name.startswith(".writing") or name == "case.json"], left
