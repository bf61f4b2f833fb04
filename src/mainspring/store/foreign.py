"""Plans inside a transaction of the caller's: on psycopg, asyncpg, SQLAlchemy and Django connections; on SQLite, on one of ours.

Here: which connections are taken, what makes one unfit, and how a plan's queries reach it. Not here: what a plan does
(``operations``), our own transactions (``postgres.py``, ``sqlite.py``), and connections lent to user code (``lending.py``).
Nothing here commits, ends or configures a transaction: what was written lives and dies with the caller's. The one thing undone
is our own part of it, to a savepoint of ours, when a key is refused: a caller who catches that may still commit the rest.

Drivers are recognised by the names of their classes and imported only to be used, so that none of them has to be installed.
Their own errors (a conflict, a lost connection) are the caller's to see, for only the caller can try the transaction again.
"""

import re
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, assert_never

from mainspring.errors import BrokenInvariant, ForeignSqlite, InvalidOption, MainspringError
from mainspring.store.database import Plan, Query, Row, Transaction

if TYPE_CHECKING:
    from mainspring.store.postgres import PostgresDatabase
    from mainspring.store.sqlite import SqliteDatabase

    AnyDatabase: TypeAlias = PostgresDatabase | SqliteDatabase

T = TypeVar("T")

#: A query of the plan, or a plain command of ours around it.
Step: TypeAlias = Query | str

_SAVE = "SAVEPOINT mainspring"
_UNDO = "ROLLBACK TO SAVEPOINT mainspring"
_KEEP = "RELEASE SAVEPOINT mainspring"
_KEYS = "keys."

_TAKES = (
    "using= takes a psycopg Connection or AsyncConnection, an asyncpg Connection, or a SQLAlchemy Connection, Session, "
    "AsyncConnection or AsyncSession over psycopg 3 or asyncpg, or the alias of a Django database; for a SQLite database, what "
    "app.connection() gives"
)

_AWAITED = "is awaited and needs aenqueue: await task.options(using=...).aenqueue(...)"

#: What the server says of a transaction in which none of our statements can work, and what to do about it.
_UNUSABLE = {
    "25P02": "the transaction of this connection has failed; roll it back and begin another",
    "25006": "the transaction of this connection is read only; begin one that may write",
    "42P01": "this connection does not see Mainspring's tables; connect it to the app's database, with the search_path that "
    "finds them, or run: mainspring db migrate",
}


class Kind(StrEnum):
    """The connections we know, by library and class."""

    PSYCOPG = "psycopg.Connection"
    PSYCOPG_ASYNC = "psycopg.AsyncConnection"
    ASYNCPG = "asyncpg.Connection"
    APSW = "apsw.Connection"
    SQLITE3 = "sqlite3.Connection"
    ALCHEMY = "sqlalchemy.Connection"
    ALCHEMY_SESSION = "sqlalchemy.Session"
    ALCHEMY_SCOPED = "sqlalchemy.scoped_session"
    ALCHEMY_ASYNC = "sqlalchemy.AsyncConnection"
    ALCHEMY_ASYNC_SESSION = "sqlalchemy.AsyncSession"
    ALCHEMY_ASYNC_SCOPED = "sqlalchemy.async_scoped_session"
    DJANGO = "django.DatabaseWrapper"
    DJANGO_PROXY = "django.ConnectionProxy"
    DJANGO_ALIAS = "an alias of django.db.connections"


_KINDS = {str(kind): kind for kind in Kind} | {
    "asyncpg.PoolConnectionProxy": Kind.ASYNCPG,
    "pysqlite3.Connection": Kind.SQLITE3,
    "sqlcipher3.Connection": Kind.SQLITE3,
    "aiosqlite.Connection": Kind.SQLITE3,
}


def run_plan(database: "AnyDatabase", using: Any, plan: Plan[T]) -> T:
    """Run a plan in the transaction of the caller's connection ``using``; its effects are there once the caller commits.

    Raises:
        InvalidOption: ``using`` is nothing we know, belongs to another kind of database, is closed, has no transaction that
            could be rolled back, or has to be awaited. Nothing was written.
        ForeignSqlite: it is a connection of another SQLite library. Nothing was written.
        MainspringError: whatever the plan refuses; nothing of the plan is left in the transaction.
    """
    tx, driver = _enter(database, using)
    return _run(partial(_answer, tx, driver), plan)


