"""The pulse table: CSV, JSON and page agree number by number; a refused plan fires nothing."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from guidance.ablation.coverage import Coverage
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.pulse_plan import PulsePlan
from guidance.report.pulse_table import COLUMNS, RESEARCH, pulse_csv, pulses
from tests.guidance.pulse_stand_in import stand_in

COVERAGE = Coverage(threshold_v_per_cm=500.0, tumour_percent=99.0, with_margin_percent=93.0, curve=())
GRID = TreatmentGrid(np.eye(4), np.ones((2, 3, 4), dtype=bool), np.ones((2, 3, 4), dtype=bool))
VOLTAGES = {("E1", "E2"): 2450.0, ("E1", "E3"): 2700.0, ("E2", "E3"): 3000.0}


def plan(*, accepted: bool = True) -> PulsePlan:
    """Three pairs at three voltages."""
    return stand_in(GRID, VOLTAGES, COVERAGE, accepted=accepted).pulse_plan


def test_csv_json_and_page_agree() -> None:
    """Every number of the JSON stands in the CSV as it is, and on the page as it is rounded there."""
    found = plan()
    told = json.loads(found.canonical_json())["rows"]
    rows = list(csv.DictReader(io.StringIO(pulse_csv(found))))
    page = pulses(found)
    assert len(rows) == len(told) == len(page.rows) == 3
    for row, value, shown in zip(rows, told, page.rows, strict=True):
        for name in COLUMNS:
            assert row[name] == str(value[name]) or float(row[name]) == value[name]
        assert shown[0] == row["order"] and shown[1] == f"{row['a']}–{row['b']}" and shown[2] == row["anode"]
        assert float(shown[5]) == pytest.approx(float(row["voltage_v"]), abs=0.5)
        assert float(shown[7]) == pytest.approx(float(row["current_a"]), abs=0.05)
        assert float(shown[4]) == pytest.approx(float(row["spacing_mm"]), abs=0.05)


def test_the_csv_says_what_it_is() -> None:
    """CRLF lines, a header with units, the stage, and that this is research software."""
    text = pulse_csv(plan())
    assert text.endswith("\r\n") and text.count("\r\n") == 4
    header, first = list(csv.reader(io.StringIO(text)))[:2]
    assert header == [*COLUMNS, "stage", "note"] and first[-2:] == ["planned", RESEARCH]


def test_a_refused_plan_fires_nothing() -> None:
    """The header alone, and the reasons on the page."""
    refused = plan(accepted=False)
    assert len(pulse_csv(refused).splitlines()) == 1
    page = pulses(refused)
    assert page.rows == () and "a stand-in that is refused" in page.note
