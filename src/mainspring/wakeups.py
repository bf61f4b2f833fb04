"""Hints that there is work, or that a run has ended: sent after a commit, coalesced, and never a source of truth.

A late, doubled or lost hint changes latency only: behind every hint stands a poll. Within a process hints go by ``Hub``; between
processes by LISTEN/NOTIFY where the database has it, and by SQLite's change counter where it is a file.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from mainspring.errors import WorldTrouble

log = logging.getLogger("mainspring")

CHANNEL = "mainspring_work"
_COALESCE_SECONDS = 0.01
_RECONNECT_SECONDS = 1.0
_LOOK_SECONDS = 0.005


class Hub:
    """Hints between the threads of one process: there is work in a queue; runs have ended. Never a source of truth."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on_work: list[Callable[[Sequence[str]], None]] = []
        self._on_end: dict[str, list[Callable[[], None]]] = {}

    def watch_work(self, call: Callable[[Sequence[str]], None]) -> Callable[[], None]:
        """Have ``call(queues)`` called after each enqueue of this process, from any thread; returns how to stop that."""
        with self._lock:
            self._on_work.append(call)
        return lambda: self._on_work.remove(call)

    def work(self, queues: Sequence[str]) -> None:
        """There is work in these queues."""
        for call in tuple(self._on_work):
            call(queues)

    def watch_end(self, run_id: str, call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call()`` called when a worker of this process ended the run; returns how to stop that."""
        with self._lock:
            self._on_end.setdefault(run_id, []).append(call)

        def stop() -> None:
            with self._lock:
                calls = self._on_end.get(run_id, [])
                if call in calls:
                    calls.remove(call)
                if not calls:
                    self._on_end.pop(run_id, None)

        return stop

    def ended(self, run_ids: Sequence[str]) -> None:
        """These runs have (perhaps) ended."""
        if not self._on_end:
            return
        with self._lock:
            calls = [call for run_id in run_ids for call in self._on_end.get(run_id, ())]
        for call in calls:
            call()


class Bus(Protocol):
    """A database that carries hints between processes."""

    def notify(self, channel: str, payloads: list[str]) -> None:
        """Send payloads; failing to is no error."""

    def notifications(self, channel: str, stop: threading.Event) -> Iterator[str]:
        """Payloads as they come; '' whenever some may have been missed."""


class Notifier:
    """Tells other processes of work: at once when it was quiet, else at most every 10 ms, each queue once."""

    def __init__(self, bus: Bus, namespace: str) -> None:
        self._bus = bus
        self._namespace = namespace
        self._lock = threading.Lock()
        self._pending: set[str] = set()
        self._due = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def work(self, queues: Sequence[str]) -> None:
        """There is work in these queues. Returns at once."""
        with self._lock:
            self._pending.update(queues)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="mainspring-notify", daemon=True)
                self._thread.start()
        self._due.set()

    def close(self) -> None:
        """Send what is pending and stop."""
        self._closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            with self._lock:
                pending, self._pending = self._pending, set()
            if pending:
                self._bus.notify(CHANNEL, [f"{self._namespace}/{queue}" for queue in sorted(pending)])
            if self._closed:
                return
            time.sleep(_COALESCE_SECONDS)


class Listener:
    """Calls ``hint`` when another process tells of work in one of ``queues``, or may have told."""

    def __init__(self, database: Any, namespace: str, queues: Sequence[str], hint: Callable[[], None]) -> None:
        self._database = database
        self._wanted = {"", *(f"{namespace}/{queue}" for queue in queues)}
        self._hint = hint
        self._stop = threading.Event()
        run = self._listen if database.capabilities.notify else self._look
        self._thread = threading.Thread(target=run, name="mainspring-listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                for payload in self._database.notifications(CHANNEL, self._stop):
                    if payload in self._wanted:
                        self._hint()
            except WorldTrouble as error:
                log.warning("hints are lost until the database answers again: %s", error)
                self._stop.wait(_RECONNECT_SECONDS)

    def _look(self) -> None:
        """SQLite counts the commits of others; looking at the counter costs a few µs."""
        seen = None
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                counter = self._database.change_counter()
            except WorldTrouble:
                return
            if counter != seen:
                seen = counter
                self._hint()