def transaction_in(database: "AnyDatabase", using: Any) -> Transaction:
    """Our statements in the transaction of the caller's connection ``using``.

    Raises:
        InvalidOption, ForeignSqlite: as ``run_plan``.
    """
    return _enter(database, using)[0]


def _enter(database: "AnyDatabase", using: Any) -> tuple[Transaction, Any]:
    session, driver = _unwrap(using)
    kind = _check(database, driver)
    if kind in {Kind.PSYCOPG_ASYNC, Kind.ASYNCPG}:
        raise _refusal(f"{kind} {_AWAITED}")
    if session is not None and not session.in_transaction():
        session.begin()
    tx: Transaction = database.transaction_on(driver)
    return tx, driver


def unwrapped(using: Any) -> tuple[Any, Any]:
    """SQLAlchemy's connection, if there is one, and the driver's.

    Raises:
        InvalidOption: it is nothing we know, or has to be awaited.
    """
    return _unwrap(using)


def kind_of(driver: Any) -> Kind:
    """The kind of a driver's connection.

    Raises:
        InvalidOption: it is nothing we know.
    """
    return _kind(driver)


async def arun_plan(database: "AnyDatabase", using: Any, plan: Plan[T]) -> T:
    """``run_plan`` for an event loop: ``using`` may be awaited. One that is not blocks the loop meanwhile."""
    answer = await awaited(database, using)
    return run_plan(database, using, plan) if answer is None else await _arun(answer, plan)


async def awaited(database: "AnyDatabase", using: Any) -> Callable[[Step], Awaitable[list[Row]]] | None:
    """What answers our queries in the transaction of a connection that is awaited; None for one that is not.

    Raises:
        InvalidOption, ForeignSqlite: as ``run_plan``.
    """
    connection = await _awaited_connection(using)
    if connection is not None:
        driver = await _begin(connection)
    elif _kind(using) in {Kind.PSYCOPG_ASYNC, Kind.ASYNCPG}:
        driver = using
    else:
        return None
    match _check(database, driver):
        case Kind.PSYCOPG_ASYNC:
            return partial(_answer_psycopg, database, driver)
        case Kind.ASYNCPG:
            return partial(_answer_asyncpg, database, driver)
        case kind:
            raise _refusal(f"{kind} cannot be awaited; {_TAKES}")


def on_commit(using: Any, call: Callable[[], None]) -> None:
    """Have ``call()`` called after the caller's commit, where the owner of the transaction tells of it: Django and SQLAlchemy's
    sessions do. After a commit that only ends a savepoint it may come early, and once is all."""
    match _kind(using):
        case Kind.DJANGO | Kind.DJANGO_PROXY | Kind.DJANGO_ALIAS:
            _wrapper(using).on_commit(call)
        case Kind.ALCHEMY_SCOPED:
            on_commit(using(), call)
        case Kind.ALCHEMY_ASYNC_SCOPED:
            on_commit(using.registry(), call)
        case Kind.ALCHEMY_SESSION | Kind.ALCHEMY_ASYNC_SESSION:
            session = getattr(using, "sync_session", using)
            sys.modules["sqlalchemy"].event.listen(session, "after_commit", lambda _: call(), once=True)
        case _:
            pass


# -- what is it, and is it fit? ------------------------------------------------------------------------------------------


def _kind(using: Any) -> Kind:
    if isinstance(using, str) and _is_django_there():
        return Kind.DJANGO_ALIAS
    for cls in type(using).__mro__:
        if found := _KINDS.get(f"{cls.__module__.partition('.')[0]}.{cls.__name__}"):
            return found
    raise _refusal(f"a {type(using).__module__}.{type(using).__qualname__} is no connection Mainspring knows; {_TAKES}")


def _check(database: "AnyDatabase", driver: Any) -> Kind:
    """The kind of a driver's connection, if it can carry our statements in a transaction that the caller ends."""
    kind = _kind(driver)
    is_embedded = hasattr(database, "exclusive")
    match kind:
        case Kind.SQLITE3 if is_embedded:
            raise ForeignSqlite(
                "a second SQLite library on one file in one process makes both lose their locks and can corrupt the file; "
                "write `with app.connection() as connection:` and run your own statements on that",
                option="using",
            )
        case Kind.APSW if is_embedded:
            _require_exclusive(database, driver)
        case Kind.PSYCOPG | Kind.PSYCOPG_ASYNC if not is_embedded:
            _require_psycopg(driver, kind)
        case Kind.ASYNCPG if not is_embedded:
            _require_asyncpg(driver)
        case _:
            ours = "SQLite: pass what app.connection() gives" if is_embedded else f"PostgreSQL: {_TAKES}"
            raise _refusal(f"{kind} cannot share a transaction with this app's database, which is {ours}")
    return kind


