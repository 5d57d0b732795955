"""Straight lines of metal voxels in a CT: where needles may be, roughly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

METAL_HU = 2000
"""Above cortical bone, below the ceiling of a 12-bit scale (3071)."""
LINK_MM = 2.2
"""Metal voxels nearer than this belong together; two needles that are nearer are told apart as lines."""
LONG_MM = 20.0
"""A group of metal at least this long has a direction of its own."""
PIECE_OFF_MM = 3.0
"""Pieces that continue a line lie this near to it: a bent needle leaves its own straight line by 1–2 mm."""
INLIER_MM = 2.0
MIN_LENGTH_MM = 40.0
MAX_GAP_MM = 12.0
HUB_ROOM_MM = 45.0
"""A needle with its hub is no longer than its usable length and this."""
MIN_FILL = 0.5
"""Share of the line's millimetres that hold metal."""
MAX_METAL_VOXELS = 400_000
TRIALS = 200


@dataclass(frozen=True, eq=False)
class MetalLine:
    """A rough straight line through metal, in the image's frame [mm]; `u` and `v` lie across it."""

    origin_mm: FloatArray
    axis: FloatArray
    u: FloatArray
    v: FloatArray
    low_mm: float
    high_mm: float

    @classmethod
    def of(cls, origin_mm: FloatArray, axis: FloatArray, low_mm: float, high_mm: float) -> MetalLine:
        """Build the line with some lateral directions."""
        axis = axis / np.linalg.norm(axis)
        u = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
        u /= np.linalg.norm(u)
        v = np.cross(axis, u)
        return cls(read_only(origin_mm), read_only(axis), read_only(u), read_only(v), low_mm, high_mm)

    def reversed(self) -> MetalLine:
        """Return the same line, running the other way."""
        return MetalLine.of(self.origin_mm, -self.axis, -self.high_mm, -self.low_mm)

    def points(self, along_mm: FloatArray, lateral_mm: FloatArray | None = None) -> FloatArray:
        """Return points at places along the line, shape (n, 3); `lateral_mm` (n, 2) along u and v."""
        points = self.origin_mm + np.multiply.outer(np.asarray(along_mm, dtype=np.float64), self.axis)
        if lateral_mm is not None:
            points = points + lateral_mm @ np.stack([self.u, self.v])
        return np.asarray(points, dtype=np.float64)


def find_metal_lines(image: Volume, length_mm: float) -> tuple[MetalLine, ...]:
    """Find straight lines of metal at least 40 mm long.

    Args:
        image: A CT.
        length_mm: The longest line expected; metal that goes on further is two needles end to end.

    Raises:
        InvalidInputError: So much metal that lines cannot be told (wrong rescaling, or not a CT in HU).
    """
    flat = np.flatnonzero(image.voxels.reshape(-1) > METAL_HU)
    if len(flat) > MAX_METAL_VOXELS:
        raise InvalidInputError(
            "too many voxels are as bright as metal",
            value=len(flat),
            limit=MAX_METAL_VOXELS,
            unit="voxels",
            file=image.file,
            remedy="check that the image is a CT in Hounsfield units",
        )
    points = image.points_mm(np.stack(np.unravel_index(flat, image.shape), axis=1)) if len(flat) else np.empty((0, 3))
    lines: list[MetalLine] = []
    # Any end to end or touching needles share a group: take lines out of a group until none is left.
    for group in _groups(points):
        rest = group
        while len(rest) >= MIN_LENGTH_MM * MIN_FILL:
            line = _best_line(rest)
            if line is None:
                break
            lines.append(line)
            along, off = _coordinates(rest, line)
            taken = (off <= INLIER_MM) & (along >= line.low_mm - 1.0) & (along <= line.high_mm + 1.0)
            rest = rest[~taken]
    return tuple(
        line for line in _merged(lines, points, length_mm) if line.high_mm - line.low_mm <= 2.0 * length_mm + 60.0
    )


def _merged(lines: list[MetalLine], points_mm: FloatArray, length_mm: float) -> list[MetalLine]:
    """Join lines that are parts of one needle: one straight line of metal without a large gap, no longer than one."""
    rest = sorted(lines, key=lambda line: line.low_mm - line.high_mm)
    whole: list[MetalLine] = []
    while rest:
        line = rest.pop(0)
        for n, other in enumerate(rest):
            ends = np.concatenate([_ends(line), _ends(other)])
            along, off = _coordinates(ends, line)
            if off.max() > PIECE_OFF_MM or float(np.ptp(along)) > length_mm + HUB_ROOM_MM:
                continue
            first, last = ends[int(np.argmin(along))], ends[int(np.argmax(along))]
            joined = MetalLine.of(first, last - first, 0.0, float(np.linalg.norm(last - first)))
            # Metal in between counts whichever line it was given to: needles may cross there.
            s, aside = _coordinates(points_mm, joined)
            inside = np.sort(s[(aside <= PIECE_OFF_MM) & (s >= 0.0) & (s <= joined.high_mm)])
            if len(inside) > 1 and float(np.diff(inside).max()) <= MAX_GAP_MM:
                rest[n] = joined
                break
        else:
            whole.append(line)
    return whole


def _ends(line: MetalLine) -> FloatArray:
    return line.points(np.array([line.low_mm, line.high_mm]))


