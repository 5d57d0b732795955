"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as runs/20260101-120000-lidc.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the step's value as JSON on standard output.")]
TissueSetOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Named set of conductivities (docs/tissue.md); an unknown name lists them."),
]
DeviceOption = Annotated[str, typer.Option(help="monopolar electrodes, or one bipolar needle.")]
TreatedOption = Annotated[
    str | None, typer.Option("--device", help="monopolar or bipolar; default: the case's own, or monopolar.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
