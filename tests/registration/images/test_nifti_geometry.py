"""A NIfTI image lies where its forms say, as SimpleITK sees it; silent or contradicting forms are refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinematics.errors import InvalidInputError
from registration.images.volume import Volume, from_sitk, read_image, write_image

SHAPE = (5, 4, 3)
PIXDIM = (0.7, 0.9, 2.5)
TURN = Rotation.from_rotvec([0.2, -0.5, 1.1])
OFFSET = (-31.25, 17.5, 1203.75)


def nifti(path, *, qform=None, sform=None, qfac=1.0, pixdim=PIXDIM, units=2, codes=(1, 1), order="<", axes=3):
    """Write a NIfTI-1 file by hand: `qform` is (rotation, offset), `sform` a 3 × 4 matrix, both RAS."""
    header = bytearray(352)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, axes, *SHAPE, 1, 1, 1, 1)
    struct.pack_into(order + "2h", header, 70, 4, 16)
    struct.pack_into(order + "8f", header, 76, qfac, *pixdim, 1, 1, 1, 1)
    struct.pack_into(order + "3f", header, 108, 352.0, 1.0, 0.0)
    header[123] = units
    struct.pack_into(order + "2h", header, 252, codes[0] if qform else 0, codes[1] if sform is not None else 0)
    if qform:
        quaternion = qform[0].as_quat()
        vector = quaternion[:3] * (1.0 if quaternion[3] >= 0 else -1.0)
        struct.pack_into(order + "6f", header, 256, *vector, *qform[1])
    if sform is not None:
        struct.pack_into(order + "12f", header, 280, *np.ravel(sform))
    header[344:348] = b"n+1\0"
    content = bytes(header) + np.arange(np.prod(SHAPE), dtype=order + "i2").tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def matrix(turn=TURN, pixdim=PIXDIM, offset=OFFSET, qfac=1.0):
    """The 3 × 4 RAS matrix of a rotation, voxel size and offset."""
    return np.column_stack([turn.as_matrix() * pixdim * (1.0, 1.0, qfac), offset])


def lps(ras):
    """A 3 × 4 RAS matrix as a 4 × 4 LPS affine."""
    return np.vstack([np.diag([-1.0, -1.0, 1.0]) @ ras, [0, 0, 0, 1]])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("qfac", [1.0, -1.0, 0.0])
def test_only_a_qform_is_read_with_its_qfac(tmp_path, suffix, order, qfac):
    """Known truth: rotation, voxel size, offset and the flip of the third axis; 0 stands for 1."""
    path = nifti(tmp_path / f"q{suffix}", qform=(TURN, OFFSET), qfac=qfac, order=order)
    volume = read_image(path)
    assert volume.affine == pytest.approx(lps(matrix(qfac=qfac or 1.0)), abs=1e-4)
    assert volume.voxels[1, 0, 0] == 1 and volume.voxels[0, 1, 0] == SHAPE[0]
    assert volume.notes == ()


@settings(max_examples=60, deadline=None)
@given(
    vector=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    pixdim=st.tuples(*[st.floats(0.3, 5.0)] * 3),
    offset=st.tuples(*[st.floats(-900.0, 900.0)] * 3),
    qfac=st.sampled_from([1.0, -1.0]),
    which=st.sampled_from(["q", "s", "qs"]),
)
def test_any_rigid_form_is_where_simpleitk_sees_it(tmp_path_factory, vector, pixdim, offset, qfac, which):
    """A second reader and the matrix by hand agree, whichever form carries it, left- or right-handed."""
    turn = Rotation.from_rotvec(vector)
    path = nifti(
        tmp_path_factory.getbasetemp() / "any.nii",
        qform=(turn, offset) if "q" in which else None,
        sform=matrix(turn, pixdim, offset, qfac) if "s" in which else None,
        qfac=qfac,
        pixdim=pixdim,
    )
    volume = read_image(path)
    assert volume.affine == pytest.approx(lps(matrix(turn, pixdim, offset, qfac)), abs=1e-3)
    other = from_sitk(sitk.ReadImage(str(path)))
    assert volume.same_grid(other, 0.02) and np.array_equal(volume.voxels, other.voxels)


def test_both_forms_that_agree_use_the_sform_and_say_so(tmp_path):
    """Within 0.1 mm at every corner the sform wins, and the note says how far apart they are."""
    apart = np.add(OFFSET, (0.05, 0.0, 0.0))
    volume = read_image(nifti(tmp_path / "b.nii", qform=(TURN, apart), sform=matrix()))
    assert volume.affine == pytest.approx(lps(matrix()), abs=1e-4)
    assert volume.notes == ("placed by its sform; its qform agrees to 0.050 mm at every corner",)


@pytest.mark.parametrize(
    ("qform", "least_mm"),
    [
        ((TURN, np.add(OFFSET, (0.0, 0.12, 0.0))), 0.12),
        ((Rotation.from_rotvec([0.0, 0.0, 0.03]) * TURN, OFFSET), 0.11),
        ((Rotation.identity(), OFFSET), 1.0),
    ],
)
def test_forms_that_contradict_each_other_are_refused(tmp_path, qform, least_mm):
    """A corner more than 0.1 mm apart: which one is right cannot be known. SimpleITK takes one in silence."""
    path = nifti(tmp_path / "c.nii", qform=qform, sform=matrix())
    with pytest.raises(InvalidInputError, match="sform and qform contradict") as caught:
        read_image(path)
    assert caught.value.value >= least_mm - 0.01 and caught.value.limit == 0.1 and caught.value.file == str(path)
    sitk.ReadImage(str(path))


def test_neither_form_is_refused(tmp_path):
    """Codes of 0 leave the axes unknown. SimpleITK takes them as LPS."""
    with pytest.raises(InvalidInputError, match="does not say how it lies.*codes are both 0"):
        read_image(nifti(tmp_path / "n.nii"))


def sheared():
    """An sform whose second axis leans."""
    ras = matrix()
    ras[:, 1] += 0.2 * ras[:, 0]
    return ras


@pytest.mark.parametrize(
    ("sform", "words"),
    [
        (sheared(), "not perpendicular"),
        (matrix(pixdim=(0.7, 0.99, 2.5)), "scale is not the voxel size"),
        (matrix() * 0.0, "not a placement"),
        (matrix() * np.nan, "not a placement"),
    ],
)
def test_an_sform_that_is_not_rigid_is_refused(tmp_path, sform, words):
    """Shear, a scale of its own, zero and NaN."""
    with pytest.raises(InvalidInputError, match=words):
        read_image(nifti(tmp_path / "s.nii", sform=sform))


@pytest.mark.parametrize("code", [3, 4, 5])
def test_an_atlas_is_no_patient(tmp_path, code):
    """Coordinates of Talairach, MNI or a template are refused, unless a scanner's form agrees with them."""
    with pytest.raises(InvalidInputError, match="coordinates of an atlas"):
        read_image(nifti(tmp_path / "a.nii", sform=matrix(), codes=(1, code)))
    read_image(nifti(tmp_path / "b.nii", sform=matrix(), qform=(TURN, OFFSET), codes=(1, code)))


