"""PostgreSQL: a pool of connections and short transactions. The only place that knows psycopg.

``now`` is the server's. Conflicts between transactions (serialization failures, deadlocks) are retried here a few times; a
connection that breaks during the commit becomes ``CommitUnknown``, and the caller reads the outcome. A line that goes silent
ends a call in bounded time, whatever TCP thinks of it.
"""

import contextlib
import select
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar, cast

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
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
_HINT_SECONDS = 1.0  # a hint is worth no longer wait than this for a connection
_POOL_LOOK_SECONDS = 1.0
_RECONNECT_SECONDS = 0.5
_LISTEN_SECONDS = 0.2
_QUIET_SECONDS = 5.0

#: How long a caller waits for a server that says nothing at all. With a renewal every third of a lease of 30 s, a line that goes
#: silent costs no lease. A read may take longer: to count a very large table takes its time.
_ANSWER_SECONDS = 10.0
_READ_SHARE = 2.5

#: What a connection is opened with where the URL does not say otherwise: a host that is gone is noticed in about ten seconds.
_LINE = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}

_SETTINGS = {
    # Our statements reach rows by key, a batch at a time: a plan made while a table was empty must not scan it when it is full.
    "jit": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    # A process that stops in the middle of a transaction (paused, cut off, killed) must not keep its locks from the others.
    "idle_in_transaction_session_timeout": "2s",
    "client_connection_check_interval": "1s",
    # The same for the server's side of a line whose other end is gone.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
#: The same for one that stops between the commands of a pipeline, where the server does not count it as idle; less than the
#: patience of those who wait for its locks. Since PostgreSQL 17.
_TRANSACTION_TIMEOUT = "8s"
_NO_TRANSACTION_TIMEOUT = "SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'"

#: Listeners hear of a notification when its commit is on the disk. Nothing of a hint has to get there, so it does not wait.
_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, p) FROM unnest(%s::text[]) AS p"

#: What a transaction that was rolled back for sure raises: it is simply run again.
_CONFLICTS = (pg.SerializationFailure, pg.DeadlockDetected, pg.IdleInTransactionSessionTimeout)


class _NoAnswer(psycopg.OperationalError):
    """Nothing was heard from the server for as long as we wait."""


#: The connection is gone. The second is the server's word that it ended a transaction of ours, so nothing was committed.
_BROKEN = (psycopg.OperationalError, pg.TransactionTimeout, PoolTimeout)
#: Of these, what is not tried again, for the call has taken long enough. (After a silence one more line is tried.)
_FINAL = (pg.TransactionTimeout, PoolTimeout)


class _Connection(psycopg.Connection[Any]):
    """Waits for an answer no longer than ``patience`` seconds (None: for ever). TCP alone waits for ever on a line that something
    in between holds open, and on a server that is stopped."""

    patience: float | None = _ANSWER_SECONDS
    opened_at = 0.0
    fell_silent = False

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """As psycopg waits, and not for ever."""
        if self.patience is None:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_within(gen, self.patience), *args, **options)
        except _NoAnswer:
            self.fell_silent = True
            self.close()  # the answer may come yet, and must not be taken for another's
            raise

    @property
    def has_hung_up(self) -> bool:
        """Whether the server has ended this idle connection: while it rests, it has nothing else to say."""
        if hasattr(select, "poll"):
            look = select.poll()
            look.register(self.fileno(), select.POLLIN)
            return bool(look.poll(0))
        return bool(select.select([self.fileno()], [], [], 0)[0])


