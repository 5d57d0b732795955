"""A scan of the real case's skin with a fifth of outliers: error at the tumour, basin, and time.

    python -m benchmarks.registration_surface [--trials 40]

The skin is that of the case's CT (fetched before: needlework case fetch lidc); scans are its front, sampled with 0.5 mm
of noise across it, and drapes of up to 40 mm side 8 to 40 mm above it. The patient is rigid: on a real one breathing
and posture come on top. Exits with 1 when an error exceeds the limit of the registration, 2 mm, or a scan is refused.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time

import numpy as np

from guidance.case.store import load_case
from guidance.case.target import target_centroid_mm
from registration.surface.fit import register_scan
from registration.surface.skin import skin_surface
from sim.cache import case_folder
from tests.registration.surface.scans import motion, scan, tracker

STARTS = ((10.0, 5.0), (20.0, 10.0), (30.0, 15.0), (45.0, 25.0))
ASKED = 3
"""The first so many starts must all succeed."""


def main() -> int:
    """Print the table; 1 when a number was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    arguments = parser.parse_args()
    case = load_case(case_folder("lidc"))
    centre = target_centroid_mm(case)
    begun = time.perf_counter()
    skin = skin_surface(case.ct, case.body)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, lidc: {len(skin.points_ct_mm)} points of skin in "
        f"{time.perf_counter() - begun:.1f} s; seeds 0 to {arguments.trials - 1}"
    )
    places = np.stack([centre, centre + np.array([0.0, -100.0, 0.0])])
    fine = True
    for n, (shift_mm, degrees) in enumerate(STARTS):
        for count in (400, 2000):
            errors, foretold, seconds, refused = [], [], [], 0
            for seed in range(arguments.trials):
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
                f"median, {np.percentile(errors, 95):.2f} p95 (foretold {np.median(foretold):.2f}), worst "
                f"{max(errors):.2f}; refused {refused} of {arguments.trials}; {np.median(seconds):.2f} s"
                + ("" if good else "   (beyond the basin)" if n >= ASKED else "   MISSED"),
                flush=True,
            )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
