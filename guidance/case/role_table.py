"""The table of roles: which label is which structure, what a needle may do to it, how it conducts.

A CSV file with the columns `id,name,policy,clearance_mm,exposure_clearance_mm,price,tissue`; `name` is required, and
`id` where the labels have no names of their own (a label image). An empty cell or a missing column takes the default of
`guidance.case.roles`. The policy `ignored` leaves a label out: an outline of the body, a couch, a helper. Which label a
row means is decided in `guidance.case.role_match`.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from guidance.case.case import Structure, Tissue
from guidance.case.policy import Policy, PolicyKind
from guidance.case.roles import CLEARANCE_MM, PRICES, policy_of, tissue_of
from kinematics.errors import InvalidInputError
from registration.labels.label_set import LARGEST_LABEL

COLUMNS = ("id", "name", "policy", "clearance_mm", "exposure_clearance_mm", "price", "tissue")
REQUIRED = ("name",)
IGNORED = "ignored"
DEFAULT_PRICE = 1.0


@dataclass(frozen=True)
class RoleRow:
    """One row: `line` is that of the file (the header is line 1), `label` the id where one is given.

    An `ignored` row has the default policy, which nothing uses.
    """

    line: int
    label: int | None
    name: str
    policy: Policy
    tissue: Tissue
    ignored: bool

    def structure(self, label: int, derived: str | None = None) -> Structure:
        """Return the structure of this row, with its number in the label image."""
        return Structure(name=self.name, label=label, policy=self.policy, tissue=self.tissue, derived=derived)


def read_roles(path: Path, target: str) -> tuple[RoleRow, ...]:
    """Read the table.

    Args:
        path: CSV file.
        target: Name of the tumour's structure: free and tumour tissue by default, whatever it is called.

    Raises:
        InvalidInputError: Missing or unreadable file, wrong columns, a name that is missing, an id or name that is
            doubled, an id out of range, an unknown policy or tissue, a number that is none or negative; names file,
            row and value.
    """
    rows: list[RoleRow] = []
    for line, cells in _cells(path):
        row = _row(cells, path, line, target)
        for other in rows:
            for what, ours, theirs in (("id", row.label, other.label), ("name", row.name, other.name)):
                if ours == theirs and ours is not None:
                    raise _wrong(f"the {what} stands in row {other.line} already", path, line, ours, "keep one of them")
        rows.append(row)
    if not rows:
        raise InvalidInputError(
            "the table of roles has no row", file=str(path), remedy="add a row for each label of the image"
        )
    return tuple(rows)


def _cells(path: Path) -> list[tuple[int, dict[str, str]]]:
    if not path.is_file():
        raise InvalidInputError("the table of roles is not there", file=str(path), remedy="check the path")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(header, path)
            result = []
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                if len(values) > len(header):
                    raise _wrong(
                        "the row has more cells than the header",
                        path,
                        reader.line_num,
                        len(values),
                        f"give at most {len(header)}, separated by commas",
                    )
                padded = [value.strip() for value in values] + [""] * (len(header) - len(values))
                result.append((reader.line_num, dict(zip(header, padded, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(
            f"the table of roles cannot be read: {error}", file=str(path), remedy="save it as CSV in UTF-8"
        ) from error
    return result


def _check_header(header: list[str], path: Path) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    missing = [name for name in REQUIRED if name not in header]
    if unknown or missing or len(set(header)) != len(header):
        raise InvalidInputError(
            "the header of the table of roles is wrong",
            value=",".join(header),
            limit=",".join(COLUMNS),
            file=f"{path}, row 1",
            remedy="name the columns so, separated by commas; all but the name may be left out",
        )


def _row(cells: dict[str, str], path: Path, line: int, target: str) -> RoleRow:
    label = _label(cells.get("id", ""), path, line)
    name = cells["name"]
    if not name:
        raise _wrong("the structure has no name", path, line, None, "give it one")
    ignored = cells.get("policy", "") == IGNORED
    if ignored and name == target:
        raise _wrong("the tumour cannot be ignored", path, line, name, "give it no policy")
    tissue = Tissue.TUMOUR if name == target else tissue_of(name)
    word = cells.get("tissue", "")
    if word:
        if word not in set(Tissue):
            raise _wrong("there is no such tissue", path, line, word, "use one of " + ", ".join(Tissue))
        tissue = Tissue(word)
    policy = _policy({**cells, "policy": ""} if ignored else cells, name, path, line, target)
    return RoleRow(line, label, name, policy, tissue, ignored)


def _label(text: str, path: Path, line: int) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_LABEL:
        raise _wrong("an id is a whole number from 1 to 65535", path, line, text, "give the label's number")
    return int(text)


def _policy(cells: dict[str, str], name: str, path: Path, line: int, target: str) -> Policy:
    usual = Policy(kind=PolicyKind.FREE) if name == target else policy_of(name)
    word = cells.get("policy", "")
    if word and word not in set(PolicyKind):
        raise _wrong("there is no such policy", path, line, word, "use one of " + ", ".join((*PolicyKind, IGNORED)))
    kind = PolicyKind(word) if word else usual.kind
    clearance = _number(cells, "clearance_mm", path, line)
    price = _number(cells, "price", path, line)
    exposure = _number(cells, "exposure_clearance_mm", path, line) or 0.0
    if exposure and name == target:
        raise _wrong("exposures stand in the tumour", path, line, exposure, "empty the cell")
    for column, value, owner in (
        ("clearance_mm", clearance, PolicyKind.FORBIDDEN),
        ("price", price, PolicyKind.COSTLY),
    ):
        if value and kind is not owner:
            raise _wrong(
                f"{column} belongs to {owner} structures, and {name} is {kind}", path, line, value, "empty the cell"
            )
    if kind is PolicyKind.FORBIDDEN:
        asked = CLEARANCE_MM if clearance is None else clearance
        return Policy(kind=kind, clearance_mm=asked, exposure_clearance_mm=exposure)
    if kind is PolicyKind.COSTLY:
        paid = PRICES.get(name, DEFAULT_PRICE) if price is None else price
        return Policy(kind=kind, price=paid, exposure_clearance_mm=exposure)
    return Policy(kind=kind, exposure_clearance_mm=exposure)


def _number(cells: dict[str, str], column: str, path: Path, line: int) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0.0:
        raise _wrong(f"{column} is a number that is not negative", path, line, text, "correct or empty the cell")
    return value


def _wrong(what: str, path: Path, line: int, value: object, remedy: str) -> InvalidInputError:
    return InvalidInputError(what, value=value, file=f"{path}, row {line}", remedy=remedy)