def _within(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """``gen``, ended when nothing happened for so many seconds. Whoever drives it comes several times a second with nothing, and
    only then is a clock read."""
    give_up_at: float | None = None
    try:
        wanted = next(gen)
        while True:
            happened = yield wanted
            if happened:
                give_up_at = None
            elif give_up_at is None:
                give_up_at = time.monotonic() + seconds
            elif time.monotonic() > give_up_at:
                raise _NoAnswer(f"no answer within {seconds:g} s")
            wanted = gen.send(happened)
    except StopIteration as done:
        result: T = done.value
        return result


class PostgresTransaction:
    """Our statements on one psycopg connection, inside a transaction; see ``store.database.Transaction``."""

    __slots__ = ("_connection", "_is_answered", "_now", "_pipeline", "_prepare", "_statements", "capabilities")

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        statements: dict[str, dialect.Compiled],
        capabilities: Capabilities,
        pipeline: psycopg.Pipeline | None = None,
        *,
        prepare: bool = True,
    ) -> None:
        self._pipeline = pipeline
        self._prepare = prepare
        self.capabilities = capabilities
        self._connection = connection
        self._statements = statements
        self._now: int | None = None
        self._is_answered = pipeline is None  # in a pipeline `BEGIN` is on its way

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
        return lambda: [row for cursor in self._answered(cursors) if cursor.description is not None for row in cursor.fetchall()]

    def settle(self) -> None:
        """Wait for the answers that are still on their way: no round trip where whoever sent the last statement has waited."""
        if self._pipeline is not None and not self._is_answered:
            self._pipeline.sync()
            self._is_answered = True

    def _run_all(self, statement: str, params: dict[str, Any]) -> list[psycopg.Cursor[Row]]:
        compiled = self._statements[statement]
        bound = compiled.bind(params)
        self._is_answered = False
        return [self._run(command, bound) for command in compiled.commands]

    def _run(self, command: str, bound: dict[str, Any]) -> psycopg.Cursor[Row]:
        cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)  # whatever cursors the caller's connection makes
        return cursor.execute(cast("Any", command), bound, prepare=self._prepare)

    def _answered(self, cursors: list[psycopg.Cursor[Row]]) -> list[psycopg.Cursor[Row]]:
        """In a pipeline the answers may still be on their way."""
        if cursors[-1].pgresult is None:
            self.settle()
        return cursors


