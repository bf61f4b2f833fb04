"""One attempt in the caller's process: a worker of one, that claims once, sees that run through, and leaves.

``run_now`` and ``execute_next`` are two ways to get the one run. Not here: which run that is (``operations``), and the worker that
goes on (``runner``).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from mainspring.client import Client, Handle, Request
from mainspring.core.lanes import Lane
from mainspring.core.lease import DEFAULT_TTL
from mainspring.errors import CommitUnknown, InvalidOption, MainspringError, NoCapacity
from mainspring.operations import attempts, claims
from mainspring.operations.attempts import Ended
from mainspring.operations.claims import Claimed, Claimer, Walk
from mainspring.operations.enqueue import Created
from mainspring.operations.lanes import lanes_of
from mainspring.operations.run_now import run_now as begin_now
from mainspring.registry import Registry
from mainspring.runtime.claiming import Claiming
from mainspring.runtime.driver import Bell, Driver
from mainspring.runtime.executor import LoopExecutor
from mainspring.runtime.guarding import watch_lease
from mainspring.runtime.maintenance import Maintenance
from mainspring.runtime.worker import Worker, WorkerPlan
from mainspring.store.database import Transaction
from mainspring.system import process_name
from mainspring.telemetry import tracing
from mainspring.telemetry.tracing import Spans

log = logging.getLogger("mainspring")

T = TypeVar("T")

_COMMIT_TRIES = 5
_CONTENDED_TRIES = 4
_CONTENDED_SECONDS = 0.005
_LOOK_SECONDS = 0.02
_CUT_SECONDS = 5.0
_GOODBYE_SECONDS = 10.0


async def run_now(client: Client, registry: Registry, request: Request, *, using: Any = None) -> Handle[Any]:
    """Create the run, and run one attempt of it here; see ``Task.run_now``."""
    if using is not None:
        raise InvalidOption("run_now cannot wait for your commit; enqueue with using=, or leave it out", option="using")
    if request.due_at is not None or request.delay:
        raise InvalidOption("run_now is now; enqueue with delay= or at=, or leave it out", option="delay")
    run, keyed = await asyncio.to_thread(client.prepare, request)
    plan = WorkerPlan(
        id=f"{process_name()}.now.{client.system.new_id()[-12:]}",
        namespace=client.namespace,
        queues={request.lane.queue: None},
        tasks=registry.versions(),
        capabilities=dict(request.lane.requires),  # whoever says "here" has seen to them
        concurrency=1,
        ttl_us=DEFAULT_TTL,
        poll_seconds=1.0,
    )
    lane = request.lane
    answer: list[Created] = []

    def claiming(tx: Transaction, who: Claimer, walk: Walk, **_: Any) -> claims.Claim:
        begun = begin_now(tx, run, keyed, lane, who)
        answer[:] = [begun.created]
        return _just(tx, begun.claimed, walk)

    await _patiently(lambda: Single(client, registry, plan, claiming).run(), lane)
    return client.got(request, answer[0])


async def execute_next(client: Client, registry: Registry, plan: WorkerPlan) -> Handle[Any] | None:
    """Claim one run and run one attempt of it here; None if nothing was to be had."""
    taken: list[tuple[str, Lane]] = []

    def claiming(tx: Transaction, who: Claimer, walk: Walk, **how: Any) -> claims.Claim:
        claim = claims.claim(tx, who, walk, **how)
        while not claim.runs and claim.more:  # runs of others stand before it on the walk
            claim = claims.claim(tx, who, walk, **how)
        taken[:] = [(run.id, walk.lanes[run.lane_id]) for run in claim.runs]
        return claim

    unique = replace(plan, id=f"{plan.id}.{client.system.new_id()[-8:]}", concurrency=1)
    if not await Single(client, registry, unique, claiming).run():
        actor = f"worker:{plan.id}"
        upkeep = Maintenance(client.database, system=client.system, ttl_us=plan.ttl_us, actor=actor, on_due=lambda: None)
        await asyncio.to_thread(upkeep.step)  # what is due by now
        if not await Single(client, registry, replace(unique, id=f"{unique.id}.2"), claiming).run():
            return None
    ((run_id, lane),) = taken
    return client.handle(run_id, registry.get(lane.task).decode_result)


def in_a_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do it in an event loop of its own: in this thread, or, where that has one already, in another that this one waits for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1, thread_name_prefix="mainspring-run-now") as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


class Single:
    """A worker of one. ``claiming`` gets its run; another is never claimed."""

    def __init__(self, client: Client, registry: Registry, plan: WorkerPlan, claiming: Claiming) -> None:
        self._client = client
        self._bell = Bell()
        self._change = asyncio.Event()
        spans = Spans(plan.namespace, plan.id) if tracing.is_wanted(client.tracing) else None
        self._spans = spans
        self._executor = LoopExecutor(
            registry, concurrency=1, members=client.members, on_ended=self._note, spans=spans, keeping=client.keeping
        )
        self._worker = self._executor.worker = Worker(
            client.database, self._executor, plan, system=client.system, on_finished=self._finished, spans=spans,
            metrics=client.metrics, claiming=claiming,
        )  # fmt: skip

    async def run(self) -> bool:
        """Claim, run, write, leave. False: nothing was claimed. Cancelled: what runs is cut off, and goes back.

        Raises:
            What ``claiming`` raised; then nothing was claimed.
        """
        claim = asyncio.create_task(asyncio.to_thread(self._claim))
        try:
            is_cancelled = await _is_cancelled_before(claim)  # a claim under way cannot be taken back
            self._worker.stop()
            if not self._is_over:
                await self._see_through(is_cancelled)
                return True
            if is_cancelled:
                raise asyncio.CancelledError
            return False
        finally:
            await asyncio.to_thread(self._leave)
            if self._spans is not None:
                self._spans.close()

    def _claim(self) -> None:
        """The one claim, tried again while it is unknown whether it was committed."""
        for left in reversed(range(_COMMIT_TRIES)):
            try:
                self._worker.step()
                return
            except CommitUnknown:
                if not left:
                    raise

    async def _see_through(self, is_cancelled: bool) -> None:
        driver = Driver()
        self._bell = driver.start(self._worker)
        guard = asyncio.create_task(watch_lease(self._worker, self._client.metrics))
        try:
            if is_cancelled:
                raise asyncio.CancelledError
            while not self._is_over:
                await self._wait(_LOOK_SECONDS)
            if driver.broken is not None:
                raise driver.broken
        except asyncio.CancelledError:
            await self._cut_off()
            raise
        finally:
            guard.cancel()
            await driver.stop()
            await self._executor.close()

    @property
    def _is_over(self) -> bool:
        worker = self._worker
        return self._executor.is_idle and (worker.has_nothing or not worker.is_trusted)

    async def _cut_off(self) -> None:
        self._executor.give_back()
        self._executor.interrupt()
        await self._until(lambda: self._executor.is_idle, _CUT_SECONDS)
        self._executor.abandon()
        self._bell.ring()
        await self._until(lambda: self._worker.has_nothing, _GOODBYE_SECONDS)

    async def _until(self, is_so: Callable[[], bool], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        while not is_so() and loop.time() < give_up_at:
            await self._wait(_LOOK_SECONDS)

    async def _wait(self, seconds: float) -> None:
        self._change.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._change.wait(), seconds)

    def _note(self, _: str) -> None:
        self._bell.ring()
        self._change.set()

    def _finished(self, ended: Sequence[Ended]) -> None:
        self._client.hub.ended([end.held.id for end in ended])

    def _leave(self) -> None:
        if not self._worker.has_nothing:
            return  # the lease stays, and runs out
        try:
            self._client.database.write("workers.leave", lambda tx: attempts.leave(tx, self._worker.id))
        except MainspringError as error:
            log.warning("could not say goodbye: %s", error)


async def _is_cancelled_before(work: "asyncio.Task[None]") -> bool:
    """Wait for the end of what cannot be interrupted; whether somebody wanted to interrupt it.

    Raises:
        What it raised.
    """
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await work
        return True
    return False


def _just(tx: Transaction, claimed: Claimed | None, walk: Walk) -> claims.Claim:
    if claimed is None:
        return claims.Claim([], False, None)
    walk.lanes |= lanes_of(tx, [claimed.lane_id])
    return claims.Claim([claimed], False, None)


async def _patiently(work: Callable[[], Coroutine[Any, Any, bool]], lane: Lane) -> None:
    """A limit of single keys lets nobody begin while another claim is at it: that is no answer yet."""
    tries = _CONTENDED_TRIES if lane.concurrency_key is not None else 1
    for left in reversed(range(tries)):
        try:
            await work()
            return
        except NoCapacity:
            if not left:
                raise
            await asyncio.sleep(_CONTENDED_SECONDS)
