"""Which state a database is in: every row of every table, and what a life without faults left after each of its steps.

Here: the rows as digests, the ``Course`` of a life, and the check of a database's own health. Not here: what goes wrong.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from mainspring.errors import MainspringError
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock
from tests.disk.life import STEPS, Life, opened
from tests.disk.vfs import Disk

#: A digest of the rows of each table.
State: TypeAlias = dict[str, str]


class Broken(AssertionError):  # noqa: N818  (it says what happened, as our own errors do)
    """A promise about the disk does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A life without faults: the state before each step and after the last, what each step answered, and what it took."""

    states: list[State]
    answers: list[Any]
    operations: dict[str, int]


def course(folder: Path) -> Course:
    """Live the life once in an empty folder, and remember it."""
    disk, clock = Disk(), SimulatedClock()
    with closing(disk), closing(opened(str(folder / "runs.db"), clock, disk.vfs)) as database:
        life, states, answers = Life.of(database, clock), [state(database.path)], []
        for number in range(len(STEPS)):
            answers.append(life.live(number))
            states.append(state(database.path))
        healthy(database.path)
        invariants.check(database)
        operations = disk.operations()  # those of closing are not counted: a life closes in peace
    return Course(states=states, answers=answers, operations=operations)


def state(path: str, vfs: str | None = None) -> State:
    """The rows of a database, seen over a connection of our own."""
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)) as connection:
        connection.execute("BEGIN")
        tables = [str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return {table: _digest(connection.execute(f'SELECT * FROM "{table}"').fetchall()) for table in tables}


def _digest(rows: list[Any]) -> str:
    return hashlib.sha256("\n".join(sorted(map(repr, rows))).encode()).hexdigest()


def differences(one: State, other: State) -> str:
    """The tables in which two states differ."""
    return ", ".join(sorted(table for table in {*one, *other} if one.get(table) != other.get(table)))


def healthy(path: str, vfs: str | None = None) -> None:
    """SQLite itself finds nothing wrong."""
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    if found:
        raise Broken(f"integrity_check: {found[:5]}")


def shown(error: MainspringError, path: str) -> str:
    """What a caller was told, without the name of the file."""
    return f"{error.code}: {error.message.replace(path, '<file>')}"
