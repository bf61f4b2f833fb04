"""What a task says about its own attempt, and what its policy makes of a failure: on both databases, with real workers."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from mainspring import App, Cancelled, Context, Rate, RateLimited, Release, RunFailed, RunSkipped, Skip
from mainspring.core.states import State
from mainspring.errors import InvalidOption
from mainspring.operations.claims import Claimer, claim_run
from mainspring.testing import invariants
from tests.api.conftest import Drain
from tests.support.builders import Fleet


def ends(app: App, run_id: str) -> list[tuple[str, str | None]]:
    """The ends of a run's attempts, with their reasons."""
    kinds = {"released", "retry_scheduled", "failed", "skipped", "succeeded", "interrupted", "cancelled"}
    return [(str(event.type), event.data.get("reason")) for event in app.runs.events(run_id) if event.type in kinds]


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raised", "returned"])
def test_skip_ends_a_run_as_skipped(app: App, drain: Drain, how: str) -> None:
    @app.task(name="send")
    def send() -> Any:
        if how == "raised":
            raise Skip("already_sent")
        return Skip("already_sent")

    run = send.enqueue()
    drain(app)
    view = app.runs.get(run.id).run
    assert (view.state, view.reason, view.failures) == (State.SKIPPED, "already_sent", 0)
    with pytest.raises(RunSkipped):
        run.result(timeout=5)


@pytest.mark.case("jobs", 29)
def test_a_released_run_may_come_back_with_another_payload(app: App, drain: Drain) -> None:
    seen: list[int] = []

    @app.task(name="pages")
    def pages(page: int) -> str:
        seen.append(page)
        if page < 3:
            raise Release(immediately=True, payload={"page": page + 1})
        return "done"

    run = pages.enqueue(1)
    app.worker(poll="50ms").run(until="empty")
    assert (run.result(timeout=5), seen) == ("done", [1, 2, 3])
    view = app.runs.get(run.id).run
    assert (view.failures, view.releases) == (0, 2)
    invariants.check(app.client.database)


def test_a_payload_given_back_that_does_not_fit_fails_the_run_and_names_the_field(app: App, drain: Drain) -> None:
    @app.task(name="pages")
    def pages(page: int) -> None:
        raise Release(after="1s", payload={"page": "two"})

    run = pages.enqueue(1)
    drain(app)
    with pytest.raises(RunFailed, match="page"):
        run.result(timeout=5)
    assert ends(app, run.id) == [("failed", "payload_invalid")]


def test_a_run_comes_back_at_once_ten_times_in_a_row_and_then_waits_a_little(app: App, drain: Drain) -> None:
    @app.task(name="spin")
    def spin(ctx: Context) -> None:
        if ctx.attempt <= 12:
            raise Release(immediately=True)

    run = spin.enqueue()
    app.worker(poll="20ms").run(until="empty")
    run.result(timeout=5)
    delays = [event.data["delay"] for event in app.runs.events(run.id) if event.type == "released"]
    assert delays == [0] * 10 + [100_000] * 2


@pytest.mark.case("jobs", 28)
def test_rate_limited_slows_everybody_who_shares_the_rate_and_spends_nothing(app: App) -> None:
    app.queue("api", limits=[Rate(1000, per="1s", burst=100)])
    begun: list[str] = []

    @app.task(name="first", queue="api")
    def first() -> None:
        begun.append("first")
        raise RateLimited(after="1h")

    @app.task(name="second", queue="api")
    def second() -> None:
        begun.append("second")

    refused = first.enqueue()
    app.worker().execute_next()
    other = second.enqueue()
    app.worker().execute_next()
    assert begun == ["first"]
    view = app.runs.get(refused.id).run
    assert (view.state, view.reason, view.failures, view.releases) == (State.RELEASED, "rate_limited", 0, 1)
    assert app.runs.get(other.id).run.state is State.QUEUED
    (limit,) = [each for each in app.limits.list() if each.measure == "rate"]
    assert limit.opens_at == view.due_at
    invariants.check(app.client.database)


def test_rate_limited_may_name_the_one_limit_that_refused(app: App) -> None:
    app.queue("api", limits=[Rate(1000, per="1s", burst=100)])
    partner = app.limit("partner", Rate(1000, per="1s", burst=100))

    @app.task(name="first", queue="api", uses={partner: 1})
    def first() -> None:
        raise RateLimited(after="1h", limit="partner")

    @app.task(name="second", queue="api")
    def second() -> str:
        return "went on"

    @app.task(name="third", queue="api", uses={partner: 1})
    def third() -> None: ...

    first.enqueue()
    app.worker().execute_next()
    free, held = second.enqueue(), third.enqueue()
    app.worker().execute_next()
    assert app.worker().execute_next() is None
    assert free.result(timeout=5) == "went on"
    assert app.runs.get(held.id).run.state is State.QUEUED


# -- which errors are tried again --------------------------------------------------------------------------------------


class BusyError(ConnectionError):
    """Worth another try."""


class BannedError(BusyError):
    """Worth none, though it is a kind of BusyError."""


class BothError(BusyError, ValueError):
    """Of two kinds, of which none is the more specific."""


