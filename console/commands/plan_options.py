"""What an operator asks of a plan on the command line, read into wishes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from guidance.planning.grid.directions import direction_of_words
from guidance.planning.plan import Plan, PlanStatus
from guidance.planning.weights import Weights
from guidance.planning.wishing.wishes import Ball, NeedleLine, Wishes, unit
from kinematics.arrays import FloatArray
from kinematics.errors import InvalidInputError, RefusedError

LEAST_MOVE_MM = 0.05
"""A shorter move across the needle is none."""
WITHIN_DEG = 8.0
CARRIED = ("out_ct", "within_deg", "entry_windows", "closed_skin", "forbidden", "electrodes")


@dataclass(frozen=True)
class PlanOptions:
    """The options of `needlework plan`, as typed."""

    come_from: str | None = None
    within_deg: float | None = None
    entry: tuple[str, ...] = ()
    close: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    electrodes: str | None = None
    pin: str | None = None
    move: tuple[str, ...] = ()
    choose: str | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Asked:
    """What is asked of a plan.

    Args:
        wishes: None where nothing is.
        weights: Of the saved plan whose needles are named.
        notes: What was read otherwise than typed.
    """

    wishes: Wishes | None
    weights: Weights | None = None
    notes: tuple[str, ...] = ()


def asked_of_plan(options: PlanOptions, saved: Callable[[], Plan]) -> Asked:
    """Return what the options ask for.

    What was asked of the saved plan before holds on where its needles are pinned, moved or chosen.

    Args:
        options: As typed.
        saved: Gives the saved plan, which pinned, moved and chosen needles are of.

    Raises:
        InvalidInputError: What cannot be read, contradicts itself, or names what the saved plan does not have.
        RefusedError: Needles of a saved plan are named, and it has none.
    """
    given = [name for name in ("pin", "move", "choose") if getattr(options, name)]
    if len(given) > 1:
        raise InvalidInputError(
            "these options exclude each other", value=", ".join(f"--{n}" for n in given), remedy="give one at a time"
        )
    if options.within_deg is not None and options.come_from is None:
        raise InvalidInputError(
            "--within needs a direction", value=options.within_deg, unit="°", remedy="add --from, such as --from front"
        )
    typed = _typed(options)
    if not given:
        wishes = _wishes(typed)
        return Asked(wishes if wishes.described else None)
    plan = _with_needles(saved())
    found, notes = _of_saved(options, plan)
    kept = {} if plan.wishes is None else {name: getattr(plan.wishes, name) for name in CARRIED}
    return Asked(_wishes({**kept, **typed, **found}), plan.weights, notes)


def _typed(options: PlanOptions) -> dict[str, Any]:
    """Return the fields of the wishes that were typed and need no saved plan."""
    found: dict[str, Any] = {}
    if options.come_from is not None:
        found["out_ct"] = _direction(options.come_from)
        found["within_deg"] = WITHIN_DEG if options.within_deg is None else options.within_deg
    if options.electrodes is not None:
        found["electrodes"] = _count(options.electrodes)
    for name, option in (("entry_windows", "entry"), ("closed_skin", "close"), ("forbidden", "forbid")):
        texts: tuple[str, ...] = getattr(options, option)
        if texts:
            found[name] = tuple(_ball(f"--{option}", text) for text in texts)
    return found


def _wishes(fields: dict[str, Any]) -> Wishes:
    """Return the wishes; what contradicts itself is said in its own words, not as a field that is wrong."""
    try:
        return Wishes(**fields)
    except InvalidInputError as error:
        faults = error.__cause__.errors() if isinstance(error.__cause__, ValidationError) else []
        said = faults[0].get("ctx", {}).get("error") if faults else None
        raise (said if isinstance(said, InvalidInputError) else error) from error


def read_weights(path: Path) -> Weights:
    """Return the weights of a JSON file; those that it does not name are the project's own.

    Raises:
        InvalidInputError: No such file, no JSON object, an unknown name or a weight below 0.
    """
    remedy = f"write a JSON object of numbers from 0 up, named among {', '.join(Weights.model_fields)}"
    try:
        given = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"the weights cannot be read: {error}", file=str(path), remedy=remedy) from error
    if not isinstance(given, dict):
        raise InvalidInputError("the weights are no JSON object", file=str(path), remedy=remedy)
    try:
        return Weights(**given)
    except InvalidInputError as error:
        raise InvalidInputError(error.what, file=str(path), remedy=remedy) from error


def _with_needles(plan: Plan) -> Plan:
    if plan.status is not PlanStatus.OK:
        raise RefusedError("plan", ("the saved plan has no needles to pin, move or choose", *plan.reasons))
    return plan


def _of_saved(options: PlanOptions, plan: Plan) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of the wishes that name needles of the saved plan, and what to tell of them."""
    of = f"of plan {plan.sha256()[:16]}"
    lines = {e.id: NeedleLine(entry_ct_mm=e.entry_ct_mm, tip_ct_mm=e.tip_ct_mm) for e in plan.electrodes}
    if options.pin:
        name = _named(options.pin, tuple(lines), "--pin", "an electrode")
        return {"pinned": lines[name], "origin": f"{name} {of}"}, ()
    if options.choose:
        listed = {a.id: a for a in plan.alternatives if a.id}
        chosen = listed[_named(options.choose, tuple(listed), "--choose", "an alternative")]
        if chosen.device:
            raise InvalidInputError(
                f"{chosen.id} is of another device",
                value=chosen.device,
                remedy="make the run with that device (--device), and plan it",
            )
        if chosen.entries_ct_mm is None or chosen.tips_ct_mm is None:
            raise InvalidInputError("the saved plan does not say where this alternative stands", value=chosen.id)
        ends = zip(chosen.entries_ct_mm, chosen.tips_ct_mm, strict=True)
        array = tuple(NeedleLine(entry_ct_mm=e, tip_ct_mm=t) for e, t in ends)
        return {"array": array, "origin": f"{chosen.id} {of}"}, ()
    notes, said = [], []
    for text in options.move:
        name, across, note = _moved(text, lines)
        lines[name] = NeedleLine(entry_ct_mm=lines[name].entry_ct_mm + across, tip_ct_mm=lines[name].tip_ct_mm + across)
        notes += [note] if note else []
        said.append(f"{name} moved by {_triple(across)} mm")
    return {"array": tuple(lines.values()), "origin": f"{of[3:]}, {', '.join(said)}"}, tuple(notes)


