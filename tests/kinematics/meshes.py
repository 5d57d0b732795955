"""The collision meshes of the real arm, as shipped with `rtbdata`."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import numpy as np

from kinematics.arrays import FloatArray

FOLDER = "xacro/kuka_description/kuka_lbr_iiwa/meshes/lbr_iiwa_14_r820/collision"
NAMES = ("base_link", *(f"link_{n}" for n in range(1, 8)))


@lru_cache(maxsize=8)
def triangles_mm(link: int) -> FloatArray:
    """Return the triangles of base (0) or a link (1 to 7) in its own frame, shape (n, 3, 3), from the binary STL."""
    content = files("rtbdata").joinpath(FOLDER, f"{NAMES[link]}.stl").read_bytes()
    count = int.from_bytes(content[80:84], "little")
    facets = np.frombuffer(
        content[84:], dtype=np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")]), count=count
    )
    return facets["corners"].astype(np.float64) * 1000.0


def vertices_mm(link: int) -> FloatArray:
    """Return the distinct vertices of base (0) or a link (1 to 7) in its own frame."""
    return np.unique(triangles_mm(link).reshape(-1, 3), axis=0)
