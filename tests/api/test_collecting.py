"""Tasks with ``collect=``: who goes together, how long anybody waits, and what one call means for each of its runs."""

from __future__ import annotations

import threading
import time

import pytest

from mainspring import App, Collect, Context
from mainspring.core.states import State
from mainspring.errors import InvalidOption, PayloadInvalid
from mainspring.testing import invariants
from tests.api.conftest import Drain


def states(app: App) -> dict[str, int]:
    invariants.check(app.client.database)
    return {str(state): count for state, count in app.runs.counts().items()}


def test_runs_go_to_their_task_together_and_each_gets_its_own_result(app: App) -> None:
    sizes: list[int] = []

    @app.task(collect=Collect(size=40, wait="50ms"))
    async def double(numbers: list[int]) -> list[int]:
        sizes.append(len(numbers))
        return [2 * number for number in numbers]

    handles = double.enqueue_many([(number,) for number in range(100)])
    app.worker(concurrency=1, poll="50ms").run(until="drained")  # a group takes one place
    assert sizes == [40, 40, 20]
    assert [handle.result() for handle in handles] == [2 * number for number in range(100)]
    assert states(app) == {"succeeded": 100}


def test_what_is_no_list_of_their_number_is_the_result_of_all(app: App, drain: Drain) -> None:
    @app.task(collect=Collect(wait="20ms"))
    def add(numbers: list[int]) -> int:
        return sum(numbers)

    handles = add.enqueue_many([(1,), (2,), (3,)])
    drain(app)
    assert [handle.result() for handle in handles] == [6, 6, 6]


def test_only_runs_of_one_key_go_together_where_that_is_asked_for(app: App, drain: Drain) -> None:
    seen: list[list[int]] = []

    @app.task(collect=Collect(wait="50ms", by="key"))
    def note(numbers: list[int]) -> None:
        seen.append(sorted(numbers))

    for number in range(6):
        note.options(concurrency_key=f"k{number % 2}").enqueue(number)
    drain(app)
    assert sorted(seen) == [[0, 2, 4], [1, 3, 5]]


def test_nobody_waits_for_company_for_longer_than_that(app: App) -> None:
    sizes: list[int] = []

    @app.task(collect=Collect(size=100, wait="100ms"))
    def note(numbers: list[int]) -> None:
        sizes.append(len(numbers))

    note.enqueue(1)
    began = time.monotonic()
    app.worker(poll="50ms").run(until="drained")
    assert sizes == [1]
    assert 0.1 <= time.monotonic() - began < 10


def test_one_that_comes_while_the_first_waits_joins_it_although_no_place_is_free(app: App) -> None:
    sizes: list[int] = []
    later: list[object] = []

    @app.task(collect=Collect(size=2, wait="10m"))
    def note(numbers: list[int]) -> None:
        sizes.append(len(numbers))

    note.enqueue(1)
    worker = app.worker(poll="20ms", concurrency=1)
    thread = threading.Thread(target=lambda: worker.run(until="drained"))
    thread.start()
    while not any(view.run.state is State.RUNNING for view in app.runs.list().data):
        time.sleep(0.005)
    later.append(note.enqueue(2))
    thread.join(30)
    assert not thread.is_alive()
    assert sizes == [2]
    assert states(app) == {"succeeded": 2}


def test_an_exception_fails_all_and_after_two_each_is_tried_alone(app: App) -> None:
    seen: list[list[int]] = []

    @app.task(collect=Collect(wait="200ms"), max_attempts=3, backoff=["0ms"], jitter=0)
    def fragile(numbers: list[int]) -> list[int]:
        seen.append(sorted(numbers))
        if 13 in numbers:
            raise ValueError("thirteen")
        return numbers

    handles = fragile.enqueue_many([(12,), (13,), (14,)])
    app.worker(poll="20ms").run(until="empty")
    assert seen[:2] == [[12, 13, 14]] * 2
    assert sorted(seen[2:]) == [[12], [13], [14]]
    assert handles[0].result() == 12
    assert [view.run.failures for view in map(app.runs.get, [handle.id for handle in handles])] == [2, 3, 2]
    assert states(app) == {"succeeded": 2, "failed": 1}


