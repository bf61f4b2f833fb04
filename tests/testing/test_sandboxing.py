"""A sandbox keeps an app from its own database for the length of a block, and no wait in it hangs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mainspring import App, Context, ResultTimeout, batch
from mainspring.errors import InvalidOption
from mainspring.testing import Sandbox, SimulatedClock, drain, sandbox
from tests.support.loops import in_loop


def add(a: int, b: int = 1) -> int:
    return a + b


def test_what_is_enqueued_in_a_sandbox_is_there_and_nowhere_else(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'own.db'}")
    task = app.task(add)
    before = task.enqueue(1)
    own = app.client
    with sandbox(app) as box:
        task.enqueue(2)
        task.enqueue_many([(3,), (4,)])
        assert app.runs.counts() == {"queued": 3}
        assert box.client.runs.counts() == {"queued": 3}
    assert app.client is own
    assert app.runs.counts() == {"queued": 1}
    assert app.runs.get(before.id).run.state == "queued"
    app.close()


def test_an_app_that_was_never_opened_is_not_opened_by_a_sandbox(app: App) -> None:
    task = app.task(add)
    with sandbox(app):
        app.queues.pause("default")
        assert app.queues.list()[0].paused_at is not None
        handle = task.options(key="once").enqueue(1)
        assert task.options(key="once").enqueue(1).id == handle.id
        assert [worker.id for worker in app.workers] == []


def test_a_sandbox_has_the_queues_of_its_app_with_their_limits(app: App) -> None:
    app.queue("mail", limit=3)
    with sandbox(app):
        assert [(queue.name, queue.limit) for queue in app.queues.list()] == [("default", None), ("mail", 3)]


def test_each_sandbox_begins_empty(app: App) -> None:
    task = app.task(add)
    for _ in range(2):
        with sandbox(app):
            assert app.runs.counts() == {}
            task.enqueue(1)


def test_an_app_is_on_its_own_database_again_after_an_error(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'own.db'}")
    with pytest.raises(ZeroDivisionError), sandbox(app):
        app.task(add).enqueue(1 // 0)
    assert app.runs.counts() == {}
    assert (tmp_path / "own.db").exists()
    app.close()


def test_an_app_is_in_one_sandbox_at_a_time(app: App, box: Sandbox) -> None:
    handle = app.task(add).enqueue(1)
    with pytest.raises(InvalidOption, match="in a sandbox already"), sandbox(app):
        pass
    assert app.runs.get(handle.id).run.state == "queued"


def test_two_apps_share_a_clock_and_nothing_else(app: App, box: Sandbox) -> None:
    other = App("other", database="sqlite:////nowhere/at/all.db")
    task = other.task(add)
    with sandbox(other, clock=box.clock):
        task.options(delay="1h").enqueue(1)
        assert app.runs.counts() == {}
        box.clock.advance("1h")
        assert drain(other).counts == {"succeeded": 1}


def test_closing_and_migrating_the_app_do_not_reach_its_own_database(app: App, box: Sandbox) -> None:
    handle = app.task(add).enqueue(1)
    assert app.migrate() == []
    app.close()
    assert app.runs.get(handle.id).run.state == "queued"


def test_an_app_that_is_closed_in_a_sandbox_is_as_open_as_before_afterwards(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'own.db'}")
    own = app.client
    with sandbox(app):
        app.close()
    assert app.client is own
    assert app.runs.counts() == {}
    app.close()


def test_a_fixed_clock_gives_the_same_ids_and_instants_each_time(app: App) -> None:
    task = app.task(add)

    def told() -> list[tuple[str, int]]:
        with sandbox(app, clock=SimulatedClock()):
            handle = task.enqueue(1)
            drain(app)
            return [(event.run_id, event.at) for event in app.runs.events(handle.id)]

    assert told() == told()


def test_statements_of_ones_own_share_a_transaction_with_an_enqueue(app: App, box: Sandbox) -> None:
    task = app.task(add)
    with pytest.raises(ZeroDivisionError), app.connection() as connection:
        task.options(using=connection).enqueue(1).id.index(str(1 // 0))
    with app.connection() as connection:
        task.options(using=connection).enqueue(2)
    assert app.runs.counts() == {"queued": 1}


# -- waits ------------------------------------------------------------------------------------------------------------


def test_waiting_for_a_run_before_a_drain_says_so_at_once(app: App, box: Sandbox) -> None:
    handle = app.task(add).enqueue(1)
    with pytest.raises(ResultTimeout, match=r"is queued, and nothing in this sandbox runs it; write drain\(app\) first"):
        handle.result()


@in_loop
async def test_awaiting_a_run_before_a_drain_says_so_at_once(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'own.db'}")
    task = app.task(add)
    with sandbox(app):
        handle = await task.aenqueue(1)
        with pytest.raises(ResultTimeout, match="is queued"):
            await handle


def test_waiting_for_a_run_that_is_tried_again_later_tells_when_and_why(app: App, box: Sandbox) -> None:
    @app.task(backoff=["10s"])
    def broken() -> None:
        raise RuntimeError("the printer is on fire")

    handle = broken.enqueue()
    drain(app, raise_failures=False)
    with pytest.raises(ResultTimeout, match=r"due in 10s \(its last attempt failed: the printer is on fire\)"):
        handle.result()


def test_a_result_is_there_once_the_run_has_ended(app: App, box: Sandbox) -> None:
    handle = app.task(add).enqueue(1, b=5)
    drain(app)
    assert handle.result() == 6
    assert asyncio.run(handle.aresult()) == 6


def test_waiting_after_the_block_says_that_the_sandbox_is_gone(app: App) -> None:
    task = app.task(add)
    with sandbox(app):
        handle = task.enqueue(1)
    with pytest.raises(InvalidOption, match="is closed"):
        handle.result()


@in_loop
async def test_a_worker_of_the_app_serves_its_sandbox_too(tmp_path: Path) -> None:
    app = App("shop", database=f"sqlite:///{tmp_path / 'own.db'}")
    task = app.task(add)
    with sandbox(app):
        async with app.running():
            assert await (await task.aenqueue(1)).aresult(timeout="20s") == 2
    assert not (tmp_path / "own.db").exists()


def test_a_batch_is_created_and_called_back_in_a_sandbox(app: App, box: Sandbox) -> None:
    task = app.task(add)

    @app.task
    def total(ctx: Context) -> int:
        return sum(member.result for member in ctx.members())

    made = batch([task.call(1), task.call(2)], then=total.call()).enqueue()
    drain(app)
    assert made.callback is not None
    assert made.callback.result() == 5
