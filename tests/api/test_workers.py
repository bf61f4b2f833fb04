"""Workers as a program uses them: weights of queues, what a drain leaves and why, capabilities, slots that others free, and how a
worker ends. Both databases; several workers where that matters.

Not here: ``run_now`` and ``execute_next``, and worker processes (``tests/cli/test_processes.py``).
"""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from mainspring import App, Context, Limit, Task
from mainspring.core.states import State
from mainspring.errors import BrokenInvariant, CapabilityUnsupported, InvalidOption
from mainspring.operations import attempts
from mainspring.testing import invariants
from tests.api.conftest import NewApp

PATIENCE = 30


def test_weights_share_the_claims_of_a_worker_and_an_empty_queue_gives_its_part_away(app: App) -> None:
    mail, rest = app.queue("mail"), app.queue("rest")
    order: list[str] = []

    @app.task
    def work(ctx: Context) -> None:
        order.append(ctx.queue)

    work.options(queue=mail).enqueue_many([()] * 150)
    work.options(queue=rest).enqueue_many([()] * 150)
    app.worker(queues={mail: 4, "*": 1}, concurrency=1, poll="50ms").run(until="drained")
    while_both = Counter(order[:100])
    assert while_both[mail] == pytest.approx(80, abs=8)
    assert Counter(order) == {mail: 150, rest: 150}
    invariants.check(app.client.database)


def test_a_drain_says_what_is_left_and_why(app: App, new_app: NewApp) -> None:
    open_queue, shut, narrow = app.queue("open"), app.queue("shut"), app.queue("narrow", limits=[Limit(1)])

    @app.task(queue=open_queue)
    def work() -> None: ...

    @app.task(queue=open_queue, max_attempts=1)
    def gpu() -> None: ...

    other = new_app("other")
    other.queue("open")

    @other.task(queue="open", name="foreign")
    def foreign() -> None: ...

    foreign.enqueue()
    work.enqueue()
    work.options(delay="1h").enqueue_many([()] * 3)
    gpu.options(requires={"gpu": "yes"}).enqueue_many([()] * 2)
    work.options(queue=shut).enqueue_many([()] * 4)
    work.options(queue=narrow).enqueue_many([()] * 2)
    app.queues.pause(shut)
    app.queues.limit(narrow, 0)
    report = app.worker(poll="50ms").run(until="drained")
    left = report.remaining
    assert left is not None
    assert (report.finished, left.delayed, left.ready, left.held) == (1, 3, 0, {})
    assert left.next_due_at is not None
    assert left.paused == {shut: 4}
    assert left.full == {"queue narrow": 2}
    assert sum(left.other_task.values()) == 3
    assert left.other_task["foreign"] == 1
    assert (left.total, left.at_least) == (12, False)
    assert app.worker(poll="50ms", queues=[shut]).run(until="drained").remaining.total == 4  # type: ignore[union-attr]


def test_a_drain_names_the_worker_that_holds_what_is_left(app: App) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @app.task
    def hold() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    hold.enqueue()
    busy = app.worker(name="busy", poll="50ms")
    thread = threading.Thread(target=busy.run)
    thread.start()
    assert begun.wait(PATIENCE)
    left = app.worker(name="drainer", poll="50ms").run(until="drained").remaining
    go_on.set()
    busy.stop()
    thread.join(PATIENCE)
    assert left is not None
    assert [name.split(".")[0] for name in left.held] == ["busy"]
    assert left.total == 1


def test_a_worker_runs_only_what_it_has_the_capabilities_for(app: App) -> None:
    @app.task(requires={"gpu": "a100"})
    def train() -> None: ...

    run = train.enqueue()
    for capabilities in ({}, {"gpu": "t4"}, {"gpu": "a100"}):
        assert app.runs.get(run.id).run.state is State.QUEUED
        app.worker(capabilities=capabilities, poll="50ms").run(until="drained")
    assert app.runs.get(run.id).run.state is State.SUCCEEDED


