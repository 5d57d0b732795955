"""The stated error budget: no accuracy figure is shown without it."""

from __future__ import annotations

from pydantic import Field

from kinematics.value import Value


class ErrorBudget(Value):
    """Default error sources; each is the rms of the 3-D error vector unless its name says otherwise.

    The numbers are defaults of design, to be replaced by a site's own measurements.
    """

    fiducial_ct_rms_mm: float = Field(0.3, ge=0.0, allow_inf_nan=False)
    tracker_rms_mm: float = Field(0.25, ge=0.0, allow_inf_nan=False)
    pivot_rms_mm: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    """Tip of a hand-held tool that touches the fiducials. None by default: the tracker sees the markers themselves,
    and the tip of the tool that the robot was calibrated with is within the calibration's number."""
    calibration_rms_mm: float = Field(0.3, ge=0.0, allow_inf_nan=False)
    calibration_angle_rms_deg: float = Field(0.05, ge=0.0, allow_inf_nan=False)
    arm_rms_mm: float = Field(0.3, ge=0.0, allow_inf_nan=False)
    bending_rms_at_100mm_mm: float = Field(1.0, ge=0.0, allow_inf_nan=False)
    """Lateral rms (2-D vector) at 100 mm depth; grows with the square of the depth."""
    breathing_rms_mm: float = Field(1.5, ge=0.0, allow_inf_nan=False)
    """Residual of the gate, one signed number along the motion (head to foot, mainly), at the pancreas."""

    def in_words(self) -> str:
        """Return the budget in one sentence; no figure of accuracy is printed without it."""
        tip = f"tip of the touching tool {self.pivot_rms_mm:g} mm, " if self.pivot_rms_mm > 0.0 else ""
        return (
            f"Error budget (rms): fiducials in CT {self.fiducial_ct_rms_mm:g} mm, tracker {self.tracker_rms_mm:g} mm, "
            f"{tip}calibration {self.calibration_rms_mm:g} mm and {self.calibration_angle_rms_deg:g}°, "
            f"arm {self.arm_rms_mm:g} mm, bending {self.bending_rms_at_100mm_mm:g} mm at 100 mm, "
            f"breathing {self.breathing_rms_mm:g} mm."
        )

    def bending_rms_mm(self, depth_mm: float) -> float:
        """Return the lateral rms [mm] (2-D vector) of the needle's drift at `depth_mm` below the skin."""
        return self.bending_rms_at_100mm_mm * (depth_mm / 100.0) ** 2
