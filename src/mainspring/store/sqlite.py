"""The embedded database: one SQLite file, one writer with group commit, several readers. The only place that knows apsw.

Commits are durable when ``write`` returns (WAL, ``synchronous=FULL``). Threads of one process share commits: whoever gets the
writer runs everything that waits, each part in a savepoint, and syncs once. Processes take turns by two lock files beside the
database, so that nobody waits in SQLite's own busy loop: holding *turn* means being next, holding *writer* means writing. A
writer that wants to go again must first get the turn from whoever waits, so no process is passed for ever.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import apsw

from mainspring.errors import (
    BrokenInvariant,
    CommitUnknown,
    InvalidOption,
    MainspringError,
    StorageUnavailable,
    StorageUnwritable,
)
from mainspring.store import dialect
from mainspring.store.database import Capabilities, Row, Transaction
from mainspring.store.statements import load

try:
    import fcntl
except ImportError:  # a system without flock: SQLite's own busy handler orders the writers
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

_BUSY_SECONDS = 60.0
_GROUP = 128
_READERS = 4
_STATEMENT_CACHE = 512
_WAL_TRIES = 20
_WAL_PAGES = 4000
_MAGIC = b"SQLite format 3\x00"
_CAPABILITIES = Capabilities(row_locks=False, skip_locked=False, notify=False, lends_connections=True)
_IN_MEMORY = replace(_CAPABILITIES, durable=False, process_local=True)


class SqliteTransaction:
    """A transaction on one apsw connection; see ``store.database.Transaction``."""

    __slots__ = ("_connection", "_now", "_statements")

    def __init__(self, connection: apsw.Connection, statements: dict[str, "_Prepared"], now: int) -> None:
        self._connection = connection
        self._statements = statements
        self._now = now

    @property
    def capabilities(self) -> Capabilities:
        """See ``SqliteDatabase.capabilities``."""
        return _CAPABILITIES

    @property
    def now(self) -> int:
        """The database's clock: fixed when the transaction began."""
        return self._now

    def rows(self, statement: str, /, **params: Any) -> list[Row]:
        """All rows the statement answers."""
        prepared = self._statements[statement]
        bindings = prepared.bind(params, self._now)
        answer: list[Row] = []
        for command in prepared.commands:
            cursor = self._connection.execute(command.sql, bindings)
            if command.as_json:
                ((text,),) = cursor.fetchall()
                answer = dialect.from_json_rows(str(text), prepared.columns)
            elif found := cursor.fetchall():
                answer = found
        return answer

    def one(self, statement: str, /, **params: Any) -> Row | None:
        """The only row, or None."""
        rows = self.rows(statement, **params)
        return rows[0] if rows else None

    def execute(self, statement: str, /, **params: Any) -> int:
        """How many rows the last command changed."""
        self.rows(statement, **params)
        return self._connection.changes()

    def send(self, statement: str, /, **params: Any) -> Callable[[], int]:
        """``execute``: there is nobody to wait for."""
        changed = self.execute(statement, **params)
        return lambda: changed

    def ask(self, statement: str, /, **params: Any) -> Callable[[], list[Row]]:
        """``rows``: there is nobody to wait for."""
        answer = self.rows(statement, **params)
        return lambda: answer


class _Command:
    __slots__ = ("as_json", "sql")

    def __init__(self, sql: str, columns: tuple[tuple[str, str], ...]) -> None:
        self.as_json = bool(columns) and sql.lstrip().upper().startswith(("SELECT", "WITH"))
        self.sql = dialect.as_one_json_row(sql, columns) if self.as_json else sql


class _Prepared:
    __slots__ = ("_compiled", "columns", "commands")

    def __init__(self, compiled: dialect.Compiled) -> None:
        self._compiled = compiled
        self.columns = compiled.columns
        self.commands = [_Command(sql, compiled.columns) for sql in compiled.commands]

    def bind(self, params: dict[str, Any], now: int) -> dict[str, Any]:
        bound = self._compiled.bind(params)
        bound["now"] = now
        return bound


@cache
def _prepared() -> dict[str, _Prepared]:
    """Every statement, spelt for SQLite once in a process."""
    return {name: _Prepared(dialect.compile_sqlite(statement)) for name, statement in load("sqlite").items()}


