"""The case: CT, labels, structures with their policy, target and eligibility."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field, computed_field, model_validator

from guidance.case.policy import Policy
from guidance.scene import ElectrodeDevice
from kinematics.value import Value
from registration.volume import Volume


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
    """Answers that decide whether the treatment may be planned at all (Delphi consensus 2024; WJG 2023)."""

    ventricular_arrhythmia: bool = False
    implanted_cardiac_stimulator: bool = False
    heart_failure_nyha_4: bool = False
    severe_ascites: bool = False
    atrial_fibrillation: bool = False
    coronary_disease: bool = False
    metal_in_zone: bool = False
    liver_failure: bool = False
    ecg_synchronisation: bool = True
    anaesthesia_with_muscle_blockade: bool = True


class CaseDescription(Value):
    """What `case.json` holds: everything of a case but its voxels."""

    name: str
    ct_sha256: str
    labels_sha256: str
    structures: tuple[Structure, ...]
    target: str
    device: ElectrodeDevice = ElectrodeDevice()
    protocol: str = "pancreas-ire-default"
    eligibility: Eligibility = Eligibility()
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

    def structure(self, name: str) -> Structure:
        """Return the structure called `name`. Raises InvalidInputError, listing the names there are."""
        from kinematics.errors import InvalidInputError

        for candidate in self.structures:
            if candidate.name == name:
                return candidate
        raise InvalidInputError(
            f"there is no structure called {name!r} in case {self.name}",
            remedy="use one of: " + ", ".join(sorted(s.name for s in self.structures)),
        )


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
