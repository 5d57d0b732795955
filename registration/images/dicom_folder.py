"""The DICOM files of a folder, each header read once and grouped by series; voxels stay on the disk until asked for."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinematics.errors import InvalidInputError

NAMELESS = "none"
"""What a series is called whose files carry no Series Instance UID."""
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_STORAGE = (CT_STORAGE + ".1", CT_STORAGE + ".2")
"""Enhanced CT, and legacy CT converted to it."""
DIRECTORY_STORAGE = "1.2.840.10008.1.3.10"
DEFLATED = "1.2.840.10008.1.2.1.99"
DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
_PREAMBLE_BYTES = 132
"""Bytes of a DICOM file up to the end of its mark, DICM."""
_KEPT_BYTES = 4096
"""Values longer than this are read when they are asked for."""
_SHORT = 120
_ASKED = (
    *("SOPClassUID", "Modality", "SeriesInstanceUID", "SeriesDescription", "FrameOfReferenceUID", "PatientID"),
    *("StudyInstanceUID", "SOPInstanceUID", "GantryDetectorTilt"),
    *("LossyImageCompression", "PhotometricInterpretation", "ImageType", "NumberOfFrames"),
)
"""Values that are asked for later, when nobody looks out for one that cannot be understood."""


@dataclass(frozen=True, eq=False)
class DicomFile:
    """One DICOM file: its path and its data set (pydicom), large values still on the disk."""

    path: Path
    data: Any

    def text(self, keyword: str) -> str:
        """Return a value as text; empty when it is absent or empty."""
        value = self.data.get(keyword)
        return "" if value is None else str(value).strip()

    @property
    def frames(self) -> int:
        """Number of frames: 1 where it is not said."""
        return int(self.data.get("NumberOfFrames") or 1)

    @property
    def image_type(self) -> tuple[str, ...]:
        """The values of ImageType."""
        kinds = self.data.get("ImageType") or ()
        return (kinds,) if isinstance(kinds, str) else tuple(str(kind) for kind in kinds)

    @property
    def is_localiser(self) -> bool:
        """Whether the image was made for planning the scan: it is no slice of it."""
        return "LOCALIZER" in self.image_type

    @property
    def foreign(self) -> str | None:
        """Why this is no slice of a CT; None when it is one."""
        if self.text("Modality") != "CT":
            return f"it is not CT but {self.text('Modality')}"
        kind = self.text("SOPClassUID")
        if kind and kind not in (CT_STORAGE, *ENHANCED_CT_STORAGE):
            return f"it is not a CT image but {getattr(self.data.SOPClassUID, 'name', kind)}"
        return "it holds localisers only" if self.is_localiser else None


@dataclass(frozen=True, eq=False)
class FolderSeries:
    """The files of one series, in the order of their names; never empty."""

    uid: str
    files: tuple[DicomFile, ...]

    @property
    def foreign(self) -> str | None:
        """Why none of the files is a slice of a CT; None when one is."""
        reasons = [file.foreign for file in self.files]
        return None if None in reasons else reasons[0]

    def called(self) -> str:
        """Return the series in a few words: UID, modality, description and count."""
        first = self.files[0]
        count = f"{len(self.files)} file{'s' if len(self.files) > 1 else ''}"
        return f"{self.uid} ({first.text('Modality')}, {first.text('SeriesDescription') or 'no description'}, {count})"


def broken() -> tuple[type[Exception], ...]:
    """Return what the DICOM library and the decoders below it raise on files that are not what they should be."""
    from pydicom.errors import BytesLengthException

    return (
        *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
        *(NotImplementedError, RuntimeError, struct.error, zlib.error, BytesLengthException),
    )


def in_short(error: Exception) -> str:
    """Return an exception's kind and the beginning of its first line: some hold the bytes that they stumbled over."""
    text = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {text[:_SHORT]}{'...' if len(text) > _SHORT else ''}"


def damaged(path: Path, why: str) -> InvalidInputError:
    """Return the refusal of a file that is not whole."""
    return InvalidInputError(
        f"a DICOM file is damaged or truncated: {why}", file=str(path), remedy="copy or export the series again"
    )


