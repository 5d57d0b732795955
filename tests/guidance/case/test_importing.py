"""Importing anyone's images: the phantom comes back through NIfTI, NRRD and DICOM; what does not fit is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.case.importing import import_case
from guidance.report.dicom.objects import SeriesNames
from guidance.report.dicom.series import write_series
from kinematics.errors import InvalidInputError
from registration.images.dicom_series import list_series
from registration.images.volume import Volume, to_sitk, write_image
from sim.phantom import make_phantom

GOOD = ASSUMED_ELIGIBLE.model_dump()


@dataclass(frozen=True)
class Files:
    """A phantom on disk."""

    case: Case
    ct: Path
    labels: Path
    roles: Path
    answers: Path
    folder: Path

    def load(self, **changes: Path | str) -> Case:
        """Import, with some of the arguments changed."""
        given = {"ct_path": self.ct, "labels_path": self.labels, "roles_csv_path": self.roles, "target": "tumour"}
        return import_case("mine", **{**given, "answers_path": self.answers, **changes})  # type: ignore[arg-type]

    def labelled(self, voxels: np.ndarray, name: str = "other.nrrd") -> Path:
        """Write other labels on the grid of the case."""
        path = self.folder / name
        write_image(self.case.labels.with_voxels(voxels), path)
        return path


@pytest.fixture(scope="module")
def phantom() -> Case:
    """A small phantom."""
    return make_phantom(5)


@pytest.fixture
def files(phantom: Case, tmp_path: Path) -> Files:
    """The phantom as NIfTI and NRRD, with a table that leaves everything to the defaults."""
    write_image(phantom.ct, tmp_path / "ct.nii.gz")
    write_image(phantom.labels, tmp_path / "labels.seg.nrrd")
    rows = [f"{s.label},{s.name}" for s in phantom.description.structures]
    (tmp_path / "roles.csv").write_text("id,name\n" + "\n".join(rows) + "\n")
    (tmp_path / "answers.json").write_text(json.dumps({**GOOD, "atrial_fibrillation": True}))
    names = ("ct.nii.gz", "labels.seg.nrrd", "roles.csv", "answers.json")
    return Files(phantom, *(tmp_path / name for name in names), tmp_path)


def test_phantom_comes_back(files: Files) -> None:
    """Voxels, structures with their roles, target and skin mask are those of the phantom."""
    case = files.load()
    np.testing.assert_array_equal(case.ct.voxels, files.case.ct.voxels)
    np.testing.assert_array_equal(case.labels.voxels, files.case.labels.voxels)
    np.testing.assert_array_equal(case.body.voxels, files.case.body.voxels)
    assert case.labels.voxels.dtype == np.uint8
    by_label = sorted(files.case.description.structures, key=lambda s: s.label)
    assert case.description.structures == tuple(by_label)
    assert case.description.name == "mine" and case.description.target == "tumour"
    assert case.description.ct_sha256 == case.ct.sha256()
    assert case.description.body_sha256 == case.body.sha256()
    assert case.description.eligibility == ASSUMED_ELIGIBLE.model_copy(update={"atrial_fibrillation": True})
    assert "answers.json" in case.description.provenance["eligibility"]
    assert "liver right of spleen" in case.description.provenance["sides"]


def test_dicom_series_with_nifti_labels(files: Files) -> None:
    """The CT as a DICOM series and the labels as NIfTI give the same case as two image files do."""
    write_series(files.case.ct, files.folder / "dicom", SeriesNames("phantom", "study", "ct", 1))
    labels = files.labelled(files.case.labels.voxels, "labels.nii.gz")
    case = files.load(ct_path=files.folder / "dicom", labels_path=labels)
    np.testing.assert_array_equal(case.ct.voxels, files.case.ct.voxels)
    np.testing.assert_array_equal(case.labels.voxels, files.case.labels.voxels)


def test_one_of_several_series_is_chosen_and_what_was_decided_is_kept(files: Files) -> None:
    """The series named by its UID is read; what its reader noted stands in the case's provenance."""
    folder = files.folder / "dicom"
    write_series(files.case.ct, folder / "a", SeriesNames("phantom", "study", "ct", 1))
    write_series(files.case.ct.with_voxels(files.case.ct.voxels + 1), folder / "b", SeriesNames("p", "study", "x", 2))
    with pytest.raises(InvalidInputError, match="several CT series"):
        files.load(ct_path=folder)
    uid = next(s.uid for s in list_series(folder) if s.description.startswith("ct"))
    case = files.load(ct_path=folder, series=uid)
    np.testing.assert_array_equal(case.ct.voxels, files.case.ct.voxels)
    assert "left aside: series" in case.description.provenance["image"]
    with pytest.raises(InvalidInputError, match="not a DICOM folder"):
        files.load(series=uid)


