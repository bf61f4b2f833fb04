"""What callers are told when the disk fails, one case at a time: which error, whose, and what still works."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from mainspring.client.writing import write_again
from mainspring.errors import CommitUnknown, InvalidOption, KeyConflict, StorageUnavailable
from mainspring.store import sqlite
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock
from tests.disk.crowd import together, wait_for
from tests.disk.life import CACHE_PAGES, Life, opened
from tests.disk.vfs import Disk, Fault, Kind
from tests.support.builders import Fleet

_BODY = b'["' + b"x" * 900 + b'"]'


class Machine:
    """A database on a disk whose fault is planted when wanted."""

    def __init__(self, folder: Path) -> None:
        self.disk = Disk()
        self.clock = SimulatedClock()
        self.path = str(folder / "runs.db")
        self.database = opened(self.path, self.clock, self.disk.vfs)
        migrate(self.database, dialect_name="sqlite")
        self.fleet: Fleet = Life.of(self.database, self.clock).fleet

    def plant(self, kind: Kind, nth: int = 1) -> None:
        """The ``nth`` operation from now fails."""
        self.disk.plant(Fault(kind=kind, nth=nth))

    def count(self) -> int:
        """How many runs there are."""
        return self.database.read("test.count", lambda tx: len(tx.rows("views.states", ids=self.ids())))

    def ids(self) -> list[str]:
        """The runs there are, seen over another connection."""
        with closing(apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            return [str(run_id) for (run_id,) in connection.execute("SELECT id FROM runs ORDER BY id")]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    with closing(machine.disk), closing(machine.database):
        try:
            yield machine
        finally:
            machine.disk.repair()
        invariants.check(machine.database)


def _many(fleet: Fleet, count: int = 40) -> Any:
    """A write of more pages than the cache holds."""
    new = [fleet.new(body=_BODY) for _ in range(count)]
    return lambda: fleet.submit(*new)


# -- no space ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_writes_and_says_what_to_do_and_reads_go_on(machine: Machine) -> None:
    first = machine.fleet.enqueue()
    machine.plant("full")
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="is full, nothing was written; free some space"):
            machine.fleet.enqueue()
    assert machine.ids() == [first]
    assert machine.count() == 1
    with closing(SqliteDatabase(machine.path, clock=machine.clock, vfs=machine.disk.vfs)) as another:
        assert another.read("test.now", lambda tx: tx.rows("views.states", ids=[first]))
    machine.disk.repair()
    second = machine.fleet.enqueue()
    assert machine.ids() == [first, second]


def test_a_disk_that_fills_up_inside_a_statement_refuses_the_write(machine: Machine) -> None:
    machine.plant("full", nth=2 * CACHE_PAGES)
    with pytest.raises(StorageUnavailable, match="is full"):
        _many(machine.fleet, 200)()
    assert machine.ids() == []


# -- the commit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["write", "short", "sync", "lost-sync"])
def test_a_commit_that_fails_is_unknown_and_done_once_when_tried_again(machine: Machine, kind: Kind) -> None:
    new = [machine.fleet.new(), machine.fleet.new(key="once")]
    machine.plant(kind)
    with pytest.raises(CommitUnknown):
        machine.fleet.submit(*new)
    machine.plant(kind)
    write_again(machine.database, "runs.create", lambda tx: machine.fleet.create(tx, new))
    assert machine.ids() == [run.id for run in new]


def test_a_transaction_that_sqlite_ended_is_not_taken_for_committed(machine: Machine) -> None:
    """SQLite rolls back by itself when a write fails inside a statement; a caller who passes over that must still be told."""

    def write_on_regardless(tx: Any) -> None:
        with pytest.raises(apsw.IOError):
            machine.fleet.create(tx, [machine.fleet.new(body=_BODY) for _ in range(200)])

    machine.plant("write")
    with pytest.raises(CommitUnknown, match="over before its commit"):
        machine.database.write("test", write_on_regardless)
    assert machine.ids() == []
    machine.fleet.enqueue()


# -- a commit that is shared -------------------------------------------------------------------------------------------


def test_a_disk_that_fails_inside_one_part_of_a_commit_fails_all_parts_with_our_error(machine: Machine) -> None:
    machine.plant("write")
    futures = together(machine.database, machine.fleet.enqueue, _many(machine.fleet, 200), machine.fleet.enqueue)
    assert [type(future.exception()) for future in futures] == [StorageUnavailable] * 3
    assert machine.ids() == []
    assert len(_many(machine.fleet)()) == 40


def test_a_mistake_in_one_part_of_a_commit_stays_the_callers_own_when_the_disk_fails(machine: Machine) -> None:
    def mistaken(tx: Any) -> None:
        raise KeyConflict("planted")

    machine.plant("sync")
    futures = together(machine.database, machine.fleet.enqueue, lambda: machine.database.write("test", mistaken))
    assert [type(future.exception()) for future in futures] == [CommitUnknown, KeyConflict]


def test_a_part_that_passes_over_a_rollback_is_not_taken_for_done(machine: Machine) -> None:
    def write_on_regardless(tx: Any) -> None:
        with pytest.raises(apsw.IOError):
            machine.fleet.create(tx, [machine.fleet.new(body=_BODY) for _ in range(200)])

    machine.plant("write")
    futures = together(machine.database, machine.fleet.enqueue, lambda: machine.database.write("test", write_on_regardless))
    assert [type(future.exception()) for future in futures] == [CommitUnknown] * 2
    assert machine.ids() == []


def test_a_write_that_waits_behind_a_full_group_is_done_before_it_returns(machine: Machine) -> None:
    """A group has an end; whoever comes after it and gets the writer first must not mistake that group for its own."""
    early = [sqlite._Request("test", lambda tx: None) for _ in range(sqlite._GROUP + 1)]
    machine.database._waiting.extend(early)
    run_id = machine.fleet.enqueue()
    assert machine.ids() == [run_id]
    assert all(request.done for request in early)


def test_a_write_inside_an_open_transaction_is_refused_alone(machine: Machine) -> None:
    """It takes nobody with it who waits for the writer meanwhile."""
    with ThreadPoolExecutor(1) as threads, machine.database.exclusive():
        other = threads.submit(machine.fleet.enqueue)
        wait_for(machine.database, 1)
        with pytest.raises(InvalidOption):
            machine.database.write("test", lambda tx: None)
    assert machine.ids() == [other.result()]


def test_a_write_to_a_closed_database_is_refused_with_our_error(tmp_path: Path) -> None:
    database = SqliteDatabase(str(tmp_path / "runs.db"), clock=SimulatedClock())
    database.close()
    with pytest.raises(StorageUnavailable, match="closed"):
        database.write("test", lambda tx: None)


# -- reading and opening -----------------------------------------------------------------------------------------------


def test_a_read_that_fails_is_refused_with_our_error_and_works_again(machine: Machine) -> None:
    run_id = machine.fleet.enqueue()
    machine.database.read("test", lambda tx: tx.rows("views.states", ids=[run_id]))
    with closing(SqliteDatabase(machine.path, clock=machine.clock)) as other:
        Life.of(other, machine.clock).fleet.register("w1")  # now the cache of the reader is out of date
    machine.plant("gone")
    with pytest.raises(StorageUnavailable):
        machine.database.read("test", lambda tx: tx.rows("views.states", ids=[run_id]))
    machine.disk.repair()
    assert machine.database.read("test", lambda tx: tx.rows("views.states", ids=[run_id]))
    assert machine.database.change_counter()


def test_a_database_whose_making_was_cut_short_can_be_opened(tmp_path: Path) -> None:
    """A torn first page with its journal beside it: SQLite rolls that back, if it is let."""
    disk = Disk(Fault(kind="gone", nth=7))
    path = tmp_path / "runs.db"
    with closing(disk), pytest.raises(StorageUnavailable):
        SqliteDatabase(str(path), clock=SimulatedClock(), vfs=disk.vfs)
    journal = path.with_name("runs.db-journal")
    assert journal.exists()
    path.write_bytes(bytes(4096))
    with closing(SqliteDatabase(str(path), clock=SimulatedClock())) as database:
        migrate(database, dialect_name="sqlite")
        invariants.check(database)
