"""The outbox table in somebody else's database: PostgreSQL by psycopg, SQLite by the standard library, bare or under SQLAlchemy.

Here: its SQL and the two spellings of it. What a row means is ``operations/outbox``. The caller's transaction stays the caller's:
one insert goes into it. The relay has a connection of its own, on which it begins and commits.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.errors import ForeignSqlite, InvalidOption, TransportFailed
from mainspring.store import foreign
from mainspring.store.foreign import Kind

TABLE = "mainspring_outbox"
_CREATE = {
    Kind.PSYCOPG: f"""CREATE TABLE IF NOT EXISTS {TABLE} (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, order_key TEXT, request TEXT NOT NULL,
        error TEXT)""",
    Kind.SQLITE3: f"""CREATE TABLE IF NOT EXISTS {TABLE} (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL UNIQUE, order_key TEXT, request TEXT NOT NULL, error TEXT)""",
}
_INSERT = f"INSERT INTO {TABLE} (run_id, order_key, request) VALUES (?, ?, ?)"
_BEGIN = {Kind.PSYCOPG: "SELECT pg_advisory_xact_lock(hashtext('mainspring.outbox'))", Kind.SQLITE3: "BEGIN IMMEDIATE"}
_NEXT = f"SELECT seq, run_id, request FROM {TABLE} WHERE error IS NULL ORDER BY seq LIMIT ?"
_DELETE = f"DELETE FROM {TABLE} WHERE seq = ?"
_REFUSE = f"UPDATE {TABLE} SET error = ? WHERE seq = ?"
_REFUSED = f"SELECT run_id, order_key, error FROM {TABLE} WHERE error IS NOT NULL ORDER BY seq"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a run to be created, chosen and encoded."""

    seq: int
    run_id: str
    request: str


class Theirs:
    """Somebody's database by one of their connections.

    ``ours`` is the URL of the app's database.

    Raises:
        InvalidOption: nothing we know, or one that is awaited. ForeignSqlite: it is our own file.
    """

    def __init__(self, connection: Any, *, ours: str) -> None:
        self._outer = connection
        session, self._driver = foreign.unwrapped(connection)
        self._kind = foreign.kind_of(self._driver)
        if self._kind not in _CREATE:
            raise InvalidOption(
                f"{self._kind} cannot hold an outbox; give a psycopg or sqlite3 connection, or SQLAlchemy's over one of them",
                option="connection",
            )
        if self._kind is Kind.SQLITE3:
            self._refuse_our_file(ours)
        if session is not None and not session.in_transaction():
            session.begin()

    def create_table(self) -> None:
        """Make the table, if it is not there; in the transaction of the connection."""
        self._run(_CREATE[self._kind], ())

    def insert(self, run_id: str, order_key: str | None, request: str) -> None:
        """Write a row into the caller's transaction."""
        self._run(_INSERT, (run_id, order_key, request))

    # -- for the relay, on a connection of its own -------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a transaction in which no other relay works on this table."""
        if self._kind is Kind.SQLITE3 and self._driver.in_transaction:
            self._driver.rollback()
        self._run(_BEGIN[self._kind], ())

    def next_rows(self, most: int) -> list[Row]:
        """The oldest rows, in order."""
        return [Row(int(row[0]), str(row[1]), str(row[2])) for row in self._run(_NEXT, (most,))]

    def delete(self, rows: Sequence[Row]) -> None:
        """Remove rows whose runs are there."""
        for row in rows:
            self._run(_DELETE, (row.seq,))

    def refuse(self, row: Row, why: str) -> None:
        """Set a row aside that can never become a run."""
        self._run(_REFUSE, (why[:1000], row.seq))

    def refused(self) -> list[tuple[str, str | None, str]]:
        """Rows that were set aside: run id, order key, why."""
        return [(str(row[0]), row[1], str(row[2])) for row in self._run(_REFUSED, ())]

    def commit(self) -> None:
        """End the relay's transaction."""
        self._driver.commit()

    def close(self) -> None:
        """Give the relay's connection back, with whatever was not committed undone."""
        try:
            self._driver.rollback()
        finally:
            self._outer.close()

    def _run(self, sql: str, params: tuple[Any, ...]) -> list[Any]:
        if self._kind is Kind.PSYCOPG:
            sql = sql.replace("?", "%s")
        cursor = self._driver.cursor()
        try:
            cursor.execute(sql, params)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description is not None else []
        finally:
            cursor.close()

    def _refuse_our_file(self, ours: str) -> None:
        ours = ours.partition("sqlite://")[2].removeprefix("/")
        theirs = next((row[2] for row in self._driver.execute("PRAGMA database_list") if row[1] == "main"), "")
        if ours and theirs and os.path.exists(ours) and os.path.samefile(ours, theirs):
            raise ForeignSqlite(
                "this connection is to the app's own file, by a second SQLite library; an outbox is for another database: "
                "here `with app.connection() as connection:` puts runs into your transaction",
                option="connection",
            )


def troubles() -> tuple[type[BaseException], ...]:
    """What their drivers raise when their database is away."""
    import sqlite3

    found: list[type[BaseException]] = [sqlite3.OperationalError, OSError, TransportFailed]
    try:
        import psycopg
    except ImportError:
        return tuple(found)
    return (*found, psycopg.OperationalError)