class PostgresDatabase:
    """A PostgreSQL database, shared by the threads of this process and by every process of the fleet.

    ``conninfo`` is a URL or a psycopg connection string. ``portable`` switches the capabilities off that stock PostgreSQL has
    and its distributed relatives may lack. Behind a pooler (``is_pooled``), where the next transaction may meet another session,
    nothing is left in one: no prepared statements, settings by transaction, and no LISTEN, so that hints come by the poll.
    ``answer_seconds`` may be set at any time: how long a write waits for a server that says nothing.
    """

    def __init__(self, conninfo: str, *, portable: bool = False, pool_size: int = _POOL) -> None:
        self.conninfo = conninfo
        self.answer_seconds = _ANSWER_SECONDS
        self._line = make_conninfo("", **cast("Any", _LINE | conninfo_to_dict(conninfo)))
        self.is_pooled, version = _look_at(self._line)
        self.capabilities = Capabilities(row_locks=True, skip_locked=not portable, notify=not portable and not self.is_pooled)
        self._settings = _SETTINGS | ({"transaction_timeout": _TRANSACTION_TIMEOUT} if version >= 170_000 else {})
        self._begin_read = self._beginning_of_a_read()
        source = "portable" if portable else "postgres"
        self._statements = {name: dialect.compile_postgres(s, skip_locked=not portable) for name, s in load(source).items()}
        self._pool = ConnectionPool(
            self._line,
            connection_class=_Connection,
            min_size=0,
            max_size=pool_size,
            reconnect_timeout=_RECONNECT_SECONDS,  # no pauses that double: whoever needs a connection makes the pool try again
            kwargs={"autocommit": True},
            configure=self._configure,
            open=True,
        )
        self._doubted_at = 0.0
        self._closed = threading.Event()

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` in a transaction, again after a conflict with others or a connection lost before the commit."""
        return _tried(name, _TRIES, lambda: self._write_once(fn))

    def _write_once(self, fn: Callable[[Transaction], T]) -> T:
        """One try. In a pipeline, so that ``BEGIN`` and whatever ``fn`` sends without asking need no round trip of their own. The
        last one is that of ``COMMIT``: its answer is read where the driver, leaving the pipeline, waits for all that is out."""
        is_commit_sent = False
        with self._connection(self.answer_seconds) as connection:
            try:
                with connection.pipeline() as pipeline:
                    connection.execute("BEGIN")
                    if self.is_pooled:
                        connection.execute(*self._settings_of_a_transaction())
                    tx = PostgresTransaction(connection, self._statements, self.capabilities, pipeline)
                    result = fn(tx)
                    tx.settle()
                    # Inside the pipeline: what the driver sends as it leaves one stops the server's clock of idle transactions.
                    is_commit_sent = True
                    connection.execute("COMMIT")
                return result
            except (psycopg.IntegrityError, psycopg.DataError) as error:
                _roll_back(connection)
                raise BrokenInvariant(f"a statement of ours was refused: {_first_line(error)}") from error
            except psycopg.OperationalError as error:
                if not is_commit_sent or isinstance(error, _CONFLICTS):
                    _roll_back(connection)
                    raise
                raise CommitUnknown(f"the connection broke during a commit: {_first_line(error)}") from error
            except BaseException:
                _roll_back(connection)
                raise

    def read(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` on one snapshot, read only."""
        return _tried(name, 2, lambda: self._read_once(fn), silences=0)

    def _read_once(self, fn: Callable[[Transaction], T]) -> T:
        with self._connection(self.answer_seconds * _READ_SHARE) as connection:
            connection.execute(cast("Any", self._begin_read), prepare=False)
            try:
                return fn(PostgresTransaction(connection, self._statements, self.capabilities))
            finally:
                _roll_back(connection)

    def single(self, name: str, statement: str, /, **params: Any) -> int:
        """One statement as a transaction of its own: one round trip. Returns how many rows it changed; none where a row that it
        inserts is there already.

        Only for statements whose repetition changes nothing, for it is run again when a connection broke. Such a try may have
        been committed, so that others after it that fail for sure make nothing sure.
        """
        if len(self._statements[statement].commands) > 1:  # as the portable ones may be
            return self.write(name, lambda tx: tx.execute(statement, **params))
        may_be_committed = False

        def once() -> int:
            nonlocal may_be_committed
            with self._connection(self.answer_seconds) as connection:
                try:
                    return PostgresTransaction(connection, self._statements, self.capabilities).execute(statement, **params)
                except pg.UniqueViolation:
                    return 0
                except psycopg.OperationalError:
                    may_be_committed |= connection.closed
                    raise

        try:
            return _tried(name, _TRIES, once)
        except (StorageConflict, StorageUnavailable) as error:
            if may_be_committed:
                raise CommitUnknown(f"the connection broke during a commit, and then: {error.message}") from error
            raise

    def transaction_on(self, connection: psycopg.Connection[Any]) -> PostgresTransaction:
        """Our statements inside a transaction of the caller's. We never commit, roll back or change settings there."""
        return PostgresTransaction(connection, self._statements, self.capabilities, prepare=not self.is_pooled)

    def compiled(self, statement: str) -> dialect.Compiled:
        """A statement spelt for PostgreSQL, for drivers that are awaited (``store/foreign.py``)."""
        return self._statements[statement]

    def notify(self, channel: str, payloads: list[str]) -> bool:
        """Tell whoever listens; a hint, outside any transaction of ours. False: it was lost."""
        try:
            with self._connection(self.answer_seconds, pool_seconds=_HINT_SECONDS) as connection:
                connection.execute(_NOTIFY, (channel, payloads), prepare=True)
        except (psycopg.OperationalError, PoolTimeout, StorageUnavailable):
            return False
        return True

    def notifications(self, channel: str, stop: threading.Event) -> Iterator[str]:
        """Payloads sent to ``channel``, until ``stop`` is set. Yields '' each time it begins to listen: hints may be missed."""
        if self.is_pooled:  # a session that listens is no session of ours a moment later
            yield ""
            stop.wait()
            return
        try:
            with _Connection.connect(self._line, autocommit=True) as connection:
                connection.patience = self.answer_seconds
                connection.execute(cast("Any", f"LISTEN {channel}"))
                yield ""
                heard_at = time.monotonic()
                while not stop.is_set():
                    for note in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                        heard_at = time.monotonic()
                        yield note.payload
                    if time.monotonic() - heard_at > _QUIET_SECONDS:
                        connection.execute("SELECT")  # a line that went silent says as little as one with nothing to say
                        heard_at = time.monotonic()
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
        with self._connection(None) as connection, connection.transaction():  # as long as it takes
            connection.execute(_NO_TRANSACTION_TIMEOUT)
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('mainspring.migrate'))")
            yield connection

    def close(self) -> None:
        """Close the pool."""
        if not self._closed.is_set():
            self._closed.set()
            self._pool.close()

    @contextlib.contextmanager
    def _connection(self, patience: float | None, *, pool_seconds: float = _POOL_TIMEOUT_SECONDS) -> Iterator[_Connection]:
        connection = self._take(pool_seconds)
        connection.patience = patience
        try:
            yield connection
        finally:
            if connection.fell_silent:
                self._doubted_at = time.monotonic()  # what else lies in the pool took the same line
            self._pool.putconn(connection)  # which looks at its state: one that is broken, or left in a transaction, is dropped

    def _take(self, pool_seconds: float) -> _Connection:
        """A connection that lives, as far as can be seen without asking. Those that do not make room for new ones."""
        give_up_at = time.monotonic() + pool_seconds
        while True:
            if self._closed.is_set():
                raise StorageUnavailable("this database is closed; open a new App or Client")
            try:
                connection = self._pool.getconn(_POOL_LOOK_SECONDS)
            except PoolTimeout:
                if time.monotonic() > give_up_at:
                    raise PoolTimeout(f"no connection within {pool_seconds:g} s") from None
                continue
            if connection.opened_at >= self._doubted_at and not connection.has_hung_up:
                return connection
            connection.close()
            self._pool.putconn(connection)

    def _configure(self, connection: _Connection) -> None:
        connection.opened_at = time.monotonic()
        connection.patience = self.answer_seconds
        connection.adapters.register_loader("uuid", TextLoader)
        if self.is_pooled:
            connection.prepare_threshold = None
        else:
            connection.execute(cast("Any", "; ".join(f"SET {name} = '{value}'" for name, value in self._settings.items())))

    def _beginning_of_a_read(self) -> str:
        local = dict(self._settings) if self.is_pooled else {}
        if "transaction_timeout" in self._settings:
            local["transaction_timeout"] = f"{_ANSWER_SECONDS * _READ_SHARE:g}s"
        commands = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"]
        return "; ".join(commands + [f"SET LOCAL {name} = '{value}'" for name, value in local.items()])

    def _settings_of_a_transaction(self) -> tuple[Any, list[str]]:
        """All in one command, for a pipeline takes one at a time."""
        calls = ", ".join("set_config(%s, %s, true)" for _ in self._settings)
        return f"SELECT {calls}", [each for setting in self._settings.items() for each in setting]


