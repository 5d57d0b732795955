"""The case: CT, labels, structures with their policy, target and eligibility."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, computed_field, model_validator

from guidance.case.policy import Policy
from guidance.scene import Device, ElectrodeDevice
from kinematics.errors import InvalidInputError
from kinematics.value import Value
from registration.images.volume import Volume

DEFAULT_TISSUE_SET = "ire-table"


class Tissue(StrEnum):
    """Electrical tissue class of a structure."""

    PANCREAS = "pancreas"
    TUMOUR = "tumour"
    LIVER = "liver"
    VESSEL = "vessel"
    MUSCLE = "muscle"
    FAT = "fat"
    BONE = "bone"
    BOWEL = "bowel"
    AIR = "air"
    BACKGROUND = "background"


class Structure(Value):
    """One labelled structure. `label` is its number in the label image."""

    name: str = Field(min_length=1)
    label: int = Field(ge=1, le=65535)
    policy: Policy
    tissue: Tissue = Tissue.BACKGROUND
    derived: str | None = None
    """How it was made, when it did not come with the labels."""


class Eligibility(Value):
    """Answers that decide whether the treatment may be planned at all (Delphi consensus 2024; WJG 2023).

    None has a default: what was not asked is not known.
    """

    ventricular_arrhythmia: bool
    implanted_cardiac_stimulator: bool
    heart_failure_nyha_4: bool
    severe_ascites: bool
    atrial_fibrillation: bool
    coronary_disease: bool
    metal_in_zone: bool
    liver_failure: bool
    ecg_synchronisation: bool
    anaesthesia_with_muscle_blockade: bool


ASSUMED_ELIGIBLE = Eligibility(
    ventricular_arrhythmia=False,
    implanted_cardiac_stimulator=False,
    heart_failure_nyha_4=False,
    severe_ascites=False,
    atrial_fibrillation=False,
    coronary_disease=False,
    metal_in_zone=False,
    liver_failure=False,
    ecg_synchronisation=True,
    anaesthesia_with_muscle_blockade=True,
)
"""Nothing stands against the treatment: assumed for simulated procedures on nobody, whose provenance must say so."""


class CaseDescription(Value):
    """What `case.json` holds: everything of a case but its voxels."""

    name: str
    ct_sha256: str
    labels_sha256: str
    body_sha256: str
    """Of the skin mask."""
    structures: tuple[Structure, ...]
    target: str
    device: Device = ElectrodeDevice()
    protocol: str = "pancreas-ire-default"
    tissue_set: str = DEFAULT_TISSUE_SET
    """How its tissue conducts: a name of `guidance.ablation.conductivity.SETS`. A file without it has the default."""
    eligibility: Eligibility
    provenance: dict[str, str] = Field(default_factory=dict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def policy(self) -> dict[str, Policy]:
        """Policy by structure name; written to `case.json` for other programs."""
        return {s.name: s.policy for s in self.structures}

    @model_validator(mode="before")
    @classmethod
    def _policy_follows(cls, data: Any) -> Any:
        """Take `policy` of a file out again: it repeats the structures', and may not differ from them."""
        if not isinstance(data, dict) or "policy" not in data:
            return data
        rest = {k: v for k, v in data.items() if k != "policy"}
        own = {s["name"]: s["policy"] for s in rest.get("structures", ()) if isinstance(s, dict) and "policy" in s}
        if data["policy"] != own:
            raise ValueError("`policy` differs from the policies of `structures`: change both, or leave it out")
        return rest

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `case.json`. Raises InvalidInputError; a file of an older form is refused with what to do about it."""
        if is_of_older_form(path):
            raise InvalidInputError(
                "the case was made by an older version, which did not hash its skin mask",
                file=str(path),
                remedy="fetch it again (needlework case fetch NAME; phantom or import for others), and start a new run",
            )
        return super().load(path)

    def structure(self, name: str) -> Structure:
        """Return the structure called `name`. Raises InvalidInputError, listing the names there are."""
        for candidate in self.structures:
            if candidate.name == name:
                return candidate
        raise InvalidInputError(
            f"there is no structure called {name!r} in case {self.name}",
            remedy="use one of: " + ", ".join(sorted(s.name for s in self.structures)),
        )


def is_of_older_form(path: Path) -> bool:
    """Tell whether a `case.json` is one from before the skin mask was hashed; a file that is none is not."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "structures" in data and "body_sha256" not in data


@dataclass(frozen=True, eq=False)
class Case:
    """A case with its images. `labels` lies on the grid of `ct`; both are in frame `ct` (LPS, mm).

    The label 0 is unlabelled. The body's inside is given by `skin` (bool volume: inside the skin).
    """

    description: CaseDescription
    ct: Volume
    labels: Volume
    body: Volume
    """uint8, 1 inside the skin."""

    def with_tissue_set(self, name: str) -> Case:
        """Return the same case with another tissue set, which `check_case` looks up."""
        return replace(self, description=self.description.model_copy(update={"tissue_set": name}))

    def treated_with(self, device: Device) -> Case:
        """Return the same patient as a case of another device, which is in its name."""
        name = f"{self.description.name}-{device.kind}"
        return replace(self, description=self.description.model_copy(update={"name": name, "device": device}))
