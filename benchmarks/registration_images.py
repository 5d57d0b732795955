"""Time the reading of a CT series, and measure how well a tilted gantry's image is put straight.

    python -m benchmarks.registration_images [--slices 300] [--seed 0]

Writes a series of 512 x 512 slices of noise into a temporary folder, reads it, checks every voxel and the grid before
the time counts, and then the same in each compressed syntax on fewer slices. The tilt is measured on soft-edged
spheres sampled on tilted slices: the distance of their centres from where they truly are. Exits 1 when a number is
missed.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import gdcm
import numpy as np

from guidance.report.dicom.objects import SeriesNames
from guidance.report.dicom.series import write_series
from registration.images.dicom_series import read_series
from registration.images.tilt import straightened
from registration.images.volume import Volume

SYNTAXES = {
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "RLE": "1.2.840.10008.1.2.5",
}
COMPRESSED_SLICES = 20
LONGEST_S, FURTHEST_MM = 5.0, 0.1


def row(what: str, measured: str, asked: str, ok: bool | None) -> None:
    """Print one line of the table."""
    print(f"{what:<52} {measured:>22}   {asked:<12} {'' if ok is None else 'ok' if ok else 'MISSED'}", flush=True)


def smooth_noise(slices: int, seed: int) -> Volume:
    """A CT-like image: an ellipse of tissue with noise of 20 HU in air."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1.0, 40.0, -1000.0)
    voxels = np.empty((512, 512, slices), dtype=np.int16)
    for k in range(slices):
        voxels[:, :, k] = np.rint(body + rng.normal(0.0, 20.0, body.shape)).T
    affine = np.diag([0.7, 0.7, 1.0, 1.0])
    affine[:3, 3] = (-179.2, -170.0, -812.5)
    return Volume(voxels, affine)


def recode(path: Path, syntax: str) -> None:
    """Compress a file in place."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    if not reader.Read():
        raise SystemExit(f"cannot read {path}")
    change.SetInput(reader.GetImage())
    writer.SetFileName(str(path))
    if not change.Change():
        raise SystemExit(f"cannot compress to {syntax}")
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        raise SystemExit(f"cannot write {path}")


def read_time_s(folder: Path, truth: Volume) -> float:
    """Shortest of three readings, each checked against the truth."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        found = read_series(folder)
        times.append(time.perf_counter() - begun)
        if not (found.same_grid(truth) and np.array_equal(found.voxels, truth.voxels)):
            raise SystemExit(f"{folder} was read wrongly")
    return min(times)


def worst_sphere_mm(tilt_deg: float, seed: int, count: int = 40) -> float:
    """Largest distance [mm] of a sphere's centre from its true place after a tilted image was put straight."""
    rng = np.random.default_rng(seed)
    size, spacing, step = np.array([64, 64, 24]), (0.7, 0.9), 1.5
    tilt = math.radians(tilt_deg)
    affine = np.eye(4)
    affine[:3, 0] = (spacing[0], 0.0, 0.0)
    affine[:3, 1] = np.multiply((0.0, math.cos(tilt), math.sin(tilt)), spacing[1])
    affine[:3, 2] = (0.0, 0.0, step)
    affine[:3, 3] = -affine[:3, :3] @ ((size - 1) / 2.0)
    points = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    worst = 0.0
    for _ in range(count):
        centre, radius = rng.uniform((-12, -12, -3), (12, 12, 3)), rng.uniform(3.0, 5.0)
        outside = (np.linalg.norm(points - centre, axis=-1) - radius) / 0.6
        tissue = np.rint(-1000.0 + 2000.0 / (1.0 + np.exp(np.clip(outside, -60, 60)))).astype(np.int16)
        volume = Volume(*straightened(tissue, affine))
        index = np.argwhere(volume.voxels > -990)
        weight = volume.voxels[tuple(index.T)] + 1000.0
        found = weight @ volume.points_mm(index) / weight.sum()
        worst = max(worst, float(np.linalg.norm(found - centre)))
    return worst


def main() -> int:
    """Run the benchmark; 0 when everything asked for was reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reached = []
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"seed {options.seed}; noise 20 HU; shortest of three readings, files in the system's cache, each checked")
    truth = smooth_noise(options.slices, options.seed)
    with tempfile.TemporaryDirectory() as name:
        write_series(truth, Path(name), SeriesNames("benchmark", "study", "CT", 1))
        seconds = read_time_s(Path(name), truth)
        reached.append(seconds <= LONGEST_S)
        what = f"read {options.slices} slices of 512 x 512, uncompressed"
        row(what, f"{seconds:.2f} s", f"<= {LONGEST_S:g} s", reached[-1])
    part = truth.crop((0, 0, 0), (512, 512, COMPRESSED_SLICES))
    for kind, syntax in SYNTAXES.items():
        with tempfile.TemporaryDirectory() as name:
            write_series(part, Path(name), SeriesNames("benchmark", "study", "CT", 1))
            for path in Path(name).glob("*.dcm"):
                recode(path, syntax)
            seconds = read_time_s(Path(name), part)
            row(
                f"  {COMPRESSED_SLICES} slices in {kind}",
                f"{1000 * seconds / COMPRESSED_SLICES:.1f} ms a slice",
                "",
                None,
            )
    for tilt_deg in (-30.0, -12.0, 5.0, 20.0, 30.0):
        worst = worst_sphere_mm(tilt_deg, options.seed)
        reached.append(worst <= FURTHEST_MM)
        what = f"gantry tilt {tilt_deg:+.0f} deg: worst of 40 spheres"
        row(what, f"{worst:.3f} mm", f"<= {FURTHEST_MM:g} mm", reached[-1])
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
