"""An app and its transport: which one it takes, in which order they open and close, and what its outage costs nobody.

Here: ``App(transport=…)``, the setting, and faulty transports under real work on both databases. Not here: transports by themselves
(``test_suite.py``), and servers that die under work (``test_killed.py``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, Client
from mainspring.errors import ConfigurationInvalid, StorageUnavailable, TransportFailed
from mainspring.testing import invariants
from mainspring.testing.conformance import FaultyTransport
from mainspring.transports import Answer, LocalTransport, Message, OnHint, Subscription, Transport
from mainspring.transports.database import ChangeCounter, ListenNotify
from mainspring.transports.nats import NatsTransport
from mainspring.transports.redis import RedisTransport
from tests.support.brokers import Broker

PATIENCE = "30s"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, up to date."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    fresh: str = request.getfixturevalue("fresh_postgres")
    App("migration", database=fresh).migrate()
    return fresh


@pytest.fixture
def new_app(url: str) -> Iterator[Callable[..., App]]:
    made: list[App] = []

    def new(transport: str | Transport | None = None) -> App:
        made.append(App("shop", database=url, transport=transport))
        return made[-1]

    yield new
    for app in made:
        app.close()


@contextmanager
def working(app: App, poll: str = "1s") -> Iterator[None]:
    """A worker of the app in a thread of this process."""
    process = app.worker(poll=poll, concurrency=4)
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        yield
    finally:
        while thread.is_alive():
            process.stop()
            thread.join(0.05)


class Recording(LocalTransport):
    """Writes down what is asked of it; ``refuses`` makes it fail to start."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__()
        self.refuses = refuses
        self.story: list[str] = []
        self.sent: list[Message] = []

    def start(self) -> None:
        self.story.append("start")
        if self.refuses:
            raise TransportFailed("no such user")

    def close(self) -> None:
        self.story.append("close")

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        self.sent += batch
        return super().publish(batch)


class Raising(Recording):
    """A transport of somebody's that does not keep the rules."""

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        raise RuntimeError("out of order")


