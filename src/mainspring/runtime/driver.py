"""The one loop: steps a service when it is due or when somebody rings, in a thread of its own, and survives its errors.

The thread waits for the bell itself, so a hint crosses no event loop on its way to the database.
"""

import asyncio
import logging
import threading

from mainspring.errors import BrokenInvariant, MainspringError
from mainspring.runtime.service import Service, Wake

log = logging.getLogger("mainspring")

FIRST_BACKOFF_SECONDS = 0.1


class Bell:
    """Wakes a waiting thread early. ``ring`` may come from any thread, any number of times; rings between two waits are one."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """Wake whoever waits, now or at the next wait."""
        if not self._rung.is_set():  # of a hundred attempts that end together the first one rings
            self._rung.set()

    def wait(self, seconds: float) -> None:
        """Until rung, or so many seconds."""
        self._rung.wait(seconds)
        self._rung.clear()


class Driver:
    """Runs services until told to stop. After an error the next step comes later and later, up to ``longest_backoff_seconds``."""

    def __init__(self, *, longest_backoff_seconds: float = 5.0) -> None:
        self._longest_backoff = longest_backoff_seconds
        self._threads: list[tuple[threading.Thread, Bell]] = []
        self._stopping = False
        self.broken: BrokenInvariant | None = None

    def start(self, service: Service) -> Bell:
        """Step a service from now on; the bell wakes it early."""
        bell = Bell()
        thread = threading.Thread(target=self._run, args=(service, bell), name=f"mainspring-{service.name}", daemon=True)
        self._threads.append((thread, bell))
        thread.start()
        return bell

    async def stop(self) -> None:
        """Stop stepping. A step under way is waited for."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """``stop`` for whoever has no event loop."""
        self._stopping = True
        for _, bell in self._threads:
            bell.ring()
        for thread, _ in self._threads:
            thread.join()

    def _run(self, service: Service, bell: Bell) -> None:
        """Step after step: without coming back to any loop in between, so that user code, which holds the interpreter, runs while
        the database answers and not before it is asked."""
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopping:
            try:
                wake = service.step()
                backoff = FIRST_BACKOFF_SECONDS
            except BrokenInvariant as error:  # our bug: stop this service, keep the data
                log.critical("%s stopped: %s", service.name, error, exc_info=error)
                self.broken = error
                return
            except Exception as error:
                log.error("%s: %s; again in %.1f s", service.name, error, backoff, exc_info=_details(error))
                wake, backoff = Wake(backoff), min(backoff * 2, self._longest_backoff)
            if wake.after_seconds > 0 and not self._stopping:
                bell.wait(wake.after_seconds)


def _details(error: Exception) -> Exception | None:
    """A traceback for what we did not expect; our own errors say it all."""
    return None if isinstance(error, MainspringError) else error
