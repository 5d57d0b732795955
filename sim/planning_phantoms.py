"""Named phantoms for planning, from easy to impossible: the usual anatomy, with something about the tumour or its way.

Each says what it tests and what a planner should answer. That answer is for a benchmark to compare with: no planner
reads it. Distances hold for every seed: what lies round the tumour is placed by the tumour's own surface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from guidance.case.case import Case
from guidance.case.extent import UNKNOWN
from guidance.case.roles import structure_of
from guidance.scene import Device
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError
from sim.canvas import Canvas, Mask
from sim.phantom import MONOPOLAR, TUMOUR_AT_MM, TUMOURS_MM, Recipe, make_phantom, phantom_of
from sim.tumour import Blob

IN_FRONT = frozenset({"colon", "small_bowel", "stomach"})
SMALL_MM = (8.0, 7.0, 6.5)
TOUCHING_MM = 0.5
"""Room left between the surfaces of a vessel and of the tumour that it touches: less than a voxel."""
SHELL_MM = (27.0, 41.0)
"""Inner and outer radius of the bowel round a tumour."""
WINDOW_DEG, WINDOW_OFF_DEG = 42.0, 15.0
"""Half angle of the window in that bowel, and how far its middle may lie from straight anterior."""
LARGE_MM, TOO_LARGE_MM = 41.0, 54.0
LABELLED_FRONT_MM, LABELLED_SIDE_MM = 20.0, 45.0
"""Beyond the tumour's surface in front and to the sides: where the labels end."""
SKIN_CUT_MM = 14.0
"""In front of the tumour's surface: where the image ends."""


@dataclass(frozen=True)
class PlanningPhantom:
    """One of the phantoms.

    Args:
        tests: What it is for, in a sentence.
        make: Makes it of a seed and a device.
        why: Empty when a plan should be found; else words of which one must be among the reasons that there is none.
    """

    tests: str
    make: Callable[[int, Device], Case]
    why: tuple[str, ...] = ()
    registered_on: Callable[[int, Device], Case] | None = None
    """The same patient in an image that can be registered, where the phantom's own cannot."""

    @property
    def expected(self) -> str:
        """What a planner should answer: `plan`, or `no plan: ` and why."""
        return f"no plan: {' or '.join(self.why)}" if self.why else "plan"


def planning_phantom(seed: int, name: str, device: Device = MONOPOLAR) -> Case:
    """Make a phantom by its name: `usual` and `nodule` of `make_phantom`, or one of `PLANNING_PHANTOMS`.

    Args:
        seed: The same seed and name give the same bytes.
        name: See above.
        device: What the case is treated with.

    Raises:
        InvalidInputError: There is no phantom of that name.
    """
    if name in PLANNING_PHANTOMS:
        return PLANNING_PHANTOMS[name].make(seed, device)
    if name in TUMOURS_MM:
        return make_phantom(seed, tumour=name, device=device)
    names = dict.fromkeys((*TUMOURS_MM, *PLANNING_PHANTOMS))
    raise InvalidInputError("there is no such phantom", value=name, remedy=f"use one of {', '.join(names)}")


def _tumour(canvas: Canvas, semi_mm: tuple[float, float, float] = TUMOURS_MM["usual"]) -> tuple[FloatArray, Blob]:
    """Draw the place and the shape of a tumour, not painted yet."""
    return canvas.at(*TUMOUR_AT_MM, 2.0), Blob(canvas.rng, semi_mm)


def _open(canvas: Canvas) -> None:
    canvas.blob("tumour", *_tumour(canvas, SMALL_MM))


def _vessel(canvas: Canvas, name: str, centre: FloatArray, blob: Blob, towards: FloatArray, radius_mm: float) -> None:
    """Paint a vessel that runs from right to left and touches the tumour on one side."""
    off = float((blob.surface_mm() @ towards).max()) + radius_mm + TOUCHING_MM
    beside = centre + off * towards
    canvas.tube(name, beside + np.array([(-34.0, 0.0, 0.0), (34.0, 0.0, 0.0)]), radius_mm)


BACK, HEAD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])


def _against_vein(canvas: Canvas) -> None:
    centre, blob = _tumour(canvas)
    _vessel(canvas, "splenic_vein", centre, blob, BACK, canvas.near(4.0))
    canvas.blob("tumour", centre, blob)


