"""``ctx.transaction()``: what user code writes and the success of its attempt are one commit, whoever dies when.

Not here: runs enqueued in a caller's transaction (``tests/conformance/test_foreign_transactions.py``).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from mainspring import App, Context, Fail, LeaseLost, batch
from mainspring.errors import CapabilityUnsupported, InvalidOption
from mainspring.operations import attempts, views
from mainspring.runtime.runner import Report
from mainspring.store.database import Transaction
from mainspring.testing import invariants
from tests.api.conftest import Drain

PROGRAM = Path(__file__).with_name("paying.py")


@pytest.fixture
def sql(app: App, url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Plain SQL on the app's database, in a transaction of its own."""

    def run(text: str) -> list[tuple[Any, ...]]:
        if url.startswith("sqlite"):
            with app.connection() as connection:
                return list(connection.execute(text).fetchall())
        with psycopg.connect(url, autocommit=True) as session:
            cursor = session.execute(text)
            return cursor.fetchall() if cursor.description else []

    run("CREATE TABLE payments (token bigint)")
    return run


@pytest.fixture
def checked(app: App, drain: Drain) -> Callable[[], Report]:
    """Drain, and check every promise."""

    def run() -> Report:
        report = drain(app)
        invariants.check(app.client.database)
        return report

    return run


Sql = Callable[[str], list[tuple[Any, ...]]]
Checked = Callable[[], Report]


def state(app: App, run_id: str) -> str:
    return str(app.runs.get(run_id).run.state)


@pytest.mark.parametrize("color", ["async", "thread"])
def test_what_was_written_and_the_success_are_one(app: App, sql: Sql, checked: Checked, color: str, back_end: str) -> None:
    def pay(ctx: Context) -> str:
        with ctx.transaction() as connection:
            connection.execute("INSERT INTO payments VALUES (1)")
            ctx.set_result("paid 7")
        return "not kept"

    async def apay(ctx: Context) -> str:
        return pay(ctx)

    run = app.task(name="pay")(pay if color == "thread" else apay).enqueue()
    report = checked()
    assert (report.finished, report.lost_leases) == (1, 0)
    assert run.result(timeout="1s") == "paid 7"
    assert sql("SELECT token FROM payments") == [(1,)]
    assert [event.type for event in app.runs.events(run.id)] == ["created", "claimed", "succeeded"]


def test_an_error_in_the_block_takes_back_what_was_written_and_is_a_failure_as_any(
    app: App, sql: Sql, checked: Checked, back_end: str
) -> None:
    @app.task(name="pay")
    def pay(ctx: Context) -> None:
        with ctx.transaction() as connection:
            connection.execute("INSERT INTO payments VALUES (1)")
            raise Fail("no_money")

    run = pay.enqueue()
    checked()
    assert state(app, run.id) == "failed"
    assert sql("SELECT token FROM payments") == []


def test_after_an_error_the_same_attempt_may_try_once_more(app: App, sql: Sql, checked: Checked, back_end: str) -> None:
    @app.task(name="pay")
    def pay(ctx: Context) -> None:
        for amount in (0, 1):
            try:
                with ctx.transaction() as connection:
                    connection.execute(f"INSERT INTO payments VALUES ({amount})")
                    if not amount:
                        raise RuntimeError
            except RuntimeError:
                pass

    run = pay.enqueue()
    checked()
    assert state(app, run.id) == "succeeded"
    assert sql("SELECT token FROM payments") == [(1,)]


def test_what_user_code_does_after_its_success_changes_nothing(app: App, sql: Sql, checked: Checked, back_end: str) -> None:
    @app.task(name="pay", timeout="5s")
    def pay(ctx: Context) -> None:
        with ctx.transaction() as connection:
            connection.execute("INSERT INTO payments VALUES (1)")
        ctx.heartbeat({"late": True}, now=True)
        threading.Event().wait(1.5)  # longer than the worker takes to compare what it holds
        raise RuntimeError("too late")

    run = pay.enqueue()
    report = checked()
    assert (report.finished, report.lost_leases) == (1, 0)
    assert state(app, run.id) == "succeeded"
    assert [event.type for event in app.runs.events(run.id)] == ["created", "claimed", "succeeded"]


