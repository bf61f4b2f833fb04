"""The databases that must answer alike, all on one clock that stands still until it is told to move.

Here: opening them, emptying them, and reading every row of them. PostgreSQL gives its own time, so its databases here have a
function of that name which is found first and says what our clock says: ties and instants are then exactly the same
everywhere. Not here: what is asked of them (``acts.py``), and what is drawn (``machine.py``).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

import apsw
import psycopg
from psycopg import sql

from mainspring.store.database import Transaction
from mainspring.store.migrate import migrate
from mainspring.store.postgres import PostgresDatabase, PostgresTransaction
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock
from mainspring.testing.postgres import fresh_database
from tests.support.builders import FIRST_ROWS, AnyDatabase, Fleet, connect

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = Mapping[str, Sequence[Row]]

NAMESPACES = ("test", "other")

_CLOCK = """
    CREATE SCHEMA stopped;
    CREATE FUNCTION stopped.transaction_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
        $$ SELECT timestamptz 'epoch' + current_setting('stopped.now')::bigint * interval '1 microsecond' $$;
"""
_TABLES = (
    "queues", "limits", "reservations", "rates", "admissions", "lanes", "policies", "runs", "events", "checkpoints",
    "idempotency_keys", "singletons", "debounces", "batches", "dependencies", "unfinished_releases", "run_attributes", "deliveries",
    "dead_letters", "receipts", "workers", "fleet", "bulk_actions", "bulk_items", "retention_walks",
    "schedules", "schedule_revisions", "schedule_cursors", "schedule_events", "occurrences", "occurrence_ranges",
    "schedule_backlogs", "calendars", "schedule_calendars", "catch_up_pace", "planner_mark",
    "blackouts", "alerts", "alert_watches", "webhooks", "users", "logins",
    "backfills", "backfill_items", "login_throttles", "api_tokens", "audit_entries", "audit_chain", "request_keys",
)  # fmt: skip


class StoppedPostgres(PostgresDatabase):
    """PostgreSQL whose ``now`` is a clock of ours; each transaction tells the server the time first."""

    def __init__(self, conninfo: str, clock: SimulatedClock, *, portable: bool) -> None:
        self._clock = clock
        super().__init__(conninfo, portable=portable, pool_size=1)

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        return super().write(name, lambda tx: fn(self._told_the_time(tx)))

    def read(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        return super().read(name, lambda tx: fn(self._told_the_time(tx)))

    def _told_the_time(self, tx: Transaction) -> Transaction:
        connection = cast("PostgresTransaction", tx)._connection
        connection.execute("SELECT set_config('stopped.now', %s, true)", (str(self._clock.now),))
        return tx


class Plain(Protocol):
    """Plain SQL beside the library."""

    def script(self, text: str) -> None:
        """Run commands."""

    def tables(self) -> Rows:
        """Every row of every table, sorted."""

    def vacuum(self) -> None:
        """Take away what deleted rows left."""


@dataclass(frozen=True, slots=True)
class PlainSqlite:
    database: SqliteDatabase

    def script(self, text: str) -> None:
        with self.database.exclusive() as connection:
            connection.execute(text).fetchall()

    def tables(self) -> Rows:
        with self.database.exclusive() as connection:
            return {table: _sorted(connection.execute(f"SELECT * FROM {table}").fetchall()) for table in _TABLES}

    def vacuum(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class PlainPostgres:
    session: psycopg.Connection[Row]

    def script(self, text: str) -> None:
        self.session.execute(cast("Any", text))

    def tables(self) -> Rows:
        cursor = self.session.execute(cast("Any", "; ".join(f"SELECT * FROM {table}" for table in _TABLES)))
        found = {}
        for table in _TABLES:
            found[table] = _sorted(cursor.fetchall())
            cursor.nextset()
        return found

    def vacuum(self) -> None:
        self.session.execute(cast("Any", f"VACUUM {', '.join(_TABLES)}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the databases, with its callers and workers in each namespace."""

    name: str
    database: AnyDatabase
    plain: Plain

    def empty(self) -> None:
        """Delete every row."""
        self.plain.script("; ".join([*(f"DELETE FROM {table}" for table in _TABLES), *FIRST_ROWS]))

    def fleets(self, clock: SimulatedClock) -> dict[str, Fleet]:
        """Those who use the database, by namespace."""
        return {name: Fleet(database=self.database, clock=clock, namespace=name) for name in NAMESPACES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """All of them, and their clock."""

    all: Sequence[Side]
    clock: SimulatedClock

    def vacuum(self) -> None:
        """Take away what deleted rows left, so that a long campaign stays as fast as it began."""
        for side in self.all:
            side.plain.vacuum()


@contextmanager
def open_sides(postgres_url: str) -> Iterator[Sides]:
    """SQLite in memory, PostgreSQL, and its portable profile, empty and migrated. The last sorts text as people do, where the
    server can, for most databases out there do."""
    clock = SimulatedClock()
    with ExitStack() as stack:
        small = SqliteDatabase(":memory:", clock=clock)
        stack.callback(small.close)
        migrate(small, dialect_name="sqlite")
        _check_tables(small)
        sides = [Side(name="sqlite", database=small, plain=PlainSqlite(small))]
        for name, home in (("postgres", fresh_database(postgres_url)), ("portable", _worded_database(postgres_url))):
            url = stack.enter_context(home)
            _prepare(url)
            server = StoppedPostgres(url, clock, portable=name == "portable")
            stack.callback(server.close)
            session = stack.enter_context(connect(server))
            sides.append(Side(name=name, database=server, plain=PlainPostgres(session)))
        yield Sides(all=sides, clock=clock)


def _check_tables(database: SqliteDatabase) -> None:
    """A table that a migration adds must be compared too."""
    with database.exclusive() as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert found - {"schema_migrations"} == set(_TABLES)


def _prepare(url: str) -> None:
    """Migrate, stop the clock, and do not wait for the disk: nothing crashes here."""
    database = PostgresDatabase(url)
    try:
        migrate(database, dialect_name="postgres")
    finally:
        database.close()
    name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(cast("Any", _CLOCK))
        session.execute(sql.SQL("ALTER DATABASE {} SET search_path = stopped, pg_catalog, public").format(name))
        session.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))


@contextmanager
def _worded_database(url: str) -> Iterator[str]:
    """A fresh database whose text sorts by the rules of a language; where the server knows none, by bytes."""
    name = f"mainspring_{secrets.token_hex(6)}"
    target = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as session:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(target)
        try:
            session.execute(create + sql.SQL(" LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"))
        except (psycopg.NotSupportedError, psycopg.errors.InvalidParameterValue, psycopg.errors.SyntaxError):
            session.execute(create)
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(target))


def _sorted(rows: Sequence[apsw.SQLiteValues | Row]) -> list[Row]:
    return sorted((tuple(row) for row in rows), key=repr)
