"""The place of the virtual tumour: within the pancreas, clear of vessels, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.case.label_canvas import LabelCanvas
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from sim.lidc.tumour_site import HEAD_MM, LESION_HU, TumourSite, find_site, lesion_image


def _canvas(half_mm: float = 13.0) -> LabelCanvas:
    """A bent pancreas 26 mm thick, the artery behind its body and the vein beside its head."""
    affine = np.diag([1.0, -1.0, 2.5, 1.0])
    affine[:3, 3] = (-60.0, 40.0, -50.0)
    shape = (120, 80, 36)
    grid = Volume(np.zeros(shape, np.uint8), affine)
    p = grid.points_mm(np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    labels = np.zeros(shape, dtype=np.uint8)
    body = (np.abs(y + 8.0) < half_mm) & (np.abs(z - 15.0) < half_mm) & (x > -40.0) & (x < 50.0)
    head = (np.abs(y) < half_mm) & (np.abs(x + 32.0) < half_mm) & (z < 15.0)
    labels[body | head] = 1
    labels[np.hypot(x - 5.0, y - 12.0) < 4.0] = 2
    labels[(np.hypot(x + 8.0, y - 4.0) < 4.0) & (z < 5.0)] = 3
    labels[(np.hypot(y + 18.0, z - 15.0) < 3.0) & (x > -20.0)] = 4
    rng = np.random.default_rng(6)
    ct = np.where(np.isin(labels, [1]), 66.0, np.where(labels > 1, 300.0, -100.0)) + rng.normal(0.0, 15.0, shape)
    names = {
        "pancreas": 1,
        "superior_mesenteric_artery": 2,
        "superior_mesenteric_vein": 3,
        "visceral_arteries": 4,
    }
    return LabelCanvas(Volume(np.rint(ct).astype(np.int16), affine), labels, names)


@pytest.fixture(scope="module")
def canvas() -> LabelCanvas:
    """The scene; nobody changes it."""
    return _canvas()


@pytest.fixture(scope="module", params=["body", "head"])
def site(request: pytest.FixtureRequest, canvas: LabelCanvas) -> tuple[str, TumourSite]:
    """The tumour in each part."""
    return request.param, find_site(canvas, request.param)


def test_it_lies_where_it_should(canvas: LabelCanvas, site: tuple[str, TumourSite]) -> None:
    """As much as stated is pancreas, no voxel is vessel, and the centre is in its part."""
    part, found = site
    under = canvas.labels[found.mask]
    assert found.within == pytest.approx((under == 1).mean())
    assert found.within >= {"body": 0.85, "head": 1.0}[part]
    assert not np.isin(under, [2, 3, 4]).any()
    assert (found.centre_mm[0] > -5.0) if part == "body" else (found.centre_mm[0] < -8.0 - HEAD_MM + 0.5)


def test_size_is_that_of_a_tumour_of_24_by_18_by_16_mm(canvas: LabelCanvas, site: tuple[str, TumourSite]) -> None:
    """The volume is near that of the ellipsoid, 3.6 ml."""
    volume_ml = site[1].mask.sum() * canvas.ct.spacing_mm.prod() / 1000.0
    assert 2.9 < volume_ml < 4.3


def test_same_labels_same_place(canvas: LabelCanvas, site: tuple[str, TumourSite]) -> None:
    """The search is deterministic."""
    again = find_site(_canvas(), site[0])
    np.testing.assert_array_equal(again.mask, site[1].mask)
    assert again.orientation == site[1].orientation


def test_too_thin_a_pancreas_is_refused() -> None:
    """A gland 10 mm thick has no room, and says how much there would have been."""
    with pytest.raises(InvalidInputError, match="no place for the virtual tumour") as caught:
        find_site(_canvas(5.0), "body")
    assert 0.0 < caught.value.value < 0.85


def test_lesion_has_its_density_and_the_noise_of_the_image(canvas: LabelCanvas, site: tuple[str, TumourSite]) -> None:
    """Mean 42 HU inside, noise as before, and nothing changed 6 mm away."""
    mask = site[1].mask
    image = lesion_image(canvas.ct, mask)
    from scipy import ndimage

    core = ndimage.binary_erosion(mask, np.ones((5, 5, 3), dtype=bool))
    assert image[core].mean() == pytest.approx(LESION_HU, abs=2.0)
    assert 8.0 < image[core].std() < 18.0
    far = ~ndimage.binary_dilation(mask, np.ones((13, 13, 5), dtype=bool))
    np.testing.assert_array_equal(image[far], canvas.ct.voxels[far])
    assert image.dtype == np.int16
