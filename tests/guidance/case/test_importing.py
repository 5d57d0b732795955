"""Importing anyone's images: the phantom comes back through NIfTI, NRRD and DICOM; what does not fit is refused."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from guidance.case.case import ASSUMED_ELIGIBLE, Case, CaseDescription
from guidance.case.extent import labelled_span
from guidance.case.importing import import_case
from guidance.case.policy import Policy, PolicyKind
from guidance.report.dicom.objects import SeriesNames
from guidance.report.dicom.series import write_series
from kinematics.errors import InvalidInputError
from registration.images.dicom_series import list_series
from registration.images.volume import Volume, to_sitk, write_image
from sim.phantom import make_phantom
from tests.registration.labels.label_files import ct_series, write_seg, write_seg_nrrd, write_structures

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
    """The slices of a small phantom round its tumour, the labels in them numbered from 1."""
    whole = make_phantom(5)
    middle = round(np.argwhere(whole.labels.voxels == whole.description.structure("tumour").label)[:, 2].mean())
    low, high = (0, 0, middle - 11), (999, 999, middle + 11)
    ct, labels, body = (v.crop(low, high) for v in (whole.ct, whole.labels, whole.body))
    number = {n: k for k, n in enumerate(np.unique(labels.voxels).tolist())}
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[list(number)] = list(number.values())
    labels = labels.with_voxels(numbers[labels.voxels])
    kept = [s for s in whole.description.structures if s.label in number]
    description = CaseDescription(
        **{
            **dict(whole.description),
            "structures": tuple(s.model_copy(update={"label": number[s.label]}) for s in kept),
            "ct_sha256": ct.sha256(),
            "labels_sha256": labels.sha256(),
            "body_sha256": body.sha256(),
        }
    )
    return Case(description, ct, labels, body)


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


def test_the_tissue_set_is_the_one_that_was_asked_for(files: Files) -> None:
    """It stands in the case; an unknown one is refused before any file is read."""
    assert files.load(tissues="ire-table-pancreas-2.5").description.tissue_set == "ire-table-pancreas-2.5"
    with pytest.raises(InvalidInputError, match="no tissue set called 'liver'"):
        files.load(tissues="liver", ct_path=files.folder / "nowhere.nii.gz")


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


def test_labels_on_another_grid_meet_the_ct_through_geometry(files: Files) -> None:
    """Axes stored in another order and sense give the same case; labels at another place are refused."""
    labels = files.case.labels
    affine = labels.affine.copy()
    affine[:3, 3] = labels.points_mm([0, labels.shape[1] - 1, 0])
    affine[:3, 1] *= -1.0
    affine[:, :3] = affine[:, (2, 0, 1)]
    write_image(
        Volume(np.flip(labels.voxels, 1).transpose(2, 0, 1).copy(), affine), path := files.folder / "stored.nrrd"
    )
    case = files.load(labels_path=path)
    np.testing.assert_array_equal(case.labels.voxels, labels.voxels)
    assert "brought from" in case.description.provenance["labels read"]
    affine[:3, 3] += 400.0
    write_image(Volume(np.ascontiguousarray(labels.voxels.transpose(2, 0, 1)), affine), path)
    with pytest.raises(InvalidInputError, match="do not overlap") as caught:
        files.load(labels_path=path)
    assert caught.value.file == str(path)


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


def _without_landmarks(files: Files) -> None:
    rows = ["id,name,policy,tissue"]
    rows += [
        f"{s.label},{s.name if s.name == 'tumour' else f's{s.label}'},," for s in files.case.description.structures
    ]
    files.roles.write_text("\n".join(rows) + "\n")


def test_without_a_landmark_somebody_must_vouch(files: Files) -> None:
    """When no name tells left from right the import is refused, unless a named person confirms, which is written."""
    _without_landmarks(files)
    with pytest.raises(InvalidInputError, match="nothing in the labels tells left from right") as caught:
        files.load()
    assert "--orientation-confirmed-by" in str(caught.value.remedy)
    case = files.load(orientation_confirmed_by="A. Reader")
    told = case.description.provenance["sides"]
    assert "WARNING: left and right, front and back, head and foot not told by anatomy" in told and "A. Reader" in told


def test_unlabelled_tissue_becomes_unidentified(files: Files) -> None:
    """A stomach whose label is taken away is found, forbidden, and counted in the provenance."""
    label = files.case.description.structure("stomach").label
    taken = files.case.labels.voxels == label
    labels = files.labelled(np.where(taken, 0, files.case.labels.voxels))
    rows = [r for r in files.roles.read_text().splitlines() if not r.startswith(f"{label},")]
    files.roles.write_text("\n".join(rows) + "\n")
    case = files.load(labels_path=labels)
    compact = case.description.structure("unidentified_compact")
    found = case.labels.voxels == compact.label
    assert (found & taken).sum() > 0.97 * taken.sum() and (found & ~taken).sum() < 0.02 * taken.sum()
    assert compact.policy.kind is PolicyKind.FORBIDDEN and compact.derived
    volumes_ml = dict(re.findall(r"(\w+) ([\d.]+) ml", case.description.provenance["added"]))
    assert float(volumes_ml["unidentified_compact"]) == pytest.approx(
        found.sum() * case.ct.spacing_mm.prod() / 1000.0, abs=0.1
    )
    files.roles.write_text("\n".join(rows) + "\n,unidentified_compact,costly\n".replace("\n,", "\n,", 1))


def test_the_table_may_give_unidentified_tissue_another_policy(files: Files) -> None:
    """A row without an id names what the import adds."""
    label = files.case.description.structure("stomach").label
    labels = files.labelled(np.where(files.case.labels.voxels == label, 0, files.case.labels.voxels))
    rows = [f"{s.label},{s.name},," for s in files.case.description.structures if s.label != label]
    files.roles.write_text("id,name,policy,price\n" + "\n".join(rows) + "\n,unidentified_compact,costly,3.5\n")
    policy = files.load(labels_path=labels).description.structure("unidentified_compact").policy
    assert policy == Policy(kind=PolicyKind.COSTLY, price=3.5)


@pytest.mark.parametrize("form", ["seg", "seg.nrrd"])
def test_segments_with_names_need_no_id(files: Files, form: str) -> None:
    """From DICOM SEG and seg.nrrd, matched by name, the phantom's labels come back on the CT of their series."""
    structures = sorted(files.case.description.structures, key=lambda s: s.label)
    files.roles.write_text("name\n" + "\n".join(s.name for s in structures) + "\n")
    series = ct_series(files.case.ct, files.folder / "dicom", "1.2.3.4")
    numbers, names = files.case.labels.voxels, {s.label: s.name.replace("_", " ").title() for s in structures}
    path = files.folder / f"labels.{form}"
    if form == "seg":
        write_seg(path, series, numbers.transpose(2, 1, 0), names)
    else:
        segments = [{"Name": name, "LabelValue": n, "Layer": 0} for n, name in names.items()]
        write_seg_nrrd(path, [numbers], files.case.labels.affine, segments)
    case = files.load(ct_path=files.folder / "dicom", labels_path=path)
    np.testing.assert_array_equal(case.labels.voxels, numbers)
    assert {s.name for s in case.description.structures} == {s.name for s in structures}
    assert case.description.provenance["frame_of_reference_uid"] == "1.2.3.4"
    told = case.description.provenance["labels read"]
    assert ("that of the CT" in told) is (form == "seg")


