"""The change counter of a SQLite file: whose commits are a hint, and whose are not."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring import App
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing import SimulatedClock
from mainspring.transports.database import ChangeCounter

NUMBERS = itertools.count(1)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    App("migration", database=f"sqlite:///{tmp_path / 'runs.db'}").migrate()
    with closing(SqliteDatabase(str(tmp_path / "runs.db"), clock=SimulatedClock())) as opened:
        yield opened


def commit(database: SqliteDatabase) -> None:
    """Write something new, for what is there already SQLite does not write again."""
    database.write("test", lambda tx: tx.execute("fleet.ticked", hold_until=next(NUMBERS)))


def test_a_commit_of_this_process_is_no_hint_since_whoever_made_it_was_told(database: SqliteDatabase) -> None:
    before = database.change_counter()
    commit(database)
    assert database.change_counter() == before


def test_a_commit_of_another_process_is_a_hint(database: SqliteDatabase) -> None:
    before = database.change_counter()
    with closing(SqliteDatabase(database.path, clock=SimulatedClock())) as other:
        commit(other)
    assert database.change_counter() != before


def test_nothing_can_be_said_while_this_process_writes_and_what_came_meanwhile_is_told_after(database: SqliteDatabase) -> None:
    before = database.change_counter()
    seen = []

    def look() -> None:
        thread = threading.Thread(target=lambda: seen.append(database.change_counter()))
        thread.start()
        thread.join()

    database.write("test", lambda tx: look())
    assert seen == [None]
    with closing(SqliteDatabase(database.path, clock=SimulatedClock())) as other:
        commit(other)
    commit(database)
    assert database.change_counter() != before


def test_a_subscription_hears_of_others_only(database: SqliteDatabase) -> None:
    heard = threading.Semaphore(0)
    with closing(ChangeCounter(database).subscribe("default", ["default"], lambda _: heard.release())):
        assert heard.acquire(timeout=30)  # where it stands as the subscription begins
        commit(database)
        with closing(SqliteDatabase(database.path, clock=SimulatedClock())) as other:
            commit(other)
        assert heard.acquire(timeout=30)
        assert not heard.acquire(timeout=0.05)
