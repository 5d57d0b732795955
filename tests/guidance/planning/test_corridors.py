"""Corridors against a slow, independent march through the same case."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from guidance.case.case import Case, Structure, Tissue
from guidance.case.extent import labelled_span
from guidance.case.policy import Policy, PolicyKind
from guidance.planning.clearance.electrodes import unlabelled_mm
from guidance.planning.clearance.skin import skin_angle_deg
from guidance.planning.grid.anatomy import Anatomy, build_anatomy
from guidance.planning.grid.corridor_loops import EXCESS, TOUCH, strides, trace, way_out
from guidance.planning.grid.corridors import (
    FIDUCIAL_MM,
    CorridorLimits,
    Corridors,
    Fate,
    Spread,
    labelled_box,
    trace_corridors,
)
from guidance.planning.grid.line_rules import wrist_reaches
from guidance.planning.grid.search_grid import SearchGrid, search_grid
from guidance.planning.wishing.wishes import Wishes
from kinematics.arm_model import load_lbr
from kinematics.arrays import FloatArray
from kinematics.tool import default_tool
from kinematics.wrist import wrist_shell

RADIUS_MM = 0.535
SPREAD = Spread(common_mm=2.3, bending_mm=3.0, breathing_mm=1.5)
BOWEL_ROOM_MM = 2.0
DEPTH_MM = 75.0
ANGLE_DEG = 30.0
NODE_MM = 1.3
"""The planning grid resamples the labels to nodes 1 mm apart: half a cell each way, and a step beside a structure."""


@pytest.fixture(scope="module")
def case(box_case: Case) -> Case:
    """The box, with stomach above the tumour's side: to be crossed, not to be treated in; the body ends with the
    image at its head."""
    voxels = np.array(box_case.labels.voxels)
    voxels[14:25, 27:35, 6:30] = 3
    stomach = Structure(
        name="stomach",
        label=3,
        policy=Policy(kind=PolicyKind.COSTLY, price=2.0, exposure_clearance_mm=BOWEL_ROOM_MM),
        tissue=Tissue.BOWEL,
    )
    description = box_case.description.model_copy(update={"structures": (*box_case.description.structures, stomach)})
    body = np.array(box_case.body.voxels)
    body[6:54, 8:46, 2:] = 1
    return replace(
        box_case,
        description=description,
        labels=box_case.labels.with_voxels(voxels),
        body=box_case.body.with_voxels(body),
    )


@pytest.fixture(scope="module")
def anatomy(case: Case) -> Anatomy:
    """The same on the planning grid."""
    return build_anatomy(case, RADIUS_MM, 100.0)


@pytest.fixture(scope="module")
def grid(anatomy: Anatomy) -> SearchGrid:
    """Directions 14° and lines 4 mm apart."""
    return search_grid(anatomy, Wishes(), pitch_mm=4.0, step_rad=math.radians(14.0))


@pytest.fixture(scope="module")
def limits(case: Case, anatomy: Anatomy) -> CorridorLimits:
    """Everything that may close a corridor, but the arm."""
    T_grid_ct = anatomy.T_ct_grid.inverse()
    on_skin = T_grid_ct.points(np.array([[-8.0, -38.0, 8.0]]))
    return CorridorLimits(
        depth_mm=DEPTH_MM,
        spread=SPREAD,
        skin_angle_max_deg=ANGLE_DEG,
        keep_away_mm=on_skin,
        windows_mm=np.array([[*T_grid_ct.points(np.array([0.0, -36.0, 0.0])), 42.0]]),
        marks_mm=np.array([[*T_grid_ct.points(np.array([-20.0, -36.0, -12.0])), 6.0]]),
        labelled_mm=labelled_box(case, anatomy, 1.0),
        approach_mm=20.0,
    )


@pytest.fixture(scope="module")
def found(anatomy: Anatomy, grid: SearchGrid, limits: CorridorLimits) -> Corridors:
    """As judged."""
    return trace_corridors(anatomy, grid, limits)


class Line:
    """One corridor marched in small steps on the case's own voxels."""

    def __init__(self, case: Case, anatomy: Anatomy, grid: SearchGrid, d: int, n: int, p: int) -> None:
        """March from the tip at plane `p` to the skin, and 30 mm of air."""
        a, b = grid.lateral_mm[n]
        tip = a * grid.first[d] + b * grid.second[d] - grid.planes_mm[d, p] * grid.out[d]
        self.tip_grid = tip
        self.tip = anatomy.T_ct_grid.points(tip)
        self.out = anatomy.T_ct_grid.directions(grid.out[d])
        along = np.arange(0.0, 150.0, 0.25)
        points = self.tip + along[:, None] * self.out
        index = np.rint(case.body.indices(points)).astype(int)
        within = ((index >= 0) & (index < case.body.shape)).all(axis=1)
        body = np.zeros(len(along), dtype=bool)
        body[within] = case.body.voxels[tuple(index[within].T)] > 0
        leaves = int(np.argmin(body)) if not body.all() else len(body)
        air = leaves < len(body) and bool(within[leaves])
        again = body[leaves : leaves + 120].any()
        self.depth_mm = float(along[max(leaves - 1, 0)]) if air and not again and leaves > 0 else math.nan
        self.inside = points[:leaves]
        self.along = along[:leaves]
        self.entry = self.tip + self.depth_mm * self.out
        self.case = case

    def clear_mm(self, label: int, until_mm: float = math.inf) -> float:
        """Return the distance of the shaft's surface to the voxels of a label, over its first `until_mm`."""
        corners = self.case.labels.points_mm(np.argwhere(self.case.labels.voxels == label))
        points = self.inside[self.along <= until_mm][::2]
        half = 0.5 * self.case.labels.spacing_mm
        gaps = np.maximum(np.abs(corners[None] - points[:, None]) - half, 0.0)
        return float(np.linalg.norm(gaps, axis=-1).min()) - RADIUS_MM


