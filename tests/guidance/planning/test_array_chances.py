"""Chances of arrays: closed forms, joint and marginal, invariance, and the judge's own rules."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numba
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.surrogate import TargetPoints
from guidance.case.case import Case
from guidance.case.extent import labelled_span
from guidance.check import Severity
from guidance.planning.chance import risk
from guidance.planning.chance.array_chances import ArrayChances, ArrayRisk, PlannedArray
from guidance.planning.chance.placed_pairs import PlacedPairs
from guidance.planning.combining.schedule import Schedule
from guidance.planning.grid.anatomy import build_anatomy
from guidance.planning.scoring import SolvedArray
from guidance.protocol import PANCREAS_IRE_DEFAULT
from guidance.scene import BipolarNeedle, Device, ElectrodeDevice
from guidance.verification import rules
from guidance.verification.pairs import pair_geometry
from guidance.verification.placement import FoundNeedle
from guidance.verification.verdict import PlacedPair
from kinematics.errors import InvalidInputError
from kinematics.frames import Transform
from registration.budget import ErrorBudget
from registration.images.volume import Volume
from registration.registration import Registration
from tests.registered import registered

ANTERIOR = np.array([0.0, 1.0, 0.0])
FACE_MM = 13.0
"""The vessel of the box begins here along x, beside the whole of a needle that ends at y = 3 mm."""
TURNED = Transform.of("robot", "ct", Rotation.from_rotvec([0.3, 0.5, -0.2]).as_matrix(), [400.0, 100.0, 50.0])
STILL = ErrorBudget(bending_rms_at_100mm_mm=0.0, breathing_rms_mm=0.0)
DRAWS = risk.draw(8192, 3)


def registration(budget: ErrorBudget, sd_mm: float, sd_rad: float, pivot: Any = (4.0, -3.0, 9.0)) -> Registration:
    """Return an accepted registration with a diagonal, unequal covariance in the robot frame."""
    spread = np.diag(np.array([sd_mm, 0.7 * sd_mm, 1.3 * sd_mm, sd_rad, 0.5 * sd_rad, 1.2 * sd_rad]) ** 2)
    return registered(TURNED, spread, np.asarray(pivot), budget=budget)


def risk_of(case: Case, errors: Registration, device: Device | None = None) -> ArrayRisk:
    """Return what chances of arrays in a case are computed from."""
    device = device or ElectrodeDevice()
    anatomy = build_anatomy(case, device.radius_mm, 100.0)
    grid = TreatmentGrid.around_target(case)
    target = TargetPoints(grid.points_ct_mm(grid.tumour), grid.points_ct_mm(grid.margin))
    model = risk.error_model(errors, anatomy)
    return ArrayRisk(case, anatomy.T_ct_grid, model, device, PANCREAS_IRE_DEFAULT, target, labelled_span(case))


def needles(*places_xz: tuple[float, float], depth_mm: float = 48.0, pairs: Any = ()) -> PlannedArray:
    """Return needles that come straight from the front."""
    tips = np.array([[x, 3.0, z] for x, z in places_xz])
    return PlannedArray(tips, ANTERIOR, np.full(len(tips), depth_mm), Schedule(20.0, (0.0,)), tuple(pairs))


def covering(under: ArrayRisk, array: PlannedArray) -> SolvedArray:
    """Return a solution by which the array covers whatever it does."""
    return SolvedArray(frozenset(array.pulsed), 1500.0, np.full(under.target.points.shape[1], 1e-3, dtype=np.float32))


def chance(found: ArrayChances, needle: int) -> tuple[float, float]:
    """Return a needle's chances to the one vessel."""
    (only,) = found.needles[needle]
    assert (only.structure, only.limit_mm) == ("aorta", 2.0)
    return only.closer, only.touching


def test_a_needle_beside_a_wall(box_case: Case) -> None:
    """Closer than the limit, and touching, as often as the normal tail says."""
    under = risk_of(box_case, registration(STILL, 1.1, 0.0))
    radius = under.device.radius_mm
    found = under.chances(needles((FACE_MM - radius - 2.0 - 1.2, 0.0), (FACE_MM - radius - 2.0, 20.0)), DRAWS)
    sd = math.sqrt(float(under.model.covariance[0, 0]))
    assert chance(found, 0)[0] == pytest.approx(norm.sf(1.2 / sd), abs=0.003)
    assert chance(found, 0)[1] == pytest.approx(norm.sf(3.2 / sd), abs=0.0015)
    assert chance(found, 1)[0] == pytest.approx(0.5, abs=0.005)
    # One common motion: the needle that is nearer is closer whenever the other one is.
    assert found.plan.closer == chance(found, 1)[0]
    assert found.plan.touching == chance(found, 1)[1]
    assert found.plan.draws == 8192