@pytest.mark.parametrize(("units", "mm"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0x0A, 1.0)])
def test_units_of_length_are_honoured(tmp_path, units, mm):
    """Metres, mm and micrometres give the same patient, by either form; the unit of time beside it is nothing to it."""
    pixdim, offset = np.array(PIXDIM) / mm, np.array(OFFSET) / mm
    for name, forms in {
        "s": {"sform": matrix(pixdim=pixdim, offset=offset)},
        "q": {"qform": (TURN, offset)},
    }.items():
        volume = read_image(nifti(tmp_path / f"{name}.nii", pixdim=pixdim, units=units, **forms))
        assert volume.affine == pytest.approx(lps(matrix()), abs=1e-3)


def test_no_unit_is_taken_as_mm_and_said_and_an_unknown_one_is_refused(tmp_path):
    """Many writers leave the unit out."""
    volume = read_image(nifti(tmp_path / "u.nii", sform=matrix(), units=0))
    assert volume.notes == ("the NIfTI image states no unit of length: taken as mm",)
    with pytest.raises(InvalidInputError, match="unit of length") as caught:
        read_image(nifti(tmp_path / "v.nii", sform=matrix(), units=5))
    assert caught.value.value == 5


def test_a_real_image_lies_where_simpleitk_sees_it():
    """A recording with an sform only and no unit of length."""
    path = Path(__file__).resolve().parents[4] / "shared" / "data" / "totalseg" / "example_ct.nii.gz"
    if not path.is_file():
        pytest.skip("the recordings in ../shared/data are absent")
    volume = read_image(path)
    assert volume.same_grid(from_sitk(sitk.ReadImage(str(path)))) and volume.shape == (122, 101, 112)
    assert len(volume.notes) == 1 and "taken as mm" in volume.notes[0]


