"""Calling tasks on both databases: what is created, what a handle answers, what operators see and do, and what is refused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import (
    App,
    AsyncClient,
    Client,
    Context,
    Fail,
    KeyConflict,
    PayloadInvalid,
    Release,
    ResultTimeout,
    Retry,
    RunCancelled,
    RunFailed,
    batch,
)  # fmt: skip
from mainspring.core.states import State
from mainspring.errors import (
    CapabilityUnsupported,
    ConfigurationInvalid,
    InvalidOption,
    RunTerminal,
    SchemaOlder,
    StorageUnavailable,
    StorageUnwritable,
    UnknownQueue,
    UnknownRun,
)
from tests.api.conftest import Drain, NewApp
from tests.support.loops import happened, in_loop

# -- enqueue and result ----------------------------------------------------------------------------------------------------


def test_a_call_becomes_a_run_and_its_result_comes_back(app: App, drain: Drain) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    handle = double.enqueue(21)
    assert handle.outcome == "created"
    assert app.runs.get(handle.id).run.state is State.QUEUED
    drain(app)
    assert handle.result(timeout="10s") == 42
    assert [attempt.outcome for attempt in app.runs.attempts(handle.id)] == ["succeeded"]


@in_loop
async def test_everything_that_waits_can_be_awaited(app: App) -> None:
    @app.task
    async def double(x: int) -> int:
        return 2 * x

    async with app.running(concurrency=2, poll="50ms"):
        handle = await double.aenqueue(1)
        many = await double.aenqueue_many([(2,), {"x": 3}])
        assert await handle == 2
        assert await handle.aresult(timeout=10) == 2
        assert [await each for each in many] == [4, 6]


def test_calling_a_task_runs_it_and_records_nothing(app: App) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4
    assert app.runs.list().data == []


def test_a_result_has_the_type_the_function_says(app: App, drain: Drain) -> None:
    @app.task
    def when() -> tuple[datetime, set[int]]:
        return datetime(2031, 5, 1, tzinfo=UTC), {1, 2}

    handle = when.enqueue()
    drain(app)
    assert handle.result(timeout="10s") == (datetime(2031, 5, 1, tzinfo=UTC), {1, 2})


def test_a_result_that_does_not_come_in_time_is_a_timeout_and_the_run_goes_on(app: App) -> None:
    @app.task
    def never() -> None: ...

    handle = never.enqueue()
    with pytest.raises(ResultTimeout, match=handle.id) as late:
        handle.result(timeout="20ms")
    assert isinstance(late.value, TimeoutError)
    assert app.runs.get(handle.id).run.state is State.QUEUED


def test_a_failed_run_says_why_through_its_handle(app: App, drain: Drain) -> None:
    @app.task
    def refuse() -> None:
        raise Fail("bad_address", "no such place")

    handle = refuse.enqueue()
    drain(app)
    with pytest.raises(RunTerminal):
        app.runs.cancel(handle.id)
    with pytest.raises(RunFailed, match="no such place") as failed:
        handle.result(timeout="10s")
    assert (failed.value.run_id, failed.value.reason, failed.value.error) == (handle.id, "bad_address", "no such place")


@in_loop
async def test_a_cancelled_run_says_so_through_its_handle(app: App) -> None:
    @app.task
    def never() -> None: ...

    handle = await never.aenqueue()
    assert await asyncio.to_thread(app.runs.cancel, handle.id, reason="changed my mind") is not None
    with pytest.raises(RunCancelled):
        await handle.aresult(timeout=10)
    assert await asyncio.to_thread(app.runs.cancel, handle.id) == "cancelled"


def test_a_task_is_tried_again_and_knows_what_it_did_before(app: App, drain: Drain) -> None:
    @app.task(max_attempts=3, backoff=[0.001], jitter=0)
    def flaky(ctx: Context) -> list[int]:
        ctx.heartbeat([*(ctx.checkpoint or []), ctx.attempt])
        if ctx.attempt < 3:
            raise Retry(code="busy")
        return [*ctx.checkpoint, ctx.attempt]

    handle = flaky.enqueue()
    app.worker(poll="20ms").run(until="empty")
    assert handle.result(timeout="10s") == [1, 2, 3]
    assert app.runs.get(handle.id).run.failures == 2


def test_a_release_spends_no_failure(app: App) -> None:
    @app.task(max_attempts=1)
    def patient(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise Release(after="1ms", reason="not yet")
        return ctx.failures

    handle = patient.enqueue()
    app.worker(poll="20ms").run(until="empty")
    assert handle.result(timeout="10s") == 0


# -- many ------------------------------------------------------------------------------------------------------------------


def test_many_calls_are_one_transaction_with_a_handle_each(app: App, drain: Drain) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    handles = double.enqueue_many([(1,), {"x": 2}, (3,)])
    drain(app)
    assert [handle.result(timeout="10s") for handle in handles] == [2, 4, 6]
    assert double.enqueue_many([]) == []


@pytest.mark.case("jobs", 12)
def test_one_bad_item_of_ten_thousand_refuses_all_and_is_named(app: App) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    items: list[Any] = [(x,) for x in range(10_000)]
    items[7_777] = ("seven",)
    with pytest.raises(PayloadInvalid, match="item 7777") as refused:
        double.enqueue_many(items)
    assert refused.value.details["item"] == 7_777
    assert app.runs.counts() == {}


def test_more_than_ten_thousand_in_one_call_are_refused(app: App) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    with pytest.raises(InvalidOption, match="10,000"):
        double.enqueue_many([(1,)] * 10_001)
    assert app.runs.counts() == {}


def test_an_item_that_is_no_tuple_is_refused_saying_what_to_write(app: App) -> None:
    @app.task
    def double(x: int) -> int:
        return 2 * x

    with pytest.raises(PayloadInvalid, match=r"write \(5,\)"):
        double.enqueue_many([5])  # type: ignore[list-item]


# -- keys, time, priority --------------------------------------------------------------------------------------------------


def test_a_key_gives_the_same_run_again_and_refuses_another_payload(app: App) -> None:
    @app.task(key=lambda order, note="": f"order:{order}")
    def ship(order: int, note: str = "") -> None: ...

    first, again = ship.enqueue(1), ship.enqueue(order=1)
    assert (again.id, again.outcome) == (first.id, "existing")
    assert ship.enqueue(2).outcome == "created"
    with pytest.raises(KeyConflict) as refused:
        ship.enqueue(1, note="fragile")
    assert refused.value.owner == first.id
    assert ship.options(key="mine", key_ttl="1d").enqueue(1).outcome == "created"


def test_a_key_that_the_functions_answer_cannot_be_is_refused(app: App) -> None:
    @app.task(key=lambda x: x)
    def task(x: int) -> None: ...

    with pytest.raises(InvalidOption, match="key"):
        task.enqueue(5)
    assert app.runs.counts() == {}


def test_a_singleton_is_one_run_until_it_ends(app: App, drain: Drain) -> None:
    @app.task(singleton="site")
    def reindex(pages: int) -> int:
        return pages

    first, second = reindex.enqueue(1), reindex.enqueue(2)
    assert (second.id, second.outcome) == (first.id, "existing")
    drain(app)
    assert reindex.enqueue(3).outcome == "created"


def test_a_delayed_run_is_scheduled_and_says_until_when(app: App, drain: Drain) -> None:
    @app.task
    def later() -> None: ...

    handle = later.options(delay="1h").enqueue()
    at = later.options(at=datetime.now(UTC) + timedelta(days=1)).enqueue()
    past = later.options(at="2001-01-01T00:00:00Z").enqueue()
    drain(app)
    assert app.runs.get(handle.id).run.state is State.SCHEDULED
    assert "due at" in (app.runs.why(handle.id) or "")
    assert app.runs.get(at.id).run.state is State.SCHEDULED
    assert app.runs.get(past.id).run.state is State.SUCCEEDED


def test_a_naive_instant_is_refused(app: App) -> None:
    @app.task
    def later() -> None: ...

    with pytest.raises(InvalidOption, match="time zone"):
        later.options(at=datetime(2031, 5, 1))  # noqa: DTZ001


def test_higher_priority_is_claimed_first(app: App) -> None:
    order: list[int] = []

    @app.task
    def note(x: int) -> None:
        order.append(x)

    for priority in (-5, 0, 7):
        note.options(priority=priority).enqueue(priority)
    app.worker(concurrency=1).run(until="drained")
    assert order == [7, 0, -5]


# -- batches ---------------------------------------------------------------------------------------------------------------


def test_the_callback_of_a_batch_sees_every_member_in_order(app: App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    def square(x: int) -> int:
        if x == 2:
            raise ValueError("not two")
        return x * x

    @app.task
    def total(ctx: Context) -> list[Any]:
        return [[member.state, member.result] for member in ctx.members()]

    made = batch([square.call(x) for x in range(4)], then=total.call()).enqueue()
    assert len(made.members) == 4
    drain(app)
    assert made.callback is not None
    assert made.callback.result(timeout="10s") == [["succeeded", 0], ["succeeded", 1], ["failed", None], ["succeeded", 9]]


@pytest.mark.case("jobs", 44)
def test_a_batch_without_members_runs_its_callback(app: App, drain: Drain) -> None:
    @app.task
    def total(ctx: Context) -> int:
        return len(list(ctx.members()))

    made = batch([], then=total.call()).enqueue()
    drain(app)
    assert made.callback is not None
    assert made.callback.result(timeout="10s") == 0


def test_a_callback_that_wants_success_ends_when_a_member_fails(app: App, drain: Drain) -> None:
    @app.task
    def fails() -> None:
        raise Fail("no")

    @app.task
    def total() -> int:
        return 1

    made = batch([fails.call()], then=total.call(), on="all_succeeded").enqueue()
    drain(app)
    assert made.callback is not None
    with pytest.raises(RunFailed):
        made.callback.result(timeout="10s")


def test_a_batch_that_makes_no_sense_is_refused(app: App) -> None:
    @app.task(singleton="s")
    def keyed() -> None: ...

    with pytest.raises(InvalidOption, match="on"):
        batch([keyed.call()], on="sometimes")  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="members"):
        batch([])
    with pytest.raises(InvalidOption, match="key"):
        batch([keyed.call()]).enqueue()
    assert app.runs.counts() == {}


# -- looking and steering --------------------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page_and_misses_nothing_that_stays(app: App) -> None:
    @app.task
    def task(x: int) -> None: ...

    made = [handle.id for handle in task.enqueue_many([(x,) for x in range(25)])]
    seen: list[str] = []
    cursor = None
    while True:
        page = app.runs.list(limit=10, cursor=cursor)
        seen += [view.run.id for view in page.data]
        task.enqueue(99)
        if (cursor := page.next_cursor) is None:
            break
    assert [run_id for run_id in seen if run_id in made] == made[::-1]
    assert len(seen) == len(set(seen))


def test_a_list_is_filtered_by_state_task_and_queue(app: App, drain: Drain) -> None:
    app.queue("mail")

    @app.task
    def one() -> None: ...

    @app.task(queue="mail")
    def two() -> None: ...

    first = one.enqueue()
    drain(app)
    second = two.enqueue()
    assert [view.run.id for view in app.runs.list(states=["succeeded"]).data] == [first.id]
    assert [view.run.id for view in app.runs.list(task=two.name).data] == [second.id]
    assert [view.run.id for view in app.runs.list(queue="mail").data] == [second.id]
    assert app.runs.counts() == {"succeeded": 1, "queued": 1}
    with pytest.raises(InvalidOption, match="succeeded"):
        app.runs.list(states=["finished"])
    with pytest.raises(InvalidOption, match="500"):
        app.runs.list(limit=501)


def test_what_nobody_knows_is_said_so(app: App) -> None:
    nobody = "00000000-0000-7000-8000-000000000000"
    for act in (app.runs.get, app.runs.events, app.runs.cancel, app.runs.retry, app.runs.why, app.runs.attempts):
        with pytest.raises(UnknownRun, match=nobody):
            act(nobody)
    with pytest.raises(InvalidOption, match="id"):
        app.runs.get("no id")
    for steer in (app.queues.pause, app.queues.resume):
        with pytest.raises(UnknownQueue, match="nowhere"):
            steer("nowhere")


def test_a_paused_queue_gives_nothing_until_it_is_resumed(app: App, drain: Drain) -> None:
    @app.task
    def task() -> None: ...

    handle = task.enqueue()
    assert app.queues.pause("default")
    assert not app.queues.pause("default")
    drain(app)
    assert app.runs.get(handle.id).run.state is State.QUEUED
    assert "paused" in (app.runs.why(handle.id) or "")
    assert app.queues.resume("default")
    drain(app)
    assert app.runs.get(handle.id).run.state is State.SUCCEEDED


def test_a_limit_is_set_and_lifted_while_everything_runs(app: App, drain: Drain) -> None:
    @app.task
    def task() -> None: ...

    handle = task.enqueue()
    app.queues.limit("default", 0)
    drain(app)
    assert "its limit is 0" in (app.runs.why(handle.id) or "")
    app.queues.limit("default", None)
    drain(app)
    assert app.runs.get(handle.id).run.state is State.SUCCEEDED
    with pytest.raises(InvalidOption, match="limit"):
        app.queues.limit("default", -1)


def test_a_failed_run_is_retried_as_a_new_run(app: App, drain: Drain) -> None:
    broken = threading.Event()
    broken.set()

    @app.task
    def task() -> str:
        if broken.is_set():
            raise Fail("broken")
        return "fine"

    handle = task.enqueue()
    drain(app)
    broken.clear()
    again, twice = app.runs.retry(handle.id), app.runs.retry(handle.id)
    assert (again.id, again.outcome) != (handle.id, "existing")
    assert (twice.id, twice.outcome) == (again.id, "existing")
    drain(app)
    assert again.result(timeout="10s") == "fine"
    assert app.runs.get(again.id).run.rerun_of == handle.id


def test_prune_removes_what_ended_and_nothing_else(app: App, drain: Drain) -> None:
    @app.task
    def task() -> None: ...

    ended = task.enqueue_many([()] * 3)
    drain(app)
    waiting = task.enqueue()
    assert app.runs.prune(older_than="1d").runs == 0
    assert app.runs.prune(older_than=0).runs == 3
    with pytest.raises(UnknownRun):
        ended[0].result(timeout="1s")
    assert app.runs.get(waiting.id).run.state is State.QUEUED
    with pytest.raises(InvalidOption, match="running"):
        app.runs.prune(states=["running"])


# -- clients and several apps ----------------------------------------------------------------------------------------------


@in_loop
async def test_a_client_creates_runs_by_name_and_the_worker_validates_them(app: App, url: str) -> None:
    @app.task(name="double")
    def double(x: int) -> int:
        return 2 * x

    client = AsyncClient(url)
    async with app.running(poll="50ms"):
        good = await client.enqueue("double", x=4)
        bad = await client.enqueue("double", x="four")
        assert await good.aresult(timeout=10) == 8
        while (await client.call(lambda c: c.runs.get(bad.id))).run.state is not State.NEEDS_ATTENTION:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    run = (await client.call(lambda c: c.runs.get(bad.id))).run
    assert (run.reason, run.failures) == ("invalid_payload", 0)
    await client.close()


def test_a_run_of_a_task_nobody_has_is_visible_with_its_reason(app: App, url: str, drain: Drain) -> None:
    client = Client(url)
    lost = client.enqueue("no.such.task")
    drain(app)
    assert "no live worker takes no.such.task" in (app.runs.why(lost.id) or "")
    client.close()


def test_two_apps_may_have_a_task_of_one_name_in_namespaces_of_their_own(new_app: NewApp, drain: Drain) -> None:
    here, there = new_app("here"), new_app("there", namespace="there")

    @here.task(name="greet")
    def greet() -> str:
        return "here"

    @there.task(name="greet")
    def greet_there() -> str:
        return "there"

    a, b = greet.enqueue(), greet_there.enqueue()
    drain(here)
    assert b.id not in [view.run.id for view in here.runs.list().data]
    with pytest.raises(UnknownRun):
        here.runs.get(b.id)
    drain(there)
    assert (a.result(timeout="10s"), b.result(timeout="10s")) == ("here", "there")


def test_two_apps_of_one_namespace_serve_each_others_calls_by_name(new_app: NewApp, drain: Drain) -> None:
    caller, server = new_app("caller"), new_app("server")

    @caller.task(name="greet")
    def greet() -> str:
        return "from the caller's code"

    @server.task(name="greet")
    def serve() -> str:
        return "from the server's code"

    handle = greet.enqueue()
    drain(server)
    assert handle.result(timeout="10s") == "from the server's code"


# -- opening and closing ---------------------------------------------------------------------------------------------------


def test_a_closed_app_opens_again_at_its_next_use(app: App, drain: Drain) -> None:
    @app.task
    def task() -> int:
        return 1

    first = task.enqueue()
    app.close()
    app.close()
    second = task.enqueue()
    drain(app)
    assert app.client.handle(first.id).result(timeout="10s") == 1
    assert second.result(timeout="10s") == 1


def test_a_second_migration_has_nothing_to_do(app: App) -> None:
    assert app.migrate() == []


def test_postgres_that_was_not_migrated_is_refused_saying_how_to(fresh_postgres: str) -> None:
    app = App("shop", database=fresh_postgres)

    @app.task
    def task() -> None: ...

    with pytest.raises(SchemaOlder, match="mainspring db migrate"):
        task.enqueue()
    assert app.migrate() != []
    task.enqueue()
    app.close()


@pytest.mark.parametrize("url", ["mysql://host/db", "mainspring.db", "", "sqlite", "http://x"])
def test_a_database_of_no_known_kind_is_refused_saying_what_to_write(url: str) -> None:
    app = App("shop", database=url)
    with pytest.raises(ConfigurationInvalid, match="sqlite:///"):
        app.runs.list()


def test_a_server_that_is_not_there_is_said_to_be_unavailable() -> None:
    app = App("shop", database="postgresql://nobody@127.0.0.1:1/none?connect_timeout=1")
    with pytest.raises(StorageUnavailable):
        app.runs.list()
    app.close()


def test_a_folder_that_is_not_there_and_a_file_that_is_no_database_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(StorageUnwritable, match="folder"):
        App("shop", database=f"sqlite:///{tmp_path}/no/such/folder/runs.db").runs.list()
    (tmp_path / "letter.db").write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(StorageUnwritable, match="not a SQLite database"):
        App("shop", database=f"sqlite:///{tmp_path}/letter.db").runs.list()
    assert (tmp_path / "letter.db").read_text().startswith("Dear Sir")


def test_a_connection_of_ours_is_for_sqlite_only(app: App, back_end: str) -> None:
    @app.task
    def task() -> None: ...

    if back_end == "postgres":
        with pytest.raises(CapabilityUnsupported, match="options"):
            app.connection()
        return
    task.enqueue()
    with pytest.raises(ZeroDivisionError), app.connection() as connection:  # noqa: PT012
        task.options(using=connection).enqueue()
        raise ZeroDivisionError
    assert app.runs.counts() == {"queued": 1}
    with app.connection() as connection:
        task.options(using=connection).enqueue()
    assert app.runs.counts() == {"queued": 2}


# -- workers in this process -----------------------------------------------------------------------------------------------


@in_loop
async def test_an_enqueue_wakes_an_idle_worker_of_this_process_long_before_its_poll(app: App) -> None:
    ran = threading.Event()

    @app.task
    def task() -> None:
        ran.set()

    async with app.running(poll="1h", lease="2h"):
        for _ in range(3):
            ran.clear()
            handle = await task.aenqueue()
            await happened(ran)
            await handle.aresult(timeout=10)


@in_loop
async def test_an_enqueue_of_another_process_wakes_an_idle_worker_too(app: App, url: str) -> None:
    ran = threading.Event()

    @app.task(name="task")
    def task() -> None:
        ran.set()

    other = App("other", database=url)  # another app has connections of its own, as another process does

    @other.task(name="task")
    def same() -> None: ...

    async with app.running(poll="1h", lease="2h"):
        await same.aenqueue()
        await happened(ran)
    await asyncio.to_thread(other.close)


@in_loop
async def test_the_cancel_of_a_running_run_reaches_its_code(app: App) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    @app.task
    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with app.running(poll="100ms"):
        handle = await long.aenqueue()
        await begun.wait()
        assert await asyncio.to_thread(app.runs.cancel, handle.id) == "cancelling"
        await stopped.wait()
        with pytest.raises(RunCancelled):
            await handle.aresult(timeout=10)


@in_loop
async def test_a_worker_that_stops_gives_everything_back_and_spends_no_failure(app: App) -> None:
    begun = asyncio.Event()

    @app.task(name="long")
    async def long(ctx: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    worker = app.worker(concurrency=1, grace="20ms", poll="50ms")
    handles = await long.aenqueue_many([()] * 3)
    work = asyncio.create_task(worker.arun())
    await begun.wait()
    worker.stop()
    await work
    runs = [(await asyncio.to_thread(app.runs.get, handle.id)).run for handle in handles]
    assert {run.state for run in runs} == {State.QUEUED}
    assert sum(run.failures for run in runs) == 0
    assert sum(run.interruptions for run in runs) == 1
    (seen,) = await asyncio.to_thread(app.client.workers)
    assert seen.state == "gone"


@in_loop
async def test_a_claim_whose_answer_comes_after_the_stop_goes_back_at_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task
    async def quick() -> None:
        pass

    handle = await quick.aenqueue()
    worker = app.worker(concurrency=1, poll="50ms", lease="1h")
    write = app.client.database.write

    def slowly(name: str, work: Callable[[Any], Any], /) -> Any:
        turn = write(name, work)
        if name == "worker.turn" and turn.claims:
            worker.stop()
            time.sleep(0.5)  # the answer is on its way, and there is nothing else to wait for
        return turn

    monkeypatch.setattr(app.client.database, "write", slowly)
    await worker.arun()
    run = (await asyncio.to_thread(app.runs.get, handle.id)).run
    assert (run.state, run.failures, run.interruptions) == (State.QUEUED, 0, 0)
    (seen,) = await asyncio.to_thread(app.client.workers)
    assert seen.state == "gone"


@in_loop
async def test_a_second_stop_skips_the_wait(app: App) -> None:
    begun = asyncio.Event()

    @app.task
    async def long() -> None:
        begun.set()
        await asyncio.Event().wait()

    worker = app.worker(concurrency=1, grace="1h", poll="50ms")
    handle = await long.aenqueue()
    work = asyncio.create_task(worker.arun())
    await begun.wait()
    worker.stop()
    worker.stop()
    await work
    run = (await asyncio.to_thread(app.runs.get, handle.id)).run
    assert (run.state, run.failures, run.interruptions) == (State.QUEUED, 0, 1)