def test_outside_the_field_becomes_air_and_floats_are_rounded(files: Files) -> None:
    """A CT in floating point with -2048 outside the scanner's field reads as int16 HU with air there."""
    voxels = files.case.ct.voxels.astype(np.float32) + 0.25
    voxels[:3] = -2048.0
    write_image(files.case.ct.with_voxels(voxels), files.folder / "float.nrrd")
    case = files.load(ct_path=files.folder / "float.nrrd")
    assert case.ct.voxels.dtype == np.int16 and int(case.ct.voxels[0, 0, 0]) == -1024
    np.testing.assert_array_equal(case.ct.voxels[3:], files.case.ct.voxels[3:])


@pytest.mark.parametrize("which", ["ct_path", "labels_path", "roles_csv_path"])
def test_a_missing_file_is_named(files: Files, which: str) -> None:
    """Each of the three is named when it is missing."""
    missing = files.folder / "none.nii.gz"
    with pytest.raises(InvalidInputError, match="not there") as caught:
        files.load(**{which: missing})
    assert str(missing) in str(caught.value.file) and caught.value.remedy


@pytest.mark.parametrize("which", ["ct_path", "labels_path"])
def test_a_truncated_image_is_refused(files: Files, which: str) -> None:
    """A file that was cut short is refused, as is one that is no image."""
    whole = (files.ct if which == "ct_path" else files.labels).read_bytes()
    cut = files.folder / ("cut.nii.gz" if which == "ct_path" else "cut.nrrd")
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match="cannot be read|cut short|damaged") as caught:
        files.load(**{which: cut})
    assert caught.value.file == str(cut)
    (files.folder / "text.nrrd").write_text("no image")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        files.load(**{which: files.folder / "text.nrrd"})


def test_a_ct_that_is_not_in_hu_is_refused(files: Files) -> None:
    """Stored values without rescaling hold no air."""
    stored = files.case.ct.voxels.astype(np.int32) + 1024
    write_image(files.case.ct.with_voxels(stored.astype(np.uint16)), files.folder / "stored.nrrd")
    with pytest.raises(InvalidInputError, match="not in HU"):
        files.load(ct_path=files.folder / "stored.nrrd")


def test_a_ct_with_nan_is_refused(files: Files) -> None:
    """One voxel that is no number is enough."""
    voxels = files.case.ct.voxels.astype(np.float32)
    voxels[4, 5, 6] = np.nan
    image = to_sitk(files.case.ct.with_voxels(voxels))
    sitk.WriteImage(image, str(files.folder / "nan.nrrd"))
    with pytest.raises(InvalidInputError, match="no numbers"):
        files.load(ct_path=files.folder / "nan.nrrd")


def test_labels_on_another_grid_are_refused(files: Files) -> None:
    """Same shape, moved by one slice: never used by index."""
    affine = files.case.labels.affine.copy()
    affine[2, 3] += 2.5
    write_image(Volume(files.case.labels.voxels, affine), files.folder / "moved.nrrd")
    with pytest.raises(InvalidInputError, match="do not lie on the grid") as caught:
        files.load(labels_path=files.folder / "moved.nrrd")
    assert caught.value.file == str(files.folder / "moved.nrrd")