@pytest.mark.case("jobs", 36)
@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize(
    ("error", "tries"),
    [(BusyError, 3), (BannedError, 1), (ConnectionResetError, 3), (ValueError, 1), (BothError, 1), (KeyError, 1)],
)
def test_the_most_specific_type_decides_and_a_tie_is_no_retry(
    app: App, drain: Drain, error: type[Exception], tries: int, executor: str
) -> None:
    def thread() -> None:
        raise error("no")

    async def loop() -> None:
        raise error("no")

    policy: dict[str, Any] = {"retry_on": [ConnectionError, BusyError], "never_on": [BannedError, ValueError], "max_attempts": 3}
    function = thread if executor == "thread" else loop
    task = app.task(name="work", backoff=["0s"], **policy)(function)
    run = task.enqueue()
    app.worker(poll="20ms").run(until="empty")
    assert len(ends(app, run.id)) == tries
    assert app.runs.get(run.id).run.state is State.FAILED


def test_a_run_keeps_the_types_it_was_made_with(new_app: Any, drain: Drain) -> None:
    def work() -> None:
        raise BusyError("no")

    before = new_app()
    run = before.task(name="work", retry_on=[BusyError], backoff=["0s"], max_attempts=2)(work).enqueue()
    after = new_app()
    after.task(name="work", never_on=[BusyError])(work)
    after.worker(poll="20ms").run(until="empty")
    assert len(ends(after, run.id)) == 2


@pytest.mark.parametrize("given", [{"retry_on": ["ValueError"]}, {"never_on": 5}, {"retry_on": [int]}])
def test_what_is_no_type_of_errors_is_refused_at_import(idle: App, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="_on must"):
        idle.task(**given)(lambda: None)


# -- how long it waits -------------------------------------------------------------------------------------------------


def test_a_function_says_how_long_to_wait_and_is_told_of_the_failure(app: App, drain: Drain) -> None:
    asked: list[tuple[int, str]] = []

    def patience(n: int, failure: Any) -> float:
        asked.append((n, failure.type))
        return 3600.0 * n

    @app.task(name="work", backoff=patience, jitter=0)
    def work() -> None:
        raise BusyError("no")

    run = work.enqueue()
    drain(app)
    assert asked == [(1, "BusyError")]
    event, *_ = [event for event in app.runs.events(run.id) if event.type == "retry_scheduled"]
    assert event.data["delay"] == 3600 * 1_000_000


@pytest.mark.parametrize(("answer", "delay"), [(-5, 0), (10**12, 30 * 86400), (timedelta(minutes=1), 60)])
def test_what_a_function_says_is_clamped(app: App, drain: Drain, answer: Any, delay: int) -> None:
    @app.task(name="work", backoff=lambda n, failure: answer, jitter=0)
    def work() -> None:
        raise BusyError("no")

    run = work.enqueue()
    drain(app)
    event, *_ = [event for event in app.runs.events(run.id) if event.type == "retry_scheduled"]
    assert event.data["delay"] == delay * 1_000_000


@pytest.mark.parametrize("answer", [None, "soon", float("nan")])
def test_where_the_function_fails_the_default_is_taken_and_noted(app: App, drain: Drain, answer: Any) -> None:
    def patience(n: int, failure: Any) -> float:
        if answer is None:
            raise ZeroDivisionError
        return answer  # type: ignore[no-any-return]

    @app.task(name="work", backoff=patience, jitter=0)
    def work() -> None:
        raise BusyError("no")

    run = work.enqueue()
    drain(app)
    event, *_ = [event for event in app.runs.events(run.id) if event.type == "retry_scheduled"]
    assert event.data["delay"] == 1_000_000
    assert "the default was taken" in event.data["note"]


# -- time --------------------------------------------------------------------------------------------------------------


def test_an_attempt_that_gives_no_sign_of_life_times_out(app: App, drain: Drain) -> None:
    stop = threading.Event()

    @app.task(name="silent", heartbeat_timeout="100ms", grace="5s", max_attempts=1)
    def silent(ctx: Context) -> None:
        while not ctx.is_cancelled:
            stop.wait(0.01)

    @app.task(name="lively", heartbeat_timeout="100ms", grace="5s", max_attempts=1)
    def lively(ctx: Context) -> str:
        for _ in range(20):
            stop.wait(0.015)
            ctx.heartbeat(progress=1)
        return "fine"

    quiet, alive = silent.enqueue(), lively.enqueue()
    drain(app)
    assert alive.result(timeout=5) == "fine"
    assert ends(app, quiet.id) == [("failed", "timeout")]


def test_an_attempt_without_a_timeout_needs_a_deadline(idle: App) -> None:
    with pytest.raises(InvalidOption, match="deadline"):
        idle.task(timeout=None)(lambda: None)
    assert idle.task(timeout=None, deadline="1d", name="work")(lambda: None).spec.options.policy.timeout_us is None


