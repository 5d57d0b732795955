"""The procedural phantom: seeded, quick, exact, without symmetry, fit to be planned on."""

from __future__ import annotations

import time

import numpy as np
import pytest

from guidance.case.case import ASSUMED_ELIGIBLE, Case
from guidance.case.checks import check_case
from guidance.case.landmarks import check_sides
from kinematics.errors import InvalidInputError
from sim.phantom import HU, NOISE_HU, SIZES, make_phantom


@pytest.fixture(scope="module")
def phantom() -> Case:
    """The phantom of seed 11."""
    return make_phantom(11)


def _mask(case: Case, name: str) -> np.ndarray:
    return np.asarray(case.labels.voxels == case.description.structure(name).label)


def test_same_seed_same_bytes(phantom: Case) -> None:
    """Image, labels, skin and description repeat to the bit; another seed is another patient."""
    begun = time.process_time()
    again = make_phantom(11)
    assert time.process_time() - begun < 3.0
    assert again.description.sha256() == phantom.description.sha256()
    assert (again.ct.sha256(), again.labels.sha256(), again.body.sha256()) == (
        phantom.ct.sha256(),
        phantom.labels.sha256(),
        phantom.body.sha256(),
    )
    assert make_phantom(12).labels.sha256() != phantom.labels.sha256()


@pytest.mark.parametrize("seed", range(3))
def test_it_is_a_case(seed: int) -> None:
    """Every phantom passes the checks of a case and lies the right way round."""
    case = make_phantom(seed)
    check_case(case)
    names = {s.name: s.label for s in case.description.structures}
    assert check_sides(case.labels, names)["kidney_right right of kidney_left"] > 80.0
    assert {"tumour", "pancreas", "aorta", "superior_mesenteric_artery", "superior_mesenteric_vein"} <= set(names)


@pytest.mark.parametrize(
    ("name", "radius_mm", "jitter"),
    [("aorta", 9.0, 0.08), ("inferior_vena_cava", 10.0, 0.08), ("vertebrae_L1", 18.0, 0.08)],
)
def test_tubes_have_their_radius(phantom: Case, name: str, radius_mm: float, jitter: float) -> None:
    """The cross-section of an upright tube has the area of its radius, within its jitter and the voxels."""
    mask = _mask(phantom, name)
    area = np.median(mask.sum(axis=(0, 1))) * phantom.labels.spacing_mm[:2].prod()
    assert np.sqrt(area / np.pi) == pytest.approx(radius_mm, rel=jitter + 0.05)


def test_image_is_the_labels_with_noise(phantom: Case) -> None:
    """What lies deep has its density to a fraction of the noise, and the noise is that stated."""
    for name in ("pancreas", "aorta", "superior_mesenteric_vein", "tumour"):
        values = phantom.ct.voxels[_mask(phantom, name)].astype(float)
        assert values.mean() == pytest.approx(HU[name], abs=4.0 * NOISE_HU / np.sqrt(len(values)) + 0.5)
        assert values.std() == pytest.approx(NOISE_HU, rel=0.25)


def test_tumour_is_in_the_pancreas_and_clear_of_vessels(phantom: Case) -> None:
    """It was painted last; its neighbours are pancreas, and no vessel touches its middle."""
    from scipy import ndimage

    tumour = _mask(phantom, "tumour")
    shell = ndimage.binary_dilation(tumour, iterations=1) & ~tumour
    assert (shell & _mask(phantom, "pancreas")).any()
    volume_ml = tumour.sum() * phantom.labels.spacing_mm.prod() / 1000.0
    assert 2.5 < volume_ml < 4.5


def test_no_mirror_symmetry(phantom: Case) -> None:
    """Flipped along any axis the labels are clearly others."""
    labelled = phantom.labels.voxels
    for axis in range(3):
        flipped = np.flip(labelled, axis)
        either = (labelled != 0) | (flipped != 0)
        assert (labelled != flipped)[either].mean() > 0.2


def test_body_is_the_inside_of_the_skin(phantom: Case) -> None:
    """Every structure, gas in the colon too, lies within the mask; the corners of the image lie outside."""
    body = phantom.body.voxels > 0
    for structure in phantom.description.structures:
        assert body[_mask(phantom, structure.name)].all(), structure.name
    assert not body[0, 0].any() and not body[-1, -1].any()


def test_an_unknown_size_is_refused() -> None:
    """The sizes there are are named."""
    with pytest.raises(InvalidInputError, match="no such phantom size") as caught:
        make_phantom(1, "huge")
    assert all(size in str(caught.value.remedy) for size in SIZES)


def test_the_answers_on_eligibility_are_said_to_be_invented() -> None:
    """Nobody was asked: the case says so, and its skin mask is hashed as the other images are."""
    case = make_phantom(2)
    assert case.description.eligibility == ASSUMED_ELIGIBLE
    assert "invented" in case.description.provenance["eligibility"]
    assert case.description.body_sha256 == case.body.sha256()
