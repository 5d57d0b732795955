"""Labels drawn elsewhere are told by UID: another frame of reference, or another series in the same one."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from kinematics.errors import InvalidInputError
from registration.labels.dicom_reference import DicomReference, check_reference, read_reference
from registration.labels.label_set import LabelSet, Reach
from tests.registration.labels.label_files import ct_series, grid, masks

CT = DicomReference("1.2.3", "1.9", "1.8", frozenset({"1.1", "1.2", "1.3"}))
LABELS = LabelSet(
    (grid().with_voxels(masks()[1].astype(np.uint8)),),
    Reach.of(grid()),
    "DICOM SEG",
    frame_of_reference_uid="1.2.3",
    referenced_instances=frozenset({"1.1", "1.2"}),
    file="seg.dcm",
)


def test_the_identity_of_a_series(tmp_path: Path) -> None:
    """UIDs and instances of the one CT series, or of the one that is named; several are refused; a file has none."""
    series = ct_series(grid(), tmp_path / "a", "1.2.3")
    found = read_reference(tmp_path / "a")
    assert found is not None and found.frame_of_reference_uid == "1.2.3"
    assert found.instances == {s.SOPInstanceUID for s in series}
    assert (found.study_instance_uid, found.series_instance_uid) == (
        series[0].StudyInstanceUID,
        series[0].SeriesInstanceUID,
    )
    other = ct_series(grid(), tmp_path / "b")
    with pytest.raises(InvalidInputError, match="several CT series"):
        read_reference(tmp_path)
    chosen = read_reference(tmp_path, str(other[0].SeriesInstanceUID))
    assert chosen is not None and chosen.frame_of_reference_uid == other[0].FrameOfReferenceUID
    assert read_reference(tmp_path / "a" / "000.dcm") is None


def _as_scout(data: Dataset, path: Path, **changes: object) -> None:
    scout = deepcopy(data)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = "1.7.1"
    scout.FrameOfReferenceUID = "1.7.2"
    for key, value in changes.items():
        setattr(scout, key, value)
    scout.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("own_series", [True, False])
def test_a_scout_beside_or_within_the_series_lends_it_nothing(tmp_path: Path, own_series: bool) -> None:
    """The series that is read has its own identity, and labels of the scout's frame are refused."""
    series = ct_series(grid(), tmp_path, "1.2.3")
    changes = {"SeriesInstanceUID": "1.7.3", "StudyInstanceUID": "1.7.4"} if own_series else {}
    _as_scout(series[0], tmp_path / "-first-of-the-names.dcm", **changes)
    found = read_reference(tmp_path)
    assert found is not None and found.frame_of_reference_uid == "1.2.3"
    assert found.study_instance_uid == series[0].StudyInstanceUID
    assert found.series_instance_uid == series[0].SeriesInstanceUID
    assert found.instances == {s.SOPInstanceUID for s in series}
    with pytest.raises(InvalidInputError, match="another frame of reference"):
        check_reference(replace(LABELS, frame_of_reference_uid="1.7.2"), found)
    with pytest.raises(InvalidInputError, match="drawn on another series"):
        check_reference(replace(LABELS, referenced_instances=frozenset({"1.7.1"})), found)


def test_labels_of_this_series() -> None:
    """Same frame of reference, and their images in the series."""
    assert check_reference(LABELS, CT) == ("frame of reference: that of the CT",)


def test_another_frame_of_reference_is_refused() -> None:
    """Both UIDs are named."""
    with pytest.raises(InvalidInputError, match="another frame of reference") as caught:
        check_reference(replace(LABELS, frame_of_reference_uid="1.2.4"), CT)
    assert (caught.value.value, caught.value.limit, caught.value.file) == ("1.2.4", "1.2.3", "seg.dcm")


def test_another_series_in_the_same_frame_is_refused() -> None:
    """None of the images that the labels name is in the CT: another phase, another breath."""
    with pytest.raises(InvalidInputError, match="drawn on another series"):
        check_reference(replace(LABELS, referenced_instances=frozenset({"2.1"})), CT)


def test_what_could_not_be_compared_is_told() -> None:
    """Some images missing; no images named; no UID on either side."""
    some = check_reference(replace(LABELS, referenced_instances=frozenset({"1.1", "2.1"})), CT)
    assert any("1 of 2 images" in note for note in some)
    assert any("do not name" in n for n in check_reference(replace(LABELS, referenced_instances=frozenset()), CT))
    assert "the CT name" in check_reference(LABELS, None)[0]
    assert "the labels name" in check_reference(replace(LABELS, frame_of_reference_uid=None), CT)[0]
