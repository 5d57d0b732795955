"""What an import adds, whatever way the image is stored: the same tissue in the same places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.case.completion import DERIVED, Completed, complete
from registration.images.volume import Volume

SHAPE = (76, 64, 20)
NAMES = {"tumour": 1, "aorta": 2}


def _scene() -> tuple[Volume, Volume, Volume]:
    """CT, labels and skin: a trunk with fat, muscle and a loop of bowel; the aorta fills every slice."""
    i, j, k = np.indices(SHAPE)
    x, y = (i - 37.5) * 3.0, (j - 31.5) * 3.0
    shell = np.hypot(x / 105.0, y / 85.0)
    ct = np.full(SHAPE, -1000, dtype=np.int16)
    ct[shell <= 1.0] = -100
    ct[(shell <= 0.84) & (shell > 0.72)] = 50
    ct[np.hypot(x - 20.0, y + 15.0) < 14.0] = 40
    ct[np.hypot(x, y - 20.0) < 9.0] = 60
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[np.hypot(x, y - 20.0) < 9.0] = 2
    labels[(np.hypot(x + 20.0, y + 10.0) < 10.0) & (abs(k - 9) < 3)] = 1
    affine = np.diag([3.0, 3.0, 5.0, 1.0])
    affine[:3, 3] = (-100.0, -80.0, 30.0)
    grid = Volume(ct, affine)
    return grid, grid.with_voxels(labels), grid.with_voxels((shell <= 1.0).astype(np.uint8))


def _complete(ct: Volume, labels: Volume, body: Volume, within: np.ndarray | None = None) -> Completed:
    return complete(ct, labels, NAMES, "tumour", body, np.ones(ct.shape, bool) if within is None else within)


def _mask(found: Completed, name: str) -> np.ndarray:
    return found.labels.voxels == found.names.get(name, 999)


def test_bowel_is_found_and_muscle_is_wall() -> None:
    """The loop is forbidden tissue, the ring of muscle the wall, fat nothing; volumes are those of the voxels."""
    ct, labels, body = _scene()
    found = _complete(ct, labels, body)
    loop = (ct.voxels == 40) & (labels.voxels == 0)
    assert (_mask(found, "unidentified_compact") & loop).sum() > 0.97 * loop.sum()
    assert (_mask(found, "abdominal_wall") & (ct.voxels == 50)).sum() > 0.95 * (ct.voxels == 50).sum()
    assert not found.labels.voxels[(ct.voxels == -100) & (labels.voxels == 0)].any()
    assert "unknown" not in found.names and found.volumes_ml["unknown"] == 0.0
    assert set(found.volumes_ml) == set(DERIVED)
    assert found.volumes_ml["unidentified_compact"] == pytest.approx(
        float(_mask(found, "unidentified_compact").sum()) * 0.045
    )
    np.testing.assert_array_equal(found.labels.voxels[labels.voxels != 0], labels.voxels[labels.voxels != 0])


@pytest.mark.parametrize(("order", "flips"), [((2, 0, 1), ()), ((1, 0, 2), (0, 2)), ((0, 1, 2), (1,))])
def test_storage_does_not_matter(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    """Axes in another order and sense give the same tissue at the same points."""
    scene = _scene()

    def stored(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, 3] = volume.points_mm([volume.shape[a] - 1 if a in flips else 0 for a in range(3)])
        affine[:3, list(flips)] *= -1.0
        affine[:, :3] = affine[:, order]
        return Volume(np.flip(volume.voxels, flips).transpose(order).copy(), affine)

    here, there = _complete(*scene), _complete(*(stored(v) for v in scene))
    for name in ("unidentified_compact", "abdominal_wall"):
        back = np.flip(_mask(there, name).transpose(np.argsort(order)), flips)
        assert (back ^ _mask(here, name)).sum() <= 0.01 * _mask(here, name).sum()


def test_an_oblique_ct_goes_by_depth_under_the_skin() -> None:
    """Turned by 20°, the wall is not followed: everything unlabelled and deep is unidentified, and that is said."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0.0, 0.35, 0.0]).as_matrix()
    ct, labels, body = (Volume(v.voxels, turn @ v.affine) for v in _scene())
    found = _complete(ct, labels, body)
    assert "oblique (20°)" in found.wall and "abdominal_wall" not in found.names
    loop = (ct.voxels == 40) & (labels.voxels == 0)
    assert (_mask(found, "unidentified_compact") & loop).sum() > 0.9 * loop.sum()
    assert (_mask(found, "unidentified_compact") & (ct.voxels == 50)).any()


