"""``run_now`` and ``execute_next``: one attempt in the caller's process, with everything that a worker promises.

Not here: workers that go on (``tests/runtime``), and keys as such (``tests/conformance``).
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mainspring import App, Context, Limit, Release
from mainspring.core.states import State
from mainspring.errors import InvalidOption, NoCapacity, QueuePaused, RunFailed
from mainspring.testing import invariants
from tests.api.conftest import Drain, NewApp
from tests.support.loops import in_loop

PATIENCE = 30


def states(app: App) -> dict[str, int]:
    invariants.check(app.client.database)
    return {str(state): count for state, count in app.runs.counts().items()}


def test_a_run_of_now_has_its_result_when_the_call_returns(app: App) -> None:
    here = threading.get_ident()

    @app.task
    async def add(left: int, right: int) -> list[int]:
        return [left + right, threading.get_ident()]

    handle = add.run_now(2, right=3)
    assert handle.outcome == "created"
    assert handle.result(timeout="1ms") == [5, here]
    events = [str(event.type) for event in app.runs.events(handle.id)]
    assert events == ["created", "claimed", "succeeded"]
    assert states(app) == {"succeeded": 1}
    assert [worker.state for worker in app.workers] == ["gone"]


@in_loop
async def test_an_event_loop_runs_it_in_itself_and_a_plain_call_inside_one_gets_a_loop_of_its_own(app: App) -> None:
    seen: list[asyncio.AbstractEventLoop] = []

    @app.task
    async def note() -> None:
        seen.append(asyncio.get_running_loop())

    await note.arun_now()
    note.run_now()
    assert seen[0] is asyncio.get_running_loop()
    assert seen[1] is not seen[0]
    assert states(app) == {"succeeded": 2}


def test_a_failure_and_a_release_are_left_to_workers(app: App, drain: Drain) -> None:
    tries: list[str] = []

    @app.task(backoff=["0ms"], jitter=0)
    def fail() -> str:
        tries.append("fail")
        if len(tries) == 1:
            raise ValueError("not at first")
        return "at last"

    @app.task
    def wait() -> None:
        raise Release(after="1h")

    failed = fail.run_now()
    assert (tries, app.runs.get(failed.id).run.failures) == (["fail"], 1)
    released = wait.run_now()
    assert app.runs.get(released.id).run.state is State.RELEASED
    drain(app)
    assert failed.result("30s") == "at last"
    assert states(app) == {"succeeded": 1, "released": 1}


def test_a_run_of_now_that_failed_for_good_says_so(app: App) -> None:
    @app.task(max_attempts=1)
    def fail() -> None:
        raise ValueError("no")

    handle = fail.run_now()
    with pytest.raises(RunFailed, match="no"):
        handle.result(timeout="1ms")
    assert states(app) == {"failed": 1}


@pytest.mark.case("jobs", 50)
def test_a_run_of_now_on_a_key_with_an_owner_executes_nothing(app: App) -> None:
    ran: list[int] = []

    @app.task(key=lambda n: f"k{n}", singleton="one")
    def work(n: int) -> int:
        ran.append(n)
        return n

    waiting = work.enqueue(1)
    for handle in (work.run_now(1), work.options(singleton="one").run_now(2)):
        assert (handle.id, handle.outcome) == (waiting.id, "existing")
    assert ran == []
    assert states(app) == {"queued": 1}
    assert [worker.id for worker in app.workers if worker.state == "live"] == []


@pytest.mark.case("jobs", 50)
def test_a_run_of_now_never_executes_what_others_enqueued(app: App) -> None:
    ran: list[int] = []

    @app.task(priority=100)
    def work(n: int) -> None:
        ran.append(n)

    others = work.enqueue_many([(n,) for n in range(20)])
    work.options(priority=-100).run_now(99)
    assert ran == [99]
    assert states(app) == {"queued": len(others), "succeeded": 1}


@pytest.mark.case("jobs", 50)
def test_of_callers_and_workers_racing_for_one_key_one_executes_it_once(app: App, new_app: NewApp) -> None:
    ran: list[int] = []
    gate = threading.Barrier(6)

    def declare(to: App) -> object:
        @to.task(name="work", key=lambda n: f"k{n}")
        def work(n: int) -> int:
            ran.append(n)
            return n

        return work

    apps = [app, new_app("other")]
    tasks = [declare(each) for each in apps]

    def call(number: int) -> list[str]:
        gate.wait(PATIENCE)
        outcomes = []
        for n in range(8):
            task = tasks[number % 2]
            handle = task.enqueue(n) if number == 5 else task.run_now(n)  # type: ignore[attr-defined]
            outcomes.append(handle.outcome)
        return outcomes

    with ThreadPoolExecutor(6) as crowd:
        outcomes = list(crowd.map(call, range(6)))
    app.worker(poll="50ms").run(until="drained")
    assert sorted(ran) == list(range(8))
    assert sum(each.count("created") for each in outcomes) == 8
    assert states(app) == {"succeeded": 8}


def test_a_pause_and_a_full_limit_refuse_and_create_nothing(app: App) -> None:
    narrow = app.queue("narrow", limits=[Limit(1)])
    nested: list[str] = []

    @app.task(queue=narrow)
    def inner() -> None: ...

    @app.task(queue=narrow)
    def outer() -> None:
        try:
            inner.run_now()
        except NoCapacity as full:
            nested.append(full.code)

    outer.run_now()
    assert nested == ["no_capacity"]
    app.queues.pause(narrow)
    with pytest.raises(QueuePaused):
        inner.run_now()
    assert states(app) == {"succeeded": 1}
    app.queues.resume(narrow)
    inner.run_now()
    assert states(app) == {"succeeded": 2}


def test_a_run_of_now_cannot_wait(app: App) -> None:
    @app.task
    def work() -> None: ...

    with pytest.raises(InvalidOption, match="now"):
        work.options(delay="1s").run_now()
    with pytest.raises(InvalidOption, match="commit"):
        work.options(using=object()).run_now()
    assert states(app) == {}


@in_loop
async def test_a_cancelled_caller_gives_the_run_to_workers(app: App) -> None:
    begun = asyncio.Event()

    @app.task
    async def hang(ctx: Context) -> None:
        ctx.heartbeat("so far")
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(hang.arun_now())
    await asyncio.wait_for(begun.wait(), PATIENCE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (view,) = app.runs.list().data
    assert (view.run.state, view.run.failures, view.run.interruptions) == (State.QUEUED, 0, 1)
    assert states(app) == {"queued": 1}


def test_execute_next_claims_one_run_and_says_which(app: App) -> None:
    ran: list[int] = []

    @app.task
    def work(n: int) -> int:
        ran.append(n)
        return n * 2

    handles = work.enqueue_many([(1,), (2,)])
    worker = app.worker(concurrency=8)
    first = worker.execute_next()
    assert first is not None
    assert (first.id, first.result(timeout="1ms")) == (handles[0].id, 2)
    assert ran == [1]
    second = worker.execute_next()
    assert second is not None
    assert second.id == handles[1].id
    assert worker.execute_next() is None
    assert states(app) == {"succeeded": 2}


def test_execute_next_finds_what_has_become_due(app: App) -> None:
    @app.task
    def work() -> str:
        return "done"

    handle = work.options(delay="1ms").enqueue()
    threading.Event().wait(0.005)  # the database's own clock
    found = app.worker().execute_next()
    assert found is not None
    assert (found.id, found.result(timeout="1ms")) == (handle.id, "done")
