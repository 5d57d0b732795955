"""OpenIGTLink messages taken apart with every length, checksum and version checked; TDATA and STATUS beside pyigtl's.

Big-endian, mm. A transform carries points of the device's own frame into the tracker's.

Reference:
    OpenIGTLink protocol, versions 1 to 3 (openigtlink.org): header, TRANSFORM, POINT, TDATA, STATUS.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from pyigtl.messages import CRC64, MessageBase, message_type_to_class_constructor

from kinematics.errors import NeedleworkError

HEADER_BYTES = 58
HEADER_VERSIONS = (1, 2)
"""Version 1 is sent by protocols 1 and 2, version 2 by protocol 3."""
LARGEST_BODY_BYTES = 1 << 20
"""A tracker's message is some kilobytes; images are nothing that a tracker sends."""
KINDS = ("TRANSFORM", "TDATA", "POINT", "STATUS")
"""What a tracker sends; any other kind is passed over."""
STATUS_OK = 1
_TDATA = struct.Struct("> 20s B B 12f")
_STATUS = struct.Struct("> H q 20s")


class ProtocolError(NeedleworkError):
    """What the peer sent is no OpenIGTLink message that can be trusted; the connection is of no more use."""


class TrackingDataMessage(MessageBase):  # type: ignore[misc]
    """TDATA: several tools at once. `tools` maps a name to its 4 × 4, tool to tracker, mm."""

    def __init__(
        self, tools: dict[str, Any] | None = None, timestamp: float | None = None, device_name: str | None = None
    ) -> None:
        MessageBase.__init__(self, timestamp=timestamp, device_name=device_name)
        self._message_type = "TDATA"
        self.tools = tools or {}
        self._valid_message = True

    def _pack_content(self) -> bytes:
        parts = []
        for name, matrix in self.tools.items():
            columns = np.asarray(matrix, dtype=np.float64)[:3, :].T.ravel()
            parts.append(_TDATA.pack(name.encode("ascii"), 1, 0, *columns))
        return b"".join(parts)

    def _unpack_content(self, content: bytes) -> None:
        if len(content) % _TDATA.size:
            raise ProtocolError(f"a TDATA message of {len(content)} bytes, which are no whole tools")
        self.tools = {}
        for name, _, _, *columns in _TDATA.iter_unpack(content):
            matrix = np.eye(4)
            matrix[:3, :] = np.reshape(columns, (4, 3)).T
            self.tools[name.rstrip(b"\0 ").decode("ascii")] = matrix


class StatusMessage(MessageBase):  # type: ignore[misc]
    """STATUS: code 1 is all well; `error` and `text` say the rest."""

    def __init__(
        self,
        code: int = STATUS_OK,
        subcode: int = 0,
        error: str = "",
        text: str = "",
        timestamp: float | None = None,
        device_name: str | None = None,
    ) -> None:
        MessageBase.__init__(self, timestamp=timestamp, device_name=device_name)
        self._message_type = "STATUS"
        self.code, self.subcode, self.error, self.text = code, subcode, error, text
        self._valid_message = True

    def _pack_content(self) -> bytes:
        return _STATUS.pack(self.code, self.subcode, self.error.encode("ascii")) + self.text.encode("ascii") + b"\0"

    def _unpack_content(self, content: bytes) -> None:
        if len(content) < _STATUS.size:
            raise ProtocolError(f"a STATUS message of {len(content)} bytes, {_STATUS.size} at least")
        self.code, self.subcode, error = _STATUS.unpack_from(content)
        self.error = error.rstrip(b"\0 ").decode("ascii", errors="replace")
        self.text = content[_STATUS.size :].rstrip(b"\0 ").decode("ascii", errors="replace")


message_type_to_class_constructor.setdefault("TDATA", TrackingDataMessage)
message_type_to_class_constructor.setdefault("STATUS", StatusMessage)


def body_bytes(header: bytes) -> int:
    """Return the length of the body that a header announces.

    Raises:
        ProtocolError: An unknown version, a type or name that is no text, or a body larger than 1 MiB.
    """
    try:
        fields = MessageBase.parse_header(header)
    except (struct.error, UnicodeDecodeError) as error:
        raise ProtocolError("what came is no OpenIGTLink header") from error
    version, kind, size = fields["header_version"], fields["message_type"], int(fields["body_size"])
    if version not in HEADER_VERSIONS:
        raise ProtocolError(f"header version {version}; {' and '.join(map(str, HEADER_VERSIONS))} are known")
    if not kind or not kind.isascii() or not kind.isprintable():
        raise ProtocolError("what came is no OpenIGTLink header")
    if size > LARGEST_BODY_BYTES:
        raise ProtocolError(f"a {kind} message announces {size} bytes, limit {LARGEST_BODY_BYTES}")
    return size


def message_of(header: bytes, body: bytes) -> MessageBase | None:
    """Return the message; None for a kind that no tracker sends, which the protocol says to pass over.

    Raises:
        ProtocolError: The checksum or the content is wrong.
    """
    if struct.unpack_from("> Q", header, 50)[0] != CRC64(body):
        raise ProtocolError("the checksum of a message is wrong")
    fields = MessageBase.parse_header(header)
    if fields["message_type"] not in KINDS:
        return None
    message = MessageBase.create_message(fields["message_type"])
    try:
        message.unpack(fields, body)
    except (struct.error, ValueError, LookupError, TypeError) as error:  # TypeError: an encoding that pyigtl lacks
        raise ProtocolError(f"a {fields['message_type']} message that cannot be taken apart ({error})") from error
    return message
