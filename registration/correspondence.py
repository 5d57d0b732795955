"""Which measured point is which fiducial: unordered, some missing, some decoys, never a guess.

An answer is accepted when it is the only one: no other motion explains as many points, nor nearly as many where chance
could account for the difference; no single point could stand for another; the mirror image neither explains more
points nor as many clearly better; and chance alone would not bring a match of its size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from registration.chance import Chance
from registration.congruent_sets import BEHIND, Indices, affordable_size, congruent_parts, triangle_heights
from registration.rigid import superpose

MINIMUM_PAIRS = 3
MINIMUM_HEIGHT_MM = 8.0
"""Matched points all of whose triangles are lower lie on a line: the rotation about it is free."""
CHANCE_LIMIT = 0.01
"""Expected number of chance matches above which a match proves nothing."""
MOST_POINTS = 200
"""Of either set: twice what is asked for, and what takes about a second. More are a surface, not fiducials."""
_MIRROR_BETTER = 9.0
"""Squared residuals by which a mirror image of as many pairs must fit better, in units of the variance along an axis.
Points in a plane fit both ways alike: at 9 no sound set is refused more often than once in 700, whatever its depth."""
_FIRST_SHARE = 0.6
"""Matches of this share of the smaller set are looked for first, mirrored ones too; smaller ones only after that."""
_SHOWN = 8
"""Pairs of an answer that a reason lists."""
_AXES = np.array([-1.0, 1.0, 1.0])


class CorrespondenceStatus(StrEnum):
    """Outcome of the search."""

    OK = "ok"
    AMBIGUOUS = "ambiguous"
    MIRRORED = "mirrored"
    TOO_FEW = "too_few"
    TOO_MANY = "too_many"
    NONE = "none"


@dataclass(frozen=True, eq=False)
class Answer:
    """Pairs (model index, measured index), sorted by model index, with the distance that their fit leaves of each."""

    pairs: tuple[tuple[int, int], ...]
    residuals_mm: FloatArray

    @property
    def rms_mm(self) -> float:
        """Root mean square of the residuals."""
        return float(np.sqrt(np.mean(self.residuals_mm**2)))


@dataclass(frozen=True, eq=False)
class Correspondence:
    """The pairs, or why there is no answer to rely on.

    Reasons name the first fiducial F1 and the first measured point P1.

    `pairs` and `residuals_mm` are the best answer's, also when it is ambiguous; empty when there is none. `rival` is
    what competes with it: the other answer when ambiguous, the mirrored one when mirrored. `chance_matches` is the
    expected number of matches of this size between unrelated sets.
    """

    status: CorrespondenceStatus
    pairs: tuple[tuple[int, int], ...]
    residuals_mm: FloatArray
    reasons: tuple[str, ...]
    rival: Answer | None = None
    chance_matches: float | None = None


def match(model_mm: Any, measured_mm: Any, *, tolerance_mm: float) -> Correspondence:
    """Find the one assignment of measured points to fiducials that a rigid motion explains.

    The answer does not depend on the order of the points or on the pose of either set. Every match of 60 % of the
    smaller set or more is found; smaller ones are looked for where there is none, down to a size that takes a
    fraction of a second (three pairs of a dozen points, a quarter of a hundred).

    Args:
        model_mm: Fiducials, shape (n, 3), any frame.
        measured_mm: Measured points, shape (m, 3), any other frame, any order.
        tolerance_mm: Largest distance of a pair after the fit: four times the rms error of a pair is usual.

    Raises:
        InvalidInputError: Points that are not finite or not (n, 3), or no positive tolerance.
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm > 0.0):
        raise InvalidInputError("the tolerance of a match is a positive length", value=tolerance_mm, unit="mm")
    model, measured = _points(model_mm, "fiducials"), _points(measured_mm, "measured points")
    if min(len(model), len(measured)) < MINIMUM_PAIRS:
        return _no(
            CorrespondenceStatus.TOO_FEW,
            f"{len(model)} fiducials and {len(measured)} measured points: at least {MINIMUM_PAIRS} of each are needed",
        )
    if max(len(model), len(measured)) > MOST_POINTS:
        return _no(
            CorrespondenceStatus.TOO_MANY,
            f"{len(model)} fiducials and {len(measured)} measured points: {MOST_POINTS} of each at most can be told "
            "apart in time: leave out what is no fiducial",
        )
    return _Match(model, measured, tolerance_mm).judged()


def _points(points_mm: Any, name: str) -> FloatArray:
    points = np.array(points_mm, dtype=np.float64, order="C")
    if points.size == 0:
        return np.zeros((0, 3))
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InvalidInputError(f"the {name} are finite points, shape (n, 3)", value=points.shape)
    return points