def _between_vessels(canvas: Canvas) -> None:
    centre, blob = _tumour(canvas)
    _vessel(canvas, "splenic_vein", centre, blob, BACK, canvas.near(4.0))
    _vessel(canvas, "splenic_artery", centre, blob, HEAD, canvas.near(2.5))
    canvas.blob("tumour", centre, blob)


def _shell(canvas: Canvas, centre: FloatArray, inside: Callable[[FloatArray], Mask]) -> None:
    """Paint bowel round a point where `inside` holds of the unit vectors from it: colon below, small bowel above."""

    def part(upper: bool) -> Callable[[FloatArray], Mask]:
        def told(off: FloatArray) -> Mask:
            far = np.maximum(np.linalg.norm(off, axis=-1), 1e-9)
            hit: Mask = (far >= SHELL_MM[0]) & (far <= SHELL_MM[1]) & ((off[..., 2] > 0.0) == upper)
            return hit & inside(off / far[..., None])

        return told

    canvas.shape("colon", centre, SHELL_MM[1], part(False))
    canvas.shape("small_bowel", centre, SHELL_MM[1], part(True))


def _one_window(canvas: Canvas) -> None:
    centre, blob = _tumour(canvas)
    tilt, turn = np.radians(WINDOW_OFF_DEG) * canvas.rng.uniform(), canvas.rng.uniform(0.0, 2.0 * np.pi)
    middle = np.array([np.sin(tilt) * np.cos(turn), -np.cos(tilt), np.sin(tilt) * np.sin(turn)])
    # Open at the back, where no needle comes from and the great vessels lie.
    _shell(canvas, centre, lambda unit: (unit @ middle < np.cos(np.radians(WINDOW_DEG))) & (unit[..., 1] < 0.5))
    canvas.blob("tumour", centre, blob)


def _bowel_all_round(canvas: Canvas) -> None:
    centre, blob = _tumour(canvas)
    _shell(canvas, centre, lambda unit: np.ones(unit.shape[:-1], dtype=bool))
    canvas.blob("tumour", centre, blob)


def _behind_stomach(canvas: Canvas) -> None:
    centre, blob = _tumour(canvas)
    canvas.ellipsoid("stomach", centre - 27.0 * BACK, (62.0, 13.0, 56.0), spared=("abdominal_wall",))
    canvas.blob("tumour", centre, blob)


def _usual(canvas: Canvas) -> None:
    canvas.blob("tumour", *_tumour(canvas))


def _of_width(canvas: Canvas, width_mm: float, semi_mm: tuple[float, float, float]) -> tuple[FloatArray, Blob]:
    """Draw the place of a tumour `width_mm` across, its long axis within 20° of front to back."""
    centre, blob = _tumour(canvas, semi_mm)
    tilt, turn = np.radians(20.0) * canvas.rng.uniform(), canvas.rng.uniform(0.0, 2.0 * np.pi)
    long = np.array([np.sin(tilt) * np.cos(turn), np.cos(tilt), np.sin(tilt) * np.sin(turn)])
    second = np.cross(long, HEAD) / np.linalg.norm(np.cross(long, HEAD))
    blob.rotation = np.column_stack([long, second, np.cross(long, second)])
    points = blob.surface_mm()
    blob.semi_axes_mm = blob.semi_axes_mm * width_mm / max(float(np.ptp(points @ p)) for p in _unit(points))
    return centre, blob


def _unit(points: FloatArray) -> FloatArray:
    unit: FloatArray = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


def _large(canvas: Canvas) -> None:
    canvas.blob("tumour", *_of_width(canvas, LARGE_MM, (20.0, 9.0, 8.0)))


def _too_large(canvas: Canvas) -> None:
    canvas.blob("tumour", *_of_width(canvas, TOO_LARGE_MM, (27.0, 20.0, 18.0)))


def _voxels(case: Case) -> NDArray[np.int64]:
    """Return the indices of the tumour's voxels, shape (n, 3); the image's axes run to the left, back and head."""
    return np.argwhere(case.labels.voxels == case.description.structure("tumour").label)