def picks(found: Corridors, fate: Fate, count: int) -> list[tuple[int, int, int]]:
    """Return some corridors of one fate, the same each time."""
    at = np.argwhere(found.fate == fate)
    some = np.random.default_rng(int(fate)).permutation(len(at))[:count]
    return [(int(d), int(n), int(p)) for d, n, p in at[some]]


def test_every_fate_is_met(found: Corridors) -> None:
    """The case has corridors of every kind, so that what follows looks at something."""
    counts = Counter(Fate(int(v)) for v in found.fate.ravel())
    assert set(counts) == set(Fate) - {Fate.UNREACHABLE}
    assert min(counts.values()) > 10
    assert all(bool(fate.words) == (fate is not Fate.OPEN) for fate in Fate)


def test_open_corridors_keep_every_limit(
    case: Case, anatomy: Anatomy, grid: SearchGrid, limits: CorridorLimits, found: Corridors
) -> None:
    """Depth, clearance of shaft and exposure, angle, entry and labels, on the case's own voxels."""
    span = labelled_span(case)
    assert span is not None
    for at in picks(found, Fate.OPEN, 60):
        line = Line(case, anatomy, grid, *at)
        assert line.depth_mm <= DEPTH_MM + 0.5
        # The skin of the image is a staircase of 2 mm; the grid sees it through its nodes.
        assert found.depth_mm[at] == pytest.approx(line.depth_mm, abs=2.0)
        clear = line.clear_mm(2)
        assert clear > 2.0 - NODE_MM
        assert found.excess_mm[at] == pytest.approx(min(clear - 2.0, 3.0), abs=NODE_MM)
        assert line.clear_mm(3, float(grid.treated_mm[at[0], at[2]])) > BOWEL_ROOM_MM - NODE_MM
        beside = limits.keep_away_mm[0] - line.tip_grid
        assert np.linalg.norm(np.cross(beside, grid.out[at[0]])) >= FIDUCIAL_MM - 1e-6
        entry = anatomy.T_ct_grid.inverse().points(line.entry)
        assert np.linalg.norm(entry - limits.windows_mm[0, :3]) < 42.0 + 2.0
        assert np.linalg.norm(entry - limits.marks_mm[0, :3]) > 6.0 - 2.0
        assert unlabelled_mm(case.labels, span, line.tip, line.out, float(found.depth_mm[at]), 1.0) <= 1e-6