def test_bent_needles_are_independent(box_case: Case) -> None:
    """What bends one needle leaves the others alone: the chance of any is that of independent ones."""
    under = risk_of(box_case, registration(STILL.model_copy(update={"bending_rms_at_100mm_mm": 5.0}), 1e-6, 1e-9))
    found = under.chances(needles((9.5, 0.0), (9.7, 20.0)), DRAWS)
    one, two = chance(found, 0)[0], chance(found, 1)[0]
    assert 0.05 < one < two < 0.45
    assert found.plan.closer == pytest.approx(1.0 - (1.0 - one) * (1.0 - two), abs=0.01)


def test_the_spacing_of_bent_needles(box_case: Case) -> None:
    """Bending alone: the middles of two exposures part as the square law says, each by its own draw."""
    budget = STILL.model_copy(update={"bending_rms_at_100mm_mm": 6.0})
    under = risk_of(box_case, registration(budget, 1e-6, 1e-9))
    found = under.chances(needles((-10.0, 0.0), (6.0, 0.0), depth_mm=60.0, pairs=[(0, 1)]), DRAWS)
    # The chord's middle lies off the curve: half an exposure back from the tip along the chord.
    share = (60.0**2 - 20.0 * 60.0 + 0.5 * 20.0**2) / 100.0**2
    sd = math.sqrt(2.0) * share * 6.0 / math.sqrt(2.0)
    assert found.plan.spacing == pytest.approx(1.0 - 2.0 * norm.sf(2.0 / sd), abs=0.01)


def test_a_larger_limit_is_broken_more_often(box_case: Case) -> None:
    """And touching does not depend on it."""
    found = []
    for limit in (0.5, 1.0, 2.0, 3.0):
        tumour, vessel = box_case.description.structures
        vessel = vessel.model_copy(update={"policy": vessel.policy.model_copy(update={"clearance_mm": limit})})
        description = box_case.description.model_copy(update={"structures": (tumour, vessel)})
        case = Case(description, box_case.ct, box_case.labels, box_case.body)
        found.append(risk_of(case, registration(ErrorBudget(), 0.8, 0.003)).chances(needles((10.5, 0.0)), DRAWS).plan)
    closer = [c.closer for c in found]
    assert closer == sorted(closer)
    assert closer[-1] > closer[0] + 0.1
    assert len({c.touching for c in found}) == 1


def test_chances_are_the_same_wherever_the_scene_lies(box_case: Case) -> None:
    """Patient and registration moved together: the same draws say the same of every chance."""
    rotation = Rotation.from_rotvec([-0.3, 0.2, 0.4]).as_matrix()
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation, [700.0, -900.0, 3000.0]
    images = (box_case.ct, box_case.labels, box_case.body)
    other = Case(box_case.description, *(Volume(v.voxels, move @ v.affine) for v in images))
    here = registration(ErrorBudget(), 0.6, 0.004)
    back = Transform.of("ct", "ct", rotation.T, -rotation.T @ move[:3, 3])
    there = here.model_copy(
        update={
            "T_robot_ct": TURNED @ back,
            "covariance_point_ct_mm": rotation @ here.covariance_point_ct_mm + move[:3, 3],
        }
    )
    array = needles((-6.0, -6.0), (9.5, -6.0), (2.0, 8.0), pairs=[(0, 1), (0, 2), (1, 2)])
    draws, found = risk.draw(512, 5), []
    for case, errors in ((box_case, here), (other, there)):
        under = risk_of(case, errors)
        low = np.full(under.target.points.shape[1], 200.0, dtype=np.float32)
        found.append(under.chances(array, draws, SolvedArray(frozenset(array.pulsed), 1500.0, low)).plan)
    one, two = found
    assert 0.05 < one.coverage < 0.95
    assert 0.05 < one.closer < 0.95
    for name in ("closer", "touching", "coverage", "spacing", "verdict"):
        assert getattr(two, name) == pytest.approx(getattr(one, name), abs=0.004)


def test_the_number_of_threads_changes_nothing(box_case: Case) -> None:
    """One thread and all there are: the same bytes."""
    under = risk_of(box_case, registration(ErrorBudget(), 0.8, 0.003))
    array = needles((-8.0, -6.0), (8.0, -6.0), (0.0, 8.0), pairs=[(0, 1), (0, 2), (1, 2)])
    before, found = numba.get_num_threads(), []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        result = under.chances(array, risk.draw(256, 5))
        found.append((result.plan.canonical_json(), [c.canonical_json() for n in result.needles for c in n]))
    numba.set_num_threads(before)
    assert found[0] == found[1]


