"""The report: complete in itself, whole or absent, and there for a run that stopped early."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from guidance.case.case import ASSUMED_ELIGIBLE
from guidance.planning.plan import Plan, PlanStatus, PulseTrain
from guidance.planning.wishing.wishes import Wishes
from guidance.report.inputs import ReportInputs
from guidance.report.report import DISCLAIMER, render, write_report
from guidance.report.scene_view import ShapeOf
from guidance.report.slices import slice_pictures
from kinematics.errors import StorageError
from registration.registration import SkinAgreement


@pytest.fixture(scope="module")
def page(full_run: ReportInputs, arm: ShapeOf) -> str:
    """The page of a run that reached its verdict."""
    return render(full_run, arm)


def test_the_page_needs_nothing_else(page: str) -> None:
    """Pictures and styles are inside; no address, no script, no file beside it."""
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert sources
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert "<script" not in page and "@import" not in page and "url(" not in page
    assert len(page) < 6_000_000


def test_the_disclaimer_is_at_top_and_bottom(page: str) -> None:
    """A reader meets it first and last."""
    places = [m.start() for m in re.finditer(re.escape(DISCLAIMER), page)]
    assert places[0] < page.index("<h1>")
    assert places[-1] > page.index('id="record"')


def test_the_page_shows_the_figures_of_the_values(page: str) -> None:
    """What was judged, predicted and budgeted is on the page, with hash and seed."""
    for text in (
        "FAIL",
        "93.2",
        "0.96 mm",
        "18.3",
        "1 mm at 100 mm",
        "seed 3",
        "Move E1 1.2 mm",
        "conductivity by tissue",
        "tissue set ire-table",
        "e" * 64,
    ):
        assert text in page, text


def test_the_page_says_what_the_needles_were_measured_by(page: str, full_run: ReportInputs, arm: ShapeOf) -> None:
    """The registration that was used is named, whether or not the image gave an answer."""
    assert "differs by 0.30 mm there" in page and "The needles were measured by the fiducials;" in page
    assert full_run.placement is not None
    silent = full_run.placement.registration.model_copy(
        update={"image_difference_mm": None, "image_p95_mm": None, "image_covariance": None}
    )
    placement = full_run.placement.model_copy(update={"registration": silent})
    alone = render(replace(full_run, placement=placement), arm)
    assert "could not confirm them. The needles were measured by the fiducials;" in alone


def test_the_case_section_says_who_may_be_treated(page: str, full_run: ReportInputs, arm: ShapeOf) -> None:
    """Each answer is listed; what stands against the treatment is a warning or a refusal, in so many words."""
    assert "nothing stands against the treatment" in page and "<td>metal in zone</td><td>no</td>" in page
    said = ASSUMED_ELIGIBLE.model_copy(update={"metal_in_zone": True, "severe_ascites": True})
    case = full_run.case
    other = replace(case, description=case.description.model_copy(update={"eligibility": said}))
    changed = render(replace(full_run, case=other), arm)
    assert "Warning: metal in the zone: yes (relative contraindication" in changed
    assert "Refused: severe ascites: yes (absolute contraindication" in changed
    assert "<td>metal in zone</td><td>yes</td>" in changed
    assert "nothing stands against the treatment" not in changed


def test_the_pulses_that_the_operator_sets_are_said(full_run: ReportInputs, arm: ShapeOf) -> None:
    """Number and length, as the plan states them."""
    assert full_run.plan is not None
    pulses = PulseTrain(length_us=85.0, test_pulses=11, pulses=93)
    changed = render(replace(full_run, plan=full_run.plan.model_copy(update={"pulses": pulses})), arm)
    assert "by hand: 11 to test, then 93, of 85 µs" in changed


PLANNING_TITLES = (
    "Chances, as planned",
    "Of each shaft to come closer",
    "Tolerance of each needle",
    "How far each needle may stray",
    "What it was chosen from",
    "Coverage against risk",
    "Coverage of each alternative",
    "What the scores are made of",
    "Alternatives (3)",
)


def test_what_a_plan_was_chosen_from_is_shown_where_it_is_stated(
    weighed_run: ReportInputs, page: str, arm: ShapeOf
) -> None:
    """Tolerances, chances and alternatives have their section; the report of an older plan is silent about them."""
    changed = render(weighed_run, arm)
    assert [t for t in PLANNING_TITLES if t not in changed] == []
    assert [t for t in PLANNING_TITLES if t in page] == []


def test_what_the_operator_asked_for_is_said(planned_run: ReportInputs, arm: ShapeOf) -> None:
    """Wishes in words, with a plan and without one; a report of a plan that was left free is silent."""
    plan = planned_run.plan
    assert plan is not None
    wishes = Wishes(electrodes=(3, 4))
    asked = plan.model_copy(update={"wishes": wishes})
    assert "Planned with: 3 to 4 electrodes." in render(replace(planned_run, plan=asked), arm)
    none = Plan(status=PlanStatus.INFEASIBLE, reasons=("no",), wishes=wishes, case_sha256="a", registration_sha256="b")
    assert "Asked for: 3 to 4 electrodes." in render(replace(planned_run, plan=none, lesion=None), arm)
    assert "Planned with" not in render(planned_run, arm)


def test_a_run_that_stopped_early_has_its_report(
    full_run: ReportInputs, planned_run: ReportInputs, arm: ShapeOf
) -> None:
    """Plan only, no plan, and no transform: each says so, shows the case, and claims nothing that it has not."""
    assert "PLAN ONLY" in render(planned_run, arm)
    nothing = Plan(status=PlanStatus.INFEASIBLE, reasons=("no array fits",), case_sha256="a", registration_sha256="b")
    infeasible = render(replace(planned_run, plan=nothing, lesion=None), arm)
    assert "NO PLAN" in infeasible and "no array fits" in infeasible
    refused = render(replace(planned_run, plan=None, registration=None, lesion=None, refusal=("2 fiducials",)), arm)
    assert "REFUSED" in refused and "2 fiducials" in refused and "There is no transform" in refused
    for page in (infeasible, refused):
        assert "as placed" not in page
        assert "Axial, through the tumour" in page


def test_a_scan_of_the_skin_and_what_a_person_gave_are_said(full_run: ReportInputs, arm: ShapeOf) -> None:
    """The distance with its own error, or that there was no answer; the files that took the place of the suite's."""
    assert full_run.registration is not None
    skin = SkinAgreement(
        status="ok", reasons=(), points=812, inliers_percent=80.4, rms_mm=0.5, difference_mm=0.314, p95_mm=0.16
    )
    seen = replace(
        full_run,
        registration=full_run.registration.model_copy(update={"skin": skin}),
        registration_told={"calibration": "c.json (sha256 12ab)"},
    )
    page = render(seen, arm)
    assert "0.31 mm at the tumour (its own predicted 95 % error 0.16 mm; 812 points, 80 % on the skin)" in page
    assert "Given by a person: calibration: c.json (sha256 12ab)." in page
    silent = skin.model_copy(update={"status": "sliding", "difference_mm": None, "p95_mm": None})
    page = render(replace(full_run, registration=full_run.registration.model_copy(update={"skin": silent})), arm)
    assert "no answer (sliding)" in page and "Given by a person" not in page


