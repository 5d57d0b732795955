"""Thermal properties of tissue: named, cited sets, and their map on the treatment grid.

`(recalled)` marks a figure that is widely quoted but was not read in the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from guidance.ablation.grid import TreatmentGrid
from guidance.case.case import CaseDescription, Tissue
from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.value import Value

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

BLOOD_J_PER_M3_K = 1050.0 * 3617.0
"""ρ_b·c_b: IT'IS database v4.1 (recalled)."""
BODY_C = 37.0


class ThermalProperties(Value):
    """What one tissue does with heat."""

    density_kg_per_m3: Positive
    specific_heat_j_per_kg_k: Positive
    conductivity_w_per_m_k: NotNegative
    """0: passes no heat."""
    perfusion_per_s: NotNegative
    """Volume of blood per volume of tissue and second."""
    source: str = Field(min_length=1)

    @property
    def heat_capacity_j_per_m3_k(self) -> float:
        """ρc [J/(m³·K)]."""
        return self.density_kg_per_m3 * self.specific_heat_j_per_kg_k


class ThermalSet(Value):
    """Properties of every tissue, under a name.

    Raises:
        InvalidInputError: A tissue is missing, or a figure is negative or not a number.
    """

    name: str = Field(min_length=1)
    described: str
    tissues: dict[Tissue, ThermalProperties]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [t.value for t in Tissue if t not in self.tissues]
        if missing:
            raise InvalidInputError(
                f"the thermal set {self.name!r} lacks tissues: {', '.join(missing)}",
                remedy="give each tissue its properties",
            )
        return self


_ITIS = "ρ, c, k: IT'IS database v4.1, 10.13099/VIP21000-04-1 (recalled)"
_YADAV = "Yadav 2016, Pancreatology 16:979 (perfusion CT)"


def _of(rho: float, c: float, k: float, perfusion: float, source: str) -> ThermalProperties:
    return ThermalProperties(
        density_kg_per_m3=rho,
        specific_heat_j_per_kg_k=c,
        conductivity_w_per_m_k=k,
        perfusion_per_s=perfusion,
        source=source,
    )


PERFUSED = ThermalSet(
    name="perfused",
    described="tissue at rest; its perfusion is taken to go on during the pulses",
    tissues={
        Tissue.PANCREAS: _of(1087.0, 3164.0, 0.51, 0.0157, f"{_ITIS}; perfusion 94 ml/min/100 ml, {_YADAV}"),
        Tissue.TUMOUR: _of(1087.0, 3164.0, 0.51, 0.0028, f"as pancreas; perfusion 17 ml/min/100 ml, {_YADAV}"),
        Tissue.LIVER: _of(1079.0, 3540.0, 0.52, 0.0155, f"{_ITIS}; perfusion 860 ml/min/kg, same (recalled)"),
        Tissue.VESSEL: _of(1050.0, 3617.0, 0.52, 0.0, f"blood: {_ITIS}; its flow is not perfusion"),
        Tissue.MUSCLE: _of(1090.0, 3421.0, 0.49, 0.0007, f"{_ITIS}; perfusion 37 ml/min/kg, same (recalled)"),
        Tissue.FAT: _of(911.0, 2348.0, 0.21, 0.0005, f"{_ITIS}; perfusion 33 ml/min/kg, same (recalled)"),
        Tissue.BONE: _of(1908.0, 1313.0, 0.32, 0.0003, f"cortical: {_ITIS}; perfusion 10 ml/min/kg, same (recalled)"),
        Tissue.BOWEL: _of(1045.0, 3600.0, 0.50, 0.0120, f"wall and content as one: {_ITIS}; perfusion of the wall"),
        Tissue.AIR: _of(1.16, 1004.0, 0.0, 0.0, "gas passes next to no heat: none here; default of this project"),
        Tissue.BACKGROUND: _of(911.0, 2348.0, 0.21, 0.0005, "as fat, which it mostly is; default of this project"),
    },
)
UNPERFUSED = ThermalSet(
    name="unperfused",
    described="no perfusion anywhere, as when pulses close the small vessels: the upper bound of heating",
    tissues={
        tissue: p.model_copy(update={"perfusion_per_s": 0.0, "source": f"{p.source}; perfusion left out"})
        for tissue, p in PERFUSED.tissues.items()
    },
)
_KNOWN = {s.name: s for s in (PERFUSED, UNPERFUSED)}


