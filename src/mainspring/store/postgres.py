"""PostgreSQL: a pool of connections and short transactions. The only place that knows psycopg.

``now`` is the server's. Conflicts between transactions (serialization failures, deadlocks) are retried here a few times; a
connection that breaks during the commit becomes ``CommitUnknown``, and the caller reads the outcome.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import psycopg
from psycopg import errors as pg
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader
from psycopg_pool import ConnectionPool, PoolTimeout

from mainspring.errors import BrokenInvariant, CommitUnknown, StorageConflict, StorageUnavailable
from mainspring.store import dialect
from mainspring.store.database import Capabilities, Row, Transaction
from mainspring.store.statements import load

T = TypeVar("T")

_TRIES = 5
_POOL = 10
_POOL_TIMEOUT_SECONDS = 10.0
_CONNECT_SECONDS = 10
_LISTEN_SECONDS = 0.2

_SESSION = (
    # Our statements reach rows by key, a batch at a time: a plan made while a table was empty must not scan it when it is full.
    "SET jit = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; "
    "SET plan_cache_mode = force_generic_plan; "
    # A process that stops in the middle of a transaction (paused, cut off, killed) must not keep its locks from the others.
    "SET idle_in_transaction_session_timeout = '2s'; SET client_connection_check_interval = '1s'"
)

#: What a transaction that was rolled back for sure raises: it is simply run again.
_CONFLICTS = (pg.SerializationFailure, pg.DeadlockDetected, pg.IdleInTransactionSessionTimeout)
#: The connection is gone. The second is the server's word that it ended a transaction we left idle, so nothing was committed.
_BROKEN = (psycopg.OperationalError, pg.IdleInTransactionSessionTimeout)


class PostgresTransaction:
    """Our statements on one psycopg connection, inside a transaction; see ``store.database.Transaction``."""

    __slots__ = ("_connection", "_now", "_pipeline", "_statements", "capabilities")

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        statements: dict[str, dialect.Compiled],
        capabilities: Capabilities,
        pipeline: psycopg.Pipeline | None = None,
    ) -> None:
        self._pipeline = pipeline
        self.capabilities = capabilities
        self._connection = connection
        self._statements = statements
        self._now: int | None = None

    @property
    def now(self) -> int:
        """The server's clock when the transaction began."""
        if self._now is None:
            ((self._now,),) = self.rows("clock.now")
        return self._now

    def rows(self, statement: str, /, **params: Any) -> list[Row]:
        """All rows the statement answers."""
        return self.ask(statement, **params)()

    def one(self, statement: str, /, **params: Any) -> Row | None:
        """The only row, or None."""
        rows = self.rows(statement, **params)
        return rows[0] if rows else None

    def execute(self, statement: str, /, **params: Any) -> int:
        """How many rows the last command changed."""
        return self.send(statement, **params)()

    def send(self, statement: str, /, **params: Any) -> Callable[[], int]:
        """Send a statement; the call of what is returned waits for how many rows it changed."""
        cursors = self._run_all(statement, params)
        return lambda: self._answered(cursors)[-1].rowcount

    def ask(self, statement: str, /, **params: Any) -> Callable[[], list[Row]]:
        """Send a statement; the call of what is returned waits for its rows."""
        cursors = self._run_all(statement, params)
        return lambda: [row for cursor in self._answered(cursors) if cursor.description is not None for row in cursor]

    def _run_all(self, statement: str, params: dict[str, Any]) -> list[psycopg.Cursor[Row]]:
        compiled = self._statements[statement]
        bound = compiled.bind(params)
        return [self._run(command, bound) for command in compiled.commands]

    def _run(self, command: str, bound: dict[str, Any]) -> psycopg.Cursor[Row]:
        cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)  # whatever cursors the caller's connection makes
        return cursor.execute(cast("Any", command), bound, prepare=True)

    def _answered(self, cursors: list[psycopg.Cursor[Row]]) -> list[psycopg.Cursor[Row]]:
        """In a pipeline the answers may still be on their way."""
        if self._pipeline is not None and cursors[-1].pgresult is None:
            self._pipeline.sync()
        return cursors


