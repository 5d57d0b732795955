"""Faults to put into the simulated suite, so that holds and stops can be shown to happen."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GateCloses:
    """The gate closes once, with this electrode's tip this deep in tissue."""

    electrode: str
    depth_mm: float
    breathing: bool = True
    """Whether the patient breathes then; else only the gate's signal is lost."""


@dataclass(frozen=True)
class ForceSpike:
    """The force grows by this much from this depth on."""

    electrode: str
    depth_mm: float
    axial_n: float = 0.0
    lateral_n: float = 0.0


@dataclass(frozen=True)
class TrackerStale:
    """The tracker goes on reporting a sample that is this old."""

    age_s: float


@dataclass(frozen=True)
class TrackerFrozen:
    """From this time on the tracker repeats one measurement under new time stamps."""

    at_s: float


@dataclass(frozen=True)
class CameraBumped:
    """At this time the tracker itself moves: shift and turn in its own frame, about its origin."""

    at_s: float
    shift_tracker_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn_tracker_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class TableMoved:
    """At this time the table moves with all that lies on it, by a shift along the axes of the robot."""

    at_s: float
    shift_robot_mm: tuple[float, float, float]


@dataclass(frozen=True)
class RobotBumped:
    """At this time the robot's base moves, by a shift along its axes."""

    at_s: float
    shift_robot_mm: tuple[float, float, float]


@dataclass(frozen=True)
class PatientShifted:
    """At this time the patient slides on the table, by a shift along the axes of the CT."""

    at_s: float
    shift_ct_mm: tuple[float, float, float]


@dataclass(frozen=True)
class MarkerHidden:
    """In this time something stands before a body (`reference`, `arm`), or before all single markers (`fiducials`)."""

    name: str
    at_s: float = 0.0
    until_s: float = math.inf


TrackerFault = TrackerStale | TrackerFrozen | CameraBumped | TableMoved | RobotBumped | PatientShifted | MarkerHidden
"""Faults that only the tracker sees. What moves a patient moves nothing under a needle: see `sim.faulty_tracker`."""
Fault = GateCloses | ForceSpike | TrackerFault
