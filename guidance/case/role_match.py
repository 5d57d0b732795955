"""Which label each row of the table of roles means: by its id, or by the name that the file gives its segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guidance.case.case import Structure
from guidance.case.completion import DERIVED
from guidance.case.role_table import RoleRow
from kinematics.errors import InvalidInputError
from registration.labels.label_set import LabelSet


@dataclass(frozen=True)
class MatchedRoles:
    """The structures that came with the labels, and the rows for what the import adds by itself.

    Args:
        structures: One for each label that has a voxel, by number.
        added: Row by name, for structures that are not in the labels.
        notes: Segments that the table calls otherwise than the file.
    """

    structures: tuple[Structure, ...]
    added: Mapping[str, RoleRow]
    notes: tuple[str, ...]


def match_roles(rows: tuple[RoleRow, ...], labels: LabelSet, target: str, path: Path) -> MatchedRoles:
    """Match rows with labels.

    A row with an id means the label of that number; one without means the segment of its name (spaces and case do not
    count), or a structure that the import adds (`unidentified`, `unknown`, ...).

    Args:
        rows: The table.
        labels: As read.
        target: Name of the tumour's structure.
        path: The table's file, for error messages.

    Raises:
        InvalidInputError: The target is not in the table; a row means no label, an ambiguous one, one without a voxel
            or one that another row means; its id and its name mean different segments; a label without a row.
    """
    names = [row.name for row in rows]
    if target not in names:
        raise InvalidInputError(
            f"the table of roles has no structure called {target!r}, which is to be the tumour",
            file=str(path),
            remedy="name the target as it stands in the table: one of " + ", ".join(sorted(names)),
        )
    present = labels.present()
    structures: dict[int, Structure] = {}
    added: dict[str, RoleRow] = {}
    notes: list[str] = []
    for row in rows:
        number = _number(row, labels, path)
        if number is None:
            added[row.name] = row
            continue
        if number in structures:
            raise _wrong(f"two rows mean {labels.called(number)}", row, path, number, "keep one of them")
        if number not in present:
            raise _without_voxel(row, number, labels, target, path)
        own = labels.names.get(number)
        if own is not None and _plain(own) != _plain(row.name):
            notes.append(f"{own} is called {row.name}")
        structures[number] = row.structure(number)
    unnamed = sorted(present - set(structures))
    if unnamed:
        raise InvalidInputError(
            f"{labels.file or 'the label image'} holds labels that the table of roles does not name",
            value=", ".join(f"{n} ({labels.names[n]})" if n in labels.names else str(n) for n in unnamed),
            file=str(path),
            remedy="add a row for each: what is not named cannot be avoided",
        )
    return MatchedRoles(tuple(structures[n] for n in sorted(structures)), added, tuple(notes))


def _number(row: RoleRow, labels: LabelSet, path: Path) -> int | None:
    called = [n for n, own in labels.names.items() if _plain(own) == _plain(row.name)]
    if row.label is not None:
        if labels.renumbered:
            raise _wrong(
                "the label values of this file occur in several layers, so an id means nothing",
                row,
                path,
                row.label,
                "leave the id out, and name the segments",
            )
        if called and row.label not in called:
            raise _wrong(
                f"the row's id and its name mean different segments: {row.label} is {labels.called(row.label)}, "
                f"and {row.name} is {called[0]}",
                row,
                path,
                row.label,
                "correct one of them",
            )
        return row.label
    if len(called) == 1:
        return called[0]
    if called:
        raise _wrong(f"several segments are called {row.name}", row, path, called, "give the id of one")
    if row.name in DERIVED:
        return None
    raise _wrong(
        f"the labels name no segment {row.name}"
        if labels.names
        else f"a {labels.kind} names no structure: the row needs an id",
        row,
        path,
        row.name,
        "use one of " + ", ".join(sorted(labels.names.values())) if labels.names else "give the label's number",
    )


def _without_voxel(row: RoleRow, number: int, labels: LabelSet, target: str, path: Path) -> InvalidInputError:
    if row.name == target:
        return _wrong(
            f"the tumour ({target}) is empty: no voxel has its label",
            row,
            path,
            number,
            f"correct its id, or draw it in {labels.file}",
        )
    return _wrong(
        f"no voxel has the label of {row.name}",
        row,
        path,
        number,
        f"remove the row, or name a label image that holds it; {labels.file} holds "
        + ", ".join(str(n) for n in sorted(labels.present())),
    )


def _wrong(what: str, row: RoleRow, path: Path, value: object, remedy: str) -> InvalidInputError:
    return InvalidInputError(what, value=value, file=f"{path}, row {row.line}", remedy=remedy)


def _plain(name: str) -> str:
    return "_".join(name.casefold().replace("_", " ").split())