def scan(folder: Path) -> tuple[tuple[FolderSeries, ...], tuple[Path, ...]]:
    """Return the series in a folder and below, ordered by UID, and the files that are not DICOM.

    Raises:
        InvalidInputError: The folder is missing; a DICOM file is damaged or truncated; or a file with a DICOM name is
            none, or one among DICOM files that could be what is left of a slice (see `_remnant`). Which series such a
            file belongs to cannot be told, so nothing is read past it.
    """
    if not folder.is_dir():
        raise InvalidInputError("the DICOM folder is not there", file=str(folder), remedy="check the path")
    groups: dict[tuple[str, str], list[DicomFile]] = {}
    others = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        file = _read(path)
        if file is None:
            others.append(path)
        elif file.data.file_meta.get("MediaStorageSOPClassUID") != DIRECTORY_STORAGE:
            uid = file.text("SeriesInstanceUID") or NAMELESS
            # What has no UID is told apart by modality at least.
            groups.setdefault((uid, file.text("Modality") if uid == NAMELESS else ""), []).append(file)
    suffixes = {file.path.suffix.lower() for files in groups.values() for file in files}
    for path in others:
        left = _remnant(path, suffixes) if suffixes else None
        if left is not None:
            raise damaged(path, left)
    return tuple(FolderSeries(uid, tuple(files)) for (uid, _), files in sorted(groups.items())), tuple(others)


def _remnant(path: Path, suffixes: set[str]) -> str | None:
    """What makes a file among DICOM files look like one that lost its beginning; None for what is another thing.

    A slice has one of the `suffixes` of the DICOM files, or a name without letters after its last point (a UID, or no
    suffix at all): `readme.txt` is another thing, and so is a text without a suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes and any(letter.isalpha() for letter in suffix):
        return None
    with path.open("rb") as file:
        head = file.read(_PREAMBLE_BYTES)
    if not head:
        return "it is empty"
    if not head.strip(b"\0"):
        return f"it begins with {len(head)} zeros, and no mark of DICOM after them"
    text = head.isascii() and all(chr(byte).isprintable() or chr(byte).isspace() for byte in head)
    short = len(head) < _PREAMBLE_BYTES and not text
    return f"it ends after {len(head)} bytes, before the mark of DICOM" if short else None


def _read(path: Path) -> DicomFile | None:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            data = pydicom.dcmread(path, defer_size=_KEPT_BYTES)
        if any("End of file" in str(one.message) for one in said):
            raise damaged(path, "it ends before the mark that ends its voxels")
        if data.file_meta.get("TransferSyntaxUID") == DEFLATED:
            data = pydicom.dcmread(path)  # what is inflated has no place in the file to come back to
        file = DicomFile(path, data)
        for keyword in _ASKED:
            data.get(keyword)
        cut = _cut_short(file)
    except InvalidDicomError as error:
        if path.suffix.lower() in DICOM_SUFFIXES:
            raise damaged(path, "it does not begin as a DICOM file") from error
        return None
    except InvalidInputError:
        raise
    except broken() as error:
        raise damaged(path, in_short(error)) from error
    if cut is not None:
        raise damaged(path, cut)
    return file


def _cut_short(file: DicomFile) -> str | None:
    """What shows that the file ends before its data set does; None when nothing does."""
    if file.data.file_meta.get("MediaStorageSOPClassUID") == DIRECTORY_STORAGE:
        return None
    if not file.text("Modality"):
        return "it ends before it says of what kind it is (no Modality)"
    if file.text("Modality") != "CT" or file.text("SOPClassUID") not in ("", CT_STORAGE, *ENHANCED_CT_STORAGE):
        return None
    if "PixelData" not in file.data:
        return "it ends before its voxels (no PixelData)"
    element = file.data.get_item("PixelData")
    if element.value is None and element.length != 0xFFFFFFFF:
        there = file.path.stat().st_size - element.value_tell
        if there < element.length:
            return f"it holds {there} bytes of voxels of {element.length}"
    return None
