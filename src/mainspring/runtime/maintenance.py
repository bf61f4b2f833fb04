"""What must happen although nobody asks: due runs become queued, lapsed leases are taken, old keys and workers are forgotten.

Every worker process runs it; every write is guarded, so any number may. It is an economy that one look serves the whole fleet.
"""

from collections.abc import Callable

from mainspring.core.durations import DAY, HOUR
from mainspring.operations import attempts, queues, retention, views
from mainspring.runtime.service import Wake
from mainspring.store.database import Database, Transaction
from mainspring.system import System

MOST_DUE = 1_000
MOST_SWEPT = 500
_LONGEST_SECONDS = 1.0
_LOOK_US = 500_000
_WORKERS_KEPT_US = 1 * DAY


class Maintenance:
    """The service. ``on_due`` is called after runs became queued, from the step's thread."""

    name = "maintenance"

    def __init__(self, database: Database, *, system: System, ttl_us: int, actor: str, on_due: Callable[[], None]) -> None:
        self._database = database
        self._system = system
        self._ttl_us = ttl_us
        self._actor = actor
        self._on_due = on_due
        self._forgot_at: int | None = None

    def step(self) -> Wake:
        """One look at everything, each part in a short transaction of its own."""
        due, next_in = self._database.write("attempts.due", self._make_due)
        reaped = self._database.write("attempts.reap", self._reap)
        swept = self._database.write("slots.sweep", lambda tx: queues.sweep_slots(tx, most=MOST_SWEPT))
        if due or reaped or swept:
            self._on_due()
        self._forget()
        if due == MOST_DUE:
            return Wake(0)
        return Wake(_LONGEST_SECONDS if next_in is None else min(_LONGEST_SECONDS, max(0.0, next_in / 1e6)))

    def _make_due(self, tx: Transaction) -> tuple[int, int | None]:
        due = attempts.make_due(tx, most=MOST_DUE, actor=self._actor)
        next_at = attempts.next_due_at(tx)
        return due, None if next_at is None else next_at - tx.now

    def _reap(self, tx: Transaction) -> int:
        return attempts.reap(tx, views.policies, ttl=self._ttl_us, actor=self._actor, every=_LOOK_US)

    def _forget(self) -> None:
        now = self._system.monotonic()
        if self._forgot_at is not None and now - self._forgot_at < HOUR:
            return
        self._forgot_at = now
        self._database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=tx.now - _WORKERS_KEPT_US))
