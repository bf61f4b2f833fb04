"""The outbox: a row beside a caller's data in another database becomes a run here exactly once, whoever dies on the way.

Here: real databases of both kinds on both sides, and a relay that is killed between its two commits. Not here: what runs then do.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy

from mainspring import App
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.states import State
from mainspring.errors import ForeignSqlite, InvalidOption, UnknownRun
from mainspring.testing import invariants
from mainspring.testing.postgres import fresh_database

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = "30s"


def double(n: int) -> int:
    return 2 * n


class Side:
    """The caller's database: how to connect, and a table of theirs."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self.engine = sqlalchemy.create_engine(self._alchemy_url()) if kind.startswith("sqlalchemy") else None

    def connect(self) -> Any:
        """A connection as the caller has it."""
        if self.engine is not None:
            return self.engine.connect()
        return sqlite3.connect(self.url, timeout=30) if self.kind == "sqlite3" else psycopg.connect(self.url)

    def run(self, connection: Any, text: str) -> list[Any]:
        """A statement of the caller's own."""
        if self.engine is not None:
            found = connection.exec_driver_sql(text)
            return list(found.fetchall()) if found.returns_rows else []
        cursor = connection.execute(text)
        return list(cursor.fetchall()) if cursor.description else []

    def _alchemy_url(self) -> str:
        return f"sqlite:///{self.url}" if "sqlite" in self.kind else self.url.replace("postgresql://", "postgresql+psycopg://")

    def close(self) -> None:
        if self.engine is not None:
            self.engine.dispose()


#: Our database and how they use theirs: each of both kinds beside each of both.
PAIRS = (("sqlite", "sqlite3"), ("sqlite", "sqlalchemy-psycopg"), ("postgres", "psycopg"), ("postgres", "sqlalchemy-sqlite"))


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def theirs(request: pytest.FixtureRequest, pair: tuple[str, str], tmp_path: Path) -> Iterator[Side]:
    kind = pair[1]
    if "sqlite" in kind:
        side = Side(kind, str(tmp_path / "shop.db"))
        yield side
        side.close()
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:
        side = Side(kind, url)
        yield side
        side.close()


@pytest.fixture
def url(request: pytest.FixtureRequest, pair: tuple[str, str], tmp_path: Path) -> str:
    """URL of our database, up to date."""
    if pair[0] == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    fresh: str = request.getfixturevalue("fresh_postgres")
    App("migration", database=fresh).migrate()
    return fresh


@pytest.fixture
def app(url: str, theirs: Side) -> Iterator[App]:
    made = App("shop", database=url)
    made.task(name="double")(double)
    with closing(theirs.connect()) as connection:
        made.outbox(connection).create_table()
        theirs.run(connection, "CREATE TABLE orders (n INTEGER)")
        connection.commit()
    yield made
    invariants.check(made.client.database)
    made.close()


def task(app: App) -> Any:
    """The app's task, as a caller has it."""
    from mainspring.tasks import Task

    spec = app.registry.get("double")
    return Task(app, spec, double, spec.options)


def write(app: App, theirs: Side, *numbers: int, commit: bool = True, **options: Any) -> list[Any]:
    """The caller's transaction: an order, and a run about it."""
    with closing(theirs.connect()) as connection:
        outbox = app.outbox(connection)
        handles = []
        for n in numbers:
            theirs.run(connection, f"INSERT INTO orders VALUES ({n})")
            handles.append(outbox.enqueue(task(app).options(**options).call(n), order_key="acme"))
        connection.commit() if commit else connection.rollback()
        return handles


def runs(app: App) -> dict[str, int]:
    counts: dict[str, int] = dict(app.runs.counts())
    return counts


def test_the_run_exists_if_and_only_if_the_callers_transaction_commits(app: App, theirs: Side) -> None:
    relay = app.outbox_relay(theirs.connect)
    (dropped,) = write(app, theirs, 1, commit=False)
    (kept,) = write(app, theirs, 21)
    assert runs(app) == {}
    with pytest.raises(UnknownRun):
        kept.result(timeout="1s")
    assert (relay.drain(), relay.drain()) == (1, 0)
    assert app.runs.get(kept.id).run.state is State.QUEUED
    with pytest.raises(UnknownRun):
        app.runs.get(dropped.id)
    app.worker(poll="50ms").run(until="drained")
    assert kept.result(timeout=PATIENCE) == 42
    with closing(theirs.connect()) as connection:
        assert [tuple(row) for row in theirs.run(connection, "SELECT n FROM orders")] == [(21,)]


