"""What the text header of an NRRD or MetaImage file must say before its image is placed in the patient.

The reader beneath takes every silence for a default: no orientation for straight axes, a scanner's axes for LPS,
metres for millimetres. Here a silence is refused.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

from kinematics.errors import InvalidInputError

_LONGEST_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 22
NRRD_SUFFIXES, META_SUFFIXES = (".nrrd", ".nhdr"), (".mha", ".mhd")
PATIENT_SPACES = {
    "right-anterior-superior",
    "left-anterior-superior",
    "left-posterior-superior",
    "ras",
    "las",
    "lps",
}
_ELEMENT_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT", "MET_LONG", "MET_ULONG"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}


def check_text_header(path: Path) -> None:
    """Refuse an NRRD or MetaImage file that does not say how it lies in the patient.

    A file whose header is not of its kind at all is left to the reader, which refuses it.

    Raises:
        InvalidInputError: No patient space, axes or origin; a length that is not in mm; a centre of rotation; or
            compressed voxels that are not there, lie in several files, or do not match their checksum.
    """
    if path.name.lower().endswith(NRRD_SUFFIXES):
        _check_nrrd(path)
    elif path.name.lower().endswith(META_SUFFIXES):
        _check_meta(path)


def _silent(path: Path, kind: str, field: str) -> InvalidInputError:
    return InvalidInputError(
        f"the {kind} image does not say how it lies in the patient: it has no {field!r}",
        file=str(path),
        remedy="export it again with its orientation and origin, or convert the original DICOM series",
    )


def _not_mm(path: Path, kind: str, value: str) -> InvalidInputError:
    return InvalidInputError(
        f"the {kind} image's lengths are not in mm", value=value, limit="mm", file=str(path), remedy="export it in mm"
    )


def _check_nrrd(path: Path) -> None:
    with path.open("rb") as file:
        raw = file.read(_LONGEST_HEADER_BYTES)
    if not raw.startswith(b"NRRD"):
        return
    blank = re.search(rb"\r?\n\r?\n", raw)
    text = raw[: blank.start() if blank else None].decode("utf-8", "replace")
    # "key:=value" pairs are the writer's own and say nothing about geometry.
    pairs = (line.split(":", 1) for line in text.splitlines() if re.match(r"[^#:]+:(?!=)", line))
    fields = {key.strip().lower(): value.strip() for key, value in pairs}
    space = fields.get("space")
    if space is None:
        raise _silent(path, "NRRD", "space")
    if space.lower() not in PATIENT_SPACES:
        raise InvalidInputError(
            "the NRRD image's space is not one of the patient",
            value=space,
            limit=", ".join(sorted(s for s in PATIENT_SPACES if "-" in s)),
            file=str(path),
            remedy="export it in a patient space: a scanner's axes do not say where left and head are",
        )
    for field in ("space directions", "space origin"):
        if field not in fields:
            raise _silent(path, "NRRD", field)
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {""}
    if not {u.lower() for u in units} <= MILLIMETRES:
        raise _not_mm(path, "NRRD", fields["space units"])
    if fields.get("encoding", "").lower() in {"gzip", "gz"}:
        _check_gzip(path, fields, blank.end() if blank else len(raw))


def _check_gzip(path: Path, fields: dict[str, str], start: int) -> None:
    """Refuse an NRRD's voxels when they do not end in their own checksum: the reader beneath never looks at it."""
    detached = fields.get("data file", fields.get("datafile"))
    voxels = path if detached is None else path.parent / detached
    if detached is not None and not voxels.is_file():
        raise InvalidInputError(
            "the NRRD image's one file of compressed voxels is not there",
            value=detached,
            file=str(path),
            remedy="copy it beside its header, or export the image as one file",
        )
    try:
        with voxels.open("rb") as file:
            file.seek(start if detached is None else 0)
            for _ in range(int(fields.get("line skip", fields.get("lineskip", "0")))):
                file.readline()
            with gzip.GzipFile(fileobj=file) as stream:
                while stream.read(_CHUNK_BYTES):
                    pass
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad_voxels(voxels, str(error)) from error


def _check_meta(path: Path) -> None:
    with path.open("rb") as file:
        raw = file.read(_LONGEST_HEADER_BYTES)
    found = re.search(rb"^\s*ElementDataFile\s*=[^\n]*\n?", raw, re.MULTILINE)
    if found is None:
        return
    pairs = (line.split("=", 1) for line in raw[: found.end()].decode("utf-8", "replace").splitlines() if "=" in line)
    fields = {key.strip(): value.strip() for key, value in pairs}
    if not fields.keys() & {"TransformMatrix", "Orientation", "Rotation"}:
        raise _silent(path, "MetaImage", "TransformMatrix")
    if not fields.keys() & {"Offset", "Position", "Origin"}:
        raise _silent(path, "MetaImage", "Offset")
    unit = fields.get("DistanceUnits", "mm")
    if unit.lower() not in {*MILLIMETRES, "?"}:
        raise _not_mm(path, "MetaImage", unit)
    centre = fields.get("CenterOfRotation", "0")
    if any(part.strip("+-0.") for part in centre.split()):
        raise InvalidInputError(
            "the MetaImage turns about a centre of rotation, which programs read differently",
            value=centre,
            limit="0 0 0",
            file=str(path),
            remedy="export it with the centre of rotation at the origin",
        )
    if fields.get("CompressedData", "").lower() == "true":
        local = fields["ElementDataFile"].upper() == "LOCAL"
        voxels = path if local else path.parent / fields["ElementDataFile"]
        taken, held = _check_zlib(voxels, found.end() if local else 0)
        promised = _promised_bytes(fields)
        if fields.get("CompressedDataSize") != str(taken) or held != promised:
            stated = fields.get("CompressedDataSize", "none")
            why = f"{taken} bytes that hold {held}; the header says {stated} and {promised}"
            raise _bad_voxels(voxels, why)


def _promised_bytes(fields: dict[str, str]) -> int | None:
    """Bytes of voxels that a MetaImage header promises; None when it does not say."""
    try:
        counts = [int(n) for n in fields["DimSize"].split()] + [int(fields.get("ElementNumberOfChannels", "1"))]
        return math.prod(counts) * _ELEMENT_BYTES[fields["ElementType"]]
    except (KeyError, ValueError):
        return None


def _check_zlib(path: Path, start: int) -> tuple[int, int]:
    """Return how many bytes zlib data takes and holds; refuse it when it does not end in its own checksum.

    The reader prints a warning and goes on, with what was in memory in place of what is missing.
    """
    stream, taken, held = zlib.decompressobj(), 0, 0
    try:
        with path.open("rb") as file:
            file.seek(start)
            while not stream.eof and (chunk := file.read(_CHUNK_BYTES)):
                held += len(stream.decompress(chunk))
                taken += len(chunk)
    except FileNotFoundError as error:
        raise InvalidInputError(
            "the MetaImage's file of voxels is not there", file=str(path), remedy="copy it beside its header"
        ) from error
    except zlib.error as error:
        raise _bad_voxels(path, str(error)) from error
    if not stream.eof:
        raise _bad_voxels(path, "it ends too early")
    return taken - len(stream.unused_data), held


def _bad_voxels(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"the image cannot be read: its compressed voxels are damaged or truncated ({why})",
        file=str(path),
        remedy="fetch or export it again",
    )
