"""The Django programs of ``test_django.py``, a function each: ``python django_scenes.py SCENE URL HOME``.

Django is set up once in a process, so each scene has a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

SCENE, URL, HOME = sys.argv[1:]
postgres = urlsplit(URL)
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": postgres.path[1:],
            "USER": postgres.username,
            "PASSWORD": unquote(postgres.password or ""),
            "HOST": postgres.hostname,
            "PORT": postgres.port,
        },
        "small": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{HOME}/small.db"},
    },
    INSTALLED_APPS=["mainspring.integrations.django"],
    MAINSPRING={"name": "shop", "database": "default"},
    USE_TZ=True,
)
django.setup()

from django.db import connection, connections, transaction  # noqa: E402  (after the settings)

from mainspring import Context, LeaseLost  # noqa: E402
from mainspring.errors import MainspringError  # noqa: E402
from mainspring.integrations.django import app  # noqa: E402
from mainspring.integrations.django.settings import database_url  # noqa: E402
from mainspring.operations import attempts, views  # noqa: E402
from mainspring.store.database import Transaction  # noqa: E402
from mainspring.testing import invariants  # noqa: E402


@app.task(name="work", max_attempts=1)
def work(n: int) -> int:
    return n


@app.task(name="awaits")
async def awaits() -> str:
    from asgiref.sync import sync_to_async

    return str(await sync_to_async(lambda: connection.vendor)())


def refusal(call: Callable[[], Any]) -> str:
    try:
        call()
    except MainspringError as refused:
        return str(refused.message)
    raise AssertionError("it was taken")


def drain(**options: Any) -> None:
    app.worker(poll="20ms", **options).run(until="drained")
    invariants.check(app.client.database)


def atomic() -> None:
    """A run exists if and only if the block committed; by alias, by the proxy, and by the connection itself."""
    for using in ("default", connection, connections["default"]):
        with transaction.atomic():
            kept = work.options(using=using).enqueue(1)
        try:
            with transaction.atomic():
                work.options(using=using).enqueue(2)
                raise RuntimeError
        except RuntimeError:
            pass
        assert app.runs.get(kept.id).run.state == "queued"
    assert app.runs.counts() == {"queued": 3}
    with transaction.atomic():
        work.options(using="default", key="one").enqueue(1)
        try:
            with transaction.atomic():  # a savepoint
                work.options(using="default").enqueue(4)
                raise RuntimeError
        except RuntimeError:
            pass
    drain()
    assert app.runs.counts() == {"succeeded": 4}


def hints() -> None:
    """The hint follows Django's commit, so a waiting worker starts long before its poll."""
    drain()
    worker = app.worker(poll="60s")
    thread = threading.Thread(target=worker.run)
    thread.start()
    while not any(known.state == "live" for known in app.workers):
        time.sleep(0.01)
    time.sleep(0.3)
    began = time.monotonic()
    with transaction.atomic():
        run = work.options(using="default").enqueue(7)
    assert run.result(timeout="20s") == 7
    assert time.monotonic() - began < 15
    worker.stop()
    thread.join()


def refused() -> None:
    """What cannot carry a run says what to write."""
    assert "transaction.atomic()" in refusal(lambda: work.options(using="default").enqueue(1))
    assert "no alias of settings.DATABASES" in refusal(lambda: work.options(using="elsewhere").enqueue(1))
    with transaction.atomic(using="small"):
        assert "cannot share a transaction" in refusal(lambda: work.options(using="small").enqueue(1))
    with transaction.atomic():
        transaction.set_rollback(True)
        assert "has failed" in refusal(lambda: work.options(using="default").enqueue(1))
        transaction.set_rollback(False)
    assert app.runs.counts() == {}


def closes() -> None:
    """Connections are closed round attempts, as round requests: no attempt leaves one behind, and none meets a broken one."""
    seen: list[int] = []

    @app.task(name="asks", max_attempts=1)
    def asks() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            seen.append(cursor.fetchone()[0])
        return seen[-1]

    for _ in range(2):
        asks.enqueue()
    awaited = awaits.enqueue()
    drain(concurrency=1)
    assert app.runs.counts() == {"succeeded": 3}
    assert awaited.result() == "postgresql"
    assert len(set(seen)) == 2, "CONN_MAX_AGE is 0, so each attempt has a connection of its own"
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [seen])
        for _ in range(200):
            if cursor.fetchone()[0] == 0:
                break
            time.sleep(0.02)
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [seen])
        else:
            raise AssertionError("an attempt left its connection open")


def concludes() -> None:
    """The ORM's writes and the attempt's success are one commit."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE payments (token bigint)")
    told: list[str] = []

    def take(tx: Transaction) -> None:
        live = next(each.id for each in app.workers if each.state == "live")
        attempts.give_back(tx, attempts.held(tx, live), views.policies, actor="reaper")

    @app.task(name="pays")
    def pays(ctx: Context, lose: bool) -> None:
        if lose and ctx.token == 1:
            app.client.database.write("test.take", take)
        try:
            with transaction.atomic(), ctx.transaction(using="default"), connection.cursor() as cursor:
                cursor.execute("INSERT INTO payments VALUES (%s)", [ctx.token])
        except LeaseLost:
            told.append("lost")
            raise

    pays.enqueue(False)
    drain()
    pays.enqueue(True)
    drain()
    with connection.cursor() as cursor:
        cursor.execute("SELECT token FROM payments ORDER BY token")
        assert cursor.fetchall() == [(1,), (2,)]
    assert told == ["lost"]
    assert app.runs.counts() == {"succeeded": 2}


def configured() -> None:
    """What ``MAINSPRING`` says is checked, and an alias becomes a URL."""
    assert database_url("sqlite:///jobs.db") == "sqlite:///jobs.db"
    assert database_url("default").endswith(postgres.path)
    for wrong, told in {"small": "a file of its own", "nowhere": "no URL and no alias"}.items():
        assert told in refusal(lambda wrong=wrong: database_url(wrong))  # type: ignore[misc]
    assert app is __import__("mainspring.integrations.django", fromlist=["app"]).app


def awaited() -> None:
    """In an async view a Django connection belongs to another thread: say so there, and enqueue in that thread."""
    from asgiref.sync import sync_to_async

    def place() -> str:
        with transaction.atomic():
            return work.options(using="default").enqueue(5).id

    run_id = asyncio.run(sync_to_async(place)())
    drain()
    assert app.runs.get(run_id).run.state == "succeeded"


if __name__ == "__main__":
    app.migrate()
    {name: scene for name, scene in globals().items() if callable(scene)}[SCENE]()
    app.close()
