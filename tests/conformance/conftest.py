"""One database after another under the same tests: SQLite in a file and in memory, PostgreSQL, and its portable profile.

Here: the fixtures ``database``, ``fleet`` and ``rival``, and the check of every invariant at the end of every test. Not here:
what the fleet does (``tests/support/builders.py``), and how a server is found (``tests/support/services.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import psycopg
import pytest

from mainspring.store.migrate import migrate
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock
from mainspring.testing.postgres import fresh_database
from tests.support.builders import FIRST_ROWS, AnyDatabase, Fleet

BACK_ENDS = ("sqlite", "memory", "postgres", "portable")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that uses a database runs on each of them; what needs a second connection cannot run in memory."""
    if "back_end" in metafunc.fixturenames:
        names = [name for name in BACK_ENDS if name != "memory" or "rival" not in metafunc.fixturenames]
        metafunc.parametrize("back_end", names, scope="function")


@pytest.fixture(scope="session")
def postgres_home(postgres_url: str) -> Iterator[str]:
    """A migrated PostgreSQL database for this process; each test finds it empty."""
    with fresh_database(postgres_url) as url:
        with closing(PostgresDatabase(url)) as database:
            migrate(database, dialect_name="postgres")
        yield url


@pytest.fixture(scope="session")
def postgres_stock(postgres_home: str) -> Iterator[PostgresDatabase]:
    """PostgreSQL as it is."""
    with closing(PostgresDatabase(postgres_home)) as database:
        yield database


@pytest.fixture(scope="session")
def postgres_portable(postgres_home: str) -> Iterator[PostgresDatabase]:
    """PostgreSQL with everything switched off that its distributed relatives may lack."""
    with closing(PostgresDatabase(postgres_home, portable=True)) as database:
        yield database


@pytest.fixture
def clock() -> SimulatedClock:
    """The clock of SQLite databases; PostgreSQL has its own."""
    return SimulatedClock()


@pytest.fixture
def database(request: pytest.FixtureRequest, back_end: str, tmp_path: Path, clock: SimulatedClock) -> Iterator[AnyDatabase]:
    """An empty, migrated database."""
    match back_end:
        case "sqlite" | "memory":
            path = ":memory:" if back_end == "memory" else str(tmp_path / "runs.db")
            with closing(SqliteDatabase(path, clock=clock)) as small:
                migrate(small, dialect_name="sqlite")
                yield small
        case _:
            server = cast(
                "PostgresDatabase", request.getfixturevalue(f"postgres_{'stock' if back_end == 'postgres' else back_end}")
            )
            empty(server.conninfo)
            yield server


@pytest.fixture
def fleet(database: AnyDatabase, clock: SimulatedClock) -> Iterator[Fleet]:
    """Callers, workers and operators on the database; when the test is over, every invariant holds."""
    cast_of_the_test = Fleet(database=database, clock=clock if isinstance(database, SqliteDatabase) else None)
    yield cast_of_the_test
    invariants.check(database, lowered=cast_of_the_test.lowered)


@pytest.fixture
def rival(database: AnyDatabase, clock: SimulatedClock) -> Iterator[AnyDatabase]:
    """The same database as another process has it: connections of its own."""
    if isinstance(database, SqliteDatabase):
        with closing(SqliteDatabase(database.path, clock=clock)) as other:
            yield other
    else:
        yield database


def empty(url: str) -> None:
    """As it was when it was new: delete every row. Cheaper than TRUNCATE, which makes new files, while tables are this small."""
    with psycopg.connect(url) as session:
        found = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migrations'")
        for (table,) in found.fetchall():
            session.execute(psycopg.sql.SQL("DELETE FROM {}").format(psycopg.sql.Identifier(table)))
        for command in FIRST_ROWS:
            session.execute(command)


@pytest.fixture
def other(fleet: Fleet, rival: AnyDatabase) -> Fleet:
    """The same fleet, seen from another process."""
    twin = Fleet(database=rival, clock=fleet.clock, lowered=fleet.lowered, _ids=fleet._ids)
    twin._lanes, twin._policies, twin._workers = fleet._lanes, fleet._policies, fleet._workers
    return twin
