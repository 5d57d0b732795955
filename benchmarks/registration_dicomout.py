"""Measure what is written as DICOM and as points against what is asked: read back, valid, and in time.

    python -m benchmarks.registration_dicomout [--case lidc]

Prints one table: what, measured, asked. The case must have been fetched before (needlework case fetch lidc); the
fiducials, both transforms and the ablation zone are invented from a seed, and no error budget enters: nothing here
says how accurate a procedure is. What is read back is checked before anything is timed. Exits 1 when a number is
missed; without dicom3tools that line says so, and counts as missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from matplotlib.path import Path as Polygon
from scipy.spatial.transform import Rotation

from console.commands.where import find_case
from console.progress import Bars
from guidance.case.case import Case
from guidance.case.target import target_centroid_mm
from guidance.report.dicom import export
from guidance.verification.placement import ImageAgreement, Placement, PlacementStatus
from kinematics.frames import Transform
from registration.images.volume import Volume
from registration.markups_json import write_markups
from registration.named_points import NamedPoints
from registration.point_files import read_ct_points
from tests.registered import registered, stated_fiducials

SEED = 5


def invented(case: Case, rng: np.random.Generator) -> dict[str, Any]:
    """Return everything that is written, invented round the case's target."""
    centre = target_centroid_mm(case)
    turn = Rotation.from_rotvec(rng.normal(0.0, 0.05, 3)).as_matrix()
    fiducials = stated_fiducials(centre + rng.uniform(-120.0, 120.0, (7, 3)))
    T_robot_ct = Transform.of("robot", "ct", turn, rng.uniform(-500.0, 500.0, 3))
    registration = registered(T_robot_ct, np.diag([0.05] * 3 + [1e-6] * 3), centre, fiducials=fiducials)
    placement = Placement(
        status=PlacementStatus.OK,
        reasons=(),
        needles=(),
        missing=(),
        T_plan_check=Transform.of("ct", "check", turn.T, rng.uniform(-15.0, 15.0, 3)),
        registration=ImageAgreement(
            fiducials_used=7,
            fiducial_fre_mm=0.2,
            fiducial_tre_p95_mm=0.3,
            image_difference_mm=0.4,
            fiducial_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
            image_p95_mm=0.25,
            image_covariance=np.diag([0.01] * 3 + [1e-6] * 3),
        ),
        check_ct_sha256="c",
        plan_sha256="p",
    )
    affine = np.eye(4)
    affine[:3, 3] = centre - 25.0
    grid = np.moveaxis(np.indices((50, 50, 50)), 0, -1) - 25.0
    zone = (np.linalg.norm(grid / (17.0, 13.0, 20.0), axis=-1) < 1.0).astype(np.uint8)
    check = np.broadcast_to(np.arange(140, dtype=np.int16), (480, 420, 140)).copy()
    return {
        "case": case,
        "planning_ct": case.ct,
        "registration": registration,
        "placement": placement,
        "check_ct": Volume(check, np.diag([0.7, 0.7, 1.0, 1.0]), "check"),
        "lesion": Volume(zone, affine),
    }


