"""Pictures of what was added: drawn when something was, showing it where it is, the same bytes every time."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.image import imread

from guidance.case.case import Case
from guidance.case.pictures import VESSELS, vessel_pictures
from sim.phantom import make_phantom

MADE = ("superior_mesenteric_artery", "superior_mesenteric_vein", "abdominal_wall", "tumour")


def _made(case: Case, names: tuple[str, ...]) -> Case:
    structures = tuple(
        s.model_copy(update={"derived": "a method"}) if s.name in names else s for s in case.description.structures
    )
    return dataclasses.replace(case, description=case.description.model_copy(update={"structures": structures}))


@pytest.fixture(scope="module")
def phantom() -> Case:
    """A phantom whose vessels, wall and tumour are said to have been added."""
    return _made(make_phantom(4), MADE)


@pytest.fixture(scope="module")
def pictures(phantom: Case) -> tuple[tuple[str, bytes], ...]:
    """What is drawn of it."""
    return vessel_pictures(phantom)


def _share(png: bytes, colour: str) -> float:
    """Share of the panels' pixels near a colour; the key below them is left out."""
    pixels = imread(io.BytesIO(png))[:-75, :, :3]
    wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255.0
    return float((np.abs(pixels - wanted).max(axis=-1) < 0.12).mean())


def test_one_picture_for_each_thing_that_was_added(pictures: tuple[tuple[str, bytes], ...]) -> None:
    """Slices, projections, unidentified tissue and tumour: four pictures with titles of their own."""
    assert len(pictures) == 4 and len({title for title, _ in pictures}) == 4
    assert all(png.startswith(b"\x89PNG") for _, png in pictures)
    assert "no tumour in this patient" in pictures[3][0]


def test_nothing_added_nothing_drawn(phantom: Case) -> None:
    """A case whose labels are as given has no such picture; one with a tumour added has one."""
    plain = dataclasses.replace(phantom, description=make_phantom(4).description)
    assert vessel_pictures(plain) == ()
    assert len(vessel_pictures(_made(plain, ("tumour",)))) == 1


def test_vessels_are_drawn_in_their_colours(phantom: Case, pictures: tuple[tuple[str, bytes], ...]) -> None:
    """Artery and vein are seen in slices and projections, and are not when their labels are taken away."""
    colours = [VESSELS[name] for name in ("superior_mesenteric_artery", "superior_mesenteric_vein")]
    gone = [phantom.description.structure(n).label for n in MADE[:2]]
    voxels = np.where(np.isin(phantom.labels.voxels, gone), 0, phantom.labels.voxels)
    without = vessel_pictures(dataclasses.replace(phantom, labels=phantom.labels.with_voxels(voxels)))
    for n in (0, 1):
        for colour in colours:
            assert _share(pictures[n][1], colour) > 2e-4
            assert _share(without[n][1], colour) < 0.2 * _share(pictures[n][1], colour)


def test_same_bytes_every_time(phantom: Case, pictures: tuple[tuple[str, bytes], ...]) -> None:
    """The pictures are part of a report that is compared by its hash."""
    assert vessel_pictures(phantom) == pictures
