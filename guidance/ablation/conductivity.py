"""How tissue conducts: σ that rises with the field, by class and by structure, as named and cited sets.

`(recalled)` marks a figure that is widely quoted but was not read in the original. No set is tuned to make a case
pass. A set's contrast (its largest σ over its smallest) is kept at 10⁴ or below: a sphere of a hundredth of the σ
round it already disturbs the field as one that does not conduct at all, to 1.5 %, and a larger contrast only makes the
field harder to solve.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from guidance.case.case import Structure, Tissue
from kinematics.arrays import FloatArray, Vec3
from kinematics.errors import InvalidInputError
from kinematics.value import Value

UNIT_TOLERANCE = 1e-6


class Anisotropy(Value):
    """One direction that conducts differently from all across it, such as along the fibres of a muscle.

    Raises:
        InvalidInputError: An axis that is not a unit vector, a ratio that is not positive.
    """

    axis_ct: Vec3
    """Unit direction, frame `ct`; its sign does not matter."""
    along_over_across: float
    """σ along the axis over σ across it."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        length = float(np.sqrt(self.axis_ct @ self.axis_ct))
        if abs(length - 1.0) > UNIT_TOLERANCE:
            raise InvalidInputError("the axis of an anisotropy is not a unit vector", value=length, limit=1.0)
        if not 0.0 < self.along_over_across < np.inf:
            raise InvalidInputError(
                "σ along over σ across is not a positive number", value=self.along_over_across, limit="above 0"
            )
        return self

    def shape_ct(self) -> FloatArray:
        """Return σ's tensor over the geometric mean of its principal values, frame `ct`: 3 × 3, determinant 1."""
        across = self.along_over_across ** (-1.0 / 3.0)
        axis = self.axis_ct / np.sqrt(self.axis_ct @ self.axis_ct)
        tensor: FloatArray = across * (np.eye(3) + (self.along_over_across - 1.0) * np.outer(axis, axis))
        return tensor


class TissueConductivity(Value):
    """σ of one tissue: at rest, rising linearly over a range of the field, and permeabilised above it.

    Where the tissue is anisotropic the numbers are the geometric mean of the three principal values.

    Raises:
        InvalidInputError: σ that is missing, not a number, not positive, or lower when permeabilised; a ramp with one
            end, running backwards or below zero; a rise without a ramp; no source.
    """

    resting_s_per_m: float
    permeabilised_s_per_m: float
    ramp_from_v_per_cm: float | None = None
    """Both None: constant."""
    ramp_to_v_per_cm: float | None = None
    anisotropy: Anisotropy | None = None
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        resting, permeabilised = self.resting_s_per_m, self.permeabilised_s_per_m
        # Comparisons are written so that NaN fails them.
        if not 0.0 < resting < np.inf:
            raise InvalidInputError(
                "resting σ is not a positive number", value=resting, limit="above 0", unit="S/m", remedy=_INSULATOR
            )
        if not resting <= permeabilised < np.inf:
            raise InvalidInputError(
                "permeabilised σ is not a number of at least the resting σ",
                value=permeabilised,
                limit=resting,
                unit="S/m",
                remedy="permeabilised tissue conducts better: give both in this order",
            )
        first, last = self.ramp_from_v_per_cm, self.ramp_to_v_per_cm
        if first is None and last is None:
            if permeabilised > resting:
                raise InvalidInputError(
                    "σ rises, but nothing says over which field",
                    value=(resting, permeabilised),
                    unit="S/m",
                    remedy="give both ends of the ramp, or the same σ twice",
                )
        elif first is None or last is None or not 0.0 <= first < last < np.inf:
            raise InvalidInputError(
                "the ramp of σ does not run from a field to a higher one",
                value=(first, last),
                unit="V/cm",
                remedy="give two ends, the lower first, or neither for a constant σ",
            )
        return self


_INSULATOR = "give what hardly conducts a small σ, such as that of air in the named sets"


