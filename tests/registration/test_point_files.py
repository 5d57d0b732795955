"""Points come in as they were meant, whatever the file; what is in doubt is refused, with the line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinematics.errors import InvalidInputError
from registration.markups_json import write_markups
from registration.named_points import Axes, NamedPoints
from registration.point_files import read_ct_points, read_tracker_points

LPS = np.array([[-93.66, -4.14, -408.63], [122.5, -25.9, -386.6], [11.25, 80.5, -350.0]])
RAS = LPS * [-1, -1, 1]
NAMES = ("F1", "left, low", "F3")


def csv_text(points, system: str | None = "LPS") -> str:
    """A CSV; None leaves the coordinate system out."""
    head = "name,x_mm,y_mm,z_mm" + ("" if system is None else ",coordinate_system")
    tail = "" if system is None else f",{system}"
    return "\n".join([head, *(f'"{n}",{x},{y},{z}{tail}' for n, (x, y, z) in zip(NAMES, points, strict=True))])


def fcsv_text(points, system: str | None) -> str:
    """A file as Slicer writes it."""
    rows = [f'{n},{x},{y},{z},0,0,0,1,1,1,0,"{name}",,' for n, (name, (x, y, z)) in enumerate(zip(NAMES, points))]  # noqa: B905
    said = [] if system is None else [f"# CoordinateSystem = {system}"]
    columns = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
    return "\n".join(["# Markups fiducial file version = 4.11", *said, columns, *rows])


def mrk(points, system: str | None, **markup) -> dict:
    """A point list as Slicer writes it."""
    controls = [
        {"label": n, "position": [float(v) for v in p], "positionStatus": "defined"}
        for n, p in zip(NAMES, points, strict=True)
    ]
    said = {} if system is None else {"coordinateSystem": system}
    return {"markups": [{"type": "Fiducial", **said, "coordinateUnits": "mm", "controlPoints": controls, **markup}]}


def put(folder: Path, name: str, content) -> Path:
    """Write a file."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", csv_text(LPS)),
        ("a.csv", csv_text(RAS, "ras")),
        ("a.CSV", "\ufeff" + csv_text(LPS)),
        ("a.fcsv", fcsv_text(LPS, "LPS")),
        ("a.fcsv", fcsv_text(RAS, "RAS")),
        ("a.fcsv", fcsv_text(LPS, "1")),
        ("a.fcsv", fcsv_text(RAS, "0")),
        ("a.mrk.json", mrk(LPS, "LPS")),
        ("a.mrk.json", mrk(RAS, "RAS")),
        ("a.mrk.json", mrk(LPS, "LPS", coordinateUnits=["mm", "UCUM", "millimeter"])),
    ],
)
def test_every_form_gives_the_same_points(tmp_path, name, content):
    """RAS and LPS, by name or by Slicer's old numbers, with names that hold commas."""
    points = read_ct_points(put(tmp_path, name, content))
    assert points.names == NAMES
    assert points.frame == "ct"
    np.testing.assert_allclose(points.points_mm, LPS, atol=1e-12)
    assert not points.points_mm.flags.writeable


def test_a_csv_may_be_told_its_axes(tmp_path):
    """Without the column, the caller's word counts; with it, both must agree."""
    silent = put(tmp_path, "a.csv", csv_text(RAS, None))
    np.testing.assert_allclose(read_ct_points(silent, Axes.RAS).points_mm, LPS)
    with pytest.raises(InvalidInputError, match="does not say its coordinate system"):
        read_ct_points(silent)
    said = put(tmp_path, "b.csv", csv_text(RAS, "RAS"))
    with pytest.raises(InvalidInputError, match="not the one that was named"):
        read_ct_points(said, Axes.LPS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.floats(-2000, 2000, width=32)] * 3), min_size=2, max_size=9))
