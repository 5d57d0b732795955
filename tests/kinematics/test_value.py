"""Values: frozen, hashed by what stands in their file, refused by the field that is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinematics.errors import InvalidInputError
from kinematics.value import Value


class _Inner(Value):
    depth_mm: float


class _Outer(Value):
    name: str
    parts: tuple[_Inner, ...] = ()


@given(st.text(), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4))
def test_the_same_content_has_the_same_hash(name: str, depths: list[float]) -> None:
    """A value read from its JSON is equal and hashes the same; another depth hashes otherwise."""
    value = _Outer(name=name, parts=tuple(_Inner(depth_mm=d) for d in depths))
    again = _Outer.model_validate_json(value.canonical_json())
    assert again == value and again.sha256() == value.sha256()
    other = _Outer(name=name, parts=(*value.parts, _Inner(depth_mm=1.0)))
    assert other.sha256() != value.sha256()


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    """`sha256sum` of the saved file gives the value's hash; the order of the arguments does not matter."""
    value = _Outer(parts=(_Inner(depth_mm=72.5),), name="Ä")
    value.save(tmp_path / "v.json")
    assert hashlib.sha256((tmp_path / "v.json").read_bytes()).hexdigest() == value.sha256()
    assert _Outer(name="Ä", parts=(_Inner(depth_mm=72.5),)).sha256() == value.sha256()
    assert _Outer.load(tmp_path / "v.json") == value


def test_values_are_frozen() -> None:
    """A field cannot be set, and a field that does not exist is refused."""
    with pytest.raises(ValueError, match="frozen"):
        _Inner(depth_mm=1.0).depth_mm = 2.0  # type: ignore[misc]
    with pytest.raises(InvalidInputError, match="the _inner is not valid at depth_cm"):
        _Inner(depth_mm=1.0, depth_cm=0.1)


def test_refusals_name_the_field() -> None:
    """The place of the fault is in the text; NaN is not written."""
    with pytest.raises(InvalidInputError, match=r"parts\.1.*depth_mm"):
        _Outer(name="a", parts=({"depth_mm": 1.0}, {"depth_mm": "deep"}))
    with pytest.raises(ValueError, match="JSON"):
        _Inner(depth_mm=float("nan")).canonical_json()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "is not there"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"{not json", "not valid"),
        (b'{"name": "a", "parts": [{"depth_mm": "deep"}]}', r"parts\.0.*depth_mm"),
        (b'{"name": "a", "more": 1}', "more"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path: Path, content: bytes | None, why: str) -> None:
    """A missing, unreadable, broken or foreign file is refused with its name."""
    path = tmp_path / "v.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=why) as refusal:
        _Outer.load(path)
    assert refusal.value.file == str(path)