class TissueSet(Value):
    """σ of everything in a case, under one name.

    Raises:
        InvalidInputError: A tissue class that the set says nothing of.
    """

    name: str = Field(min_length=1)
    described: str = Field(min_length=1)
    tissues: dict[Tissue, TissueConductivity]
    """Every class."""
    structures: dict[str, TissueConductivity] = Field(default_factory=dict)
    """By structure name: wins over the structure's class."""
    unlabelled: Tissue
    """What the label 0 inside the skin counts as."""
    outside: Tissue
    """What lies outside the skin counts as."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [tissue for tissue in Tissue if tissue not in self.tissues]
        if missing:
            raise InvalidInputError(
                f"tissue set {self.name} lacks the conductivity of a tissue",
                value=", ".join(missing),
                remedy="give every tissue a σ with its source",
            )
        return self

    def of(self, structure: Structure) -> TissueConductivity:
        """Return how a structure conducts: its own entry, or else that of its tissue class."""
        return self.structures.get(structure.name, self.tissues[structure.tissue])


OURS = "default of this project"
GO_SMART = "Go-Smart project parameters"
CANINE = "canine spine IRE model, MDACC"
AIR_S_PER_M = 2e-4


def _constant(sigma_s_per_m: float, source: str) -> TissueConductivity:
    return TissueConductivity(resting_s_per_m=sigma_s_per_m, permeabilised_s_per_m=sigma_s_per_m, source=source)


def _ramp(resting: float, permeabilised: float, ramp_v_per_cm: tuple[float, float], source: str) -> TissueConductivity:
    first, last = ramp_v_per_cm
    return TissueConductivity(
        resting_s_per_m=resting,
        permeabilised_s_per_m=permeabilised,
        ramp_from_v_per_cm=first,
        ramp_to_v_per_cm=last,
        source=source,
    )


_LIVER_RAMP_V_PER_CM = (350.0, 700.0)
_PANCREAS_S_PER_M = 0.11


def _pancreas(rise: float, which: str) -> TissueConductivity:
    return _ramp(
        _PANCREAS_S_PER_M,
        round(_PANCREAS_S_PER_M * rise, 6),
        _LIVER_RAMP_V_PER_CM,
        f"0.11 S/m: Beitel-White 2021, IEEE TBME 68:771 (pig); × {rise:g}: {which} of 2.5–3.6 (recalled); ramp as "
        f"liver: {OURS}",
    )


UNIFORM = TissueSet(
    name="uniform-0.2",
    described="0.2 S/m everywhere and constant, in soft tissue, bone, gas and outside the skin alike: the first, "
    "linear field, and what the surrogate assumes",
    tissues={
        tissue: _constant(0.2, f"0.2 S/m in all soft tissue, for a first, linear field: {OURS}") for tissue in Tissue
    },
    unlabelled=Tissue.BACKGROUND,
    outside=Tissue.AIR,
)

IRE_TABLE = TissueSet(
    name="ire-table",
    described="σ by tissue, rising with the field; unlabelled tissue inside the skin is the background of the "
    "Go-Smart parameters, which stands there for all that is not segmented",
    tissues={
        Tissue.PANCREAS: _pancreas(3.0, "about the middle"),
        Tissue.TUMOUR: _ramp(0.20, 0.70, (400.0, 800.0), GO_SMART),
        Tissue.LIVER: _ramp(0.08, 0.32, _LIVER_RAMP_V_PER_CM, GO_SMART),
        Tissue.VESSEL: _ramp(0.70, 1.50, (100.0, 450.0), f"{GO_SMART} (vessel, blood)"),
        Tissue.MUSCLE: _constant(0.1, CANINE),
        Tissue.FAT: _constant(0.012, CANINE),
        Tissue.BONE: _constant(0.02, CANINE),
        Tissue.BOWEL: _constant(0.1, f"as muscle, which its wall mostly is; contents are not known: {OURS}"),
        Tissue.AIR: _constant(AIR_S_PER_M, f"stands for an insulator, at a contrast that the solver bears: {OURS}"),
        Tissue.BACKGROUND: _ramp(0.02, 0.08, (100.0, 400.0), f"{GO_SMART} (background)"),
    },
    unlabelled=Tissue.BACKGROUND,
    outside=Tissue.AIR,
)


def _variant(name: str, described: str, **changes: object) -> TissueSet:
    return TissueSet(**{**dict(IRE_TABLE), "name": name, "described": f"ire-table, but {described}", **changes})


IRE_TABLE_LOW = _variant(
    "ire-table-pancreas-2.5",
    "the pancreas rises by 2.5, the least that is quoted",
    tissues={**IRE_TABLE.tissues, Tissue.PANCREAS: _pancreas(2.5, "the least")},
)
IRE_TABLE_HIGH = _variant(
    "ire-table-pancreas-3.6",
    "the pancreas rises by 3.6, the most that is quoted",
    tissues={**IRE_TABLE.tissues, Tissue.PANCREAS: _pancreas(3.6, "the most")},
)
IRE_TABLE_FAT = _variant(
    "ire-table-fat",
    "unlabelled tissue inside the skin is fat and does not rise",
    unlabelled=Tissue.FAT,
)

SETS = {s.name: s for s in (UNIFORM, IRE_TABLE, IRE_TABLE_LOW, IRE_TABLE_HIGH, IRE_TABLE_FAT)}


def tissue_set(name: str) -> TissueSet:
    """Return the set called `name`. Raises InvalidInputError, listing the names there are."""
    if name not in SETS:
        raise InvalidInputError(
            f"there is no tissue set called {name!r}", remedy="use one of: " + ", ".join(sorted(SETS))
        )
    return SETS[name]