def test_written_markups_come_back(tmp_path, values):
    """To the last bit, in LPS, and with decimal points, which Slicer insists on."""
    points = np.array(values) + np.arange(len(values))[:, None] * [4000.0, 0.0, 0.0]
    names = tuple(f"F{n}" for n in range(len(points)))
    path = tmp_path / "f.mrk.json"
    write_markups(path, NamedPoints(names, points, "ct"), ("",) * len(points))
    again = read_ct_points(path)
    assert again.names == names
    assert np.array_equal(again.points_mm, points)
    (markup,) = json.loads(path.read_text())["markups"]
    assert markup["coordinateSystem"] == "LPS"
    assert all(isinstance(v, float) for c in markup["controlPoints"] for v in c["position"])


def test_points_of_the_tracker_are_not_shown_in_the_ct(tmp_path):
    """Slicer would draw them in the patient."""
    with pytest.raises(InvalidInputError, match="only points of the CT"):
        write_markups(tmp_path / "f.mrk.json", NamedPoints(NAMES, LPS, "tracker"), ("",) * 3)


def without(data: dict, key: str) -> dict:
    """The point list with its second control point lacking a key."""
    del data["markups"][0]["controlPoints"][1][key]
    return data


def with_status(status: str) -> dict:
    """The point list with a second control point of this status."""
    data = mrk(LPS, "LPS")
    data["markups"][0]["controlPoints"][1]["positionStatus"] = status
    return data


def with_position(value) -> dict:
    """The point list with this as the second position."""
    data = mrk(LPS, "LPS")
    data["markups"][0]["controlPoints"][1]["position"] = value
    return data


