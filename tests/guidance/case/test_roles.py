"""Default roles: what is not known to be free or costly is forbidden."""

from __future__ import annotations

import pytest

from guidance.case.case import Tissue
from guidance.case.policy import PolicyKind
from guidance.case.roles import CLEARANCE_MM, PRICES, is_mark, policy_of, structure_of, tissue_of

FORBIDDEN = [
    "aorta",
    "superior_mesenteric_artery",
    "superior_mesenteric_vein",
    "visceral_arteries",
    "renal_arteries",
    "renal_veins",
    "unidentified_vessels",
    "portal_vein_and_splenic_vein",
    "inferior_vena_cava",
    "duct_bile",
    "colon",
    "small_bowel",
    "duodenum",
    "gallbladder",
    "kidney_left",
    "spleen",
    "lung_lower_lobe_left",
    "heart",
    "esophagus",
    "adrenal_gland_right",
    "urinary_bladder",
    "rib_left_9",
    "vertebrae_L1",
    "costal_cartilages",
    "spinal_cord",
    "spine_remainder",
    "abdominal_gas",
    "unidentified_compact",
    "some_new_name",
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_by_default(name: str) -> None:
    """Vessels, ducts, bowel, bone, solid organs, and every name that is not known keep the default clearance."""
    policy = policy_of(name)
    assert policy.kind is PolicyKind.FORBIDDEN and policy.clearance_mm == CLEARANCE_MM == 2.0


@pytest.mark.parametrize("name", ["stomach", "liver", "unidentified"])
def test_costly_by_default(name: str) -> None:
    """Liver, stomach and thin unidentified tissue may be crossed at their price."""
    assert policy_of(name).kind is PolicyKind.COSTLY and policy_of(name).price == PRICES[name] > 0.0
    assert policy_of(name).exposure_clearance_mm == 0.0


@pytest.mark.parametrize(
    "name",
    ["drain", "drain_left", "Wound", "abdominal_wall_wound", "stomas", "port_2", "biliary catheter", "dressings"],
)
def test_what_lies_on_the_skin_is_no_way_in(name: str) -> None:
    """A mark is forbidden whatever else its name says, and is known as one."""
    policy = policy_of(name)
    assert is_mark(name)
    assert policy.kind is PolicyKind.FORBIDDEN and policy.clearance_mm == CLEARANCE_MM


@pytest.mark.parametrize(
    "name", ["portal_vein_and_splenic_vein", "stomach", "autochthon_left", "abdominal_wall", "skin"]
)
def test_anatomy_is_no_mark(name: str) -> None:
    """Names that only begin alike."""
    assert not is_mark(name)


@pytest.mark.parametrize("name", ["pancreas", "tumour", "fat", "abdominal_wall", "autochthon_left", "iliopsoas_right"])
def test_free_by_default(name: str) -> None:
    """Pancreas, tumour, fat and muscle are free."""
    assert policy_of(name).kind is PolicyKind.FREE


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("pancreas", Tissue.PANCREAS),
        ("tumour", Tissue.TUMOUR),
        ("liver", Tissue.LIVER),
        ("visceral_arteries", Tissue.VESSEL),
        ("renal_veins", Tissue.VESSEL),
        ("unidentified_vessels", Tissue.VESSEL),
        ("superior_vena_cava", Tissue.VESSEL),
        ("abdominal_wall", Tissue.MUSCLE),
        ("spine_remainder", Tissue.BONE),
        ("rib_right_10", Tissue.BONE),
        ("abdominal_gas", Tissue.AIR),
        ("lung_upper_lobe_left", Tissue.AIR),
        ("unidentified_compact", Tissue.BOWEL),
        ("stomach", Tissue.BOWEL),
        ("unidentified", Tissue.BACKGROUND),
        ("spleen", Tissue.BACKGROUND),
    ],
)
def test_tissue_by_name(name: str, tissue: Tissue) -> None:
    """The conducting class follows from the name."""
    assert tissue_of(name) is tissue


def test_structure_says_how_it_was_made() -> None:
    """A derived structure carries its method, and the default role."""
    made = structure_of("renal_veins", 7, "threshold")
    assert (made.label, made.derived, made.policy, made.tissue) == (
        7,
        "threshold",
        policy_of("renal_veins"),
        Tissue.VESSEL,
    )
