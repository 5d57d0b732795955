"""How far labels reach: unknown is no label, unless the roles allowed needles in it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from guidance.case.case import Case, CaseDescription, Structure
from guidance.case.extent import UNKNOWN, labelled_span, slice_axis
from guidance.case.policy import Policy, PolicyKind
from guidance.case.roles import structure_of


@pytest.mark.parametrize(("kind", "counts"), [(PolicyKind.FORBIDDEN, False), (PolicyKind.COSTLY, True)])
def test_unknown_counts_where_it_is_allowed(box_case: Case, kind: PolicyKind, counts: bool) -> None:
    """The span is that of the aorta; unknown tissue beyond it widens the span only by a decision of the table."""
    voxels = box_case.labels.voxels.copy()
    voxels[8:50, 10:44, 36:38] = 3
    structures = (*box_case.description.structures, Structure(name=UNKNOWN, label=3, policy=Policy(kind=kind)))
    description = CaseDescription(**{**dict(box_case.description), "structures": structures})
    case = dataclasses.replace(box_case, description=description, labels=box_case.labels.with_voxels(voxels))
    span = labelled_span(case)
    assert span is not None
    assert span.tolist() == ([[8, 49], [10, 43], [4, 37]] if counts else [[36, 39], [14, 29], [4, 35]])


def test_a_mark_on_the_skin_is_no_extent(box_case: Case) -> None:
    """A drain low down says nothing of the slices between; a spleen there would have been labelled by somebody."""
    for name, counts in (("drain", False), ("spleen", True)):
        voxels = box_case.labels.voxels.copy()
        voxels[44:46, 12:14, 1:3] = 3
        structures = (*box_case.description.structures, structure_of(name, 3))
        description = CaseDescription(**{**dict(box_case.description), "structures": structures})
        case = dataclasses.replace(box_case, description=description, labels=box_case.labels.with_voxels(voxels))
        span = labelled_span(case)
        assert span is not None
        assert span.tolist() == ([[36, 45], [12, 29], [1, 35]] if counts else [[36, 39], [14, 29], [4, 35]])


def test_the_slice_axis_is_the_one_that_runs_to_the_head() -> None:
    """Whatever order the axes are stored in."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.0, 0.9, 0.1], [0.0, 0.1, -0.9], [2.5, 0.0, 0.0]])
    assert slice_axis(affine) == 0
