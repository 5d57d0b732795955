"""The pictures of the arrays that a plan was chosen from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from guidance.report.alternatives_view import best_of_two, coverage_bars_picture, pareto_picture, terms_picture
from guidance.report.inputs import ReportInputs


def test_the_line_joins_what_is_best_in_two() -> None:
    """Against comparing every two by hand; equal arrays both stay."""
    risk = np.array([0.2, 0.0, 1.0, 0.2, 3.0, 0.2])
    covered = np.array([94.0, 91.0, 93.0, 90.0, 97.0, 94.0])
    assert best_of_two(risk, covered).tolist() == [1, 0, 5, 4]
    rng = np.random.default_rng(4)
    risk, covered = rng.integers(0, 5, 30).astype(float), rng.integers(0, 5, 30).astype(float)
    dominated = {
        n
        for n in range(30)
        for m in range(30)
        if (risk[m] <= risk[n] and covered[m] >= covered[n]) and (risk[m], covered[m]) != (risk[n], covered[n])
    }
    assert set(best_of_two(risk, covered).tolist()) == set(range(30)) - dominated


def test_pictures_are_there_for_named_alternatives_alone(weighed_run: ReportInputs, full_run: ReportInputs) -> None:
    """Older plans have alternatives without names, or none: no picture, and no terms without weights."""
    pictures = (pareto_picture, coverage_bars_picture, terms_picture)
    for make in pictures:
        shown = make(weighed_run)
        assert shown is not None and shown.png.startswith(b"\x89PNG")
        assert make(full_run) is None and make(replace(full_run, plan=None)) is None
    plan = weighed_run.plan
    assert plan is not None
    older = tuple(a.model_copy(update={"id": "", "terms": None}) for a in plan.alternatives)
    for make in pictures:
        assert make(replace(weighed_run, plan=plan.model_copy(update={"alternatives": older}))) is None
    alone = replace(weighed_run, plan=plan.model_copy(update={"alternatives": plan.alternatives[:1]}))
    assert pareto_picture(alone) is None and coverage_bars_picture(alone) is not None
    unweighed = replace(weighed_run, plan=plan.model_copy(update={"weights": None}))
    assert terms_picture(unweighed) is None and pareto_picture(unweighed) is not None


def test_captions_say_what_was_solved_and_left_out(weighed_run: ReportInputs) -> None:
    """The estimate is not taken for the field; a term that is nought for all is named, not drawn."""
    bars, terms = coverage_bars_picture(weighed_run), terms_picture(weighed_run)
    assert bars is not None and "solved field covers 98.6 and 91.3 %" in bars.caption
    assert terms is not None and "crossing, needles, overtreatment, robustness, arm" in terms.caption
