"""Real scans with automatic labels: mirrored, turned, cropped and overlapping sets are told by what they are.

The labels of the 3 mm scan hold something in each of its 112 slices; those of the upper abdomen are cut to 30 here.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from guidance.case.body import body_mask
from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.case.extent import labelled_span
from guidance.case.importing import import_case
from guidance.case.orientation import OrientationProof, prove_orientation
from guidance.case.policy import PolicyKind
from guidance.case.target import target_centroid_mm
from guidance.planning.clearance.electrodes import shaft_clearances, unlabelled_mm
from guidance.verification.clearance import beyond_labels_mm, forbidden_clearances
from kinematics.errors import InvalidInputError
from registration.images.dicom_series import read_series
from registration.images.volume import Volume, read_image, write_image
from registration.labels.dicom_reference import check_reference, read_reference
from registration.labels.onto_grid import onto_grid
from registration.labels.reading import read_labels
from tests.registration.labels.label_files import write_seg

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "totalseg"
TUMOUR = 200
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings of shared/data/totalseg are not there")


@dataclass(frozen=True)
class Real:
    """A real CT and its labels, with a tumour drawn by hand, and what an import needs beside them."""

    ct: Path
    labels: Volume
    names: dict[int, str]
    folder: Path

    def load(self, labels: Volume | Path, ct: Path | None = None) -> Case:
        """Import with these labels."""
        path = self.folder / "labels.nii.gz" if isinstance(labels, Volume) else labels
        present = set(self.names)
        if isinstance(labels, Volume):
            write_image(labels, path)
            present &= set(np.unique(labels.voxels).tolist())
        roles = self.folder / "roles.csv"
        roles.write_text("id,name\n" + "".join(f"{n},{self.names[n]}\n" for n in sorted(present)))
        answers = self.folder / "answers.json"
        answers.write_text(json.dumps(ASSUMED_ELIGIBLE.model_dump()))
        return import_case("real", ct or self.ct, path, roles, "tumour", answers)


def _with_tumour(labels: Volume, organ: int, radius_mm: float) -> Volume:
    """Draw a ball about the voxel of an organ that is nearest to its centroid."""
    where = np.argwhere(labels.voxels == organ)
    centre = where[np.argmin(np.linalg.norm((where - where.mean(axis=0)) * labels.spacing_mm, axis=1))]
    index = np.ogrid[tuple(slice(n) for n in labels.shape)]
    off = [(i - c) * s for i, c, s in zip(index, centre, labels.spacing_mm, strict=True)]
    voxels = labels.voxels.copy()
    voxels[off[0] ** 2 + off[1] ** 2 + off[2] ** 2 <= radius_mm**2] = TUMOUR
    return labels.with_voxels(voxels)


def _names(labels: Volume) -> dict[int, str]:
    with (DATA / "label_names_v2.csv").open(newline="") as table:
        known = {int(row["id"]): row["structure"] for row in csv.DictReader(table)}
    present = set(np.unique(labels.voxels).tolist()) - {0}
    return {n: known[n] if n != TUMOUR else "tumour" for n in sorted(present)}


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Real:
    """The native scan at 3 mm, a tumour in its pancreas."""
    labels = _with_tumour(read_image(DATA / "example_seg_fast_force_split.nii.gz"), 7, 8.0)
    return Real(DATA / "example_ct.nii.gz", labels, _names(labels), tmp_path_factory.mktemp("coarse"))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Real:
    """The DICOM series, with the UIDs that were taken out of it made anew, a tumour in its liver."""
    folder = tmp_path_factory.mktemp("series")
    (folder / "dicom").mkdir()
    study, series = generate_uid(), generate_uid()
    for path in sorted((DATA / "example_ct_dicom").iterdir()):
        data = pydicom.dcmread(path)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.save_as(folder / "dicom" / path.name)
    labels = _with_tumour(read_image(DATA / "example_seg_dicom.nii.gz"), 5, 7.0)
    return Real(folder / "dicom", labels, _names(labels), folder)


@pytest.fixture(scope="module")
def read(series: Real) -> tuple[Volume, Volume]:
    """The CT of the series, and its skin mask."""
    ct = read_series(series.ct)
    return ct, body_mask(ct)


@pytest.fixture(scope="module")
def whole(coarse: Real) -> Case:
    """The native scan, imported."""
    return coarse.load(coarse.labels)


def test_a_real_scan_is_taken_and_its_orientation_proved(whole: Case, coarse: Real) -> None:
    """Labels come back untouched; two readers agree; lung, bone and liver have their densities; every way is told."""
    came = coarse.labels.voxels
    np.testing.assert_array_equal(whole.labels.voxels[came != 0], came[came != 0])
    told = whole.description.provenance
    apart = re.search(r"agree to ([\d.]+) mm", told["orientation"])
    assert apart and float(apart.group(1)) <= 0.1
    assert "lung -793 HU, bone 179 HU" in told["orientation"]
    assert "36 pairs" in told["sides"] and "WARNING" not in told["sides"]
    volumes_ml = dict(re.findall(r"(\w+) ([\d.]+) ml", told["added"]))
    assert float(volumes_ml["unidentified"]) > 100.0 and float(volumes_ml["unknown"]) == 0.0


def test_unidentified_tissue_is_unlabelled_and_neither_fat_nor_outside(whole: Case, coarse: Real) -> None:
    """It lies where nothing was labelled, inside the skin, and is denser than fat."""
    for name in ("unidentified", "unidentified_compact"):
        mask = whole.labels.voxels == whole.description.structure(name).label
        assert not coarse.labels.voxels[mask].any() and (whole.body.voxels[mask] == 1).all()
        assert int(whole.ct.voxels[mask].min()) > -30
    assert whole.description.structure("unidentified_compact").policy.kind is PolicyKind.FORBIDDEN


def _prove(case: Case, coarse: Real, labels: Volume, ct: Volume, body: Volume) -> OrientationProof:
    write_image(labels, path := coarse.folder / "flipped.nii.gz")
    names = {name: n for n, name in coarse.names.items()}
    came = read_labels(path, case.ct)
    return prove_orientation(came, labels, names, ct, body, None)


@pytest.mark.parametrize(
    ("axis", "said"),
    [(0, "mirrored left to right"), (1, "mirrored front to back"), (2, "upside down .mirrored head to foot")],
)
def test_a_mirrored_set_is_refused_as_mirrored(whole: Case, coarse: Real, axis: int, said: str) -> None:
    """CT and labels flipped together fit each other; the liver is on the left, and that is what is said."""
    labels, ct, body = (v.with_voxels(np.flip(v.voxels, axis).copy()) for v in (coarse.labels, whole.ct, whole.body))
    with pytest.raises(InvalidInputError, match=f"are {said}") as caught:
        _prove(whole, coarse, labels, ct, body)
    assert "liver" in caught.value.what and caught.value.value < 0.0


@pytest.mark.parametrize(("axis", "way"), [(0, "left and right"), (1, "front and back"), (2, "head and foot")])
def test_labels_flipped_against_a_right_ct_are_refused(whole: Case, coarse: Real, axis: int, way: str) -> None:
    """The CT is right, the labels are not: their bones lie in soft tissue, and the mirror image fits."""
    labels = coarse.labels.with_voxels(np.flip(coarse.labels.voxels, axis).copy())
    with pytest.raises(InvalidInputError, match=f"mirrored against the CT: with {way} exchanged"):
        _prove(whole, coarse, labels, whole.ct, whole.body)


@pytest.mark.parametrize("form", ["label image", "DICOM SEG"])
def test_left_handed_axes_alone_are_taken(series: Real, read: tuple[Volume, Volume], form: str) -> None:
    """The labels of the series are stored the other way front to back: left-handed, and not mirrored.

    As they came, and as a segmentation that highdicom wrote on the series: every voxel is in its place on the CT.
    """
    assert np.linalg.det(series.labels.affine[:3, :3]) < 0.0
    (ct, body), meant = read, np.flip(series.labels.voxels, 1)
    number = {n: n for n in series.names}
    if form == "DICOM SEG":  # numbered from 1, and not all of them: each takes its time
        number = {n: k for k, n in enumerate((1, 5, 32, 33, 52, 79, TUMOUR), 1)}
    names = {series.names[n]: k for n, k in number.items()}
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[list(number)] = list(number.values())
    path = series.folder / ("seg.dcm" if form == "DICOM SEG" else "labels.nii.gz")
    if form == "DICOM SEG":
        source = [pydicom.dcmread(p) for p in series.ct.iterdir()]
        source.sort(key=lambda d: float(d.ImagePositionPatient[2]))
        write_seg(path, source, numbers[meant].transpose(2, 1, 0), {n: name for name, n in names.items()})
    else:
        write_image(series.labels, path)
    came = read_labels(path, ct)
    check_reference(came, read_reference(series.ct))
    labels = onto_grid(came, ct).layers[0]
    np.testing.assert_array_equal(labels.voxels, numbers[meant])
    proof = prove_orientation(came, labels, names, ct, body, None)
    assert proof.apart_mm <= 0.1 and proof.landmarks == 6 and not proof.untold
    assert proof.sides["liver right of spleen"] == pytest.approx(170.5, abs=0.1)


def test_a_plan_through_the_unknown_is_refused(coarse: Real) -> None:
    """Labels of 30 of 112 slices: planner and judge refuse a shaft that leaves them, and no other."""
    tumour = round(np.argwhere(coarse.labels.voxels == TUMOUR)[:, 2].mean())
    voxels = coarse.labels.voxels.copy()
    voxels[:, :, : tumour - 15], voxels[:, :, tumour + 15 :] = 0, 0
    case = coarse.load(coarse.labels.with_voxels(voxels))
    assert len(np.flatnonzero(voxels.any(axis=(0, 1)))) == 30
    span = labelled_span(case)
    assert span is not None and span[2].tolist() == [tumour - 15, tumour + 14]
    volumes_ml = dict(re.findall(r"(\w+) ([\d.]+) ml", case.description.provenance["added"]))
    assert float(volumes_ml["unknown"]) == pytest.approx(
        float((case.labels.voxels == case.description.structure("unknown").label).sum()) * 0.027, abs=0.06
    )
    tip = target_centroid_mm(case)
    for out, leaves in ((np.array([0.0, -1.0, 0.0]), False), (np.array([0.0, -0.6, -0.8]), True)):
        assert (unlabelled_mm(case.labels, span, tip, out, 100.0, 0.0) > 0.0) is leaves
        assert (
            "unknown" in {c.structure for c in shaft_clearances(case, tip, out, 100.0, 0.5) if c.mm <= 0.0}
        ) is leaves
        shaft = np.array([tip + 100.0 * out, tip])
        assert (beyond_labels_mm(shaft, case, span) > 0.0) is leaves
        assert ("unknown" in {c.structure for c in forbidden_clearances(shaft, 0.5, case) if c.mm <= 0.0}) is leaves
