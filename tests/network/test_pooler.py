"""A life of jobs through a real PgBouncer in transaction mode, with the configuration that the guide shows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from mainspring import App, batch, every
from mainspring.core.durations import MINUTE
from mainspring.store.postgres import PostgresDatabase
from mainspring.testing import invariants
from tests.conformance.test_planner_troubles import live_an_hour
from tests.docs.pages import ROOT, blocks
from tests.support.builders import Fleet
from tests.support.services import pgbouncer

GUIDE = ROOT / "docs" / "guides" / "poolers.md"
SESSIONS = 3
SHOP = """
import os
from mainspring import App, Context, fixed

app = App("shop", database=os.environ["SHOP"])
app.queue("mail", limit=4)


@app.task(name="pack")
def pack(order: int) -> dict[str, int]:
    return {"order": order, "by": os.getpid()}


@app.task(name="send", queue="mail", backoff=fixed("50ms"))
async def send(ctx: Context, order: int) -> int:
    if ctx.failures == 0 and order % 5 == 0:
        raise OSError("the first time it fails")
    return order


@app.task(name="count")
def count(ctx: Context) -> int:
    return sum(1 for member in ctx.members())
"""


@pytest.fixture
def pooled(fresh_postgres: str) -> Iterator[str]:
    """The URL of a PgBouncer as the guide sets it up, with so few sessions that transactions take turns in them."""
    (block,) = (block for block in blocks(GUIDE) if block.language == "ini")
    narrow = block.text.replace("default_pool_size = 20", f"default_pool_size = {SESSIONS}")
    assert narrow != block.text
    with pgbouncer(fresh_postgres, narrow) as url:
        yield url


@pytest.fixture
def shop(pooled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """An App in a file, as processes have it, on a database that was migrated through the pooler."""
    (tmp_path / "pooled_shop.py").write_text(SHOP)
    monkeypatch.setenv("SHOP", pooled)
    monkeypatch.syspath_prepend(str(tmp_path))
    from pooled_shop import app  # type: ignore[import-not-found]

    app.migrate()
    with closing(app):
        yield app
    sys.modules.pop("pooled_shop")


def _workers(stack: ExitStack, folder: Path, count: int) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "mainspring", "worker", "pooled_shop:app", "--poll", "100ms", "--concurrency", "8"]
    workers = [subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}) for _ in range(count)]
    for worker in workers:
        stack.callback(worker.wait)
        stack.callback(worker.kill)
    return workers


def test_two_worker_processes_and_their_callers_live_behind_a_pooler(
    shop: App, pooled: str, fresh_postgres: str, tmp_path: Path
) -> None:
    from pooled_shop import count, pack, send

    with ExitStack() as stack:
        workers = _workers(stack, tmp_path, 2)
        packed = pack.enqueue_many([(order,) for order in range(200)])
        sent = [send.options(key=f"order-{order}").enqueue(order=order) for order in range(20)]
        again = [send.options(key=f"order-{order}").enqueue(order=order) for order in range(20)]
        counted = batch([pack.call(order=order) for order in range(10)], then=count.call()).enqueue()
        with psycopg.connect(pooled, prepare_threshold=None) as theirs:
            kept = pack.options(using=theirs).enqueue(order=1)
        with psycopg.connect(pooled, prepare_threshold=None) as theirs:
            lost = pack.options(using=theirs).enqueue(order=2)
            theirs.rollback()

        assert counted.callback is not None
        assert counted.callback.result(timeout="30s") == 10
        assert [handle.result(timeout="30s") for handle in sent] == list(range(20))
        assert {handle.result(timeout="30s")["by"] for handle in packed} <= {worker.pid for worker in workers}
        assert kept.result(timeout="30s")["order"] == 1
        for worker in workers:
            worker.terminate()
        assert [worker.wait(30) for worker in workers] == [0, 0]

    assert [handle.id for handle in again] == [handle.id for handle in sent]
    assert lost.id not in {info.run.id for info in shop.runs.list(limit=500).data}
    assert shop.runs.counts() == {"succeeded": 232}
    with closing(PostgresDatabase(fresh_postgres)) as direct:
        invariants.check(direct)


@pytest.mark.case("schedules", 37)
def test_two_leaders_behind_a_pooler_fire_nothing_twice_in_an_hour(shop: App, pooled: str, fresh_postgres: str) -> None:
    with (
        closing(PostgresDatabase(pooled)) as one,
        closing(PostgresDatabase(pooled)) as two,
        closing(PostgresDatabase(fresh_postgres)) as direct,
    ):
        first, second, aside = Fleet(database=one), Fleet(database=two), Fleet(database=direct)
        shop.client.schedules.put("each-minute", every("1m"), "pack", payload={"order": 1}, overlap="allow", misfire="catch_up")
        live_an_hour(first.tick, second.tick, aside.pass_time)
        ledger = shop.client.schedules.occurrences("each-minute", limit=500).data[::-1]
        assert len(ledger) >= 59
        assert {later.nominal_at - each.nominal_at for each, later in pairwise(ledger)} == {MINUTE}
        assert {each.disposition.value for each in ledger} == {"fired"}
        assert shop.runs.counts() == {"queued": len(ledger)}
        invariants.check(direct)


def test_a_pooler_is_noticed_and_a_server_is_not_taken_for_one(pooled: str, fresh_postgres: str) -> None:
    with closing(PostgresDatabase(pooled)) as behind, closing(PostgresDatabase(fresh_postgres)) as direct:
        assert behind.is_pooled
        assert not direct.is_pooled


def test_nothing_is_left_behind_in_the_sessions_of_a_pooler(shop: App, pooled: str) -> None:
    from pooled_shop import pack

    pack.enqueue_many([(order,) for order in range(30)])
    shop.worker(poll="50ms").run(until="drained")
    assert shop.runs.counts() == {"succeeded": 30}
    with ExitStack() as stack:
        sessions = [stack.enter_context(psycopg.connect(pooled, prepare_threshold=None)) for _ in range(SESSIONS)]
        seen = [
            session.execute("SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements)").fetchone()
            for session in sessions
        ]
        planner = [session.execute("SHOW enable_seqscan").fetchone() for session in sessions]
    assert len({row[0] for row in seen if row}) == SESSIONS
    assert [row[1] for row in seen if row] == [0] * SESSIONS
    assert planner == [("on",)] * SESSIONS


def test_behind_a_pooler_hints_are_sent_and_the_poll_takes_the_place_of_hearing_them(pooled: str, fresh_postgres: str) -> None:
    heard, stop = [], threading.Event()
    with closing(PostgresDatabase(pooled)) as behind, closing(PostgresDatabase(fresh_postgres)) as direct:
        listening = direct.notifications("mainspring_test", stop)
        assert next(listening) == ""
        behind.notify("mainspring_test", ["work"])
        heard.append(next(listening))
        stop.set()
        assert list(behind.notifications("mainspring_test", stop)) == [""]
    assert heard == ["work"]
    assert not behind.capabilities.notify
    assert direct.capabilities.notify