def _groups(points_mm: FloatArray) -> list[FloatArray]:
    if len(points_mm) == 0:
        return []
    tree = cKDTree(points_mm)
    pairs = tree.query_pairs(LINK_MM, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(points_mm),) * 2)
    count, member = connected_components(graph, directed=False)
    order = np.argsort(member, kind="stable")
    cuts = np.cumsum(np.bincount(member, minlength=count))[:-1]
    groups = [points_mm[part] for part in np.split(order, cuts)]
    # A needle's metal may be broken where its blurred peak falls below the threshold: long groups take up the
    # pieces on their line and are joined; what is left (pieces, spheres) is pooled, and a line must find its
    # millimetres there.
    long = [g for g in groups if np.ptp(g, axis=0).max() >= LONG_MM]
    short = [g for g in groups if np.ptp(g, axis=0).max() < LONG_MM]
    grown, rest = _grown(long, short)
    return _joined(grown) + ([np.concatenate(rest)] if sum(map(len, rest)) >= MIN_LENGTH_MM * MIN_FILL else [])


def _grown(long: list[FloatArray], short: list[FloatArray]) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return the long groups with the short ones that continue their line, piece by piece, and the short ones left."""
    grown, rest = [], list(short)
    for points in long:
        taken = _is_line(points)  # two needles that touch have no one line to go on along
        while taken:
            line = MetalLine.of(points.mean(axis=0), _principal(points), 0.0, 0.0)
            along, _ = _coordinates(points, line)
            low, high = float(along.min()) - MAX_GAP_MM, float(along.max()) + MAX_GAP_MM
            taken = False
            for n, piece in enumerate(rest):
                s, off = _coordinates(piece, line)
                if off.max() <= PIECE_OFF_MM and low <= s.min() and s.max() <= high:
                    points = np.concatenate([points, rest.pop(n)])
                    taken = True
                    break
        grown.append(points)
    return grown, rest


def _is_line(points_mm: FloatArray) -> bool:
    """Tell whether points scatter by less than 1 mm about their principal axis."""
    spread = np.linalg.svd(points_mm - points_mm.mean(axis=0), compute_uv=False)
    return bool(spread[1] / np.sqrt(len(points_mm)) < 1.0)


def _principal(points_mm: FloatArray) -> FloatArray:
    axis: FloatArray = np.linalg.svd(points_mm - points_mm.mean(axis=0), full_matrices=False)[2][0]
    return axis


def _joined(groups: list[FloatArray]) -> list[FloatArray]:
    """Join groups that are pieces of one line: collinear, with a small gap."""
    merged = [g for g in groups]
    changed = True
    while changed:
        changed = False
        for a in range(len(merged)):
            for b in range(a + 1, len(merged)):
                gap = float(cKDTree(merged[a]).query(merged[b])[0].min())
                if gap > MAX_GAP_MM:
                    continue
                both = np.concatenate([merged[a], merged[b]])
                if _is_line(both):
                    merged[a] = both
                    del merged[b]
                    changed = True
                    break
            if changed:
                break
    return merged


def _coordinates(points_mm: FloatArray, line: MetalLine) -> tuple[FloatArray, FloatArray]:
    offset = points_mm - line.origin_mm
    along = offset @ line.axis
    return along, np.asarray(np.linalg.norm(offset - np.outer(along, line.axis), axis=1), dtype=np.float64)


def _best_line(points_mm: FloatArray) -> MetalLine | None:
    """The line with the most metal near it: the principal axis, or pairs of points from a fixed sequence."""
    centre = points_mm.mean(axis=0)
    candidates = [(centre, np.linalg.svd(points_mm - centre, full_matrices=False)[2][0])]
    draws = np.random.default_rng(0).integers(0, len(points_mm), (TRIALS, 2))
    for a, b in draws:
        gap = points_mm[b] - points_mm[a]
        if np.linalg.norm(gap) > 0.5 * MIN_LENGTH_MM:
            candidates.append((points_mm[a], gap / np.linalg.norm(gap)))
    best: MetalLine | None = None
    most = 0
    for n, (origin, axis) in enumerate(candidates):
        line = MetalLine.of(origin, axis, 0.0, 0.0)
        _, off = _coordinates(points_mm, line)
        count = int((off <= INLIER_MM).sum())
        if count > most:
            refined = _refined(points_mm, line)
            if refined is not None:
                best, most = refined, count
        if n == 0 and most == len(points_mm):
            break
    return best


def _refined(points_mm: FloatArray, line: MetalLine) -> MetalLine | None:
    for _ in range(3):
        _, off = _coordinates(points_mm, line)
        near = points_mm[off <= INLIER_MM]
        if len(near) < MIN_LENGTH_MM * MIN_FILL:
            return None
        centre = near.mean(axis=0)
        axis = np.linalg.svd(near - centre, full_matrices=False)[2][0]
        line = MetalLine.of(centre, axis, 0.0, 0.0)
    along, off = _coordinates(points_mm, line)
    inside = np.sort(along[off <= INLIER_MM])
    # The longest run without a large gap.
    cuts = np.flatnonzero(np.diff(inside) > MAX_GAP_MM) + 1
    runs = np.split(inside, cuts)
    run = max(runs, key=lambda r: float(r[-1] - r[0]))
    low, high = float(run[0]), float(run[-1])
    filled = len(np.unique(np.floor(run))) / max(high - low, 1.0)
    if high - low < MIN_LENGTH_MM or filled < MIN_FILL:
        return None
    return MetalLine.of(line.origin_mm, line.axis, low, high)