def test_an_attempt_succeeds_once(app: App, sql: Sql, checked: Checked, back_end: str) -> None:
    refused: list[str] = []

    @app.task(name="pay")
    def pay(ctx: Context) -> None:
        with ctx.transaction():
            pass
        with pytest.raises(InvalidOption, match="succeeds once") as error, ctx.transaction():
            pass
        refused.append(error.value.message)

    pay.enqueue()
    checked()
    assert refused


def take_away(app: App) -> None:
    """Take the runs of every live worker away, as a reaper would."""

    def fn(tx: Transaction) -> None:
        for worker in app.workers:
            attempts.give_back(tx, attempts.held(tx, worker.id), views.policies, actor="reaper")

    app.client.database.write("test.take", fn)


def test_an_attempt_that_lost_its_lease_commits_nothing(app: App, sql: Sql, checked: Checked, back_end: str) -> None:
    told: list[type[BaseException]] = []

    @app.task(name="pay")
    def pay(ctx: Context) -> None:
        if ctx.token == 1:
            take_away(app)
        try:
            with ctx.transaction() as connection:
                connection.execute(f"INSERT INTO payments VALUES ({ctx.token})")
        except LeaseLost as lost:
            told.append(type(lost))
            raise

    run = pay.enqueue()
    checked()
    assert told == [LeaseLost]
    assert state(app, run.id) == "succeeded"
    assert sql("SELECT token FROM payments") == [(2,)]


def test_a_run_that_was_asked_to_stop_commits_nothing_and_is_cancelled(app: App, sql: Sql, checked: Checked, back_end: str) -> None:
    @app.task(name="pay")
    def pay(ctx: Context) -> None:
        app.runs.cancel(ctx.run_id)
        with ctx.transaction() as connection:
            connection.execute("INSERT INTO payments VALUES (1)")

    run = pay.enqueue()
    checked()
    assert state(app, run.id) == "cancelled"
    assert sql("SELECT token FROM payments") == []


def test_everything_that_hangs_on_the_end_follows_it(app: App, sql: Sql, checked: Checked, back_end: str) -> None:
    @app.task(name="pay")
    def pay(ctx: Context) -> None:
        with ctx.transaction() as connection:
            connection.execute("INSERT INTO payments VALUES (1)")
            ctx.set_result(ctx.run_id)

    @app.task(name="after")
    def after(ctx: Context) -> list[str]:
        return [member.result for member in ctx.members()]

    keyed = pay.options(singleton="one", key="k").enqueue()
    joined = batch([pay.call(), pay.call()], then=after.call(), on="all_succeeded").enqueue()
    checked()
    assert state(app, keyed.id) == "succeeded"
    assert joined.callback is not None
    assert joined.callback.result(timeout="1s") == joined.members
    assert pay.options(singleton="one").enqueue().outcome == "created"


@pytest.mark.parametrize("moment", ["before the commit", "before the report"])
def test_a_worker_killed_round_the_commit_leaves_one_payment(app: App, sql: Sql, url: str, moment: str, back_end: str) -> None:
    app.task(name="pay", max_interruptions=5)(lambda ctx: None)
    run = app.client.enqueue("pay")

    command = [sys.executable, str(PROGRAM), url, moment]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    after_the_kill = sql("SELECT token FROM payments")
    assert state(app, run.id) == ("succeeded" if moment == "before the report" else "running")
    with subprocess.Popen(command) as second:
        result = run.result(timeout="30s")
        second.terminate()
    paid = sql("SELECT token FROM payments")
    assert after_the_kill == (paid if moment == "before the report" else [])
    assert result == f"paid by token {paid[0][0]}"
    assert len(paid) == 1
    invariants.check(app.client.database)


