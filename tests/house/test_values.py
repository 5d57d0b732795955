"""Every array in a public value is read-only and its own, wherever the value is defined."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from kinematics.frames import Transform
from kinematics.value import Value
from registration.images.volume import Volume
from sim.truth import NeedleTruth

ROOMS = ("kinematics", "registration", "guidance", "sim", "console")
SHAPES = ((3,), (5, 3), (3, 3), (4, 4), (6, 6), (5, 7))


def all_values() -> list[type[Value]]:
    """Return every Value of every module of every room."""
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            importlib.import_module(module.name)
    found: list[type[Value]] = []
    waiting = [Value]
    while waiting:
        children = waiting.pop().__subclasses__()
        found += [c for c in children if c.__module__.split(".")[0] in ROOMS]
        waiting += children
    return sorted(set(found), key=lambda c: (c.__module__, c.__qualname__))


def array_types(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Return the array types inside an annotation, each with what pydantic is told of it."""
    if annotation is np.ndarray or get_origin(annotation) is np.ndarray:
        yield Annotated[(np.ndarray, *metadata)] if metadata else np.ndarray
    elif get_origin(annotation) is Annotated:
        inner, *rest = get_args(annotation)
        yield from array_types(inner, tuple(rest))
    else:
        for argument in get_args(annotation):
            yield from array_types(argument)


def field_arrays(field: FieldInfo) -> list[Any]:
    """Return the array types of one field."""
    return list(array_types(field.annotation, tuple(field.metadata)))


ARRAYS = [
    pytest.param(kind, id=f"{value.__name__}.{name}")
    for value in all_values()
    for name, field in value.model_fields.items()
    for kind in field_arrays(field)
]


def test_the_arrays_of_the_values_are_found() -> None:
    """Plain, optional, listed and keyed ones: the search looks where arrays are known to be."""
    names = {p.id for p in ARRAYS}
    assert {
        "PlannedElectrode.entry_ct_mm",
        "PlannedInsertion.q_rad",
        "FoundNeedle.tip_covariance_mm2",
        "Registration.covariance",
        "Registration.covariance_sources",
        "Registration.decoys_tracker_mm",
        "NeedleTruth.centreline_ct_mm",
    } <= names
    assert len(list(array_types(tuple[np.ndarray | None, dict[str, np.ndarray]]))) == 2


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_of_a_value_is_read_only_and_its_own(kind: Any) -> None:
    """Whatever is handed in, the value keeps a copy that refuses writes."""
    adapter = TypeAdapter(kind, config={"arbitrary_types_allowed": True})
    kept = []
    for shape in SHAPES:
        given = np.ones(shape)
        try:
            found = adapter.validate_python(given)
        except ValidationError:
            continue
        assert not np.shares_memory(found, given)
        with pytest.raises(ValueError, match="read-only"):
            found[(0,) * found.ndim] = 2.0
        kept.append(shape)
    assert kept and len(kept) < len(SHAPES), "takes no shape at all, or any"


def test_transform_matrix_is_read_only() -> None:
    """A transform cannot be changed behind the back of who holds it."""
    matrix = np.eye(4)
    transform = Transform(to="a", from_="b", matrix=matrix)
    matrix[0, 3] = 5.0
    assert transform.translation_mm[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        transform.matrix[0, 3] = 1.0


def test_volume_is_read_only() -> None:
    """Voxels and affine refuse writes, through the image and behind it."""
    voxels = np.zeros((2, 3, 4), dtype=np.int16)
    volume = Volume(voxels, np.eye(4))
    for array in (volume.voxels, voxels):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2.0


def test_needle_truth_round_trip_is_read_only() -> None:
    """Reading a value back gives read-only arrays as well."""
    needle = NeedleTruth(id="E1", centreline_ct_mm=[[0, 0, 0], [0, 0, 1.5]], exposure_mm=15)
    again = NeedleTruth.model_validate_json(needle.canonical_json())
    assert again.sha256() == needle.sha256()
    with pytest.raises(ValueError, match="read-only"):
        again.centreline_ct_mm[0, 0] = 1.0
