"""One worker process: puts services together, runs them until asked to stop, and hands everything back.

Stopping takes stages, so that a deploy spends no failure: claim no more and give back what has not begun; wait ``grace`` for what
runs; cancel the rest, which ends interrupted and is due again at once; write all that down; say goodbye.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mainspring.client import Client
from mainspring.client.targeting import Allowed
from mainspring.core.attempts import Succeeded
from mainspring.core.lease import longest_backoff_us
from mainspring.errors import MainspringError
from mainspring.operations import attempts
from mainspring.operations.attempts import Ended
from mainspring.operations.claims import Claimer
from mainspring.operations.remaining import Remaining, remaining
from mainspring.registry import Registry
from mainspring.runtime.collecting import Company
from mainspring.runtime.driver import Bell, Driver
from mainspring.runtime.executor import LoopExecutor
from mainspring.runtime.guarding import watch_lease, watched_loop
from mainspring.runtime.maintenance import Maintenance
from mainspring.runtime.sweeping import Sweeping
from mainspring.runtime.targeting import Offer
from mainspring.runtime.worker import Worker, WorkerPlan
from mainspring.store.database import Transaction
from mainspring.telemetry import tracing
from mainspring.telemetry.tracing import Spans
from mainspring.transports import listen

log = logging.getLogger("mainspring")

Until = Literal["stopped", "drained", "empty"]

_CUT_SECONDS = 5.0
_GOODBYE_SECONDS = 10.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker did. ``worn_out``: so many threads could not be stopped that the process should be replaced. ``remaining``:
    after a drain, what is left in its queues, and why; None otherwise, or if the database could not be asked."""

    finished: int
    lost_leases: int
    worn_out: bool
    remaining: Remaining | None = None