class Stuck(Recording):
    """A transport whose publish does not come back."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        self.go.wait(30)
        return [Answer()] * len(batch)


def double(n: int) -> int:
    return 2 * n


def test_without_a_transport_the_database_carries_the_hints(new_app: Callable[..., App], url: str) -> None:
    app = new_app()
    assert isinstance(app.client.transport, ChangeCounter if url.startswith("sqlite") else ListenNotify)


def test_a_url_names_redis_or_nats(new_app: Callable[..., App], redis_server: Broker, nats_server: Broker) -> None:
    assert isinstance(new_app(redis_server.url).client.transport, RedisTransport)
    assert isinstance(new_app(nats_server.url).client.transport, NatsTransport)


def test_the_setting_counts_where_the_program_says_nothing(
    new_app: Callable[..., App], nats_server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINSPRING_TRANSPORT", nats_server.url)
    assert isinstance(new_app().client.transport, NatsTransport)


@pytest.mark.parametrize("wrong", ["carrier-pigeon://loft", "redis", object()])
def test_what_names_no_transport_is_refused_and_says_what_to_write(new_app: Callable[..., App], wrong: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"redis://"):
        _ = new_app(wrong).client


def test_a_refused_transport_url_does_not_show_its_password(new_app: Callable[..., App]) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        _ = new_app("carrier://shop:hunter2@loft").client
    assert "hunter2" not in str(refused.value)


def test_a_transport_that_cannot_start_leaves_no_storage_open(new_app: Callable[..., App]) -> None:
    app, opened = new_app(transport := Recording(refuses=True)), []
    declare = app.registry.declare

    def watched(client: Client, limits: Any) -> None:
        opened.append(client.database)
        declare(client, limits)

    app.registry.declare = watched  # type: ignore[method-assign]
    with pytest.raises(TransportFailed, match="no such user"):
        _ = app.client
    with pytest.raises(StorageUnavailable):
        opened[0].read("test.now", lambda tx: tx.now)
    assert transport.story == ["start"]
    transport.refuses = False
    app.task(name="double")(double).enqueue(1)  # and the next use opens both


def test_storage_closes_after_the_transport(new_app: Callable[..., App]) -> None:
    app = new_app(transport := Recording())
    client = app.client
    close = client.close

    def watched() -> None:
        transport.story.append("storage closed")
        close()

    client.close = watched  # type: ignore[method-assign]
    app.close()
    assert transport.story == ["start", "close", "storage closed"]


def test_a_server_that_refuses_our_password_says_so(new_app: Callable[..., App], redis_server: Broker) -> None:
    wrong = redis_server.url.replace("redis://", "redis://shop:hunter2@")
    with pytest.raises(TransportFailed, match="refuses us") as refused:
        _ = new_app(wrong).client
    assert refused.value.retryable
    assert "hunter2" not in str(refused.value)


@pytest.mark.case("jobs", 48)
@pytest.mark.parametrize("scheme", ["redis", "nats"])
def test_a_server_that_was_never_there_fails_no_enqueue_and_no_run(new_app: Callable[..., App], scheme: str) -> None:
    app = new_app(f"{scheme}://127.0.0.1:1")
    task = app.task(name="double")(double)
    began = time.monotonic()
    handle = task.enqueue(21)
    assert time.monotonic() - began < 5
    with working(app, poll="50ms"):
        assert handle.result(timeout=PATIENCE) == 42


def test_a_transport_that_raises_fails_no_enqueue(new_app: Callable[..., App]) -> None:
    app = new_app(Raising())
    task = app.task(name="double")(double)
    with working(app, poll="50ms"):
        assert [task.enqueue(n).result(timeout=PATIENCE) for n in range(3)] == [0, 2, 4]


def test_a_transport_that_hangs_slows_no_enqueue(new_app: Callable[..., App]) -> None:
    app = new_app(stuck := Stuck())
    task = app.task(name="double")(double)
    task.enqueue(0)
    began = time.monotonic()
    for n in range(50):
        task.enqueue(n)
    took = time.monotonic() - began
    stuck.go.set()
    assert took < 10


def test_a_hint_names_a_queue_and_nothing_of_the_run(new_app: Callable[..., App]) -> None:
    app = new_app(transport := Recording())
    task = app.task(name="double")(double)
    task.enqueue_many([(n,) for n in range(500)])
    app.close()
    assert {(message.namespace, message.queue, message.run_id) for message in transport.sent} == {("default", "default", None)}
    assert len(transport.sent) < 10


@pytest.mark.parametrize("scheme", ["redis", "nats"])
def test_another_process_is_told_long_before_its_poll(
    new_app: Callable[..., App], scheme: str, request: pytest.FixtureRequest
) -> None:
    broker: Broker = request.getfixturevalue(f"{scheme}_server")
    caller, server = new_app(broker.url), new_app(broker.url)  # two apps share nothing in this process but the server
    _ = caller.client, server.client
    task = caller.task(name="double")(double)
    server.task(name="double")(double)
    with working(server, poll="60s"):
        task.enqueue(0).result(timeout=PATIENCE)
        assert task.enqueue(21).result(timeout=PATIENCE) == 42


@pytest.mark.case("jobs", 16)
@pytest.mark.parametrize("kind", ["local", "redis", "nats", "database"])
def test_a_fleet_under_faulty_messages_does_every_run_once(
    new_app: Callable[..., App], kind: str, request: pytest.FixtureRequest
) -> None:
    def carrier() -> Transport:
        match kind:
            case "redis":
                return RedisTransport(request.getfixturevalue("redis_server").url)
            case "nats":
                return NatsTransport(request.getfixturevalue("nats_server").url)
            case _:
                return Anyone(new_app().client.transport) if kind == "database" else bus

    bus = LocalTransport()
    caller, workers = new_app(faulty := FaultyTransport(carrier(), seed=3)), [new_app(carrier()) for _ in range(2)]
    task = caller.task(name="double")(double)
    for worker in workers:
        worker.task(name="double")(double)
        _ = worker.client
    with working(workers[0], poll="200ms"), working(workers[1], poll="200ms"):
        handles = [task.enqueue(n) for n in range(150)]
        assert [handle.result(timeout=PATIENCE) for handle in handles] == [2 * n for n in range(150)]
    assert {caller.runs.get(handle.id).run.token for handle in handles} == {1}
    assert faulty.lost + faulty.doubled + faulty.late
    invariants.check(caller.client.database)


class Anyone:
    """A transport that belongs to another app: used here, closed there."""

    name = "borrowed"

    def __init__(self, lender: Transport | None) -> None:
        assert lender is not None
        self._lender = lender

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        return self._lender.publish(batch)

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        return self._lender.subscribe(namespace, queues, on_hint)
