"""One line, one trouble at a chosen moment, one call: what the caller is told is true, and comes in bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import psycopg
import pytest

from mainspring import Client
from mainspring.client import Request
from mainspring.core.durations import HOUR
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.errors import CommitUnknown, StorageUnavailable
from mainspring.operations.enqueue import policy_row
from mainspring.store import postgres
from mainspring.store.postgres import PostgresDatabase
from mainspring.testing import invariants
from mainspring.transports import Message
from mainspring.transports.database import ListenNotify
from tests.support.proxy import Forgotten, Manner, Point, Proxy, Strike, Target, Way

PATIENCE_SECONDS = 15.0
LANE = Lane(namespace="default", queue="default", task="send", priority=0, version=1)


POLICY = policy_row(Policy())


def _request(key: str | None) -> Request:
    return Request(lane=LANE, policy=POLICY, body=b'{"n":1}', key=key, key_ttl=HOUR)


def _runs(direct: PostgresDatabase) -> list[str]:
    with psycopg.connect(direct.conninfo) as session:
        return [row[0] for row in session.execute("SELECT id::text FROM runs").fetchall()]


def _eventually(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not come to be"
        time.sleep(0.01)


@pytest.fixture
def client(far: PostgresDatabase) -> Client:
    """A caller behind the proxy who has called before, so that what follows is the enqueue alone."""
    client = Client(far)
    client._intern([_request(None)])
    return client


@pytest.mark.parametrize(
    ("point", "manner", "key"), [*product(Point, Manner, ["once"]), *product(Point, [Manner.CLOSE], [None])], ids=str
)
def test_an_enqueue_cut_at_any_moment_gives_one_run(
    client: Client, direct: PostgresDatabase, proxy: Proxy, point: Point, manner: Manner, key: str | None
) -> None:
    strike = proxy.arm(Strike(point=point, manner=manner))
    (handle,) = client.submit([_request(key)])
    assert strike.hit.wait(PATIENCE_SECONDS)
    assert _runs(direct) == [handle.id]
    invariants.check(direct)


@pytest.mark.parametrize(
    ("point", "manner", "key"),
    [
        *product(Point, [Manner.CLOSE], ["once"]),
        *product([Point.BEFORE_REQUEST, Point.AFTER_REQUEST, Point.BEFORE_ANSWER], [Manner.CLOSE], [None]),
        *product([Point.BEFORE_ANSWER], [Manner.SILENCE], [None, "once"]),
    ],
    ids=str,
)
def test_what_is_told_of_an_enqueue_on_a_line_that_stays_away_is_true(
    client: Client,
    direct: PostgresDatabase,
    proxy: Proxy,
    point: Point,
    manner: Manner,
    key: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "_POOL_TIMEOUT_SECONDS", 0.2)
    strike = proxy.arm(Strike(point=point, manner=manner))
    proxy.refuse()
    told: Any
    try:
        told = client.submit([_request(key)])[0].id
    except (StorageUnavailable, CommitUnknown) as error:
        told = type(error)
    assert strike.hit.wait(PATIENCE_SECONDS)
    may_be_told, runs = {told}, _runs(direct)
    if point in {Point.BEFORE_ANSWER, Point.IN_ANSWER}:
        may_be_told = {CommitUnknown}
    elif point is not Point.AFTER_REQUEST and point is not Point.AFTER_ANSWER:
        may_be_told = {StorageUnavailable, CommitUnknown}  # that half of a COMMIT does nothing, a client cannot know
    assert told in may_be_told
    if told is StorageUnavailable:
        assert runs == []
    elif told is not CommitUnknown:
        assert runs == [told]
    proxy.heal(Forgotten.RESET)
    monkeypatch.undo()
    (handle,) = client.submit([_request(key)])
    assert handle.id in _runs(direct)
    assert key is None or _runs(direct) == [handle.id]


@pytest.mark.parametrize("ways", [(Way.UP,), (Way.DOWN,)], ids="-".join)
def test_no_call_waits_for_ever_on_a_line_that_is_half_open(
    far: PostgresDatabase, proxy: Proxy, ways: tuple[Way, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_POOL_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(postgres, "_QUIET_SECONDS", 0.2)
    listening = far.notifications("mainspring_test", threading.Event())
    assert next(listening) == ""
    assert far.read("warm", lambda tx: tx.now) > 0
    proxy.silence(*ways)
    calls: list[Callable[[], object]] = [
        lambda: far.read("a", lambda tx: tx.now),
        lambda: far.write("b", lambda tx: tx.now),
        lambda: far.single("c", "workers.leave", id="nobody"),
        lambda: next(listening),
    ]
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(call) for call in calls]
        try:
            told = [each.exception(PATIENCE_SECONDS) for each in waiting]
        finally:
            proxy.cut()  # whoever waits all the same
        assert all(isinstance(error, StorageUnavailable | CommitUnknown) for error in told)
        proxy.silence(*ways)
        threads.submit(far.notify, "mainspring_test", ["work"]).result(PATIENCE_SECONDS)  # a hint that is lost is no error
    proxy.heal(Forgotten.SILENT)
    monkeypatch.undo()
    assert far.write("d", lambda tx: tx.now) > 0  # the lines that went silent are not tried again


def test_a_long_statement_on_a_sound_line_is_cut_off_too_and_migrations_are_not(far: PostgresDatabase) -> None:
    with pytest.raises(StorageUnavailable, match=r"no answer within 0\.4 s"):
        far.write("slow", lambda tx: tx._connection.execute("SELECT pg_sleep(2)"))  # type: ignore[attr-defined]
    far.script("SELECT pg_sleep(0.6)")


def test_connections_that_died_in_the_pool_cost_no_try(far: PostgresDatabase, proxy: Proxy) -> None:
    together = threading.Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: far.write("warm", lambda tx: together.wait(PATIENCE_SECONDS)), range(8)))
    assert proxy.cut(Manner.CLOSE) >= 8
    tries: list[int] = []
    far.write("after", lambda tx: tries.append(tx.now))
    assert len(tries) == 1


def test_a_call_that_waits_for_a_server_goes_on_when_it_is_back(far: PostgresDatabase, proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(far.write, "waits", lambda tx: tx.now)
        with pytest.raises(TimeoutError):
            waiting.result(3.0)  # long enough for pauses that double to have grown
        proxy.heal()
        assert waiting.result(2.5) > 0


def test_a_line_that_goes_silent_in_a_pipeline_frees_its_locks(
    direct: PostgresDatabase, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_TRANSACTION_TIMEOUT", "1s")
    monkeypatch.setattr(postgres, "_POOL_TIMEOUT_SECONDS", 0.2)
    Client(direct).queues.declare("mail")
    far = PostgresDatabase(proxy.url)
    far.answer_seconds = 0.4

    def hold(tx: Any) -> None:
        tx.send("queues.pause", namespace="default", queue="mail", actor="test")
        with psycopg.connect(direct.conninfo, autocommit=True) as other:
            _eventually(lambda: bool(other.execute("SELECT 1 FROM pg_locks WHERE relation = 'queues'::regclass").fetchall()))
        proxy.silence()

    with pytest.raises(StorageUnavailable):
        far.write("hold", hold)
    with psycopg.connect(direct.conninfo, autocommit=True) as other:
        if other.info.server_version < 170_000:
            pytest.skip("older servers notice by TCP only, and this line looks sound to TCP")
        other.execute("SET lock_timeout = '10s'")
        assert other.execute("UPDATE queues SET paused_by = 'other' WHERE name = 'mail'").rowcount == 1
    far.close()


@pytest.mark.parametrize("manner", Manner)
def test_hints_come_back_after_the_line_they_came_by_is_gone(
    far: PostgresDatabase, direct: PostgresDatabase, proxy: Proxy, manner: Manner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_QUIET_SECONDS", 0.2)
    hinted = threading.Semaphore(0)
    said = [Message(namespace="default", queue="default", at=0).encode().decode()]
    listener = ListenNotify(far).subscribe("default", ["default"], lambda _: hinted.release())
    assert hinted.acquire(timeout=PATIENCE_SECONDS)  # it listens
    direct.notify("mainspring_work", said)
    assert hinted.acquire(timeout=PATIENCE_SECONDS)
    proxy.cut(manner)
    assert hinted.acquire(timeout=PATIENCE_SECONDS)  # it listens again, and says that it may have missed some
    direct.notify("mainspring_work", said)
    assert hinted.acquire(timeout=PATIENCE_SECONDS)
    listener.close()


def test_what_the_url_says_of_the_line_is_left_as_it_is(direct: PostgresDatabase) -> None:
    given = PostgresDatabase(f"{direct.conninfo}?keepalives_idle=77&application_name=shop")
    try:
        with given._connection(1.0) as connection:
            told = connection.info.get_parameters()
    finally:
        given.close()
    assert (told["keepalives_idle"], told["tcp_user_timeout"], told["application_name"]) == ("77", "10000", "shop")


@pytest.mark.parametrize("target", Target)
def test_the_proxy_tells_a_commit_from_the_rest(far: PostgresDatabase, proxy: Proxy, target: Target) -> None:
    strike = proxy.arm(Strike(target=target, nth=1, point=Point.AFTER_ANSWER))
    far.read("a read commits nothing", lambda tx: tx.now)
    assert strike.hit.is_set() is (target is Target.REQUEST)
