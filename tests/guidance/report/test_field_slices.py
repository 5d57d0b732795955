"""The field on slices: drawn where there is one, with threshold and tissue set in its words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from guidance.report.appearance import drawing
from guidance.report.field_slices import field_picture
from guidance.report.inputs import ReportInputs


def test_a_field_is_drawn_with_its_threshold_and_tissue(full_run: ReportInputs) -> None:
    """The words name the threshold and the set; another field is another picture."""
    assert full_run.lesion is not None
    with drawing():
        one = field_picture(full_run)
        two = field_picture(replace(full_run, lesion=full_run.lesion.with_voxels(0.8 * full_run.lesion.voxels)))
    assert one is not None and two is not None
    assert f"{full_run.threshold_v_per_cm:g} V/cm" in one.caption
    assert full_run.case.description.tissue_set in one.caption
    assert one.png != two.png


def test_a_weak_field_is_drawn_without_lines(full_run: ReportInputs) -> None:
    """A field below every level leaves the slices alone."""
    assert full_run.lesion is not None
    weak = full_run.lesion.with_voxels(np.full_like(full_run.lesion.voxels, 3.0))
    with drawing():
        assert field_picture(replace(full_run, lesion=weak)) is not None


def test_there_is_no_picture_without_a_field(full_run: ReportInputs) -> None:
    """No field, no plan: no picture."""
    assert field_picture(replace(full_run, lesion=None)) is None
    assert field_picture(replace(full_run, plan=None)) is None
