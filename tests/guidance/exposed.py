"""Cases that ask for a clearance of exposures."""

from __future__ import annotations

from dataclasses import replace

from guidance.case.case import Case, Structure


def asking(structure: Structure, clearance_mm: float) -> Structure:
    """Return the structure with a clearance that exposures must keep."""
    policy = structure.policy.model_copy(update={"exposure_clearance_mm": clearance_mm})
    return structure.model_copy(update={"policy": policy})


def keeping_clear(case: Case, name: str, clearance_mm: float) -> Case:
    """Return the case with a clearance of exposures to one of its structures."""
    structures = tuple(asking(s, clearance_mm) if s.name == name else s for s in case.description.structures)
    return replace(case, description=case.description.model_copy(update={"structures": structures}))
