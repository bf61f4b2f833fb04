"""A database that counts: which statement ran how often, how often somebody waited for an answer, and what each statement cost.

Here: counting. Not here: what is done meanwhile (``scenes``), and how much it may be (``bills``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import apsw
import psycopg

from mainspring.store.database import Capabilities, Row

#: What a transaction costs beside its statements: on PostgreSQL the record of its commit.
COMMIT = "(commit)"


@dataclass(slots=True)
class Count:
    """Of one statement: how often it ran and what that took in all, in the gauge's unit."""

    times: int = 0
    amount: float = 0


@dataclass(slots=True)
class Meter:
    """What was counted since the last ``reset``."""

    counts: dict[str, Count] = field(default_factory=dict)
    waits: int = 0

    def reset(self) -> None:
        """Forget what was counted."""
        self.counts, self.waits = {}, 0

    def add(self, name: str, amount: float) -> None:
        """One more run of a statement."""
        count = self.counts.setdefault(name, Count())
        count.times += 1
        count.amount += amount


class Gauge(Protocol):
    """How the cost of a piece of work is read from a database."""

    unit: str

    def measured(self, tx: Any, work: Callable[[], Any]) -> tuple[Any, float]:
        """Do the work and say what it cost; ``tx`` is None for the commit."""


class VmSteps:
    """Instructions of SQLite's virtual machine: exact, and nearly the CPU time of a statement."""

    unit = "VM steps"

    def measured(self, tx: Any, work: Callable[[], Any]) -> tuple[Any, float]:
        if tx is None:
            return work(), 0
        steps: list[int] = []
        connection: apsw.Connection = tx._connection
        connection.trace_v2(
            apsw.SQLITE_TRACE_PROFILE, lambda told: steps.append(told["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]), id=self
        )
        try:
            return work(), sum(steps)
        finally:
            connection.trace_v2(0, None, id=self)


class WalBytes:
    """Bytes of PostgreSQL's write-ahead log: what every commit sends to the disk, and to each standby. The server must be ours
    alone (``SETTINGS``), for its log is everybody's."""

    unit = "WAL bytes"
    #: Nothing writes but we, and no page goes to the log as a whole because of where a checkpoint happened to fall.
    SETTINGS = {"full_page_writes": "off", "autovacuum": "off", "checkpoint_timeout": "1h", "max_wal_size": "8GB"}  # noqa: RUF012

    def __init__(self, url: str) -> None:
        self._session = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self._session.close()

    def measured(self, tx: Any, work: Callable[[], Any]) -> tuple[Any, float]:
        before = self._written()
        answer = work()
        return answer, self._written() - before

    def _written(self) -> float:
        ((at,),) = self._session.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()
        return float(at)


class MeteredTransaction:
    """A transaction whose statements are counted. Each is waited for, so that its cost is its own; ``waits`` are counted as if
    nobody waited but for what was asked."""

    def __init__(self, tx: Any, meter: Meter, gauge: Gauge) -> None:
        self._tx, self._meter, self._gauge = tx, meter, gauge
        self._open: set[int] = set()  # sent, and not known to be answered
        self._sent = 0

    @property
    def capabilities(self) -> Capabilities:
        found: Capabilities = self._tx.capabilities
        return found

    @property
    def now(self) -> int:
        known: int = self._tx.now
        return known

    def rows(self, statement: str, /, **params: Any) -> list[Row]:
        return self.ask(statement, **params)()

    def one(self, statement: str, /, **params: Any) -> Row | None:
        rows = self.rows(statement, **params)
        return rows[0] if rows else None

    def execute(self, statement: str, /, **params: Any) -> int:
        return self.send(statement, **params)()

    def send(self, statement: str, /, **params: Any) -> Callable[[], int]:
        return self._counted(statement, lambda: self._tx.execute(statement, **params))

    def ask(self, statement: str, /, **params: Any) -> Callable[[], list[Row]]:
        return self._counted(statement, lambda: self._tx.rows(statement, **params))

    def _counted(self, statement: str, work: Callable[[], Any]) -> Callable[[], Any]:
        answer, amount = self._gauge.measured(self._tx, work)
        self._meter.add(statement, amount)
        self._sent += 1
        mine = self._sent
        self._open.add(mine)

        def answered() -> Any:
            if mine in self._open:
                self._meter.waits += 1
                self._open.clear()  # answers come in order: all that was sent is answered now
            return answer

        return answered


class Metered:
    """A database whose transactions are counted. Everything else is the database's own."""

    def __init__(self, database: Any, gauge: Gauge) -> None:
        self._database, self._gauge = database, gauge
        self.meter = Meter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        return self._single if name == "single" else found

    def write(self, name: str, fn: Callable[[Any], Any], /) -> Any:
        """As the database writes; what the transaction took that no statement of it did, its commit did."""
        before = self._total()
        answer, whole = self._gauge.measured(
            None, lambda: self._database.write(name, lambda tx: fn(MeteredTransaction(tx, self.meter, self._gauge)))
        )
        self.meter.add(COMMIT, max(0.0, whole - (self._total() - before)))
        return answer

    def read(self, name: str, fn: Callable[[Any], Any], /) -> Any:
        return self._database.read(name, lambda tx: fn(MeteredTransaction(tx, self.meter, self._gauge)))

    def _single(self, name: str, statement: str, /, **params: Any) -> Any:
        answer, amount = self._gauge.measured(None, lambda: self._database.single(name, statement, **params))
        self.meter.add(statement, amount)
        self.meter.waits += 1
        return answer

    def _total(self) -> float:
        return sum(count.amount for count in self.meter.counts.values())
