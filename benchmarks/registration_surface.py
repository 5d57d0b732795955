"""A scan of the real case's skin with a fifth of outliers: error at the tumour, basin, calibration, and time.

    python -m benchmarks.registration_surface [--trials 20]

The skin is that of the case's CT (fetched before: needlework case fetch lidc); scans are its front, sampled with 0.5 mm
of noise across it, and drapes of up to 40 mm side 8 to 40 mm above it. First the patient is rigid; then the skin gives
way by a random course along its normals, against which the foretold error is held. Breathing as such, and posture, are
not in it. Exits with 1 when a scan of the rigid patient is refused or is 2 mm wrong at the tumour, when foretold errors
do not hold, or when a body that slides, turns or repeats is accepted.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter

import numpy as np

from guidance.case.store import load_case
from guidance.case.target import target_centroid_mm
from registration.surface.fit import SurfaceStatus, register_scan
from registration.surface.skin import SkinSurface, skin_surface
from sim.cache import case_folder
from tests.registration.surface.scans import analytic, cylinder, motion, pressed, rippled, round_body, scan, tracker

STARTS = ((10.0, 5.0), (20.0, 10.0), (30.0, 15.0), (45.0, 25.0))
ASKED = 3
"""The first so many starts must all succeed."""
GIVES = ((0.5, 20.0), (0.5, 60.0), (1.0, 40.0), (1.0, 80.0), (1.0, 120.0))
"""Size (rms) and reach [mm] of the deformation."""
LONGEST_MM = 80.0
"""A longer reach is as long as the scan, and moves it as a motion does: it is shown, and no scan could tell it."""


def rigid(skin: SkinSurface, centre: np.ndarray, trials: int) -> bool:
    """Print errors from starts that are farther and farther off; True when those asked for are all good."""
    places = np.stack([centre, centre + np.array([0.0, -100.0, 0.0])])
    fine = True
    for n, (shift_mm, degrees) in enumerate(STARTS):
        for count in (400, 2000):
            errors, foretold, seconds, refused = [], [], [], 0
            for seed in range(trials):
                rng = np.random.default_rng(seed)
                true = tracker(rng)
                points = scan(skin, rng, count, true)
                start = motion(rng, centre, degrees, shift_mm) @ true
                begun = time.perf_counter()
                found = register_scan(skin, points, start, places)
                seconds.append(time.perf_counter() - begun)
                if found.T_ct_tracker is None or found.p95_mm is None:
                    refused += 1
                    continue
                errors.append(float(np.linalg.norm((found.T_ct_tracker @ true.inverse()).points(centre) - centre)))
                foretold.append(float(found.p95_mm[0]))
            good = refused == 0 and max(errors) <= 2.0
            fine &= good or n >= ASKED
            print(
                f"start {shift_mm:g} mm, {degrees:g} deg off, {count:4d} points: tumour {np.median(errors):.2f} mm "
                f"median, {np.percentile(errors, 95):.2f} p95 (foretold, with 0.5 mm of give that is not there, "
                f"{np.median(foretold):.2f}), worst {max(errors):.2f}; refused {refused} of {trials}; "
                f"{np.median(seconds):.2f} s" + ("" if good else "   (beyond)" if n >= ASKED else "   MISSED"),
                flush=True,
            )
    return fine


def giving_way(skin: SkinSurface, centre: np.ndarray, trials: int) -> bool:
    """Print errors under deformation beside the foretold ones, and how many scans are refused at the usual limit."""
    places = np.stack([centre, centre + np.array([0.0, -100.0, 0.0])])
    fine = True
    for size_mm, reach_mm in GIVES:
        errors, squares, held, statuses = [], [], [], Counter[str]()
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            true = tracker(rng)
            points = scan(pressed(skin, rng, size_mm, reach_mm), rng, 1500, true)
            statuses[str(register_scan(skin, points, true, places).status)] += 1
            found = register_scan(skin, points, true, places, limit_p95_mm=30.0)
            if found.T_ct_tracker is None or found.p95_mm is None or found.covariance is None:
                fine = False
                continue
            off = (found.T_ct_tracker @ true.inverse()).points(centre) - centre
            errors.append(float(np.linalg.norm(off)))
            held.append(errors[-1] <= found.p95_mm[0])
            squares.append(float(off @ np.linalg.solve(found.covariance[:3, :3], off)) / 3.0)
        good = np.mean(held) >= 0.85 and np.mean(squares) <= 2.0
        fine &= bool(good) or reach_mm > LONGEST_MM
        print(
            f"skin off by {size_mm:g} mm rms over {reach_mm:g} mm: tumour {np.sqrt(np.mean(np.square(errors))):.2f} mm "
            f"rms, worst {max(errors):.2f}; foretold 95 % holds {100 * np.mean(held):.0f} % (at least 85), "
            f"e'C^-1e/3 {np.mean(squares):.2f} (at most 2); at the limit of 3 mm: "
            + ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
            + ("" if good else "   (longer than a scan can tell)" if reach_mm > LONGEST_MM else "   MISSED"),
            flush=True,
        )
    return fine


def refused(trials: int) -> bool:
    """Print what bodies without hold are refused as; True when none is accepted."""
    rng = np.random.default_rng(0)
    bodies = {kind: analytic(kind, rng) for kind in ("plane", "tube", "ball")}
    bodies |= {"tube in a noisy CT": skin_surface(*cylinder()), "barrel in a noisy CT": skin_surface(*round_body())}
    ribs = rippled(rng)
    bodies["ribs 50 mm apart"] = ribs
    fine = True
    for name, body in bodies.items():
        scanned = body
        if body is ribs:
            middle = np.abs(ribs.points_ct_mm[:, 2]) < 80.0
            scanned = SkinSurface(ribs.points_ct_mm[middle], ribs.normals_ct[middle])
        statuses = Counter[str]()
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            true = tracker(rng)
            start = motion(rng, np.zeros(3), rng.uniform(0, 8), rng.uniform(0, 30)) @ true
            found = register_scan(body, scan(scanned, rng, 2000, true), start, [[10, 0, 0], [10, -100, 0.0]])
            statuses[str(found.status)] += 1
        fine &= str(SurfaceStatus.OK) not in statuses
        print(f"{name}: " + ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())), flush=True)
    return fine


def main() -> int:
    """Print the tables; 1 when a number was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    trials = parser.parse_args().trials
    case = load_case(case_folder("lidc"))
    begun = time.perf_counter()
    skin = skin_surface(case.ct, case.body)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, lidc: {len(skin.points_ct_mm)} points of skin in "
        f"{time.perf_counter() - begun:.1f} s; seeds 0 to {trials - 1}"
    )
    centre = target_centroid_mm(case)
    results = (rigid(skin, centre, trials), giving_way(skin, centre, trials), refused(max(trials // 4, 1)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
