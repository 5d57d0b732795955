"""The command line. Heavy libraries are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from console.cli_arguments import DeviceOption, JsonOption, RunArgument, SeedOption, TissueSetOption, TreatedOption
from console.cli_plan import plan
from kinematics.errors import InvalidInputError, RefusedError, SafetyStop, StorageError

PASS, FAIL, REFUSED, INTERNAL = 0, 1, 2, 3
INTERRUPTED = 130
"""What the command-line library returns after Ctrl-C."""
DISCLAIMER = "Research software, not a medical device."

app = typer.Typer(
    name="needlework",
    help=f"Robotic needle guidance control stack for irreversible electroporation. {DISCLAIMER}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
case_app = typer.Typer(help="Get or make a case.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(case_app, name="case")
calibrate_app = typer.Typer(help="Calibrate what the robot works with.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(calibrate_app, name="calibrate")


@app.command()
def run(
    case: Annotated[str, typer.Argument(help="lidc, lidc-head, phantom:SEED[:NAME], or a case folder.")] = "lidc",
    seed: SeedOption = 0,
    device: TreatedOption = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<time>-<case>.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Take a case through the whole procedure in simulation, to a verdict and a report."""
    from console.commands.procedure import run_all

    raise typer.Exit(run_all(case, seed, device, out, as_json))


@app.command()
def start(
    case: Annotated[str, typer.Argument(help="lidc, lidc-head, phantom:SEED[:NAME], or a case folder.")] = "lidc",
    seed: SeedOption = 0,
    device: TreatedOption = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<time>-<case>.")] = None,
) -> None:
    """Make a run folder and stop before the first step."""
    from console.commands.procedure import start_run

    print(start_run(case, seed, device, out))


