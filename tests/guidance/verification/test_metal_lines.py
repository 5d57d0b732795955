"""Rough lines through metal: found where they were painted, whatever lies beside them, and refused when hopeless."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from guidance.verification.metal_lines import MAX_METAL_VOXELS, MetalLine, find_metal_lines
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

SHAPE = (110, 100, 130)
AFFINE = np.array([[0.7, 0, 0, -31.0], [0, -0.8, 0, 47.0], [0, 0, 1.0, -220.0], [0, 0, 0, 1.0]])
LENGTH_MM = 150.0
Segment = tuple[np.ndarray, np.ndarray]


def painted(*segments: Segment, spheres: tuple[np.ndarray, ...] = (), affine: np.ndarray = AFFINE) -> Volume:
    """Return a CT of tissue in which every voxel a segment passes through is metal; ends in voxel indices."""
    voxels = np.full(SHAPE, 40, np.int16)
    for a, b in segments:
        points = np.linspace(a, b, 2000)
        index = np.rint(points).astype(int)
        index = index[((index >= 0) & (index < SHAPE)).all(axis=1)]
        voxels[tuple(index.T)] = 6000
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    for centre in spheres:
        voxels[np.linalg.norm((grid - centre) * np.linalg.norm(affine[:3, :3], axis=0), axis=-1) <= 2.0] = 2500
    return Volume(voxels, affine, "check")


def ends(line: MetalLine) -> np.ndarray:
    """Return both ends of a line, sorted by z, shape (2, 3)."""
    points = line.points(np.array([line.low_mm, line.high_mm]))
    return points[np.argsort(points[:, 2])]


def agree(line: MetalLine, image: Volume, segment: Segment, tolerance_mm: float = 1.5) -> bool:
    """Tell whether a line has the ends of a segment that was painted."""
    true = image.points_mm(np.stack(segment))
    true = true[np.argsort(true[:, 2])]
    return bool(np.linalg.norm(ends(line) - true, axis=1).max() < tolerance_mm)


A: Segment = (np.array([20.0, 15.0, 12.0]), np.array([60.0, 70.0, 118.0]))
B: Segment = (np.array([42.0, 18.0, 14.0]), np.array([84.0, 71.0, 120.0]))


def test_two_needles_and_nothing_else() -> None:
    """Two lines with the ends that they were painted with; seven spheres make none."""
    rng = np.random.default_rng(2)
    spheres = tuple(np.array([10.0, 10.0, 10.0]) + rng.uniform(0, 1, 3) * (85, 10, 100) for _ in range(7))
    image = painted(A, B, spheres=spheres)
    found = find_metal_lines(image, LENGTH_MM)
    assert len(found) == 2
    for segment in (A, B):
        assert sum(agree(line, image, segment) for line in found) == 1


def test_no_metal_no_line() -> None:
    """Plain tissue, spheres alone, and a wire of 30 mm are none; 45 mm is one."""
    assert find_metal_lines(painted(), LENGTH_MM) == ()
    scattered = tuple(np.array([x, 50.0, 30.0 + 13 * x / 20]) for x in (15.0, 35.0, 60.0, 95.0))
    assert find_metal_lines(painted(spheres=scattered), LENGTH_MM) == ()
    for length, count in ((30.0, 0), (45.0, 1)):
        wire = (np.array([50.0, 50.0, 40.0]), np.array([50.0, 50.0, 40.0 + length]))
        assert len(find_metal_lines(painted(wire), LENGTH_MM)) == count


def test_needles_that_cross_are_two() -> None:
    """One group of voxels, two lines: touching metal is told apart as lines."""
    crossing: Segment = (np.array([58.0, 25.0, 20.0]), np.array([22.0, 60.0, 110.0]))
    middle = 0.5 * (A[0] + A[1]) - 0.5 * (crossing[0] + crossing[1])
    crossing = (crossing[0] + middle, crossing[1] + middle)
    image = painted(A, crossing)
    found = find_metal_lines(image, LENGTH_MM)
    assert len(found) == 2
    for segment in (A, crossing):
        assert sum(agree(line, image, segment, 3.0) for line in found) == 1


@pytest.mark.parametrize(("gap_mm", "count"), [(8.0, 1), (25.0, 2)])
def test_a_needle_with_a_gap(gap_mm: float, count: int) -> None:
    """A break of 8 mm in the metal is bridged; one of 25 mm makes two needles."""
    axis = (A[1] - A[0]) * np.linalg.norm(AFFINE[:3, :3], axis=0)
    share = gap_mm / float(np.linalg.norm(axis))
    pieces = ((A[0], A[0] + (0.5 - share / 2) * (A[1] - A[0])), (A[0] + (0.5 + share / 2) * (A[1] - A[0]), A[1]))
    image = painted(*pieces)
    found = find_metal_lines(image, LENGTH_MM)
    assert len(found) == count
    if count == 1:
        assert agree(found[0], image, A)


def test_dashes_that_fill_less_than_half_are_no_needle() -> None:
    """Points of metal in a row, each 8 mm from the next, are not a shaft."""
    dots = [(np.array([50.0, 50.0, z]), np.array([50.0, 50.0, z + 1.0])) for z in range(10, 120, 8)]
    assert find_metal_lines(painted(*dots), LENGTH_MM) == ()


def test_metal_longer_than_two_needles_is_left_out() -> None:
    """A rail through the whole image is no needle of 30 mm, and is one of 150."""
    rail = (np.array([50.0, 50.0, 0.0]), np.array([50.0, 50.0, 129.0]))
    image = painted(rail)
    assert find_metal_lines(image, 30.0) == ()
    assert len(find_metal_lines(image, 150.0)) == 1


def test_too_much_metal_is_refused() -> None:
    """An image that is not in HU has metal everywhere: refused with the count and the limit."""
    bright = Volume(np.full(SHAPE, 3000, np.int16), AFFINE, "check", "scan.nii.gz")
    with pytest.raises(InvalidInputError, match="bright as metal") as refused:
        find_metal_lines(bright, LENGTH_MM)
    assert refused.value.value == np.prod(SHAPE)
    assert refused.value.limit == MAX_METAL_VOXELS
    assert refused.value.file == "scan.nii.gz"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_moving_the_scene_moves_the_lines(seed: int) -> None:
    """The same voxels in a turned and shifted frame give the same lines, turned and shifted."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    motion[:3, 3] = np.random.default_rng(seed).normal(0, 200, 3)
    here = find_metal_lines(painted(A, B), LENGTH_MM)
    there = find_metal_lines(painted(A, B, affine=motion @ AFFINE), LENGTH_MM)
    assert len(here) == len(there) == 2

    def both_ends(line: MetalLine) -> np.ndarray:
        return line.points(np.array([line.low_mm, line.high_mm]))

    moved = [both_ends(line) @ motion[:3, :3].T + motion[:3, 3] for line in here]
    for line in there:
        own = both_ends(line)
        gaps = [min(np.abs(own - m).max(), np.abs(own[::-1] - m).max()) for m in moved]
        assert min(gaps) < 0.05


