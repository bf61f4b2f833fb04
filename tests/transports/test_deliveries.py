"""Queues with deliveries, from the enqueue to the process that is called: on both databases, with transports in between.

Here: ``App.queue(delivery=…)``, the relay, ``execute_delivery``. Not here: each operation by itself
(``tests/conformance/test_deliveries.py``).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, Client
from mainspring.core.states import State
from mainspring.errors import InvalidOption
from mainspring.operations import deliveries
from mainspring.operations.dispatching import Verdict
from mainspring.testing import invariants
from mainspring.testing.conformance import FaultyTransport
from mainspring.transports import Answer, LocalTransport, Message, Transport
from mainspring.transports.nats import NatsTransport
from mainspring.transports.redis import RedisTransport

PATIENCE = "30s"
NewApp = Callable[..., App]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, up to date."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    fresh: str = request.getfixturevalue("fresh_postgres")
    App("migration", database=fresh).migrate()
    return fresh


class Box(LocalTransport):
    """Keeps what it is given, and refuses while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.refuses = False
        self.arrived = threading.Condition()

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        if self.refuses:
            return [Answer("no route")] * len(batch)
        with self.arrived:
            self.messages += batch
            self.arrived.notify_all()
        return super().publish(batch)

    def wait(self, count: int) -> list[Message]:
        """Until so many have come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.messages) >= count, 30), self.messages
        return self.messages


def double(n: int) -> int:
    return 2 * n


def make(url: str, by: str | Transport, **options: Any) -> tuple[App, Any]:
    """An app with one queue that is delivered, and its task."""
    app = App("shop", database=url)
    queue = app.queue("mail", delivery=by, **options)
    return app, app.task(name="double", queue=queue)(double)


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def made(url: str, box: Box) -> Iterator[tuple[App, Any]]:
    app, task = make(url, box)
    yield app, task
    invariants.check(app.client.database)
    app.close()


@contextmanager
def working(app: App) -> Iterator[None]:
    process = app.worker(queues=["default"], poll="50ms")  # it relays, and serves another queue
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        yield
    finally:
        while thread.is_alive():
            process.stop()
            thread.join(0.05)


def test_an_eager_queue_tells_right_after_the_commit_and_the_message_names_the_run_only(made: tuple[App, Any], box: Box) -> None:
    _, task = made
    handles = task.enqueue_many([(1,), (2,)])
    assert {message.run_id for message in box.messages} == {handle.id for handle in handles}
    assert {(message.namespace, message.queue) for message in box.messages} == {("default", "mail")}
    assert b"double" not in box.messages[0].encode()


def test_a_message_is_executed_once_however_often_it_comes(made: tuple[App, Any], box: Box) -> None:
    app, task = made
    handle = task.enqueue(21)
    (message,) = box.messages
    first = app.execute_delivery(message.encode())
    assert (first.verdict, first.run_id, first.attempt) == (Verdict.EXECUTED, handle.id, 1)
    assert handle.result(timeout=PATIENCE) == 42
    assert app.execute_delivery(message).verdict is Verdict.STALE
    assert app.runs.get(handle.id).run.token == 1


def test_an_attempt_that_fails_is_told_of_again_when_its_retry_is_due(url: str, box: Box) -> None:
    app = App("shop", database=url)
    queue = app.queue("mail", delivery=box)
    left = [1]

    @app.task(name="once", queue=queue, max_attempts=2, backoff=["0s"])
    def once() -> str:
        if left:
            raise ValueError(left.pop())
        return "done"

    handle = once.enqueue()
    with working(app):
        assert app.execute_delivery(box.wait(1)[0]).is_executed
        assert app.execute_delivery(box.wait(2)[1]).attempt == 2
    assert handle.result(timeout=PATIENCE) == "done"
    app.close()


@pytest.mark.case("jobs", 46)
def test_a_forged_message_executes_nothing(made: tuple[App, Any]) -> None:
    app, _ = made
    plain = app.task(name="plain")(double).enqueue(1)
    forged: list[Message | bytes | str] = [
        b"", b"{", b"[]", b'{"namespace":"default","queue":"mail","at":"x"}', b"\xff" * 10, b"0" * 10_000,
        Message(namespace="default", queue="mail", at=0),
        Message(namespace="default", queue="default", at=0, run_id=plain.id),
        Message(namespace="default", queue="mail", at=0, run_id=plain.id),
        Message(namespace="other", queue="mail", at=0, run_id=plain.id),
        Message(namespace="default", queue="mail", at=0, run_id="00000000-0000-7000-8000-000000000000"),
        '{"namespace":"default","queue":"mail","at":0,"run":"\' OR 1=1"}',
    ]  # fmt: skip
    assert {app.execute_delivery(each).verdict for each in forged} == {Verdict.UNKNOWN}
    assert app.runs.get(plain.id).run.state is State.QUEUED


@pytest.mark.case("jobs", 48)
def test_a_transport_that_refuses_fails_no_enqueue_and_the_relay_tells_later(made: tuple[App, Any], box: Box) -> None:
    app, task = made
    box.refuses = True
    handle = task.enqueue(21)
    (row,) = app.client.database.read("deliveries.list", lambda tx: deliveries.listing(tx, "default"))
    assert (row.state, row.error, row.tries) == ("failed", "no route", 1)
    box.refuses = False
    with working(app):
        (message,) = box.wait(1)
    assert app.execute_delivery(message).is_executed
    assert handle.result(timeout=PATIENCE) == 42


def test_a_deferred_queue_leaves_it_to_the_relay(url: str, box: Box) -> None:
    app, task = make(url, box, dispatch="deferred")
    handle = task.options(delay="100ms").enqueue(1)
    other = task.enqueue(2)
    assert box.messages == []
    with working(app):
        assert {message.run_id for message in box.wait(2)} == {handle.id, other.id}
    app.close()


def test_a_run_created_by_name_or_in_a_transaction_of_the_callers_is_delivered_too(url: str, box: Box) -> None:
    app, task = make(url, box, dispatch="deferred")
    _ = app.client
    client = Client(url)
    handles = [client.enqueue("double", queue="mail", n=1)]
    if url.startswith("sqlite"):
        with app.connection() as connection:
            handles.append(task.options(using=connection).enqueue(2))
    else:
        import psycopg

        with psycopg.connect(url) as connection:
            handles.append(task.options(using=connection).enqueue(2))
    client.close()
    with working(app):
        assert {message.run_id for message in box.wait(2)} == {handle.id for handle in handles}
    app.close()


def test_a_bounded_queue_is_told_of_one_run_at_a_time(url: str, box: Box) -> None:
    app, task = make(url, box, limit=1, dispatch_timeout="30s")
    handles = task.enqueue_many([(n,) for n in range(3)])
    with working(app):
        for place in range(3):
            message = box.wait(place + 1)[place]
            assert len(box.messages) == place + 1
            assert app.execute_delivery(message).is_executed
    assert [handle.result(timeout=PATIENCE) for handle in handles] == [0, 2, 4]
    invariants.check(app.client.database)
    app.close()


def test_a_process_without_a_worker_publishes_with_tick(url: str, box: Box) -> None:
    app, task = make(url, box, dispatch="deferred", limit=1, dispatch_timeout="30s")
    handles = [task.enqueue(1), task.enqueue(2)]
    assert box.messages == []
    report = app.tick()
    assert (report.stages["deliveries"].done, report.stages["published"].done) == (1, 1)
    assert [message.run_id for message in box.messages] == [handles[0].id]
    app.close()


def test_an_event_loop_may_execute_several(made: tuple[App, Any], box: Box) -> None:
    app, task = made
    handles = task.enqueue_many([(n,) for n in range(5)])

    async def called() -> list[Any]:
        return await asyncio.gather(*(app.aexecute_delivery(message) for message in box.messages))

    assert {each.verdict for each in asyncio.run(called())} == {Verdict.EXECUTED}
    assert [handle.result(timeout=PATIENCE) for handle in handles] == [0, 2, 4, 6, 8]


@pytest.mark.case("jobs", 46)
@pytest.mark.parametrize("scheme", ["redis", "nats"])
def test_consumers_of_a_faulty_server_do_every_run_once(url: str, scheme: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(f"{scheme}_server").url
    kind = RedisTransport if scheme == "redis" else NatsTransport
    app, task = make(url, faulty := FaultyTransport(kind(server), seed=5))
    _ = app.client
    heard: list[Message] = []
    consumer = kind(server)
    consumer.start()
    consumer.subscribe("default", ["mail"], lambda message: heard.append(message) if message else None)
    time.sleep(0)  # whoever is not listening yet loses messages, which is one more fault
    handles = task.enqueue_many([(n,) for n in range(40)])
    give_up_at, done = time.monotonic() + 60, 0
    while {app.runs.get(handle.id).run.state for handle in handles} != {State.SUCCEEDED}:
        assert time.monotonic() < give_up_at
        for message in heard[done:]:
            app.execute_delivery(message)
            done += 1
        if done == len(heard):  # what was lost is told again; five minutes are over at once
            _hurry(app)
            app.tick()
    assert {app.runs.get(handle.id).run.token for handle in handles} == {1}
    assert faulty.lost + faulty.doubled + faulty.late
    consumer.close()
    invariants.check(app.client.database)
    app.close()


def _hurry(app: App) -> None:
    """Let the time be over after which what was published is published again."""
    database = app.client.database
    text = "UPDATE deliveries SET available_at = 0, lost = 0"
    if hasattr(database, "exclusive"):
        with database.exclusive() as connection:
            connection.execute(text)
    else:
        import psycopg

        with psycopg.connect(database.conninfo) as connection:
            connection.execute(text)


def test_what_cannot_be_is_refused_where_it_is_written(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'never.db'}")
    with pytest.raises(InvalidOption, match="dispatch must be one of eager, deferred"):
        app.queue("a", delivery="redis://127.0.0.1", dispatch="soon")
    with pytest.raises(InvalidOption, match="give limit= too"):
        app.queue("b", delivery="redis://127.0.0.1", dispatch_timeout="1m")