def test_labels_that_are_not_whole_numbers_are_refused(files: Files) -> None:
    """Interpolated labels, and a CT in their place, are told from labels; whole floats are labels."""
    real = files.case.labels.voxels.astype(np.float32)
    assert files.load(labels_path=files.labelled(real)).description.labels_sha256 == files.case.labels.sha256()
    real = real.copy()  # an image takes its array over
    real[10, 11, 12] = 3.5
    with pytest.raises(InvalidInputError, match="whole numbers") as caught:
        files.load(labels_path=files.labelled(real))
    assert caught.value.value == 3.5
    with pytest.raises(InvalidInputError, match="between 0 and 65535"):
        files.load(labels_path=files.ct)


@pytest.mark.parametrize("name", ["seg", "seg.dcm"])
def test_a_dicom_segmentation_is_refused_with_the_way_out(files: Files, name: str) -> None:
    """A folder or a .dcm file as labels says what to convert it to."""
    path = files.folder / name
    if "." in name:
        path.write_bytes(b"")
    else:
        path.mkdir()
    with pytest.raises(InvalidInputError, match="image file.*NIfTI or NRRD"):
        files.load(labels_path=path)


def test_a_label_without_a_row_and_a_row_without_a_voxel(files: Files) -> None:
    """Both are refused: by number, and by row."""
    voxels = files.case.labels.voxels.copy()
    voxels[20, 20, 20] = 200
    with pytest.raises(InvalidInputError, match="does not name") as caught:
        files.load(labels_path=files.labelled(voxels))
    assert caught.value.value == "200" and caught.value.file == str(files.roles)
    rows = files.roles.read_text()
    files.roles.write_text(rows + "99,gallbladder\n")
    with pytest.raises(InvalidInputError, match="no voxel has the label of gallbladder") as caught:
        files.load()
    assert caught.value.file == f"{files.roles}, row {len(rows.splitlines()) + 1}" and caught.value.value == 99


def test_target_must_be_in_table_and_image(files: Files) -> None:
    """An unknown target lists the names; one without a voxel is an empty tumour."""
    with pytest.raises(InvalidInputError, match="no structure called 'lesion'.*pancreas"):
        files.load(target="lesion")
    label = files.case.description.structure("tumour").label
    voxels = np.where(files.case.labels.voxels == label, 0, files.case.labels.voxels)
    with pytest.raises(InvalidInputError, match="the tumour .tumour. is empty") as caught:
        files.load(labels_path=files.labelled(voxels))
    assert "row" in str(caught.value.file) and caught.value.value == label


def test_a_tumour_outside_the_labels_is_refused(files: Files) -> None:
    """Labels that end beside the tumour leave unknown what lies there."""
    label = files.case.description.structure("tumour").label
    last = int(np.argwhere(files.case.labels.voxels == label)[:, 2].max())
    voxels = files.case.labels.voxels.copy()
    voxels[:, :, last + 1 :] = 0
    present = set(np.unique(voxels).tolist())
    rows = [f"{s.label},{s.name}" for s in files.case.description.structures if s.label in present]
    files.roles.write_text("id,name\n" + "\n".join(rows) + "\n")
    with pytest.raises(InvalidInputError, match="labelled extent along image axis k"):
        files.load(labels_path=files.labelled(voxels))


def test_a_mirrored_patient_is_refused(files: Files) -> None:
    """Image and labels that were both flipped fit each other, and are refused by their anatomy."""
    write_image(files.case.ct.with_voxels(files.case.ct.voxels[::-1].copy()), files.folder / "mirrored.nii.gz")
    with pytest.raises(InvalidInputError, match="mirrored left to right"):
        files.load(
            ct_path=files.folder / "mirrored.nii.gz", labels_path=files.labelled(files.case.labels.voxels[::-1].copy())
        )