def test_contours_become_a_case(files: Files) -> None:
    """Structures drawn as contours on the series, by OpenCV's outlines of the phantom's labels, are found by name."""
    series, grid = ct_series(files.case.ct, files.folder / "dicom", "1.2.3.4"), files.case.labels
    names = ("liver", "spleen", "aorta", "pancreas", "tumour")
    drawn: dict[str, list[np.ndarray]] = {}
    for name in names:
        mask = (grid.voxels == files.case.description.structure(name).label).astype(np.uint8)
        for k in np.flatnonzero(mask.any(axis=(0, 1))):
            fine = np.kron(mask[:, :, k], np.ones((8, 8), dtype=np.uint8))
            for line in cv2.findContours(fine, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]:
                index = (line[:, 0, ::-1] - 3.5) / 8.0
                drawn.setdefault(name, []).append(grid.points_mm(np.column_stack((index, np.full(len(index), k)))))
    write_structures(files.folder / "rt", drawn, "1.2.3.4", [series[3].SOPInstanceUID])
    files.roles.write_text("name\n" + "\n".join(names) + "\n")
    case = files.load(
        ct_path=files.folder / "dicom", labels_path=files.folder / "rt", orientation_confirmed_by="B. Reader"
    )
    for name in names:
        there = case.labels.voxels == case.description.structure(name).label
        meant = grid.voxels == files.case.description.structure(name).label
        assert 2.0 * (there & meant).sum() / (there.sum() + meant.sum()) > 0.995, name
    told = case.description.provenance
    assert "RTSTRUCT" in told["imported"] and "that of the CT" in told["labels read"]
    assert "polygons" in told["orientation"]
    assert {"unidentified_compact", "abdominal_wall"} <= {s.name for s in case.description.structures}


def test_a_segmentation_of_another_frame_of_reference_is_refused(files: Files) -> None:
    """The same voxels under another UID are named for it."""
    here = ct_series(files.case.ct, files.folder / "dicom")
    there = ct_series(files.case.ct, files.folder / "other")
    names = {s.label: s.name for s in files.case.description.structures}
    write_seg(files.folder / "seg", there, files.case.labels.voxels.transpose(2, 1, 0), dict(sorted(names.items())))
    with pytest.raises(InvalidInputError, match="another frame of reference") as caught:
        files.load(ct_path=files.folder / "dicom", labels_path=files.folder / "seg")
    assert caught.value.limit == here[0].FrameOfReferenceUID


