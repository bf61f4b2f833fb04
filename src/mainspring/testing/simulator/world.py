"""The world of a simulation: one database in memory, one true time, and the lines by which processes reach the database.

Here: what can go wrong between a process and the database, at each named transaction. Not here: processes (``nodes``), and when
something goes wrong (``fleet``).
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Literal, TypeVar, assert_never, get_args

from mainspring.errors import CommitUnknown, StorageConflict, StorageUnavailable
from mainspring.store.database import Capabilities, Transaction
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock

T = TypeVar("T")

#: What may happen to one transaction: the process dies before or after its commit, the answer gets lost before or after it, the
#: database goes away in the middle, runs it a second time, gives up on it after conflicts, or answers after more
#: than a lease.
Strike = Literal["crash before", "crash after", "lost before", "lost after", "gone", "twice", "conflict", "slow"]
STRIKES: tuple[Strike, ...] = get_args(Strike)


class Crash(BaseException):
    """The process died here: nothing of its memory is left."""


class _AgainError(Exception):
    """Rolls back the first of two runs of one transaction."""


class Trace:
    """What happened, in order: a hash of it always, its lines on demand."""

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._hash = blake2b(digest_size=8)
        self._say = say
        self.transactions = 0

    def note(self, line: str) -> None:
        """Something happened."""
        self._hash.update(line.encode() + b"\n")
        if self._say is not None:
            self._say(line)

    @property
    def hash(self) -> str:
        """Sixteen digits that two equal stories share."""
        return self._hash.hexdigest()


class Stage:
    """A migrated database in memory on which story after story is played. What one leaves is cleared away before the next; the
    statements that SQLite has prepared stay prepared."""

    def __init__(self) -> None:
        self.clock: Callable[[], int] = SimulatedClock()
        self.database = SqliteDatabase(":memory:", clock=self._now)
        migrate(self.database, dialect_name="sqlite")
        with self.database.exclusive() as connection:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
            self._pristine = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for (table,) in tables}

    def _now(self) -> int:
        return self.clock()

    def clear(self) -> None:
        """As it was when it was new."""
        with self.database.exclusive() as connection:
            for table, rows in self._pristine.items():
                connection.execute(f"DELETE FROM {table}").fetchall()
                for row in rows:
                    connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row).fetchall()

    def close(self) -> None:
        """Forget the database."""
        self.database.close()


class World:
    """Time, the database, and what is noted of both. ``skew_us`` is how wrong the clock is that the database goes by
    now, ``slow_us`` how long a slow transaction takes, and ``meanwhile`` lets that time pass for everybody else."""

    def __init__(self, trace: Trace, stage: Stage, *, slow_us: int) -> None:
        self.clock = SimulatedClock()
        self.slow_us = slow_us
        self.meanwhile: Callable[[str, int], None] = lambda name, us: self.clock.advance_us(us)
        self.trace = trace
        self.skew_us = 0
        self.outage_until = 0
        self.database = stage.database
        stage.clock = lambda: self.clock.now + self.skew_us
        stage.clear()

    @property
    def elapsed(self) -> int:
        """Microseconds of the clock that never steps."""
        return self.clock.elapsed

    def look(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database as they are, past every line and clock."""
        with self.database.exclusive() as connection:
            return list(connection.execute(sql, values).fetchall())


class Line:
    """The database as one process reaches it; a ``store.database.Database``.

    ``skew_us`` is how wrong this process's clock is, and so the database's while this process uses it: on SQLite the database's
    clock is that of whoever writes.
    """

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.skew_us = 0
        self.cut_until = 0
        self._strikes: deque[tuple[int, Strike]] = deque()

    @property
    def capabilities(self) -> Capabilities:
        """Those of the database."""
        return self._world.database.capabilities

    def plan(self, strike: Strike, *, after: int) -> None:
        """Let a strike befall the transaction after so many more."""
        self._strikes.append((after, strike))

    def heal(self) -> None:
        """Nothing more goes wrong here."""
        self._strikes.clear()
        self.cut_until = 0

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` as the database does, unless something befalls it."""
        self._reach(name)
        strike = self._next_strike()
        try:
            result = self._write(name, fn, strike)
        finally:
            self._world.trace.transactions += 1
            self._world.trace.note(f"{self._world.elapsed} {self.name} {name}{f' ({strike})' if strike else ''}")
        return result

    def read(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` on what is committed."""
        self._reach(name)
        return self._world.database.read(name, fn)

    def close(self) -> None:
        """The database belongs to the world."""

    def _reach(self, name: str) -> None:
        world = self._world
        if world.elapsed < max(self.cut_until, world.outage_until):
            world.trace.note(f"{world.elapsed} {self.name} cannot {name}")
            raise StorageUnavailable("the database cannot be reached")
        world.skew_us = self.skew_us

    def _next_strike(self) -> Strike | None:
        self._strikes = deque((after - 1, strike) for after, strike in self._strikes)
        if self._strikes and self._strikes[0][0] < 0:
            return self._strikes.popleft()[1]
        return None

    def _write(self, name: str, fn: Callable[[Transaction], T], strike: Strike | None) -> T:
        write = self._world.database.write
        match strike:
            case None:
                return write(name, fn)
            case "crash before":
                return write(name, lambda tx: _then(fn(tx), Crash()))
            case "crash after":
                return _then(write(name, fn), Crash())
            case "lost before":
                return write(
                    name, lambda tx: _then(fn(tx), CommitUnknown("the answer to the commit, which did not happen, is lost"))
                )
            case "lost after":
                write(name, fn)
                if self._world.elapsed % 2:  # now and then nobody notices for a while
                    self._world.meanwhile(self.name, self._world.slow_us)
                raise CommitUnknown("the answer to the commit, which did happen, is lost")
            case "gone":
                return write(name, lambda tx: _then(fn(tx), StorageUnavailable("the database went away")))
            case "twice":
                with suppress(_AgainError):
                    write(name, lambda tx: _then(fn(tx), _AgainError()))
                return write(name, fn)
            case "conflict":
                return write(name, lambda tx: _then(fn(tx), StorageConflict("in conflict with others, again and again")))
            case "slow":
                result = write(name, fn)
                self._world.meanwhile(self.name, self._world.slow_us)
                return result
            case _:
                assert_never(strike)


def _then(result: T, error: BaseException) -> T:
    del result
    raise error