def test_a_line_s_own_axes() -> None:
    """u and v stand across the axis, and a point of the line is origin + along · axis + lateral."""
    line = MetalLine.of(np.array([1.0, -2.0, 3.0]), np.array([0.4, 2.0, -1.0]), -5.0, 60.0)
    axes = np.stack([line.axis, line.u, line.v])
    assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-12)
    (point,) = line.points(np.array([7.0]), np.array([[0.5, -1.5]]))
    assert axes @ (point - line.origin_mm) == pytest.approx([7.0, 0.5, -1.5])
    back = line.reversed()
    assert (back.low_mm, back.high_mm) == (-60.0, 5.0)
    assert back.points(np.array([5.0]))[0] == pytest.approx(line.points(np.array([-5.0]))[0])
    assert back.axis == pytest.approx(-line.axis)


def test_a_needle_whose_metal_is_in_pieces_is_one() -> None:
    """Two long pieces with a stretch of 27 mm between them that holds short pieces only are one needle."""
    length = float(np.linalg.norm((A[1] - A[0]) * np.linalg.norm(AFFINE[:3, :3], axis=0)))

    def part(first_mm: float, last_mm: float) -> tuple[np.ndarray, np.ndarray]:
        return A[0] + first_mm / length * (A[1] - A[0]), A[0] + last_mm / length * (A[1] - A[0])

    half = 0.5 * length
    crumbs = [part(half - 13.0 + s, half - 11.0 + s) for s in (4.0, 12.0, 20.0)]
    found = find_metal_lines(painted(part(0.0, half - 13.5), *crumbs, part(half + 13.5, length)), LENGTH_MM)
    assert len(found) == 1
    assert agree(found[0], painted(A), A)
