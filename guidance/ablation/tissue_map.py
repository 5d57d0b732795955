"""Which tissue each cell of a grid is, and its σ at a given field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from guidance.ablation.conductivity import TissueConductivity, TissueSet
from guidance.ablation.sampling import nearest
from guidance.case.case import Case
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from registration.labels.label_set import LARGEST_LABEL

UNKNOWN = 255
"""Marks, while a map is made, a label that nothing describes: `kind` holds a row in one byte, so 255 rows remain."""


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _sigma(kind: Any, resting: Any, permeabilised: Any, first: Any, per_v_per_cm: Any, field: Any, out: Any) -> int:
    """Write σ [S/m] of every cell; return how many fields [V/cm] are negative or no numbers.

    Without branches: they would be taken as tissues and fields come, which costs four times the arithmetic.

    Args:
        kind: Row of each cell, flat.
        resting: By row, as are the next three.
        permeabilised: See `resting`.
        first: Where the ramp begins.
        per_v_per_cm: One over the ramp's width; 0 where σ is constant.
        field: |E|, flat.
        out: Flat, written.
    """
    wrong = 0
    for c in range(kind.shape[0]):
        row = kind[c]
        size = np.float64(field[c])
        wrong += not 0.0 <= size < np.inf  # so that NaN fails as well
        part = min(max((size - first[row]) * per_v_per_cm[row], 0.0), 1.0)
        out[c] = (1.0 - part) * resting[row] + part * permeabilised[row]
    return wrong


@dataclass(frozen=True, eq=False)
class TissueMap:
    """Tissue by cell; arrays are read-only.

    Args:
        kind: Row of the table for each cell, shape (ni, nj, nk).
        table: Shape (rows, 4): resting and permeabilised σ [S/m], the field at which the ramp begins and ends [V/cm];
            both infinite where σ is constant.
        tensors: Shape (rows, 3, 3): σ's tensor over the geometric mean of its principal values, along the grid's own
            axes, determinant 1; None when no row is anisotropic.
        names: Of the rows: a tissue class, or a structure with a σ of its own.
        source: Name of the tissue set.

    Raises:
        InvalidInputError: Arrays that do not fit together, a σ that is not positive or falls, a ramp that runs
            backwards.
    """

    kind: NDArray[np.uint8]
    table: FloatArray
    tensors: FloatArray | None
    names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        self._check_shapes()
        for name in ("kind", "table", "tensors"):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, _own(array))
        resting, permeabilised, first, last = self.table.T
        # Comparisons are written so that NaN fails them.
        rises = (resting > 0.0) & (resting <= permeabilised) & (permeabilised < np.inf)
        constant = np.isposinf(first) & np.isposinf(last) & (resting == permeabilised)
        ramps = constant | ((first >= 0.0) & (first < last) & (last < np.inf))
        for n in np.flatnonzero(~(rises & ramps)):
            raise InvalidInputError(
                f"the conductivity of {self.names[n]} cannot be used",
                value=self.table[n].tolist(),
                limit="0 < resting ≤ permeabilised [S/m], ramp from a field to a higher one [V/cm]",
            )

    def _check_shapes(self) -> None:
        rows = len(self.names)
        found = (self.kind.ndim, self.kind.dtype.name, self.table.shape)
        tensors = (rows, 3, 3) if self.tensors is None else self.tensors.shape
        if found != (3, "uint8", (rows, 4)) or tensors != (rows, 3, 3):
            raise InvalidInputError(
                "cells, table and names of a tissue map do not fit together",
                value=(*found, tensors),
                limit=(3, "uint8", (rows, 4), (rows, 3, 3)),
            )
        if self.kind.size == 0 or int(self.kind.max()) >= rows:
            raise InvalidInputError("a tissue map has no cells, or cells of a row that its table lacks", limit=rows)

    def sigma(self, field_v_per_cm: NDArray[Any]) -> NDArray[np.float64]:
        """Return σ [S/m] by cell.

        Args:
            field_v_per_cm: |E| by cell, the largest so far: σ never falls again within a train.

        Raises:
            InvalidInputError: A field on another grid, negative, infinite or not a number.
        """
        if field_v_per_cm.shape != self.kind.shape:
            raise InvalidInputError(
                "the field is not on the grid of the tissue map", value=field_v_per_cm.shape, limit=self.kind.shape
            )
        resting, permeabilised, first, last = self.table.T.copy()
        rises = np.isfinite(last)
        first[~rises] = 0.0
        per_v_per_cm = np.divide(1.0, last - first, out=np.zeros_like(last), where=rises)
        out = np.empty(self.kind.shape)
        wrong = _sigma(
            self.kind.ravel(),
            resting,
            permeabilised,
            first,
            per_v_per_cm,
            np.ascontiguousarray(field_v_per_cm).ravel(),
            out.ravel(),
        )
        if wrong:
            raise InvalidInputError("the field has cells that are negative or no numbers", value=wrong, unit="cells")
        return out

    @classmethod
    def on(cls, case: Case, tissues: TissueSet, affine: FloatArray, shape: tuple[int, int, int]) -> TissueMap:
        """Return the tissues of a case on a grid.

        A labelled cell is what its label says. An unlabelled one is the set's `unlabelled` inside the skin and its
        `outside` elsewhere. Beyond the image its edge is repeated: a body does not end where its slices do.

        Args:
            case: A checked case.
            tissues: What conducts how.
            affine: Index of a cell's centre to frame `ct` [mm], 4 × 4; orthogonal axes.
            shape: Cell counts.

        Raises:
            InvalidInputError: A cell whose label no structure describes; more than 255 different conductivities.
        """
        rows, of_label = _rows(case, tissues)
        names = list(rows)
        kind_of = np.full(LARGEST_LABEL + 1, UNKNOWN, dtype=np.uint8)
        for label, name in of_label.items():
            kind_of[label] = names.index(name)
        kind_of[0] = names.index(tissues.unlabelled)
        labels = nearest(case.labels, affine, shape)
        kind = kind_of[labels]
        kind[(labels == 0) & (nearest(case.body, affine, shape) == 0)] = names.index(tissues.outside)
        counts = np.bincount(kind.ravel(), minlength=UNKNOWN + 1)
        if counts[UNKNOWN]:
            raise InvalidInputError(
                "a cell has a label that no structure of the case describes",
                value=np.unique(labels[kind == UNKNOWN]).tolist(),
                file=case.labels.file,
                remedy="describe it in the table of roles, and import again",
            )
        used = np.flatnonzero(counts)
        place = np.zeros(UNKNOWN, dtype=np.uint8)
        place[used] = np.arange(len(used))
        kept = tuple(names[n] for n in used)
        tensors = _tensors([rows[name] for name in kept], affine)
        return cls(place[kind], np.array([_row(rows[name]) for name in kept]), tensors, kept, tissues.name)

    @classmethod
    def uniform(cls, shape: tuple[int, int, int], sigma_s_per_m: float) -> TissueMap:
        """Return one constant σ in every cell. Raises InvalidInputError when it is not positive."""
        name = f"uniform {sigma_s_per_m:g} S/m"
        table = np.array([[sigma_s_per_m, sigma_s_per_m, np.inf, np.inf]])
        return cls(np.zeros(shape, dtype=np.uint8), table, None, (name,), name)


def _rows(case: Case, tissues: TissueSet) -> tuple[dict[str, TissueConductivity], dict[int, str]]:
    """Return σ by name of row, and the name of the row of each label."""
    rows = {tissue.value: tissues.tissues[tissue] for tissue in (tissues.unlabelled, tissues.outside)}
    of_label = {}
    for structure in case.description.structures:
        own = structure.name in tissues.structures
        name = f"structure {structure.name}" if own else structure.tissue.value
        of_label[structure.label] = name
        rows[name] = tissues.of(structure)
    if len(rows) > UNKNOWN:
        raise InvalidInputError(
            "the case has more structures with a σ of their own than a tissue map holds",
            value=len(rows),
            limit=UNKNOWN,
            remedy="give σ by tissue class",
        )
    return rows, of_label


def _row(c: TissueConductivity) -> tuple[float, float, float, float]:
    first = np.inf if c.ramp_from_v_per_cm is None else c.ramp_from_v_per_cm
    last = np.inf if c.ramp_to_v_per_cm is None else c.ramp_to_v_per_cm
    return c.resting_s_per_m, c.permeabilised_s_per_m, first, last


def _tensors(rows: list[TissueConductivity], affine: FloatArray) -> FloatArray | None:
    """Return the shape of σ of each row along the grid's axes, which may be left-handed; None: all are isotropic."""
    if all(c.anisotropy is None for c in rows):
        return None
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.array([np.eye(3) if c.anisotropy is None else axes.T @ c.anisotropy.shape_ct() @ axes for c in rows])


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy; infinity may stand in it, as the ramp of a constant σ."""
    result = np.array(array, order="C", copy=True)
    result.flags.writeable = False
    return result