_KILLED = """
import os, signal, sqlite3, sys
import psycopg, sqlalchemy
from mainspring.store import outbox
from tests.conformance.test_outbox import App, Side, double

def die(self, rows):
    assert rows
    os.kill(os.getpid(), signal.SIGKILL)

outbox.Theirs.delete = die
app = App("shop", database=sys.argv[1])
app.task(name="double")(double)
app.outbox_relay(Side(sys.argv[2], sys.argv[3]).connect).step()
"""


def test_a_relay_killed_between_its_two_commits_leaves_one_run_of_each_row(app: App, theirs: Side, url: str) -> None:
    handles = write(app, theirs, 1, 2, 3)
    keyed = write(app, theirs, 4, key="four", singleton="four")
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, url, theirs.kind, theirs.url],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert runs(app) == {"queued": 4}  # ours is committed, and theirs is not
    app.worker(poll="50ms").run(until="drained")
    relay = app.outbox_relay(theirs.connect)
    assert (relay.drain(), relay.moved, relay.refused) == (4, 4, 0)
    assert runs(app) == {"succeeded": 4}
    everybody = [*handles, *keyed]
    assert [handle.result(timeout=PATIENCE) for handle in everybody] == [2, 4, 6, 8]
    assert {app.runs.get(handle.id).run.token for handle in everybody} == {1}


def test_rows_become_runs_in_the_order_in_which_they_were_written(app: App, theirs: Side) -> None:
    began: list[int] = []

    def note(n: int) -> int:
        began.append(n)
        return n

    noting = app.task(name="note")(note)
    with closing(theirs.connect()) as connection:
        outbox = app.outbox(connection)
        for n in range(230):
            outbox.enqueue(noting.call(n), order_key="acme")
        connection.commit()
    assert app.outbox_relay(theirs.connect).drain() == 230
    app.worker(poll="50ms", concurrency=1).run(until="drained")
    assert began == list(range(230))


def test_two_relays_at_once_make_one_run_of_each_row(app: App, theirs: Side) -> None:
    handles = write(app, theirs, *range(150))
    relays = [app.outbox_relay(theirs.connect) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda relay: relay.drain(), relays))
    assert sum(relay.moved for relay in relays) == 150
    assert runs(app) == {"queued": 150}
    assert len({handle.id for handle in handles}) == 150


def test_a_row_that_can_never_become_a_run_is_set_aside_and_holds_up_nobody(app: App, theirs: Side) -> None:
    task(app).options(key="same").enqueue(1)
    (refused,) = write(app, theirs, 2, key="same")
    (fine,) = write(app, theirs, 3)
    relay = app.outbox_relay(theirs.connect)
    assert (relay.drain(), relay.moved, relay.refused) == (2, 1, 1)
    assert app.runs.get(fine.id).run.state is State.QUEUED
    with closing(theirs.connect()) as connection:
        ((run_id, order_key, why),) = app.outbox(connection).refused()
    assert (run_id, order_key, why[:12]) == (refused.id, "acme", "key_conflict")


def test_a_delay_counts_from_the_call(app: App, theirs: Side) -> None:
    (handle,) = write(app, theirs, 1, delay="10m", priority=7)
    now = app.client.database.read("test.now", lambda tx: tx.now)
    app.outbox_relay(theirs.connect).drain()
    view = app.runs.get(handle.id)
    assert view.run.state is State.SCHEDULED
    assert abs(view.run.due_at - now - 10 * MINUTE) < 60 * SECOND
    assert view.priority == 7


def test_our_database_may_be_away_while_rows_are_written(app: App, theirs: Side) -> None:
    away = App("shop", database="postgresql://nobody@127.0.0.1:1/none")
    away.task(name="double")(double)
    (handle,) = write(away, theirs, 21)
    relay = app.outbox_relay(theirs.connect)
    relay.start(every_seconds=0.02)
    app.worker(poll="20ms").run(until="drained")
    found = app.client.handle(handle.id)
    try:
        while not relay.moved:
            app.worker(poll="20ms").run(until="drained")
        app.worker(poll="20ms").run(until="drained")
        assert found.result(timeout=PATIENCE) == 42
    finally:
        relay.close()
        relay.close()
        away.close()


def test_our_own_file_and_what_is_no_connection_are_refused(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'runs.db'}")
    _ = app.client
    app.close()
    with closing(sqlite3.connect(tmp_path / "runs.db")) as connection, pytest.raises(ForeignSqlite, match=r"app\.connection"):
        app.outbox(connection)
    with pytest.raises(InvalidOption):
        app.outbox(object())
