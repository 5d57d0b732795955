"""Voxels come out of every lossless compression to the bit; lossy, damaged and unknown ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSNearLossless

from kinematics.errors import InvalidInputError
from registration.images import dicom_pixels
from registration.images.dicom_series import list_series, read_series
from registration.images.tilt import OUTSIDE_HU

JPEG_57, JPEG_70 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
JPEG_2000, JPEG_2000_ANY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"
DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "totalseg" / "example_ct_dicom"


def recode(path: Path, syntax: str) -> None:
    """Compress a file in place by gdcm."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def recode_all(folder: Path, syntax: str) -> None:
    """Compress all files of a folder."""
    for path in folder.glob("*.dcm"):
        recode(path, syntax)
        assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax


def store_as(data, values, *, signed: bool, bits: int) -> None:
    """Store values (HU + 1024 where unsigned) in another pixel format."""
    data.PixelRepresentation, data.BitsStored, data.HighBit = int(signed), bits, bits - 1
    data.RescaleIntercept = "0" if signed else "-1024"
    data.PixelData = (values if signed else values + 1024).astype("<i2" if signed else "<u2").tobytes()


@pytest.mark.parametrize("syntax", [JPEG_57, JPEG_70, JPEG_LS, JPEG_LS_NEAR, JPEG_2000, JPEG_2000_ANY, RLE])
@pytest.mark.parametrize(("signed", "bits"), [(True, 16), (True, 12), (False, 16), (False, 12)])
def test_every_lossless_compression_is_read_to_the_bit(series, edit, syntax, signed, bits):
    """Noise over the whole range of the format, encoded by gdcm, comes back equal, whatever its sign and depth."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (-1024, min(2**bits - 1024, 32768))
    truth = np.random.default_rng(2).integers(low, high, (6, 13, 17))
    truth[:, 0, 0], truth[:, 0, 1] = low, high - 1
    edit(series, lambda data, n: store_as(data, truth[n], signed=signed, bits=bits))
    recode_all(series, syntax)
    assert np.array_equal(read_series(series).voxels, truth.transpose(2, 1, 0))


def test_deflated_and_big_endian_files_are_read_to_the_bit(image, series):
    """The two uncompressed syntaxes that are stored in another way."""
    for path in sorted(series.glob("*.dcm")):
        data = pydicom.dcmread(path)
        if path.name < "0004":
            data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            data.save_as(path)
        else:
            data.PixelData = np.frombuffer(data.PixelData, "<i2").astype(">i2").tobytes()
            data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            pydicom.dcmwrite(path, data, little_endian=False, implicit_vr=False)
    assert np.array_equal(read_series(series).voxels, image.voxels)


def test_a_real_jpeg_2000_series_agrees_with_another_decoder():
    """Real slices decode to the same HU as through Pillow's decoder and a rescale by hand."""
    if not DATA.is_dir():
        pytest.skip("the recordings in ../shared/data are absent")
    volume = read_series(DATA)
    assert volume.shape == (512, 512, 20)
    for path in sorted(DATA.iterdir())[::9]:
        data = pydicom.dcmread(path)
        assert data.file_meta.TransferSyntaxUID == JPEG_2000
        other = pydicom.pixels.pixel_array(data, decoding_plugin="pillow").astype(int) - 1024
        k = round(float(volume.indices([float(v) for v in data.ImagePositionPatient])[2]))
        assert np.array_equal(volume.voxels[:, :, k], other.T)
    assert any("no Series Instance UID" in note for note in volume.notes)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"])
def test_lossy_jpeg_is_refused(series, syntax):
    """JPEG baseline and extended are lossy, whatever the header says beside."""
    path = series / "0002.dcm"
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="compressed with loss") as caught:
        read_series(series)
    assert caught.value.file == str(path) and "fetch the original" in str(caught.value)


def test_a_series_that_was_once_lossy_is_refused_with_its_ratio(series, edit):
    """LossyImageCompression 01 stays true when the file was uncompressed again."""

    def lossy(data, _number):
        data.LossyImageCompression, data.LossyImageCompressionRatio = "01", "12.5"
        data.LossyImageCompressionMethod = "ISO_15444_1"

    edit(series, lossy)
    with pytest.raises(InvalidInputError, match="ratio 12.5, method ISO_15444_1"):
        read_series(series)
    (listed,) = list_series(series)
    assert listed.problem is not None and "with loss" in listed.problem