def test_closed_corridors_break_the_limit_that_they_are_said_to(
    case: Case, anatomy: Anatomy, grid: SearchGrid, limits: CorridorLimits, found: Corridors
) -> None:
    """Each fate, looked at on the case's own voxels."""
    span = labelled_span(case)
    assert span is not None
    T_grid_ct = anatomy.T_ct_grid.inverse()
    for at in picks(found, Fate.FORBIDDEN, 25):
        assert Line(case, anatomy, grid, *at).clear_mm(2) < 2.0 + NODE_MM
    for at in picks(found, Fate.EXPOSURE, 25):
        treated = float(grid.treated_mm[at[0], at[2]])
        assert Line(case, anatomy, grid, *at).clear_mm(3, treated) < BOWEL_ROOM_MM + NODE_MM
    for at in picks(found, Fate.TOO_DEEP, 15):
        line = Line(case, anatomy, grid, *at)
        assert math.isnan(line.depth_mm) or line.depth_mm > DEPTH_MM - 1.5
    for at in picks(found, Fate.NO_SKIN, 15):
        assert math.isnan(Line(case, anatomy, grid, *at).depth_mm)  # it leaves the image within the body
    for at in picks(found, Fate.UNLABELLED, 25):
        line = Line(case, anatomy, grid, *at)
        assert unlabelled_mm(case.labels, span, line.tip, line.out, line.depth_mm, 1.0) > -1.0
    for at in picks(found, Fate.MARKED, 40):
        line = Line(case, anatomy, grid, *at)
        by = np.linalg.norm(np.cross(limits.keep_away_mm[0] - line.tip_grid, grid.out[at[0]]))
        entry = T_grid_ct.points(line.entry)
        assert (
            by < FIDUCIAL_MM
            or np.linalg.norm(entry - limits.windows_mm[0, :3]) > 42.0 - 2.0
            or np.linalg.norm(entry - limits.marks_mm[0, :3]) < 6.0 + 2.0
        )
    for at in picks(found, Fate.RISKY, 25):
        assert Line(case, anatomy, grid, *at).clear_mm(2) < 2.0 + 3.0


def test_a_slanted_skin_closes(case: Case, anatomy: Anatomy, grid: SearchGrid, found: Corridors) -> None:
    """The angle at the skin is that of the exact normal within some degrees, and decides."""
    off = []
    for at in picks(found, Fate.OPEN, 60):
        line = Line(case, anatomy, grid, *at)
        exact = skin_angle_deg(case, line.entry, line.out)
        off.append(math.degrees(math.acos(min(float(found.skin_cosine[at]), 1.0))) - exact)
        assert exact < ANGLE_DEG + 6.0
    assert np.abs(off).max() < 6.0
    assert np.abs(np.median(off)) < 1.5
    for at in picks(found, Fate.SKIN_ANGLE, 25):
        line = Line(case, anatomy, grid, *at)
        assert skin_angle_deg(case, line.entry, line.out) > ANGLE_DEG - 6.0


def test_deeper_planes_agree_with_each_plane_alone(
    anatomy: Anatomy, grid: SearchGrid, limits: CorridorLimits, found: Corridors
) -> None:
    """What a deeper tip shares with a shallower one is followed once: fates and values are those of its own march."""
    for p in range(1, grid.planes_mm.shape[1]):
        alone = trace_corridors(
            anatomy,
            replace(
                grid, planes_mm=grid.planes_mm[:, p : p + 1].copy(), treated_mm=grid.treated_mm[:, p : p + 1].copy()
            ),
            limits,
        )
        # Of two limits that a line breaks, the first is named: that may depend on where it begins.
        opens = alone.fate[..., 0] == Fate.OPEN, found.fate[..., p] == Fate.OPEN
        both = opens[0] & opens[1]
        assert both.sum() > 100 and (opens[0] != opens[1]).sum() < 0.02 * both.sum()
        for name, within in (("depth_mm", 0.3), ("skin_cosine", 0.01), ("excess_mm", 0.05), ("sigmas", 0.05)):
            assert getattr(found, name)[..., p][both] == pytest.approx(getattr(alone, name)[..., 0][both], abs=within)
        paid = found.price[..., p][both], alone.price[..., 0][both]
        assert paid[0] == pytest.approx(paid[1], abs=15.0) and paid[0].max() > 10.0


