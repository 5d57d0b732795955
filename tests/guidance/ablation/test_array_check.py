"""What no field can be solved for is refused by name: which electrode, where, how much, the limit, what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from guidance.ablation.array_check import AIR_SHARE_MAX, LEAST_GAP_MM, SHAFT_MM, check_array
from guidance.ablation.electrode import ElectrodeLine
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import Pair
from guidance.case.case import Case, Structure, Tissue
from guidance.case.policy import Policy, PolicyKind
from guidance.protocol import PANCREAS_IRE_DEFAULT as PROTOCOL
from guidance.protocol import Protocol
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.images.volume import Volume

RADIUS_MM = 0.535
DOWN = np.array([0.0, 1.0, 0.0])
# The box case: body x −50…46, y −36…40 (y runs down in j), z −37.5…70.5; its tumour is centred here.
TUMOUR = np.array([-3.0, 10.0, 9.0])
PAIRS = [("E1", "E2", 2700.0)]
# Cells of 1 mm round the tumour, left-handed as the case's own: to 35 mm beyond its voxels.
SHAPE = (84, 82, 85)
AFFINE = np.diag([1.0, -1.0, 1.0, 1.0])
AFFINE[:3, 3] = TUMOUR + np.array([-41.5, 40.5, -42.0])


def line(name: str = "E1", tip: Any = (-12.0, 18.0, 8.0), axis: Any = DOWN, **changes: Any) -> ElectrodeLine:
    """Return an electrode beside the tumour."""
    given = {"exposure_mm": 15.0, "pull_back_mm": (0.0, 10.0), "radius_mm": RADIUS_MM}
    unit = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    return ElectrodeLine(id=name, tip_mm=np.asarray(tip, dtype=float), axis=unit, **{**given, **changes})


def two(**second: Any) -> list[ElectrodeLine]:
    """Return two electrodes 17.1 mm apart, the second one changed."""
    return [line(), line(**{"name": "E2", "tip": (5.0, 18.0, 10.0), **second})]


def check(
    case: Case, lines: Sequence[ElectrodeLine], pairs: Sequence[Pair] = PAIRS, protocol: Protocol = PROTOCOL
) -> None:
    """Check an array on the grid round the tumour."""
    check_array(lines, pairs, case, protocol, AFFINE, SHAPE)


def refusal(case: Case, lines: Sequence[ElectrodeLine], pairs: Sequence[Pair] = PAIRS) -> InvalidInputError:
    """Return the refusal of an array."""
    with pytest.raises(InvalidInputError) as caught:
        check(case, lines, pairs)
    assert caught.value.remedy
    return caught.value


def test_the_grid_of_these_tests_is_like_that_of_the_treatment(box_case: Case) -> None:
    """The same cells to a fraction of one, so that what holds here holds there."""
    grid = TreatmentGrid.around_target(box_case)
    assert grid.shape == pytest.approx(SHAPE, abs=1)
    assert np.allclose(grid.affine[:3, :3], AFFINE[:3, :3]) and np.allclose(grid.affine, AFFINE, atol=1.0)
    check_array(two(), PAIRS, box_case, PROTOCOL, grid.affine, grid.shape)


def test_the_limits_are_those_that_are_documented() -> None:
    """As docs/refusals say: 1 mm between surfaces, 30 mm of shaft, a tenth in air."""
    assert (LEAST_GAP_MM, SHAFT_MM, AIR_SHARE_MAX) == (1.0, 30.0, 0.1)


def test_a_sound_array_is_let_pass(box_case: Case) -> None:
    """Two electrodes at 17 mm; two that lean by degrees and stand at unlike depths as well."""
    check(box_case, two())
    check(box_case, two(axis=(0.1, 1.0, -0.08), tip=(5.0, 21.0, 10.0)))


@pytest.mark.parametrize("frame", range(3))
def test_it_does_not_depend_on_where_the_scene_lies(box_case: Case, frame: int) -> None:
    """Images and electrodes moved together: what passes passes, and what is refused is refused with the same number."""
    rng = np.random.default_rng(frame)
    T = Transform.of("ct", "ct", Rotation.random(random_state=frame).as_matrix(), rng.uniform(-300.0, 300.0, 3))

    def moved(volume: Volume) -> Volume:
        return Volume(volume.voxels, T.matrix @ volume.affine, volume.frame)

    case = replace(box_case, ct=moved(box_case.ct), labels=moved(box_case.labels), body=moved(box_case.body))
    arrays = (two(), two(tip=(-10.9, 18.0, 8.0)), two(tip=(5.0, 60.0, 10.0)), two(tip=(5.0, 46.2, 10.0)))
    said = []
    for lines in arrays:
        there = [replace(e, tip_mm=T.points(e.tip_mm), axis=T.directions(e.axis)) for e in lines]
        pair = []
        for scene, array, affine in ((box_case, lines, AFFINE), (case, there, T.matrix @ AFFINE)):
            try:
                check_array(array, PAIRS, scene, PROTOCOL, affine, SHAPE)
                pair.append("passes")
            except InvalidInputError as error:
                pair.append(f"{error.what.split(' (')[0]} {error.value:.1f}")
        assert pair[0] == pair[1]
        said.append(pair[0].split()[0])
    assert said == ["passes", "electrodes", "the", "the"]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("E1", "E2", math.nan)], "voltage above 0: E1–E2"),
        ([("E1", "E2", math.inf)], "voltage above 0: E1–E2"),
        ([("E1", "E2", -2700.0)], "voltage above 0: E1–E2"),
        ([("E1", "E3", 2700.0)], "two of the electrodes .*E1–E3"),
        ([], "no pair fires"),
    ],
)
def test_pairs_that_are_none_are_refused(box_case: Case, pairs: list[Pair], words: str) -> None:
    """No finite voltage above 0, an electrode that is not there, no pair at all."""
    with pytest.raises(InvalidInputError, match=words):
        check(box_case, two(), pairs)


def test_names_that_occur_twice_are_refused(box_case: Case) -> None:
    """Which of the two would fire is not known."""
    error = refusal(box_case, two(name="E1"), [("E1", "E1", 2700.0)])
    assert "its own name" in error.what and error.value == ["E1", "E1"]


@pytest.mark.parametrize(("voltage_v", "refused"), [(3000.0, False), (3000.0 + 1e-9, True), (12000.0, True)])
def test_a_voltage_over_the_limit_is_refused(box_case: Case, voltage_v: float, refused: bool) -> None:
    """3000 V is the most; beyond it the pair is named, whichever, with value, limit, unit and source."""
    lines = [*two(), line("E3", (-4.0, 18.0, -6.0))]
    pairs = [("E1", "E2", 2000.0), ("E2", "E3", voltage_v)]
    if not refused:
        check(box_case, lines, pairs)
        return
    error = refusal(box_case, lines, pairs)
    assert "between E2 and E3" in error.what and PROTOCOL.sources["voltage_max_v"] in error.what
    assert (error.value, error.limit, error.unit) == (voltage_v, 3000.0, "V")


@pytest.mark.parametrize("gap", [LEAST_GAP_MM + 1e-6, LEAST_GAP_MM - 1e-6, 0.0, -2.0 * RADIUS_MM])
@pytest.mark.parametrize("across", [(1.0, 0.0, 0.0), (0.6, 0.0, 0.8)])
def test_electrodes_that_touch_are_refused(box_case: Case, gap: float, across: tuple[float, float, float]) -> None:
    """From surface to surface: 1 mm passes, less is refused, with both names and the gap."""
    apart = (gap + 2.0 * RADIUS_MM) * np.array(across)
    lines = [line(), line("E2", np.array([-12.0, 18.0, 8.0]) + apart)]
    if gap > LEAST_GAP_MM:
        check(box_case, lines)
        return
    error = refusal(box_case, lines)
    assert "touch or cross: E1 (withdrawn by 0 mm, its end at -12.0, 18.0, 8.0) and E2 (withdrawn by 0" in error.what
    assert error.value == pytest.approx(gap, abs=0.006)
    assert (error.limit, error.unit, error.frame) == (LEAST_GAP_MM, "mm", "ct")


def test_electrodes_that_cross_are_refused(box_case: Case) -> None:
    """An X through the exposures, or through the shafts 20 mm behind them; not one that crosses far behind."""
    lean = np.array([0.3, 1.0, 0.0]) / np.linalg.norm([0.3, 1.0, 0.0])
    mirrored = lean * (-1.0, 1.0, 1.0)
    for behind, refused in ((8.0, True), (15.0 + 20.0, True), (10.0 + 15.0 + SHAFT_MM + 6.0, False)):
        # Where the two meet, as a length behind the tips.
        meet = np.array([-3.0, 18.0 - behind, 9.0])
        lines = [
            line("E1", meet + behind * lean, lean, pull_back_mm=(0.0,)),
            line("E2", meet + behind * mirrored, mirrored, pull_back_mm=(0.0,)),
        ]
        if refused:
            assert refusal(box_case, lines).value == pytest.approx(-2.0 * RADIUS_MM, abs=0.006)
        else:
            check(box_case, lines)


def test_a_pull_back_into_another_needle_is_refused(box_case: Case) -> None:
    """Clear where it is inserted, in touch once withdrawn: the position is named."""
    lines = [
        line("E1", (5.0, -15.0, 16.0), (0.0, 0.0, 1.0), exposure_mm=12.0, pull_back_mm=(0.0, 0.0)),
        line("E2", (5.0, 30.0, 10.0), exposure_mm=10.0, pull_back_mm=(0.0, 10.0)),
    ]
    error = refusal(box_case, lines)
    assert "touch or cross: E1 (withdrawn by 0 mm" in error.what and "E2 (withdrawn by 10 mm" in error.what
    check(box_case, [lines[0], replace(lines[1], pull_back_mm=(0.0, 2.5))])


def test_the_two_conductors_of_one_needle_do_not_touch_by_their_shaft(box_case: Case) -> None:
    """On one line, 8 mm apart, pulled back by more than that; overlapping ones are refused, and opposed needles."""
    distal = line("E1.distal", (-12.0, 22.0, 8.0), exposure_mm=7.0, pull_back_mm=(0.0, 10.0), radius_mm=0.825)
    proximal = replace(distal, id="E1.proximal", tip_mm=distal.tip_mm - 15.0 * DOWN)
    pairs = [("E1.distal", "E1.proximal", 2700.0)]
    check(box_case, [distal, proximal], pairs)
    near = replace(distal, id="E1.proximal", tip_mm=distal.tip_mm - 7.5 * DOWN)
    error = refusal(box_case, [distal, near], pairs)
    assert error.value == pytest.approx(0.5 - 2.0 * 0.825, abs=0.006)
    opposed = line("E1.proximal", distal.tip_mm - 25.0 * DOWN, -DOWN, exposure_mm=7.0)
    assert "touch" in refusal(box_case, [replace(distal, tip_mm=distal.tip_mm), opposed], pairs).what
    beside = replace(proximal, tip_mm=proximal.tip_mm + np.array([0.01, 0.0, 0.0]))
    assert "touch" in refusal(box_case, [distal, beside], pairs).what


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_the_gap_is_the_least_over_both_needles(box_case: Case, seed: int) -> None:
    """Against a minimiser that knows nothing of segments: refused exactly where it finds less than the limit."""
    rng = np.random.default_rng(seed)
    middle = TUMOUR + rng.uniform(-3.0, 3.0, 3)
    lines = []
    for name in ("E1", "E2"):
        axis = DOWN + rng.normal(0.0, 0.25, 3)
        tip = middle + rng.uniform(-4.0, 4.0, 3) * (1.0, 0.3, 1.0) + 8.0 * DOWN
        lines.append(line(name, tip, axis, exposure_mm=10.0, pull_back_mm=(0.0,)))
    a, b = lines

    def apart(lengths: Any) -> float:
        gap = (a.tip_mm - lengths[0] * a.axis) - (b.tip_mm - lengths[1] * b.axis)
        return float(gap @ gap)

    reach = 10.0 + SHAFT_MM
    least = minimize(apart, (20.0, 20.0), bounds=[(0.0, reach)] * 2, tol=1e-12).fun
    gap = math.sqrt(least) - 2.0 * RADIUS_MM
    if abs(gap - LEAST_GAP_MM) < 1e-3:
        return
    if gap > LEAST_GAP_MM:
        check(box_case, lines)
    else:
        assert refusal(box_case, lines).value == pytest.approx(gap, abs=0.01)


@pytest.mark.parametrize("beyond_mm", [-0.01, 0.01])
@pytest.mark.parametrize("face", range(6))
def test_an_exposure_that_leaves_the_grid_is_refused(box_case: Case, beyond_mm: float, face: int) -> None:
    """Its surface may reach the outer face of the last cell, whichever of the six, and no farther."""
    axis_number, upper = divmod(face, 2)
    # Cells of a size that makes this face fall a little beyond, or a little short of, the exposures' ends.
    lines = two(pull_back_mm=(0.0, 9.5))
    ends = np.array([line_.exposure_ends_mm(p) for line_ in lines for p in range(2)]).reshape(-1, 3)
    along = ((ends - AFFINE[:3, 3]) @ AFFINE[:3, :3])[:, axis_number]
    low, high = np.full(3, -20.0), np.array(SHAPE) + 20.0
    if upper:
        high[axis_number] = along.max() + RADIUS_MM - beyond_mm
    else:
        low[axis_number] = along.min() - RADIUS_MM + beyond_mm
    shape = np.round(high - low).astype(int)
    cell_mm = (high - low) / shape
    affine = np.eye(4)
    affine[:3, :3] = AFFINE[:3, :3] * cell_mm
    affine[:3, 3] = AFFINE[:3, 3] + AFFINE[:3, :3] @ (low + 0.5 * cell_mm)
    case = tiny_target(box_case)
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    if beyond_mm < 0.0:
        check_array(lines, PAIRS, case, PROTOCOL, affine, size)
        return
    with pytest.raises(InvalidInputError, match="the exposure of E[12] .* leaves the grid") as caught:
        check_array(lines, PAIRS, case, PROTOCOL, affine, size)
    assert (caught.value.limit, caught.value.unit, caught.value.frame) == (0.0, "mm", "ct")
    assert caught.value.value == pytest.approx(beyond_mm, abs=0.06)


def tiny_target(case: Case) -> Case:
    """Return the case with one voxel of tumour, between the electrodes."""
    voxels = np.where(case.labels.voxels == 1, 0, case.labels.voxels)
    place = np.rint(case.labels.indices((-4.0, 11.0, 9.0))).astype(int)
    voxels[tuple(place)] = 1
    return replace(case, labels=case.labels.with_voxels(voxels.astype(case.labels.voxels.dtype)))


@pytest.mark.parametrize("shift", [(60.0, 0.0, 0.0), (0.0, -55.0, 0.0), (0.0, 0.0, 48.0)])
def test_a_tumour_off_the_grid_is_refused(box_case: Case, shift: tuple[float, float, float]) -> None:
    """Wholly or in part: how many of its voxels, how far, and of which target."""
    affine = AFFINE.copy()
    affine[:3, 3] += shift
    with pytest.raises(InvalidInputError, match=r"the tumour \(tumour\) is not all on the field's grid") as caught:
        check_array(two(), PAIRS, box_case, PROTOCOL, affine, SHAPE)
    points = box_case.labels.points_mm(np.argwhere(box_case.labels.voxels == 1))
    beyond = (np.abs(points - TUMOUR - shift) - 0.5 * np.array(SHAPE)).max(axis=1)
    assert f"{int((beyond > 0.0).sum())} of its {len(points)} voxels" in caught.value.what
    assert caught.value.value == pytest.approx(beyond.max(), abs=0.06)


def test_a_case_without_tumour_is_refused(box_case: Case) -> None:
    """Nothing to treat."""
    voxels = np.where(box_case.labels.voxels == 1, 0, box_case.labels.voxels).astype(np.uint8)
    empty = replace(box_case, labels=box_case.labels.with_voxels(voxels))
    with pytest.raises(InvalidInputError, match="is empty"):
        check(empty, two())


def test_an_exposure_outside_the_body_is_refused(box_case: Case) -> None:
    """Its deepest part past the back, or its withdrawn one out of the skin: any share of it, with the share."""
    # The body's last row of voxels ends at y = 55 − 2·8 + 1 = 40 and begins at 55 − 2·45 − 1 = −36.
    check(box_case, two(tip=(5.0, 39.9, 10.0)))
    error = refusal(box_case, two(tip=(5.0, 41.6, 10.0)))
    assert "exposure of E2 (withdrawn by 0 mm" in error.what and "outside the body" in error.what
    assert error.value == pytest.approx(100.0 * 1.6 / 15.0, abs=4.0)
    assert (error.limit, error.unit, error.frame) == (0.0, "%", "ct")
    out = two(tip=(5.0, -12.0, 10.0), pull_back_mm=(0.0, 10.0))
    error = refusal(box_case, out)
    assert "E2 (withdrawn by 10 mm" in error.what
    assert error.value == pytest.approx(100.0 * 1.0 / 15.0, abs=4.0)


@pytest.mark.parametrize("by_label", [False, True])
def test_an_exposure_in_air_is_refused(box_case: Case, by_label: bool) -> None:
    """A tenth of it may lie in gas, by its HU or by its label; more is refused, with the share."""
    lines = two(exposure_mm=25.0, pull_back_mm=(0.0, 0.5))
    check(with_gas(box_case, 1, by_label), lines)
    for rows in (2, 4):
        error = refusal(with_gas(box_case, rows, by_label), lines)
        assert "exposure of E2" in error.what and "in air" in error.what
        assert (error.limit, error.unit, error.frame) == (100.0 * AIR_SHARE_MAX, "%", "ct")
        assert error.value == pytest.approx(100.0 * 2.0 * rows / 25.0, abs=3.0)


def test_what_is_above_the_threshold_of_air_is_tissue(box_case: Case) -> None:
    """-500 HU tells gas from tissue, and at -500 it is tissue."""
    for hounsfield, refused in ((-501, True), (-500, False)):
        ct = np.where(box_case.body.voxels > 0, hounsfield, box_case.ct.voxels).astype(np.int16)
        case = replace(box_case, ct=box_case.ct.with_voxels(ct))
        if refused:
            assert refusal(case, two()).value == 100.0
        else:
            check(case, two())


def with_gas(case: Case, rows: int, by_label: bool) -> Case:
    """Return the case with rows of voxels of gas, each 2 mm, across the second electrode, from y = 12 to the skin."""
    ct, labels = np.array(case.ct.voxels), np.array(case.labels.voxels)
    where = np.zeros(ct.shape, dtype=bool)
    where[31:, 22 : 22 + rows] = case.body.voxels[31:, 22 : 22 + rows] > 0
    if by_label:
        labels[where] = 7
        gas = Structure(name="lung", label=7, policy=Policy(kind=PolicyKind.FREE), tissue=Tissue.AIR)
        description = case.description.model_copy(update={"structures": (*case.description.structures, gas)})
        return replace(case, description=description, labels=case.labels.with_voxels(labels))
    ct[where] = -900
    return replace(case, ct=case.ct.with_voxels(ct))


def test_an_electrode_off_the_image_is_outside_the_body(box_case: Case) -> None:
    """A grid that reaches farther than the CT does not make tissue of what the CT does not show."""
    affine = np.eye(4)
    affine[:3, 3] = -150.0
    for tip in ((5.0, 120.0, 10.0), (5.0, -110.0, 10.0)):
        with pytest.raises(InvalidInputError, match="outside the body") as caught:
            check_array(two(tip=tip), PAIRS, box_case, PROTOCOL, affine, (300, 300, 300))
        assert caught.value.value == 100.0