def test_overlaps_go_to_what_must_be_avoided(files: Files) -> None:
    """A vein drawn into the liver in a layer of its own stays forbidden, and the overlap is told with its voxels."""
    structures = sorted(files.case.description.structures, key=lambda s: s.label)
    labels, liver = files.case.labels.voxels, files.case.description.structure("liver").label
    where = np.argwhere(labels == liver)
    middle = where.mean(axis=0).round().astype(int)
    vein = np.zeros_like(labels)
    vein[tuple(slice(m - 3, m + 3) for m in middle)] = 200
    segments = [{"Name": s.name, "LabelValue": s.label, "Layer": 0} for s in structures]
    segments.append({"Name": "hepatic_vein", "LabelValue": 200, "Layer": 1})
    write_seg_nrrd(files.folder / "l.seg.nrrd", [labels, vein], files.case.labels.affine, segments)
    files.roles.write_text("name\nhepatic_vein\n" + "\n".join(s.name for s in structures) + "\n")
    case = files.load(labels_path=files.folder / "l.seg.nrrd")
    np.testing.assert_array_equal(case.labels.voxels == 200, vein == 200)
    shared = int((labels == liver)[vein == 200].sum())
    assert f"hepatic_vein took {shared} voxels that are liver as well" in case.description.provenance["labels read"]


def test_an_outline_of_the_body_is_no_structure(files: Files) -> None:
    """A label that fills the body would hide what is unlabelled: refused, unless its row says `ignored`."""
    structures = sorted(files.case.description.structures, key=lambda s: s.label)
    outline = np.where(files.case.body.voxels > 0, 99, 0).astype(np.uint8)
    segments = [{"Name": s.name, "LabelValue": s.label, "Layer": 0} for s in structures]
    segments.append({"Name": "BODY", "LabelValue": 99, "Layer": 1})
    path = files.folder / "l.seg.nrrd"
    write_seg_nrrd(path, [files.case.labels.voxels, outline], files.case.labels.affine, segments)
    rows = "".join(f"{s.name},\n" for s in structures)
    files.roles.write_text(f"name,policy\n{rows}body,free\n")
    with pytest.raises(InvalidInputError, match="body fills the body"):
        files.load(labels_path=path)
    files.roles.write_text(f"name,policy\n{rows}body,ignored\n")
    case = files.load(labels_path=path)
    np.testing.assert_array_equal(case.labels.voxels, files.case.labels.voxels)
    assert "body was left out" in case.description.provenance["labels read"]


def test_what_lies_outside_the_labelled_slices_is_unknown(files: Files) -> None:
    """Labels that fill the middle slices leave the rest of the body unknown: forbidden, and no labelled extent."""
    label = files.case.description.structure("tumour").label
    tumour = np.argwhere(files.case.labels.voxels == label)[:, 2]
    low, high = tumour.min() - 5, tumour.max() + 6
    voxels = files.case.labels.voxels.copy()
    voxels[:, :, :low], voxels[:, :, high:] = 0, 0
    present = set(np.unique(voxels).tolist())
    rows = [f"{s.label},{s.name}" for s in files.case.description.structures if s.label in present]
    files.roles.write_text("id,name\n" + "\n".join(rows) + "\n")
    case = files.load(labels_path=files.labelled(voxels))
    unknown = case.description.structure("unknown")
    assert unknown.policy.kind is PolicyKind.FORBIDDEN and unknown.derived
    meant = case.body.voxels > 0
    meant[:, :, low:high] = False
    np.testing.assert_array_equal(case.labels.voxels == unknown.label, meant)
    span = labelled_span(case)
    assert span is not None and span[2].tolist() == [low, high - 1]


def test_slices_too_thick_for_the_markers_are_told_at_import(files: Files) -> None:
    """Of 5 mm, in which 4 mm spheres would be lost: said in the provenance; of 2.5 mm, nothing is said."""
    assert "fiducials" not in files.load().description.provenance
    thick = files.case.ct.affine @ np.diag([1.0, 1.0, 2.0, 1.0])
    for name, volume in (("ct.nii.gz", files.case.ct), ("labels.nii.gz", files.case.labels)):
        write_image(Volume(volume.voxels[:, :, ::2], thick), files.folder / name)
    said = files.load(labels_path=files.folder / "labels.nii.gz").description.provenance["fiducials"]
    assert "too coarse for fiducials of 4 mm (5.0 mm, limit 3.0 mm)" in said and "thinner slices" in said
