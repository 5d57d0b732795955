"""Labels from any form: the file says itself what it is, whatever it is called."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.images.volume import write_image
from registration.labels.reading import read_labels
from tests.registration.labels.label_files import ct_series, grid, masks, write_seg, write_seg_nrrd, write_structures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CT series with a segmentation among its files, and other forms beside it."""
    ct = grid()
    series = ct_series(ct, tmp_path / "dicom")
    stack = masks()[1].transpose(2, 1, 0).astype(np.uint8)
    write_seg(tmp_path / "dicom" / "one", series, stack, {1: "liver"})
    square = np.array([(5.0, 5.0, 3.0), (15.0, 5.0, 3.0), (15.0, 20.0, 3.0), (5.0, 20.0, 3.0)])
    write_structures(tmp_path / "structures", {"liver": [ct.points_mm(square)]})
    write_seg_nrrd(tmp_path / "l.seg.nrrd", [masks()[1].astype(np.uint8)], ct.affine, [{"Name": "liver"}])
    write_seg_nrrd(tmp_path / "plain.seg.nrrd", [masks()[1].astype(np.uint8)], ct.affine, ())
    write_image(ct.with_voxels(masks()[1].astype(np.uint8)), tmp_path / "l.nii.gz")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dicom/one", "DICOM SEG"),
        ("dicom", "DICOM SEG"),
        ("structures", "RTSTRUCT"),
        ("l.seg.nrrd", "seg.nrrd"),
        ("plain.seg.nrrd", "label image"),
        ("l.nii.gz", "label image"),
    ],
)
def test_the_content_tells_the_form(folder: Path, name: str, kind: str) -> None:
    """Without a suffix, under another one, or as the only one in a folder."""
    found = read_labels(folder / name, grid())
    assert found.kind == kind and found.present() == {1}


def test_what_holds_no_labels_is_refused(folder: Path) -> None:
    """A CT slice, a missing file, a text, a folder with none or two, a DICOM file cut in its header."""
    shutil.copy(folder / "structures", folder / "dicom" / "two")
    (folder / "empty").mkdir()
    (folder / "text.dcm").write_text("no image")
    (folder / "cut.dcm").write_bytes((folder / "structures").read_bytes()[:150])
    for name, said in (
        ("dicom/000.dcm", "holds no labels"),
        ("none.dcm", "not there"),
        ("dicom", "holds 2 files"),
        ("empty", "holds no file"),
        ("text.dcm", "cannot be read"),
        ("cut.dcm", "damaged or truncated|holds no labels"),
    ):
        with pytest.raises(InvalidInputError, match=said) as caught:
            read_labels(folder / name, grid())
        assert str(folder / name) in str(caught.value.file) and caught.value.remedy