def test_a_slot_that_one_process_frees_is_seen_by_another_before_its_poll(new_app: NewApp) -> None:
    """Two apps are two processes as far as hints go: each has its own connections and its own transport."""
    first, second = new_app("shop"), new_app("shop")
    ran: list[str] = []
    tasks: dict[str, Task[[], None]] = {}
    begun, go_on = threading.Event(), threading.Event()
    for app, queue in ((first, "left"), (second, "right")):
        for name in ("left", "right"):
            app.queue(name)
        app.limit("one", Limit(1))

        @app.task(name=queue, queue=queue, uses={"one": 1})
        def work(ctx: Context) -> None:
            ran.append(ctx.queue)
            if ctx.queue == "left":
                begun.set()
                go_on.wait(PATIENCE)

        tasks[queue] = work
    workers = [first.worker(poll="20s", queues=["left", "right"]), second.worker(poll="20s", queues=["left", "right"])]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    tasks["left"].enqueue()
    threads[0].start()
    assert begun.wait(PATIENCE)
    handle = tasks["right"].enqueue()
    threads[1].start()
    while len([worker for worker in second.workers if worker.state == "live"]) < 2:
        time.sleep(0.01)
    time.sleep(0.2)  # let it find the limit full, and wait for its poll
    assert ran == ["left"]
    go_on.set()
    freed_at = time.monotonic()
    handle.result(timeout="15s")
    assert time.monotonic() - freed_at < 10
    for worker, thread in zip(workers, threads, strict=True):
        worker.stop()
        thread.join(PATIENCE)


def test_closed_settles_once_with_the_report(app: App) -> None:
    worker = app.worker(poll="50ms")
    assert not worker.closed.done()
    report = worker.run(until="drained")
    assert worker.closed.result(0) == report
    worker.run(until="drained")
    assert worker.closed.result(0) is report


def test_closed_carries_the_error_that_ended_the_loop(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_it(*_: object) -> None:
        raise BrokenInvariant("what cannot be is")

    monkeypatch.setattr(attempts, "renew", break_it)
    worker = app.worker(poll="50ms")
    with pytest.raises(BrokenInvariant):
        worker.run()
    assert isinstance(worker.closed.exception(0), BrokenInvariant)


def test_a_stop_before_the_start_is_a_stop(app: App) -> None:
    worker = app.worker(poll="50ms")
    worker.stop()
    assert worker.run().finished == 0


@pytest.mark.case("jobs", 40)
def test_threads_that_outlive_their_timeout_keep_their_places_and_wear_the_worker_out(app: App) -> None:
    running, most, lock = [0], [0], threading.Lock()
    go_on = threading.Event()

    @app.task(timeout="100ms", grace="0ms", max_attempts=1)
    def deaf() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        go_on.wait(PATIENCE)
        with lock:
            running[0] -= 1

    handles = deaf.enqueue_many([()] * 12)
    try:
        report = app.worker(concurrency=4, poll="50ms", grace="1s").run()  # ends by itself: nobody stops it
    finally:
        go_on.set()
    assert report.worn_out
    assert most[0] <= 4
    assert any(app.runs.get(handle.id).run.reason == "timeout" for handle in handles)
    invariants.check(app.client.database)


def test_processes_need_an_app_that_a_child_can_import(app: App) -> None:
    for count in (0, 257, "2"):
        with pytest.raises(InvalidOption, match="processes"):
            app.worker(processes=count)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="variable of a module"):
        app.worker(processes=2)
    with pytest.raises(InvalidOption, match="memory"):
        App("small", database="sqlite://").worker(processes=2)


def test_an_app_says_what_its_database_promises_and_refuses_the_rest_before_any_effect(app: App, back_end: str) -> None:
    promised = app.capabilities
    assert (promised.durable, promised.process_local, promised.leases, promised.partitions) == (True, False, True, False)
    assert promised.skip_locked == promised.notify == (back_end == "postgres")
    if not promised.lends_connections:
        with pytest.raises(CapabilityUnsupported) as refused:
            app.connection()
        assert refused.value.code == "capability_unsupported"
    assert App("small", database="sqlite://").capabilities.process_local