def _require_exclusive(database: Any, connection: Any) -> None:
    if database.is_exclusive(connection):
        return
    raise _refusal(
        "this SQLite connection is not, or no longer, in a transaction of app.connection(); enqueue inside its `with` block"
    )


def _require_psycopg(connection: Any, kind: Kind) -> None:
    if connection.closed:
        raise _refusal("this psycopg connection is closed")
    if connection.info.pipeline_status:
        raise _refusal("this psycopg connection is in pipeline mode; enqueue before or after `with connection.pipeline():`")
    match connection.info.transaction_status.name:
        case "IDLE" if connection.autocommit:
            opening = "async with" if kind is Kind.PSYCOPG_ASYNC else "with"
            raise _refusal(
                "this psycopg connection is in autocommit and has no transaction open; "
                f"write `{opening} connection.transaction():` around your statements and the enqueue"
            )
        case "ACTIVE":
            raise _refusal("this psycopg connection is in the middle of another statement; finish that first")
        case "INERROR":
            raise _refusal(_UNUSABLE["25P02"])
        case _:
            pass


def _require_asyncpg(connection: Any) -> None:
    if connection.is_closed():
        raise _refusal("this asyncpg connection is closed")
    if not connection.is_in_transaction():
        raise _refusal(
            "this asyncpg connection has no transaction open; "
            "write `async with connection.transaction():` around your statements and the enqueue (SQLAlchemy: no AUTOCOMMIT)"
        )


def _refusal(message: str) -> InvalidOption:
    return InvalidOption(message, option="using")


# -- SQLAlchemy ----------------------------------------------------------------------------------------------------------


def _unwrap(using: Any) -> tuple[Any, Any]:
    """SQLAlchemy's connection, if there is one, and the driver's."""
    match _kind(using):
        case Kind.ALCHEMY_SCOPED:
            return _unwrap(using())
        case Kind.ALCHEMY_SESSION:
            return _unwrap(using.connection())  # which begins, or refuses in SQLAlchemy's words where a block is over
        case Kind.ALCHEMY:
            _require_open(using)
            return using, using.connection.driver_connection
        case Kind.ALCHEMY_ASYNC | Kind.ALCHEMY_ASYNC_SESSION | Kind.ALCHEMY_ASYNC_SCOPED as kind:
            raise _refusal(f"{kind} {_AWAITED}")
        case Kind.DJANGO | Kind.DJANGO_PROXY | Kind.DJANGO_ALIAS:
            return None, _of_django(using)
        case Kind.PSYCOPG | Kind.PSYCOPG_ASYNC | Kind.ASYNCPG | Kind.APSW | Kind.SQLITE3:
            return None, using
        case never:
            assert_never(never)


async def _awaited_connection(using: Any) -> Any:
    """SQLAlchemy's ``AsyncConnection`` of what is awaited; None for everything else."""
    match _kind(using):
        case Kind.ALCHEMY_ASYNC_SCOPED:
            return await _awaited_connection(using.registry())
        case Kind.ALCHEMY_ASYNC_SESSION:
            return await using.connection()
        case Kind.ALCHEMY_ASYNC:
            return using
        case _:
            return None


async def _begin(connection: Any) -> Any:
    """Have SQLAlchemy begin the transaction of an ``AsyncConnection``; the driver's connection."""
    session = connection.sync_connection
    if session is None:
        raise _refusal("this AsyncConnection was not opened; write `async with engine.connect() as connection:`")
    _require_open(session)
    driver = session.connection.driver_connection
    # Over asyncpg, SQLAlchemy begins with its first statement: without one, our writes would commit one by one.
    is_lazy = _kind(driver) is Kind.ASYNCPG and not driver.is_in_transaction()
    if is_lazy or not session.in_transaction():
        await connection.exec_driver_sql("SELECT 1")
    return driver


def _require_open(connection: Any) -> None:
    if connection.closed or connection.invalidated:
        raise _refusal("this SQLAlchemy connection is closed")


# -- Django --------------------------------------------------------------------------------------------------------------


