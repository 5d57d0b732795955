"""What a process that ended left undone with the arm: found by its encoders, and brought home before anything else."""

from __future__ import annotations

import numpy as np

from guidance.procedure.resume import ArmState, Whereabouts
from guidance.procedure.stepper import Ended, Needle, Stepper
from guidance.procedure.steps import Step, StepKind, back_off_step, needle_steps
from kinematics.errors import RefusedError, SafetyStop

ON_PATH_RAD = 1e-3
"""Each joint within this of the planned path is on it."""


class Recovery:
    """The outstanding retreat of an arm.

    Args:
        stepper: What does the steps.
        arm: Where the journal says that the arm is.
        standing: Names of the needles that stand.

    Raises:
        RefusedError: The arm is not where the journal says that it can be; nothing has moved.
    """

    def __init__(self, stepper: Stepper, arm: ArmState, standing: list[str]) -> None:
        self._stepper = stepper
        self.steps: tuple[Step, ...] = ()
        """What is outstanding; nothing when the arm is at home."""
        if stepper.at_home():
            return
        if arm.where is Whereabouts.HOME:
            off = np.abs(stepper.arm.q_rad() - stepper.home)
            joint = int(off.argmax())
            _refuse(
                f"the arm is not at home (joint {joint + 1} is {off[joint]:.3f} rad off), and the journal knows of no "
                "motion that left it elsewhere"
            )
        # The electrode's own needle is an obstacle by itself as soon as the gripper has let go of it.
        self._needle = stepper.needle(arm.electrode, [n for n in standing if n != arm.electrode])
        stepper.motion.needle_held = arm.needle_held
        park = Step(StepKind.PARK, needle_steps(self._needle.electrode.depth_mm, stepper.suite)[-1].phase)
        self.steps = (park,)
        if arm.where is Whereabouts.ON_LINE:
            self._on_line(self._needle, arm.needle_held)
            back = back_off_step(stepper.suite)
            retract = Step(StepKind.RETRACT, back.phase, to_mm=back.to_mm, speed_mm_s=back.speed_mm_s)
            self.steps = (back if arm.needle_held else retract, park)

    def _on_line(self, needle: Needle, needle_held: bool) -> None:
        stepper, q_rad = self._stepper, self._stepper.arm.q_rad()
        try:
            stepper.guard.found_on_line(q_rad, needle_held)
        except SafetyStop as stop:
            _refuse(
                f"the arm is not where the journal says, on the line of {needle.name}: {stop.check} is "
                f"{stop.value:.3g} {stop.unit}, limit {stop.limit:.3g} {stop.unit}"
            )
        planned = needle.path.q_at(np.array([stepper.guard.depth_mm(q_rad)]))[0]
        off = float(np.abs(planned - q_rad).max())
        if off > ON_PATH_RAD:
            _refuse(
                f"the arm is on the line of {needle.name}, but its elbow is not as planned ({off:.3f} rad off, limit "
                f"{ON_PATH_RAD} rad)"
            )

    def done(self) -> str | None:
        """Do what is outstanding; return why it could not be done."""
        stepper = self._stepper
        try:
            for step in self.steps:
                stepper.do(step, self._needle)
        except Ended as end:
            return f"{self._needle.name}: {end.reason}"
        except SafetyStop as stop:
            stepper.stopped(self._needle, stop)
            return f"{self._needle.name}: {stop}"
        except BaseException:
            stepper.motion.stay()
            raise
        return None


def _refuse(reason: str) -> None:
    raise RefusedError("execute", (f"{reason}; look at the patient, then bring the arm home by hand",))