def test_outside_the_reach_all_of_the_body_is_unknown() -> None:
    """A cropped label image leaves the fat beyond it unknown too, and finds nothing there."""
    ct, labels, body = _scene()
    within = np.zeros(ct.shape, dtype=bool)
    within[10:70, 8:60, :] = True
    found = _complete(ct, labels, body, within)
    np.testing.assert_array_equal(_mask(found, "unknown"), (body.voxels > 0) & ~within)
    for name in ("unidentified_compact", "abdominal_wall"):
        assert not (_mask(found, name) & ~within).any() and _mask(found, name).any()


def test_slices_without_a_label_are_unknown() -> None:
    """A gap in the labels is unknown, though labels lie above and below it."""
    ct, labels, body = _scene()
    voxels = labels.voxels.copy()
    voxels[:, :, 14:17] = 0
    found = _complete(ct, labels.with_voxels(voxels), body)
    meant = body.voxels > 0
    meant[:, :, :14], meant[:, :, 17:] = False, False
    np.testing.assert_array_equal(_mask(found, "unknown"), meant)


def test_slices_with_the_tumour_alone_are_unknown() -> None:
    """The tumour's own label says nothing of what lies round it."""
    ct, labels, body = _scene()
    voxels = labels.voxels.copy()
    voxels[voxels == 2] = 0
    found = _complete(ct, labels.with_voxels(voxels), body)
    np.testing.assert_array_equal(_mask(found, "unknown"), (body.voxels > 0) & (voxels == 0))
    assert "unidentified_compact" not in found.names


def test_slices_with_a_mark_on_the_skin_alone_are_unknown() -> None:
    """A drain was marked there: nobody looked for bowel."""
    ct, labels, body = _scene()
    voxels = labels.voxels.copy()
    voxels[:, :, 14:] = 0
    voxels[36:40, 1:5, 14:] = 3
    for name, known in (("drain", False), ("spleen", True)):
        found = complete(ct, labels.with_voxels(voxels), {**NAMES, name: 3}, "tumour", body, np.ones(SHAPE, bool))
        assert bool(_mask(found, "unknown").any()) is not known
    np.testing.assert_array_equal(found.labels.voxels == 3, voxels == 3)


def test_what_was_labelled_so_before_grows() -> None:
    """Labels that hold unidentified tissue already keep its number; only what is added counts."""
    ct, labels, body = _scene()
    voxels = labels.voxels.copy()
    voxels[(ct.voxels == 40) & (np.indices(SHAPE)[2] < 10)] = 3
    names = {**NAMES, "unidentified_compact": 3}
    found = complete(ct, labels.with_voxels(voxels), names, "tumour", body, np.ones(SHAPE, bool))
    assert found.names["unidentified_compact"] == 3 and "unidentified_compact" not in found.derived
    added = int((found.labels.voxels == 3).sum()) - int((voxels == 3).sum())
    assert added > 100 and found.volumes_ml["unidentified_compact"] == pytest.approx(added * 0.045)


def test_many_labels_take_two_bytes() -> None:
    """Where a number beyond 255 is needed the image is widened, and nothing wraps round."""
    ct, labels, body = _scene()
    names = {"tumour": 1, "aorta": 254}
    voxels = np.where(labels.voxels == 2, 254, labels.voxels)
    found = complete(ct, labels.with_voxels(voxels), names, "tumour", body, np.ones(SHAPE, bool))
    assert found.labels.voxels.dtype == np.uint16 and max(found.names.values()) > 255
    assert (found.labels.voxels[voxels == 254] == 254).all()
