"""What the layers above may ask of a database: named statements inside named transactions. No SQL and no driver here.

A transaction is a function with a name: ``database.write("attempts.finish", fn)``. The database may run ``fn`` again after a
conflict and may run several waiting ``fn`` in one commit, so a ``fn`` reads, decides and writes through its ``tx`` and does
nothing else. Telemetry, fault injection and kill tests use the same names.
"""

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

from mainspring.errors import CapabilityUnsupported

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
    """What a database promises, as flags. ``mainspring.testing.conformance.StorageSuite`` proves those that are given; what depends
    on one that is not is refused before any effect, and never half emulated.

    ``row_locks``: rows can be locked while others go on. ``skip_locked``: claims pass over what others are at. ``notify``: the
    server itself carries hints. ``durable``: what was committed survives the process. ``process_local``: only this process reaches
    it, as in memory. ``transactional_enqueue``: a run can be part of the caller's transaction (``using=``, ``ctx.transaction()``).
    ``leases``: workers may claim here. ``reads_history``: ledgers can be read. ``prunes``: ended runs can be removed.
    ``partitions``: the ledger is kept in parts. ``lends_connections``: ``app.connection()``. The others name what the library does.
    """

    row_locks: bool
    skip_locked: bool
    notify: bool
    durable: bool = True
    process_local: bool = False
    transactional_enqueue: bool = True
    leases: bool = True
    idempotency: bool = True
    singleton: bool = True
    limits: bool = True
    occurrences: bool = False
    deliveries: bool = True
    reads_history: bool = True
    prunes: bool = True
    partitions: bool = False
    lends_connections: bool = False

    def require(self, name: str, instead: str) -> None:
        """Refuse what needs a promise that is not given; ``instead`` says what to do.

        Raises:
            CapabilityUnsupported: it is not given.
        """
        if not getattr(self, name):
            raise CapabilityUnsupported(f"this database does not promise {name}: {instead}", capability=name)

    def as_data(self) -> dict[str, bool]:
        """Flags by name."""
        return asdict(self)


class Transaction(Protocol):
    """One open transaction. Statements are named in ``store/sql``; parameters go by name."""

    @property
    def capabilities(self) -> Capabilities:
        """What its database promises."""

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
        """What this database promises."""

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