def test_the_success_can_go_into_a_session_of_ones_own(postgres_app: App, fresh_postgres: str) -> None:
    app = postgres_app
    engine = sa.create_engine(fresh_postgres.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)

    @app.task(name="pay")
    def pay(ctx: Context, fails: bool) -> None:
        with Session(engine) as session, session.begin(), ctx.transaction(using=session):
            session.execute(sa.text("INSERT INTO payments VALUES (:token)"), {"token": ctx.token})
            if fails:
                raise Fail("no_money")

    paid, failed = pay.enqueue(False), pay.enqueue(True)
    app.worker(poll="20ms").run(until="drained")
    assert (state(app, paid.id), state(app, failed.id)) == ("succeeded", "failed")
    assert rows(fresh_postgres) == [(1,)]
    invariants.check(app.client.database)


def test_a_transaction_of_ones_own_that_is_rolled_back_takes_the_success_with_it(postgres_app: App, fresh_postgres: str) -> None:
    app = postgres_app

    @app.task(name="pay", max_attempts=1)
    def pay(ctx: Context) -> None:
        with psycopg.connect(fresh_postgres) as connection:
            with ctx.transaction(using=connection):
                connection.execute("INSERT INTO payments VALUES (1)")
            connection.rollback()
        raise RuntimeError("the caller changed its mind")

    run = pay.enqueue()
    app.worker(poll="20ms").run(until="drained")
    assert state(app, run.id) == "failed"
    assert rows(fresh_postgres) == []
    invariants.check(app.client.database)


@pytest.mark.parametrize("who", ["nobody", "psycopg", "sqlalchemy over asyncpg"])
def test_the_awaited_twin_does_the_same(postgres_app: App, fresh_postgres: str, who: str) -> None:
    app = postgres_app
    insert = "INSERT INTO payments VALUES (1)"

    @app.task(name="pay")
    async def pay(ctx: Context) -> str:
        if who == "nobody":
            async with ctx.atransaction() as connection:
                await connection.execute(insert)
                ctx.set_result("done")
        elif who == "psycopg":
            async with await psycopg.AsyncConnection.connect(fresh_postgres) as own, ctx.atransaction(using=own):
                await own.execute(insert)
                ctx.set_result("done")
        else:
            engine = create_async_engine(fresh_postgres.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
            async with AsyncSession(engine) as session, session.begin(), ctx.atransaction(using=session):
                await session.execute(sa.text(insert))
                ctx.set_result("done")
        return "not kept"

    run = pay.options(singleton="one").enqueue()
    app.worker(poll="20ms").run(until="drained")
    assert run.result(timeout="1s") == "done"
    assert rows(fresh_postgres) == [(1,)]
    invariants.check(app.client.database)


def test_on_sqlite_the_awaited_twin_says_what_to_write(small_app: App) -> None:
    app = small_app

    @app.task(name="pay", max_attempts=1)
    async def pay(ctx: Context) -> str:
        with pytest.raises(CapabilityUnsupported, match=r"with ctx\.transaction"):
            async with ctx.atransaction():
                await asyncio.sleep(0)
        return "told"

    run = pay.enqueue()
    app.worker(poll="20ms").run(until="drained")
    assert run.result(timeout="1s") == "told"


def test_a_process_has_no_database_and_says_so(small_app: App) -> None:
    app = small_app
    task = app.task(name="pay", max_attempts=1, executor="process")(pay_in_a_process)
    run = task.enqueue()
    app.worker(poll="20ms", concurrency=1).run(until="drained")
    assert run.result(timeout="1s") == "ctx.transaction() needs the database, which a process does not have"


def pay_in_a_process(ctx: Context) -> str:
    try:
        with ctx.transaction():
            return "nothing"
    except InvalidOption as refused:
        return refused.message.partition(";")[0]


@pytest.fixture
def postgres_app(fresh_postgres: str) -> Iterator[App]:
    app = App("shop", database=fresh_postgres)
    app.migrate()
    with psycopg.connect(fresh_postgres, autocommit=True) as session:
        session.execute("CREATE TABLE payments (token bigint)")
    yield app
    app.close()


@pytest.fixture
def small_app(tmp_path: Path) -> Iterator[App]:
    app = App("shop", database=f"sqlite:///{tmp_path / 'small.db'}")
    yield app
    app.close()


def rows(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as session:
        return session.execute("SELECT token FROM payments").fetchall()
