"""The table of roles: defaults where a cell is empty, and every fault with row, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from guidance.case.case import Tissue
from guidance.case.policy import Policy, PolicyKind
from guidance.case.role_table import read_roles
from guidance.case.roles import CLEARANCE_MM, PRICES
from kinematics.errors import InvalidInputError

HEADER = "id,name,policy,clearance_mm,price,tissue\n"


def _table(folder: Path, text: str) -> Path:
    path = folder / "roles.csv"
    path.write_text(text)
    return path


def test_cells_and_defaults(tmp_path: Path) -> None:
    """What is written is taken; what is empty follows from the name; blank lines and a byte-order mark are no rows."""
    path = _table(
        tmp_path,
        "\ufeff"
        + HEADER
        + "4,aorta,,,,\n\n9,liver,costly,,2.5,\n2,spleen,costly,,,\n7,colon,forbidden,4.5,,bowel\n12,lesion,,,,\n"
        + "3,stomach,free,,,\n5,unheard_of,,,,muscle\n",
    )
    rows = {row.name: row for row in read_roles(path, "lesion")}
    assert [row.line for row in rows.values()] == [2, 4, 5, 6, 7, 8, 9]
    found = {name: (row.label, row.policy, row.tissue) for name, row in rows.items()}
    forbidden, costly, free = PolicyKind.FORBIDDEN, PolicyKind.COSTLY, PolicyKind.FREE
    assert found == {
        "aorta": (4, Policy(kind=forbidden, clearance_mm=CLEARANCE_MM), Tissue.VESSEL),
        "liver": (9, Policy(kind=costly, price=2.5), Tissue.LIVER),
        "spleen": (2, Policy(kind=costly, price=1.0), Tissue.BACKGROUND),
        "colon": (7, Policy(kind=forbidden, clearance_mm=4.5), Tissue.BOWEL),
        "lesion": (12, Policy(kind=free), Tissue.TUMOUR),
        "stomach": (3, Policy(kind=free), Tissue.BOWEL),
        "unheard_of": (5, Policy(kind=forbidden, clearance_mm=CLEARANCE_MM), Tissue.MUSCLE),
    }
    assert PRICES["liver"] != 2.5


def test_clearance_of_exposures(tmp_path: Path) -> None:
    """None unless it is asked for; any number for any structure; none for the tumour."""
    text = (
        "id,name,policy,exposure_clearance_mm,tissue\n1,tumour,,,bowel\n2,colon,,,\n3,colon_wall,costly,,\n"
        "4,loop,costly,,bowel\n5,liver,,3.5,\n6,stomach,,0,\n7,aorta,,4,\n8,unidentified,free,2,\n"
    )
    rows = {row.name: row.policy.exposure_clearance_mm for row in read_roles(_table(tmp_path, text), "tumour")}
    assert rows == {
        "tumour": 0.0,
        "colon": 0.0,
        "colon_wall": 0.0,
        "loop": 0.0,
        "liver": 3.5,
        "stomach": 0.0,
        "aorta": 4.0,
        "unidentified": 2.0,
    }
    wrong = "id,name,exposure_clearance_mm\n1,tumour,2\n"
    with pytest.raises(InvalidInputError, match="exposures stand in the tumour"):
        read_roles(_table(tmp_path, wrong), "tumour")
    with pytest.raises(InvalidInputError, match="exposure_clearance_mm is a number"):
        read_roles(_table(tmp_path, wrong.replace(",2", ",-2")), "lesion")


def test_a_row_may_be_ignored(tmp_path: Path) -> None:
    """An outline of the body is left out; the tumour never is."""
    rows = read_roles(_table(tmp_path, "id,name,policy\n1,body,ignored\n2,liver,\n"), "tumour")
    assert [row.ignored for row in rows] == [True, False]
    with pytest.raises(InvalidInputError, match="tumour cannot be ignored"):
        read_roles(_table(tmp_path, "id,name,policy\n1,tumour,ignored\n"), "tumour")


def test_columns_may_be_left_out(tmp_path: Path) -> None:
    """Id and name alone are enough, in any order."""
    rows = read_roles(_table(tmp_path, "name,id\nliver,3\n"), "tumour")
    assert rows[0].policy == Policy(kind=PolicyKind.COSTLY, price=PRICES["liver"])


@pytest.mark.parametrize(
    ("row", "said", "value"),
    [
        ("x,liver,,,,", "whole number", "x"),
        ("0,liver,,,,", "whole number", "0"),
        ("65536,liver,,,,", "whole number", "65536"),
        ("1.5,liver,,,,", "whole number", "1.5"),
        ("3,,,,,", "no name", None),
        ("3,liver,allowed,,,", "no such policy", "allowed"),
        ("3,liver,,,,meat", "no such tissue", "meat"),
        ("3,colon,,-1,,", "clearance_mm is a number", "-1"),
        ("3,colon,,nan,,", "clearance_mm is a number", "nan"),
        ("3,liver,,,much,", "price is a number", "much"),
        ("3,liver,,2.0,,", "clearance_mm belongs to forbidden", 2.0),
        ("3,colon,,,0.5,", "price belongs to costly", 0.5),
        ("8,liver,,,,", "the id stands in row 2", 8),
        ("3,aorta,,,,", "the name stands in row 2", "aorta"),
        ("3,liver,,,,,,", "more cells", 8),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str, said: str, value: object) -> None:
    """The message holds the file, the row, the value and what to do."""
    path = _table(tmp_path, HEADER + "8,aorta,,,,\n" + row + "\n")
    with pytest.raises(InvalidInputError, match=said) as caught:
        read_roles(path, "tumour")
    assert caught.value.file == f"{path}, row 3"
    assert caught.value.value == value and caught.value.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "header"),
        ("id;name;policy\n1;liver;\n", "header"),
        ("id,policy\n1,free\n", "header"),
        ("id,name,name\n1,liver,liver\n", "header"),
        (HEADER, "no row"),
        (HEADER + '1,"liver', "cannot be read"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """Empty, with another separator, without a column, cut short."""
    with pytest.raises(InvalidInputError, match=said):
        read_roles(_table(tmp_path, text), "tumour")


def test_a_missing_or_binary_table_is_refused(tmp_path: Path) -> None:
    """No file, and a file that is no text."""
    with pytest.raises(InvalidInputError, match="not there"):
        read_roles(tmp_path / "none.csv", "tumour")
    (tmp_path / "roles.csv").write_bytes(b"id,name\n1,\xff\xfe\n")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_roles(tmp_path / "roles.csv", "tumour")
