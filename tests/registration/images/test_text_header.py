"""NRRD and MetaImage files are placed by what they say; one that is silent or says it in other terms is refused."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest

from kinematics.errors import InvalidInputError
from registration.images.volume import read_image

SHAPE = (2, 3, 4)
VOXELS = np.arange(24, dtype="<i2").reshape(SHAPE, order="F")
RAW = VOXELS.tobytes(order="F")
AFFINE_LPS = np.array([[0.0, -3.0, 0, 10], [2, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])


def nrrd(path, space="left-posterior-superior", *, signs=(1, 1), encoding="raw", data=RAW, drop=(), **more):
    """Write an NRRD file of `AFFINE_LPS`, its first two world axes times `signs`."""
    world = np.diag([*signs, 1.0]) @ AFFINE_LPS[:3]
    fields = {
        "type": "short",
        "dimension": "3",
        "sizes": "2 3 4",
        "endian": "little",
        "encoding": encoding,
        "space": space,
        "space directions": " ".join("(" + ",".join(map(str, world[:, n])) + ")" for n in range(3)),
        "space origin": "(" + ",".join(map(str, world[:, 3])) + ")",
        **{key.replace("_", " "): value for key, value in more.items()},
    }
    lines = ["NRRD0005", "# a comment: of the writer", "key:=space: nothing"]
    lines += [f"{key}: {value}" for key, value in fields.items() if key not in drop]
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    return path


def meta(path, *, data=RAW, drop=(), **more):
    """Write a MetaImage file of `AFFINE_LPS`."""
    axes = AFFINE_LPS[:3, :3] / (2.0, 3.0, 4.0)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": " ".join(map(str, axes.T.ravel())),
        "Offset": "10 20 30",
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": "2 3 4",
        "DimSize": "2 3 4",
        "ElementType": "MET_SHORT",
        **more,
    }
    last = fields.pop("ElementDataFile", "LOCAL")
    lines = [f"{key} = {value}" for key, value in fields.items() if key not in drop] + [f"ElementDataFile = {last}"]
    path.write_bytes("\n".join(lines).encode() + b"\n" + data)
    return path


def placed(path):
    """Whether a file reads as `VOXELS` at `AFFINE_LPS`."""
    volume = read_image(path)
    return np.array_equal(volume.voxels, VOXELS) and np.allclose(volume.affine, AFFINE_LPS, atol=1e-9)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1)),
        ("LPS", (1, 1)),
        ("right-anterior-superior", (-1, -1)),
        ("RAS", (-1, -1)),
        ("left-anterior-superior", (1, -1)),
        ("LAS", (1, -1)),
    ],
)
def test_every_patient_space_of_nrrd_is_the_same_patient(tmp_path, space, signs):
    """The same image written in LPS, RAS and LAS lies at the same points."""
    assert placed(nrrd(tmp_path / "a.nrrd", space, signs=signs))


def test_nrrd_compressed_and_with_a_detached_header(tmp_path):
    """gzip; a header beside its voxels, with bytes to skip; the unit said."""
    assert placed(nrrd(tmp_path / "a.nrrd", encoding="gzip", data=gzip.compress(RAW)))
    (tmp_path / "voxels.raw").write_bytes(b"skip" + RAW)
    detached = {"data": b"", "byte_skip": "4", "data_file": "voxels.raw"}
    assert placed(nrrd(tmp_path / "b.nhdr", **detached, space_units='"mm" "mm" "mm"'))


@pytest.mark.parametrize("field", ["space", "space directions", "space origin"])
def test_an_nrrd_that_is_silent_about_its_place_is_refused(tmp_path, field):
    """Each of the three; the reader beneath takes a default for it."""
    more = {"space_dimension": "3"} if field == "space" else {}
    path = nrrd(tmp_path / "a.nrrd", drop=(field,), **more)
    with pytest.raises(InvalidInputError, match=f"NRRD image does not say how it lies.*'{field}'") as caught:
        read_image(path)
    assert caught.value.file == str(path) and caught.value.remedy


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed", "left-posterior-superior-time"])
def test_an_nrrd_in_another_space_than_the_patient_s_is_refused(tmp_path, space):
    """Where left is in a scanner's axes is not known; the reader beneath takes them as LPS."""
    with pytest.raises(InvalidInputError, match="space is not one of the patient") as caught:
        read_image(nrrd(tmp_path / "a.nrrd", space))
    assert caught.value.value == space


def test_lengths_in_other_units_are_refused(tmp_path):
    """Metres in an NRRD, micrometres in a MetaImage: the reader beneath passes over both."""
    with pytest.raises(InvalidInputError, match="not in mm"):
        read_image(nrrd(tmp_path / "a.nrrd", space_units='"m" "m" "m"'))
    with pytest.raises(InvalidInputError, match="not in mm") as caught:
        read_image(meta(tmp_path / "a.mha", DistanceUnits="um"))
    assert caught.value.value == "um"
    assert placed(meta(tmp_path / "b.mha", DistanceUnits="mm"))


def test_axes_that_are_not_perpendicular_are_refused(tmp_path):
    """A sheared NRRD."""
    path = nrrd(tmp_path / "a.nrrd", space_directions="(2,0,0) (1,3,0) (0,0,4)")
    with pytest.raises(InvalidInputError, match="not orthogonal"):
        read_image(path)


