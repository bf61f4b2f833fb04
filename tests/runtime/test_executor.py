"""User code on a real event loop: what each thing that a task can do means, and how each kind of task is stopped.

Here: ``async`` and ``thread`` tasks in the executor alone; a ``Bench`` stands where the worker is. Not here: processes
(``test_processes.py``), and what becomes of a run afterwards (``test_worker.py``). Nothing here waits for time to pass except
where a timeout of a few milliseconds is what is tested.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from mainspring import Cancelled, Context, Fail, LeaseLost, Release, Retry
from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unstarted, Unworkable
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.errors import MainspringError, PayloadInvalid, PayloadTooLarge, StorageUnavailable
from mainspring.operations.claims import Claimed
from mainspring.registry import Registry
from mainspring.runtime.executor import LoopExecutor
from mainspring.runtime.outcomes import MESSAGE_BYTES
from mainspring.runtime.worker import Assignment, Worker
from tests.support.loops import PATIENCE_SECONDS, happened, in_loop, turns

MILLISECOND = 1_000
BRIEF = Policy(timeout_us=20 * MILLISECOND, grace_us=20 * MILLISECOND)
SHORT_GRACE = Policy(grace_us=20 * MILLISECOND)

both_kinds = pytest.mark.parametrize("kind", ["async", "thread"])


class Bench:
    """An executor, and the ears and the voice of a worker: hands it runs, hears how they end."""

    def __init__(self, concurrency: int) -> None:
        self.registry = Registry(queue="main")
        self.executor = LoopExecutor(self.registry, concurrency=concurrency, members=lambda _: iter(()), on_ended=lambda _: None)
        self.executor.worker = cast("Worker", self)
        self.told: list[tuple[str, bytes | None, str | None, bool]] = []
        self.ends: dict[tuple[str, int], Outcome] = {}
        self.seconds: dict[str, float | None] = {}
        self.starts: list[str] = []
        self.on_start: Callable[[], bool] = lambda: True
        self._waiting: dict[tuple[str, int], asyncio.Future[Outcome]] = {}
        self._numbers = itertools.count(1)

    # -- as the worker ---------------------------------------------------------------------------------------------------

    def ended(self, held: Claimed, outcome: Outcome, *, seconds: float | None = None, receipts: object = ()) -> None:
        assert (held.id, held.token) not in self.ends, "an attempt ended twice"
        self.ends[held.id, held.token] = outcome
        self.seconds[held.id] = seconds
        if (waiting := self._waiting.get((held.id, held.token))) is not None:
            waiting.set_result(outcome)

    def tell(self, held: Claimed, details: bytes | None, progress: str | None, now: bool) -> None:
        self.told.append((held.id, details, progress, now))

    def start(self, held: Claimed) -> bool:
        self.starts.append(held.id)
        return self.on_start()

    # -- for the test ----------------------------------------------------------------------------------------------------

    def begin(
        self,
        function: Callable[..., Any],
        *,
        body: bytes = b"{}",
        policy: Policy | None = None,
        saved: bytes | None = None,
        **row: Any,
    ) -> Claimed:
        """Hand a run of ``function`` to the executor."""
        number = next(self._numbers)
        name = row.pop("task", None) or f"task{number}"
        if name not in self.registry.names():
            self.registry.add(function, name=name)
        told: dict[str, Any] = {
            "id": f"run{number}", "token": 1, "seq": 2, "lane_id": 1, "policy_id": 1,
            "failures": 0, "interruptions": 0, "releases": 0, "idempotency_key": None, "singleton_key": None,
            "batch_id": None, "created_at": 0, "due_at": 0, "body": body,
        }  # fmt: skip
        claimed = Claimed(**told | row)
        self._waiting[claimed.id, claimed.token] = asyncio.get_running_loop().create_future()
        lane = Lane(namespace="default", queue="main", task=name)
        self.executor.begin([Assignment(claimed, lane, policy or Policy(), saved)])
        return claimed

    async def outcome(self, claimed: Claimed) -> Outcome:
        """How an attempt ended, once it has."""
        return await self._waiting[claimed.id, claimed.token]

    async def is_quiet(self) -> None:
        """Until every attempt is over, also those that report nothing."""
        await turns()
        while not self.executor.is_idle:
            await asyncio.sleep(0.001)  # nothing else tells: an attempt that lost its lease ends in silence
            await turns()

    async def of(self, function: Callable[..., Any], **options: Any) -> Outcome:
        """How one attempt of ``function`` ends."""
        return await self.outcome(self.begin(function, **options))


@asynccontextmanager
async def bench(concurrency: int = 4) -> AsyncIterator[Bench]:
    set_up = Bench(concurrency)
    yield set_up
    await turns()
    assert set_up.executor.is_idle, "user code is left behind"
    await set_up.executor.close()


def made(kind: str, act: Callable[[], Any]) -> Callable[..., Any]:
    """A task of that kind that does ``act``."""

    async def on_the_loop() -> Any:
        return act()

    def in_a_thread() -> Any:
        return act()

    return on_the_loop if kind == "async" else in_a_thread


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def returning(value: Any) -> Callable[[], Any]:
    return lambda: value


# -- what a task can do ----------------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.parametrize(("value", "stored"), [(None, b"null"), (7, b"7"), ({"a": [1, "x"]}, b'{"a":[1,"x"]}')])
@in_loop
async def test_what_a_task_returns_is_stored(kind: str, value: Any, stored: bytes) -> None:
    async with bench() as b:
        assert await b.of(made(kind, lambda: value)) == Succeeded(stored)


@both_kinds
@pytest.mark.parametrize("way", ["raised", "returned"])
@in_loop
async def test_a_signal_means_the_same_raised_or_returned(kind: str, way: str) -> None:
    meant: list[tuple[Exception, Outcome]] = [
        (Retry(after="5s", code="busy"), Failed(code="busy", message="", type="Retry", after_us=5_000_000)),
        (Retry(), Failed(code="error", message="", type="Retry")),
        (Fail("bad_address", "no such place"), Failed(code="bad_address", message="no such place", type="Fail", final=True)),
        (Release(after="2m", reason="not ready"), GaveItselfBack(after_us=120_000_000, reason="not ready")),
        (Release(until="2031-05-01T09:00:00Z"), GaveItselfBack(until=1_935_392_400_000_000)),
        (Cancelled(), Stopped()),
    ]
    async with bench() as b:
        for signal, outcome in meant:
            act = raising(signal) if way == "raised" else returning(signal)
            assert await b.of(made(kind, act)) == outcome


@both_kinds
@in_loop
async def test_an_exception_is_a_failure_with_its_type_and_traceback(kind: str) -> None:
    async with bench() as b:
        outcome = await b.of(made(kind, raising(KeyError("left"))))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message, outcome.type, outcome.final) == ("error", "'left'", "KeyError", False)
    assert "raise error" in (outcome.traceback or "")


@both_kinds
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopIteration(),
        StopAsyncIteration(),
        RecursionError(),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@in_loop
async def test_no_exception_of_user_code_ends_more_than_its_attempt(kind: str, error: BaseException) -> None:
    async with bench() as b:
        outcome = await b.of(made(kind, raising(error)))
        assert isinstance(outcome, Failed)
        assert await b.of(made(kind, lambda: "next")) == Succeeded(b'"next"')


@both_kinds
@in_loop
async def test_a_signal_with_a_delay_that_is_none_is_a_mistake_of_the_task(kind: str) -> None:
    async with bench() as b:
        outcome = await b.of(made(kind, raising(Retry(after="soon"))))
    assert isinstance(outcome, Failed)
    assert outcome.code == "invalid_option"
    assert "soon" in outcome.message


@both_kinds
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (object(), "result_invalid"),
        (float("nan"), "result_invalid"),
        ("\ud800", "result_invalid"),
        ("x" * 300_000, "result_too_large"),
    ],
    ids=["object", "NaN", "surrogate", "300 kB"],
)
@in_loop
async def test_a_result_that_cannot_be_stored_fails_the_run_for_good(kind: str, value: Any, code: str) -> None:
    async with bench() as b:
        outcome = await b.of(made(kind, lambda: value))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final) == (code, True)


@pytest.mark.case("jobs", 55)
@in_loop
async def test_one_result_in_a_hundred_that_cannot_be_stored_harms_none_of_the_others() -> None:
    async with bench(concurrency=100) as b:
        claims = [b.begin(made("async", returning(object() if place == 50 else place))) for place in range(100)]
        outcomes = [await b.outcome(claimed) for claimed in claims]
    assert [type(outcome) for outcome in outcomes].count(Succeeded) == 99
    assert isinstance(outcomes[50], Failed)


class ShyError(Exception):
    def __str__(self) -> str:
        raise ValueError("I would rather not say")


class Nameless:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


@both_kinds
@in_loop
async def test_an_exception_that_cannot_be_printed_is_a_failure_all_the_same(kind: str) -> None:
    async with bench() as b:
        outcome = await b.of(made(kind, raising(ShyError())))
    assert isinstance(outcome, Failed)
    assert outcome.type == "ShyError"


@both_kinds
@in_loop
async def test_a_result_that_cannot_even_be_shown_fails_the_attempt(kind: str) -> None:
    async with bench() as b:
        assert isinstance(await b.of(made(kind, Nameless)), Failed)


@both_kinds
@pytest.mark.case("jobs", 54)
@in_loop
async def test_a_message_of_a_megabyte_is_stored_bounded_with_its_head_and_tail(kind: str) -> None:
    async with bench() as b:
        outcome = await b.of(made(kind, raising(ValueError("head" + "x" * 1_000_000 + "tail"))))
    assert isinstance(outcome, Failed)
    assert len(outcome.message.encode()) <= MESSAGE_BYTES
    assert outcome.message.startswith("head")
    assert outcome.message.endswith("tail")
    assert len((outcome.traceback or "").encode()) <= 5 * MESSAGE_BYTES


@both_kinds
@in_loop
async def test_a_message_no_database_can_store_is_made_storable(kind: str) -> None:
    async with bench() as b:
        outcome = await b.of(made(kind, raising(ValueError("nul \x00 and \udc80"))))
    assert isinstance(outcome, Failed)
    assert "\x00" not in outcome.message
    outcome.message.encode()
    (outcome.traceback or "").encode()


class LongNameError(Exception):
    __qualname__ = "N" * 100_000


@in_loop
async def test_the_name_of_an_exceptions_type_is_bounded_like_all_else() -> None:
    async with bench() as b:
        outcome = await b.of(made("async", raising(LongNameError())))
    assert isinstance(outcome, Failed)
    assert len(outcome.type or "") <= 1000


@both_kinds
@pytest.mark.parametrize("body", [b"\xff\xfe", b"{", b"[]", b'{"wrong":1}', b'{"x":"no number"}', b'{"x":1,"y":2}', None])
@in_loop
async def test_a_payload_that_cannot_be_read_needs_attention_and_runs_nothing(kind: str, body: bytes | None) -> None:
    ran = threading.Event()

    async def on_the_loop(x: int) -> None:
        ran.set()

    def in_a_thread(x: int) -> None:
        ran.set()

    async with bench() as b:
        outcome = await b.of(on_the_loop if kind == "async" else in_a_thread, body=body)
    assert isinstance(outcome, Unworkable)
    assert outcome.code == "invalid_payload"
    assert not ran.is_set()


# -- the context -----------------------------------------------------------------------------------------------------------


@in_loop
async def test_the_context_says_what_the_attempt_is() -> None:
    def task(ctx: Context) -> list[Any]:
        return [ctx.run_id, ctx.task, ctx.queue, ctx.token, ctx.attempt, ctx.failures, ctx.interruptions, ctx.checkpoint]

    async with bench() as b:
        outcome = await b.of(task, task="look", token=7, failures=2, interruptions=1, releases=3, saved=b'{"row":9}')
    assert outcome == Succeeded(b'["run1","look","main",7,7,2,1,{"row":9}]')


@in_loop
async def test_a_heartbeat_is_told_to_the_worker_from_any_thread() -> None:
    def in_a_thread(ctx: Context) -> None:
        ctx.heartbeat({"row": 1}, progress="begun")
        ctx.heartbeat(now=True)
        ctx.progress(3, 10, "rows")

    async with bench() as b:
        claimed = b.begin(in_a_thread)
        await b.outcome(claimed)
    assert b.told == [
        (claimed.id, b'{"row":1}', '"begun"', False),
        (claimed.id, None, None, True),
        (claimed.id, None, '{"done":3,"total":10,"note":"rows"}', False),
    ]


@pytest.mark.parametrize(("details", "error"), [("x" * 65_536, PayloadTooLarge), (object(), PayloadInvalid)])
@in_loop
async def test_a_checkpoint_that_cannot_be_stored_is_refused_where_it_is_made(details: Any, error: type[MainspringError]) -> None:
    def task(ctx: Context) -> str:
        try:
            ctx.heartbeat(details)
        except error as refused:
            return refused.code
        return "stored"

    async with bench() as b:
        assert await b.of(task) == Succeeded(f'"{error.code}"'.encode())
    assert b.told == []


@in_loop
async def test_context_variables_reach_a_thread_and_do_not_leak_into_the_next_attempt() -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")

    def task() -> str:
        found = trace.get()
        trace.set("left behind")
        return found

    async with bench(concurrency=1) as b:
        trace.set("ours")
        first = b.begin(task, task="traced")
        second = b.begin(task, task="traced")
        assert await b.outcome(first) == Succeeded(b'"ours"')
        assert await b.outcome(second) == Succeeded(b'"ours"')


@in_loop
async def test_no_more_attempts_run_at_once_than_there_are_places() -> None:
    inside, most, gate = 0, 0, asyncio.Event()

    async def task() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await gate.wait()
        inside -= 1

    async with bench(concurrency=3) as b:
        claims = [b.begin(task, task="counted") for _ in range(10)]
        await turns()
        assert inside == 3
        gate.set()
        for claimed in claims:
            await b.outcome(claimed)
    assert most == 3


# -- starting on the record ------------------------------------------------------------------------------------------------


@in_loop
async def test_only_a_run_that_was_interrupted_before_is_started_on_the_record() -> None:
    async with bench() as b:
        await b.of(made("async", lambda: 1))
        suspect = b.begin(made("async", lambda: 1), interruptions=1)
        assert await b.outcome(suspect) == Succeeded(b"1")
    assert b.starts == [suspect.id]


@both_kinds
@in_loop
async def test_a_run_whose_lease_was_lost_before_it_began_is_not_begun_and_not_reported(kind: str) -> None:
    ran = threading.Event()
    async with bench() as b:
        b.on_start = lambda: False
        b.begin(made(kind, ran.set), interruptions=1)
        await b.is_quiet()
        assert len(b.starts) == 1
        assert b.ends == {}
    assert not ran.is_set()


@both_kinds
@in_loop
async def test_a_database_that_is_away_when_a_suspect_starts_spends_nothing(kind: str) -> None:
    def away() -> bool:
        raise StorageUnavailable("away")

    ran = threading.Event()
    async with bench() as b:
        b.on_start = away
        assert await b.of(made(kind, ran.set), interruptions=1) == Unstarted()
    assert not ran.is_set()


# -- timeouts --------------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_coroutine_that_takes_too_long_is_cancelled_and_has_timed_out() -> None:
    cleaned_up = asyncio.Event()

    async def task() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    async with bench() as b:
        outcome = await b.of(task, policy=Policy(timeout_us=20 * MILLISECOND))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final) == ("timeout", False)
    assert cleaned_up.is_set()


@in_loop
async def test_a_coroutine_that_swallows_its_timeout_has_timed_out_and_keeps_its_place_until_it_ends() -> None:
    gate, second_ran = asyncio.Event(), asyncio.Event()

    async def stubborn() -> str:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    async def second() -> None:
        second_ran.set()

    async with bench(concurrency=1) as b:
        outcome = await b.of(stubborn, policy=BRIEF)
        assert isinstance(outcome, Failed)
        assert outcome.code == "timeout"
        follower = b.begin(second)
        await turns()
        assert not second_ran.is_set()
        gate.set()
        assert await b.outcome(follower) == Succeeded(b"null")


@in_loop
async def test_a_coroutine_that_returns_after_its_timeout_has_timed_out_all_the_same() -> None:
    async def task() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "in time, I say"
        return "never"

    async with bench() as b:
        outcome = await b.of(task, policy=BRIEF)
    assert isinstance(outcome, Failed)
    assert outcome.code == "timeout"


@in_loop
async def test_a_thread_is_told_of_its_timeout_and_may_stop_by_itself() -> None:
    def task(ctx: Context) -> None:
        deadline = threading.Event()
        while not ctx.is_cancelled:
            deadline.wait(0.001)
        ctx.check()

    async with bench() as b:
        outcome = await b.of(task, policy=Policy(timeout_us=20 * MILLISECOND))
        assert isinstance(outcome, Failed)
        assert outcome.code == "timeout"
        assert b.executor.abandoned == 0


@pytest.mark.case("jobs", 40)
@in_loop
async def test_a_thread_that_ignores_its_timeout_keeps_its_place_and_is_counted_until_it_ends() -> None:
    gate, second_ran = threading.Event(), threading.Event()

    def stubborn() -> None:
        gate.wait(PATIENCE_SECONDS)

    async with bench(concurrency=4) as b:
        outcome = await b.of(stubborn, policy=BRIEF)
        assert isinstance(outcome, Failed)
        assert outcome.code == "timeout"
        assert b.executor.abandoned == 1
        assert b.executor.is_worn_out
        holders = [b.begin(stubborn, task="hold") for _ in range(3)]
        crowd = b.begin(second_ran.set, task="crowd")
        await turns()
        assert not second_ran.is_set()
        gate.set()
        assert await b.outcome(crowd) == Succeeded(b"null")
        for holder in holders:
            await b.outcome(holder)
        while b.executor.abandoned:  # its thread may be the last to hear of the gate
            await turns(1)
        assert not b.executor.is_worn_out


# -- stopping one attempt --------------------------------------------------------------------------------------------------


@in_loop
async def test_a_cancelled_coroutine_stops() -> None:
    begun = asyncio.Event()

    async def task() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with bench() as b:
        claimed = b.begin(task)
        await begun.wait()
        b.executor.stop(claimed.id, claimed.token, "cancelled")
        assert await b.outcome(claimed) == Stopped()


@in_loop
async def test_a_cancelled_thread_hears_of_it_at_its_next_heartbeat() -> None:
    begun = threading.Event()

    def task(ctx: Context) -> None:
        begun.set()
        while True:
            ctx.heartbeat()

    async with bench() as b:
        claimed = b.begin(task)
        await happened(begun)
        b.executor.stop(claimed.id, claimed.token, "cancelled")
        assert await b.outcome(claimed) == Stopped()


@in_loop
async def test_a_cancelled_attempt_that_finishes_keeps_its_true_outcome() -> None:
    begun = threading.Event()

    def task(ctx: Context) -> str:
        begun.set()
        while not ctx.is_cancelled:
            threading.Event().wait(0.001)
        return "all done"

    async with bench() as b:
        claimed = b.begin(task)
        await happened(begun)
        b.executor.stop(claimed.id, claimed.token, "cancelled")
        b.executor.stop(claimed.id, claimed.token, "cancelled")
        assert await b.outcome(claimed) == Succeeded(b'"all done"')


@in_loop
async def test_a_cancelled_attempt_that_waits_for_a_place_never_begins() -> None:
    gate, ran = asyncio.Event(), asyncio.Event()

    async def waiting() -> None:
        ran.set()

    async with bench(concurrency=1) as b:
        first = b.begin(gate.wait, task="gate")
        second = b.begin(waiting)
        await turns()
        b.executor.stop(second.id, second.token, "cancelled")
        assert await b.outcome(second) == Stopped()
        gate.set()
        await b.outcome(first)
    assert not ran.is_set()


@in_loop
async def test_a_stop_of_an_unknown_attempt_does_nothing() -> None:
    async with bench() as b:
        b.executor.stop("nobody", 1, "cancelled")
        assert await b.of(made("async", lambda: 1)) == Succeeded(b"1")


# -- a lost lease ----------------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 32)
@in_loop
async def test_a_coroutine_whose_lease_is_lost_is_stopped_and_reports_nothing() -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with bench() as b:
        claimed = b.begin(task)
        await begun.wait()
        b.executor.stop(claimed.id, claimed.token, "lease_lost")
        await stopped.wait()
        await turns()
        assert b.ends == {}


@pytest.mark.case("jobs", 32)
@in_loop
async def test_a_thread_whose_lease_is_lost_is_told_so_by_its_next_heartbeat_and_reports_nothing() -> None:
    begun, heard = threading.Event(), threading.Event()

    def task(ctx: Context) -> None:
        begun.set()
        try:
            while True:
                ctx.heartbeat()
        except LeaseLost:
            heard.set()
            raise

    async with bench() as b:
        claimed = b.begin(task)
        await happened(begun)
        b.executor.stop(claimed.id, claimed.token, "lease_lost")
        await happened(heard)
        await b.is_quiet()
        assert b.ends == {}


@in_loop
async def test_a_lost_lease_overrules_a_cancel() -> None:
    begun, gate, why = threading.Event(), threading.Event(), []

    def task(ctx: Context) -> None:
        begun.set()
        gate.wait(PATIENCE_SECONDS)
        try:
            ctx.check()
        except (Cancelled, LeaseLost) as error:
            why.append(type(error))
            raise

    async with bench() as b:
        claimed = b.begin(task)
        await happened(begun)
        b.executor.stop(claimed.id, claimed.token, "cancelled")
        b.executor.stop(claimed.id, claimed.token, "lease_lost")
        await turns()
        gate.set()
        await b.is_quiet()
        assert b.ends == {}
    assert why == [LeaseLost]


@in_loop
async def test_a_run_that_waits_for_a_place_and_loses_its_lease_is_forgotten() -> None:
    gate, ran = asyncio.Event(), asyncio.Event()

    async with bench(concurrency=1) as b:
        first = b.begin(gate.wait, task="gate")
        second = b.begin(made("async", ran.set))
        await turns()
        b.executor.stop(second.id, second.token, "lease_lost")
        await turns()
        gate.set()
        await b.outcome(first)
        await turns()
        assert list(b.ends) == [(first.id, first.token)]
    assert not ran.is_set()


@in_loop
async def test_a_run_that_comes_back_while_its_lost_attempt_still_runs_here_is_reported_once_and_under_the_new_fence() -> None:
    gates = {1: threading.Event(), 2: threading.Event()}
    begun = {1: threading.Event(), 2: threading.Event()}
    over = {1: threading.Event(), 2: threading.Event()}

    def stubborn(ctx: Context) -> int:
        begun[ctx.token].set()
        gates[ctx.token].wait(PATIENCE_SECONDS)
        over[ctx.token].set()
        return ctx.token

    async with bench() as b:
        first = b.begin(stubborn, task="stubborn", id="the-run", token=1)
        await happened(begun[1])
        b.executor.stop(first.id, first.token, "lease_lost")
        second = b.begin(stubborn, task="stubborn", id="the-run", token=2)
        await happened(begun[2])
        gates[1].set()
        await happened(over[1])
        await turns()  # the first attempt has ended, and is to be heard of no more
        gates[2].set()
        async with asyncio.timeout(2):
            assert await b.outcome(second) == Succeeded(b"2")
        assert list(b.ends) == [("the-run", 2)]


# -- stopping them all -----------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 30)
@in_loop
async def test_what_has_not_begun_is_given_back_and_what_runs_may_finish() -> None:
    gate, contexts = asyncio.Event(), []

    async def task(ctx: Context) -> str:
        contexts.append(ctx)
        await gate.wait()
        return "finished"

    async with bench(concurrency=1) as b:
        running, *waiting = [b.begin(task, task="work") for _ in range(3)]
        await turns()
        b.executor.give_back()
        assert [await b.outcome(claimed) for claimed in waiting] == [Unstarted(), Unstarted()]
        late = b.begin(task, task="work")
        assert await b.outcome(late) == Unstarted()
        assert contexts[0].stopping
        assert b.seconds[waiting[0].id] is None
        gate.set()
        assert await b.outcome(running) == Succeeded(b'"finished"')
    assert len(contexts) == 1


@both_kinds
@in_loop
async def test_what_still_runs_after_the_grace_is_interrupted_by_the_shutdown(kind: str) -> None:
    begun = threading.Event()

    async def on_the_loop() -> None:
        begun.set()
        await asyncio.Event().wait()

    def in_a_thread(ctx: Context) -> None:
        begun.set()
        while True:
            ctx.heartbeat()

    async with bench() as b:
        claimed = b.begin(on_the_loop if kind == "async" else in_a_thread)
        await happened(begun)
        b.executor.give_back()
        b.executor.interrupt()
        assert await b.outcome(claimed) == Interrupted("shutdown", shutdown=True)


@in_loop
async def test_an_attempt_that_ends_as_it_is_interrupted_keeps_its_true_outcome() -> None:
    begun = asyncio.Event()

    async def task() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "saved"
        return "never"

    async with bench() as b:
        claimed = b.begin(task)
        await begun.wait()
        b.executor.interrupt()
        assert await b.outcome(claimed) == Succeeded(b'"saved"')


@in_loop
async def test_what_does_not_stop_at_all_is_reported_as_interrupted_and_its_end_is_not_heard_of() -> None:
    begun, gate = threading.Event(), threading.Event()

    def stubborn() -> None:
        begun.set()
        gate.wait(PATIENCE_SECONDS)

    async with bench() as b:
        claimed = b.begin(stubborn)
        await happened(begun)
        b.executor.give_back()
        b.executor.interrupt()
        b.executor.abandon()
        assert await b.outcome(claimed) == Interrupted("shutdown", shutdown=True)
        gate.set()
        await asyncio.to_thread(gate.wait)
        await turns()
        assert len(b.ends) == 1


@in_loop
async def test_only_attempts_that_ran_say_how_long() -> None:
    async with bench() as b:
        claimed = b.begin(made("async", lambda: 1))
        await b.outcome(claimed)
        assert b.seconds[claimed.id] is not None