def thermal_set(name: str) -> ThermalSet:
    """Return the thermal set called `name`. Raises InvalidInputError, listing the names there are."""
    if name not in _KNOWN:
        raise InvalidInputError(
            f"there is no thermal set called {name!r}", remedy="use one of: " + ", ".join(sorted(_KNOWN))
        )
    return _KNOWN[name]


@dataclass(frozen=True, eq=False)
class ThermalMap:
    """Thermal properties by cell; arrays are read-only.

    Args:
        kind: Row of the table, uint8, shape of the grid.
        table: Per row: 1/ρc [K·m³/J] (0: held at 37 °C), k [W/(m·K)], ω_b·ρ_b·c_b [W/(m³·K)].
        names: Of the rows.
        source: Name of the thermal set.

    Raises:
        InvalidInputError: A figure that is negative or not finite, or a cell whose row is not in the table.
    """

    kind: NDArray[np.uint8]
    table: FloatArray
    names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        try:
            table = read_only(self.table, (len(self.names), 3))
        except ValueError as error:
            raise InvalidInputError(f"the table of thermal properties cannot be used: {error}") from error
        if table.min() < 0.0:
            raise InvalidInputError("a thermal property is negative", value=float(table.min()), limit=0.0)
        kind = np.array(self.kind, dtype=np.uint8)
        if int(kind.max()) >= len(table):
            raise InvalidInputError("a cell has no row of thermal properties", value=int(kind.max()), limit=len(table))
        kind.flags.writeable = False
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "table", table)

    @classmethod
    def uniform(cls, shape: tuple[int, int, int], properties: ThermalProperties) -> Self:
        """Return one tissue everywhere."""
        return cls(np.zeros(shape, dtype=np.uint8), np.array([_row(properties)]), ("uniform",), "uniform")

    @classmethod
    def on(
        cls, description: CaseDescription, grid: TreatmentGrid, tissues: ThermalSet, *, vessels_held: bool = True
    ) -> Self:
        """Return the tissues of a case on its treatment grid.

        What has no label counts as background inside the body, and passes no heat outside it.

        Args:
            description: The case's structures.
            grid: Labels and body by cell.
            tissues: The thermal set.
            vessels_held: Keep the lumens of blood vessels at 37 °C. The vessels that a case names are millimetres
                wide, and their flow renews the blood in a second. Ducts, whose content stands, are not held. False
                leaves blood standing still: the upper bound of heating beside it.
        """
        rows: dict[str, tuple[float, float, float]] = {
            Tissue.BACKGROUND.value: _row(tissues.tissues[Tissue.BACKGROUND]),
            Tissue.AIR.value: _row(tissues.tissues[Tissue.AIR]),
        }
        lookup = np.zeros(int(max(s.label for s in description.structures)) + 1, dtype=np.uint8)
        for structure in description.structures:
            properties = tissues.tissues[structure.tissue]
            name, row = structure.tissue.value, _row(properties)
            if vessels_held and is_blood(structure.name, structure.tissue):
                name, row = f"{name}, held", (0.0, row[1], 0.0)
            rows.setdefault(name, row)
            lookup[structure.label] = list(rows).index(name)
        known = np.where(grid.labels < len(lookup), grid.labels, 0)
        kind = np.where(grid.body, lookup[known], list(rows).index(Tissue.AIR.value)).astype(np.uint8)
        return cls(kind, np.array(list(rows.values())), tuple(rows), tissues.name)


def is_blood(name: str, tissue: Tissue) -> bool:
    """Tell whether a structure carries blood: a vessel, but no bile or pancreatic duct, which is of the same class."""
    return tissue is Tissue.VESSEL and "duct" not in name


def _row(properties: ThermalProperties) -> tuple[float, float, float]:
    return (
        1.0 / properties.heat_capacity_j_per_m3_k,
        properties.conductivity_w_per_m_k,
        properties.perfusion_per_s * BLOOD_J_PER_M3_K,
    )