def _no(status: CorrespondenceStatus, reason: str) -> Correspondence:
    return Correspondence(status, (), read_only(np.zeros(0)), (reason,))


def _named(pairs: tuple[tuple[int, int], ...]) -> str:
    text = ", ".join(f"F{i + 1}–P{j + 1}" for i, j in pairs[:_SHOWN])
    return text + (f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")


class _Match:
    """Two sets of points, and what is found of one in the other."""

    def __init__(self, model: FloatArray, measured: FloatArray, tolerance_mm: float) -> None:
        self.model, self.measured, self.tolerance_mm = model, measured, tolerance_mm
        self.chance = Chance.of(model, measured, tolerance_mm)
        self.smaller = min(len(model), len(measured))
        first, second = (model, measured) if len(model) <= len(measured) else (measured, model)
        share, last = math.ceil(_FIRST_SHARE * self.smaller), affordable_size(first, second, tolerance_mm)
        self.levels = (share, last) if last < share else (max(share, MINIMUM_PAIRS),)

    def judged(self) -> Correspondence:
        """Return the match, accepted or refused."""
        for least in self.levels:
            answers = self._answers(self.measured, least)
            size = len(answers[0].pairs) if answers else 0
            mirrored = self._answers(self.measured * _AXES, max(size, least))
            if mirrored and self._mirror_fits_better(mirrored[0], answers):
                return self._mirrored(mirrored[0], answers, least)
            if answers and self._least_rival(size) >= least:
                break
        if not answers:
            return _no(
                CorrespondenceStatus.NONE,
                f"no rigid motion brings {self.levels[-1]} measured points or more within {self.tolerance_mm:g} mm "
                "of fiducials (points on a line do not count)",
            )
        best = answers[0]
        if _on_a_line(self.model[[i for i, _ in best.pairs]]):
            return _no(
                CorrespondenceStatus.NONE,
                f"the {size} points that match ({_named(best.pairs)}) lie within {MINIMUM_HEIGHT_MM:g} mm of one line: "
                "the rotation about it is free: uncover or place fiducials off the line",
            )
        rival, reason = self._contested(best)
        if rival is None:
            rival, reason = self._rival(best, answers)
        reasons = tuple(r for r in (reason, self._by_chance(best)) if r)
        return Correspondence(
            CorrespondenceStatus.AMBIGUOUS if reasons else CorrespondenceStatus.OK,
            best.pairs,
            best.residuals_mm,
            reasons,
            rival,
            self.chance.matches(size),
        )

    def _mirror_fits_better(self, mirror: Answer, answers: list[Answer]) -> bool:
        """Tell whether more pairs, or as many clearly better, fit mirrored, and not by chance."""
        if self.chance.matches(len(mirror.pairs)) > CHANCE_LIMIT:
            return False
        if not answers or len(mirror.pairs) > len(answers[0].pairs):
            return True
        variance_mm2 = (self.tolerance_mm / 4.0) ** 2 / 3.0
        better_mm2 = float(np.sum(answers[0].residuals_mm ** 2) - np.sum(mirror.residuals_mm**2))
        return better_mm2 > _MIRROR_BETTER * variance_mm2

    def _least_rival(self, size: int) -> int:
        """Return the size from which another answer competes: chance could have given the best one the rest."""
        least = size
        while least > MINIMUM_PAIRS and size - least < BEHIND:
            if self.chance.further(least - 1, size - least + 1) <= CHANCE_LIMIT:
                break
            least -= 1
        return least

    def _answers(self, measured: FloatArray, least: int) -> list[Answer]:
        """Return the answers of `least` pairs or more that matter, the largest first, then the best fitting."""
        swap = len(self.model) > len(measured)
        first, second = (measured, self.model) if swap else (self.model, measured)
        found: list[Answer] = []
        for image in congruent_parts(first, second, self.tolerance_mm, least):
            pairs = [(x, y) for x, y in enumerate(image.tolist()) if y >= 0]
            found.append(self._fitted(tuple(sorted((y, x) for x, y in pairs) if swap else pairs), measured))
        return sorted(found, key=lambda a: (-len(a.pairs), a.rms_mm))

    def _fitted(self, pairs: tuple[tuple[int, int], ...], measured: FloatArray) -> Answer:
        i, j = (list(column) for column in zip(*pairs, strict=True))
        rotation, translation = superpose(self.model[i], measured[j])
        residuals = np.linalg.norm(self.model[i] @ rotation.T + translation - measured[j], axis=1)
        return Answer(pairs, read_only(residuals))

    def _mirrored(self, mirror: Answer, answers: list[Answer], least: int) -> Correspondence:
        best = f"fewer than {least}"
        if answers:
            best = f"{len(answers[0].pairs)} pairs at most with {answers[0].rms_mm:.3f} mm rms"
        reason = (
            f"the measured points fit mirrored: {len(mirror.pairs)} of {len(self.model)} fiducials with "
            f"{mirror.rms_mm:.3f} mm rms as a mirror image ({_named(mirror.pairs)}), and {best} as they are: check "
            "left and right, and the axes (LPS or RAS), of both sets"
        )
        return Correspondence(
            CorrespondenceStatus.MIRRORED,
            (),
            read_only(np.zeros(0)),
            (reason,),
            mirror,
            self.chance.matches(len(mirror.pairs)),
        )

    def _rival(self, best: Answer, answers: list[Answer]) -> tuple[Answer | None, str]:
        """Return another answer that competes with the best, and the reason."""
        size = len(best.pairs)
        least = self._least_rival(size)
        others = [
            a
            for a in answers[1:]
            if len(a.pairs) == size or (len(a.pairs) >= least and 2 * len(set(a.pairs) & set(best.pairs)) < size)
        ]
        if not others:
            return None, ""
        rival = others[0]
        ways = "in two ways or more" if len(others) == 1 else f"in {len(others) + 1} ways or more"
        return rival, (
            f"the layout fits {ways}: {_named(best.pairs)} ({size} pairs, {best.rms_mm:.3f} mm rms), or "
            f"{_named(rival.pairs)} ({len(rival.pairs)} pairs, {rival.rms_mm:.3f} mm rms), both within "
            f"{self.tolerance_mm:g} mm: what tells them apart is not seen, or the layout is symmetric"
        )

    def _contested(self, best: Answer) -> tuple[Answer | None, str]:
        """Return the answer with one point taken for another, where that fits too, and the reason."""
        image = dict(best.pairs)
        owner = {j: i for i, j in best.pairs}
        i, j = (list(column) for column in zip(*best.pairs, strict=True))
        rotation, translation = superpose(self.model[i], self.measured[j])
        moved = self.model @ rotation.T + translation
        apart = np.linalg.norm(moved[:, None] - self.measured[None], axis=-1)
        for a, b in np.argwhere(apart <= 3.0 * self.tolerance_mm).tolist():
            if image.get(a) == b:
                continue
            other = {**image, a: b}
            if b in owner:
                other.pop(owner[b])
                if a in image:
                    other[owner[b]] = image[a]
            trial = self._fitted(tuple(sorted(other.items())), self.measured)
            if len(trial.pairs) > len(best.pairs):
                worst = int(np.argmax(trial.residuals_mm))
                trial = self._fitted(trial.pairs[:worst] + trial.pairs[worst + 1 :], self.measured)
            if trial.pairs != best.pairs and float(trial.residuals_mm.max()) <= self.tolerance_mm:
                changed = tuple(sorted(set(best.pairs) - set(trial.pairs)))
                into = tuple(sorted(set(trial.pairs) - set(best.pairs)))
                return trial, (
                    f"{_named(changed)} could as well be {_named(into)}: points nearer to each other than "
                    f"{self.tolerance_mm:g} mm can tell apart ({best.rms_mm:.3f} mm rms and {trial.rms_mm:.3f} mm "
                    "rms): a point reported twice, or two fiducials too close: take one away"
                )
        return None, ""

    def _by_chance(self, best: Answer) -> str:
        """Return why a match of this size proves nothing; empty when it proves enough."""
        size = len(best.pairs)
        expected = self.chance.matches(size)
        if expected <= CHANCE_LIMIT:
            return ""
        more = [k for k in range(size + 1, self.smaller + 1) if self.chance.matches(k) <= CHANCE_LIMIT]
        remedy = f"{more[0]} pairs would do: uncover more fiducials" if more else "place more fiducials"
        return (
            f"{size} of {len(self.model)} fiducials match {size} of {len(self.measured)} measured points "
            f"({_named(best.pairs)}, {best.rms_mm:.3f} mm rms), but {expected:.2g} matches as large are expected by "
            f"chance (limit {CHANCE_LIMIT:g}): {remedy}, or remove what else reflects"
        )


def _on_a_line(points: FloatArray) -> bool:
    """Tell whether all triangles of the points are too flat to hold a rotation."""
    side = np.linalg.norm(points[:, None] - points[None], axis=-1)
    a, b = np.unravel_index(int(np.argmax(side)), side.shape)
    third: Indices = np.array([(a, b, c) for c in range(len(points)) if c not in (a, b)], dtype=np.int64)
    return bool(triangle_heights(side, third).max() < MINIMUM_HEIGHT_MM)
