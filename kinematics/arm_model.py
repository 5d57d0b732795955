"""The arm: the geometry and limits of the bundled LBR iiwa 14 R820, read from its URDF, and documented masses."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from scipy.spatial.transform import Rotation

from kinematics.arrays import FloatArray, read_only
from kinematics.errors import InvalidInputError
from kinematics.units import MM_PER_M

JOINTS = 7
URDF = "xacro/kuka_description/kuka_lbr_iiwa/urdf/lbr_iiwa_14_r820.urdf"
"""Inside the package `rtbdata`. Its joints a2 and a4 are 0.436 mm off the nominal arm, and stay so."""
LINK_MASSES_KG = (5.76, 6.35, 3.5, 3.5, 3.5, 1.8, 1.2)
"""Links 1 to 7, as published for the iiwa 14 (Stürz, Affaki, Richmond 2017, recalled; the URDF has no inertias).
With a base of 5 kg they make 30.6 kg; the maker's data sheet says 29.9 kg for the whole arm (recalled)."""


@dataclass(frozen=True, eq=False)
class ArmModel:
    """A serial arm of seven revolute joints. Arrays are read-only copies; the base frame is `robot`.

    Args:
        name: What it is.
        origins: Fixed transform of each joint in its parent link [mm], shape (7, 4, 4).
        axes: Unit axis of each joint, in its own frame, shape (7, 3).
        T_last_flange: The flange in the last link [mm], 4 × 4.
        q_min_rad: Lower limits [rad], shape (7,).
        q_max_rad: Upper limits [rad], shape (7,).
        qd_max_rad_s: Speed limits [rad/s], shape (7,).
        masses_kg: Masses of the seven moving links [kg], shape (7,).

    Raises:
        InvalidInputError: A wrong shape, a value that is not finite, an axis that is no unit vector, limits that
            are the wrong way round, or a speed or mass that is not positive.
    """

    name: str
    origins: FloatArray
    axes: FloatArray
    T_last_flange: FloatArray
    q_min_rad: FloatArray
    q_max_rad: FloatArray
    qd_max_rad_s: FloatArray
    masses_kg: FloatArray

    def __post_init__(self) -> None:
        """Check, copy and freeze the arrays."""
        shapes: dict[str, tuple[int, ...]] = {"origins": (JOINTS, 4, 4), "axes": (JOINTS, 3), "T_last_flange": (4, 4)}
        for name in ("origins", "axes", "T_last_flange", "q_min_rad", "q_max_rad", "qd_max_rad_s", "masses_kg"):
            try:
                array = read_only(getattr(self, name), shapes.get(name, (JOINTS,)))
            except ValueError as error:
                raise InvalidInputError(f"{name} of the arm {self.name}: {error}") from error
            object.__setattr__(self, name, array)
        off = float(np.abs(np.linalg.norm(self.axes, axis=1) - 1.0).max())
        if off > 1e-9:
            raise InvalidInputError(f"a joint axis of the arm {self.name} is no unit vector", value=off, limit=1e-9)
        if not (self.q_min_rad < self.q_max_rad).all():
            raise InvalidInputError(
                f"joint limits of the arm {self.name} are the wrong way round",
                value=(self.q_max_rad - self.q_min_rad).tolist(),
                limit=0.0,
                unit="rad",
            )
        if not ((self.qd_max_rad_s > 0.0).all() and (self.masses_kg > 0.0).all()):
            raise InvalidInputError(f"speed limits and masses of the arm {self.name} must be positive")


@lru_cache(maxsize=1)
def load_lbr() -> ArmModel:
    """Return the LBR iiwa 14 R820 of the package `rtbdata`, its flange at the URDF's link `tool0`.

    Raises:
        InvalidInputError: The URDF is missing or is not a chain of seven revolute joints to `tool0`.
    """
    try:
        place = files("rtbdata").joinpath(URDF)
        root = ElementTree.fromstring(place.read_text())
    except (ModuleNotFoundError, OSError, ElementTree.ParseError) as error:
        raise InvalidInputError(
            f"the arm's description cannot be read: {error}", file=URDF, remedy="install rtb-data again"
        ) from error
    return _chain("LBR iiwa 14 R820", root)


def _chain(name: str, root: ElementTree.Element) -> ArmModel:
    """Return the arm from `base_link` to `tool0`."""
    by_parent: dict[str, list[ElementTree.Element]] = {}
    for joint in root.findall("joint"):
        by_parent.setdefault(_attribute(joint, "parent", "link"), []).append(joint)
    found = _to_tool0(by_parent, "base_link")
    kinds = [j.get("type") for j in found]
    if kinds != ["revolute"] * JOINTS + ["fixed"]:
        raise InvalidInputError(
            "the arm's description is not seven revolute joints and a fixed flange", value=kinds, file=URDF
        )
    moving = found[:-1]
    limits = np.array([[float(_attribute(j, "limit", n)) for n in ("lower", "upper", "velocity")] for j in moving])
    return ArmModel(
        name=name,
        origins=np.stack([_origin(j) for j in moving]),
        axes=np.array([_numbers(_attribute(j, "axis", "xyz")) for j in moving]),
        T_last_flange=_origin(found[-1]),
        q_min_rad=limits[:, 0],
        q_max_rad=limits[:, 1],
        qd_max_rad_s=limits[:, 2],
        masses_kg=np.array(LINK_MASSES_KG),
    )


def _to_tool0(by_parent: dict[str, list[ElementTree.Element]], link: str) -> list[ElementTree.Element]:
    """Return the joints from `link` to `tool0`; empty where there is no such way."""
    for joint in by_parent.get(link, []):
        child = _attribute(joint, "child", "link")
        rest = _to_tool0(by_parent, child)
        if child == "tool0" or rest:
            return [joint, *rest]
    return []


def _origin(joint: ElementTree.Element) -> FloatArray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", _numbers(_attribute(joint, "origin", "rpy"))).as_matrix()
    pose[:3, 3] = MM_PER_M * _numbers(_attribute(joint, "origin", "xyz"))
    return pose


def _attribute(joint: ElementTree.Element, tag: str, name: str) -> str:
    child = joint.find(tag)
    text = None if child is None else child.get(name)
    if text is None:
        raise InvalidInputError(f"joint {joint.get('name')} has no {tag} {name}", file=URDF)
    return text


def _numbers(text: str) -> FloatArray:
    return np.array([float(t) for t in text.split()])
