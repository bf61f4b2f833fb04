"""Running what is enqueued in a sandbox, here and now: the worker, maintenance and executor of production, stepped by hand.

Here: ``drain`` and ``adrain``, their bounds, and the report of what ran. Not here: the sandbox itself (``sandboxing``), and
what the services do in a step (``runtime``).
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

from mainspring.app import SANDBOXED_BY, App
from mainspring.core.attempts import Unstarted
from mainspring.core.durations import DAY, Duration, format_duration, parse_duration
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption
from mainspring.operations import attempts, views
from mainspring.operations.attempts import Ended
from mainspring.registry import Registry
from mainspring.runtime.executor import LoopExecutor
from mainspring.runtime.maintenance import Maintenance
from mainspring.runtime.worker import Assignment, Worker, WorkerPlan
from mainspring.testing.asserting import enqueued
from mainspring.testing.clock import SimulatedSystem
from mainspring.testing.drained import Drained, Entry, Ran, Unfinished, count
from mainspring.testing.recording import Raised, RecordingRegistry
from mainspring.testing.sandboxing import Sandbox, sandbox_of

__all__ = ["Drained", "Ran", "Unfinished", "adrain", "drain"]

T = TypeVar("T")

Until = Literal["due", "empty"]

_LEASE_US = 365 * DAY  # simulated time may pass while a task runs, and that is no sign of a dead worker
_LOOK_SECONDS = 0.1
_CUT_SECONDS = 2.0
_MOST_SHOWN = 20
_PAGE = 500


def drain(
    target: App | Sandbox,
    *,
    until: Until = "due",
    raise_failures: bool = True,
    concurrency: int = 1,
    processes: bool = False,
    within: Duration = "30d",
    most: int = 10_000,
    timeout: Duration = "60s",
) -> Drained:
    """Run what is enqueued in a sandbox, in this thread, until nothing is due, and what that enqueues too.

    ``until="empty"`` moves the clock to the next due instant, runs what is due, and so on until no run waits for its time: at
    most ``within`` of simulated time. ``most`` attempts and ``timeout`` of real time bound both.

    At the end, a run whose last attempt here failed is raised, with what its task raised; it is not where that was a ``Retry`` it
    has budget for. ``raise_failures=False`` leaves that to the report.

    Attempts go one at a time, in the order in which a worker claims them, unless ``concurrency`` says otherwise. Tasks with
    ``executor="process"`` run in a thread, where fakes and the sandbox reach them; ``processes=True`` gives them processes.

    Raises:
        InvalidOption: the app is in no sandbox, or an event loop runs in this thread (``await adrain(...)``).
        Unfinished: a bound was reached.
    """
    __tracebackhide__ = True
    if _has_loop():
        raise InvalidOption("drain() blocks the event loop it is called in; write `await adrain(...)`", option="app")
    work = _Drain(sandbox_of(target), until, concurrency, processes, within, most, timeout)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        report = runner.run(work.run())
    return work.judged(report) if raise_failures else report


async def adrain(
    target: App | Sandbox,
    *,
    until: Until = "due",
    raise_failures: bool = True,
    concurrency: int = 1,
    processes: bool = False,
    within: Duration = "30d",
    most: int = 10_000,
    timeout: Duration = "60s",
) -> Drained:
    """``drain`` in this event loop: coroutines among the tasks run in it."""
    __tracebackhide__ = True
    work = _Drain(sandbox_of(target), until, concurrency, processes, within, most, timeout)
    report = await work.run()
    return work.judged(report) if raise_failures else report


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Drain:
    """One drain: from options to a report."""

    def __init__(
        self,
        box: Sandbox,
        until: Until,
        concurrency: int,
        processes: bool,
        within: Duration,
        most: int,
        timeout: Duration,
    ) -> None:
        if until not in {"due", "empty"}:
            raise InvalidOption(f'until must be "due" or "empty", not {until!r}', option="until")
        for name, number in (("concurrency", concurrency), ("most", most)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise InvalidOption(f"{name} must be a whole number from 1, not {number!r}", option=name)
        self._box = box
        self._until = until
        self._concurrency = concurrency
        self._processes = processes
        self._within_us = parse_duration(within, option="within")
        self._most = most
        self._timeout_seconds = parse_duration(timeout, option="timeout") / 1e6
        self._began_at = box.clock.now
        self._entries: dict[str, Entry] = {}
        self._attempts = 0
        self._became_due = False

    async def run(self) -> Drained:
        """Do it.

        Raises:
            Unfinished: a bound was reached; what ran then was cut off.
        """
        with self._box.draining(self._concurrency) as number, _children_refused(self._processes):
            self._put_together(number)
            forget_hub = self._box.client.hub.watch_work(self._note)
            bound = asyncio.timeout(self._timeout_seconds)
            try:
                async with bound:
                    await self._work()
            except TimeoutError:
                if not bound.expired():
                    raise
                raise Unfinished(self._out_of_time()) from None
            finally:
                await self._wind_down()
                forget_hub()
            return self._report()

    def judged(self, report: Drained) -> Drained:
        """The report, unless there is a failure to raise."""
        __tracebackhide__ = True
        failed = [run for run in report.ran if run.error is not None and self._entries[run.run_id].is_failure(run.state)]
        if not failed:
            return report
        first = failed[0]
        assert first.error is not None
        first.error.add_note(f"raised by {first.task}, run {first.run_id}: {first.state} after {count(first.attempts, 'attempt')}")
        if first.state is State.RETRYING:
            first.error.add_note('to see it tried again: drain(app, until="empty"), or drain(app, raise_failures=False)')
        if failed[1:]:
            others = [f"  {run}"[:500] for run in failed[1:_MOST_SHOWN]]
            first.error.add_note("\n".join([f"{len(failed) - 1} more failed in this drain:", *others]))
        raise first.error.with_traceback(self._entries[first.run_id].traceback)

    # -- putting together what a worker process is made of ------------------------------------------------------------

    def _put_together(self, number: int) -> None:
        box, client, registry = self._box, self._box.client, self._box.app.registry
        plan = WorkerPlan(
            id=f"drain-{number}",
            namespace=client.namespace,
            queues=dict.fromkeys(registry.queues),
            tasks=registry.versions(),
            concurrency=self._concurrency,
            ttl_us=_LEASE_US,
            poll_seconds=1.0,
        )
        self._loop = asyncio.get_running_loop()
        self._change = asyncio.Event()
        self._services = ThreadPoolExecutor(1, thread_name_prefix="mainspring-drain")
        recording = RecordingRegistry(registry, keep=self._raised, processes=self._processes)
        self._executor = LoopExecutor(
            recording,
            concurrency=self._concurrency,
            members=client.members,
            on_ended=self._note,
            keeping=client.keeping,
            client=client,
        )
        self._worker = Worker(
            client.database, _Noting(self._executor, self._begun), plan, system=_PassingTime(box.system), on_finished=self._ended
        )
        self._executor.worker = self._worker
        self._upkeep = Maintenance(
            client.database, system=box.system, ttl_us=_LEASE_US, actor=f"worker:{plan.id}", on_due=self._note_due
        )
        self._registry: Registry = registry

    def _note(self, _: object) -> None:
        """An attempt ended or wants something written now, or there is new work. From any thread."""
        self._loop.call_soon_threadsafe(self._change.set)

    def _note_due(self) -> None:
        self._became_due = True

    def _begun(self, claims: Sequence[Assignment]) -> None:
        for assignment in claims:
            self._entries.setdefault(assignment.claimed.id, Entry(assignment)).begin()

    def _raised(self, run_id: str, raised: Raised) -> None:
        self._entries[run_id].raised = raised

    def _ended(self, ended: Sequence[Ended]) -> None:
        """Outcomes are durable: tell who waits for them. From the step's thread."""
        for end in ended:
            entry = self._entries[end.held.id]
            entry.outcome = end.outcome
            if type(end.outcome) is not Unstarted:
                entry.attempts += 1
                self._attempts += 1
        self._box.client.hub.ended([end.held.id for end in ended])

    # -- working ----------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            await self._do_what_is_due()
            next_at = self._next_at()
            if self._until == "due" or next_at is None:
                return
            if next_at > self._began_at + self._within_us:
                raise Unfinished(self._out_of("within", f"{format_duration(self._within_us)} of simulated time"))
            self._box.clock.advance_us(max(0, next_at - self._box.clock.now))

    def _next_at(self) -> int | None:
        """The earliest instant at which something is due, or a rate lets something begin."""
        due_at: int | None = self._box.client.database.read("runs.next_due", attempts.next_due_at)
        opens_in = self._worker.opens_in
        opens_at = None if opens_in is None else self._box.clock.now + opens_in
        return min((at for at in (due_at, opens_at) if at is not None), default=None)

    async def _do_what_is_due(self) -> None:
        """Until worker and maintenance, one after the other, find nothing more to do at this instant."""
        while True:
            await self._work_off()
            self._became_due = False
            await self._in_services(self._upkeep.step)
            if not self._became_due:
                return

    async def _work_off(self) -> None:
        """What is queued, until the worker finds nothing and has nothing."""
        while True:
            self._change.clear()
            await self._in_services(self._worker.step)
            if self._attempts > self._most:
                raise Unfinished(self._out_of("most", f"{self._most:,} attempts"))
            if not self._executor.is_idle:
                await self._until_something_happens()
            elif self._worker.has_nothing and self._worker.found_nothing:
                return

    async def _until_something_happens(self) -> None:
        """An attempt ends, or a moment goes by and the worker should look whether somebody cancelled one."""
        timer = self._loop.call_later(_LOOK_SECONDS, self._change.set)
        try:
            await self._change.wait()
        finally:
            timer.cancel()

    async def _in_services(self, step: Callable[[], T]) -> T:
        """Steps have a thread of their own, as in a worker process: a coroutine that holds ``app.connection()`` is in their way
        and not in their transaction."""
        return await self._loop.run_in_executor(self._services, step)

    async def _wind_down(self) -> None:
        """Whatever happened, nothing of this drain goes on after it, but a thread that does not listen."""
        self._worker.stop()
        if not self._executor.is_idle:
            self._executor.give_back()
            self._executor.interrupt()
            give_up_at = self._loop.time() + _CUT_SECONDS
            while not self._executor.is_idle and self._loop.time() < give_up_at:
                self._change.clear()
                await self._until_something_happens()
            self._executor.abandon()
        await self._in_services(self._leave)
        await self._executor.close()
        self._services.shutdown()

    def _leave(self) -> None:
        while not self._worker.has_nothing:
            self._worker.step()
        self._box.client.database.write("workers.leave", lambda tx: attempts.leave(tx, self._worker.id))

    # -- telling ----------------------------------------------------------------------------------------------------

    def _report(self) -> Drained:
        ids = list(self._entries)
        endings = self._box.client.database.read("views.outcomes", lambda tx: _endings(tx, ids))
        told = self._box.client.keeping.read_told
        endings = {run_id: replace(end, data=told(end.data, run_id=run_id)) for run_id, end in endings.items()}
        counts = self._box.client.runs.counts()
        return Drained(
            ran=tuple(self._ran(entry, endings[run_id]) for run_id, entry in self._entries.items() if entry.attempts),
            passed=timedelta(microseconds=self._box.clock.now - self._began_at),
            left={state: count for state, count in sorted(counts.items()) if State(state) not in TERMINAL},
        )

    def _ran(self, entry: "Entry", ending: views.Ending) -> Ran:
        succeeded = ending.state is State.SUCCEEDED and ending.body is not None
        spec = self._registry.get(entry.task)
        return Ran(
            task=spec.name,
            queue=entry.queue,
            run_id=ending.run_id,
            attempts=entry.attempts,
            state=ending.state,
            result=spec.decode_result(self._stored(ending)) if succeeded else None,
            error=entry.error(ending),
        )

    def _stored(self, ending: views.Ending) -> bytes:
        return self._box.client.keeping.read_result(ending.body or b"null", run_id=ending.run_id)

    def _out_of(self, option: str, spent: str) -> str:
        waiting = enqueued(self._box)
        lines = [f"  {run}" for run in waiting[:_MOST_SHOWN]]
        if len(waiting) > _MOST_SHOWN:
            lines.append(f"  and {len(waiting) - _MOST_SHOWN} more")
        still = [f"{len(waiting)} still waiting:", *lines] if waiting else ["nothing waits, but attempts are under way"]
        busiest = max(self._entries.values(), key=lambda entry: entry.attempts, default=None)
        often = f", with {busiest.attempts:,} attempts of one run of {busiest.task}" if busiest and busiest.attempts > 1 else ""
        return "\n".join([f"not done after {spent}{often} (the bound is {option}=)", *still])

    def _out_of_time(self) -> str:
        running = [f"  {entry.task} {run_id}" for run_id, entry in self._entries.items() if entry.is_under_way]
        told = f"not done after {self._timeout_seconds:g} s of real time (the bound is timeout=)"
        if running:
            return "\n".join([f"{told}; cut off:", *running[:_MOST_SHOWN]])
        return self._out_of("timeout", f"{self._timeout_seconds:g} s of real time")


