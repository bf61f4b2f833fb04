"""What the layers above may ask of a database: named statements inside named transactions. No SQL and no driver here.

A transaction is a function with a name: ``database.write("attempts.finish", fn)``. The database may run ``fn`` again after a
conflict and may run several waiting ``fn`` in one commit, so a ``fn`` reads, decides and writes through its ``tx`` and does
nothing else. Telemetry, fault injection and kill tests use the same names.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One statement to run, by name, with its parameters: what a plan yields. ``rows`` come back."""

    statement: str
    params: dict[str, Any]


#: An operation written once for callers who wait and callers who await: it yields queries and is sent their rows.
Plan = Generator[Query, list[Row], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a database can do beyond the portable subset; chosen at start-up, forced off to test the portable profile."""

    row_locks: bool
    skip_locked: bool
    notify: bool


class Transaction(Protocol):
    """One open transaction. Statements are named in ``store/sql``; parameters go by name."""

    @property
    def capabilities(self) -> Capabilities:
        """What its database can do beyond the portable subset."""

    @property
    def now(self) -> int:
        """The database's clock, UTC microseconds, the same for the whole transaction."""

    def rows(self, statement: str, /, **params: Any) -> list[Row]:
        """Run a statement that answers rows, and return all of them."""

    def one(self, statement: str, /, **params: Any) -> Row | None:
        """Run a statement that answers at most one row."""

    def execute(self, statement: str, /, **params: Any) -> int:
        """Run a statement for its effect; returns how many rows it changed (the last part of a script counts)."""

    def send(self, statement: str, /, **params: Any) -> Callable[[], int]:
        """``execute`` without waiting for the answer, where the database can: the call of what is returned waits. Until then the
        next statement may be on its way too."""

    def ask(self, statement: str, /, **params: Any) -> Callable[[], list[Row]]:
        """``rows`` without waiting for the answer, where the database can: the call of what is returned waits."""


class Database(Protocol):
    """One database, shared by all threads of a process."""

    @property
    def capabilities(self) -> Capabilities:
        """What this database can do beyond the portable subset."""

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` in a read-write transaction and return what it returned, once that is durable.

        Raises:
            StorageUnavailable: nothing was committed.
            CommitUnknown: the connection broke during the commit; the caller reads the outcome before it goes on.
            StorageConflict: still in conflict with others after several tries; nothing was committed.
        """

    def read(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` on one consistent snapshot. Never waits for a writer."""

    def close(self) -> None:
        """Give back every connection, file and thread. A second call does nothing."""


def drive(tx: Transaction, plan: Plan[T]) -> T:
    """Run a plan inside a transaction, waiting for each answer."""
    try:
        query = next(plan)
        while True:
            query = plan.send(tx.rows(query.statement, **query.params))
    except StopIteration as done:
        result: T = done.value
        return result
