"""Rows meet labels by id or by name; what is ambiguous, empty or left over is refused with its row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guidance.case.role_match import MatchedRoles, match_roles
from guidance.case.role_table import read_roles
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.labels.label_set import LabelSet, Reach


def _labels(names: dict[int, str] | None = None, renumbered: bool = False) -> LabelSet:
    voxels = np.zeros((4, 4, 4), dtype=np.uint8)
    voxels[0], voxels[1], voxels[2] = 1, 2, 5
    image = Volume(voxels, np.eye(4))
    kind = "DICOM SEG" if names else "label image"
    return LabelSet((image,), Reach.of(image), kind, names or {}, file="labels", renumbered=renumbered)


NAMED = {1: "Liver", 2: "Portal  vein", 5: "tumour", 7: "empty one"}


def _match(tmp_path: Path, text: str, labels: LabelSet, target: str = "tumour") -> MatchedRoles:
    path = tmp_path / "roles.csv"
    path.write_text(text)
    return match_roles(read_roles(path, target), labels, target, path)


def test_names_and_ids(tmp_path: Path) -> None:
    """By name where case and spaces do not count, by id with a name of one's own, which is noted."""
    found = _match(tmp_path, "id,name\n,liver\n2,vein_of_mine\n,tumour\n", _labels(NAMED))
    assert {s.label: s.name for s in found.structures} == {1: "liver", 2: "vein_of_mine", 5: "tumour"}
    assert found.notes == ("Portal  vein is called vein_of_mine",)
    assert not _match(tmp_path, "name\nliver\nportal_vein\ntumour\n", _labels(NAMED)).notes


def test_rows_for_what_the_import_adds(tmp_path: Path) -> None:
    """A derived structure may be named without an id; with one it is a label."""
    text = "id,name,policy\n1,liver,\n2,vein,\n5,tumour,\n,unidentified,forbidden\n,unknown,costly\n"
    found = _match(tmp_path, text, _labels())
    assert set(found.added) == {"unidentified", "unknown"} and len(found.structures) == 3
    found = _match(tmp_path, "id,name\n1,liver\n2,unidentified\n5,tumour\n", _labels())
    assert not found.added and found.structures[1].name == "unidentified"


@pytest.mark.parametrize(
    ("rows", "named", "said", "row"),
    [
        ("1,liver\n2,vein\n", False, "no structure called 'tumour'", None),
        ("1,liver\n5,tumour\n", False, "does not name", None),
        ("1,liver\n,vein\n5,tumour\n", False, "names no structure: the row needs an id", 3),
        ("1,liver\n2,vein\n9,colon\n5,tumour\n", False, "no voxel has the label of colon", 4),
        ("1,liver\n2,vein\n9,tumour\n", False, "the tumour .tumour. is empty", 4),
        (",liver\n,spleen\n,tumour\n", True, "name no segment spleen", 3),
        (",liver\n1,my_liver\n,tumour\n", True, "two rows mean Liver", 3),
        ("5,liver\n", True, "mean different segments: 5 is tumour, and liver is 1", 2),
        (",empty_one\n", True, "no voxel has the label of empty_one", 2),
        (",liver\n,tumour\n", True, "does not name", None),
    ],
)
def test_what_does_not_match_is_refused(tmp_path: Path, rows: str, named: bool, said: str, row: int | None) -> None:
    """Each with the file, its row, and what to do."""
    if "tumour" not in rows and said != "no structure called 'tumour'":
        rows += ",tumour\n"
    with pytest.raises(InvalidInputError, match=said) as caught:
        _match(tmp_path, "id,name\n" + rows, _labels(NAMED if named else None))
    assert str(caught.value.file).endswith(f"roles.csv, row {row}" if row else "roles.csv") and caught.value.remedy


def test_two_segments_of_one_name_need_an_id(tmp_path: Path) -> None:
    """By name alone they cannot be told apart."""
    twins = {1: "Liver", 2: "liver", 5: "tumour"}
    with pytest.raises(InvalidInputError, match="several segments are called liver"):
        _match(tmp_path, "name\nliver\ntumour\n", _labels(twins))
    found = _match(tmp_path, "id,name\n1,liver\n2,second\n5,tumour\n", _labels(twins))
    assert len(found.structures) == 3


def test_ids_mean_nothing_where_the_file_was_numbered_anew(tmp_path: Path) -> None:
    """Label values that occur in several layers are no numbers to go by."""
    with pytest.raises(InvalidInputError, match="an id means nothing"):
        _match(tmp_path, "id,name\n1,liver\n2,portal_vein\n5,tumour\n", _labels(NAMED, renumbered=True))