def test_numbers_that_are_no_geometry_are_refused(tmp_path):
    """A voxel size of zero, below zero or NaN; a quaternion longer than one."""
    for pixdim in ((0.7, 0.0, 2.5), (0.7, -0.9, 2.5), (0.7, np.nan, 2.5)):
        with pytest.raises(InvalidInputError, match="three positive lengths"):
            read_image(nifti(tmp_path / "p.nii", qform=(TURN, OFFSET), pixdim=pixdim))
    path = nifti(tmp_path / "l.nii", qform=(TURN, OFFSET))
    content = bytearray(path.read_bytes())
    struct.pack_into("<3f", content, 256, 0.9, 0.9, 0.1)
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="longer than one"):
        read_image(path)


def test_other_kinds_of_nifti_are_refused_by_name(tmp_path):
    """NIfTI-2, half of a pair, and an Analyze header under the name of a NIfTI; a pair by its own name."""
    path = nifti(tmp_path / "x.nii", sform=matrix())
    good = path.read_bytes()
    path.write_bytes(struct.pack("<i", 540) + good[4:])
    with pytest.raises(InvalidInputError, match="NIfTI-2 file"):
        read_image(path)
    for magic in (b"ni1\0", b"\0\0\0\0"):
        path.write_bytes(good[:344] + magic + good[348:])
        with pytest.raises(InvalidInputError, match="not that of a single-file NIfTI-1"):
            read_image(path)
    for name in ("x.hdr", "x.img", "x.png"):
        (tmp_path / name).write_bytes(good)
        with pytest.raises(InvalidInputError, match="kind of image file is not read"):
            read_image(tmp_path / name)


def test_a_fourth_axis_of_one_is_none(tmp_path):
    """dim[0] = 4 with one image in it is a volume."""
    assert read_image(nifti(tmp_path / "f.nii", sform=matrix(), axes=4)).shape == SHAPE


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(), (0,), (0, 2), (0, 1, 2)])
def test_the_order_of_the_voxels_does_not_mirror_the_patient(tmp_path, image, suffix, order, flips):
    """Axes permuted and reversed, the affine with them: every HU at the same point, left-handed grid or not."""
    affine = image.affine.copy()
    voxels = image.voxels
    for axis in flips:
        voxels = np.flip(voxels, axis)
        affine[:3, 3] += affine[:3, axis] * (image.shape[axis] - 1)
        affine[:3, axis] *= -1.0
    affine[:3, :3] = affine[:3, list(order)]
    write_image(Volume(np.ascontiguousarray(voxels.transpose(order)), affine), tmp_path / f"i{suffix}")
    again = read_image(tmp_path / f"i{suffix}")
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    there = np.rint(again.indices(image.points_mm(index))).astype(int)
    assert np.array_equal(again.voxels[tuple(there.T)], image.voxels[tuple(index.T)])
    assert np.abs(again.points_mm(there) - image.points_mm(index)).max() < 1e-3


@pytest.mark.parametrize("code", [6, 77, -1])
@pytest.mark.parametrize("form", ["qform", "sform"])
def test_a_form_code_that_does_not_exist_is_refused(tmp_path, form, code):
    """Of either form, even beside one that is known: what its coordinates mean is anybody's guess."""
    codes = (code, 1) if form == "qform" else (1, code)
    path = nifti(tmp_path / "a.nii", qform=(TURN, OFFSET), sform=matrix(), codes=codes)
    with pytest.raises(InvalidInputError, match=f"{form} code does not exist") as caught:
        read_image(path)
    assert caught.value.value == code and caught.value.file == str(path) and caught.value.remedy
