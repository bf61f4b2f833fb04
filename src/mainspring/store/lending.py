"""Connections lent to user code for one transaction, which ends as its block ends; and our statements in it as text and numbers.

Not here: connections of the user's own (``foreign.py``).
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from mainspring.errors import CapabilityUnsupported, CommitUnknown, StorageUnavailable
from mainspring.store.database import Capabilities, Query, Row, Transaction


class TextTransaction:
    """Our statements on a connection of other settings than ours: whatever its driver makes of an id, here it is text."""

    def __init__(self, answer: Callable[[Query], list[Row]], capabilities: Capabilities) -> None:
        self._answer = answer
        self.capabilities = capabilities

    @property
    def now(self) -> int:
        """The database's clock."""
        ((now,),) = self.rows("clock.now")
        return int(now)

    def rows(self, statement: str, /, **params: Any) -> list[Row]:
        """All rows the statement answers."""
        found = self._answer(Query(statement=statement, params=params))
        return [tuple(str(value) if type(value).__name__ == "UUID" else value for value in row) for row in found]

    def one(self, statement: str, /, **params: Any) -> Row | None:
        """The only row, or None."""
        rows = self.rows(statement, **params)
        return rows[0] if rows else None

    def execute(self, statement: str, /, **params: Any) -> int:
        """Run it. How many rows it changed is not known here: -1."""
        self.rows(statement, **params)
        return -1

    def send(self, statement: str, /, **params: Any) -> Callable[[], int]:
        """``execute``, waited for."""
        changed = self.execute(statement, **params)
        return lambda: changed

    def ask(self, statement: str, /, **params: Any) -> Callable[[], list[Row]]:
        """``rows``, waited for."""
        answer = self.rows(statement, **params)
        return lambda: answer


def as_text(tx: Transaction) -> Transaction:
    """The same transaction, with ids as text."""
    return TextTransaction(lambda query: tx.rows(query.statement, **query.params), tx.capabilities)


@contextmanager
def lent(database: Any) -> Iterator[Any]:
    """A connection in a transaction that commits at the end of the block and rolls back on an error: a psycopg one of its own on
    PostgreSQL; on SQLite the writer, for which everybody else waits meanwhile.

    Raises:
        StorageUnavailable: the database cannot be reached. CommitUnknown: the connection broke during the commit.
    """
    if hasattr(database, "exclusive"):
        with database.exclusive() as writer:
            yield writer
        return
    import psycopg

    try:
        connection = psycopg.connect(database.conninfo)
    except psycopg.OperationalError as error:
        raise StorageUnavailable(f"cannot connect to PostgreSQL: {error}") from error
    with connection:
        yield connection
        try:
            connection.commit()
        except psycopg.OperationalError as error:
            raise _unknown(error) from error


@asynccontextmanager
async def alent(database: Any) -> AsyncIterator[Any]:
    """``lent`` for an event loop, on PostgreSQL.

    Raises:
        CapabilityUnsupported: on SQLite, whose transactions belong to a thread.
    """
    if hasattr(database, "exclusive"):
        raise CapabilityUnsupported("on SQLite write `with ctx.transaction() as connection:`, and await nothing inside the block")
    import psycopg

    try:
        connection = await psycopg.AsyncConnection.connect(database.conninfo)
    except psycopg.OperationalError as error:
        raise StorageUnavailable(f"cannot connect to PostgreSQL: {error}") from error
    async with connection:
        yield connection
        try:
            await connection.commit()
        except psycopg.OperationalError as error:
            raise _unknown(error) from error


def _unknown(error: BaseException) -> CommitUnknown:
    return CommitUnknown(f"the connection broke during a commit: {error}")
