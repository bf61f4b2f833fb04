"""A worker as a program or an event loop hosts it: start, signals, stop; one process or several."""

import asyncio
import contextlib
import gc
import importlib.util
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, get_args

from mainspring.client import Client, Handle
from mainspring.errors import InvalidOption, shown
from mainspring.registry import Registry
from mainspring.runtime import delivered
from mainspring.runtime.delivered import Delivered
from mainspring.runtime.runner import Report, Runner, Until, look_at_remaining
from mainspring.runtime.single import execute_next, in_a_loop
from mainspring.runtime.supervisor import Crew, Supervisor
from mainspring.runtime.worker import WorkerPlan
from mainspring.telemetry.metrics import Served
from mainspring.transports import Message

#: A process that only works makes many short-lived values and few cycles, so looking for those may be rarer: a tenth less CPU.
_GC_THRESHOLDS = (20_000, 50, 100)


class WorkerProcess:
    """A worker: ``run()`` blocks until it is stopped; ``stop()`` may be called from any thread.

    ``closed`` settles once, when the first ``run`` is over: with its report, or with the error that ended it.
    """

    def __init__(
        self,
        client: Callable[[], Client],
        registry: Registry,
        plan: WorkerPlan,
        *,
        grace_seconds: float,
        served: Served | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.served = served
        self._crew = crew
        self._asked = 0
        self.closed: Future[Report] = Future()
        self._client = client
        self._registry = registry
        self._plan = plan
        self._grace_seconds = grace_seconds
        self._runner: Runner | Supervisor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, *, until: Until = "stopped") -> Report:
        """Work in this thread until stopped, by ``stop()`` or by SIGTERM or SIGINT; ``until="drained"`` ends when nothing is due.

        A second signal stops without waiting for what runs.

        Raises:
            BrokenInvariant: our bug; what was committed stays as it is.
        """
        return self.run_heeding(self.stop, until=until)

    def run_heeding(self, on_signal: Callable[[], None], *, until: Until = "stopped") -> Report:
        """``run``, with another answer to SIGTERM and SIGINT than ``stop``: for processes that a supervisor started."""
        if self._crew is None:
            gc.collect()
            gc.freeze()  # what was imported stays: looking through it again and again would cost every run
            gc.set_threshold(*_GC_THRESHOLDS)
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            return runner.run(self._run_with_signals(until, on_signal))

    async def arun(self, *, until: Until = "stopped", started: asyncio.Event | None = None) -> Report:
        """``run`` in this event loop, without touching signals; ``started`` is set once the worker runs."""
        if until not in get_args(Until):
            raise InvalidOption(f"until must be one of {', '.join(get_args(Until))}, not {shown(until)}", option="until")
        try:
            report = await self._run(until, started)
        except BaseException as error:
            if not self.closed.done():
                self.closed.set_exception(error)
            raise
        if not self.closed.done():
            self.closed.set_result(report)
        return report

    async def _run(self, until: Until, started: asyncio.Event | None) -> Report:
        self._loop = asyncio.get_running_loop()
        if self._crew is None:
            client = await asyncio.to_thread(self._client)
            plan = replace(self._plan, id=f"{self._plan.id}.{client.system.new_id()[-8:]}")  # no two workers share a name
            self._runner = Runner(client, self._registry, plan, grace_seconds=self._grace_seconds)
        else:
            self._runner = Supervisor(self._crew, self._grace_seconds, lambda: look_at_remaining(self._client(), self._plan))
        for _ in range(self._asked):
            self._runner.ask_to_stop()
        with contextlib.nullcontext() if self.served is None else self.served.running():
            if started is not None:
                started.set()
            return await self._runner.run(until)

    def execute_next(self) -> Handle[Any] | None:
        """Claim one run, run one attempt of it here, and write how it ended; None if there was nothing to claim.

        For a cron line, a test, a loop of your own. Workers that go on (``run``) claim ahead and write many outcomes at once.
        """
        return in_a_loop(self.aexecute_next)

    async def aexecute_next(self) -> Handle[Any] | None:
        """``execute_next`` in this event loop."""
        client = await asyncio.to_thread(self._client)
        return await execute_next(client, self._registry, self._plan)

    def execute_delivery(self, message: Message | bytes | str) -> Delivered:
        """Execute the run that a message names; see ``App.execute_delivery``."""
        return in_a_loop(lambda: self.aexecute_delivery(message))

    async def aexecute_delivery(self, message: Message | bytes | str) -> Delivered:
        """``execute_delivery`` in this event loop."""
        client = await asyncio.to_thread(self._client)
        return await delivered.execute(client, self._registry, self._plan, message)

    def stop(self) -> None:
        """Begin to stop; called again, stop without waiting. From any thread."""
        self._asked += 1
        loop, runner = self._loop, self._runner
        if loop is not None and runner is not None and not loop.is_closed():
            loop.call_soon_threadsafe(runner.ask_to_stop)

    @property
    def finished(self) -> int:
        """How many attempts have ended, durably, so far."""
        return self._runner.finished if self._runner else 0

    @contextlib.asynccontextmanager
    async def hosted(self) -> AsyncIterator[None]:
        """Work in this event loop for as long as the block lasts."""
        started = asyncio.Event()
        work = asyncio.create_task(self.arun(started=started))
        begun = asyncio.create_task(started.wait())
        try:
            await asyncio.wait([work, begun], return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            begun.cancel()
            self.stop()
            await work

    async def _run_with_signals(self, until: Until, on_signal: Callable[[], None]) -> Report:
        with _signals(on_signal):
            return await self.arun(until=until)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (``pip install 'mainspring[uvloop]'``), else asyncio's own."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call ``stop``, in the main thread where there are signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
