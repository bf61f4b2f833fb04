"""A drain runs the user's real functions with the worker of production, stops where it should, and tells what happened."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, Context, Release, ResultTimeout, RunFailed, batch
from mainspring.errors import InvalidOption
from mainspring.testing import Sandbox, SimulatedClock, Unfinished, adrain, drain, invariants, sandbox
from tests.support.loops import in_loop
from tests.testing import process_tasks


def test_tasks_of_both_colours_run_and_give_their_results(app: App, box: Sandbox) -> None:
    @app.task(name="async")
    async def colour_a(n: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"n": n}

    @app.task(name="sync")
    def colour_b(ctx: Context, n: int) -> int:
        return n * ctx.attempt

    handles = [colour_a.enqueue(1), colour_b.enqueue(2)]
    report = drain(box)
    assert [handle.result() for handle in handles] == [{"n": 1}, 2]
    assert [(run.task, run.run_id, run.state, run.attempts, run.result) for run in report.ran] == [
        ("async", handles[0].id, "succeeded", 1, {"n": 1}),
        ("sync", handles[1].id, "succeeded", 1, 2),
    ]
    assert (report.counts, report.attempts, report.left) == ({"succeeded": 2}, 2, {})


def test_results_come_back_as_the_task_declares_them(app: App, box: Sandbox) -> None:
    @app.task
    def pair() -> tuple[int, str]:
        return 1, "a"

    pair.enqueue()
    assert drain(box).ran[0].result == (1, "a")


def test_what_a_task_enqueues_runs_in_the_same_drain(app: App, box: Sandbox) -> None:
    @app.task
    def down(n: int) -> None:
        if n:
            down.enqueue(n - 1)

    down.enqueue(5)
    assert drain(box).counts == {"succeeded": 6}


def test_attempts_go_one_at_a_time_by_priority_and_age(app: App, box: Sandbox) -> None:
    at_work, most, order = [0], [0], []

    @app.task
    def count(n: int) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        order.append(n)
        at_work[0] -= 1

    count.enqueue_many([(n,) for n in range(10)])
    count.options(priority=5).enqueue(99)
    drain(box)
    assert (most[0], order) == (1, [99, *range(10)])


@in_loop
async def test_adrain_runs_coroutines_in_the_loop_of_the_test(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'own.db'}")

    @app.task
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    with sandbox(app):
        handle = await loop.aenqueue()
        await adrain(app)
        assert await handle == id(asyncio.get_running_loop())


@in_loop
async def test_drain_in_an_event_loop_names_adrain(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'own.db'}")
    with sandbox(app), pytest.raises(InvalidOption, match="await adrain"):
        drain(app)


def test_an_app_in_no_sandbox_is_not_drained(app: App) -> None:
    with pytest.raises(InvalidOption, match="in no sandbox"):
        drain(app)
    with sandbox(app) as box:
        pass
    with pytest.raises(InvalidOption, match="in no sandbox"):
        drain(box)


def test_a_task_cannot_drain_the_sandbox_it_runs_in(app: App, box: Sandbox) -> None:
    @app.task
    def again() -> None:
        drain(app)

    again.enqueue()
    with pytest.raises(InvalidOption, match="being drained already"):
        drain(app)


@pytest.mark.parametrize("wrong", [{"until": "later"}, {"concurrency": 0}, {"most": 0}, {"within": "soon"}, {"timeout": -1}])
def test_an_option_that_cannot_be_is_refused_by_name(box: Sandbox, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        drain(box, **wrong)


# -- time -------------------------------------------------------------------------------------------------------------


def test_what_is_due_later_waits_for_the_clock(app: App, box: Sandbox) -> None:
    @app.task
    def work() -> None: ...

    work.options(delay="10s").enqueue()
    report = drain(box)
    assert (report.ran, report.left) == ((), {"scheduled": 1})
    box.clock.advance("9999ms")
    assert drain(box).ran == ()
    box.clock.advance("1ms")
    assert drain(box).counts == {"succeeded": 1}


def test_until_empty_moves_the_clock_from_one_due_instant_to_the_next(app: App, box: Sandbox) -> None:
    seen = []

    @app.task
    def work(n: int) -> None:
        seen.append((n, box.clock.instant.isoformat()))

    work.options(at="2031-05-04T09:00:00Z").enqueue(3)
    work.options(delay="1h").enqueue(2)
    work.enqueue(1)
    report = drain(box, until="empty")
    assert seen == [(1, "2031-05-01T09:00:00+00:00"), (2, "2031-05-01T10:00:00+00:00"), (3, "2031-05-04T09:00:00+00:00")]
    assert report.passed.total_seconds() == 3 * 86_400


def test_retries_come_exactly_after_their_back_off(app: App, box: Sandbox) -> None:
    @app.task(max_attempts=4, backoff=["10s", "1m"], jitter=0.5)
    def flaky(ctx: Context) -> int:
        if ctx.failures < 3:
            raise RuntimeError("not yet")
        return ctx.attempt

    handle = flaky.enqueue()
    report = drain(box, until="empty")
    began = [attempt.claimed_at for attempt in app.runs.attempts(handle.id)]
    assert [(later - began[0]) / 1e6 for later in began] == [0, 10, 70, 130]
    assert (report.ran[0].attempts, handle.result()) == (4, 4)


def test_dice_that_show_more_make_a_retry_come_earlier(app: App, box: Sandbox) -> None:
    @app.task(backoff=["100s"], jitter=0.5)
    def broken() -> None:
        raise RuntimeError

    box.system.dice = 0.5
    broken.enqueue()
    report = drain(box, until="empty", raise_failures=False)
    assert report.passed.total_seconds() == 2 * 75


def test_a_polling_task_is_asked_until_it_is_content(app: App, box: Sandbox) -> None:
    @app.task
    def poll(ctx: Context) -> int:
        if ctx.attempt < 5:
            raise Release(after="5m")
        return ctx.attempt

    handle = poll.enqueue()
    report = drain(box, until="empty")
    assert (handle.result(), report.passed.total_seconds()) == (5, 1200)


def test_keys_expire_as_time_passes(app: App, box: Sandbox) -> None:
    @app.task(key="once", key_ttl="1d")
    def work() -> None: ...

    first = work.enqueue()
    drain(box)
    assert work.enqueue().id == first.id
    box.clock.advance("25h")
    drain(box)
    assert work.enqueue().id != first.id


def test_a_task_may_move_the_clock_and_keeps_its_lease(app: App, box: Sandbox) -> None:
    @app.task
    def long(ctx: Context) -> int:
        for hour in range(48):
            box.clock.advance("1h")
            ctx.heartbeat(hour)
        return ctx.attempt

    handle = long.enqueue()
    drain(box)
    assert handle.result() == 1


def test_time_outs_count_real_seconds(app: App, box: Sandbox) -> None:
    @app.task(timeout="50ms", max_attempts=1)
    async def slow() -> None:
        await asyncio.Event().wait()

    slow.enqueue()
    with pytest.raises(RunFailed, match="took longer than its timeout") as caught:
        drain(box)
    assert caught.value.reason == "timeout"


# -- side by side -----------------------------------------------------------------------------------------------------


def test_a_task_that_waits_for_another_needs_two_places(app: App, box: Sandbox) -> None:
    @app.task
    async def child() -> int:
        return 7

    @app.task
    async def parent() -> int:
        return await (await child.aenqueue())

    @app.task
    def parent_in_a_thread() -> int:
        return child.enqueue().result()

    for task in (parent, parent_in_a_thread):
        handle = task.enqueue()
        drain(box, concurrency=2, timeout="20s")
        assert handle.result() == 7


def test_a_task_that_waits_in_the_only_place_is_told_at_once(app: App, box: Sandbox) -> None:
    @app.task
    async def child() -> None: ...

    @app.task
    async def parent() -> None:
        await (await child.aenqueue())

    parent.enqueue()
    with pytest.raises(ResultTimeout, match=r"write drain\(app, concurrency=2\)"):
        drain(box, timeout="20s")


def test_a_thread_that_waits_in_vain_does_not_outlive_the_sandbox(app: App) -> None:
    ended = threading.Event()

    @app.task
    def child() -> None: ...

    @app.task
    def parent() -> None:
        try:
            child.enqueue().result()
        finally:
            ended.set()

    with sandbox(app) as box:
        parent.enqueue_many([(), ()])
        with pytest.raises(Unfinished, match="real time"):
            drain(box, concurrency=2, timeout="1s")
    assert ended.wait(20)


def test_a_run_is_cancelled_by_another_while_it_works(app: App, box: Sandbox) -> None:
    @app.task
    async def work() -> None:
        await asyncio.Event().wait()

    @app.task
    def stop(run_id: str) -> str:
        return app.runs.cancel(run_id)

    handle = work.enqueue()
    stop.enqueue(handle.id)
    assert drain(box, concurrency=2, timeout="20s").counts == {"cancelled": 1, "succeeded": 1}


def test_a_transaction_a_coroutine_holds_open_is_not_joined_by_the_worker(app: App, box: Sandbox) -> None:
    @app.task
    async def work(n: int) -> None:
        with app.connection() as connection:
            await asyncio.sleep(0.01)
            if n:
                work.options(using=connection).enqueue(n - 1)

    work.enqueue(3)
    assert drain(box).counts == {"succeeded": 4}


def test_a_checkpoint_reaches_the_next_attempt(app: App, box: Sandbox) -> None:
    @app.task
    def long(ctx: Context) -> int:
        if ctx.checkpoint is None:
            ctx.heartbeat(41)
            raise RuntimeError
        saved: int = ctx.checkpoint
        return saved + 1

    handle = long.enqueue()
    drain(box, until="empty")
    assert handle.result() == 42


def test_what_nothing_here_can_run_is_left_and_told(app: App, box: Sandbox) -> None:
    @app.task
    def work() -> None: ...

    work.enqueue()
    box.client.enqueue("elsewhere")
    app.queues.pause("default")
    report = drain(box, until="empty")
    assert (report.ran, report.left) == ((), {"queued": 2})
    app.queues.resume("default")
    assert drain(box).counts == {"succeeded": 1}


def test_a_batch_runs_to_its_callback_though_members_fail(app: App, box: Sandbox) -> None:
    @app.task(max_attempts=2)
    def member(n: int) -> int:
        return 10 // n

    @app.task
    def then(ctx: Context) -> list[str]:
        return [each.state for each in ctx.members()]

    made = batch([member.call(1), member.call(0)], then=then.call()).enqueue()
    with pytest.raises(ZeroDivisionError):
        drain(box, until="empty")
    assert made.callback is not None
    assert made.callback.result() == ["succeeded", "failed"]


def test_a_thousand_runs_are_drained(app: App, box: Sandbox) -> None:
    @app.task
    async def work(n: int) -> int:
        return n

    work.enqueue_many([(n,) for n in range(1_000)])
    report = drain(box, concurrency=16)
    assert sorted(run.result for run in report.ran) == list(range(1_000))


# -- processes --------------------------------------------------------------------------------------------------------


def test_tasks_for_processes_run_where_fakes_and_the_sandbox_reach_them() -> None:
    with sandbox(process_tasks.app) as box:
        here, another = process_tasks.pid.enqueue(), process_tasks.enqueue_another.enqueue()
        drain(box)
        assert here.result() == os.getpid()
        assert process_tasks.app.runs.get(another.result()).run.state == "succeeded"
    assert not process_tasks.OWN.exists()


def test_tasks_for_processes_run_in_processes_on_request() -> None:
    with sandbox(process_tasks.app, clock=SimulatedClock()) as box:
        there = process_tasks.pid.enqueue()
        process_tasks.divide.enqueue(0)
        with pytest.raises(RunFailed, match="division by zero") as caught:
            drain(box, processes=True)
        assert there.result() != os.getpid()
        assert "return 1 / by" in "".join(caught.value.__notes__)
        invariants.check(box.client.database)


def test_a_process_of_a_sandboxed_task_does_not_open_the_apps_own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCESS_TASKS_OWN", str(tmp_path / "own.db"))
    with sandbox(process_tasks.app) as box:
        process_tasks.enqueue_another.enqueue()
        with pytest.raises(RunFailed, match="is in a sandbox, which this process cannot reach"):
            drain(box, processes=True)
    assert list(tmp_path.iterdir()) == []
    assert "MAINSPRING_TEST_SANDBOX" not in os.environ
