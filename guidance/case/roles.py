"""The default role of each structure: what a needle may do to it, and how it conducts."""

from __future__ import annotations

import re

from guidance.case.case import Structure, Tissue
from guidance.case.policy import Policy, PolicyKind

CLEARANCE_MM = 2.0
"""Forbidden structures: nominal, from the shaft's surface (domain default)."""
PRICES = {"stomach": 1.0, "liver": 0.6, "unidentified": 0.8}
"""Costly structures: price per mm of path inside."""

_BONE = ("vertebrae", "rib", "sacrum", "hip", "sternum", "scapula", "clavicula", "humerus", "femur", "skull", "spine")
_VESSEL = ("aorta", "vein", "vena", "artery", "arteries", "trunk", "vessel", "atrial", "duct_")
_MUSCLE = ("autochthon", "iliopsoas", "gluteus", "muscle", "abdominal_wall")
_BOWEL = ("colon", "small_bowel", "duodenum", "stomach", "esophagus", "unidentified_compact", "rectum")
_FREE = {"pancreas", "tumour", "fat"}
_MARKS = {"drain", "wound", "stoma", "port", "catheter", "dressing"}


def tissue_of(name: str) -> Tissue:
    """Return the electrical tissue class of a structure, from its name."""
    if name == "pancreas":
        return Tissue.PANCREAS
    if name == "tumour":
        return Tissue.TUMOUR
    if name == "liver":
        return Tissue.LIVER
    if name == "fat":
        return Tissue.FAT
    if name.startswith(("lung", "trachea", "abdominal_gas")):
        return Tissue.AIR
    if name.startswith(_BONE):
        return Tissue.BONE
    if any(part in name for part in _VESSEL):
        return Tissue.VESSEL
    if name.startswith(_MUSCLE):
        return Tissue.MUSCLE
    if name.startswith(_BOWEL):
        return Tissue.BOWEL
    return Tissue.BACKGROUND


def is_mark(name: str) -> bool:
    """Tell whether a structure is no anatomy but a mark on the skin or through it: a drain, a wound, a dressing."""
    return any(word.removesuffix("s") in _MARKS for word in re.split(r"[^a-z]+", name.lower()))


def policy_of(name: str) -> Policy:
    """Return the default policy: forbidden unless a structure is known to be free or costly."""
    if is_mark(name):
        return Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=CLEARANCE_MM)
    if name in _FREE or name.startswith(_MUSCLE):
        return Policy(kind=PolicyKind.FREE)
    if name in PRICES:
        return Policy(kind=PolicyKind.COSTLY, price=PRICES[name])
    return Policy(kind=PolicyKind.FORBIDDEN, clearance_mm=CLEARANCE_MM)


def structure_of(name: str, label: int, derived: str | None = None) -> Structure:
    """Return a structure with its default role."""
    return Structure(name=name, label=label, policy=policy_of(name), tissue=tissue_of(name), derived=derived)