def test_near_lossless_is_found_in_the_stream_itself(series):
    """Near-lossless JPEG-LS is found where the header is silent."""
    path = series / "0003.dcm"
    data = pydicom.dcmread(path)
    data.compress(JPEGLSNearLossless, jls_error=2, encoding_plugin="pyjpegls", generate_instance_uid=False)
    for keyword in [k for k in data.dir("Lossy") if k in data]:
        delattr(data, keyword)
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="values up to 2 off"):
        read_series(series)


def test_the_irreversible_wavelet_is_found_in_the_stream_itself(series):
    """Lossy JPEG 2000 is found where the header is silent."""
    recode_all(series, JPEG_2000_ANY)
    path = series / "0003.dcm"
    data = pydicom.dcmread(path)
    stream = bytearray(get_frame(data.PixelData, 0, number_of_frames=1))
    at = stream.index(b"\xff\x52") + 4 + 9
    assert stream[at] == 1
    stream[at] = 0
    data.PixelData = encapsulate([bytes(stream)])
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="irreversible wavelet"):
        read_series(series)


def test_a_stream_of_unsaid_loss_is_noted(series):
    """A lossless stream in a syntax that may be lossy is read, and said."""
    recode_all(series, JPEG_2000_ANY)
    assert any("shows no loss (6 of 6 slices)" in note for note in read_series(series).notes)


@pytest.mark.parametrize(
    ("syntax", "name"), [("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"), ("1.2.840.10008.1.2.4.100", "MPEG2")]
)
def test_a_syntax_without_a_decoder_is_named(series, syntax, name):
    """What cannot be decoded is refused by the name of its transfer syntax."""
    path = series / "0002.dcm"
    data = pydicom.dcmread(path)
    data.PixelData = encapsulate([b"\0\0"])
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="cannot be decoded") as caught:
        read_series(series)
    assert name in str(caught.value) and syntax in str(caught.value)


def test_a_missing_decoder_is_named(series, monkeypatch):
    """Without gdcm, JPEG lossless is refused, and the package that is missing is named."""
    recode_all(series, JPEG_70)
    monkeypatch.setattr(dicom_pixels, "_DECODER", "a plug-in that is not there")
    with pytest.raises(InvalidInputError, match="decoder is not installed") as caught:
        read_series(series)
    assert "python-gdcm" in str(caught.value)


@pytest.mark.parametrize("syntax", [None, RLE, JPEG_70, JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 0.3, 0.6, 0.9, 0.99, 0.999])
def test_a_file_cut_short_anywhere_is_refused(series, syntax, share):
    """Wherever the last slice's file ends, it is refused by name: nothing is read, and no slice left out in silence."""
    if syntax is not None:
        recode_all(series, syntax)
    path = series / "0006.dcm"
    content = path.read_bytes()
    path.write_bytes(content[: min(int(share * len(content)), len(content) - 6)])  # the last four hold nothing
    with pytest.raises(InvalidInputError) as caught:
        read_series(series)
    assert "0006.dcm" in str(caught.value.file)


def test_voxels_fewer_than_rows_and_columns_are_refused_with_both_numbers(series):
    """A whole file whose voxels are too few."""
    path = series / "0002.dcm"
    data = pydicom.dcmread(path)
    data.PixelData = data.PixelData[:-40]
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="402 bytes of voxels of 442"):
        read_series(series)


@pytest.mark.parametrize(
    ("syntax", "change"),
    [
        *[(s, {"Rows": 17, "Columns": 13}) for s in (JPEG_57, JPEG_LS, JPEG_2000)],  # RLE carries no shape to compare
        *[(s, {"Rows": 12}) for s in (JPEG_57, JPEG_LS, JPEG_2000, RLE)],
        *[(s, {"Columns": 18}) for s in (JPEG_57, JPEG_LS, JPEG_2000, RLE)],
    ],
)
def test_a_stream_of_another_size_than_its_header_is_refused(series, edit, syntax, change):
    """The decoder trusts the header and would return the slice askew, or end the process."""
    recode_all(series, syntax)
    edit(series, lambda data, _number: [setattr(data, key, value) for key, value in change.items()])
    with pytest.raises(InvalidInputError, match="damaged or truncated") as caught:
        read_series(series)
    assert caught.value.file is not None


