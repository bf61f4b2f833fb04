"""Hints between the threads of one process: there is work, or a run has ended. Sent after a commit, and never a source of truth.

A late, doubled or lost hint changes latency only: behind every hint stands a poll. Not here: hints between processes
(``transports``).
"""

import threading
from collections.abc import Callable, Sequence


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