def _of_django(using: Any) -> Any:
    """The driver's connection of a Django database: an alias, ``django.db.connection`` or one of ``django.db.connections``."""
    wrapper = _wrapper(using)
    if not wrapper.in_atomic_block:
        raise _refusal(
            f"the Django database {wrapper.alias!r} has no transaction open; write `with transaction.atomic():` around your "
            "statements and the enqueue"
        )
    if wrapper.needs_rollback:
        raise _refusal(_UNUSABLE["25P02"])
    wrapper.ensure_connection()
    return wrapper.connection


def _wrapper(using: Any) -> Any:
    if not isinstance(using, str):
        return using
    connections = sys.modules["django.db"].connections
    if using not in connections.settings:
        raise _refusal(f"{using!r} is no alias of settings.DATABASES, which has {', '.join(connections.settings)}")
    return connections[using]


def _is_django_there() -> bool:
    """Whether this program has imported Django's databases, and told it which there are: only then a text can be an alias."""
    return "django.db" in sys.modules and bool(sys.modules["django.conf"].settings.configured)


# -- running a plan ------------------------------------------------------------------------------------------------------


def _all_or_nothing(plan: Plan[T]) -> Generator[Step, list[Row], T]:
    """The plan, with a savepoint from its first key on: a refused key leaves none of the others taken.

    Without keys nothing is refused after the first write, and the two round trips are saved.
    """
    is_saved = False
    try:
        query = next(plan)
        while True:
            if not is_saved and query.statement.startswith(_KEYS):
                yield _SAVE
                is_saved = True
            query = plan.send((yield query))
    except StopIteration as done:
        if is_saved:
            yield _KEEP
        result: T = done.value
        return result
    except MainspringError:
        if is_saved:
            yield _UNDO
            yield _KEEP
        raise


def _run(answer: Callable[[Step], list[Row]], plan: Plan[T]) -> T:
    steps = _all_or_nothing(plan)
    with _explained():
        try:
            step = next(steps)
            while True:
                step = steps.send(answer(step))
        except StopIteration as done:
            result: T = done.value
            return result
    raise BrokenInvariant("unreachable: a plan returns or raises")


async def _arun(answer: Callable[[Step], Awaitable[list[Row]]], plan: Plan[T]) -> T:
    steps = _all_or_nothing(plan)
    with _explained():
        try:
            step = next(steps)
            while True:
                step = steps.send(await answer(step))
        except StopIteration as done:
            result: T = done.value
            return result
    raise BrokenInvariant("unreachable: a plan returns or raises")


@contextmanager
def _explained() -> Iterator[None]:
    """A transaction that was unusable from the start, in words; every other error of a driver as it is."""
    try:
        yield
    except BaseException as error:
        if meaning := _UNUSABLE.get(getattr(error, "sqlstate", None) or ""):
            raise _refusal(meaning) from error
        raise


def _answer(tx: Transaction, connection: Any, step: Step) -> list[Row]:
    if isinstance(step, Query):
        return tx.rows(step.statement, **step.params)
    connection.execute(step)
    return []


async def _answer_psycopg(database: Any, connection: Any, step: Step) -> list[Row]:
    from psycopg import AsyncCursor
    from psycopg.rows import tuple_row

    answer: list[Row] = []
    for command, bound in _commands(database, step):
        cursor = AsyncCursor(connection, row_factory=tuple_row)  # whatever cursors and rows the caller prefers
        await cursor.execute(command, bound, prepare=isinstance(step, Query))
        if cursor.description is not None:
            answer = await cursor.fetchall()
    return answer


async def _answer_asyncpg(database: Any, connection: Any, step: Step) -> list[Row]:
    answer: list[Row] = []
    for command, bound in _commands(database, step):
        text, names = _numbered(command)
        if rows := await connection.fetch(text, *(bound[name] for name in names)):
            answer = [tuple(row) for row in rows]
    return answer


def _commands(database: Any, step: Step) -> list[tuple[Any, dict[str, Any]]]:
    if not isinstance(step, Query):
        return [(step, {})]
    compiled = database.compiled(step.statement)
    bound = compiled.bind(step.params)
    return [(command, bound) for command in compiled.commands]


@cache
def _numbered(command: str) -> tuple[str, tuple[str, ...]]:
    """A command with ``%(name)s`` parameters as one with ``$n``, and the names in that order."""
    names: list[str] = []

    def place(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return re.sub(r"%%|%\((?P<name>\w+)\)s", place, command), tuple(names)