def test_the_verdict_is_that_of_the_judges_rules(box_case: Case) -> None:
    """Needles far from the vessel that always cover: draw by draw, the hard rules as the judge measures and checks."""
    budget = ErrorBudget(bending_rms_at_100mm_mm=9.0, breathing_rms_mm=5.0)
    under = risk_of(box_case, registration(budget, 0.5, 0.02))
    # Without the vessel's labels as a limit: all of the image is labelled.
    under = replace(under, span=np.array([[0, 59], [0, 55], [0, 39]]))
    array = needles((-20.0, -6.0), (-9.0, -6.0), depth_mm=60.0, pairs=[(0, 1)])
    draws = risk.draw(512, 5)
    tips, axes = risk.chords(
        risk.shafts(under.model, array.tips_mm, array.axis, array.depths_mm, draws), array.depths_mm, 20.0
    )
    measured = PlacedPairs.of(tips, axes, 20.0, array.pulsed)
    kept = []
    for n in range(512):
        a, b = (cast(FoundNeedle, _Stands(tips[n, k], axes[n, k])) for k in range(2))
        spacing, angle, mismatch = pair_geometry(a, b, 20.0, 20.0)
        assert measured.spacing_mm[n, 0] == pytest.approx(spacing)
        assert measured.depth_mismatch_mm[n, 0] == pytest.approx(mismatch)
        assert measured.angle_deg[n, 0] == pytest.approx(math.degrees(angle))
        pair = PlacedPair(
            a="E1",
            b="E2",
            planned_spacing_mm=11.0,
            spacing_mm=spacing,
            spacing_error_mm=spacing - 11.0,
            angle_deg=math.degrees(angle),
            depth_mismatch_mm=mismatch,
            voltage_v=0.0,
        )
        checks = rules.pair_checks(pair, PANCREAS_IRE_DEFAULT)
        kept.append(all(c.passed for c in checks if c.severity is Severity.HARD))
    found = under.chances(array, draws, covering(under, array)).plan
    assert found.coverage == 1.0
    assert 0.1 < np.mean(kept) < 0.9
    assert found.verdict == np.mean(kept)
    # Each of the other causes alone refuses every draw.
    assert replace(under, span=None).chances(array, draws, covering(under, array)).plan.verdict == 0.0
    nothing = SolvedArray(frozenset(), 1500.0, covering(under, array).limits_v_per_cm)
    assert under.chances(array, draws, nothing).plan.verdict == 0.0


class _Stands:
    """A needle as the judge measures pairs of."""

    def __init__(self, tip: Any, axis: Any) -> None:
        self.tip_ct_mm, self.axis_ct = tip, axis


def test_touching_and_leaving_the_labels_refuse(box_case: Case) -> None:
    """The verdict's chance is joint: without other causes it is the chance of neither."""
    under = risk_of(box_case, registration(ErrorBudget(breathing_rms_mm=0.5), 0.9, 0.0))
    array = needles((11.2, 0.0), (-4.0, 0.0), pairs=[(0, 1)])
    # What is labelled ends 1 mm beside the second needle, farther than 30 mm from the skin.
    span = np.array([[26, 59], [0, 55], [0, 39]])
    span[0, 0] = math.ceil(float(under.case.labels.indices(under.T_ct_grid.points(np.array([-5.0, 3.0, 0.0])))[0]))
    found = replace(under, span=span).chances(array, DRAWS, covering(under, array)).plan
    whole = replace(under, span=np.array([[0, 59], [0, 55], [0, 39]])).chances(array, DRAWS, covering(under, array))
    assert 0.05 < whole.plan.touching < 0.5
    assert whole.plan.verdict == pytest.approx(1.0 - whole.plan.touching, abs=0.01)
    assert found.verdict < whole.plan.verdict - 0.05


def test_one_bipolar_needle(box_case: Case) -> None:
    """It has no pair: its spacing is sure, and the verdict asks how far the needle itself strays."""
    budget = STILL.model_copy(update={"breathing_rms_mm": 4.0})
    under = risk_of(box_case, registration(budget, 1e-6, 1e-9), BipolarNeedle())
    under = replace(under, span=np.array([[0, 59], [0, 55], [0, 39]]))
    array = needles((-15.0, 0.0))
    array = replace(array, schedule=Schedule(BipolarNeedle().span_mm, (0.0, 7.0)))
    solved = SolvedArray(frozenset(), 1500.0, np.full(under.target.points.shape[1], 1e-3, dtype=np.float32))
    found = under.chances(array, DRAWS, solved).plan
    assert found.spacing == 1.0
    assert found.coverage == 1.0
    # Head-to-foot motion is across this needle: 5 mm is what the protocol lets it stray.
    assert found.verdict == pytest.approx(1.0 - 2.0 * norm.sf(5.0 / 4.0), abs=0.01)


def test_what_is_no_array_is_refused() -> None:
    """No needle, a depth of none, or a pair of a needle that is not there."""
    for bad in ({"tips_mm": np.zeros((0, 3))}, {"depths_mm": np.array([0.0, 40.0])}, {"pulsed": ((0, 2),)}):
        with pytest.raises(InvalidInputError):
            replace(needles((0.0, 0.0), (10.0, 0.0)), **cast(Any, bad))