def test_the_wrist_is_where_the_shell_says(anatomy: Anatomy, grid: SearchGrid, limits: CorridorLimits) -> None:
    """A shoulder out of reach of some lines closes exactly those that the shell leaves out, by way and depth."""
    shell = wrist_shell(load_lbr(), default_tool())
    rng = np.random.default_rng(2)
    tips = rng.uniform(-500.0, 500.0, (400, 3))
    outs = rng.normal(size=(400, 3))
    outs /= np.linalg.norm(outs, axis=1)[:, None]
    travel = rng.uniform(20.0, 150.0, 400)
    row = np.array([*shell.shoulder_robot_mm, shell.tip_to_wrist_mm, shell.nearest_mm, shell.farthest_mm])
    near, far = shell.distances_mm(tips, outs, travel)
    inside = (near >= shell.nearest_mm) & (far <= shell.farthest_mm)
    said = [wrist_reaches(row, t, o, v) for t, o, v in zip(tips, outs, travel, strict=True)]
    assert said == inside.tolist()
    assert 40 < inside.sum() < 360
    reach = np.array([60.0, -250.0, 40.0, 300.0, 70.0, 200.0])
    bound = trace_corridors(anatomy, grid, replace(limits, wrist=reach))
    free = trace_corridors(anatomy, grid, limits)
    cut = bound.fate == Fate.UNREACHABLE
    assert not (free.fate == Fate.UNREACHABLE).any()
    assert np.isin(free.fate[cut], (Fate.OPEN, Fate.RISKY)).all()
    assert (bound.fate[~cut] == free.fate[~cut]).all()
    for d, n, p in np.argwhere(np.isin(free.fate, (Fate.OPEN, Fate.RISKY)))[::7]:
        a, b = grid.lateral_mm[n]
        tip = a * grid.first[d] + b * grid.second[d] - grid.planes_mm[d, p] * grid.out[d]
        depth = float(free.depth_mm[d, n, p])
        way = tip + (300.0 + np.linspace(0.0, depth + limits.approach_mm, 400))[:, None] * grid.out[d] - reach[:3]
        size = np.linalg.norm(way, axis=1)
        if abs(size.min() - 70.0) > 0.5 and abs(size.max() - 200.0) > 0.5:
            assert cut[d, n, p] == (size.min() < 70.0 or size.max() > 200.0)
    assert cut.any() and not cut[np.isin(free.fate, (Fate.OPEN, Fate.RISKY))].all()


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, -1)])
def test_the_labelled_box_is_the_exact_rule(case: Case, flip: tuple[int, int, int]) -> None:
    """In or out as `unlabelled_mm` says, for shafts all round, whichever way the image's axes run."""
    turned = case
    voxels = np.array(case.labels.voxels)
    voxels[:8], voxels[52:] = 0, 0
    turned = replace(case, labels=case.labels.with_voxels(voxels))
    if flip != (1, 1, 1):
        where = tuple(slice(None, None, f) for f in flip)
        ends = np.array([(n - 1) * (f < 0) for n, f in zip(case.labels.shape, flip, strict=True)])
        affine = case.labels.affine @ np.block([[np.diag(flip).astype(float), ends[:, None]], [np.zeros((1, 3)), 1.0]])
        turned = replace(
            turned,
            **{
                name: type(case.ct)(getattr(turned, name).voxels[where].copy(), affine)
                for name in ("ct", "labels", "body")
            },
        )
    anatomy = build_anatomy(turned, RADIUS_MM, 100.0)
    box, span = labelled_box(turned, anatomy, 3.0), labelled_span(turned)
    assert box is not None and span is not None
    rng = np.random.default_rng(5)
    answers = []
    for _ in range(400):
        tip, out = rng.uniform(-12.0, 12.0, 3), np.array([0.0, -1.0, 0.0]) + rng.uniform(-0.8, 0.8, 3)
        out /= np.linalg.norm(out)
        depth = float(rng.uniform(20.0, 70.0))
        inner = max(depth - 30.0, 0.0)
        deep, top = np.array([tip, tip + inner * out]), tip + depth * out
        within = bool(((deep >= box[0]) & (deep <= box[1])).all() and ((top >= box[2]) & (top <= box[3])).all())
        T = anatomy.T_ct_grid
        beyond = unlabelled_mm(turned.labels, span, T.points(tip), T.directions(out), depth, 3.0)
        assert within is (beyond <= 0.0) or abs(beyond) < 1e-6
        answers.append(within)
    assert 40 < sum(answers) < 360
    bare = turned.labels.with_voxels(np.where(turned.labels.voxels == 1, 1, 0).astype(np.uint8))
    assert labelled_box(replace(turned, labels=bare), anatomy, 3.0) is None


