"""The registration's rows of the report."""

from __future__ import annotations

import numpy as np
import pytest

from guidance.report import registration_tables, tables
from guidance.report.inputs import ReportInputs
from registration.registration import Shares


def test_sources_are_ranked_and_sum_to_one(full_run: ReportInputs) -> None:
    """Shares of variance at the tumour: three quarters and one quarter, as they were put in."""
    assert full_run.registration is not None
    rows = registration_tables.error_sources(full_run.registration)
    assert [r[0] for r in rows] == ["fiducials in ct", "tracker"]
    assert [r[2] for r in rows] == pytest.approx([0.75, 0.25])
    assert rows[0][1] == pytest.approx(np.sqrt(3.0 * 0.08))


def test_the_ellipsoid_is_told_in_the_patients_directions(full_run: ReportInputs) -> None:
    """Largest along the robot's z, which is the patient's anterior; smallest along left."""
    assert full_run.registration is not None
    grid = registration_tables.ellipsoid(full_run.registration)
    assert [set(row[0].split(" – ")) for row in grid.rows] == [{"A", "P"}, {"H", "F"}, {"L", "R"}]
    assert [float(row[2]) for row in grid.rows] == pytest.approx([0.45, 0.28, 0.2], abs=0.005)


def test_every_needle_shows_the_error_at_entry_and_tip(full_run: ReportInputs) -> None:
    """Tumour, then entry and tip of each electrode, the registration's own beside all sources."""
    registration, plan = full_run.registration, full_run.plan
    assert registration is not None and plan is not None
    grid = registration_tables.predicted(registration, plan)
    assert [row[0] for row in grid.rows] == [
        "tumour",
        "entry region, worst",
        "E1 entry",
        "E1 tip",
        "E2 entry",
        "E2 tip",
    ]
    # In the patient's axes: the robot's z, with the largest error, is the patient's anterior.
    assert grid.rows[0][2:5] == ("0.20", "0.45", "0.28")
    assert float(grid.rows[3][5]) == pytest.approx(registration.tre_p95_at(plan.electrodes[0].tip_ct_mm), abs=0.005)
    assert [row[6] for row in grid.rows] == ["–", "–", "0.95", "2.40", "0.95", "2.40"]
    assert "error budget" in grid.note
    alone = registration_tables.predicted(registration, None)
    assert [row[0] for row in alone.rows] == ["tumour", "entry region, worst"]


def test_a_fiducial_shows_what_the_others_say_of_it(full_run: ReportInputs) -> None:
    """Distance, what sound ones stay within, chance; the suspect and the one that moved are marked."""
    assert full_run.registration is not None
    first, second, third, *rest = full_run.registration.fiducials
    changed = full_run.registration.model_copy(
        update={
            "fiducials": (
                first.model_copy(update={"leave_one_out_mm": 3.1, "leave_one_out_p95_mm": 0.9, "chance": 2e-9}),
                second,
                third.model_copy(update={"leave_one_out_mm": 4.2}),
                *rest,
            ),
            "suspects": ("F1",),
        }
    )
    grid = registration_tables.fiducials(changed)
    assert grid.rows[0][4:] == ("0.20", "3.10", "0.90", "2e-09")
    assert grid.rows[1][4:] == ("0.20", "–", "–", "–")
    assert [flag for flag, _ in grid.lines()] == ["broken", "", "warned", "", ""]


def test_shares_are_of_tumour_and_worst_entry(full_run: ReportInputs) -> None:
    """Ranked by the tumour; a registration from before has none."""
    assert full_run.registration is not None
    assert registration_tables.shares(full_run.registration) is None
    shares = Shares(tumour={"tracker": 30.0, "calibration": 70.0}, entry_region={"tracker": 55.4, "calibration": 44.6})
    grid = registration_tables.shares(full_run.registration.model_copy(update={"shares": shares}))
    assert grid is not None
    assert grid.rows == (("calibration", "70", "45"), ("tracker", "30", "55"))


def test_planned_electrodes_show_entry_and_tip_error(full_run: ReportInputs) -> None:
    """Both, side by side."""
    assert full_run.plan is not None
    grid = tables.planned_electrodes(full_run.plan)
    at = grid.heads.index("entry error 95 % mm")
    assert grid.heads[at + 1] == "tip error 95 % mm" and grid.rows[0][at : at + 2] == ("0.9", "2.4")
