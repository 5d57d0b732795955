"""A run registered from points in files: the same transform from every form, and refused where points cannot be."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from console.cli import status_of
from guidance.case.store import save_case
from kinematics.errors import InvalidInputError, RefusedError
from kinematics.frames import Transform
from registration.registration import Registration
from sim.patient import NOMINAL_ROTATION_ROBOT_CT
from sim.phantom import make_phantom
from sim.registration_inputs import read_inputs, refuse_turned
from sim.run_folder import RunSettings
from sim.steps import SimulatedProcedure

FLIP = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SimulatedProcedure:
    """A run that was registered with the suite's own points."""
    folder = tmp_path_factory.mktemp("given")
    case = make_phantom(3)
    save_case(case, folder / "case")
    settings = RunSettings(case_folder=str(folder / "case"), case_name="p", seed=4, fidelity="fast", version="0")
    procedure = SimulatedProcedure.start(folder / "run", case, settings)
    procedure.register()
    return procedure


@pytest.fixture(scope="module")
def found(run) -> np.ndarray:
    """The spheres found in the CT, LPS."""
    return np.array([f.centre_ct_mm for f in run.registration.fiducials])


@pytest.fixture(scope="module")
def seen(run) -> np.ndarray:
    """One sample of the tracker."""
    return np.array(run.suite.tracker.sample().points_tracker_mm)


def csv_file(path, points, system):
    """Write points as CSV; return the path as text."""
    rows = [f"P{n},{x!r},{y!r},{z!r},{system}" for n, (x, y, z) in enumerate(points.tolist())]
    path.write_text("\n".join(["name,x_mm,y_mm,z_mm,coordinate_system", *rows]))
    return str(path)


def mrk_file(path, points, system):
    """Write points as Slicer does; return the path as text."""
    controls = [{"label": f"P{n}", "position": p} for n, p in enumerate(points.tolist())]
    markup = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls}
    path.write_text(json.dumps({"markups": [markup]}))
    return str(path)


def calibration_file(path, run):
    """Write the suite's own calibration; return the path as text."""
    path.write_text(json.dumps({"T_robot_tracker": run.suite.T_robot_tracker_estimated().matrix.tolist()}))
    return str(path)


def test_what_was_found_can_be_looked_at_and_given_back(run, found, tmp_path, capsys):
    """`fiducials.mrk.json` given as marks: the same centres, a larger predicted error, and where they came from."""
    before = run.registration
    marks = str(run.folder["fiducials.mrk.json"])
    kept = run.folder["fiducials.mrk.json"].read_bytes()
    assert status_of(["register", str(run.folder.path), "--ct-points", marks, "--ct-points-error-mm", "0.8"]) == 0
    after = SimulatedProcedure(run.folder.path).registration
    np.testing.assert_allclose([f.centre_ct_mm for f in after.fiducials], found, atol=1e-9)
    assert after.tre_p95_mm.tumour > before.tre_p95_mm.tumour
    np.testing.assert_allclose(after.fiducials[0].covariance_mm2, np.eye(3) * 0.8**2 / 3, atol=1e-12)
    assert run.folder["fiducials.mrk.json"].read_bytes() == kept
    told = json.loads(run.folder["registration_inputs.json"].read_text())
    assert "fiducials.mrk.json" in told["ct"] and "0.8 mm rms" in told["ct"]
    assert told["tracker"] == "the simulated tracker"
    assert "marked by a person" in capsys.readouterr().out


def test_every_form_gives_one_transform_near_the_truth(run, found, seen, tmp_path):
    """CSV or Slicer's, LPS or RAS, in any order: one `T_robot_ct`, within 1.5 mm of the truth at the tumour."""
    calibration = calibration_file(tmp_path / "c.json", run)
    ways = [
        (csv_file(tmp_path / "a.csv", found, "LPS"), csv_file(tmp_path / "t.csv", seen, "tracker"), []),
        (csv_file(tmp_path / "b.csv", found * FLIP, "RAS"), csv_file(tmp_path / "u.csv", seen[::-1], "tracker"), []),
        (
            mrk_file(tmp_path / "c.mrk.json", found * FLIP, "RAS"),
            mrk_file(tmp_path / "t.mrk.json", seen * FLIP, "LPS"),
            ["--tracked-points-axes", "ras"],
        ),
    ]
    matrices = []
    for ct, tracked, more in ways:
        given = ["--ct-points", ct, "--tracked-points", tracked, "--calibration", calibration, *more]
        assert status_of(["register", str(run.folder.path), *given]) == 0
        matrices.append(SimulatedProcedure(run.folder.path).registration.T_robot_ct)
    for T in matrices[1:]:
        np.testing.assert_allclose(T.matrix, matrices[0].matrix, atol=1e-6)
    target = run.suite.patient.target_ct_mm
    away = np.linalg.norm(matrices[0].points(target) - run.suite.patient.T_robot_ct.points(target))
    assert away < 1.5