class _Noting:
    """The executor, with a look at what it is given."""

    def __init__(self, executor: LoopExecutor, begun: Callable[[Sequence[Assignment]], None]) -> None:
        self._executor = executor
        self._begun = begun

    def begin(self, claims: Sequence[Assignment]) -> None:
        """Run these."""
        self._begun(claims)
        self._executor.begin(claims)

    def stop(self, run_id: str, token: int, why: str) -> None:
        """Ask one attempt to stop."""
        self._executor.stop(run_id, token, why)


class _PassingTime:
    """The sandbox's system for the worker, whose monotonic side also moves with real time: what a worker does every second, it
    does while user code really takes seconds."""

    def __init__(self, system: SimulatedSystem) -> None:
        self._system = system
        self._began_ns = time.monotonic_ns()
        self.now, self.new_id, self.draw, self.boottime = system.now, system.new_id, system.draw, system.boottime

    def monotonic(self) -> int:
        """Simulated time and the real time of this drain together."""
        return self._system.monotonic() + (time.monotonic_ns() - self._began_ns) // 1000


@contextmanager
def _children_refused(has_children: bool) -> Iterator[None]:
    """No child may open the app's own database instead of the sandbox, which is in this process alone."""
    if not has_children:
        yield
        return
    os.environ[SANDBOXED_BY] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[SANDBOXED_BY]


def _endings(tx: Any, ids: Sequence[str]) -> dict[str, views.Ending]:
    found: dict[str, views.Ending] = {}
    for start in range(0, len(ids), _PAGE):
        found |= views.endings(tx, ids[start : start + _PAGE])
    return found
