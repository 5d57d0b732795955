"""The pulses of electrodes where they are planned or stand: checked, solved, and laid out in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guidance.ablation.array_check import check_array
from guidance.ablation.electrode import ElectrodeLine, conducting, conductor_ids
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.line_charges import Pair
from guidance.ablation.pulse_choice import SOLVES, Treatment, fixed_voltages, refine_voltages
from guidance.ablation.pulse_order import firing_rule
from guidance.ablation.pulse_plan import PulseStage
from guidance.ablation.treatment import TreatmentField, TreatmentResult, tissue_of
from guidance.case.case import Case
from guidance.protocol import Protocol
from guidance.scene import BipolarNeedle, Device
from kinematics.progress import Progress, quiet

PairName = tuple[str, str]


def plan_pulses(
    case: Case,
    grid: TreatmentGrid,
    needles: Sequence[ElectrodeLine],
    device: Device,
    protocol: Protocol,
    *,
    only: Sequence[PairName] | None = None,
    start_v: Mapping[PairName, float] | None = None,
    stage: PulseStage = PulseStage.PLANNED,
    progress: Progress | None = None,
) -> Treatment[TreatmentResult]:
    """Choose voltages and lay out the pulses, in the tissue of a case.

    Args:
        case: Its tissue set says what conducts how.
        grid: Of the case.
        needles: As planned or as found, frame `ct`.
        device: What they are. One with a voltage of its own is fired at that.
        protocol: Limits, threshold and coverage asked.
        only: Pairs that fire; those of the protocol's spacing by default.
        start_v: Voltages to keep where the coverage allows.
        stage: Of the plan.
        progress: Told the stage and the fraction done.

    Raises:
        InvalidInputError: Electrodes that no field can be solved for (`check_array`), a field that does not settle.
    """
    tell = progress or quiet
    lines = conducting(needles, device)
    pairs: list[Pair]
    if isinstance(device, BipolarNeedle):
        names = [conductor_ids(needle.id) for needle in needles]
        pairs = [(a, b, (start_v or {}).get((a, b), device.voltage_v)) for a, b in names]
    else:
        pairs = [(a, b, protocol.voltage_min_v) for a, b in firing_rule(lines, protocol, only)]
    if pairs:
        check_array(lines, pairs, case, protocol, grid.affine, grid.shape)
    field = TreatmentField(grid, lines, tissue_of(case))
    solved = 0

    def solve(fired: Sequence[Pair]) -> TreatmentResult:
        nonlocal solved
        begun, solved = solved, solved + 1

        def part(what: str, fraction: float) -> None:
            tell(what, min((begun + fraction) / SOLVES, 1.0))

        return field.solve(fired, protocol.threshold_v_per_cm, part)

    if isinstance(device, BipolarNeedle):
        most_a, apart_mm = device.current_max_a, device.pitch_mm
        return fixed_voltages(solve, lines, grid, protocol, pairs, current_max_a=most_a, apart_mm=apart_mm, stage=stage)
    return refine_voltages(solve, lines, grid, protocol, only=only, start_v=start_v, stage=stage)
