"""Keeping watch over one worker: is its lease still to be believed, and does its event loop turn? What is seen goes to the log
and to the worker; nothing here claims, runs or writes."""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mainspring.runtime.worker import Worker
from mainspring.telemetry.metrics import Metrics

log = logging.getLogger("mainspring")

BLOCKED_SECONDS = 1.0
_LOOKS = 8


async def watch_lease(worker: Worker, metrics: Metrics | None = None) -> None:
    """Stop trusting the lease in time, even while the database does not answer. Goes on until cancelled."""
    loop, pause = asyncio.get_running_loop(), worker.plan.ttl_us / 20e6
    while True:
        due_at = loop.time() + pause
        await asyncio.sleep(pause)
        if metrics is not None:
            metrics.lagged(loop.time() - due_at)
        if not worker.is_trusted:
            worker.distrust()


@contextmanager
def watched_loop(*, blocked_seconds: float = BLOCKED_SECONDS) -> Iterator[None]:
    """Say in the log, with its stack, what holds the event loop of this thread for longer than that: nothing else that runs in
    it goes on meanwhile, and neither do timeouts. Once for each time it is held."""
    watch = _Watch(asyncio.get_running_loop(), blocked_seconds)
    thread = threading.Thread(target=watch.look, name="mainspring-loop-watch", daemon=True)
    watch.turn()
    thread.start()
    try:
        yield
    finally:
        watch.stop()


class _Watch:
    def __init__(self, loop: asyncio.AbstractEventLoop, blocked_seconds: float) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._blocked_seconds = blocked_seconds
        self._pause = blocked_seconds / _LOOKS
        self._turned_at = loop.time()
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    def turn(self) -> None:
        """In the loop: it turns."""
        self._turned_at = self._loop.time()
        self._timer = self._loop.call_later(self._pause, self.turn)

    def stop(self) -> None:
        """In the loop: nobody looks any more."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """In a thread: look now and then."""
        told_of: float | None = None
        while not self._stopped.wait(self._pause):
            turned_at = self._turned_at
            held = self._loop.time() - turned_at - self._pause
            if held >= self._blocked_seconds and told_of != turned_at:
                told_of = turned_at
                self._tell(held)

    def _tell(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(its thread is gone)"
        log.warning("the event loop has been blocked for %.1f s; await there, or move it to a `def` task:\n%s", seconds, stack)