def nodes_of(anatomy: Anatomy, touch: FloatArray, price: float) -> FloatArray:
    """Return fields with these distances, 2 mm asked everywhere."""
    nodes = np.full((*anatomy.nodes.shape[:3], 4), 100.0, dtype=np.float32)
    nodes[..., TOUCH], nodes[..., EXCESS], nodes[..., 3] = touch, touch - 2.0, price
    return nodes


def test_the_skin_is_where_the_body_ends(anatomy: Anatomy, box_case: Case) -> None:
    """Straight anterior from the centroid the depth is that to the flat skin; folds, edges and limits are no entry."""
    free = nodes_of(anatomy, np.full(anatomy.touch_mm.shape, 50.0), 0.0)
    out = np.array([0.0, -1.0, 0.0])
    # Body voxels j < 46 with spacing −2 mm: the anterior face lies at y = 55 − 45·2 − 1 = −36 in ct.
    skin = -float(anatomy.T_ct_grid.inverse().points(np.array([0.0, -36.0, 0.0]))[1])
    go = (anatomy.low_mm, 1.0, np.zeros(3), out)

    def through(inside: np.ndarray) -> np.ndarray:
        return strides(free[..., EXCESS], inside, 1.0, 0.0)

    what, depth = way_out(free, through(anatomy.inside), *go, 100.0, 0.0)
    assert (what, depth) == (Fate.OPEN, pytest.approx(skin, abs=0.7))
    assert way_out(free, through(anatomy.inside), *go, 10.0, 0.0)[0] == Fate.TOO_DEEP
    assert way_out(free, through(np.ones_like(anatomy.inside)), *go, 500.0, 0.0)[0] == Fate.NO_SKIN
    folded = anatomy.inside.copy()
    j = round(-depth - 8.0 - float(anatomy.low_mm[1]))
    folded[:, j - 2 : j + 3, :] = 1
    assert way_out(free, through(folded), *go, 100.0, 0.0)[0] == Fate.NO_SKIN


def test_risk_is_distance_in_standard_deviations(anatomy: Anatomy) -> None:
    """Beside a plane, with errors of registration alone, sigmas is the gap over the standard deviation."""
    x = anatomy.low_mm[0] + np.arange(anatomy.touch_mm.shape[0])
    nodes = nodes_of(anatomy, np.broadcast_to((x + 10.0)[:, None, None], anatomy.touch_mm.shape), 0.5)
    out, tip = np.array([0.0, -1.0, 0.0]), np.array([-7.9, 3.0, 0.0])
    go = (nodes, anatomy.low_mm, 1.0, tip, out, 30.0, 12.0, 30.0)
    least, sigmas, paid = trace(*go, Spread(common_mm=0.8, bending_mm=0.0, breathing_mm=0.0).row)
    assert least == pytest.approx(0.1, abs=1e-4)
    assert sigmas == pytest.approx(2.1 / 0.8, rel=1e-3)
    # 30 mm at 0.5, the first 12 of them thrice.
    assert paid == pytest.approx(27.0, rel=0.06)
    # Bending acts at the tip alone, and breathing, head to foot, not towards this plane.
    _, nearer, _ = trace(*go, Spread(common_mm=0.8, bending_mm=5.0, breathing_mm=5.0).row)
    assert nearer == pytest.approx(2.1 / np.hypot(0.8, 5.0 * 0.3**2), rel=1e-3)
