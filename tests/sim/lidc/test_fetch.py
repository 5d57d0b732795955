"""The real CT case: what was added follows the patient's anatomy, and a mirrored patient is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from guidance.case.case import Case
from guidance.case.checks import check_case
from guidance.case.label_canvas import LabelCanvas
from guidance.case.policy import PolicyKind
from guidance.case.store import load_case
from guidance.case.target import target_centroid_mm
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from sim.cache import case_folder, is_kept
from sim.lidc.anatomy import SourceImages, derive, read_sources
from sim.lidc.arteries import SMA, add_arteries
from sim.lidc.fetch import NAMES, fetch
from sim.lidc.mesenteric_vein import SMV, add_mesenteric_vein
from sim.lidc.source import SOURCES, source_files

BOX = (slice(130, 420), slice(185, 385), slice(0, 46))
"""The part of the CT that holds pancreas, kidneys, spleen and the vessels between them."""


def _silent(_stage: str, _fraction: float) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    """Each of the two cases, from the cache; fetched where it is not there yet."""
    folder = case_folder(request.param)
    if not is_kept(folder):
        fetch(request.param)
    return load_case(folder)


@pytest.fixture(scope="module")
def body_case() -> Case:
    """The default case."""
    if not is_kept(case_folder("lidc")):
        fetch("lidc")
    return load_case(case_folder("lidc"))


@pytest.fixture(scope="module")
def sources() -> SourceImages:
    """What came in the wheel."""
    return read_sources(source_files(_silent), _silent)


def _mask(case: Case, *names: str) -> np.ndarray:
    labels = [s.label for s in case.description.structures if s.name in names or s.name.startswith(tuple(names))]
    lut = np.zeros(256, dtype=bool)
    lut[labels] = True
    return lut[case.labels.voxels]


def _centres_by_slice(case: Case, name: str) -> dict[int, np.ndarray]:
    """Centre of the largest piece in each slice, CT frame [mm]."""
    mask, centres = _mask(case, name), {}
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        numbered, count = ndimage.label(mask[:, :, k])
        largest = 1 + int(np.bincount(numbered.ravel(), minlength=count + 1)[1:].argmax())
        middle = np.argwhere(numbered == largest).mean(axis=0)
        centres[int(k)] = case.labels.points_mm([*middle, k])
    return centres


def test_sources_are_those_stated() -> None:
    """The cached files have the sizes and hashes that the code names."""
    for source in SOURCES:
        content = source_files(_silent)[source.name].read_bytes()
        assert len(content) == source.size_bytes
        assert hashlib.sha256(content).hexdigest() == source.sha256


def test_it_is_a_case_that_says_where_it_comes_from(case: Case) -> None:
    """The checks of a case hold; source, licence, limits and every derived structure are told."""
    check_case(case)
    told = case.description.provenance
    assert "assumed for the simulation" in told["eligibility"]
    assert {"source", "licence", "labels", "sides", "crop", "added", "tumour"} <= set(told)
    assert "MIT" in told["licence"] and "virtual" in told["tumour"] and "not labelled" in told["labels"]
    assert case.ct.voxels.dtype == np.int16 and case.labels.voxels.dtype == np.uint8
    assert int(case.ct.voxels.min()) == -1024
    derived = {s.name for s in case.description.structures if s.derived}
    assert {
        SMA,
        SMV,
        "visceral_arteries",
        "abdominal_wall",
        "unidentified",
        "unidentified_compact",
        "tumour",
    } <= derived


def test_tumour_is_where_it_is_said_to_be(case: Case, sources: SourceImages) -> None:
    """At least 85 % within the pancreas as it came (all of it in the head), no vessel voxel, darker than the gland."""
    name = case.description.name
    tumour = _mask(case, "tumour")
    nk = case.labels.shape[2]
    under = sources.labels.voxels[:, :, :nk][tumour]
    within = float((under == sources.names["pancreas"]).mean())
    assert within >= (0.85 if name == "lidc" else 1.0)
    assert f"{100 * within:.1f} %" in case.description.provenance["tumour"]
    vessels = [v for n, v in sources.names.items() if any(p in n for p in ("aorta", "vein", "vena", "artery"))]
    assert not np.isin(under, vessels).any()
    left_of_vein = target_centroid_mm(case)[0] - np.median([c[0] for c in _centres_by_slice(case, SMV).values()])
    assert (left_of_vein > 0.0) if name == "lidc" else (left_of_vein < -6.0)
    was = sources.ct.voxels[:, :, :nk]
    gland = _mask(case, "pancreas") & ~ndimage.binary_dilation(tumour, iterations=4)
    assert case.ct.voxels[tumour].mean() < np.median(was[gland]) - 12.0
    changed = np.argwhere(case.ct.voxels != was)
    near = np.argwhere(ndimage.binary_dilation(tumour, np.ones((9, 9, 3), dtype=bool)))
    assert (changed.min(axis=0) >= near.min(axis=0)).all() and (changed.max(axis=0) <= near.max(axis=0)).all()


def test_artery_leaves_the_aorta_and_runs_down_in_front_of_it(body_case: Case) -> None:
    """It touches the aorta at one place alone, near its top; below, it lies in front, the farther the lower."""
    aorta, artery = _mask(body_case, "aorta"), _mask(body_case, SMA)
    touching = np.argwhere(ndimage.binary_dilation(aorta, np.ones((3, 3, 3), dtype=bool)) & artery)
    heights = body_case.labels.points_mm(np.argwhere(artery))[:, 2]
    assert len(touching) > 0
    assert body_case.labels.points_mm(touching)[:, 2].min() > heights.max() - 15.0
    trunk, main = _centres_by_slice(body_case, SMA), _centres_by_slice(body_case, "aorta")
    gaps = [main[k][1] - trunk[k][1] for k in sorted(trunk)]
    assert heights.max() - heights.min() > 50.0 and sorted(trunk)[0] == 0
    assert min(gaps[:20]) > 12.0  # mm in front, middle to middle
    assert all(abs(trunk[k][0] - main[k][0]) < 20.0 for k in trunk)


def test_artery_is_one_piece_and_as_bright_as_the_aorta(body_case: Case) -> None:
    """Connected through and through, and nowhere as dark as a vein."""
    artery = _mask(body_case, SMA)
    assert ndimage.label(artery, np.ones((3, 3, 3)))[1] == 1
    # The core of the lumen: thin branches and edges lose density by partial volume.
    core = ndimage.binary_erosion(artery, ndimage.generate_binary_structure(2, 1)[:, :, None])
    assert np.median(body_case.ct.voxels[core]) > 330


def test_vein_runs_to_the_right_of_the_artery(body_case: Case) -> None:
    """In every slice that has both, by 5 to 30 mm; it is a disc of 6 to 12 mm; it ends at the portal confluence."""
    artery, vein = _centres_by_slice(body_case, SMA), _centres_by_slice(body_case, SMV)
    assert sorted(vein) == list(range(max(vein) + 1)) and max(vein) >= 15
    for k, centre in vein.items():
        assert 5.0 < artery[k][0] - centre[0] < 30.0, k
    area = _mask(body_case, SMV)[:, :, : max(vein)].sum(axis=(0, 1)) * body_case.labels.spacing_mm[:2].prod()
    diameter = 2.0 * np.sqrt(area / np.pi)
    assert diameter.min() > 6.0 and diameter.max() < 12.0
    portal = ndimage.binary_dilation(_mask(body_case, "portal_vein_and_splenic_vein"), np.ones((3, 3, 3), dtype=bool))
    assert (portal & _mask(body_case, SMV)).any()


def test_vein_is_a_vein_and_not_fat_gland_or_artery(body_case: Case) -> None:
    """The middle of the tube has the density of the vein; a tube moved by 9 mm does not."""
    voxels = body_case.ct.voxels
    middles = [body_case.labels.indices(c) for c in _centres_by_slice(body_case, SMV).values()]

    def density(shift: tuple[int, int]) -> np.ndarray:
        found = []
        for i, j, k in np.rint(middles).astype(int):
            part = voxels[i - 2 + shift[0] : i + 3 + shift[0], j - 2 + shift[1] : j + 3 + shift[1], k]
            found.append(part.mean())
        return np.array(found)

    assert 80.0 < np.median(density((0, 0))) < 125.0
    assert (density((0, 0)) > 60.0).all()
    elsewhere = [np.median(density(s)) for s in ((13, 0), (-13, 0), (0, 13), (0, -13))]
    assert max(elsewhere) < 60.0


def test_nothing_added_lies_on_what_was_labelled(body_case: Case, sources: SourceImages) -> None:
    """All labels but the pancreas are as they came: no vessel leaks into bone, bowel, kidney or a labelled vein."""
    came = sources.labels.voxels[:, :, : body_case.labels.shape[2]]
    kept = (came != 0) & (came != sources.names["pancreas"]) & ~_mask(body_case, "tumour")
    np.testing.assert_array_equal(body_case.labels.voxels[kept], came[kept])
    assert (body_case.labels.voxels[came == sources.names["pancreas"]] != 0).all()


def test_unlabelled_tissue_round_the_tumour_is_accounted_for(body_case: Case) -> None:
    """Within 60 mm of the tumour, what is denser than fat and is not labelled is at most a thin rim or speckle."""
    centre = np.rint(body_case.labels.indices(target_centroid_mm(body_case))).astype(int)
    low, high = np.maximum(centre - np.array([80, 60, 20]), 0), centre + np.array([80, 60, 24])
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    left = (body_case.labels.voxels[box] == 0) & (body_case.ct.voxels[box] > 0)
    core = ndimage.binary_opening(left, np.ones((4, 4, 2), dtype=bool))
    assert core.sum() == 0


def test_policies(body_case: Case) -> None:
    """Added vessels and thick unidentified tissue are forbidden with 2 mm, thin tissue has a price, muscle is free."""
    policy = body_case.description.policy
    for name in (SMA, SMV, "visceral_arteries", "renal_veins", "unidentified_vessels", "unidentified_compact"):
        assert policy[name].kind is PolicyKind.FORBIDDEN and policy[name].clearance_mm == 2.0
    assert policy["unidentified"].kind is PolicyKind.COSTLY and policy["abdominal_wall"].kind is PolicyKind.FREE


def test_skin_mask_is_the_patient_without_the_table(body_case: Case) -> None:
    """The front is air above and fat below, all labels are inside, and the table is not."""
    body = body_case.body.voxels > 0
    assert body[body_case.labels.voxels > 0].mean() > 0.9995
    # The table is dense, and it is in the image; no voxel of the mask lies as far back.
    index = np.argwhere(body_case.ct.voxels[::8, :, ::8] > -300) * [8, 1, 8]
    dense_y = body_case.ct.points_mm(index)[:, 1].max()
    body_y = body_case.body.points_mm(np.argwhere(body[::4, :, ::4]) * [4, 1, 4])[:, 1].max()
    assert dense_y > body_y + 5.0
    # In the sagittal plane of the tumour the first dense tissue from the front is the mask's first voxel.
    i, _, k = np.rint(body_case.ct.indices(target_centroid_mm(body_case))).astype(int)
    front = np.flatnonzero(body[i, :, k])[-1]
    assert np.flatnonzero(body_case.ct.voxels[i, : front + 3, k] > -300)[-1] == pytest.approx(front, abs=1)
    assert body_case.ct.voxels[i, front + 4, k] < -700


@pytest.fixture(scope="module")
def part(sources: SourceImages) -> tuple[Volume, np.ndarray, dict[str, int]]:
    """A small crop of the sources."""
    affine = sources.ct.affine.copy()
    affine[:3, 3] = sources.ct.points_mm([s.start for s in BOX])
    present = set(np.unique(sources.labels.voxels[BOX]).tolist())
    names = {name: n for name, n in sources.names.items() if n in present}
    return Volume(sources.ct.voxels[BOX], affine), sources.labels.voxels[BOX], names


def _derived(part: tuple[Volume, np.ndarray, dict[str, int]]) -> tuple[np.ndarray, np.ndarray, LabelCanvas]:
    canvas = LabelCanvas(part[0], part[1].copy(), dict(part[2]))
    add_arteries(canvas)
    tube = add_mesenteric_vein(canvas)
    return canvas.labels, tube.centres_mm, canvas


def test_derived_again_from_a_crop_it_is_the_same(
    part: tuple[Volume, np.ndarray, dict[str, int]], body_case: Case
) -> None:
    """Twice the same bytes; and nearly the same vessels as in the whole image."""
    (labels, centres, canvas), (again, centres_again, _) = _derived(part), _derived(part)
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_array_equal(centres, centres_again)
    for name in (SMA, SMV):
        whole = _mask(body_case, name)[BOX]
        found = canvas.mask(name)
        assert 2 * (whole & found).sum() / (whole.sum() + found.sum()) > 0.95, name


def _thinned(sources: SourceImages, axis: int | None, which: str) -> SourceImages:
    """Every fourth voxel, flipped along an axis under an unchanged affine."""
    affine = sources.ct.affine @ np.diag([4.0, 4.0, 2.0, 1.0])

    def taken(voxels: np.ndarray, flip: bool) -> np.ndarray:
        few = voxels[::4, ::4, ::2]
        return few.copy() if axis is None or not flip else np.flip(few, axis).copy()

    return SourceImages(
        Volume(taken(sources.ct.voxels, which != "labels"), affine),
        Volume(taken(sources.labels.voxels, True), affine),
        sources.names,
    )


@pytest.mark.parametrize(
    ("axis", "which", "said"),
    [
        (0, "both", "mirrored left to right"),
        (1, "both", "mirrored front to back"),
        (2, "both", "upside down"),
        (0, "labels", "mirrored left to right"),
        (2, "labels", "upside down"),
    ],
)
def test_a_mirrored_set_is_refused(sources: SourceImages, axis: int, which: str, said: str) -> None:
    """Image and labels flipped together, or labels alone, are refused before anything is derived."""
    with pytest.raises(InvalidInputError, match=said):
        derive("lidc", _thinned(sources, axis, which), _silent)


def test_labels_of_another_image_are_refused(sources: SourceImages) -> None:
    """Labels moved by 40 mm against the image lie the right way round, and on the wrong tissue."""
    few = _thinned(sources, None, "both")
    moved = few.labels.with_voxels(np.roll(few.labels.voxels, 14, axis=0))
    with pytest.raises(InvalidInputError, match="do not lie on the image"):
        derive("lidc", SourceImages(few.ct, moved, few.names), _silent)


def test_an_unknown_name_is_refused() -> None:
    """The names there are are listed, and nothing is downloaded."""
    with pytest.raises(InvalidInputError, match="no such public case.*lidc, lidc-head"):
        fetch("lidc-tail")


def test_naming_the_cases_loads_nothing_heavy() -> None:
    """The command line reads `NAMES` at its start."""
    code = (
        "import sys, sim.lidc.fetch; "
        "print([m for m in ('numpy', 'scipy', 'SimpleITK', 'numba', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