CSV = csv_text(LPS)
REFUSED = {
    "nothing in it": ("a.csv", "", "header lacks name"),
    "no points": ("a.csv", CSV.splitlines()[0], "holds no points"),
    "another kind": ("a.txt", CSV, r"kind of file .*\.mrk\.json"),
    "not text": ("a.csv", b"\xff\xfe\x00", "not text"),
    "a unit missing": ("a.csv", CSV.replace("x_mm", "x"), "header lacks x_mm; holds x, which is not known.*line 1"),
    "centimetres": ("a.csv", CSV.replace("_mm", "_cm"), "lacks x_mm, y_mm, z_mm"),
    "a column twice": ("a.csv", CSV.replace("y_mm", "x_mm"), "holds x_mm twice"),
    "decimal commas": ("a.csv", CSV.replace("80.5", "80,5"), "fields as the header.*line 4.*decimals with a point"),
    "a word for a number": ("a.csv", CSV.replace("80.5", "eighty"), "y_mm is no number.*line 4.*eighty"),
    "NaN": ("a.csv", CSV.replace("80.5", "nan"), "coordinate of 'F3' is no number.*line 4"),
    "infinity": ("a.csv", CSV.replace("80.5", "inf"), "coordinate of 'F3' is no number.*line 4"),
    "no name": ("a.csv", CSV.replace('"F3"', '""'), "no name.*line 4"),
    "one name twice": ("a.csv", CSV.replace("F3", "F1"), "two points are called 'F1'.*line 2 and line 4"),
    "one place twice": (
        "a.csv",
        CSV.replace("11.25,80.5,-350.0", "-93.66,-4.14,-408.63"),
        "'F1' and 'F3' stand at the same place.*line 2 and line 4",
    ),
    "metres": ("a.csv", csv_text(LPS / 1000), "not in mm"),
    "an unknown system": ("a.csv", CSV.replace("LPS", "LAS"), "not known.*line 2.*LAS"),
    "two systems": ("a.csv", CSV.replace("-350.0,LPS", "-350.0,RAS"), "different.*LPS at line 2; RAS at line 4"),
    "a tracker's": ("a.csv", CSV.replace("LPS", "tracker"), "points of the tracker"),
    "fcsv without a system": ("a.fcsv", fcsv_text(LPS, None), "does not say its coordinate system.*line 3"),
    "fcsv in voxels": ("a.fcsv", fcsv_text(LPS, "2"), "not known.*line 2"),
    "fcsv without columns": (
        "a.fcsv",
        "\n".join(line for line in fcsv_text(LPS, "LPS").splitlines() if "columns" not in line),
        "does not say its columns.*line 3",
    ),
    "fcsv without labels": ("a.fcsv", fcsv_text(LPS, "LPS").replace("label", "name"), "lacks label.*line 3"),
    "fcsv cut short": ("a.fcsv", fcsv_text(LPS, "LPS")[:-20], "fields as the header.*line 6"),
    "half of a json": ("a.mrk.json", json.dumps(mrk(LPS, "LPS"), indent=1)[:200], "not JSON.*line"),
    "no markups": ("a.mrk.json", {"points": []}, "no markups"),
    "a list of nothing": ("a.mrk.json", {"markups": []}, "holds one list"),
    "two lists": (
        "a.mrk.json",
        {"markups": [mrk(LPS, "LPS", name=n)["markups"][0] for n in ("skin", "tumour")]},
        "skin, tumour",
    ),
    "a curve": ("a.mrk.json", mrk(LPS, "LPS", type="Curve"), "not a point list.*Curve"),
    "json without a system": ("a.mrk.json", mrk(LPS, None), "does not say its coordinate system"),
    "json of another system": ("a.mrk.json", mrk(LPS, "IJK"), "not known.*IJK"),
    "micrometres": ("a.mrk.json", mrk(LPS, "LPS", coordinateUnits="um"), "not in mm.*um"),
    "micrometres as a code": ("a.mrk.json", mrk(LPS, "LPS", coordinateUnits=["um", "UCUM", "x"]), "not in mm.*um"),
    "an undefined point": ("a.mrk.json", with_status("undefined"), r"not defined.*point 2 \(left, low\)"),
    "a preview": ("a.mrk.json", with_status("preview"), "not defined.*preview"),
    "no position": ("a.mrk.json", without(mrk(LPS, "LPS"), "position"), "three coordinates.*control point 2"),
    "two coordinates": ("a.mrk.json", with_position([1.0, 2.0]), "three coordinates.*control point 2"),
    "a null": ("a.mrk.json", with_position([1.0, None, 2.0]), "three coordinates.*control point 2"),
    "NaN in json": ("a.mrk.json", with_position([1.0, float("nan"), 2.0]), "no number.*control point 2"),
    "points that are none": ("a.mrk.json", mrk(LPS, "LPS", controlPoints={}), "not a list"),
    "a point that is none": ("a.mrk.json", mrk(LPS, "LPS", controlPoints=[3]), "not defined.*control point 1"),
    "a number without end": ("a.mrk.json", with_position([1.0, 10**400, 2.0]), "no number.*control point 2"),
    "lists in lists": ("a.mrk.json", "[" * 100_000, "not JSON"),
    "a field without end": ("a.csv", CSV + '\n"' + "x" * 200_000 + '",1,2,3,LPS', "cannot be read.*field larger"),
    "a whole cloud": (
        "a.csv",
        "\n".join([CSV, *(f"p{n},{n},0,0,LPS" for n in range(1000))]),
        "too many points.*1003.*1000",
    ),
    "no label": ("a.mrk.json", without(mrk(LPS, "LPS"), "label"), "no name.*control point 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_in_doubt_is_refused(tmp_path, case):
    """By name, with the file, and with the line or the point."""
    name, content, said = REFUSED[case]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        put(tmp_path, name, content)
    with pytest.raises(InvalidInputError, match=f"(?s){said}") as raised:
        read_ct_points(path)
    assert str(path) in str(raised.value)
    assert raised.value.remedy


def test_a_file_that_is_not_there(tmp_path):
    """It is said, not raised as the system says it."""
    with pytest.raises(InvalidInputError, match="not there"):
        read_ct_points(tmp_path / "a.csv")


def test_points_of_the_tracker_keep_its_axes(tmp_path):
    """Its own by default; from a file in a patient's axes only when it is said which of them the tracker's are."""
    for content in (csv_text(LPS, None), csv_text(LPS, "tracker")):
        points = read_tracker_points(put(tmp_path, "t.csv", content))
        np.testing.assert_allclose(points.points_mm, LPS)
        assert points.frame == "tracker"
    file = put(tmp_path, "t.mrk.json", mrk(LPS, "LPS"))
    np.testing.assert_allclose(read_tracker_points(file, Axes.LPS).points_mm, LPS)
    np.testing.assert_allclose(read_tracker_points(file, Axes.RAS).points_mm, RAS)
    with pytest.raises(InvalidInputError, match="which of them the tracker's are"):
        read_tracker_points(file)
