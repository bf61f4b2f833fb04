"""What a drain raises, where from, and when; and the bounds at which it stops although not all is done."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from typing import Any

import pytest

from mainspring import App, Context, Fail, Release, Retry, RunFailed
from mainspring.testing import Sandbox, Unfinished, drain

# -- failures ---------------------------------------------------------------------------------------------------------


def fails(text: str) -> None:
    raise LookupError(text)


async def afails(text: str) -> None:
    fails(text)


@pytest.mark.parametrize("function", [fails, afails])
def test_a_failure_is_raised_from_the_line_that_raised_it(app: App, box: Sandbox, function: Any) -> None:
    app.task(function).enqueue("no such item")
    with pytest.raises(LookupError, match="no such item") as caught:
        drain(box)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].line == "raise LookupError(text)"
    assert not [frame for frame in frames if "recording" in frame.filename or "executor" in frame.filename]
    assert "retrying after 1 attempt" in "".join(caught.value.__notes__)


def test_a_failure_that_was_made_good_is_not_raised(app: App, box: Sandbox) -> None:
    @app.task
    def flaky(ctx: Context) -> None:
        if not ctx.failures:
            raise RuntimeError("once")

    flaky.enqueue()
    assert drain(box, until="empty").ran[0].error is None


def test_a_failure_for_good_is_raised_when_all_attempts_are_spent(app: App, box: Sandbox) -> None:
    @app.task(max_attempts=3)
    def broken(ctx: Context) -> None:
        raise RuntimeError(f"attempt {ctx.attempt}")

    broken.enqueue()
    with pytest.raises(RuntimeError, match="attempt 3"):
        drain(box, until="empty")


def test_fail_is_raised_and_retry_is_not_while_there_is_budget(app: App, box: Sandbox) -> None:
    @app.task(max_attempts=2)
    def busy() -> None:
        raise Retry(after="5m", code="busy")

    @app.task
    def hopeless() -> None:
        raise Fail("bad_address", "no @")

    busy.enqueue()
    report = drain(box)
    assert (report.counts, type(report.ran[0].error)) == ({"retrying": 1}, Retry)
    with pytest.raises(Retry):
        drain(box, until="empty")
    hopeless.enqueue()
    with pytest.raises(Fail, match="no @"):
        drain(box)


def test_a_returned_signal_is_raised_as_a_raised_one(app: App, box: Sandbox) -> None:
    @app.task
    def hopeless() -> Any:
        return Fail("bad_address", "no @")

    hopeless.enqueue()
    with pytest.raises(Fail, match="no @"):
        drain(box)


def test_of_several_failures_the_first_is_raised_and_names_the_others(app: App, box: Sandbox) -> None:
    task = app.task(max_attempts=1)(fails)
    task.enqueue_many([("one",), ("two",), ("three",)])
    with pytest.raises(LookupError, match="one") as caught:
        drain(box)
    notes = "".join(caught.value.__notes__)
    assert "2 more failed in this drain" in notes
    assert "LookupError: two" in notes
    assert app.runs.counts() == {"failed": 3}


def test_failures_are_left_to_the_report_on_request(app: App, box: Sandbox) -> None:
    task = app.task(name="fails", max_attempts=1)(fails)
    handle = task.enqueue("one")
    report = drain(box, raise_failures=False)
    (ran,) = report.of(task)
    assert isinstance(ran.error, LookupError)
    assert str(report).splitlines() == [
        "1 run worked on in 1 attempt; 0s passed; left: nothing",
        f"  fails {handle.id}: failed after 1 attempt: LookupError: one",
    ]


def test_a_payload_the_task_cannot_read_is_raised(app: App, box: Sandbox) -> None:
    app.task(name="fails")(fails)
    box.client.enqueue("fails", text=7)
    with pytest.raises(RunFailed, match="invalid_payload"):
        drain(box)


def test_a_result_that_cannot_be_stored_is_raised(app: App, box: Sandbox) -> None:
    @app.task
    def odd() -> Any:
        return object()

    odd.enqueue()
    with pytest.raises(RunFailed, match="result_invalid"):
        drain(box)


def test_what_an_earlier_attempt_raised_does_not_stand_for_the_last(app: App, box: Sandbox) -> None:
    @app.task
    def odd(ctx: Context) -> Any:
        if not ctx.failures:
            raise RuntimeError("first")
        return object()

    odd.enqueue()
    with pytest.raises(RunFailed, match="result_invalid"):
        drain(box, until="empty")


def test_system_exit_of_a_task_does_not_end_the_test_session(app: App, box: Sandbox) -> None:
    @app.task
    def leave() -> None:
        raise SystemExit(3)

    leave.enqueue()
    with pytest.raises(RunFailed, match="3"):
        drain(box)


def test_only_the_last_attempts_failure_counts(app: App, box: Sandbox) -> None:
    @app.task
    def twice(ctx: Context) -> None:
        if not ctx.failures:
            raise RuntimeError("first")
        raise Release(after="1h")

    twice.enqueue()
    drain(box, raise_failures=False)
    box.clock.advance("1m")
    report = drain(box)
    assert (report.counts, report.ran[0].error) == ({"released": 1}, None)


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_a_task_that_polls_for_ever_is_stopped_by_simulated_time(app: App, box: Sandbox) -> None:
    @app.task(name="poll")
    def poll(what: str) -> None:
        raise Release(after="1h")

    poll.enqueue("the sky")
    with pytest.raises(Unfinished) as caught:
        drain(box, until="empty", within="1d")
    assert str(caught.value).splitlines() == [
        "not done after 1d of simulated time, with 25 attempts of one run of poll (the bound is within=)",
        "1 still waiting:",
        "  poll(what='the sky'): queue default, due in 1h",
    ]


def test_a_task_that_spins_is_stopped_by_its_attempts(app: App, box: Sandbox) -> None:
    @app.task(name="spin")
    def spin() -> None:
        raise Release(until=box.clock.instant)

    spin.enqueue()
    with pytest.raises(Unfinished, match=r"not done after 20 attempts, .* of spin \(the bound is most=\)"):
        drain(box, most=20)


def test_a_drain_of_exactly_most_attempts_is_done(app: App, box: Sandbox) -> None:
    @app.task
    def work(n: int) -> None: ...

    work.enqueue_many([(n,) for n in range(5)])
    assert drain(box, most=5).attempts == 5


def test_a_coroutine_that_hangs_is_cut_off_and_named_and_the_sandbox_goes_on(app: App, box: Sandbox) -> None:
    cancelled = []

    @app.task(name="hang")
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    @app.task
    def work() -> None: ...

    handle = hang.enqueue()
    with pytest.raises(Unfinished, match=r"not done after 1 s of real time(.|\n)*hang " + handle.id):
        drain(box, timeout="1s")
    assert cancelled == [True]
    app.runs.cancel(handle.id)
    work.enqueue()
    assert drain(box).counts == {"succeeded": 1}


def test_a_function_that_hangs_is_asked_to_stop_and_named(app: App, box: Sandbox) -> None:
    stopped = threading.Event()

    @app.task(name="hang")
    def hang(ctx: Context) -> None:
        while not ctx.is_cancelled:
            time.sleep(0.001)
        stopped.set()

    hang.enqueue()
    with pytest.raises(Unfinished, match="hang"):
        drain(box, timeout="1s")
    assert stopped.wait(20)
