"""The one loop: steps every service when it is due or when somebody rings, each in a thread, and survives its errors."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from mainspring.errors import BrokenInvariant, MainspringError
from mainspring.runtime.service import Service, Wake

log = logging.getLogger("mainspring")

_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 5.0
_BURST = 100


class Bell:
    """Wakes a loop early. ``ring`` may be called from any thread, any number of times."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the loop, now or at its next wait. From any thread."""
        if not self._rung:
            self._rung = True
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop is closed: nobody is left to wake
                return

    async def wait(self, seconds: float) -> None:
        """Until rung, or so many seconds."""
        if not self._rung:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        self._rung = False

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Driver:
    """Runs services until told to stop."""

    def __init__(self, *, threads: int = 4) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mainspring-step")
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.broken: BrokenInvariant | None = None

    def start(self, service: Service) -> Bell:
        """Step a service from now on; the bell wakes it early."""
        bell = Bell(self._loop)
        self._tasks.append(self._loop.create_task(self._run(service, bell), name=f"mainspring {service.name}"))
        return bell

    async def stop(self) -> None:
        """Stop stepping. A step under way is waited for."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)

    async def _run(self, service: Service, bell: Bell) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while not self._stopping:
            try:
                wake = await self._step(service)
                backoff = _FIRST_BACKOFF_SECONDS
            except BrokenInvariant as error:  # our bug: stop this service, keep the data
                log.critical("%s stopped: %s", service.name, error, exc_info=error)
                self.broken = error
                return
            except Exception as error:  # the world's trouble, or a bug: say so, wait, try again
                log.error("%s: %s; again in %.1f s", service.name, error, backoff, exc_info=_details(error))
                wake, backoff = Wake(backoff), min(backoff * 2, _LONGEST_BACKOFF_SECONDS)
            if wake.after_seconds > 0:
                await bell.wait(wake.after_seconds)

    async def _step(self, service: Service) -> Wake:
        """Steps in a thread; when the driver is stopped meanwhile, the one under way still ends first."""
        step = self._loop.run_in_executor(self._pool, self._burst, service)
        try:
            return await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.wait([step])
            raise

    def _burst(self, service: Service) -> Wake:
        """Step as long as the service has more to do at once. Coming back to the loop between two steps would let user code, which
        holds the interpreter, run before the next question is on its way to the database; so it runs while that is answered."""
        wake = service.step()
        for _ in range(_BURST):
            if wake.after_seconds > 0 or self._stopping:
                break
            wake = service.step()
        return wake


def _details(error: Exception) -> Exception | None:
    """A traceback for what we did not expect; our own errors say it all."""
    return None if isinstance(error, MainspringError) else error
