"""Measure how labels meet the CT: contours, segmentations, other grids, two readers, and mirrored real scans.

    PYTHONPATH=. python benchmarks/registration_labels.py [--seed 0] [--shapes 200]

Prints one table: what, measured, asked. Budget: exact contours and exact voxels (no noise); the figures are those of
rasterising and of geometry alone. Answers are checked before they are timed. The real scan and the public case are
measured where they are there, and said to be missing where not. Ends with 1 when a number is missed.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from guidance.case.body import body_mask
from guidance.case.orientation import prove_orientation
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume, read_image, write_image
from registration.labels.dicom_seg import read_dicom_seg
from registration.labels.label_set import LabelSet, Reach
from registration.labels.moments import moments
from registration.labels.onto_grid import onto_grid
from registration.labels.reading import read_labels
from registration.labels.rtstruct import read_rtstruct
from registration.labels.second_route import centroids_mm
from tests.registration.labels.label_files import ct_series, write_seg, write_seg_nrrd, write_structures

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "totalseg"
SIZE = (512, 512, 133)
reached: list[bool] = []


def judge(what: str, measured: float, unit: str, limit: float) -> None:
    """Print one line of the table, and remember whether the limit was kept."""
    reached.append(measured <= limit)
    verdict = "ok" if reached[-1] else "MISSED"
    print(f"{what:<58} {f'{measured:.4g} {unit}':>18}   {f'<= {limit:g} {unit}':<18} {verdict}", flush=True)


def random_grid(rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: tuple[float, ...]) -> Volume:
    """An empty grid, turned and moved at random."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=rng).as_matrix() * spacing_mm
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return Volume(np.zeros(shape, np.int16), affine)


def contours(rng: np.random.Generator, shapes: int, folder: Path) -> None:
    """Ellipsoids with a hole on turned grids: the exact centroid and volume of their slices against the voxels'."""
    off, volume_off = [], []
    turn = np.linspace(0.0, 2.0 * np.pi, 360, endpoint=False)
    for _ in range(shapes):
        ct = random_grid(rng, (64, 60, 24), (0.7, 0.7, 2.5))
        centre = np.array([32.0, 30.0, 12.0]) + rng.uniform(-3, 3, 3)
        semi = rng.uniform(0.3, 1.0, 3) * (24.0, 22.0, 8.0) + (3.0, 3.0, 2.0)
        bodies = ((centre, semi, 1.0), (centre + 0.1 * semi, 0.45 * semi, -1.0))
        drawn, volume, moment = [], 0.0, np.zeros(3)
        for middle, axes, sign in bodies:
            for k in range(ct.shape[2]):
                rest = 1.0 - ((k - middle[2]) / axes[2]) ** 2
                if rest <= 0.0:
                    continue
                u, v = (middle[n] + axes[n] * np.sqrt(rest) * f(turn) for n, f in ((0, np.cos), (1, np.sin)))
                drawn.append(ct.points_mm(np.column_stack((u, v, np.full_like(u, k)))))
                area = sign * np.pi * axes[0] * axes[1] * rest
                volume += area
                moment += area * np.array([middle[0], middle[1], k])
        write_structures(folder / "rt.dcm", {"shell": drawn})
        mask = read_rtstruct(folder / "rt.dcm", ct).mask(1)
        off.append(np.abs(np.argwhere(mask).mean(axis=0) - moment / volume))
        volume_off.append(abs(mask.sum() / volume - 1.0))
    judge(f"RTSTRUCT: centroid, worst axis of {shapes} shapes", float(np.max(off)), "voxel", 0.1)
    judge("RTSTRUCT: centroid, rms", float(np.sqrt(np.mean(np.square(off)))), "voxel", 0.05)
    judge("RTSTRUCT: volume, 95 % of shapes within", 100.0 * float(np.quantile(volume_off, 0.95)), "%", 2.0)


