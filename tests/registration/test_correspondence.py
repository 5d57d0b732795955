"""Matching: order, missing points, decoys, and layouts that fit in two ways."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.correspondence import MOST_POINTS, match

LAYOUT = np.array(
    [[110, 20, -30], [60, -90, 10], [-20, -130, 45], [-70, -100, -60], [95, -40, 80], [10, -125, -20], [-95, -60, 15],
     [70, -75, -70], [-50, -115, 85.0]]
)  # fmt: skip


def _scene(seed: int, count: int, missing: int, decoys: int) -> tuple[np.ndarray, np.ndarray, set[tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    model = LAYOUT[:count]
    kept = rng.permutation(count)[: count - missing]
    turn = Rotation.random(random_state=rng).as_matrix()
    seen = model[kept] + rng.normal(0, 0.39 / np.sqrt(3), (len(kept), 3))
    seen = np.concatenate([seen, rng.uniform(-150, 150, (decoys, 3))]) @ turn.T + rng.uniform(-1000, 1000, 3)
    order = rng.permutation(len(seen))
    truth = {(int(kept[o]), place) for place, o in enumerate(order) if o < len(kept)}
    return model, seen[order], truth


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 9), st.integers(0, 2), st.integers(0, 2))
def test_unordered_points_with_missing_and_decoys_are_matched(seed: int, count: int, missing: int, decoys: int) -> None:
    """Whatever the pose and order, no point is given a wrong fiducial, and the answer is ok or says why not."""
    model, seen, truth = _scene(seed, count, missing, decoys)
    found = match(model, seen, tolerance_mm=1.6)
    if found.status == "ok":
        assert set(found.pairs) == truth
        assert found.residuals_mm.max() < 1.6
    else:
        assert found.status == "ambiguous" and count - missing <= 4 and found.reasons


def _moved(points: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return points @ Rotation.random(random_state=rng).as_matrix().T + rng.uniform(-500, 500, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 9), st.integers(0, 3), st.booleans())
def test_the_order_and_the_pose_of_either_side_do_not_matter(
    seed: int, count: int, decoys: int, symmetric: bool
) -> None:
    """Both sides shuffled and moved: the same status, the same pairs by name, the same residuals."""
    model, seen, _ = _scene(seed, count, 0, decoys)
    if symmetric:
        model, seen = RECTANGLE, _moved(np.concatenate([RECTANGLE, seen[:decoys]]), seed)
    found = match(model, seen, tolerance_mm=1.6)
    rng = np.random.default_rng(seed + 1)
    i, j = rng.permutation(len(model)), rng.permutation(len(seen))
    again = match(_moved(model, seed + 2)[i], _moved(seen, seed + 3)[j], tolerance_mm=1.6)
    assert again.status == found.status
    if found.status == "ok":
        assert {(int(i[a]), int(j[b])) for a, b in again.pairs} == set(found.pairs)
        assert np.sort(again.residuals_mm) == pytest.approx(np.sort(found.residuals_mm), abs=1e-9)


@pytest.mark.parametrize("swap", [False, True], ids=["decoys", "missing"])
def test_a_hundred_points_take_less_than_a_second(swap: bool) -> None:
    """100 fiducials, 30 of them missing and 30 decoys: every pair right; so with the two sides exchanged."""
    rng = np.random.default_rng(31)
    model = rng.uniform(size=(100, 3)) * (200, 300, 120)
    kept = rng.permutation(100)[:70]
    seen = np.concatenate([model[kept] + rng.normal(0, 0.2, (70, 3)), rng.uniform(size=(30, 3)) * (200, 300, 120)])
    truth = {(int(k), n) for n, k in enumerate(kept)}
    one, other = (_moved(seen, 32), model) if swap else (model, _moved(seen, 32))
    match(LAYOUT, LAYOUT, tolerance_mm=1.6)  # compiled
    begun = time.perf_counter()
    found = match(one, other, tolerance_mm=1.6)
    assert time.perf_counter() - begun < 1.0
    assert found.status == "ok"
    assert {(b, a) if swap else (a, b) for a, b in found.pairs} == truth
    assert found.chance_matches is not None and found.chance_matches < 1e-6


RECTANGLE = np.array([[60, 40, 0], [-60, 40, 0], [-60, -40, 0], [60, -40, 0.0]])
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1.0)])
RING = np.array([[np.cos(a), np.sin(a), 0] for a in np.arange(6) * np.pi / 3])
SHEET = np.array([[x, y, 0] for x in range(10) for y in range(10)])
SYMMETRIC = {
    "isosceles": np.array([[0, 0, 0], [100, 0, 0], [50, 120, 0.0]]),
    "isosceles within tolerance": np.array([[0, 0, 0], [100, 0, 0], [51, 120, 0.0]]),
    "square": RECTANGLE * (1, 1.5, 1),
    "rectangle": RECTANGLE,
    "rectangle within tolerance": RECTANGLE + np.array([[0, 0, 0], [1, 0, 0], [0, 0.8, 0], [0, 0, 1.2]]),
    "hexagon": 80.0 * RING,
    "cube": 100.0 * CORNERS,
    "trapezium, a mirror in its plane": np.array([[0, 0, 0], [140, 0, 0], [110, 80, 0], [30, 80, 0.0]]),
    "sheet of 100": 25.0 * SHEET,
    "fine sheet of 100": 12.0 * SHEET,
}


@pytest.mark.parametrize("layout", SYMMETRIC.values(), ids=SYMMETRIC.keys())
def test_a_symmetric_layout_is_refused_with_both_answers(layout: np.ndarray) -> None:
    """What fits in two ways is refused; both ways are values and are stated, each with its residual."""
    seen = _moved(layout + np.random.default_rng(6).normal(0, 0.1, layout.shape), 7)[::-1]
    found = match(layout, seen, tolerance_mm=1.5)
    assert found.status == "ambiguous"
    assert found.rival is not None and set(found.rival.pairs) != set(found.pairs)
    assert len(found.rival.pairs) == len(found.pairs) == len(layout)
    assert max(found.rival.residuals_mm.max(), found.residuals_mm.max()) <= 1.5
    assert f"{found.rival.rms_mm:.3f} mm rms" in found.reasons[0]
    assert found.reasons[0].count("mm rms") == 2 and found.reasons[0].count("F1–P") == 2


def test_a_sheet_with_missing_points_and_decoys_is_refused() -> None:
    """A sheet of 100 fits itself turned over, also with 30 of them missing and 30 decoys."""
    rng = np.random.default_rng(33)
    seen = np.concatenate([25.0 * SHEET[rng.permutation(100)[:70]], rng.uniform(0, 225, (30, 3))])
    assert match(25.0 * SHEET, seen, tolerance_mm=1.5).status == "ambiguous"


def test_symmetry_that_only_the_missing_point_breaks_is_ambiguous() -> None:
    """With the point that breaks the symmetry unseen, nothing tells the two ways apart."""
    layout = np.array([[60, 40, 0], [-60, 40, 0], [-60, -40, 0], [60, -40, 0], [20, 0, 45.0]])
    assert match(layout, layout, tolerance_mm=1.5).status == "ok"
    assert match(layout, layout[:4], tolerance_mm=1.5).status == "ambiguous"


def test_one_point_that_many_decoys_could_give_does_not_break_a_symmetry() -> None:
    """Where chance could have put a decoy where the symmetry breaks, that one point decides nothing."""
    rng = np.random.default_rng(34)
    small = np.concatenate([0.4 * RECTANGLE, [[8, 0, 15.0]]])
    crowd = rng.uniform(-30, 30, (40, 3))
    crowd = crowd[np.linalg.norm(crowd[:, None] - small[None], axis=-1).min(axis=1) > 8.0]
    found = match(small, np.concatenate([small, crowd]), tolerance_mm=1.5)
    assert found.status == "ambiguous" and len(found.pairs) == 5
    assert found.rival is not None and len(found.rival.pairs) in (4, 5)


def test_the_mirror_image_is_called_mirrored() -> None:
    """A mirrored layout, a point missing and a decoy added, has no answer, and the mirrored one as its rival."""
    seen = np.concatenate([LAYOUT[1:], [[5.0, 5.0, 5.0]]]) * (-1, 1, 1)
    found = match(LAYOUT, seen, tolerance_mm=1.5)
    assert (found.status, found.pairs) == ("mirrored", ())
    assert found.rival is not None and found.rival.pairs == tuple((n + 1, n) for n in range(8))
    assert "mirrored: 8 of 9 fiducials" in found.reasons[0] and "check left and right" in found.reasons[0]


@pytest.mark.parametrize("depth_mm", [1.2, 2.0, 4.0, 30.0])
def test_a_nearly_flat_set_that_fits_mirrored_clearly_better_is_called_mirrored(depth_mm: float) -> None:
    """As many pairs either way: the residuals tell, also where all are within the tolerance."""
    rng = np.random.default_rng(12)
    for seed in range(12):
        model = rng.uniform(-1.0, 1.0, (9, 3)) * (100.0, 150.0, depth_mm)
        seen = model + rng.normal(0.0, 0.23, model.shape)
        found = match(model, _moved(seen * (-1, 1, 1), seed), tolerance_mm=1.56)
        assert found.status == "mirrored" and found.rival is not None and len(found.rival.pairs) == 9
        assert f"with {found.rival.rms_mm:.3f} mm rms as a mirror image" in found.reasons[0]
        assert match(model, _moved(seen, seed), tolerance_mm=1.56).status == "ok"


def test_a_flat_set_is_not_called_mirrored() -> None:
    """In a plane both fit alike, and as often the mirror image by a little: no reason to refuse."""
    rng = np.random.default_rng(13)
    for depth_mm in (0.0, 0.5):
        for seed in range(40):
            model = rng.uniform(-1.0, 1.0, (9, 3)) * (100.0, 150.0, depth_mm)
            seen = model + rng.normal(0.0, 0.23, model.shape)
            assert match(model, _moved(seen, seed), tolerance_mm=1.56).status == "ok"


def test_too_many_points_are_refused_at_once() -> None:
    """200 of each are matched; one more is said to be too many, with the limit."""
    many = np.random.default_rng(14).uniform(-200.0, 200.0, (MOST_POINTS + 1, 3))
    assert match(LAYOUT, np.concatenate([LAYOUT, many[: MOST_POINTS - 9]]), tolerance_mm=1.5).status == "ok"
    begun = time.perf_counter()
    for model, seen in ((many, LAYOUT), (LAYOUT, many)):
        found = match(model, seen, tolerance_mm=1.5)
        assert (found.status, found.pairs) == ("too_many", ()) and "200 of each at most" in found.reasons[0]
    assert time.perf_counter() - begun < 0.2


@pytest.mark.parametrize("off_mm", [1.6, 1.8])
def test_a_twin_farther_off_than_the_tolerance_competes_where_the_fit_gives_way(off_mm: float) -> None:
    """The fit goes halfway to meet it: within the tolerance then, though it was beyond at first."""
    twin = LAYOUT[3] + off_mm * np.array([0.6, 0.0, 0.8])
    found = match(LAYOUT[:6], np.concatenate([LAYOUT[:6], twin[None]]), tolerance_mm=1.5)
    assert found.status == "ambiguous" and "F4–P4 could as well be F4–P7" in found.reasons[0]


def test_a_point_reported_twice_is_named() -> None:
    """Two measured points 0.8 mm apart could both be the fourth fiducial."""
    found = match(LAYOUT, np.concatenate([LAYOUT, LAYOUT[3:4] + 0.45]), tolerance_mm=1.5)
    assert found.status == "ambiguous"
    assert "F4–P4 could as well be F4–P10" in found.reasons[0]
    assert found.rival is not None and (3, 9) in found.rival.pairs


def test_two_fiducials_too_close_are_named() -> None:
    """Two fiducials that could change places are named; a doubled decoy harms nobody."""
    close = np.concatenate([LAYOUT, LAYOUT[2:3] + np.array([1.0, 0, 0])])
    found = match(close, close, tolerance_mm=1.5)
    assert found.status == "ambiguous" and "F3–P3, F10–P10 could as well be F3–P10, F10–P3" in found.reasons[0]
    decoys = np.array([[0, 0, 0], [0.3, 0, 0.0]])
    assert match(LAYOUT, np.concatenate([LAYOUT, decoys]), tolerance_mm=1.5).status == "ok"


def test_which_of_two_points_has_moved_is_not_guessed() -> None:
    """Of a kite of four, one moved by 3 mm: any three of them fit, and it is said which exclude one another."""
    kite = np.array([[0, 0, 0], [120, 10, 0], [90, 150, 20], [-30, 100, 60.0]])
    seen = kite.copy()
    seen[2] += (0.0, 4.2, 0.0)
    found = match(kite, seen, tolerance_mm=1.5)
    assert found.status == "ambiguous" and len(found.pairs) == 3


def test_a_match_that_chance_would_bring_is_refused_with_its_number() -> None:
    """Three of six among decoys prove nothing; the same three of three do."""
    rng = np.random.default_rng(35)
    decoys = rng.uniform(-150, 150, (9, 3))
    found = match(LAYOUT[:6], np.concatenate([LAYOUT[:3], decoys]), tolerance_mm=1.5)
    assert found.status == "ambiguous"
    assert "expected by chance (limit 0.01): 4 pairs would do" in found.reasons[-1]
    assert found.chance_matches is not None and found.chance_matches > 0.01
    sure = match(LAYOUT[:3], LAYOUT[:3], tolerance_mm=1.5)
    assert sure.status == "ok" and sure.chance_matches is not None and sure.chance_matches < 0.01


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(3, 40))
def test_unrelated_points_are_never_matched(seed: int, fiducials: int, measured: int) -> None:
    """Two sets that have nothing to do with one another are refused, whatever chance brings."""
    rng = np.random.default_rng(seed)
    box = np.array((200, 300, 120))
    found = match(rng.uniform(size=(fiducials, 3)) * box, rng.uniform(size=(measured, 3)) * box, tolerance_mm=1.5)
    assert found.status in ("none", "ambiguous") and found.reasons


@pytest.mark.parametrize(
    ("model", "seen", "status", "said"),
    [
        (LAYOUT[:2], LAYOUT, "too_few", "2 fiducials"),
        (LAYOUT, LAYOUT[:2], "too_few", "2 measured points"),
        (LAYOUT, [], "too_few", "0 measured points"),
        (LAYOUT[:3], LAYOUT[:3] * 1.3, "none", "no rigid motion brings 3 measured points"),
        (np.outer(np.arange(5) ** 2, (9, 3, 1.0)),) * 2 + ("none", "points on a line do not count"),
        (np.array([[0, 0, 0], [100, 0, 0], [170, 12, 0.0]]),) * 2 + ("none", "within 8 mm of one line"),
    ],
)
def test_no_answer_has_a_status_and_a_reason(model: np.ndarray, seen: np.ndarray, status: str, said: str) -> None:
    """Too few points, another scale, a line and nearly a line each say so."""
    found = match(model, seen, tolerance_mm=1.5)
    assert (found.status, found.pairs) == (status, ())
    assert said in found.reasons[0]


@pytest.mark.parametrize(
    ("model", "tolerance_mm", "said"),
    [
        (LAYOUT * np.nan, 1.5, "fiducials are finite points"),
        (LAYOUT[:, :2], 1.5, "fiducials are finite points"),
        (LAYOUT, 0.0, "tolerance"),
        (LAYOUT, np.nan, "tolerance"),
    ],
)
def test_what_cannot_be_matched_at_all_is_refused(model: np.ndarray, tolerance_mm: float, said: str) -> None:
    """NaN, two columns and a tolerance that is no length are input errors."""
    with pytest.raises(InvalidInputError, match=said):
        match(model, LAYOUT, tolerance_mm=tolerance_mm)