class _Request:
    """One write that waits for a commit, and its outcome afterwards."""

    __slots__ = ("done", "error", "fn", "name", "result")

    def __init__(self, name: str, fn: Callable[[Transaction], Any]) -> None:
        self.name = name
        self.fn = fn
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class SqliteDatabase:
    """A database in one file (or ``:memory:``), shared by the threads of this process and by other processes of this machine.

    ``clock`` gives UTC microseconds; it is read once per transaction. ``vfs`` names one that is registered with apsw, for tests
    of the disk.
    """

    def __init__(self, path: str, *, clock: Callable[[], int], busy_seconds: float = _BUSY_SECONDS, vfs: str | None = None) -> None:
        self.path = path
        self._vfs = vfs
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._in_memory = path == ":memory:"
        self._statements = _prepared()
        self._waiting: deque[_Request] = deque()
        self._writer_lock = threading.RLock()
        self._readers: deque[apsw.Connection] = deque()
        self._closed = False
        with _translated(path):
            _require_database(path)
        self._turns = _Turns(None if self._in_memory else path, busy_seconds)
        try:
            with _translated(path):
                self._writer = self._connect()
        except BaseException:
            self._turns.close()
            raise

    @property
    def capabilities(self) -> Capabilities:
        """One writer at a time, so there are no locked rows to skip; and no bus between processes."""
        return _IN_MEMORY if self._in_memory else _CAPABILITIES

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` in a durable commit, together with whatever else waits for one."""
        self._require_outside()
        request = _Request(name, fn)
        self._waiting.append(request)
        with self._writer_lock:
            while not request.done:  # a group has an end: with more writers than that, ours may be in a later one
                self._commit_waiting()
        if request.error is not None:
            raise request.error
        result: T = request.result
        return result

    def read(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` on one snapshot."""
        if self._in_memory:
            return self.write(name, fn)
        reader = self._borrow_reader()
        with _translated(self.path):
            try:
                reader.execute("BEGIN")
                return fn(SqliteTransaction(reader, self._statements, self._clock()))
            finally:
                if reader.in_transaction:
                    reader.execute("ROLLBACK")
                self._return_reader(reader)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[apsw.Connection]:
        """The writer's connection inside an open write transaction: committed at the end, rolled back on an error.

        This is how a user's own statements share a transaction with ours on SQLite. Other writers wait meanwhile.
        """
        with self._writer_lock, self._turn():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._roll_back()
                raise
            self._commit()

    def is_exclusive(self, connection: apsw.Connection) -> bool:
        """Whether ``connection`` is the one ``exclusive`` handed out to this thread, in its open transaction."""
        if connection is not self._writer or not self._writer_lock.acquire(blocking=False):
            return False
        try:
            return not self._closed and self._writer.in_transaction
        finally:
            self._writer_lock.release()

    def transaction_on(self, connection: apsw.Connection) -> SqliteTransaction:
        """Our statements inside a transaction that ``exclusive`` opened."""
        return SqliteTransaction(connection, self._statements, self._clock())

    def change_counter(self) -> int | None:
        """A number that differs whenever somebody who does not write through this object has committed since: a cheap hint to look
        for work. None: this object is writing, so ask again."""
        if not self._writer_lock.acquire(blocking=False):
            return None
        try:
            self._require_open()
            with _translated(self.path):
                version: int = self._writer.pragma("data_version")
            return version
        finally:
            self._writer_lock.release()

    def script(self, sql: str) -> None:
        """Run plain commands on the writer in one transaction (migrations only)."""
        with self.exclusive() as connection:
            connection.execute(sql).fetchall()

    def migrate_step(self, version: int, sql: str) -> bool:
        """Run a migration unless it is recorded."""
        with self.exclusive() as connection:
            if connection.execute("SELECT 1 FROM schema_migrations WHERE version = ?", (version,)).fetchall():
                return False
            connection.execute(sql, {"now": self._clock()}).fetchall()
            return True

    def close(self) -> None:
        """Close every connection."""
        with self._writer_lock:
            if self._closed:
                return
            self._closed = True
            for connection in (*self._readers, self._writer):
                connection.close()
            self._turns.close()

    # -- the commit -------------------------------------------------------------------------------------------------

    def _commit_waiting(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(_GROUP, len(self._waiting)))]
        try:
            with self._turn():
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    self._run_group(group)
                except BaseException:
                    self._roll_back()
                    raise
                self._commit()
        except BaseException as error:  # every request of the group shares the fate of its commit
            for request in group:
                request.error = request.error or error
            if not isinstance(error, (MainspringError, apsw.Error)):
                raise
        finally:
            for request in group:
                request.done = True

    def _run_group(self, group: list[_Request]) -> None:
        tx = SqliteTransaction(self._writer, self._statements, self._clock())
        if len(group) == 1:
            group[0].result = group[0].fn(tx)
            return
        for request in group:
            self._run_part(request, tx)

    def _run_part(self, request: _Request, tx: SqliteTransaction) -> None:
        """One request of a group. Its failure goes to its own caller, unless SQLite answered it by rolling back everybody."""
        self._writer.execute("SAVEPOINT part")
        try:
            with _translated(self.path):
                request.result = request.fn(tx)
        except BaseException as error:
            request.error = error
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK TO part")
            elif isinstance(error, StorageUnavailable):
                raise
        self._require_transaction()
        self._writer.execute("RELEASE part")

    def _commit(self) -> None:
        self._require_transaction()
        try:
            self._writer.execute("COMMIT")
        except apsw.IOError as error:
            self._roll_back()
            raise CommitUnknown(f"the disk failed while {self.path} was being committed: {error}") from error
        except apsw.Error:
            self._roll_back()
            raise

    def _require_transaction(self) -> None:
        """SQLite ends a transaction by itself when the disk fails. Whoever passed over that error wrote on without one."""
        if not self._writer.in_transaction:
            raise CommitUnknown(f"the transaction on {self.path} was over before its commit, as after a failure of the disk")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """This process's turn to write, with errors translated."""
        self._require_open()
        self._require_outside()
        with self._turns.taken(), _translated(self.path):
            yield

    def _require_outside(self) -> None:
        """Refuse a transaction inside one, before anybody who waits for the writer shares in the mistake."""
        if self.is_exclusive(self._writer):
            raise InvalidOption("this thread is inside app.connection(); pass it on with options(using=connection)", option="using")

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    # -- connections ------------------------------------------------------------------------------------------------

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(self.path, vfs=self._vfs, statementcachesize=_STATEMENT_CACHE)
        connection.set_busy_timeout(int(self._busy_seconds * 1000))
        # plans that do not hang on what is bound: else SQLite prepares many of our statements anew for each execution
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        _use_wal(connection)
        connection.execute(
            f"PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA mmap_size = 0;"
            f"PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32000; PRAGMA wal_autocheckpoint = {_WAL_PAGES}",
        ).fetchall()
        return connection

    def _borrow_reader(self) -> apsw.Connection:
        self._require_open()
        try:
            return self._readers.pop()
        except IndexError:
            with _translated(self.path):
                return self._connect()

    def _return_reader(self, reader: apsw.Connection) -> None:
        if len(self._readers) < _READERS and not self._closed:
            self._readers.append(reader)
        else:
            reader.close()

    def _require_open(self) -> None:
        if self._closed:
            raise StorageUnavailable("this database is closed; open a new App or Client")