def other_grids(rng: np.random.Generator) -> None:
    """Labels on oblique grids of any spacing, against the definition voxel by voxel; then the time of a large one."""
    wrong = 0
    for _ in range(40):
        ct = random_grid(rng, (37, 33, 21), (0.8, 0.9, 2.1))
        labels = random_grid(rng, (31, 30, 29), tuple(rng.uniform(0.7, 3.0, 3)))
        affine = labels.affine.copy()
        affine[:3, 3] += ct.points_mm([18, 16, 10]) - labels.points_mm([15, 15, 14])
        labels = Volume(rng.integers(0, 5, labels.shape).astype(np.uint8), affine)
        found = onto_grid(LabelSet((labels,), Reach.of(labels), "label image"), ct)
        index = labels.indices(ct.points_mm(np.moveaxis(np.indices(ct.shape), 0, -1)))
        nearest = np.rint(index).astype(int)
        inside = ((nearest >= 0) & (nearest < labels.shape)).all(axis=-1)
        meant = np.zeros(ct.shape, dtype=np.uint8)
        meant[inside] = labels.voxels[tuple(nearest[inside].T)]
        clear = (np.abs(index - np.floor(index) - 0.5) > 1e-6).all(axis=-1)
        wrong += int((found.layers[0].voxels != meant)[clear].sum()) + int((found.within != inside)[clear].sum())
    judge("labels on 40 oblique grids: wrong voxels", wrong, "voxels", 0)
    ct = random_grid(rng, SIZE, (0.7, 0.7, 2.5))
    voxels = np.zeros(SIZE, dtype=np.uint8)
    voxels[100:400, 100:350, 20:110] = 7
    turned = ct.affine.copy()
    turned[:3, :3] = Rotation.from_rotvec([0.1, 0.2, 0.1]).as_matrix() @ turned[:3, :3]
    labels = Volume(voxels, turned)
    begun = time.perf_counter()
    onto_grid(LabelSet((labels,), Reach.of(labels), "label image"), ct)
    judge(f"labels of {SIZE} onto an oblique grid", time.perf_counter() - begun, "s", 10.0)


def segmentation(rng: np.random.Generator, folder: Path) -> None:
    """A segmentation of 512 × 512 × 133 with 24 segments, some overlapping: every voxel back, and its time."""
    ct = Volume(np.zeros(SIZE, np.int16), np.diag([0.7, 0.7, 2.5, 1.0]))
    series = ct_series(ct, folder / "series")
    stack = np.zeros((SIZE[2], SIZE[1], SIZE[0], 24), dtype=np.uint8)
    for n in range(24):
        low = rng.integers(0, (100, 380, 380))
        high = low + rng.integers((10, 40, 40), (33, 130, 130))
        stack[low[0] : high[0], low[1] : high[1], low[2] : high[2], n] = 1
    names = {n + 1: f"s{n}" for n in range(24)}
    write_seg(folder / "seg.dcm", series, stack, names)
    begun = time.perf_counter()
    came = read_dicom_seg(folder / "seg.dcm")
    seconds = time.perf_counter() - begun
    placed = onto_grid(came, ct)
    wrong = 0
    for n in names:
        found = np.any([layer.voxels == n for layer in placed.layers], axis=0)
        wrong += int((found.transpose(2, 1, 0) != (stack[..., n - 1] > 0)).sum())
    judge("DICOM SEG, 24 segments: wrong voxels", wrong, "voxels", 0)
    judge(f"DICOM SEG of {SIZE}, 24 segments: read", seconds, "s", 15.0)


