"""Tissue by cell: σ at a field, and that it follows the patient's anatomy through geometry alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from guidance.ablation.conductivity import Anisotropy, TissueConductivity, TissueSet, tissue_set
from guidance.ablation.grid import TreatmentGrid
from guidance.ablation.tissue_map import TissueMap
from guidance.case.case import Case, Tissue
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume

TABLE = np.array([(0.11, 0.33, 350.0, 700.0), (0.012, 0.012, np.inf, np.inf), (0.7, 1.5, 100.0, 450.0)])
NAMES = ("pancreas", "fat", "vessel")
SHAPE = (70, 66, 74)
FIBRES = (0.48, -0.6, 0.64)


def _map(kind: np.ndarray, table: np.ndarray = TABLE) -> TissueMap:
    return TissueMap(kind, table, None, NAMES, "a test")


def _case_set() -> TissueSet:
    """The table, with a tumour that is anisotropic."""
    table = tissue_set("ire-table")
    tumour = table.tissues[Tissue.TUMOUR]
    fibrous = tumour.model_copy(update={"anisotropy": Anisotropy(axis_ct=FIBRES, along_over_across=2.5)})
    return TissueSet(**{**dict(table), "tissues": {**table.tissues, Tissue.TUMOUR: fibrous}})


def _affine(case: Case) -> np.ndarray:
    """A grid that begins outside the skin and beyond the image's first slice, along none of the image's axes."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.2, 0.1, -0.3]).as_matrix() * 1.7
    affine[:3, 3] = case.labels.points_mm((-3.1, 57.2, -4.3))
    return affine


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 3000.0)), min_size=1, max_size=40),
    st.floats(0.0, 500.0),
)
def test_sigma_is_the_ramp(cells: list[tuple[int, float]], more: float) -> None:
    """Between rest and permeabilised, never falling as the field grows, no steeper than its ramp: so continuous."""
    kind = np.array([c[0] for c in cells], dtype=np.uint8).reshape(-1, 1, 1)
    field = np.array([c[1] for c in cells]).reshape(kind.shape)
    low, high, first, last = TABLE[kind].transpose(3, 0, 1, 2)
    now, then = _map(kind).sigma(field), _map(kind).sigma(field + more)
    assert ((low <= now) & (now <= high * (1.0 + 1e-15))).all()
    assert (now <= then * (1.0 + 1e-15)).all()
    steepest = np.divide(high - low, last - np.minimum(first, 1e9), out=np.zeros_like(low), where=np.isfinite(last))
    assert (then - now <= steepest * more + 1e-12).all()
    by_library = [TABLE[k, 0] if k == 1 else np.interp(e, TABLE[k, 2:], TABLE[k, :2]) for k, e in cells]
    assert now.ravel() == pytest.approx(by_library, abs=1e-14)


def test_sigma_is_exact_at_and_beyond_the_ends_of_the_ramp() -> None:
    """At rest up to where the ramp begins, permeabilised from where it ends, whatever the field after that."""
    kind = np.array([0, 0, 0, 0, 1, 1, 2], dtype=np.uint8).reshape(-1, 1, 1)
    field = np.array([0.0, 350.0, 700.0, 1e9, 0.0, 1e9, 275.0]).reshape(kind.shape)
    sigma = _map(kind).sigma(field)
    assert sigma.ravel().tolist()[:6] == [0.11, 0.11, 0.33, 0.33, 0.012, 0.012]
    assert sigma.ravel()[6] == pytest.approx(1.1)
    assert sigma.dtype == np.float64


def test_a_field_in_single_precision_gives_the_same() -> None:
    """To the precision that the field has, on a view that is not contiguous as well."""
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, (9, 8, 7)).astype(np.uint8)
    field = rng.uniform(0.0, 1200.0, (9, 8, 7))
    assert _map(kind).sigma(field.astype(np.float32)) == pytest.approx(_map(kind).sigma(field), rel=1e-6)
    turned = np.asfortranarray(field)
    assert np.array_equal(_map(kind).sigma(turned), _map(kind).sigma(field))