def test_the_tip_of_the_touching_tool_is_counted(run, seen, tmp_path):
    """0.6 mm rms, the same way in every touch: all of it in the predicted error, with its share, and told."""
    given = ["--tracked-points", csv_file(tmp_path / "t.csv", seen, "tracker")]
    given += ["--calibration", calibration_file(tmp_path / "c.json", run)]
    assert status_of(["register", str(run.folder.path), *given]) == 0
    before = SimulatedProcedure(run.folder.path).registration
    tip = tmp_path / "tip.json"
    tip.write_text(json.dumps({"tip_covariance_mm2": np.diag([0.30, 0.05, 0.01]).tolist()}))
    assert status_of(["register", str(run.folder.path), *given, "--pivot", str(tip)]) == 0
    after = SimulatedProcedure(run.folder.path).registration
    own = after.covariance_sources["pivot"]
    assert np.trace(own[:3, :3]) == pytest.approx(0.36, rel=1e-6) and np.abs(own[3:, 3:]).max() < 1e-12
    assert before.shares.tumour["pivot"] == 0.0 and after.shares.tumour["pivot"] > 20.0
    assert after.tre_p95_mm.tumour > before.tre_p95_mm.tumour
    assert "0.60 mm rms" in json.loads(run.folder["registration_inputs.json"].read_text())["pivot"]


def test_points_in_the_wrong_axes_are_refused(run, found, seen, tmp_path, capsys):
    """LPS numbers that are called RAS lie half turned: off the skin, or with a patient turned over."""
    wrong = csv_file(tmp_path / "a.csv", found, "RAS")
    turned = mrk_file(tmp_path / "t.mrk.json", seen, "LPS")
    before = run.folder["registration.json"].read_bytes()
    assert status_of(["register", str(run.folder.path), "--ct-points", wrong]) == 2
    said = capsys.readouterr().err
    assert "not on the skin" in said or "turned by" in said
    given = ["--tracked-points", turned, "--tracked-points-axes", "RAS"]
    assert status_of(["register", str(run.folder.path), *given]) == 2
    assert "the patient would lie turned by 18" in capsys.readouterr().err
    assert run.folder["registration.json"].read_bytes() == before


@pytest.mark.parametrize("turn_deg", [0.0, 55.0, -65.0, 180.0])
def test_a_patient_lies_supine_head_along_y(turn_deg):
    """Up to 60° about any axis is left to the operator's eye; beyond, it is refused with the angle."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(math.radians(turn_deg) * np.array([0.6, 0.0, 0.8])).as_matrix()
    T = Transform.of("robot", "ct", turn @ NOMINAL_ROTATION_ROBOT_CT, [400.0, 100.0, 30.0])
    registration = Registration.model_construct(T_robot_ct=T)
    if abs(turn_deg) < 60:
        refuse_turned(registration)
    else:
        with pytest.raises(RefusedError, match=f"turned by {abs(turn_deg):.0f}°"):
            refuse_turned(registration)


def read(run, **given):
    """Read inputs for the run."""
    return read_inputs(run.case, run.suite.clock.now_s, 4.0, **given)


@pytest.mark.parametrize(
    ("moved_mm", "said"),
    [((0, 160, 0), "nothing but body"), ((0, -90, 0), "no body"), ((0, 0, 5000), "no body"), ((1e7, 0, 0), "no body")],
)
def test_a_mark_away_from_the_skin_is_refused(run, found, tmp_path, moved_mm, said):
    """Deep in the body, in the air, or outside the image: by the name of the point."""
    front = int(np.argmin(found[:, 1]))
    points = found.copy()
    points[front] += moved_mm
    if said == "nothing but body":
        points[front] = run.suite.patient.target_ct_mm
    file = tmp_path / "a.csv"
    csv_file(file, points, "LPS")
    with pytest.raises(InvalidInputError, match=f"'P{front}' is not on the skin: there is {said}"):
        read(run, ct_points=file)


@pytest.mark.parametrize("rms_mm", [0.0, -0.5, 5.1, math.nan])
def test_an_error_that_cannot_be_is_refused(run, found, tmp_path, rms_mm):
    """Nobody marks without error, and 5 mm is no mark."""
    file = tmp_path / "a.csv"
    csv_file(file, found, "LPS")
    with pytest.raises(InvalidInputError, match="error of the marking"):
        read(run, ct_points=file, marking_rms_mm=rms_mm)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ct-points-axes", "LPS"], "axes of a file that is not given"),
        (["--tracked-points-axes", "RAS"], "axes of a file that is not given"),
        (["--tracked-points", "t.csv", "--tracked-points-axes", "LAS"], "--tracked-points-axes is not known"),
        (["--ct-points", "none.csv"], "file of points is not there"),
        (["--calibration", "none.json"], "calibration is not there"),
        (["--pivot", "tip.json"], "belongs to points that a tool touched"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, capsys, options, said):
    """With status 2 and one paragraph."""
    assert status_of(["register", str(run.folder.path), *options]) == 2
    assert said in capsys.readouterr().err


def test_too_few_marks_are_refused(run, found, tmp_path, capsys):
    """Two points give no transform."""
    marks = csv_file(tmp_path / "a.csv", found[:2], "LPS")
    assert status_of(["register", str(run.folder.path), "--ct-points", marks]) == 2
    assert "cannot be matched" in capsys.readouterr().err