def test_the_context_speaks_for_one_of_them(app: App, drain: Drain) -> None:
    told: list[list[str]] = []

    @app.task(collect=Collect(wait="50ms"))
    def send(letters: list[str], ctx: Context) -> list[str]:
        told.append(list(ctx.run_ids))
        for place, letter in enumerate(letters):
            if letter == "bad":
                ctx.fail(place, "bad_address", "no such street", retry=False)
            if letter == "later":
                ctx.release(place, after="1h", reason="closed today")
        with pytest.raises(InvalidOption):
            ctx.fail(99)
        ctx.progress(1, 1)
        return letters

    handles = send.enqueue_many([("good",), ("bad",), ("later",)])
    drain(app)
    assert sorted(told[0]) == sorted(handle.id for handle in handles)
    good, bad, later = (app.runs.get(handle.id).run for handle in handles)
    assert (good.state, bad.state, later.state) == (State.SUCCEEDED, State.FAILED, State.RELEASED)
    assert (bad.reason, later.failures, later.releases) == ("bad_address", 0, 1)
    assert handles[0].result() == "good"
    assert states(app) == {"succeeded": 1, "failed": 1, "released": 1}


def test_a_cancel_of_one_does_not_stop_the_others(app: App) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @app.task(collect=Collect(size=2, wait="10m"), grace="1m")
    def slow(numbers: list[int]) -> None:
        begun.set()
        go_on.wait(30)

    handles = slow.enqueue_many([(1,), (2,)])
    worker = app.worker(poll="20ms", concurrency=1)
    thread = threading.Thread(target=lambda: worker.run(until="drained"))
    thread.start()
    assert begun.wait(30)
    app.runs.cancel(handles[0].id)
    go_on.set()
    thread.join(30)
    assert states(app) == {"succeeded": 1, "cancelled": 1}
    assert app.runs.get(handles[0].id).run.state is State.CANCELLED


def test_a_timeout_stops_the_call_and_is_a_failure_of_each(app: App) -> None:
    @app.task(collect=Collect(size=2, wait="10m"), max_attempts=1, timeout="100ms")
    async def hang(numbers: list[int]) -> None:
        import asyncio

        await asyncio.Event().wait()

    handles = hang.enqueue_many([(1,), (2,)])
    report = app.worker(poll="20ms", concurrency=1).run(until="drained")
    assert [app.runs.get(handle.id).run.reason for handle in handles] == ["timeout", "timeout"]
    assert report.worn_out is False
    assert states(app) == {"failed": 2}


def test_who_waits_for_company_as_the_worker_stops_goes_back_unspent(app: App) -> None:
    @app.task(collect=Collect(size=100, wait="10m"))
    def never(numbers: list[int]) -> None:
        raise AssertionError("nobody was to be called")

    handle = never.enqueue(1)
    worker = app.worker(poll="20ms")
    thread = threading.Thread(target=worker.run)
    thread.start()
    while app.runs.get(handle.id).run.state is not State.RUNNING:
        time.sleep(0.005)
    worker.stop()
    thread.join(30)
    run = app.runs.get(handle.id).run
    assert (run.state, run.failures, run.interruptions) == (State.QUEUED, 0, 0)
    assert states(app) == {"queued": 1}


def test_a_payload_is_one_of_the_list(app: App) -> None:
    @app.task(collect=Collect())
    def note(numbers: list[int]) -> None: ...

    with pytest.raises(PayloadInvalid):
        note.enqueue([1, 2])  # type: ignore[arg-type]


def test_what_cannot_be_collected_is_refused_at_import(idle: App) -> None:
    with pytest.raises(InvalidOption, match="one list"):

        @idle.task(collect=Collect())  # type: ignore[arg-type]
        def one(number: int) -> None: ...

    with pytest.raises(InvalidOption, match="one list"):

        @idle.task(collect=Collect())  # type: ignore[arg-type]
        def two(numbers: list[int], more: int) -> None: ...

    with pytest.raises(InvalidOption, match="process"):

        @idle.task(collect=Collect(), executor="process")
        def three(numbers: list[int]) -> None: ...

    for options in ({"size": 0}, {"size": 1001}, {"wait": "1h"}, {"by": "task"}):
        with pytest.raises(InvalidOption):
            Collect(**options)
