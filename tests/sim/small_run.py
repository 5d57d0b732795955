"""A phantom with a hand-made triangle of electrodes round its tumour, for simulated procedures without a search."""

from __future__ import annotations

from functools import lru_cache

from guidance.case.case import Case
from guidance.planning.arm.reach import with_insertions
from guidance.planning.plan import Plan
from guidance.scene import SuiteDescription
from registration.registration import Registration
from tests.guidance.verification.standing import case_and_plan

SUITE = SuiteDescription()


@lru_cache(maxsize=1)
def case_and_array() -> tuple[Case, Plan]:
    """Return the phantom and its plan; the arm's paths are not in it."""
    case, plan = case_and_plan()
    return case, plan.model_copy(update={"case_sha256": case.description.sha256()})


def planned(case: Case, registration: Registration, *, suite: SuiteDescription, **_others: object) -> Plan:
    """Stand for the search: the triangle with arm paths made for the registration."""
    return with_insertions(case_and_array()[1], case, registration, suite)
