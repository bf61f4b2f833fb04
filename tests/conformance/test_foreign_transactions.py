"""Enqueue in the caller's own transaction: the run is there if and only if that transaction commits.

Here: every kind of connection ``using=`` takes, on real databases, and everything it refuses. Not here: our own transactions
(``test_enqueue.py``).
"""

from __future__ import annotations

import asyncio
import importlib.util
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import apsw
import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from mainspring.codec import payload_hash
from mainspring.core.durations import DAY
from mainspring.core.states import State
from mainspring.errors import ForeignSqlite, InvalidOption, KeyConflict, MainspringError, UnknownRun
from mainspring.operations.enqueue import Created, Keyed, NewRun, create, intern
from mainspring.store.database import Query, Row
from mainspring.store.foreign import _numbered, arun_plan, run_plan
from mainspring.store.migrate import migrate
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock
from tests.support.builders import FIRST_ROWS, AnyDatabase, Fleet
from tests.support.services import miss

Execute: TypeAlias = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody with an open transaction: what ``using=`` gets, and how their own statements reach it."""

    using: Any
    execute: Execute
    is_awaited: bool = False


# -- the callers -------------------------------------------------------------------------------------------------------
# Each opens a transaction, hands it over, and commits or rolls back: `keep` decides.


@asynccontextmanager
async def psycopg_implicit(database: Any, keep: bool) -> AsyncIterator[Caller]:
    with psycopg.connect(database.conninfo) as connection:
        yield Caller(using=connection, execute=plainly(connection.execute))
        (connection.commit if keep else connection.rollback)()


@asynccontextmanager
async def psycopg_autocommit(database: Any, keep: bool) -> AsyncIterator[Caller]:
    with psycopg.connect(database.conninfo, autocommit=True) as connection, connection.transaction(force_rollback=not keep):
        yield Caller(using=connection, execute=plainly(connection.execute))


@asynccontextmanager
async def psycopg_dict_rows(database: Any, keep: bool) -> AsyncIterator[Caller]:
    connecting = psycopg.connect(database.conninfo, row_factory=dict_row, prepare_threshold=None)
    with connecting as connection, connection.transaction(force_rollback=not keep):
        yield Caller(using=connection, execute=plainly(connection.execute))


@asynccontextmanager
async def psycopg_async(database: Any, keep: bool) -> AsyncIterator[Caller]:
    async with await psycopg.AsyncConnection.connect(database.conninfo, row_factory=dict_row) as connection:
        yield Caller(is_awaited=True, using=connection, execute=connection.execute)
        await (connection.commit if keep else connection.rollback)()


@asynccontextmanager
async def asyncpg_plain(database: Any, keep: bool) -> AsyncIterator[Caller]:
    connection = await asyncpg.connect(database.conninfo)
    try:
        transaction = connection.transaction()
        await transaction.start()
        yield Caller(is_awaited=True, using=connection, execute=connection.execute)
        await (transaction.commit if keep else transaction.rollback)()
    finally:
        await connection.close()


@asynccontextmanager
async def asyncpg_pooled(database: Any, keep: bool) -> AsyncIterator[Caller]:
    pooling = asyncpg.create_pool(database.conninfo, min_size=1, max_size=1, statement_cache_size=0)
    async with pooling as pool, pool.acquire() as connection:
        transaction = connection.transaction(isolation="serializable")
        await transaction.start()
        yield Caller(is_awaited=True, using=connection, execute=connection.execute)
        await (transaction.commit if keep else transaction.rollback)()


@asynccontextmanager
async def alchemy_autobegin(database: Any, keep: bool) -> AsyncIterator[Caller]:
    with engine(database) as found, found.connect() as connection:
        yield Caller(using=connection, execute=plainly(connection.exec_driver_sql))
        (connection.commit if keep else connection.rollback)()


@asynccontextmanager
async def alchemy_begun(database: Any, keep: bool) -> AsyncIterator[Caller]:
    with engine(database) as found, found.connect() as connection:
        transaction = connection.begin()
        yield Caller(using=connection, execute=plainly(connection.exec_driver_sql))
        (transaction.commit if keep else transaction.rollback)()


@asynccontextmanager
async def alchemy_session(database: Any, keep: bool) -> AsyncIterator[Caller]:
    with engine(database) as found, Session(found) as session:
        yield Caller(using=session, execute=plainly(lambda text: session.execute(sa.text(text))))
        (session.commit if keep else session.rollback)()


@asynccontextmanager
async def alchemy_scoped(database: Any, keep: bool) -> AsyncIterator[Caller]:
    with engine(database) as found:
        scoped = scoped_session(sessionmaker(found))
        try:
            yield Caller(using=scoped, execute=plainly(lambda text: scoped.execute(sa.text(text))))
            (scoped.commit if keep else scoped.rollback)()
        finally:
            scoped.remove()


@asynccontextmanager
async def async_session(database: Any, keep: bool, driver: str) -> AsyncIterator[Caller]:
    async with async_engine(database, driver) as found, alchemy_asyncio().AsyncSession(found) as session:
        yield Caller(is_awaited=True, using=session, execute=lambda text: session.execute(sa.text(text)))
        await (session.commit if keep else session.rollback)()


@asynccontextmanager
async def async_connection(database: Any, keep: bool, driver: str) -> AsyncIterator[Caller]:
    async with async_engine(database, driver) as found, found.connect() as connection:
        yield Caller(is_awaited=True, using=connection, execute=connection.exec_driver_sql)
        await (connection.commit if keep else connection.rollback)()


@asynccontextmanager
async def async_scoped(database: Any, keep: bool) -> AsyncIterator[Caller]:
    async with async_engine(database, "asyncpg") as found:
        awaiting = alchemy_asyncio()
        scoped = awaiting.async_scoped_session(awaiting.async_sessionmaker(found), scopefunc=asyncio.current_task)
        try:
            yield Caller(is_awaited=True, using=scoped, execute=lambda text: scoped.execute(sa.text(text)))
            await (scoped.commit if keep else scoped.rollback)()
        finally:
            await scoped.remove()


class _Undo(BaseException):
    """Ends the block of ``exclusive`` without a commit."""


@asynccontextmanager
async def sqlite_exclusive(database: Any, keep: bool) -> AsyncIterator[Caller]:
    try:
        with database.exclusive() as connection:
            yield Caller(using=connection, execute=plainly(connection.execute))
            if not keep:
                raise _Undo
    except _Undo:
        pass


CALLERS: dict[str, Callable[[Any, bool], AbstractAsyncContextManager[Caller]]] = {
    "psycopg": psycopg_implicit,
    "psycopg_autocommit": psycopg_autocommit,
    "psycopg_dict_rows": psycopg_dict_rows,
    "psycopg_async": psycopg_async,
    "asyncpg": asyncpg_plain,
    "asyncpg_pooled": asyncpg_pooled,
    "alchemy_autobegin": alchemy_autobegin,
    "alchemy_begun": alchemy_begun,
    "alchemy_session": alchemy_session,
    "alchemy_scoped": alchemy_scoped,
    "async_session_asyncpg": lambda database, keep: async_session(database, keep, "asyncpg"),
    "async_session_psycopg": lambda database, keep: async_session(database, keep, "psycopg"),
    "async_connection_asyncpg": lambda database, keep: async_connection(database, keep, "asyncpg"),
    "async_connection_psycopg": lambda database, keep: async_connection(database, keep, "psycopg"),
    "async_scoped": async_scoped,
    "sqlite": sqlite_exclusive,
}


def plainly(execute: Callable[[str], Any]) -> Execute:
    async def run(text: str) -> None:
        execute(text)

    return run


@contextmanager
def engine(database: PostgresDatabase, **options: Any) -> Iterator[sa.Engine]:
    found = sa.create_engine(alchemy_url(database, "psycopg"), poolclass=NullPool, **options)
    try:
        yield found
    finally:
        found.dispose()


@asynccontextmanager
async def async_engine(database: PostgresDatabase, driver: str, **options: Any) -> AsyncIterator[Any]:
    found = alchemy_asyncio().create_async_engine(alchemy_url(database, driver), poolclass=NullPool, **options)
    try:
        yield found
    finally:
        await found.dispose()


def alchemy_asyncio() -> Any:
    """SQLAlchemy for event loops: it needs a package that SQLAlchemy itself does not bring."""
    if importlib.util.find_spec("greenlet") is None:
        miss("greenlet", "pip install 'sqlalchemy[asyncio]'")
    return importlib.import_module("sqlalchemy.ext.asyncio")


def alchemy_url(database: PostgresDatabase, driver: str) -> sa.URL:
    return sa.make_url(database.conninfo).set(drivername=f"postgresql+{driver}")


# -- fixtures ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=CALLERS)
def caller(request: pytest.FixtureRequest) -> str:
    """Who enqueues. The caller chooses the database."""
    return str(request.param)


@pytest.fixture
def database(request: pytest.FixtureRequest, caller: str, tmp_path: Path, clock: SimulatedClock) -> Iterator[AnyDatabase]:
    """An empty database of the caller's kind, with a table of the caller's own."""
    if caller == "sqlite":
        with closing(SqliteDatabase(str(tmp_path / "runs.db"), clock=clock)) as small:
            migrate(small, dialect_name="sqlite")
            small.script("CREATE TABLE orders (id INTEGER)")
            yield small
        return
    server: PostgresDatabase = request.getfixturevalue("postgres_stock")
    with psycopg.connect(server.conninfo, autocommit=True) as session:
        session.execute("CREATE TABLE IF NOT EXISTS orders (id bigint)")
        for (table,) in session.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'schema_migrations'"
        ).fetchall():
            session.execute(psycopg.sql.SQL("DELETE FROM {}").format(psycopg.sql.Identifier(table)))
        for command in FIRST_ROWS:
            session.execute(command)
    yield server


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("caller", names, indirect=True)


def _told(*answers: tuple[str, Any]) -> list[Created]:
    return [Created(*answer) for answer in answers]


def plan_of(fleet: Fleet, new: Sequence[NewRun]) -> Generator[Query, list[Row], list[Created]]:
    """What a call of ``enqueue`` does, from the first use of its lane on."""
    keyed = {
        run.id: Keyed(fleet.namespace, fleet._lanes[run.lane_id].task, payload_hash(run.body), DAY)
        for run in new
        if run.idempotency_key is not None or run.singleton_key is not None
    }
    yield intern(list(fleet._lanes.values()), list(fleet._policies.items()))
    return (yield from create(new, keyed))


async def enqueue(fleet: Fleet, they: Caller, *new: NewRun) -> list[Created]:
    """Enqueue as such a caller would: awaited where the connection is."""
    if they.is_awaited:
        return await arun_plan(fleet.database, they.using, plan_of(fleet, new))
    return run_plan(fleet.database, they.using, plan_of(fleet, new))


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


# -- if and only if it commits -----------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 1)
def test_a_run_enqueued_in_a_transaction_that_rolls_back_never_existed(fleet: Fleet, caller: str) -> None:
    new = fleet.new(key="k", singleton="s")

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, False) as they:
            await they.execute("INSERT INTO orders (id) VALUES (7)")
            (created,) = await enqueue(fleet, they, new)
            assert created == Created(new.id, "created")

    play(scene())
    with pytest.raises(UnknownRun):
        fleet.get(new.id)
    assert fleet.claim() == []
    assert [
        fleet.one(f"SELECT count(*) FROM {table}") for table in ("orders", "runs", "events", "idempotency_keys", "singletons")
    ] == [0] * 5


@pytest.mark.case("jobs", 1)
def test_a_run_enqueued_in_a_transaction_that_commits_is_there_beside_the_callers_row(fleet: Fleet, caller: str) -> None:
    new = fleet.new(key="k", singleton="s", body=b'{"to": "\\"\xc3\xbc% %s :x {}\\\\"}')

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            await they.execute("INSERT INTO orders (id) VALUES (7)")
            await enqueue(fleet, they, new)
            if caller != "sqlite":  # there the caller has the only writer, and reads go on beside it just the same
                assert fleet.claim() == []

    play(scene())
    assert fleet.sql("SELECT id FROM orders") == [(7,)]
    (claimed,) = fleet.claim()
    assert (claimed.id, claimed.body, claimed.idempotency_key, claimed.singleton_key) == (new.id, new.body, "k", "s")
    assert fleet.story(new.id) == ["created", "claimed"]


@pytest.mark.case("jobs", 1)
def test_an_enqueue_alone_in_a_transaction_that_commits_is_kept(fleet: Fleet, caller: str) -> None:
    new = fleet.new()

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            await enqueue(fleet, they, new)

    play(scene())
    assert fleet.get(new.id).state is State.QUEUED


@pytest.mark.case("jobs", 1)
def test_an_enqueue_alone_in_a_transaction_that_rolls_back_is_gone(fleet: Fleet, caller: str) -> None:
    async def scene() -> None:
        async with CALLERS[caller](fleet.database, False) as they:
            await enqueue(fleet, they, fleet.new())

    play(scene())
    assert fleet.one("SELECT count(*) FROM runs") == 0


def test_many_runs_are_created_in_order_with_what_makes_each_special(fleet: Fleet, caller: str) -> None:
    batch_id, source = fleet.new_id(), fleet.new_id()
    new = [fleet.new(body=str(n).encode(), priority=n % 3, queue=f"q{n % 2}") for n in range(40)]
    odd = fleet.new(delay=DAY, batch_id=batch_id, rerun_of=source)

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            created = await enqueue(fleet, they, *new, odd)
            assert [each.run_id for each in created] == [run.id for run in [*new, odd]]

    play(scene())
    assert len(fleet.claim()) == 40
    run = fleet.get(odd.id)
    assert (run.state, run.due_at - run.created_at, run.batch_id, run.rerun_of) == (State.SCHEDULED, DAY, batch_id, source)


def test_a_savepoint_rolled_back_takes_its_run_with_it_and_no_other(fleet: Fleet, caller: str) -> None:
    before, inside, after = fleet.new(key="a"), fleet.new(key="b", singleton="s"), fleet.new()

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            await enqueue(fleet, they, before)
            await they.execute("SAVEPOINT theirs")
            await enqueue(fleet, they, inside)
            await they.execute("ROLLBACK TO SAVEPOINT theirs")
            await enqueue(fleet, they, after)

    play(scene())
    assert [run.id for run in fleet.claim()] == [before.id, after.id]
    assert fleet.sql("SELECT key FROM idempotency_keys") == [("a",)]


@only("alchemy_session", "alchemy_begun", "async_session_asyncpg", "async_session_psycopg", "async_connection_asyncpg")
def test_a_nested_transaction_of_sqlalchemy_rolled_back_takes_its_run_with_it(fleet: Fleet, caller: str) -> None:
    inside, after = fleet.new(), fleet.new()

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            if caller.startswith("async"):
                async with they.using.begin_nested() as nested:
                    await enqueue(fleet, they, inside)
                    await nested.rollback()
            else:
                with they.using.begin_nested() as nested:
                    await enqueue(fleet, they, inside)
                    nested.rollback()
            await enqueue(fleet, they, after)

    play(scene())
    assert [run.id for run in fleet.claim()] == [after.id]


# -- keys --------------------------------------------------------------------------------------------------------------


def test_the_owner_of_a_key_is_found_in_the_callers_transaction(fleet: Fleet, caller: str) -> None:
    earlier = fleet.enqueue(key="k", singleton="s")
    first = fleet.new(key="new")

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            created = await enqueue(fleet, they, fleet.new(key="k"), fleet.new(singleton="s"), first, fleet.new(key="new"))
            assert created == _told((earlier, "existing"), (earlier, "existing"), (first.id, "created"), (first.id, "existing"))
            assert await enqueue(fleet, they, fleet.new(key="new")) == _told((first.id, "existing"))

    play(scene())
    assert [run.id for run in fleet.claim()] == [earlier, first.id]


def test_a_key_whose_retention_is_over_is_taken_again(fleet: Fleet, caller: str) -> None:
    fleet.enqueue(key="k", key_ttl=DAY)
    fleet.finish(fleet.claim())  # while it lives, an owner keeps its key
    fleet.pass_time(2 * DAY)
    again = fleet.new(key="k")

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            assert await enqueue(fleet, they, again) == _told((again.id, "created"))

    play(scene())
    assert {run.id for run in fleet.claim("w2")} == {again.id}


def test_a_refused_key_leaves_nothing_of_the_call_although_the_caller_goes_on_and_commits(fleet: Fleet, caller: str) -> None:
    owner = fleet.enqueue(key="taken", body=b"[1]")
    fine, refused, later = fleet.new(key="fine"), fleet.new(key="taken", body=b"[2]"), fleet.new(key="fine")

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            await they.execute("INSERT INTO orders (id) VALUES (7)")
            with pytest.raises(KeyConflict) as conflict:
                await enqueue(fleet, they, fine, refused)
            assert conflict.value.owner == owner
            await they.execute("INSERT INTO orders (id) VALUES (8)")
            assert await enqueue(fleet, they, later) == _told((later.id, "created"))

    play(scene())
    assert [run.id for run in fleet.claim()] == [owner, later.id]
    assert fleet.one("SELECT count(*) FROM orders") == 2


def test_a_percent_sign_and_a_repeated_parameter_reach_asyncpg_as_written() -> None:
    assert _numbered("a LIKE 'x%%' AND b = %(b)s AND %(c)s > %(b)s") == ("a LIKE 'x%' AND b = $1 AND $2 > $1", ("b", "c"))


# -- what is the caller's stays as it is -------------------------------------------------------------------------------

SETTINGS = ("search_path", "transaction_isolation", "default_transaction_isolation", "jit", "enable_seqscan", "lock_timeout")


@only("psycopg_autocommit")
def test_nothing_of_a_psycopg_connections_settings_changes(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    with psycopg.connect(database.conninfo, row_factory=dict_row, autocommit=True) as theirs:
        theirs.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        theirs.execute("SET search_path = pg_temp, public")
        with theirs.transaction():
            before = settings(theirs)
            run_plan(database, theirs, plan_of(fleet, [fleet.new(key="k", singleton="s")]))
            assert settings(theirs) == before
            assert theirs.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS
        assert (theirs.autocommit, theirs.row_factory, theirs.isolation_level) == (
            True,
            dict_row,
            psycopg.IsolationLevel.REPEATABLE_READ,
        )


def settings(session: psycopg.Connection[Any]) -> list[Any]:
    return [session.execute(cast("Any", f"SHOW {name}")).fetchone() for name in SETTINGS]


@only("asyncpg")
def test_nothing_of_an_asyncpg_connections_settings_changes(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    async def scene() -> None:
        theirs = await asyncpg.connect(database.conninfo, server_settings={"search_path": "pg_temp, public"})
        try:
            async with theirs.transaction(isolation="repeatable_read"):
                before = [await theirs.fetchval(f"SHOW {name}") for name in SETTINGS]
                await arun_plan(database, theirs, plan_of(fleet, [fleet.new(key="k", singleton="s")]))
                assert [await theirs.fetchval(f"SHOW {name}") for name in SETTINGS] == before
                assert theirs.is_in_transaction()
        finally:
            await theirs.close()

    play(scene())


@only("alchemy_session")
def test_a_sqlalchemy_session_goes_on_as_before(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    with engine(database, isolation_level="REPEATABLE READ") as found, Session(found) as session:
        run_plan(database, session, plan_of(fleet, [fleet.new()]))
        assert session.in_transaction()
        assert session.connection().get_isolation_level() == "REPEATABLE READ"
        assert session.execute(sa.text("SELECT count(*) AS n FROM runs")).one().n == 1


@only("psycopg", "alchemy_session", "sqlite")
def test_a_connection_that_is_not_awaited_may_be_used_from_a_coroutine(fleet: Fleet, caller: str) -> None:
    new = fleet.new(key="k")

    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            await arun_plan(fleet.database, they.using, plan_of(fleet, [new]))

    play(scene())
    assert [run.id for run in fleet.claim()] == [new.id]


# -- refused before anything is written ----------------------------------------------------------------------------------


def refused(fleet: Fleet, using: Any, *words: str, error: type[MainspringError] = InvalidOption) -> None:
    """Enqueueing with ``using`` raises this error, whose text has these words, and writes nothing; awaited or not."""
    for attempt in (run_plan, lambda *args: asyncio.run(arun_plan(*args))):
        with pytest.raises(error) as raised:
            attempt(fleet.database, using, plan_of(fleet, [fleet.new()]))
        assert raised.value.details["option"] == "using"
        assert [word for word in words if word not in raised.value.message] == []
    assert fleet.one("SELECT count(*) FROM runs") == 0


async def arefused(fleet: Fleet, using: Any, *words: str) -> None:
    with pytest.raises(InvalidOption) as raised:
        await arun_plan(fleet.database, using, plan_of(fleet, [fleet.new()]))
    assert [word for word in words if word not in raised.value.message] == []
    assert fleet.one("SELECT count(*) FROM runs") == 0


@only("psycopg")
def test_autocommit_without_a_transaction_is_refused(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        refused(fleet, connection, "autocommit", "`with connection.transaction():`")
    with engine(database, isolation_level="AUTOCOMMIT") as found, found.connect() as alchemy:
        refused(fleet, alchemy, "autocommit")

    async def scene() -> None:
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as awaited:
            await arefused(fleet, awaited, "autocommit", "`async with connection.transaction():`")
        plain = await asyncpg.connect(database.conninfo)
        await arefused(fleet, plain, "no transaction", "`async with connection.transaction():`")
        await plain.close()
        await arefused(fleet, plain, "closed")
        async with async_engine(database, "asyncpg", isolation_level="AUTOCOMMIT") as found, found.connect() as alchemy:
            await arefused(fleet, alchemy, "AUTOCOMMIT")

    play(scene())


@only("psycopg")
def test_a_closed_failed_or_busy_connection_is_refused(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    with psycopg.connect(database.conninfo) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        refused(fleet, connection, "has failed", "roll it back")
        connection.rollback()
        with connection.pipeline():
            refused(fleet, connection, "pipeline")
        with connection.cursor().copy("COPY (SELECT 1) TO STDOUT") as copy:
            refused(fleet, connection, "in the middle of another statement")
            list(copy)
        connection.execute("SET TRANSACTION READ ONLY")
        refused_once(fleet, connection, "read only")
        connection.rollback()
    refused(fleet, connection, "closed")


@only("asyncpg")
def test_an_asyncpg_transaction_that_failed_is_refused(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    async def scene() -> None:
        async with CALLERS[caller](database, False) as they:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await they.execute("SELECT 1 / 0")
            await arefused(fleet, they.using, "has failed", "roll it back")

    play(scene())


@only("alchemy_session")
def test_a_sqlalchemy_transaction_that_is_over_is_refused(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    with engine(database) as found:
        with found.connect() as connection, connection.begin() as transaction:
            transaction.rollback()
            with pytest.raises(SQLAlchemyError, match="closed transaction"):
                run_plan(database, connection, plan_of(fleet, [fleet.new()]))
        refused(fleet, connection, "closed")
        with Session(found) as session, session.begin():
            session.connection()
            with pytest.raises(SQLAlchemyError), session.begin_nested():
                session.execute(sa.text("SELECT 1 / 0"))
            run_plan(database, session, plan_of(fleet, [fleet.new()]))
            session.rollback()
    assert fleet.one("SELECT count(*) FROM runs") == 0


def refused_once(fleet: Fleet, using: Any, *words: str) -> None:
    with pytest.raises(InvalidOption) as raised:
        run_plan(fleet.database, using, plan_of(fleet, [fleet.new()]))
    assert [word for word in words if word not in raised.value.message] == []


@only("psycopg")
def test_a_connection_that_does_not_see_our_tables_is_told_so(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    with psycopg.connect(database.conninfo) as connection:
        connection.execute("SET LOCAL search_path = pg_catalog")
        refused_once(fleet, connection, "does not see Mainspring's tables", "search_path")
        connection.rollback()


@only("psycopg_async", "asyncpg", "async_session_asyncpg", "async_connection_psycopg", "async_scoped")
def test_an_awaited_connection_in_a_plain_call_is_sent_to_aenqueue(fleet: Fleet, caller: str) -> None:
    async def scene() -> None:
        async with CALLERS[caller](fleet.database, True) as they:
            with pytest.raises(InvalidOption, match="aenqueue"):
                run_plan(fleet.database, they.using, plan_of(fleet, [fleet.new()]))

    play(scene())
    assert fleet.one("SELECT count(*) FROM runs") == 0


@only("psycopg", "sqlite")
@pytest.mark.parametrize("using", ["postgresql://", object(), 7], ids=["text", "object", "number"])
def test_what_is_no_connection_is_named_beside_what_is_taken(fleet: Fleet, caller: str, using: Any) -> None:
    refused(fleet, using, type(using).__qualname__, "psycopg", "asyncpg", "SQLAlchemy", "app.connection()")


@only("psycopg")
def test_an_engine_is_no_connection(fleet: Fleet, database: PostgresDatabase, caller: str) -> None:
    with engine(database) as found:
        refused(fleet, found, "sqlalchemy.engine.base.Engine", "SQLAlchemy Connection")


@only("psycopg")
def test_a_sqlite_connection_is_refused_by_a_database_on_postgresql(
    fleet: Fleet, database: PostgresDatabase, caller: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as foreign:
        refused(fleet, foreign, "sqlite3.Connection", "PostgreSQL")
    with closing(apsw.Connection(":memory:")) as ours:
        refused(fleet, ours, "apsw.Connection", "PostgreSQL")


@only("sqlite")
def test_a_postgresql_connection_is_refused_by_a_database_on_sqlite(fleet: Fleet, caller: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        refused(fleet, connection, "psycopg.Connection", "SQLite", "app.connection()")

    async def scene() -> None:
        plain = await asyncpg.connect(postgres_url)
        async with plain.transaction():
            await arefused(fleet, plain, "asyncpg.Connection", "app.connection()")
        await plain.close()

    play(scene())


@only("sqlite")
@pytest.mark.case("jobs", 3)
def test_a_second_sqlite_library_on_our_file_is_refused_by_using(fleet: Fleet, database: SqliteDatabase, caller: str) -> None:
    # The foreign connections are to nothing and never opened on our file: that is the very thing this protects from.
    with closing(sqlite3.connect(":memory:")) as foreign:
        refused(fleet, foreign, "app.connection()", error=ForeignSqlite)
    found = sa.create_engine("sqlite:///:memory:")
    with found.connect() as connection:
        refused(fleet, connection, "app.connection()", error=ForeignSqlite)
    with Session(found) as session:
        refused(fleet, session, "app.connection()", error=ForeignSqlite)
    found.dispose()


@only("sqlite")
def test_a_sqlite_connection_outside_its_block_or_of_somebody_else_is_refused(
    fleet: Fleet, database: SqliteDatabase, caller: str
) -> None:
    with database.exclusive() as connection:
        pass
    refused(fleet, connection, "with")
    with closing(apsw.Connection(database.path)) as other:
        other.execute("BEGIN")
        refused(fleet, other, "with")


@only("sqlite")
def test_a_sqlite_connection_kept_from_an_earlier_block_never_joins_another_threads_transaction(
    fleet: Fleet, database: SqliteDatabase, caller: str
) -> None:
    with database.exclusive() as kept:
        pass

    async def scene() -> None:
        with database.exclusive(), pytest.raises(InvalidOption, match="no longer"):
            await asyncio.to_thread(run_plan, database, kept, plan_of(fleet, [fleet.new()]))

    play(scene())
    assert fleet.one("SELECT count(*) FROM runs") == 0