def two_readers(rng: np.random.Generator, folder: Path) -> None:
    """Every form on turned grids: distance between the two readers' centroids."""
    apart: dict[str, float] = {}
    for _ in range(5):
        ct = random_grid(rng, (60, 56, 20), (0.8, 0.8, 2.5))
        voxels = np.zeros(ct.shape, dtype=np.uint8)
        voxels[8:30, 10:33, 3:9], voxels[35:52, 20:50, 11:17] = 1, 2
        image = ct.with_voxels(voxels)
        segments = [{"Name": f"s{n}", "LabelValue": n, "Layer": 0} for n in (1, 2)]
        for form in ("l.nii.gz", "l.nrrd", "l.mha", "l.seg.nrrd", "seg.dcm"):
            path = folder / form
            if form == "l.seg.nrrd":
                write_seg_nrrd(path, [voxels], ct.affine, segments, "right-anterior-superior")
            elif form == "seg.dcm":
                write_seg(path, ct_series(ct, folder / "ct"), voxels.transpose(2, 1, 0), {1: "s1", 2: "s2"})
            else:
                write_image(image, path)
            came = read_labels(path, ct)
            first = {n: m.centre_mm for layer in came.layers for n, m in moments(layer).items()}
            _, second = centroids_mm(came, first)
            worst = max(float(np.linalg.norm(second[n] - first[n])) for n in (1, 2))
            apart[form] = max(apart.get(form, 0.0), worst)
    for form, worst in apart.items():
        judge(f"two readers of {form}: apart", worst, "mm", 0.1)


def real_scan(folder: Path) -> None:
    """The seven mirror images of a real scan, of the labels alone and of the whole set: each refused by name."""
    if not REAL.is_dir():
        print("real scan: the recordings are not there; not measured")
        return
    with (REAL / "label_names_v2.csv").open(newline="") as table:
        names = {row["structure"]: int(row["id"]) for row in csv.DictReader(table)}
    image = read_image(REAL / "example_ct.nii.gz")
    ct = image.with_voxels(np.clip(image.voxels, -1024, 32767).astype(np.int16))
    labels, body = read_image(REAL / "example_seg_fast_force_split.nii.gz"), body_mask(ct)
    present = set(moments(labels))
    names = {name: n for name, n in names.items() if n in present}
    path = folder / "real.nii.gz"
    write_image(labels, path)
    proof = prove_orientation(read_labels(path, ct), labels, names, ct, body, None)
    judge("real scan: two readers apart", proof.apart_mm, "mm", 0.1)
    judge("real scan: ways not told by anatomy", len(proof.untold), "", 0)
    passed = {"labels alone": 0, "whole set": 0}
    for n in range(1, 8):
        axes = tuple(a for a in range(3) if n >> a & 1)
        flipped, ct_flipped, body_flipped = (v.with_voxels(np.flip(v.voxels, axes).copy()) for v in (labels, ct, body))
        write_image(flipped, path)
        came = read_labels(path, ct)
        for what, on, skin in (("labels alone", ct, body), ("whole set", ct_flipped, body_flipped)):
            try:
                prove_orientation(came, flipped, names, on, skin, None)
            except InvalidInputError as error:
                words = "mirrored against the CT" if what == "labels alone" else "mirrored"
                passed[what] += words not in error.what
                continue
            passed[what] += 1
    for what, count in passed.items():
        judge(f"real scan: of 7 mirror images of the {what}, not named", count, "", 0)


def public_case() -> None:
    """The public case, derived anew, is the one that is kept: the same structures, voxels and hashes."""
    from sim.cache import case_folder, is_kept
    from sim.lidc.anatomy import derive, read_sources
    from sim.lidc.source import source_files

    if not is_kept(case_folder("lidc")):
        print("public case: it is not in the cache; not measured")
        return
    kept = (case_folder("lidc") / "case.json").read_text()

    def silent(_stage: str, _fraction: float) -> None:
        return

    derived: Any = derive("lidc", read_sources(source_files(silent), silent), silent)
    judge("public case: differs from the one that is kept", float(derived.description.canonical_json() != kept), "", 0)


def main() -> int:
    """Run the benchmark; 0 when everything asked for was reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shapes", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"seed {options.seed}; budget: exact contours and voxels, no noise"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contours(rng, options.shapes, folder)
        other_grids(rng)
        two_readers(rng, folder)
        segmentation(rng, folder)
        real_scan(folder)
        public_case()
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
