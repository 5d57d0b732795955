"""Tables of the record: structures and where they came from, the journal, times and hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guidance.ablation.conductivity import tissue_set
from guidance.case.policy import PolicyKind
from guidance.report.appearance import plain
from guidance.report.grid import NOTHING, Grid, number, unit_triple
from guidance.report.inputs import ReportInputs

MOST_JOURNAL_ROWS = 600


def structures(inputs: ReportInputs) -> Grid:
    """Return the structures that are in the image, with their policy, and how derived ones were made."""
    present = np.bincount(inputs.case.labels.voxels.ravel())
    voxel_ml = float(np.prod(inputs.case.labels.spacing_mm)) / 1000.0
    rows = []
    for s in inputs.case.description.structures:
        count = int(present[s.label]) if s.label < len(present) else 0
        if count == 0:
            continue
        policy = s.policy.kind.value
        if s.policy.kind is PolicyKind.FORBIDDEN:
            policy += f", {s.policy.clearance_mm:g} mm"
        elif s.policy.kind is PolicyKind.COSTLY:
            policy += f", {s.policy.price:g} per mm"
        rows.append((plain(s.name), policy, plain(s.tissue.value), f"{count * voxel_ml:.1f}", s.derived or "labels"))
    return Grid(("structure", "policy", "tissue", "volume ml", "from"), tuple(rows))


def eligibility_answers(inputs: ReportInputs) -> Grid:
    """Return the questions of eligibility with their answers, as the case states them."""
    said = inputs.case.description.eligibility.model_dump()
    return Grid(("question", "answer"), tuple((plain(name), "yes" if yes else "no") for name, yes in said.items()))


def conductivities(inputs: ReportInputs) -> Grid:
    """Return what the case's tissue set says: σ of every class, and of structures with an entry of their own."""
    chosen = tissue_set(inputs.case.description.tissue_set)
    entries = [(plain(tissue.value), c) for tissue, c in chosen.tissues.items()]
    entries += [(f"structure {plain(name)}", c) for name, c in chosen.structures.items()]
    rows = tuple(
        (
            name,
            f"{c.resting_s_per_m:g}",
            f"{c.permeabilised_s_per_m:g}",
            "constant" if c.ramp_from_v_per_cm is None else f"{c.ramp_from_v_per_cm:g}–{c.ramp_to_v_per_cm:g}",
            f"{c.anisotropy.along_over_across:g} along {unit_triple(c.anisotropy.axis_ct)}"
            if c.anisotropy
            else NOTHING,
            c.source,
        )
        for name, c in entries
    )
    heads = ("tissue", "σ at rest S/m", "σ permeabilised S/m", "rises over V/cm", "along over across", "source")
    note = (
        f"{chosen.described}. Unlabelled inside the skin: {plain(chosen.unlabelled.value)}; "
        f"outside the skin: {plain(chosen.outside.value)}."
    )
    return Grid(heads, rows, note=note)


def journal(rows: Sequence[Mapping[str, Any]]) -> Grid:
    """Return the journal's rows as they are, hashes shortened, the oldest first."""
    heads: list[str] = []
    for row in rows:
        heads.extend(k for k in row if k not in heads)
    shown = rows[:MOST_JOURNAL_ROWS]
    cells = tuple(tuple(_cell(k, row.get(k)) for k in heads) for row in shown)
    note = (
        "" if len(rows) == len(shown) else f"The first {len(shown)} of {len(rows)} entries; all are in journal.sqlite."
    )
    return Grid(tuple(plain(h) for h in heads), cells, note=note)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    if ("hash" in key or "sha" in key or key == "previous") and len(text) > 16:
        return text[:12] + "…"
    return text if len(text) <= 240 else text[:240] + "…"


def timings(seconds: Mapping[str, float]) -> Grid:
    """Return the seconds of each step."""
    rows = tuple((plain(k.removesuffix("_s")), number(v)) for k, v in seconds.items())
    return Grid(("step", "s"), rows)


def hashes(inputs: ReportInputs) -> Grid:
    """Return the hashes that tie the values together."""
    rows = [("case", inputs.case.description.sha256()), ("CT of the case", inputs.case.description.ct_sha256)]
    rows.append(("labels of the case", inputs.case.description.labels_sha256))
    rows.append(("skin mask of the case", inputs.case.description.body_sha256))
    values = (
        ("registration", inputs.registration),
        ("plan", inputs.plan),
        ("execution", inputs.execution),
        ("placement", inputs.placement),
        ("verdict", inputs.verdict),
    )
    rows += [(name, value.sha256()) for name, value in values if value is not None]
    if inputs.execution is not None:
        rows.append(("last entry of the journal", inputs.execution.journal_head))
    return Grid(("value", "SHA-256"), tuple(rows))
