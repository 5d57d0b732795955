"""Compile the inner loops once, by taking a small phantom through the whole chain in a temporary folder.

`make setup` runs it; numba keeps what it compiled beside the sources, so that the first real run is not slow.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from console.progress import Bars
from kinematics.errors import NeedleworkError

WARM_SEED = 1


def main() -> int:
    """Warm up; a chain that ends early has warmed what it reached, and says so."""
    from guidance.case.store import save_case
    from guidance.planning.plan import PlanStatus
    from registration.rigid_batch import fit_batch
    from sim.phantom import make_phantom
    from sim.run_folder import RunSettings
    from sim.steps import SimulatedProcedure

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, Bars() as bars:
        folder = Path(name)
        case = make_phantom(WARM_SEED, "small")
        save_case(case, folder / "case")
        settings = RunSettings(
            case_folder=str(folder / "case"), case_name=case.description.name, seed=WARM_SEED, version="warm"
        )
        run = SimulatedProcedure.start(folder / "run", case, settings, bars.progress)
        try:
            run.register()
            if run.plan().status is PlanStatus.OK:
                run.approve("warm-up", "1970-01-01T00:00:00Z")
                run.execute()
                run.verify()
        except NeedleworkError as error:
            print(f"      the warm-up ended early: {error}", file=sys.stderr)
    # Campaigns and benchmarks fit in batches; the procedure itself does not.
    corners = 100.0 * np.eye(3)[None]
    fit_batch(corners, corners)
    print(f"      compiled in {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