def test_a_run_at_work_is_stopped_at_its_deadline_and_told_why(app: App) -> None:
    told: list[str] = []
    wait = threading.Event()

    @app.task(name="work", deadline=timedelta(milliseconds=400), timeout=None, grace="5s")
    def work(ctx: Context) -> None:
        while True:
            try:
                ctx.check()
            except Cancelled as why:
                told.append(str(why))
                raise
            wait.wait(0.01)

    run = work.enqueue()
    app.worker(poll="50ms", lease="1s").run(until="drained")
    view = app.runs.get(run.id).run
    assert (view.state, view.reason, told) == (State.FAILED, "deadline", ["deadline"])


def test_a_deadline_may_be_an_instant_or_a_function_of_the_payload(app: App) -> None:
    at = datetime.now(UTC) + timedelta(hours=3)
    task = app.task(name="work", deadline=lambda hours: timedelta(hours=hours), expires=at)(lambda hours: None)
    view = app.runs.get(task.enqueue(2).id).run
    assert view.deadline_at == view.created_at + 2 * 3_600_000_000
    assert view.expires_at == int(at.timestamp() * 1_000_000) or abs(view.expires_at - at.timestamp() * 1e6) < 2  # type: ignore[operator]


# -- changing what was captured ----------------------------------------------------------------------------------------


def test_the_policy_of_waiting_runs_changes_on_request_and_on_the_ledger(app: App, drain: Drain) -> None:
    @app.task(name="work", max_attempts=1, backoff=["0s"])
    def work() -> None:
        raise BusyError("no")

    changed, other = work.enqueue(), work.options(delay="1h").enqueue()
    assert app.runs.apply_policy("work", max_attempts=3, timeout="5s") == 2
    assert app.runs.apply_policy("work", max_attempts=3, timeout="5s") == 0
    drain(app)
    app.worker(poll="20ms").run(until="drained")
    assert len(ends(app, changed.id)) == 3
    assert app.runs.apply_policy([changed.id, other.id], max_attempts=7) == 1  # the first has ended
    assert [str(event.type) for event in app.runs.events(other.id)] == ["created", "policy_applied", "policy_applied"]
    view = app.runs.get(other.id).run
    assert (view.state, view.due_at) == (State.SCHEDULED, view.created_at + 3_600_000_000)
    invariants.check(app.client.database)


@pytest.mark.parametrize("given", [{}, {"max_attempts": 0}, {"timeout": "soon"}, {"jitter": 2}])
def test_a_policy_that_cannot_be_changes_nothing(app: App, given: dict[str, Any]) -> None:
    run = app.task(name="work")(lambda: None).enqueue()
    with pytest.raises(InvalidOption):
        app.runs.apply_policy("work", **given)
    assert len(app.runs.events(run.id)) == 1


# -- interruptions -----------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 31)
@pytest.mark.serial
def test_a_run_that_kills_its_process_takes_no_bystander_with_it(app: App) -> None:
    victim = app.task(name="kill", max_interruptions=4)(kill)
    beside, begun = threading.Event(), threading.Event()

    @app.task(name="bystander")
    def bystander() -> int:
        begun.set()
        assert beside.wait(30)
        return os.getpid()

    poison = victim.enqueue()
    _dies_with(app, poison.id, times=3)
    near = bystander.enqueue()
    worker = app.worker(poll="50ms", concurrency=4)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert begun.wait(30)
        app.runs.run_soon(poison.id)
        with pytest.raises(RunFailed):
            poison.result(timeout=30)
        beside.set()
        assert near.result(timeout=30) == os.getpid()
    finally:
        beside.set()
        worker.stop()
        thread.join(30)
    view = app.runs.get(poison.id).run
    assert (view.state, view.reason, view.interruptions, view.failures) == (State.FAILED, "interrupted", 4, 0)
    assert app.runs.get(near.id).run.interruptions == 0
    invariants.check(app.client.database)


def test_a_dangerous_run_that_behaves_in_its_own_process_succeeds_there(app: App, drain: Drain) -> None:
    here = app.task(name="where", max_interruptions=9)(where)
    run = here.enqueue(5)
    _dies_with(app, run.id, times=3)
    app.runs.run_soon(run.id)
    drain(app)
    pid, saved, number = run.result(timeout=30)
    assert (pid != os.getpid(), saved, number) == (True, None, 5)


def _dies_with(app: App, run_id: str, *, times: int) -> None:
    """Workers that hold this run die, one after the other."""
    fleet = Fleet(database=app.client.database, namespace="default")
    task = app.runs.get(run_id).task
    for number in range(times):
        if number > 1:
            app.runs.run_soon(run_id)
        who = Claimer(worker_id=f"dead-{number}", namespace="default", queues={"default": None}, tasks={task: 1})
        fleet.register(who.worker_id)
        held = fleet.database.write("attempts.claim", partial(claim_run, who=who, run_id=run_id))
        assert held is not None
        assert fleet.start(held)
        assert fleet.bury(f"dead-{number}") == 1


def kill() -> None:
    """A task that takes its process with it: in a thread of a worker, the worker."""
    os._exit(9)


async def where(ctx: Context, number: int) -> tuple[int, Any, int]:
    """A task for an event loop."""
    ctx.heartbeat(progress=1)
    return os.getpid(), ctx.checkpoint, number
