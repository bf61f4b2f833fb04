"""Runs user code: coroutines on the event loop, functions in threads or in processes; and says how each attempt ended.

Everything here happens in one event loop, except what the docstring of a method says comes from elsewhere. User code's exceptions
end here: each becomes an outcome.
"""

import asyncio
import contextlib
import contextvars
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mainspring.client import Client, JoinedBatch, Member
from mainspring.codec import LARGEST, Keeping, blob_key, has_inputs
from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unstarted, Unworkable
from mainspring.errors import InvalidOption, StorageUnavailable, UnknownTask, WorldTrouble
from mainspring.operations import batches
from mainspring.operations.claims import Claimed
from mainspring.operations.receipts import Left
from mainspring.registry import Registry, TaskSpec
from mainspring.runtime.attempt import Attempt, Fence, call
from mainspring.runtime.collecting import Collecting, Group, tried
from mainspring.runtime.outcomes import (
    MESSAGE_BYTES,
    bounded,
    is_as_stored,
    kept,
    may_block,
    opened,
    raised,
    returned,
)
from mainspring.runtime.policing import after_stop, delayed, is_importable, lane_of_now
from mainspring.runtime.targeting import Offer
from mainspring.runtime.worker import Assignment, Worker
from mainspring.telemetry.tracing import Spans

if TYPE_CHECKING:
    from mainspring.client.schedules import DueOccurrence
    from mainspring.runtime.processes import Job, ProcessPool

log = logging.getLogger("mainspring")

_ABANDONED_SHARE = 0.25
_SWEEP_SECONDS = 0.05
_SHORT_SECONDS = 1.0
_CLOCK_STEP = 0.001
_BLOB_PAUSES = (0.2, 1.0)  # seconds between the tries to write a result to a blob store


