"""A case on disk: read back as it was, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guidance.ablation.conductivity import SETS
from guidance.case.case import DEFAULT_TISSUE_SET, Case, is_of_older_form
from guidance.case.store import FILES, load_case, save_case
from kinematics.errors import InvalidInputError
from registration.images.volume import read_image, write_image


def test_round_trip_keeps_every_byte_and_the_geometry(box_case: Case, tmp_path: Path) -> None:
    """Voxels, types, affine (left-handed) and description come back as they were."""
    save_case(box_case, tmp_path / "case")
    again = load_case(tmp_path / "case")
    assert again.description == box_case.description
    for ours, theirs in ((box_case.ct, again.ct), (box_case.labels, again.labels), (box_case.body, again.body)):
        assert theirs.voxels.dtype == ours.voxels.dtype
        np.testing.assert_array_equal(theirs.voxels, ours.voxels)
        np.testing.assert_allclose(theirs.affine, ours.affine, atol=1e-4)
    assert np.linalg.det(again.ct.affine[:3, :3]) < 0.0


@pytest.mark.parametrize("which", ["ct", "labels", "body"])
def test_a_changed_image_is_refused(box_case: Case, tmp_path: Path, which: str) -> None:
    """One voxel changed on disk is found by the hash."""
    save_case(box_case, tmp_path)
    path = tmp_path / FILES[which]
    image = read_image(path)
    voxels = image.voxels.copy()
    voxels[5, 6, 7] += 1
    write_image(image.with_voxels(voxels), path)
    with pytest.raises(InvalidInputError, match="hash differs") as caught:
        load_case(tmp_path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize("name", ["case.json", *FILES.values()])
def test_a_missing_file_is_refused(box_case: Case, tmp_path: Path, name: str) -> None:
    """Each of the four files is needed, and named when it is missing."""
    save_case(box_case, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InvalidInputError) as caught:
        load_case(tmp_path)
    assert name in str(caught.value.file)


def test_a_case_of_an_older_form_is_refused_with_what_to_do(box_case: Case, tmp_path: Path) -> None:
    """A description from before the skin mask was hashed says so, and how to get a new one."""
    save_case(box_case, tmp_path)
    path = tmp_path / "case.json"
    assert not is_of_older_form(path) and not is_of_older_form(tmp_path / "none.json")
    old = json.loads(path.read_text())
    del old["body_sha256"]
    path.write_text(json.dumps(old))
    assert is_of_older_form(path)
    with pytest.raises(InvalidInputError, match="older version") as caught:
        load_case(tmp_path)
    assert caught.value.file == str(path)
    assert caught.value.remedy and "fetch it again" in caught.value.remedy
    path.write_text("[]")
    assert not is_of_older_form(path)
    path.write_text("{")
    with pytest.raises(InvalidInputError, match="not valid"):
        load_case(tmp_path)


def test_a_case_from_before_tissue_sets_has_the_default(box_case: Case, tmp_path: Path) -> None:
    """A description without the key is read as naming the default, and is not of an older form."""
    save_case(box_case, tmp_path)
    path = tmp_path / "case.json"
    old = json.loads(path.read_text())
    assert old.pop("tissue_set") == DEFAULT_TISSUE_SET in SETS
    path.write_text(json.dumps(old))
    assert not is_of_older_form(path)
    assert load_case(tmp_path).description == box_case.description


def test_the_tissue_set_is_kept_and_an_unknown_one_is_refused(box_case: Case, tmp_path: Path) -> None:
    """The name comes back and is part of the case's hash; one that nobody knows is refused with those there are."""
    other = box_case.with_tissue_set("uniform-0.2")
    save_case(other, tmp_path)
    assert load_case(tmp_path).description.tissue_set == "uniform-0.2"
    assert other.description.sha256() != box_case.description.sha256()
    path = tmp_path / "case.json"
    path.write_text(path.read_text().replace("uniform-0.2", "uniform-0.3"))
    with pytest.raises(InvalidInputError, match="uniform-0.3") as caught:
        load_case(tmp_path)
    assert caught.value.remedy is not None and "uniform-0.2" in caught.value.remedy


def test_a_case_that_was_not_finished_has_no_description(
    box_case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The description goes first when a case is written over, and comes last: a folder with it is whole."""
    save_case(box_case, tmp_path)

    def stopped(_volume: object, _path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("guidance.case.store.write_image", stopped)
    with pytest.raises(KeyboardInterrupt):
        save_case(box_case, tmp_path)
    assert not (tmp_path / "case.json").exists()
