"""One bipolar needle through the whole procedure: planned, inserted, found in the check scan, judged, reported."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.treatment import coverage_of
from guidance.case.store import save_case
from guidance.planning.plan import Plan
from guidance.report import report, tables
from guidance.report.scene_view import conducting_mm
from guidance.scene import BipolarNeedle, CheckScan, ElectrodeDevice, SuiteDescription
from guidance.verification.placement import Placement
from guidance.verification.verdict import Verdict
from kinematics.errors import InvalidInputError
from registration.images.volume import read_image
from sim import run_report
from sim.phantom import TUMOURS_MM, make_phantom, phantom_name
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure
from tests.guidance.planning.coarse import coarse_search

NEEDLE = BipolarNeedle()
SUITE = SuiteDescription(device=NEEDLE, check_scan=CheckScan(spacing_mm=(0.9, 0.9, 1.2)))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SimulatedProcedure:
    """A whole run on a phantom with a nodule, from fewer directions than usual."""
    path = tmp_path_factory.mktemp("bipolar")
    case = make_phantom(4, tumour="nodule", device=NEEDLE).with_tissue_set("uniform-0.2")
    save_case(case, path / "case")
    settings = RunSettings(
        case_folder=str(path / "case"),
        case_name=case.description.name,
        seed=0,
        suite=SUITE,
        fidelity="fast",
        version="0.1.0",
    )
    run = SimulatedProcedure.start(path / "run", case, settings)
    run.register()
    with coarse_search():
        run.plan()
    run.approve("Dr Example", "2024-05-01T10:00:00Z")
    run.execute()
    run.verify()
    return run


@pytest.fixture(scope="module")
def plan(done: SimulatedProcedure) -> Plan:
    """Its plan."""
    return done.saved_plan


@pytest.fixture(scope="module")
def verdict(done: SimulatedProcedure) -> Verdict:
    """Its verdict."""
    return Verdict.load(done.folder["verdict.json"])


def test_the_needle_is_planned_inserted_found_and_judged(
    done: SimulatedProcedure, plan: Plan, verdict: Verdict
) -> None:
    """One needle in every value, measured within a millimetre of the truth, and the verdict follows from its rules."""
    assert [e.id for e in plan.electrodes] == ["E1"] and plan.device == NEEDLE
    assert done.execution.completed and [n.id for n in done.execution.needles] == ["E1"]
    placement = Placement.load(done.folder["placement.json"])
    assert [n.id for n in placement.needles] == ["E1"] and not placement.missing
    (electrode,) = verdict.electrodes
    assert electrode.truth is not None
    assert electrode.tip_error_mm == pytest.approx(electrode.truth.tip_error_mm, abs=0.7)
    assert electrode.angle_error_deg == pytest.approx(electrode.truth.angle_error_deg, abs=0.5)
    hard = [c for c in verdict.checks if c.severity == "hard"]
    assert verdict.passed == all(c.passed for c in hard)
    assert {"bipolar needles", "lateral error E1", "current E1.distal–E1.proximal"} <= {c.name for c in hard}
    assert not any(c.name.startswith("spacing") for c in verdict.checks)
    assert verdict.coverage is not None and verdict.coverage.tumour_percent > 90.0


def test_the_report_shows_pulls_pair_and_field(
    done: SimulatedProcedure, plan: Plan, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pair and the pulls in tables, no spacing error among the facts, slices of the field as placed."""
    monkeypatch.setattr(run_report, "write_pdf", lambda *_paths: None)
    monkeypatch.setattr(run_report, "write_dicom", lambda *_path, **_parts: None)
    monkeypatch.setattr(report, "scene_pictures", lambda *_inputs: ())
    assert run_report.write_reports(done) == ()
    page = done.folder["report.html"].read_text()
    assert "E1.distal–E1.proximal" in page and "16 G bipolar needle" in page
    assert "as built, not measured" in page
    assert "largest spacing error" not in page and "largest tip error" in page
    assert "The plane of E1, the skin at the top" in page and page.count("data:image/png") >= 5
    (row,) = tables.planned_electrodes(plan).rows
    assert row[4] == "22" and row[5] == ", ".join(f"{p:g}" for p in plan.electrodes[0].pull_back_mm)
    (pair,) = tables.pairs(plan, verdict).rows
    assert pair[:2] == ("E1.distal–E1.proximal", "15.0") and "2700" in pair
    assert verdict.coverage is not None and plan.coverage is not None
    grid = TreatmentGrid.around_target(done.case)
    for as_placed, coverage in ((True, verdict.coverage), (False, plan.coverage)):
        field = read_image(done.folder.field(as_placed=as_placed))
        found = coverage_of(grid, field.voxels.astype(np.float32), 500.0)
        assert found.with_margin_percent == pytest.approx(coverage.with_margin_percent, abs=0.05)
    assert verdict.pulse_plan is not None
    rows = done.folder["pulses.csv"].read_text().splitlines()
    assert len(rows) == 1 + len(verdict.pulse_plan.rows)


def test_the_pictures_show_where_a_needle_conducts() -> None:
    """Two stretches of a bipolar needle with its gap between, and the whole exposure of an electrode."""
    assert conducting_mm(NEEDLE, 22.0) == ((0.0, 7.0), (15.0, 22.0))
    assert conducting_mm(ElectrodeDevice(), 20.0) == ((0.0, 20.0),)


def test_a_nodule_is_small_and_named() -> None:
    """About 4 mm across; what is not the default is in the case's name, and all else of the phantom stays."""
    usual, nodule = make_phantom(4), make_phantom(4, tumour="nodule", device=NEEDLE)
    assert usual.description.name == phantom_name(4, "small", "usual", usual.description.device) == "phantom-4"
    assert nodule.description.name == "phantom-4-nodule-bipolar"
    assert nodule.description.device == NEEDLE
    target = nodule.labels.voxels == nodule.description.structure("tumour").label
    volume_mm3 = float(target.sum() * nodule.labels.spacing_mm.prod())
    assert volume_mm3 == pytest.approx(4.0 / 3.0 * np.pi * np.prod(TUMOURS_MM["nodule"]), rel=0.5)
    differ = nodule.labels.voxels != usual.labels.voxels
    assert (usual.labels.voxels[differ] == usual.description.structure("tumour").label).all()
    with pytest.raises(InvalidInputError, match="no such phantom tumour"):
        make_phantom(4, tumour="large")
