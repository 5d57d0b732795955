"""The plan command and what may be asked of it; heavy libraries are imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.cli_arguments import JsonOption, RunArgument


def plan(
    run: RunArgument,
    come_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="X,Y,Z",
            help="Direction from the target that needles come from, along left, back, head; or words: front-right.",
        ),
    ] = None,
    within_deg: Annotated[
        float | None, typer.Option("--within", metavar="DEG", help="How far from it they may; default 8.")
    ] = None,
    entry: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y,Z,R", help="Enter within R mm of this point of the CT (LPS); may be repeated."),
    ] = None,
    close: Annotated[
        list[str] | None, typer.Option(metavar="X,Y,Z,R", help="Skin where no needle enters; may be repeated.")
    ] = None,
    forbid: Annotated[
        list[str] | None, typer.Option(metavar="X,Y,Z,R", help="Region that no shaft crosses; may be repeated.")
    ] = None,
    electrodes: Annotated[str | None, typer.Option(metavar="N or N-M", help="How many electrodes.")] = None,
    pin: Annotated[
        str | None, typer.Option(metavar="E2", help="This electrode of the saved plan stays; the others are searched.")
    ] = None,
    move: Annotated[
        list[str] | None,
        typer.Option(
            metavar="E2:DX,DY[,DZ]",
            help="Move an electrode of the saved plan across its axis, mm along left, back, head; may be repeated.",
        ),
    ] = None,
    choose: Annotated[str | None, typer.Option(metavar="A3", help="Take an alternative of the saved plan.")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON with weights of the score; the others stay as they are.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Search for a parallel array that the rules and the arm allow, or change the saved plan.

    A change that leaves no plan says why, and the saved plan stays.
    """
    from console.commands.plan_options import PlanOptions
    from console.commands.planning import plan_run

    options = PlanOptions(
        come_from=come_from,
        within_deg=within_deg,
        entry=tuple(entry or ()),
        close=tuple(close or ()),
        forbid=tuple(forbid or ()),
        electrodes=electrodes,
        pin=pin,
        move=tuple(move or ()),
        choose=choose,
        weights=weights,
    )
    raise typer.Exit(plan_run(run, options, as_json))