def test_hostile_text_stays_text(full_run: ReportInputs, arm: ShapeOf) -> None:
    """Names and reasons from files are escaped."""
    text = "<script>alert(1)</script>"
    page = render(replace(full_run, verdict=None, plan=None, registration=None, refusal=(text,)), arm)
    assert text not in page
    assert "&lt;script&gt;" in page


def test_the_same_run_gives_the_same_bytes(full_run: ReportInputs, page: str, arm: ShapeOf) -> None:
    """Pictures included."""
    assert render(full_run, arm) == page


def test_each_needle_has_its_slice(full_run: ReportInputs, planned_run: ReportInputs) -> None:
    """Axial, across, and one along each electrode; the check CT stands beside the planning CT when there is one."""
    target = full_run.planning_ct.points_mm((29, 22, 17))
    both, planned = slice_pictures(full_run, target), slice_pictures(planned_run, target)
    assert [p.title for p in both][2:] == ["Along E1", "Along E2"]

    def width(png: bytes) -> int:
        return int.from_bytes(png[16:20], "big")

    assert width(both[2].png) == pytest.approx(2 * width(planned[2].png), abs=3)


def test_an_unwritable_folder_leaves_the_old_report(planned_run: ReportInputs, tmp_path: Path, arm: ShapeOf) -> None:
    """The report is whole or not there; a file in the folder's place is refused by name."""
    path = write_report(tmp_path / "run", planned_run, shape_of=arm)
    assert path.read_text().endswith("</html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(StorageError, match="blocked"):
        write_report(blocked, planned_run, shape_of=arm)
    assert blocked.read_text() == "a file"