class Runner:
    """Runs one worker in the current event loop."""

    def __init__(self, client: Client, registry: Registry, plan: WorkerPlan, *, grace_seconds: float) -> None:
        self._client = client
        self._registry = registry
        self._offer = Offer(client, Allowed.here())
        self._plan = replace(plan, tasks={**plan.tasks, **dict.fromkeys(self._offer.kinds, 1)})
        self._grace_seconds = grace_seconds
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._change = asyncio.Event()
        self.finished = 0
        self._telling = False

    def ask_to_stop(self) -> None:
        """Begin to stop; asked a second time, skip the wait. In the loop."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, until: Until = "stopped") -> Report:
        """Work until asked to stop, or until there is nothing left to do (``drained``: nothing due; ``empty``: nor later)."""
        driver = Driver(longest_backoff_seconds=longest_backoff_us(self._plan.ttl_us) / 1e6)
        spans = Spans(self._plan.namespace, self._plan.id) if tracing.is_wanted(self._client.tracing) else None
        metrics = self._client.metrics
        executor, worker = self._assemble(spans)
        self._start_services(driver, worker)
        stop_listening = self._listen()
        guard = asyncio.create_task(watch_lease(worker, metrics))
        try:
            with watched_loop():
                await self._until(until, worker, executor, driver)
                await self._wind_down(worker, executor, driver)
        finally:
            guard.cancel()
            worn_out = executor.is_worn_out
            await asyncio.to_thread(stop_listening)
            await driver.stop()
            await executor.close()
            await asyncio.to_thread(self._leave, worker)
            if spans is not None:
                spans.close()
        if driver.broken is not None:
            raise driver.broken
        left = None if until == "stopped" else await asyncio.to_thread(look_at_remaining, self._client, self._plan)
        return Report(finished=worker.finished, lost_leases=worker.lost_leases, worn_out=worn_out, remaining=left)

    # -- putting it together ----------------------------------------------------------------------------------------

    def _assemble(self, spans: Spans | None) -> tuple[LoopExecutor, Worker]:
        """The worker and its executor, who know each other."""
        client, metrics = self._client, self._client.metrics
        executor = LoopExecutor(
            self._registry,
            concurrency=self._plan.concurrency,
            members=client.members,
            on_ended=self._note,
            spans=spans,
            keeping=client.keeping,
            client=client,
            offer=self._offer,
        )
        worker = Worker(
            client.database,
            executor,
            self._plan,
            system=client.system,
            on_finished=self._count,
            spans=spans,
            metrics=metrics,
            on_freed=self._tell_others,
        )
        if metrics is not None:
            metrics.working(self._plan.concurrency, lambda: executor.busy)
        executor.worker = worker
        worker.company = Company(executor.collecting) if executor.collecting.kinds else None
        return executor, worker

    def _start_services(self, driver: Driver, worker: Worker) -> None:
        """The worker's steps, the upkeep, and whatever else this app has."""
        client = self._client
        self._bell = driver.start(worker)
        maintenance = Maintenance(
            client.database,
            system=client.system,
            ttl_us=self._plan.ttl_us,
            actor=f"worker:{self._plan.id}",
            on_due=self._bell.ring,
            metrics=client.metrics,
        )
        self._upkeep = driver.start(maintenance)
        if client.keeping.blobs is not None:
            driver.start(Sweeping(client))
        if client.relay is not None:
            driver.start(client.relay)

    def _listen(self) -> Callable[[], None]:
        """Have hints of this process and of others ring; returns how to stop that."""
        queues = tuple(self._plan.queues)
        work = _for_queues(queues, self._bell)
        forget_hub = self._client.hub.watch_work(lambda named: None if self._telling else work(named))
        stop_listening = listen(
            self._client.transport, self._client.database, self._plan.namespace, queues, lambda _: self._bell.ring()
        )

        def stop() -> None:
            forget_hub()
            stop_listening()

        return stop

    # -- running ----------------------------------------------------------------------------------------------------

    def _note(self, run_id: str) -> None:
        """An attempt ended, or wants something written now: step soon, and look again at whether all is done."""
        self._bell.ring()
        self._change.set()

    def _count(self, ended: Sequence[Ended]) -> None:
        """Outcomes are durable: tell who waits for them in this process, and have due times looked at anew. From the step's
        thread."""
        self.finished += len(ended)
        self._client.hub.ended([end.held.id for end in ended])
        if any(type(end.outcome) is not Succeeded for end in ended):
            self._upkeep.ring()

    def _tell_others(self) -> None:
        """Slots of a limit are free: whoever waits for its poll behind them need not. From the step's thread."""
        self._telling = True  # this worker has looked already
        try:
            self._client.tell_work(sorted(self._plan.queues))
        finally:
            self._telling = False

    async def _until(self, until: Until, worker: Worker, executor: LoopExecutor, driver: Driver) -> None:
        stop = asyncio.create_task(self._stop.wait())
        try:
            while not (self._stop.is_set() or executor.is_worn_out or driver.broken is not None):
                await asyncio.wait([stop], timeout=_LOOK_SECONDS if until != "stopped" else 0.25)
                if until != "stopped" and await self._is_done(until, worker, executor):
                    return
        finally:
            stop.cancel()

    async def _is_done(self, until: Until, worker: Worker, executor: LoopExecutor) -> bool:
        """Nothing in hand, nothing due later where that counts, and then a look at everything that found nothing either. What
        ended meanwhile may be due again, so then it is not done."""
        finished = worker.finished
        if not self._is_resting(worker, executor):
            return False
        if until == "empty" and await asyncio.to_thread(self._client.database.read, "runs.waiting", self._waits_for_time):
            return False
        self._upkeep.ring()
        await asyncio.sleep(_LOOK_SECONDS)
        seen = worker.steps
        self._bell.ring()
        while worker.steps < seen + 2 and not self._stop.is_set():
            self._bell.ring()
            await asyncio.sleep(_LOOK_SECONDS / 4)
        if await asyncio.to_thread(self._client.database.read, "runs.next_due", _is_anything_due):
            return False  # upkeep has not come to it yet
        return worker.finished == finished and self._is_resting(worker, executor)

    @staticmethod
    def _is_resting(worker: Worker, executor: LoopExecutor) -> bool:
        return executor.is_idle and worker.has_nothing and worker.found_nothing and worker.opens_in is None

    def _waits_for_time(self, tx: Transaction) -> bool:
        plan = self._plan
        return attempts.waits_for_time(tx, namespace=plan.namespace, queues=list(plan.queues), tasks=list(plan.tasks))

    # -- stopping ---------------------------------------------------------------------------------------------------

    async def _wind_down(self, worker: Worker, executor: LoopExecutor, driver: Driver) -> None:
        worker.stop()
        executor.give_back()
        self._bell.ring()
        await self._wait_for(lambda: executor.is_idle, self._grace_seconds, unless=self._hurry)
        executor.interrupt()
        await self._wait_for(lambda: executor.is_idle, _CUT_SECONDS, unless=self._hurry)
        executor.abandon()
        self._bell.ring()
        await self._wait_for(lambda: worker.is_done or driver.broken is not None, _GOODBYE_SECONDS, unless=None)

    async def _wait_for(self, is_so: Callable[[], bool], seconds: float, *, unless: asyncio.Event | None) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        while not is_so() and loop.time() < give_up_at and not (unless is not None and unless.is_set()):
            self._change.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._change.wait(), min(_LOOK_SECONDS, max(0.0, give_up_at - loop.time())))

    def _leave(self, worker: Worker) -> None:
        if not worker.has_nothing:
            return  # the lease stays, and runs out: somebody else will take what is left
        try:
            self._client.database.write("workers.leave", lambda tx: attempts.leave(tx, worker.id))
        except MainspringError as error:
            log.warning("could not say goodbye: %s", error)


def _is_anything_due(tx: Transaction) -> bool:
    next_at = attempts.next_due_at(tx)
    return next_at is not None and next_at <= tx.now


def look_at_remaining(client: Client, plan: WorkerPlan) -> Remaining | None:
    """What is left in the queues of a worker."""
    who = Claimer(worker_id=plan.id, namespace=plan.namespace, queues=plan.queues, tasks=plan.tasks, capabilities=plan.capabilities)
    try:
        found: Remaining = client.database.read("remaining.look", lambda tx: remaining(tx, who))
    except MainspringError as error:
        log.warning("could not look at what is left: %s", error)
        return None
    return found


def _for_queues(queues: tuple[str, ...], bell: Bell) -> Callable[[object], None]:
    wanted = frozenset(queues)

    def work(named: object) -> None:
        if not wanted.isdisjoint(named):  # type: ignore[arg-type]
            bell.ring()

    return work
