"""Matching: order, missing points, decoys, and layouts that fit in two ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from registration.correspondence import match

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


def test_a_symmetric_layout_is_ambiguous_with_both_residuals() -> None:
    """A rectangle of markers fits in four ways: it is refused, and two residuals are stated."""
    rectangle = np.array([[60, 40, 0], [-60, 40, 0], [-60, -40, 0], [60, -40, 0.0]])
    noise = np.random.default_rng(6).normal(0, 0.1, rectangle.shape)
    found = match(rectangle, rectangle + noise, tolerance_mm=1.5)
    assert found.status == "ambiguous"
    assert found.reasons[0].count("mm rms") == 2


def test_symmetry_that_only_the_missing_point_breaks_is_ambiguous() -> None:
    """With the point that breaks the symmetry unseen, nothing tells the two ways apart."""
    layout = np.array([[60, 40, 0], [-60, 40, 0], [-60, -40, 0], [60, -40, 0], [20, 0, 45.0]])
    assert match(layout, layout, tolerance_mm=1.5).status == "ok"
    assert match(layout, layout[:4], tolerance_mm=1.5).status == "ambiguous"


def test_the_mirror_image_is_not_a_match() -> None:
    """A mirrored layout has all its distances, and no rigid motion: fewer pairs or none."""
    found = match(LAYOUT, LAYOUT * (-1, 1, 1), tolerance_mm=1.5)
    assert len(found.pairs) < 5


@pytest.mark.parametrize(
    ("model", "seen", "status"),
    [
        (LAYOUT[:2], LAYOUT, "too_few"),
        (LAYOUT, LAYOUT[:2], "too_few"),
        (LAYOUT[:3], LAYOUT[:3] * 1.3, "none"),
        (np.outer(np.arange(5) ** 2, (9, 3, 1.0)),) * 2 + ("none",),
    ],
)
def test_no_answer_has_a_status_and_a_reason(model: np.ndarray, seen: np.ndarray, status: str) -> None:
    """Too few points, another scale and a line each say so."""
    found = match(model, seen, tolerance_mm=1.5)
    assert (found.status, found.pairs) == (status, ())
    assert found.reasons