@app.command()
def register(
    run: RunArgument,
    ct_points: Annotated[
        Path | None,
        typer.Option(
            help="Fiducials marked in the planning CT, used in place of those found: CSV (name,x_mm,y_mm,z_mm and "
            "coordinate_system, LPS or RAS), Slicer .fcsv or .mrk.json. They become F1, F2, ... in the file's order."
        ),
    ] = None,
    ct_points_axes: Annotated[str | None, typer.Option(help="LPS or RAS, for a CSV that does not say it.")] = None,
    ct_points_error_mm: Annotated[
        float, typer.Option(help="Error of the marking, rms of the 3-D vector, on top of the error budget.")
    ] = 0.5,
    tracked_points: Annotated[
        Path | None, typer.Option(help="Fiducials as the tracker measured them, in any order: CSV, .fcsv, .mrk.json.")
    ] = None,
    tracked_points_axes: Annotated[
        str | None,
        typer.Option(
            help="For a file that says LPS or RAS: which of the two the tracker's own axes are (RAS for points that "
            "Slicer received from the tracker)."
        ),
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Take the fiducials live from an OpenIGTLink tracker (POINT, TDATA)."),
    ] = None,
    pivot: Annotated[
        Path | None,
        typer.Option(
            help="What `calibrate pivot` saved for the tool that touched the tracked points: its error is counted."
        ),
    ] = None,
    skin_scan: Annotated[
        Path | None,
        typer.Option(help="A tracked scan of the skin that checks the fiducials: CSV with x_mm,y_mm,z_mm (tracker)."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="JSON file with T_robot_tracker, 4 x 4; default: the simulated suite's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the fiducials, match and fit them, predict the error."""
    from console.commands.registering import register_run

    status = register_run(
        run,
        as_json,
        ct_points=ct_points,
        ct_axes=ct_points_axes,
        marking_rms_mm=ct_points_error_mm,
        tracked_points=tracked_points,
        tracked_axes=tracked_points_axes,
        tracker=tracker,
        pivot=pivot,
        skin_scan=skin_scan,
        calibration=calibration,
    )
    raise typer.Exit(status)


app.command()(plan)


@app.command()
def approve(
    run: RunArgument,
    operator: Annotated[str, typer.Option(help="Who approves; default: the login name.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Approve the saved plan by its hash: what was approved is what moves."""
    from console.commands.procedure import approve_plan

    raise typer.Exit(approve_plan(run, operator, as_json))


@app.command()
def execute(run: RunArgument, as_json: JsonOption = False) -> None:
    """Insert the needles of the approved plan with the simulated arm."""
    from console.commands.procedure import execute_run

    raise typer.Exit(execute_run(run, as_json))


@app.command()
def verify(
    run: RunArgument,
    ct: Annotated[
        Path | None,
        typer.Option(metavar="SERIES", help="Judge the needles in this CT (DICOM folder, NIfTI, NRRD) instead."),
    ] = None,
    series: Annotated[str | None, typer.Option(help="Series UID, where the folder holds several.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the needles in a check CT, measure and judge them, and write the report."""
    from console.commands.procedure import verify_run

    raise typer.Exit(verify_run(run, ct, series, as_json))


@app.command()
def report(run: RunArgument) -> None:
    """Write report.html and report.pdf again from what the run folder holds."""
    from console.commands.procedure import report_run

    raise typer.Exit(report_run(run))


@app.command()
def campaign(
    case: Annotated[str, typer.Argument(help="lidc, lidc-head, phantom:SEED[:NAME], or a case folder.")] = "lidc",
    trials: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="First seed; the trials use seed, seed + 1, ...")] = 0,
    device: TreatedOption = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler; default: the local cores.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default campaigns/<time>-<case>.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan once, then draw the errors of N seeds and judge each placement."""
    from console.commands.trials import run_campaign

    raise typer.Exit(run_campaign(case, trials, seed, device, scheduler, out, as_json))


@app.command()
def console(
    run: Annotated[Path, typer.Argument(metavar="[RUN]", help="Run folder, or the folder of all runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8017,
) -> None:
    """Serve the operator's web console on this machine only."""
    from console.server import serve

    serve(run, port)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """List what this machine lacks, and the command that mends it."""
    from console.commands.setting_up import print_findings

    raise typer.Exit(print_findings(as_json))


@calibrate_app.command("robot-tracker")
def calibrate_robot_tracker(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV table: robot_x_mm, robot_y_mm, robot_z_mm, tracker_x_mm, ... of a tip known to both; or, with "
            "robot_qx, robot_qy, robot_qz, robot_qw, tracker_qx, ... besides, poses of the flange and of a tool on it.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the calibration is saved.")] = Path("calibration.json"),
    as_json: JsonOption = False,
) -> None:
    """Find where the tracker stands in the robot's frame."""
    from console.commands.calibrating import robot_tracker

    raise typer.Exit(robot_tracker(table, out, as_json))


@calibrate_app.command("hand-eye")
def calibrate_hand_eye(
    hand: Annotated[
        Path, typer.Argument(metavar="HAND", help="CSV rows t, x, y, z, qx, qy, qz, qw of the hand: s, m.")
    ],
    tool: Annotated[Path, typer.Argument(metavar="TOOL", help="The same of the camera on it, by its own clock.")],
    out: Annotated[Path, typer.Option(help="Where the calibration is saved.")] = Path("hand_eye.json"),
    as_json: JsonOption = False,
) -> None:
    """Find how a camera or tool sits on the hand, and how far the two clocks are apart."""
    from console.commands.calibrating import hand_eye

    raise typer.Exit(hand_eye(hand, tool, out, as_json))


@calibrate_app.command("pivot")
def calibrate_pivot(
    poses: Annotated[Path, typer.Argument(metavar="POSES", help="CSV rows t, x, y, z, qx, qy, qz, qw: s, m.")],
    out: Annotated[Path, typer.Option(help="Where the tip is saved.")] = Path("tip.json"),
    as_json: JsonOption = False,
) -> None:
    """Find the tip of a tracked tool that was turned about it."""
    from console.commands.calibrating import pivot

    raise typer.Exit(pivot(poses, out, as_json))


@case_app.command("fetch")
def case_fetch(
    name: Annotated[str, typer.Argument(help="lidc or lidc-head.")],
    tissue_set: TissueSetOption = None,
    device: DeviceOption = "monopolar",
    as_json: JsonOption = False,
) -> None:
    """Download a public case, add what its labels lack, and keep it in the user's cache."""
    from console.commands.cases import fetch

    raise typer.Exit(fetch(name, tissue_set, device, as_json))


@case_app.command("phantom")
def case_phantom(
    seed: SeedOption = 0,
    size: Annotated[str, typer.Option(help="small or full.")] = "small",
    tissue_set: TissueSetOption = None,
    tumour: Annotated[str, typer.Option(help="usual, or a nodule of about 4 mm.")] = "usual",
    device: DeviceOption = "monopolar",
    out: Annotated[Path | None, typer.Option(help="Case folder; default: in the user's cache.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a procedural phantom with exact truth."""
    from console.commands.cases import phantom

    raise typer.Exit(phantom(seed, size, tumour, device, tissue_set, out, as_json))


@case_app.command("import")
def case_import(
    name: Annotated[str, typer.Argument(help="Name of the new case.")],
    ct: Annotated[Path, typer.Option(help="CT: DICOM folder, NIfTI or NRRD.")],
    labels: Annotated[Path, typer.Option(help="Label image (NIfTI, NRRD), seg.nrrd, DICOM SEG or RTSTRUCT.")],
    roles: Annotated[
        Path, typer.Option(help="CSV table: id,name,policy,clearance_mm,exposure_clearance_mm,price,tissue.")
    ],
    answers: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with the answers on eligibility, each true or false: ventricular_arrhythmia, "
            "implanted_cardiac_stimulator, heart_failure_nyha_4, severe_ascites, atrial_fibrillation, "
            "coronary_disease, metal_in_zone, liver_failure, ecg_synchronisation, anaesthesia_with_muscle_blockade. "
            "Required: none is assumed."
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="Name of the tumour's structure.")] = "tumour",
    tissue_set: TissueSetOption = None,
    device: DeviceOption = "monopolar",
    series: Annotated[
        str | None, typer.Option(metavar="UID", help="Series of the CT, where its folder holds several.")
    ] = None,
    orientation_confirmed_by: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who vouches that left is left, where no landmark in the labels tells."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Case folder; default: in the user's cache.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Import a CT with labels, a table of roles and the answers on eligibility."""
    from console.commands.cases import import_images

    raise typer.Exit(
        import_images(
            name,
            ct,
            labels,
            roles,
            answers,
            target,
            tissue_set,
            device,
            series,
            orientation_confirmed_by,
            out,
            as_json,
        )
    )


@case_app.command("series")
def case_series(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with DICOM files, searched below too.")],
    as_json: JsonOption = False,
) -> None:
    """List the DICOM series of a folder, and why one cannot be read as a CT."""
    from console.commands.cases import show_series

    raise typer.Exit(show_series(folder, as_json))


def main() -> None:
    """Run the command line; end with the exit status of the design and, when refused, one paragraph."""
    sys.exit(status_of(sys.argv[1:]))


def status_of(arguments: list[str]) -> int:
    """Run the command line on `arguments` and return its exit status: 0 pass, 1 fail, 2 refused, 3 internal."""
    from typer.exceptions import TyperException

    if arguments and "--help" not in arguments:  # the help says it itself
        print(DISCLAIMER, file=sys.stderr)
    try:
        result = app(arguments, standalone_mode=False)
    except (InvalidInputError, StorageError, RefusedError, SafetyStop) as error:
        print(f"needlework: {error}", file=sys.stderr)
        return REFUSED
    except (typer.Abort, KeyboardInterrupt):
        print("needlework: stopped at your request; the steps that were done are kept.", file=sys.stderr)
        return REFUSED
    except TyperException as error:
        print(f"needlework: {error.format_message()} See needlework --help.", file=sys.stderr)
        return REFUSED
    except Exception:  # noqa: BLE001 - the last line of defence: said as an internal error
        traceback.print_exc()
        print("needlework: internal error; please report the lines above.", file=sys.stderr)
        return INTERNAL
    if result == INTERRUPTED:
        print("needlework: stopped at your request; the steps that were done are kept.", file=sys.stderr)
        return REFUSED
    return int(result or PASS)


if __name__ == "__main__":
    main()