@pytest.mark.parametrize("syntax", [JPEG_57, JPEG_LS, JPEG_2000])
def test_a_stream_whose_end_is_gone_is_refused(series, syntax):
    """A whole file around half a stream."""
    recode_all(series, syntax)
    path = series / "0004.dcm"
    data = pydicom.dcmread(path)
    stream = get_frame(data.PixelData, 0, number_of_frames=1)
    data.PixelData = encapsulate([stream[: len(stream) // 2]])
    data.save_as(path)
    with pytest.raises(InvalidInputError, match="compressed voxels stop"):
        read_series(series)


def test_rescale_is_each_slice_s_own_and_rounds(series, edit):
    """Slopes and intercepts that differ and are not whole: HU as by hand; what exceeds int16 is clipped."""
    stored = np.random.default_rng(3).integers(-2000, 2000, (6, 13, 17))
    stored[0, 0, 0] = 32767

    def change(data, n):
        data.RescaleSlope, data.RescaleIntercept = str(1.0 + 0.25 * n), str(-10.5 * n)
        data.PixelData = stored[n].astype("<i2").tobytes()

    edit(series, change)
    n = np.arange(6)[:, None, None]
    by_hand = np.clip(np.rint(stored * (1.0 + 0.25 * n) - 10.5 * n), -32768, 32767)
    assert np.array_equal(read_series(series).voxels, by_hand.transpose(2, 1, 0))


@pytest.mark.parametrize(("signed", "intercept"), [(True, 0), (False, -8192)])
@pytest.mark.parametrize(("kind", "written"), [("SS", -2000), ("US", 63536)])
def test_padding_becomes_outside_whatever_sign_it_was_written_with(series, edit, signed, intercept, kind, written):
    """The padding value is matched bit by bit in the voxels' own type; the other voxels keep their HU."""
    truth = np.random.default_rng(4).integers(-1000, 1500, (6, 13, 17))

    def change(data, n):
        values = truth[n] - intercept
        values[:3] = -2000 if signed else 192
        data.PixelRepresentation, data.RescaleIntercept = int(signed), str(intercept)
        data.PixelData = values.astype("<i2" if signed else "<u2").tobytes()
        data.add_new("PixelPaddingValue", kind, written if signed else 192)

    edit(series, change)
    volume = read_series(series)
    assert (volume.voxels[:, :3] == OUTSIDE_HU).all()
    assert np.array_equal(volume.voxels[:, 3:], truth.transpose(2, 1, 0)[:, 3:])
    assert any("padding" in note and "6 of 6" in note for note in volume.notes)


def test_a_range_of_padding_values_is_outside(series, edit):
    """PixelPaddingRangeLimit makes a range of it, in either order."""

    def change(data, _n):
        values = np.full((13, 17), 40)
        values[0], values[1] = -3000, -1500
        data.RescaleIntercept, data.PixelData = "0", values.astype("<i2").tobytes()
        data.add_new("PixelPaddingValue", "SS", -1500)
        data.add_new("PixelPaddingRangeLimit", "SS", -3000)

    edit(series, change)
    voxels = read_series(series).voxels
    assert (voxels[:, :2] == OUTSIDE_HU).all() and (voxels[:, 2:] == 40).all()


def test_a_padding_value_that_tissue_has_is_refused(series, edit):
    """Padding at 0 HU would make holes of every voxel of water."""

    def change(data, _n):
        data.RescaleIntercept = "0"
        data.PixelData = np.zeros((13, 17), "<i2").tobytes()
        data.add_new("PixelPaddingValue", "SS", 0)

    edit(series, change)
    with pytest.raises(InvalidInputError, match="a HU that tissue has too") as caught:
        read_series(series)
    assert caught.value.value == 0


def test_a_padding_value_that_is_no_number_is_refused(series, edit):
    """Two values where one is meant."""
    edit(series, lambda data, _n: data.add_new("PixelPaddingValue", "SS", [-2000, -1000]))
    with pytest.raises(InvalidInputError, match="padding value of a slice is no number"):
        read_series(series)


def test_a_file_without_transfer_syntax_is_refused(series):
    """How its voxels are stored is not said."""
    path = series / "0002.dcm"
    data = pydicom.dcmread(path)
    del data.file_meta.TransferSyntaxUID
    data.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(InvalidInputError, match="no transfer syntax") as caught:
        read_series(series)
    assert caught.value.file == str(path)


def test_more_bytes_than_needed_are_noted(image, series):
    """Trailing bytes are left aside, and said."""
    path = series / "0003.dcm"
    data = pydicom.dcmread(path)
    data.PixelData += bytes(64)
    data.save_as(path)
    volume = read_series(series)
    assert np.array_equal(volume.voxels, image.voxels)
    assert any("left aside (1 of 6 slices)" in note for note in volume.notes)