def _labelled_in_a_box(case: Case) -> Case:
    """Return the case as if its labels had been drawn in a box round the tumour: the rest of the body is unknown."""
    tumour, spacing = _voxels(case), case.labels.spacing_mm
    side, front = round(LABELLED_SIDE_MM / spacing[0]), round(LABELLED_FRONT_MM / spacing[1])
    labelled = (
        slice(max(tumour[:, 0].min() - side, 0), tumour[:, 0].max() + side + 1),
        slice(max(tumour[:, 1].min() - front, 0), None),
    )
    unknown = case.body.voxels > 0
    unknown[labelled] = False
    number = max(s.label for s in case.description.structures) + 1
    mask = case.labels.with_voxels(np.where(unknown, np.uint8(number), case.labels.voxels))
    present = set(np.unique(mask.voxels).tolist())
    structures = (*(s for s in case.description.structures if s.label in present), structure_of(UNKNOWN, number))
    changed = case.description.model_copy(update={"labels_sha256": mask.sha256(), "structures": structures})
    return replace(case, description=changed, labels=mask)


def _cut_in_front(case: Case) -> Case:
    """Return the case in an image that ends in front of the tumour, inside the body."""
    rows = int(_voxels(case)[:, 1].min()) - round(SKIN_CUT_MM / case.labels.spacing_mm[1])
    ct, labels, body = (v.crop((0, rows, 0), v.shape) for v in (case.ct, case.labels, case.body))
    present = set(np.unique(labels.voxels).tolist())
    changed = case.description.model_copy(
        update={
            "ct_sha256": ct.sha256(),
            "labels_sha256": labels.sha256(),
            "body_sha256": body.sha256(),
            "structures": tuple(s for s in case.description.structures if s.label in present),
        }
    )
    return Case(changed, ct, labels, body)


def _made(recipe: Recipe, then: Callable[[Case], Case] = lambda case: case) -> Callable[[int, Device], Case]:
    return lambda seed, device: then(phantom_of(recipe, seed, device=device))


_CUT = Recipe("skin-cut", _usual, left_out=IN_FRONT)

PLANNING_PHANTOMS: dict[str, PlanningPhantom] = {
    "open": PlanningPhantom(
        "a small tumour with nothing in front of it", _made(Recipe("open", _open, left_out=IN_FRONT))
    ),
    "usual": PlanningPhantom("the usual tumour and anatomy", lambda seed, device: make_phantom(seed, device=device)),
    "against-vein": PlanningPhantom(
        "the splenic vein touches the tumour from behind, where the tips want to stand",
        _made(Recipe("against-vein", _against_vein, left_out=frozenset({"portal_vein_and_splenic_vein"}))),
    ),
    "between-vessels": PlanningPhantom(
        "vessels touch the tumour on two sides, behind and above",
        _made(Recipe("between-vessels", _between_vessels, left_out=frozenset({"portal_vein_and_splenic_vein"}))),
    ),
    "one-window": PlanningPhantom(
        "colon and small bowel lie in front and leave one window",
        _made(Recipe("one-window", _one_window, left_out=IN_FRONT)),
    ),
    "behind-stomach": PlanningPhantom(
        "every way from the front goes through the stomach, which is allowed at a price",
        _made(Recipe("behind-stomach", _behind_stomach, left_out=IN_FRONT)),
    ),
    "deep": PlanningPhantom(
        "a large patient: the tumour's far side lies within some millimetres of the longest path",
        _made(Recipe("deep", _usual, body_mm=(135.0, 104.0), extent_mm=(310.0, 250.0, 175.0))),
    ),
    "large": PlanningPhantom(
        "a tumour about 41 mm long, which several positions of each exposure must cover",
        _made(Recipe("large", _large, left_out=IN_FRONT)),
    ),
    "bowel-all-round": PlanningPhantom(
        "impossible: bowel surrounds the tumour on every side",
        _made(Recipe("bowel-all-round", _bowel_all_round, left_out=IN_FRONT)),
        ("no corridor",),
    ),
    "over-50-mm": PlanningPhantom(
        "impossible: the tumour is larger than the protocol allows",
        _made(Recipe("over-50-mm", _too_large, left_out=IN_FRONT)),
        ("50.0 mm", "50 mm"),
    ),
    "skin-cut": PlanningPhantom(
        "impossible: the image ends inside the body, the skin in front is not in view",
        _made(_CUT, _cut_in_front),
        ("skin",),
        registered_on=_made(_CUT),
    ),
    "unknown-in-front": PlanningPhantom(
        "impossible: nobody labelled what lies in front and beside, and what is unknown is not free",
        _made(Recipe("unknown-in-front", _usual, left_out=IN_FRONT), _labelled_in_a_box),
        ("unknown", "unlabelled"),
    ),
}
"""By name, from easy to impossible."""
