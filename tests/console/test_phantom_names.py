"""`phantom:SEED:NAME` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.commands.where import find_case
from console.progress import Bars
from kinematics.errors import InvalidInputError
from sim.planning_phantoms import planning_phantom


def test_a_planning_phantom_is_named_after_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made in the cache and read from there; a name that is none is refused with those there are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Bars() as bars:
        case, folder = find_case("phantom:0:against-vein", bars)
        assert folder == tmp_path / "needlework" / "cases" / "phantom-0-against-vein"
        assert case.description.sha256() == planning_phantom(0, "against-vein").description.sha256()
        assert find_case("phantom:0:against-vein", bars)[0].labels.sha256() == case.labels.sha256()
        with pytest.raises(InvalidInputError, match="no such phantom") as caught:
            find_case("phantom:0:nowhere", bars)
    assert "nodule" in str(caught.value.remedy) and "unknown-in-front" in str(caught.value.remedy)