class _Turns:
    """Whose turn it is to write, among processes: two lock files. Without a file (``:memory:``) nobody has to wait."""

    def __init__(self, path: str | None, busy_seconds: float) -> None:
        self._busy_seconds = busy_seconds
        self._files = [] if path is None or fcntl is None else [_open_lock(f"{path}-{name}") for name in ("turn", "writer")]

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        if not self._files:
            yield
            return
        turn, writer = self._files
        self._lock(turn)
        try:
            self._lock(writer)
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(writer, fcntl.LOCK_UN)

    def _lock(self, file: Any) -> None:
        give_up_at = None
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                give_up_at = give_up_at or time.monotonic() + self._busy_seconds
                if time.monotonic() > give_up_at:
                    raise StorageUnavailable(
                        f"another process has been writing for {self._busy_seconds:.0f} s ({file.name}); is it stopped?",
                    ) from None
                time.sleep(0.0002)

    def close(self) -> None:
        for file in self._files:
            file.close()


def _require_database(path: str) -> None:
    """Refuse a file that is something else before anything is written beside it."""
    file = Path(path)
    if Path(f"{path}-journal").exists():  # the power went while the file was being made; SQLite puts it right
        return
    if path != ":memory:" and file.is_file() and file.stat().st_size:
        with file.open("rb") as content:
            if content.read(len(_MAGIC)) != _MAGIC:
                raise StorageUnwritable(f"{path} is not a SQLite database; choose another file")


def _open_lock(path: str) -> Any:
    try:
        return Path(path).open("ab")
    except OSError as error:
        raise StorageUnwritable(f"cannot write {path}: {error.strerror}; choose a folder this user may write to") from error


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """apsw's errors as ours."""
    try:
        yield
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StorageUnwritable(f"cannot write {path}: {error}; choose a folder this user may write to") from error
    except apsw.NotADBError as error:
        raise StorageUnwritable(f"{path} is not a SQLite database: {error}; choose another file") from error
    except apsw.BusyError as error:
        raise StorageUnavailable(f"{path} is locked by a program that is not Mainspring: {error}") from error
    except apsw.FullError as error:
        raise StorageUnavailable(f"the disk that holds {path} is full, nothing was written; free some space and repeat") from error
    except (apsw.IOError, apsw.CorruptError, apsw.ProtocolError) as error:
        raise StorageUnavailable(f"{path}: {error}") from error
    except apsw.ConstraintError as error:
        raise BrokenInvariant(f"a statement of ours broke a constraint: {error}") from error


def _use_wal(connection: apsw.Connection) -> None:
    """Make the file a WAL file. That step ignores the busy timeout where two make a new file at one moment; a write waits."""
    for _ in range(_WAL_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except apsw.BusyError:
            connection.execute("BEGIN IMMEDIATE; COMMIT").fetchall()
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