def _look_at(conninfo: str) -> tuple[bool, int]:
    """Whether a pooler stands before the server, and the server's version. Also says, with the server's own reason, that it
    cannot be reached: a pool would only say that it waited.

    A pooler hands out keys of its own for cancelling, so the process we were told of is not the one that answers.
    """
    try:
        with _Connection.connect(conninfo, autocommit=True) as connection:
            ((pid,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
            return pid != connection.info.backend_pid, connection.info.server_version
    except psycopg.OperationalError as error:
        raise StorageUnavailable(f"cannot connect to PostgreSQL: {_first_line(error)}") from error


def _tried(name: str, tries: int, once: Callable[[], T], *, silences: int = 1) -> T:
    """What ``once`` returns, tried again after whatever left nothing behind; after so many silences, for each takes its time."""
    for attempt in range(1, tries + 1):
        try:
            return once()
        except _CONFLICTS as error:
            if attempt == tries:
                raise StorageConflict(f"{name} met a conflict {attempt} times: {error}") from error
        except _BROKEN as error:
            silences -= isinstance(error, _NoAnswer)
            if attempt == tries or silences < 0 or isinstance(error, _FINAL):
                raise StorageUnavailable(f"{name}: {_first_line(error)}") from error
    raise BrokenInvariant("unreachable: every try returns or raises")


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.OperationalError):
        connection.execute("ROLLBACK")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
