"""The journal: durable, append-only, and telling when it was tampered with."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from guidance.procedure.journal import GENESIS, Journal
from kinematics.errors import InvalidInputError, StorageError

KINDS = ("execution_started", "needle_started", "released", "execution_ended")


def written(path: Path) -> str:
    """Write four events; return the head."""
    with Journal(path) as journal:
        for place, kind in enumerate(KINDS):
            journal.append(kind, electrode=f"E{place}", time_s=0.1 * place)
        return journal.head


def tampered(path: Path, *statements: str) -> None:
    """Change the file behind the journal's back, its triggers taken off."""
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER IF EXISTS no_update")
    connection.execute("DROP TRIGGER IF EXISTS no_delete")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_round_trip(tmp_path: Path) -> None:
    """What was written is read again, in order, and the chain goes on from where it was."""
    head = written(tmp_path / "journal.sqlite")
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert journal.head == head
        assert journal.verify(head) == 4
        assert [e.kind for e in journal.entries()] == list(KINDS)
        assert journal.entries()[1].data == {"electrode": "E1", "time_s": 0.1}
        journal.append("more")
        assert journal.entries()[4].previous == head
        assert journal.verify() == 5


def test_the_same_events_give_the_same_chain(tmp_path: Path) -> None:
    """No wall clock goes in; another event gives another head; an empty journal has the first head."""
    assert written(tmp_path / "a.sqlite") == written(tmp_path / "b.sqlite")
    with Journal.in_memory() as journal:
        assert journal.head == GENESIS
        journal.append(KINDS[0], electrode="E0", time_s=0.0)
        other = journal.append(KINDS[1], electrode="E1", time_s=0.2)
    with Journal(tmp_path / "a.sqlite") as journal:
        assert journal.entries()[1].hash != other


@pytest.mark.parametrize(
    "change",
    [
        'UPDATE entries SET data = \'{"electrode": "E9", "time_s": 0.1}\' WHERE number = 2',
        "UPDATE entries SET kind = 'hold' WHERE number = 3",
        "DELETE FROM entries WHERE number = 2",
        "DELETE FROM entries WHERE number = 1",
        "UPDATE entries SET previous = hash WHERE number = 3",
        "UPDATE entries SET hash = previous WHERE number = 4",
        "INSERT INTO entries SELECT 5, kind, data, previous, hash FROM entries WHERE number = 4",
    ],
)
def test_tampering_is_found_at_opening_and_by_verify(tmp_path: Path, change: str) -> None:
    """A changed, removed or repeated entry breaks the chain, for who has it open and who opens it."""
    path = tmp_path / "journal.sqlite"
    written(path)
    with Journal(path) as journal:
        tampered(path, change)
        with pytest.raises(InvalidInputError, match="chain is broken"):
            journal.verify()
    with pytest.raises(InvalidInputError, match="chain is broken"):
        Journal(path)


def test_swapped_entries_are_found(tmp_path: Path) -> None:
    """The order is part of the chain."""
    path = tmp_path / "journal.sqlite"
    written(path)
    tampered(
        path,
        "UPDATE entries SET number = 99 WHERE number = 2",
        "UPDATE entries SET number = 2 WHERE number = 3",
        "UPDATE entries SET number = 3 WHERE number = 99",
    )
    with pytest.raises(InvalidInputError, match="chain is broken at entry 2"):
        Journal(path)


def test_a_cut_tail_is_found_by_the_head_kept_elsewhere(tmp_path: Path) -> None:
    """The chain alone cannot know how long it was; the execution's `journal_head` does."""
    path = tmp_path / "journal.sqlite"
    head = written(path)
    tampered(path, "DELETE FROM entries WHERE number = 4")
    with Journal(path) as journal:
        assert journal.verify() == 3
        with pytest.raises(InvalidInputError, match="does not end where"):
            journal.verify(head)


@pytest.mark.parametrize("change", ["UPDATE entries SET kind = 'x'", "DELETE FROM entries"])
def test_the_database_itself_refuses_changes(tmp_path: Path, change: str) -> None:
    """An ordinary update or deletion is refused by the file."""
    path = tmp_path / "journal.sqlite"
    written(path)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(change)
    connection.close()


def test_an_event_survives_the_kill_that_follows_it(tmp_path: Path) -> None:
    """What `append` returned from is on the disk: the process is killed at once after it."""
    path = tmp_path / "journal.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path; from guidance.procedure.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "for n in range(7): j.append('event', n=n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).resolve().parents[3], check=False)
    assert done.returncode == -signal.SIGKILL
    with Journal(path) as journal:
        assert [e.data["n"] for e in journal.entries()] == list(range(7))


def test_durability_settings(tmp_path: Path) -> None:
    """Write-ahead log and full synchronisation are on."""
    with Journal(tmp_path / "journal.sqlite") as journal, journal._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    """Another file is refused and left as it was."""
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"not a journal at all" * 100)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        Journal(path)
    assert path.read_bytes() == b"not a journal at all" * 100


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A journal below a file is a storage error."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        Journal(tmp_path / "file" / "journal.sqlite")


def test_numbers_that_are_none_are_refused() -> None:
    """NaN has no place in a record, and nothing is written."""
    with Journal.in_memory() as journal:
        with pytest.raises(ValueError, match="JSON"):
            journal.append("force", value=float("nan"))
        assert journal.entries() == ()