class LoopExecutor:
    """Runs attempts for one worker, at most ``concurrency`` at once; more wait here, unstarted."""

    def __init__(
        self,
        registry: Registry,
        *,
        concurrency: int,
        members: Callable[[str], Iterator[Member]],
        on_ended: Callable[[str], None],
        spans: Spans | None = None,
        keeping: Keeping | None = None,
        client: Client | None = None,
        offer: Offer | None = None,
    ) -> None:
        self._keeping = keeping or Keeping()
        self._client = client
        self._offer = offer
        self._spans = spans
        self._registry = registry
        self._concurrency = concurrency
        self._members = members
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Assignment] = deque()
        self._running: dict[Fence, Attempt] = {}
        self._specs: dict[str, TaskSpec] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._processes: ProcessPool | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.collecting = Collecting(registry.collects, self._together)
        self._closed = False
        self.abandoned = 0
        self.left_behind = 0
        self.worker: Worker | None = None

    # -- for the worker, from its step's thread ---------------------------------------------------------------------

    def begin(self, claims: Sequence[Assignment]) -> None:
        """Run these, now or when a place is free."""
        if self.collecting.kinds:
            self.collecting.expect(claims)
        self._loop.call_soon_threadsafe(self._admit, claims)

    def stop(self, run_id: str, token: int, why: str) -> None:
        """Ask one attempt to stop."""
        self._loop.call_soon_threadsafe(self._stop, (run_id, token), why)

    # -- for the runner, in the loop --------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no user code runs and none waits."""
        return not self._running and not self._inbox

    @property
    def busy(self) -> int:
        """How many places are taken, those of threads that were left alone included."""
        return len(self._running) - self.collecting.surplus + self.abandoned

    @property
    def is_worn_out(self) -> bool:
        """Whether so many threads had to be abandoned that this process should be replaced."""
        return self.abandoned > 0 and self.abandoned >= self._concurrency * _ABANDONED_SHARE

    def give_back(self) -> None:
        """Give back what has not begun, and begin nothing more."""
        self._closed = True
        while self._inbox:
            self._report(self._inbox.popleft().claimed, Unstarted(), None)
        for attempt in self._running.values():
            attempt.context().stopping = True
        self.collecting.shut()

    def interrupt(self) -> None:
        """Cut off what still runs, for a shutdown."""
        for fence in tuple(self._running):
            self._stop(fence, "shutdown")

    def abandon(self) -> None:
        """Report what does not stop as interrupted, and forget it."""
        for attempt in tuple(self._running.values()):
            own = self._is_target(attempt) or (attempt.pool is not None and attempt.pool is not self._processes)
            if attempt.task is not None and own:
                attempt.task.cancel()  # its process goes with it
            elif attempt.spec.executor == "thread" and attempt.task is not None:
                attempt.task.cancel()
                self.left_behind += 1
            self._finish(attempt, Interrupted("shutdown", shutdown=True), None)

    async def close(self) -> None:
        """Give back threads and processes."""
        if self._threads is not None:
            self._threads.shutdown(wait=self.abandoned + self.left_behind == 0, cancel_futures=True)
        if self._processes is not None:
            await self._processes.close()

    # -- admission --------------------------------------------------------------------------------------------------

    def _admit(self, claims: Sequence[Assignment]) -> None:
        self.collecting.arrived(claims)
        if self._closed:
            for assignment in claims:
                self._report(assignment.claimed, Unstarted(), None)
            return
        self._inbox.extend(claims)
        if self.collecting.kinds:
            self._bring_company()
        self._fill()

    def _fill(self) -> None:
        while self._inbox and (free := self._concurrency - self.busy) > 0:
            for _ in range(min(free, len(self._inbox)) if not self.collecting.kinds else 1):
                self._launch(self._inbox.popleft())
            if self.collecting.kinds:
                self._bring_company()

    def _bring_company(self) -> None:
        """Whoever a group waits for needs no place of its own."""
        waiting, self._inbox = self._inbox, deque()
        for assignment in waiting:
            if self.collecting.takes(assignment.claimed, assignment.lane):
                self._launch(assignment)
            else:
                self._inbox.append(assignment)

    def _launch(self, assignment: Assignment) -> None:
        claimed, name = assignment.claimed, assignment.lane.task
        spec = self._specs.get(name) or self._find(name)
        if spec is None:
            self._report(claimed, Unworkable("unknown_task", f"this worker has no task {name!r}"), None)
            return
        policy = assignment.policy
        seconds = math.inf if policy.timeout_us is None else policy.timeout_us / 1e6
        attempt = Attempt(self, assignment, spec, self._loop.time() + seconds)
        self._running[attempt.fence] = attempt
        if spec.collect is not None:
            self.collecting.admit(attempt)
        variables = None if self._spans is None else self._trace(self._spans, assignment)
        attempt.task = self._loop.create_task(self._attempt(attempt), context=variables)
        if seconds < _SHORT_SECONDS:
            self._loop.call_later(seconds, self._look_at_clock)
        if self._sweeper is None and (seconds >= _SHORT_SECONDS or policy.heartbeat_timeout_us is not None):
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    @staticmethod
    def _trace(spans: Spans, assignment: Assignment) -> contextvars.Context | None:
        claimed, lane, trace = assignment.claimed, assignment.lane, assignment.trace
        return None if trace is None else spans.began(claimed, trace, queue=lane.queue, task=lane.task)

    def _find(self, name: str) -> TaskSpec | None:
        spec = None if self._offer is None else self._offer.spec(name)
        with contextlib.suppress(UnknownTask):
            self._specs[name] = self._registry.get(name) if spec is None else spec
        return self._specs.get(name)

    def told(self, claimed: Claimed, details: bytes | None, progress: str | None, now: bool) -> None:
        """An attempt saved a checkpoint or progress. From any thread."""
        assert self.worker is not None
        if details is not None:
            details = self._keeping.keep_checkpoint(details, run_id=claimed.id)
        if progress is not None:
            progress = self._keeping.redactor.json(progress)
        self.worker.tell(claimed, details, progress, now)
        if now:
            self._on_ended(claimed.id)

    def kept_result(self, claimed: Claimed, body: bytes) -> bytes:
        """A result as the app keeps it, for whoever writes it before its attempt has ended."""
        return self._keeping.keep_result(body, run_id=claimed.id, token=claimed.token)

    def batch_of(self, claimed: Claimed) -> JoinedBatch:
        """The batch a run is a member of.

        Raises:
            InvalidOption: it is none.
        """
        if claimed.batch_id is None or self._client is None:
            raise InvalidOption(f"run {claimed.id} is no member of a batch", option="batch")
        return JoinedBatch(self._client.batches, claimed.batch_id, batches.Fence(claimed.id, claimed.token))

    def occurrence_of(self, run_id: str) -> "DueOccurrence | None":
        """The occurrence of a schedule for which a run was made."""
        return None if self._client is None else self._client.schedules.of_run(run_id)

    def members_of(self, run_id: str) -> Iterator[Member]:
        """The members of the batch whose callback this run is."""
        return self._members(run_id)

    # -- one attempt ------------------------------------------------------------------------------------------------

    async def _attempt(self, attempt: Attempt) -> None:
        """Run user code and report how it ended. Never raises."""
        began = self._loop.time()
        outcome: Outcome | None
        try:
            outcome = await self._put_on_record(attempt) if attempt.assignment.claimed.interruptions else None
            if outcome is None:
                if not is_as_stored(attempt.spec, attempt.assignment):
                    await self._open(attempt)
                attempt.heard_at = time.monotonic()
                outcome = await self._way(attempt)(attempt)
        except asyncio.CancelledError:
            outcome = Stopped()
        except BaseException as error:  # noqa: BLE001  (SystemExit of user code ends the attempt, not the worker)
            outcome = raised(error)
        seconds = self._loop.time() - began
        if type(outcome) is not Succeeded or not self._keeping.is_plain or len(outcome.result or b"") > LARGEST:
            outcome = await self._kept(attempt, outcome)
        if attempt.why is not None:
            outcome = after_stop(attempt.why, outcome)
        self._finish(attempt, outcome, seconds)

    def _way(self, attempt: Attempt) -> Callable[[Attempt], Coroutine[Any, Any, Outcome]]:
        """Where its user code runs."""
        if self._is_target(attempt):
            assert self._offer is not None
            return self._offer.run
        if attempt.spec.collect is not None:
            return self.collecting.join
        if attempt.is_dangerous and is_importable(attempt.spec):
            return self._alone
        match attempt.spec.executor:
            case "async":
                return self._in_loop
            case "thread":
                return self._in_thread
            case "process":
                return self._in_process

    def _is_target(self, attempt: Attempt) -> bool:
        return self._offer is not None and self._offer.has(attempt.spec)

    async def _open(self, attempt: Attempt) -> None:
        """Make what was claimed readable; in a thread where that fetches, or runs code of the user's."""
        body = attempt.assignment.claimed.body
        results = self._client.results if self._client is not None else None
        opening = partial(opened, self._keeping, attempt.spec, attempt.assignment, results)
        is_quick = attempt.assignment.lane.version == attempt.spec.version and not blob_key(body) and not has_inputs(body)
        attempt.open(opening() if is_quick else await asyncio.to_thread(opening))

    async def _kept(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """An outcome as the app keeps it. A blob store that is away for a moment is asked again: user code has done its work."""
        if isinstance(outcome, GaveItselfBack) and outcome.payload is not None:
            outcome = replace(outcome, lane=lane_of_now(attempt.spec, attempt.assignment.lane))
        keep = partial(kept, self._keeping, attempt.spec, attempt.assignment.claimed, outcome)
        try:
            if not may_block(self._keeping, outcome):
                return keep()
            for pause in _BLOB_PAUSES:
                with contextlib.suppress(StorageUnavailable):
                    return await asyncio.to_thread(keep)
                await asyncio.sleep(pause)
            return await asyncio.to_thread(keep)
        except asyncio.CancelledError:
            return Stopped()
        except StorageUnavailable as error:
            return Interrupted(error.code)
        except BaseException as error:  # noqa: BLE001  (a codec or a blob store may be the user's)
            told = bounded(f"the outcome could not be kept: {type(error).__qualname__}", MESSAGE_BYTES)
            log.warning("run %s: %s", attempt.assignment.claimed.id, told)
            return Failed(code="result_invalid", message=told, final=True)

    async def _in_loop(self, attempt: Attempt) -> Outcome:
        values = attempt.arguments()
        schema, kinds = attempt.spec.schema, attempt.assignment.policy.kinds
        try:
            return returned(await attempt.spec.function(*values), schema)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  (SystemExit of user code ends the attempt, not the worker)
            return raised(error, values, schema=schema, kinds=kinds)

    async def _put_on_record(self, attempt: Attempt) -> Outcome | None:
        """A run that was interrupted before is started on the record, so that what never began spends nothing. An outcome:
        user code must not begin."""
        assert self.worker is not None
        try:
            if await asyncio.to_thread(self.worker.start, attempt.assignment.claimed):
                return None
        except WorldTrouble as error:
            log.warning("run %s goes back unstarted: %s", attempt.assignment.claimed.id, error)
            return Unstarted()
        attempt.why = "lease_lost"
        return Stopped()

    async def _together(self, group: Group, user_code: Callable[[], Any]) -> Any:
        """One call for a whole group."""
        if group.spec.executor == "async":
            return await user_code()
        return await self._on_thread(partial(tried, user_code))

    async def _in_thread(self, attempt: Attempt) -> Outcome:
        attempt.context()  # made here and not there, where it could miss a word from here
        outcome: Outcome = await self._on_thread(partial(call, attempt))
        return outcome

    async def _on_thread(self, user_code: Callable[[], Any]) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix="mainspring-task")
        context = contextvars.copy_context()
        future = self._threads.submit(context.run, user_code)
        try:
            return await asyncio.shield(asyncio.wrap_future(future, loop=self._loop))
        except asyncio.CancelledError:
            if not future.cancel():
                self._keep_place(future)
            raise

    def _keep_place(self, future: Any) -> None:
        """A thread cannot be stopped: until it ends it keeps its place, so that concurrency stays what it is."""
        self.abandoned += 1

        def ended(_: Any) -> None:
            self._loop.call_soon_threadsafe(self._place_is_free)

        future.add_done_callback(ended)

    def _place_is_free(self) -> None:
        self.abandoned -= 1
        self._fill()

    async def _in_process(self, attempt: Attempt) -> Outcome:
        from mainspring.runtime.processes import Job, ProcessPool  # paid for only by those who use processes

        if self._processes is None:
            self._processes = ProcessPool(self._concurrency)
        return await self._in(self._processes, attempt, Job)

    async def _alone(self, attempt: Attempt) -> Outcome:
        """Run it in a fresh process that is there for nothing else: it was at hand when several workers died. Should this one die
        too, that is another interruption, and no failure."""
        from mainspring.runtime.processes import Job, ProcessPool

        log.warning("run %s was interrupted %d times; it runs alone", *attempt.fence[:1], attempt.assignment.claimed.interruptions)
        pool = ProcessPool(1, recycle_after=1)
        try:
            outcome = await self._in(pool, attempt, Job)
        finally:
            await pool.close()
        return Interrupted("process_died") if isinstance(outcome, Failed) and outcome.code == "process_died" else outcome

    async def _in(self, pool: "ProcessPool", attempt: Attempt, job: "type[Job]") -> Outcome:
        attempt.pool = pool
        trace = None if self._spans is None else self._spans.parent_of(attempt.fence)
        return await pool.run(job.of(attempt.spec, attempt.assignment, trace), attempt.tell)

    # -- stopping ---------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Look at the clock while anything runs: cheaper than a timer for each of a million quick attempts."""
        self._sweeper = None
        self._look_at_clock()
        if self._running:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _look_at_clock(self) -> None:
        now = self._loop.time() + _CLOCK_STEP
        for attempt in [attempt for attempt in self._running.values() if attempt.deadline <= now]:
            self._stop(attempt.fence, "timeout")
        for attempt in [attempt for attempt in self._running.values() if attempt.is_silent]:
            self._stop(attempt.fence, "silent")

    def _stop(self, fence: Fence, why: str) -> None:
        """Ask user code to stop; after the grace of its policy it is cut off (a thread: left alone, its place kept)."""
        attempt = self._running.get(fence)
        if attempt is None:
            self._forget_waiting(fence, why)
            return
        if attempt.why is not None and why != "lease_lost":
            return
        attempt.why = why
        attempt.context().stop(why)
        if attempt.pool is not None:
            attempt.pool.ask_to_stop(fence[0], why, token=fence[1])
        elif attempt.spec.executor == "async" and attempt.task is not None:
            attempt.task.cancel()
        if attempt.company is not None:
            attempt.company.asked()
        self._loop.call_later(attempt.assignment.policy.grace_us / 1e6, self._cut_off, attempt)

    def _cut_off(self, attempt: Attempt) -> None:
        if self._running.get(attempt.fence) is not attempt or attempt.task is None:
            return
        if (
            attempt.spec.executor == "async" and attempt.pool is None and not self._is_target(attempt)
        ):  # it swallows cancellation: report it, and let it be
            group = attempt.company
            if group is None or group.abandons():
                self.abandoned += 1
                task = attempt.task if group is None or group.task is None else group.task
                task.add_done_callback(lambda _: self._place_is_free())
            self._finish(attempt, after_stop(attempt.why, Stopped()), None)
        else:
            attempt.task.cancel()

    def _forget_waiting(self, fence: Fence, why: str) -> None:
        for assignment in self._inbox:
            if (assignment.claimed.id, assignment.claimed.token) == fence:
                self._inbox.remove(assignment)
                if why != "lease_lost":
                    asked = why in {"cancelled", "deadline"}
                    self._report(assignment.claimed, Stopped() if asked else Unstarted(), None)
                return

    # -- reporting --------------------------------------------------------------------------------------------------

    def _finish(self, attempt: Attempt, outcome: Outcome, seconds: float | None) -> None:
        if attempt.reported:
            return
        if attempt.concluding is not None and attempt.concluding.outcome is not None:
            outcome = attempt.concluding.outcome  # it is durable, whatever came after
        if isinstance(outcome, Failed):
            outcome = delayed(attempt.spec, attempt.assignment, outcome)
        attempt.reported = True
        attempt.forget_context()
        claimed = attempt.assignment.claimed
        del self._running[attempt.fence]
        if attempt.company is not None:
            self.collecting.leave(attempt)
        if self._spans is not None:
            self._spans.ended(attempt.fence, outcome, lost=attempt.why == "lease_lost")
        if attempt.why != "lease_lost":
            self._report(claimed, outcome, seconds, attempt.receipts)
        if self._inbox:
            self._fill()

    def _report(self, claimed: Claimed, outcome: Outcome, seconds: float | None, receipts: tuple[Left, ...] = ()) -> None:
        assert self.worker is not None
        self.worker.ended(claimed, outcome, seconds=seconds, receipts=receipts)
        self._on_ended(claimed.id)