@pytest.mark.parametrize("wrong", [math.nan, -1.0, -math.inf, math.inf])
def test_a_field_that_is_none_is_refused(wrong: float) -> None:
    """A solver that diverged gives no σ; how many cells are wrong is said."""
    field = np.full((3, 2, 2), 400.0)
    field[1, 1, 0] = wrong
    with pytest.raises(InvalidInputError, match="negative or no numbers.*Value: 1 cells"):
        _map(np.zeros((3, 2, 2), dtype=np.uint8)).sigma(field)
    with pytest.raises(InvalidInputError, match="not on the grid"):
        _map(np.zeros((3, 2, 2), dtype=np.uint8)).sigma(field[:2])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((-0.1, 0.3, 350.0, 700.0), "vessel cannot be used"),
        ((0.0, 0.0, np.inf, np.inf), "vessel cannot be used"),
        ((math.nan, 0.3, 350.0, 700.0), "vessel cannot be used"),
        ((0.3, 0.1, 350.0, 700.0), "vessel cannot be used"),
        ((0.3, np.inf, 350.0, 700.0), "vessel cannot be used"),
        ((0.1, 0.3, 700.0, 350.0), "vessel cannot be used"),
        ((0.1, 0.3, 350.0, np.inf), "vessel cannot be used"),
        ((0.1, 0.3, np.inf, np.inf), "vessel cannot be used"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(row: tuple[float, ...], said: str) -> None:
    """By the name of the row: σ that is not positive or falls, a ramp that runs backwards or never ends."""
    table = TABLE.copy()
    table[2] = row
    with pytest.raises(InvalidInputError, match=said):
        _map(np.zeros((2, 2, 2), dtype=np.uint8), table)


def test_arrays_that_do_not_fit_are_refused_and_what_fits_is_read_only() -> None:
    """A row that is not there, another number of axes or of names, another type, no cells; copies refuse writes."""
    kind = np.zeros((2, 3, 4), dtype=np.uint8)
    for other in (kind[0], kind.astype(np.int64)):
        with pytest.raises(InvalidInputError, match="do not fit together"):
            _map(other)
    with pytest.raises(InvalidInputError, match="do not fit together"):
        _map(kind, TABLE[:2])
    with pytest.raises(InvalidInputError, match="do not fit together"):
        TissueMap(kind, TABLE, np.zeros((2, 3, 3)), NAMES, "a test")
    for other in (kind + np.uint8(3), kind[:0]):
        with pytest.raises(InvalidInputError, match="no cells, or cells of a row"):
            _map(other)
    tensors = np.repeat(np.eye(3)[None], 3, axis=0)
    made = TissueMap(kind, TABLE, tensors, NAMES, "a test")
    kind[0, 0, 0] = 2
    assert made.kind[0, 0, 0] == 0
    for array in (made.kind, made.table, made.tensors):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[(0,) * array.ndim] = 1


def test_uniform_tissue_is_one_constant() -> None:
    """The same σ at any field, and none that is not positive."""
    made = TissueMap.uniform((3, 4, 5), 0.2)
    assert made.kind.shape == (3, 4, 5) and made.tensors is None
    assert (made.sigma(np.linspace(0.0, 1e6, 60).reshape(3, 4, 5)) == 0.2).all()
    for wrong in (0.0, -0.2, math.nan, math.inf):
        with pytest.raises(InvalidInputError, match="cannot be used"):
            TissueMap.uniform((3, 4, 5), wrong)


def test_each_cell_is_what_its_place_in_the_images_says(box_case: Case) -> None:
    """Cell by cell from its point: label, else inside the skin, else outside; beyond the image its edge goes on."""
    body = box_case.body.voxels.copy()
    body[:, :, 0] = body[:, :, 2]
    case = dataclasses.replace(box_case, body=box_case.body.with_voxels(body))
    affine = _affine(case)
    made = TissueMap.on(case, _case_set(), affine, SHAPE)
    points = np.argwhere(np.ones(SHAPE)) @ affine[:3, :3].T + affine[:3, 3]
    index = case.labels.indices(points)
    voxel = np.clip(np.rint(index), 0, np.array(case.labels.shape) - 1).astype(int)
    inside = body[tuple(voxel.T)] > 0
    expected = np.where(inside, "background", "air")
    label = case.labels.voxels[tuple(voxel.T)]
    expected = np.where(label == 1, "tumour", np.where(label == 2, "vessel", expected))
    found = np.array(made.names)[made.kind.ravel()]
    assert np.array_equal(found, expected)
    assert set(made.names) == {"tumour", "vessel", "background", "air"} and made.source == "ire-table"
    below = index[:, 2] < -1.0
    assert (below & inside).sum() > 500 and (~inside).sum() > 500


def test_the_rows_carry_the_numbers_of_the_set(box_case: Case) -> None:
    """σ at rest and at a high field in a cell of each tissue is the set's."""
    chosen = tissue_set("ire-table")
    grid = TreatmentGrid.around_target(box_case)
    made = TissueMap.on(box_case, chosen, grid.affine, grid.shape)
    low, high = (made.sigma(np.full(grid.shape, e)) for e in (0.0, 5000.0))
    for tissue in (Tissue.TUMOUR, Tissue.VESSEL, Tissue.BACKGROUND):
        cells = made.kind == made.names.index(tissue)
        assert cells.any()
        assert set(low[cells]) == {chosen.tissues[tissue].resting_s_per_m}
        assert set(high[cells]) == {chosen.tissues[tissue].permeabilised_s_per_m}
    assert np.array_equal(made.kind == made.names.index("tumour"), grid.tumour)
    assert made.tensors is None


def test_unlabelled_tissue_is_what_the_set_says(box_case: Case) -> None:
    """The sets differ in the label 0 inside the skin, and in nothing else."""
    affine = _affine(box_case)
    table, fat = (TissueMap.on(box_case, tissue_set(n), affine, SHAPE) for n in ("ire-table", "ire-table-fat"))
    said = {"background": "fat", "air": "air", "tumour": "tumour", "vessel": "vessel"}
    assert [said[table.names[k]] for k in table.kind.ravel()] == [fat.names[k] for k in fat.kind.ravel()]


def test_a_labelled_cell_outside_the_skin_is_what_its_label_says(box_case: Case) -> None:
    """The skin is found by a threshold; a label was drawn."""
    labels = box_case.labels.voxels.copy()
    labels[56:59, 10:40, 4:36] = 2
    case = dataclasses.replace(box_case, labels=box_case.labels.with_voxels(labels))
    made = TissueMap.on(case, tissue_set("ire-table"), case.labels.affine, case.labels.shape)
    assert (case.body.voxels[56:59] == 0).all()
    assert set(np.unique(made.kind[57, 10:40, 4:36])) == {made.names.index("vessel")}


def test_a_structure_with_its_own_entry_has_its_own_row(box_case: Case) -> None:
    """Named after the structure; the class keeps its own σ elsewhere."""
    own = TissueConductivity(resting_s_per_m=0.55, permeabilised_s_per_m=0.55, source="invented for a test")
    chosen = TissueSet(**{**dict(tissue_set("ire-table")), "structures": {"aorta": own}})
    made = TissueMap.on(box_case, chosen, box_case.labels.affine, box_case.labels.shape)
    aorta = box_case.labels.voxels == 2
    assert np.array_equal(made.kind == made.names.index("structure aorta"), aorta)
    assert set(made.sigma(np.full(made.kind.shape, 900.0))[aorta]) == {0.55}
    assert "vessel" not in made.names


def test_a_moved_scene_has_the_same_tissues_and_tensors(box_case: Case) -> None:
    """Images, grid and fibres moved by one rigid motion: kind, table and tensors are the same."""
    rotation = Rotation.from_rotvec([-0.7, 0.4, 1.1]).as_matrix()
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, (61.0, -340.0, 17.5)

    def moved(image: Volume) -> Volume:
        return Volume(image.voxels, motion @ image.affine)

    chosen = _case_set()
    tumour = chosen.tissues[Tissue.TUMOUR]
    turned = tumour.model_copy(
        update={"anisotropy": Anisotropy(axis_ct=rotation @ np.array(FIBRES), along_over_across=2.5)}
    )
    there_set = TissueSet(**{**dict(chosen), "tissues": {**chosen.tissues, Tissue.TUMOUR: turned}})
    there_case = dataclasses.replace(
        box_case, ct=moved(box_case.ct), labels=moved(box_case.labels), body=moved(box_case.body)
    )
    affine = _affine(box_case)
    here = TissueMap.on(box_case, chosen, affine, SHAPE)
    there = TissueMap.on(there_case, there_set, motion @ affine, SHAPE)
    assert np.array_equal(here.kind, there.kind) and here.names == there.names
    assert np.array_equal(here.table, there.table)
    assert here.tensors is not None and there.tensors is not None
    assert there.tensors == pytest.approx(here.tensors, abs=1e-9)


def test_permuted_and_flipped_image_axes_change_nothing(box_case: Case) -> None:
    """The same voxels stored in another order, on a grid that stays: the same tissue in every cell."""

    def stored(image: Volume) -> Volume:
        voxels = image.voxels.transpose(2, 0, 1)[:, ::-1]
        affine = image.affine[:, [2, 0, 1, 3]].copy()
        affine[:3, 3] += affine[:3, 1] * (voxels.shape[1] - 1)
        affine[:3, 1] *= -1.0
        return Volume(np.ascontiguousarray(voxels), affine)

    affine = _affine(box_case)
    other = dataclasses.replace(box_case, labels=stored(box_case.labels), body=stored(box_case.body))
    here, there = (TissueMap.on(c, _case_set(), affine, SHAPE) for c in (box_case, other))
    assert np.array_equal(here.kind, there.kind) and here.names == there.names


@pytest.mark.parametrize("handed", [1.0, -1.0])
def test_tensors_act_along_the_grids_axes(box_case: Case, handed: float) -> None:
    """σE by components on the grid is σE in the patient, on right- and left-handed grids; det 1; others isotropic."""
    affine = _affine(box_case)
    if handed < 0.0:
        affine[:3, 3] += affine[:3, 1] * (SHAPE[1] - 1)
        affine[:3, 1] *= -1.0
    made = TissueMap.on(box_case, _case_set(), affine, SHAPE)
    assert made.tensors is not None
    axes = affine[:3, :3] / 1.7
    field_ct = np.array([0.3, -1.1, 0.7])
    along = (field_ct @ np.array(FIBRES)) * np.array(FIBRES)
    # Geometric mean 1 and along = 2.5 across: across is 2.5 to the power -1/3.
    expected_ct = (2.5 * along + (field_ct - along)) / 2.5 ** (1.0 / 3.0)
    tumour = made.tensors[made.names.index("tumour")]
    assert axes @ (tumour @ (axes.T @ field_ct)) == pytest.approx(expected_ct)
    assert np.linalg.det(tumour) == pytest.approx(1.0)
    assert made.tensors[made.names.index("vessel")] == pytest.approx(np.eye(3))


def test_a_label_that_nothing_describes_is_refused(box_case: Case) -> None:
    """A cell of unknown tissue has no σ; the label is named."""
    labels = box_case.labels.voxels.copy()
    labels[44:48, 20:30, 10:20] = 9
    case = dataclasses.replace(box_case, labels=box_case.labels.with_voxels(labels))
    with pytest.raises(InvalidInputError, match="no structure.*Value: \\[9\\]"):
        TissueMap.on(case, tissue_set("ire-table"), case.labels.affine, case.labels.shape)


def test_more_entries_than_a_byte_holds_are_refused(box_case: Case) -> None:
    """A case of three hundred structures, each with a σ of its own."""
    vessel = box_case.description.structure("aorta")
    structures = tuple(vessel.model_copy(update={"name": f"s{n}", "label": n + 1}) for n in range(300))
    case = dataclasses.replace(box_case, description=box_case.description.model_copy(update={"structures": structures}))
    own = TissueConductivity(resting_s_per_m=0.5, permeabilised_s_per_m=0.5, source="invented for a test")
    chosen = TissueSet(**{**dict(tissue_set("ire-table")), "structures": {s.name: own for s in structures}})
    with pytest.raises(InvalidInputError, match="more structures.*Value: 302.*Limit: 255"):
        TissueMap.on(case, chosen, case.labels.affine, case.labels.shape)