def segments(folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """Return each frame of the segmentation by segment label and the slice that it lies on, decoded by hand."""
    data = pydicom.dcmread(folder / "segmentation.dcm")
    size = data.Rows * data.Columns
    bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")
    names = {s.SegmentNumber: s.SegmentLabel for s in data.SegmentSequence}
    found = {}
    for n, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        name = names[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        found[name, source] = bits[n * size : (n + 1) * size].reshape(data.Rows, data.Columns).T > 0
    return found


def contour_errors(folder: Path) -> tuple[float, float, int]:
    """Return the largest error of area and centroid [voxel] in any slice of any part, and the voxels that differ."""
    slices = {s.SOPInstanceUID: s for s in (pydicom.dcmread(p) for p in (folder / "planning").iterdir())}
    data = pydicom.dcmread(folder / "structures.dcm")
    names = {r.ROINumber: r.ROIName for r in data.StructureSetROISequence}
    drawn: dict[tuple[str, str], list[np.ndarray]] = {}
    for region in data.ROIContourSequence:
        for contour in region.ContourSequence:
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            plane = slices[uid]
            axes = np.array([float(v) for v in plane.ImageOrientationPatient]).reshape(2, 3)
            points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
            away = points - np.array([float(v) for v in plane.ImagePositionPatient])
            step = [float(v) for v in plane.PixelSpacing]
            index = np.column_stack([away @ axes[0] / step[1], away @ axes[1] / step[0]])
            drawn.setdefault((names[region.ReferencedROINumber], uid), []).append(index)
    masks = segments(folder)
    if set(masks) != set(drawn):
        return np.inf, np.inf, sum(int(m.sum()) for m in masks.values())
    area, centroid, differ = 0.0, 0.0, 0
    for key, polygons in drawn.items():
        inside = np.argwhere(masks[key])
        low, high = inside.min(axis=0) - 2, inside.max(axis=0) + 3
        cells = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        count = np.zeros(cells.shape[:2], dtype=int)
        moments = []
        for index in polygons:
            count += Polygon(np.vstack([index, index[:1]])).contains_points(cells.reshape(-1, 2)).reshape(count.shape)
            after = np.roll(index, -1, axis=0)
            cross = index[:, 0] * after[:, 1] - after[:, 0] * index[:, 1]
            moments.append((cross.sum() / 2.0, ((index + after) * cross[:, None]).sum(axis=0) / 6.0))
        filled = np.zeros(masks[key].shape, dtype=bool)
        filled[tuple(cells.reshape(-1, 2)[(count % 2 == 1).ravel()].T)] = True
        differ += int((filled ^ masks[key]).sum())
        total = sum(m[0] for m in moments)
        area = max(area, abs(abs(total) - len(inside)))
        middle = sum(m[1] for m in moments) / total
        centroid = max(centroid, float(np.abs(middle - inside.mean(axis=0)).max()))
    return area, centroid, differ


def matrix_error_mm(folder: Path, name: str, T: Transform, rng: np.random.Generator) -> float:
    """Return how far points within 300 mm land from where the transform takes them."""
    item = pydicom.dcmread(folder / name).RegistrationSequence[-1]
    values = item.MatrixRegistrationSequence[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix
    matrix = np.array([float(v) for v in values]).reshape(4, 4)
    points = rng.uniform(-300.0, 300.0, (100, 3))
    return float(np.abs(points @ matrix[:3, :3].T + matrix[:3, 3] - T.points(points)).max())


def validator_errors(folder: Path) -> int | None:
    """Return the lines of error of dciodvfy over every kind of object; None when it is not installed."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        return None
    files = [*folder.glob("*.dcm"), *(next(iter(sorted(f.iterdir()))) for f in folder.iterdir() if f.is_dir())]
    lines = []
    for file in files:
        done = subprocess.run([tool, "-new", file], capture_output=True, text=True, check=False)
        lines += (done.stdout + done.stderr).splitlines()
    return sum(line.startswith("Error") for line in lines)


def seconds_of_parts(folder: Path, values: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """Return the seconds of one export, and of the parts of it by the function that writes them."""
    taken: dict[str, float] = {}
    kept = {}
    for name in ("write_segmentation", "write_structure_set", "write_spatial_registration", "write_spatial_fiducials"):
        kept[name] = getattr(export, name)

        def timed(*args: Any, _name: str = name, **named: Any) -> Any:
            begun = time.perf_counter()
            result = kept[_name](*args, **named)
            taken[_name] = taken.get(_name, 0.0) + time.perf_counter() - begun
            return result

        setattr(export, name, timed)
    begun = time.perf_counter()
    export.write_dicom(folder, **values)
    total = time.perf_counter() - begun
    for name, function in kept.items():
        setattr(export, name, function)
    return total, taken


def main() -> int:
    """Run the benchmark; 0 when everything asked for was reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", default="lidc")
    options = parser.parse_args()
    reached: list[bool] = []

    def judge(what: str, measured: float, asked: float, unit: str) -> None:
        reached.append(measured <= asked)
        print(f"{what:<58} {measured:>10.4g} {unit:<6} <= {asked:<8g} {'ok' if reached[-1] else 'MISSED'}", flush=True)

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"case {options.case}, seed {SEED}, no error budget enters"
    )
    with Bars() as bars:
        case, _ = find_case(options.case, bars)
    rng = np.random.default_rng(SEED)
    values = invented(case, rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "dicom"
        export.write_dicom(folder, **values)
        area, centroid, differ = contour_errors(folder)
        judge("RTSTRUCT against SEG, area of a slice, worst", area, 0.1, "voxel")
        judge("RTSTRUCT against SEG, centroid of a slice, worst", centroid, 0.1, "voxel")
        judge("RTSTRUCT against SEG, voxels that differ", differ, 0, "")
        check, robot = values["placement"].T_plan_check, values["registration"].T_robot_ct
        judge(
            "check to planning, worst point", matrix_error_mm(folder, "check_to_planning.dcm", check, rng), 1e-6, "mm"
        )
        judge(
            "planning to robot, worst point", matrix_error_mm(folder, "planning_to_robot.dcm", robot, rng), 1e-6, "mm"
        )
        errors = validator_errors(folder)
        if errors is None:
            print("dciodvfy is not installed (dicom3tools): MISSED")
            reached.append(False)
        else:
            judge("dciodvfy, lines of error in all kinds of object", errors, 0, "")
        again = Path(name) / "again"
        export.write_dicom(again, **values)
        names = [p.relative_to(folder) for p in folder.rglob("*.dcm")]
        changed = sum((folder / n).read_bytes() != (again / n).read_bytes() for n in names)
        judge(f"files of {len(names)} that differ when written again", changed, 0, "")
        points = NamedPoints(("a", "b", "c"), rng.uniform(-300.0, 300.0, (3, 3)), "ct")
        write_markups(Path(name) / "p.mrk.json", points, ("",) * 3)
        there = read_ct_points(Path(name) / "p.mrk.json").points_mm
        judge(".mrk.json round trip, worst coordinate", float(np.abs(there - points.points_mm).max()), 0.0, "mm")
        total, taken = min((seconds_of_parts(folder, values) for _ in range(3)), key=lambda r: r[0])
        added = sum(v for k, v in taken.items() if k != "write_segmentation")
        judge("RTSTRUCT, REG and FID together, best of 3", added, 1.0, "s")
        for part, seconds in [*taken.items(), ("in all, both series with them", total)]:
            print(f"  {part:<56} {seconds:>10.2f} s")
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
