"""The root of every frozen value that a step returns and a run folder keeps."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kinematics.durable import write_text
from kinematics.errors import InvalidInputError


def _first_fault(name: str, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    return f"{name} is not valid at {where}: {first['msg']}"


def _called(kind: type[Value]) -> str:
    """Return what a person calls a value: the words of its class."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()


class Value(BaseModel):
    """A frozen value: valid once constructed, hashed by its canonical JSON, saved whole or not at all."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **data: Any) -> None:
        """Validate `data`. Raises InvalidInputError, naming the field that is wrong."""
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise InvalidInputError(_first_fault(f"the {_called(type(self))}", error)) from error

    def canonical_json(self) -> str:
        """Return the JSON text that `sha256` and `save` use: sorted keys, two-space indent, no NaN."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=2, allow_nan=False) + "\n"

    def sha256(self) -> str:
        """Return the SHA-256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the canonical JSON to `path`. Raises StorageError, leaving `path` as it was."""
        write_text(path, self.canonical_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the value from `path`.

        Raises:
            InvalidInputError: The file is missing, is not JSON, or does not hold this value.
        """
        try:
            text = path.read_text()
        except FileNotFoundError as error:
            raise InvalidInputError(
                f"the {_called(cls)} is not there", file=str(path), remedy="run the step that writes it first"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                f"the {_called(cls)} cannot be read: {error}", file=str(path), remedy="restore the file"
            ) from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InvalidInputError(
                _first_fault(f"the {_called(cls)}", error),
                file=str(path),
                remedy="repeat the step that writes it",
            ) from error
