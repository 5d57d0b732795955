"""The journal: every event before its effect, append-only, hash-chained, durable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, event, insert, select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from kinematics.errors import InvalidInputError, StorageError

GENESIS = "0" * 64

_metadata = MetaData()
_entries = Table(
    "entries",
    _metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("data", String, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)


@dataclass(frozen=True)
class JournalEntry:
    """One event."""

    number: int
    kind: str
    data: dict[str, Any]
    previous: str
    hash: str


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _hash(previous: str, number: int, kind: str, data: str) -> str:
    return hashlib.sha256("\n".join((previous, str(number), kind, data)).encode()).hexdigest()


class Journal:
    """An append-only chain of events on SQLite: write-ahead log, synchronous FULL, one transaction an event.

    The database itself refuses updates and deletions; `verify` finds what got round that. Times are those of
    the injected clock, so that the same seed and approval give the same chain; an approval's own time is its data.

    Args:
        path: The file; made when absent.

    Raises:
        StorageError: The file cannot be opened or made.
        InvalidInputError: The file is no journal, or its chain is broken.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(self._name, str(error), "name another folder") from error
        self._open(create_engine(f"sqlite:///{path}"))

    @classmethod
    def in_memory(cls) -> Journal:
        """Return a journal that is lost with the process, for campaigns of simulated trials."""
        journal = cls.__new__(cls)
        journal._name = ":memory:"
        journal._open(create_engine("sqlite://", poolclass=StaticPool))
        return journal

    def _open(self, engine: Engine) -> None:
        event.listen(engine, "connect", _pragmas)
        self._engine = engine
        try:
            _metadata.create_all(engine)
            with engine.begin() as connection:
                for verb in ("UPDATE", "DELETE"):
                    connection.execute(
                        text(
                            f"CREATE TRIGGER IF NOT EXISTS no_{verb.lower()} BEFORE {verb} ON entries "
                            "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
                        )
                    )
        except DatabaseError as error:
            engine.dispose()
            if "not a database" in str(error.orig) or "malformed" in str(error.orig):
                raise InvalidInputError(
                    "the journal cannot be read", file=self._name, remedy="restore the file from a copy"
                ) from error
            raise StorageError(self._name, str(error.orig), "free some space or name another folder") from error
        try:
            entries = self._verified(None)
        except InvalidInputError:
            engine.dispose()
            raise
        self._number = len(entries)
        self._head = entries[-1].hash if entries else GENESIS

    @property
    def head(self) -> str:
        """Hash of the last entry; 64 zeros when there is none."""
        return self._head

    def append(self, kind: str, **data: Any) -> str:
        """Write one event durably, then return its hash.

        Args:
            kind: What happened.
            **data: Its particulars, as JSON takes them.

        Raises:
            StorageError: The disk refused; the chain is as it was.
        """
        encoded = json.dumps(data, sort_keys=True, allow_nan=False)
        number = self._number + 1
        digest = _hash(self._head, number, kind, encoded)
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    insert(_entries).values(number=number, kind=kind, data=encoded, previous=self._head, hash=digest)
                )
        except DatabaseError as error:
            raise StorageError(self._name, str(error.orig), "free some space, then resume the execution") from error
        self._number, self._head = number, digest
        return digest

    def entries(self) -> tuple[JournalEntry, ...]:
        """Return every event, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_entries).order_by(_entries.c.number)).all()
        return tuple(JournalEntry(r.number, r.kind, json.loads(r.data), r.previous, r.hash) for r in rows)

    def verify(self, expected_head: str | None = None) -> int:
        """Check the whole chain and return its number of entries.

        Args:
            expected_head: Hash of the last entry as kept elsewhere (`Execution.journal_head`); without it a tail
                that was cut off whole cannot be seen.

        Raises:
            InvalidInputError: An entry was changed, taken out, put in or cut off.
        """
        return len(self._verified(expected_head))

    def _verified(self, expected_head: str | None) -> tuple[JournalEntry, ...]:
        head = GENESIS
        with self._engine.connect() as connection:
            rows = connection.execute(select(_entries).order_by(_entries.c.number)).all()
        for place, row in enumerate(rows, start=1):
            sound = row.number == place and row.previous == head
            if not sound or row.hash != _hash(row.previous, row.number, row.kind, row.data):
                raise InvalidInputError(
                    f"the journal's chain is broken at entry {place}",
                    value=row.hash,
                    file=self._name,
                    remedy="do not resume on it; keep it, and look at the patient",
                )
            head = row.hash
        if expected_head is not None and head != expected_head:
            raise InvalidInputError(
                "the journal does not end where the execution says: entries are missing or were added",
                value=head,
                limit=expected_head,
                file=self._name,
                remedy="do not resume on it; keep it, and look at the patient",
            )
        return tuple(JournalEntry(r.number, r.kind, json.loads(r.data), r.previous, r.hash) for r in rows)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