class PostgresDatabase:
    """A PostgreSQL database, shared by the threads of this process and by every process of the fleet.

    ``conninfo`` is a URL or a psycopg connection string. ``portable`` switches the capabilities off that stock PostgreSQL has
    and its distributed relatives may lack.
    """

    def __init__(self, conninfo: str, *, portable: bool = False, pool_size: int = _POOL) -> None:
        self.conninfo = conninfo
        self.capabilities = Capabilities(skip_locked=not portable, notify=not portable)
        _require_reachable(conninfo)
        source = "portable" if portable else "postgres"
        self._statements = {name: dialect.compile_postgres(s, skip_locked=not portable) for name, s in load(source).items()}
        self._pool = ConnectionPool(
            conninfo,
            min_size=0,
            max_size=pool_size,
            timeout=_POOL_TIMEOUT_SECONDS,
            kwargs={"autocommit": True, "connect_timeout": _CONNECT_SECONDS},
            configure=_configure,
            open=True,
        )
        self._closed = threading.Event()

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` in a transaction, again after a conflict with others or a connection lost before the commit."""
        for attempt in range(1, _TRIES + 1):
            try:
                return self._write_once(fn)
            except _CONFLICTS as error:
                if attempt == _TRIES:
                    raise StorageConflict(f"{name} met a conflict {attempt} times: {error}") from error
            except (*_BROKEN, PoolTimeout) as error:
                if attempt == _TRIES or isinstance(error, PoolTimeout):
                    raise StorageUnavailable(f"{name}: {_first_line(error)}") from error
        raise BrokenInvariant("unreachable: every try returns or raises")

    def _write_once(self, fn: Callable[[Transaction], T]) -> T:
        """One try. In a pipeline, so that ``BEGIN`` and whatever ``fn`` sends without asking need no round trip of their own."""
        with self._connection() as connection:
            try:
                with connection.pipeline() as pipeline:
                    connection.execute("BEGIN")
                    result = fn(PostgresTransaction(connection, self._statements, self.capabilities, pipeline))
                    pipeline.sync()
            except (psycopg.IntegrityError, psycopg.DataError) as error:
                _roll_back(connection)
                raise BrokenInvariant(f"a statement of ours was refused: {_first_line(error)}") from error
            except BaseException:
                _roll_back(connection)
                raise
            try:
                connection.execute("COMMIT")
            except _CONFLICTS:
                _roll_back(connection)
                raise
            except psycopg.OperationalError as error:
                raise CommitUnknown(f"the connection broke during a commit: {_first_line(error)}") from error
            return result

    def read(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` on one snapshot, read only."""
        for attempt in (1, 2):
            try:
                with self._connection() as connection:
                    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    try:
                        return fn(PostgresTransaction(connection, self._statements, self.capabilities))
                    finally:
                        _roll_back(connection)
            except (*_BROKEN, PoolTimeout) as error:
                if attempt == 2 or isinstance(error, PoolTimeout):
                    raise StorageUnavailable(f"{name}: {_first_line(error)}") from error
        raise BrokenInvariant("unreachable: every try returns or raises")

    def single(self, name: str, statement: str, /, **params: Any) -> int:
        """One statement as a transaction of its own: one round trip. Returns how many rows it changed.

        Only for statements whose repetition changes nothing, for it is run again when a connection broke.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                with self._connection() as connection:
                    return PostgresTransaction(connection, self._statements, self.capabilities).execute(statement, **params)
            except _CONFLICTS as error:
                if attempt == _TRIES:
                    raise StorageConflict(f"{name} met a conflict {attempt} times: {error}") from error
            except (*_BROKEN, PoolTimeout) as error:
                if attempt == _TRIES or isinstance(error, PoolTimeout):
                    raise StorageUnavailable(f"{name}: {_first_line(error)}") from error
        raise BrokenInvariant("unreachable: every try returns or raises")

    def transaction_on(self, connection: psycopg.Connection[Any]) -> PostgresTransaction:
        """Our statements inside a transaction of the caller's. We never commit, roll back or change settings there."""
        return PostgresTransaction(connection, self._statements, self.capabilities)

    def compiled(self, statement: str) -> dialect.Compiled:
        """A statement spelt for PostgreSQL, for drivers that are awaited (``store/foreign.py``)."""
        return self._statements[statement]

    def notify(self, channel: str, payloads: list[str]) -> None:
        """Tell whoever listens; a hint, outside any transaction of ours."""
        with contextlib.suppress(psycopg.OperationalError, PoolTimeout), self._connection() as connection:
            connection.execute("SELECT pg_notify(%s, p) FROM unnest(%s::text[]) AS p", (channel, payloads), prepare=True)

    def notifications(self, channel: str, stop: threading.Event) -> Iterator[str]:
        """Payloads sent to ``channel``, until ``stop`` is set. Yields '' each time it begins to listen: hints may be missed."""
        try:
            with psycopg.connect(self.conninfo, autocommit=True, connect_timeout=_CONNECT_SECONDS) as connection:
                connection.execute(cast("Any", f"LISTEN {channel}"))
                yield ""
                while not stop.is_set():
                    for note in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                        yield note.payload
        except psycopg.OperationalError as error:
            raise StorageUnavailable(f"listening: {_first_line(error)}") from error

    def script(self, sql: str) -> None:
        """Run plain commands in one transaction, one process at a time (migrations only)."""
        with self._migrating() as connection:
            connection.execute(cast("Any", sql))

    def migrate_step(self, version: int, sql: str) -> bool:
        """Run a migration unless it is recorded."""
        with self._migrating() as connection:
            if connection.execute("SELECT 1 FROM schema_migrations WHERE version = %s", (version,)).fetchone():
                return False
            connection.execute(cast("Any", sql))
            return True

    @contextlib.contextmanager
    def _migrating(self) -> Iterator[psycopg.Connection[Any]]:
        with self._connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('mainspring.migrate'))")
            yield connection

    def close(self) -> None:
        """Close the pool."""
        if not self._closed.is_set():
            self._closed.set()
            self._pool.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        if self._closed.is_set():
            raise StorageUnavailable("this database is closed; open a new App or Client")
        connection = self._pool.getconn()
        try:
            yield connection
        finally:
            self._pool.putconn(connection)  # which looks at its state: one that is broken, or left in a transaction, is dropped


def _require_reachable(conninfo: str) -> None:
    """Connect once, for the server's own reason if it cannot be: a pool would only say that it waited."""
    try:
        psycopg.connect(conninfo, connect_timeout=_CONNECT_SECONDS).close()
    except psycopg.OperationalError as error:
        raise StorageUnavailable(f"cannot connect to PostgreSQL: {_first_line(error)}") from error


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.execute(_SESSION)
    connection.adapters.register_loader("uuid", TextLoader)


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.OperationalError):
        connection.execute("ROLLBACK")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