def test_a_voxel_file_that_is_absent_or_short_is_refused(tmp_path):
    """A header whose voxels are not there, or not all there."""
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_image(nrrd(tmp_path / "a.nhdr", data=b"", data_file="absent.raw"))
    with pytest.raises(InvalidInputError, match="not there"):
        read_image(meta(tmp_path / "a.mhd", data=b"", ElementDataFile="absent.zraw", CompressedData="True"))
    (tmp_path / "short.raw").write_bytes(RAW[:-2])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_image(nrrd(tmp_path / "b.nhdr", data=b"", data_file="short.raw"))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_image(meta(tmp_path / "b.mhd", data=b"", ElementDataFile="short.raw"))


def test_damage_in_compressed_voxels_is_refused(tmp_path):
    """One bit of the checksum: the reader of MetaImage prints a warning and goes on."""
    packed = bytearray(gzip.compress(RAW))
    packed[-6] ^= 1
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_image(nrrd(tmp_path / "a.nrrd", encoding="gzip", data=bytes(packed)))
    whole = zlib.compress(RAW)
    sizes = {"CompressedData": "True", "CompressedDataSize": str(len(whole))}
    assert placed(meta(tmp_path / "a.mha", data=whole, **sizes))
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    for data in (damaged, whole[:-3]):
        with pytest.raises(InvalidInputError, match="compressed voxels are damaged or truncated"):
            read_image(meta(tmp_path / "b.mha", data=data, **sizes))
    for wrong in ({"CompressedDataSize": "9"}, {"DimSize": "2 3 5"}, {"DimSize": "2 3 3"}):
        with pytest.raises(InvalidInputError, match="the header says"):
            read_image(meta(tmp_path / "d.mha", data=whole, **{**sizes, **wrong}))
    with pytest.raises(InvalidInputError, match="the header says none"):
        read_image(meta(tmp_path / "e.mha", data=whole, CompressedData="True"))
    (tmp_path / "c.zraw").write_bytes(whole)
    assert placed(meta(tmp_path / "c.mhd", data=b"", ElementDataFile="c.zraw", **sizes))


@pytest.mark.parametrize("detached", [False, True])
def test_every_flipped_byte_of_a_gzip_nrrd_is_refused(tmp_path, detached):
    """Whichever it is, in voxels that are stored, packed or checked: none is read as other voxels."""
    for packed in (gzip.compress(RAW, 0), gzip.compress(RAW, 9)):
        for n in range(10, len(packed)):
            damaged = bytearray(packed)
            damaged[n] ^= 0x11
            if detached:
                (tmp_path / "v.raw.gz").write_bytes(damaged)
                path = nrrd(tmp_path / "a.nhdr", encoding="gzip", data=b"", data_file="v.raw.gz")
            else:
                path = nrrd(tmp_path / "a.nrrd", encoding="gz", data=bytes(damaged))
            with pytest.raises(InvalidInputError, match="compressed voxels are damaged or truncated") as caught:
                read_image(path)
            assert caught.value.file == str(tmp_path / "v.raw.gz" if detached else path)


def test_gzip_voxels_of_an_nrrd_in_other_places(tmp_path):
    """Beside the header, after lines and bytes to skip; absent or spread over files, they are refused."""
    (tmp_path / "v.raw.gz").write_bytes(b"a line\n" + gzip.compress(b"skip" + RAW))
    fields = {"encoding": "gzip", "data": b"", "line_skip": "1", "byte_skip": "4"}
    assert placed(nrrd(tmp_path / "a.nhdr", **fields, data_file="v.raw.gz"))
    for name in ("absent.raw.gz", "LIST", "v%d.gz 1 2 1"):
        with pytest.raises(InvalidInputError, match="file of compressed voxels is not there"):
            read_image(nrrd(tmp_path / "b.nhdr", **fields, data_file=name))


def test_a_metaimage_is_placed_by_its_matrix(tmp_path):
    """Columns of the matrix are the axes of the voxels; older names of the fields are known."""
    assert placed(meta(tmp_path / "a.mha"))
    axes = (
        meta(tmp_path / "b.mha")
        .read_bytes()
        .replace(b"TransformMatrix", b"Orientation")
        .replace(b"Offset", b"Position")
    )
    (tmp_path / "b.mha").write_bytes(axes)
    assert placed(tmp_path / "b.mha")


@pytest.mark.parametrize("field", ["TransformMatrix", "Offset"])
def test_a_metaimage_that_is_silent_about_its_place_is_refused(tmp_path, field):
    """The reader beneath takes straight axes and the origin for it."""
    with pytest.raises(InvalidInputError, match=f"MetaImage image does not say.*'{field}'"):
        read_image(meta(tmp_path / "a.mha", drop=(field,)))


def test_a_centre_of_rotation_is_refused(tmp_path):
    """Programs differ in what it does to the offset."""
    with pytest.raises(InvalidInputError, match="centre of rotation") as caught:
        read_image(meta(tmp_path / "a.mha", CenterOfRotation="5 0 0"))
    assert caught.value.value == "5 0 0"
    assert placed(meta(tmp_path / "b.mha", CenterOfRotation="0.0 -0 0.000"))
