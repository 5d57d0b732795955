"""The case commands: fetch, phantom, import, series."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from console.commands.where import fetched_folder
from console.progress import Bars
from guidance.case.case import DEFAULT_TISSUE_SET, Case
from guidance.case.store import load_case, save_case
from guidance.case.target import target_points_mm
from guidance.scene import device_called
from sim.cache import case_folder


def _show(case: Case, folder: Path, as_json: bool) -> int:
    if as_json:
        print(case.description.canonical_json(), end="")
        return 0
    description = case.description
    volume_ml = len(target_points_mm(case)) * float(case.ct.spacing_mm.prod()) / 1000.0
    print(f"case {description.name} in {folder}")
    print(f"  image {case.ct.shape}, spacing {case.ct.spacing_mm.round(3).tolist()} mm")
    print(f"  tissue set {description.tissue_set}")
    print(f"  target {description.target}: {volume_ml:.2f} ml; {len(description.structures)} structures")
    print(f"  device {description.device.name}")
    for key, value in description.provenance.items():
        print(f"  {key}: {value}")
    return 0


def fetch(name: str, tissues: str | None, device: str, as_json: bool) -> int:
    """Fetch a public case into the cache, once; what an older version kept there is made anew."""
    from guidance.ablation.conductivity import tissue_set

    if tissues is not None:
        tissue_set(tissues)
    with Bars() as bars:
        folder = fetched_folder(name, device, bars)
        case = load_case(folder)
        if tissues is not None and tissues != case.description.tissue_set:
            case = case.with_tissue_set(tissues)
            case.description.save(folder / "case.json")
            bars.note(f"{name} conducts by {tissues} from now on; runs that were started before go on no more")
    return _show(case, folder, as_json)


def phantom(
    seed: int, size: str, tumour: str, device: str, tissues: str | None, out: Path | None, as_json: bool
) -> int:
    """Make a phantom."""
    from guidance.ablation.conductivity import tissue_set
    from sim.phantom import make_phantom

    if tissues is not None:
        tissue_set(tissues)
    with Bars() as bars:
        bars.progress("phantom", 0.0)
        case = make_phantom(seed, size, tumour=tumour, device=device_called(device))
        if tissues is not None:
            case = case.with_tissue_set(tissues)
        folder = out or case_folder(case.description.name)
        save_case(case, folder)
        bars.progress("phantom", 1.0)
    return _show(case, folder, as_json)


def import_images(
    name: str,
    ct: Path,
    labels: Path,
    roles: Path,
    answers: Path | None,
    target: str,
    tissues: str | None,
    device: str,
    series: str | None,
    orientation_confirmed_by: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Import anyone's CT with labels."""
    from guidance.case.importing import import_case

    treated, folder = device_called(device), out or case_folder(name)
    with Bars() as bars:
        case = import_case(
            name,
            ct,
            labels,
            roles,
            target,
            answers,
            tissues=tissues or DEFAULT_TISSUE_SET,
            series=series,
            orientation_confirmed_by=orientation_confirmed_by,
            device=treated,
            progress=bars.progress,
        )
    save_case(case, folder)
    return _show(case, folder, as_json)


def show_series(folder: Path, as_json: bool) -> int:
    """List the series of a DICOM folder."""
    from registration.images.dicom_series import list_series

    found = list_series(folder)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return 0
    print(f"{len(found)} series in {folder}" + ("; choose one with --series UID" if len(found) > 1 else ""))
    for one in found:
        print(f"{one.uid}  {one.modality}  {one.description or 'no description'}  {len(one.files)} files")
        if one.size is not None and one.spacing_mm is not None:
            size, spacing = (" x ".join(map(str, v)) for v in (one.size, [f"{s:.4g}" for s in one.spacing_mm]))
            print(f"  {size} voxels of {spacing} mm")
        if one.problem is not None:
            print(f"  cannot be read as a CT: {one.problem}")
    return 0