def _moved(text: str, lines: dict[str, NeedleLine]) -> tuple[str, FloatArray, str]:
    """Return which electrode is moved, by how much across its axis [mm], and what was taken off, in words."""
    name, colon, numbers = text.partition(":")
    form = "write --move E2:DX,DY or E2:DX,DY,DZ, in mm along left, back, head"
    if not colon:
        raise InvalidInputError("--move names an electrode and a distance", value=text, remedy=form)
    name = _named(name, tuple(lines), "--move", "an electrode")
    step = _numbers("--move", numbers, (2, 3), form)
    shift, out = np.array([*step, 0.0][:3]), lines[name].out_ct
    along = float(shift @ out)
    across = shift - along * out
    if float(np.linalg.norm(across)) < LEAST_MOVE_MM:
        raise InvalidInputError(
            f"--move takes {name} only along its axis",
            value=text,
            unit="mm",
            remedy="move it across: the needles of an array end in one plane, and are moved deeper by planning again",
        )
    if abs(along) < LEAST_MOVE_MM:
        return name, across, ""
    way = "out" if along > 0.0 else "in"
    note = (
        f"{abs(along):.1f} mm {way} along {name} is taken off its move, for the needles end in one plane: "
        f"it moves by {_triple(across)} mm"
    )
    return name, across, note


def _named(text: str, known: tuple[str, ...], option: str, what: str) -> str:
    name = text.strip().upper()
    if name not in known:
        raise InvalidInputError(
            f"{option} names {what} that the saved plan does not have",
            value=text,
            limit=", ".join(known) or "none",
            remedy="name one of those",
        )
    return name


def _numbers(option: str, text: str, counts: tuple[int, ...], remedy: str) -> tuple[float, ...]:
    """Return finite numbers that are separated by commas."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in counts or not all(math.isfinite(v) for v in found):
        raise InvalidInputError(
            f"{option} takes {' or '.join(str(c) for c in counts)} numbers, separated by commas",
            value=text,
            remedy=remedy,
        )
    return found


def _direction(text: str) -> FloatArray:
    remedy = "write --from=X,Y,Z along left, back, head, or words such as front-right"
    if not re.search(r"\d", text):
        return direction_of_words(text)
    found = np.array(_numbers("--from", text, (3,), remedy))
    if float(np.linalg.norm(found)) < 1e-6:
        raise InvalidInputError("--from has no length", value=text, remedy=remedy)
    return unit(found)


def _ball(option: str, text: str) -> Ball:
    remedy = f"write {option} X,Y,Z,R in mm along left, back, head of the planning CT, with a radius above 0"
    *centre, radius = _numbers(option, text, (4,), remedy)
    if not radius > 0.0:
        raise InvalidInputError(f"{option} has no radius", value=radius, limit=0.0, unit="mm", remedy=remedy)
    return Ball(centre_ct_mm=np.array(centre), radius_mm=radius)


def _count(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    if found is None:
        raise InvalidInputError("--electrodes takes a number or two", value=text, remedy="write 4 or 3-5")
    least = int(found[1])
    return least, int(found[2]) if found[2] else least


def _triple(mm: FloatArray) -> str:
    return "(" + ", ".join(f"{float(v) + 0.0:.1f}" for v in mm) + ")"
