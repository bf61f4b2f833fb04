"""What must happen although nobody asks: due runs become queued, lapsed leases are taken, old keys and workers are forgotten.

Every worker process runs it; every write is guarded, so any number may. It is an economy that one look serves the whole fleet.
"""

from collections.abc import Callable

from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.operations import attempts, limits, retention, views
from mainspring.runtime.service import Wake
from mainspring.store.database import Database, Transaction
from mainspring.system import System
from mainspring.telemetry.metrics import Metrics

MOST_DUE = 1_000
MOST_PARKED = 100
_LONGEST_SECONDS = 1.0
_CHANGED_OF_LATE_US = 2 * MINUTE
_SWEEP_EVERY = 30
_WORKERS_KEPT_US = 1 * DAY
_UNSERVED_US = 1 * DAY


class Maintenance:
    """The service. ``on_due`` is called after runs became queued, from the step's thread."""

    name = "maintenance"

    def __init__(
        self, database: Database, *, system: System, ttl_us: int, actor: str, on_due: Callable[[], None],
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._database = database
        self._system = system
        self._ttl_us = ttl_us
        self._actor = actor
        self._on_due = on_due
        self._forgot_at: int | None = None
        self._longest = min(_LONGEST_SECONDS, ttl_us / 6e6)  # well within the silence that the reaper takes for an outage

    def step(self) -> Wake:
        """One look at everything, each part in a short transaction of its own."""
        due, next_in = self._database.write("attempts.due", self._make_due)
        reaped = self._database.write("attempts.reap", self._reap)
        swept = 0 if reaped is None else self._database.write("slots.sweep", _sweep)
        if self._metrics is not None:
            self._metrics.ticked(due, reaped or 0, swept)
        if due or reaped or swept:
            self._on_due()
        self._forget()
        if due == MOST_DUE:
            return Wake(0)
        return Wake(self._longest if next_in is None else min(self._longest, max(0.0, next_in / 1e6)))

    def _make_due(self, tx: Transaction) -> tuple[int, int | None]:
        due = attempts.make_due(tx, most=MOST_DUE, actor=self._actor)
        next_at = attempts.next_due_at(tx)
        return due, None if next_at is None else next_at - tx.now

    def _reap(self, tx: Transaction) -> int | None:
        return attempts.reap(tx, views.policies, ttl=self._ttl_us, actor=self._actor, every=int(self._longest * 500_000))

    def _forget(self) -> None:
        now = self._system.monotonic()
        if self._forgot_at is not None and now - self._forgot_at < HOUR:
            return
        self._forgot_at = now
        self._database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=tx.now - _WORKERS_KEPT_US))


def _sweep(tx: Transaction) -> int:
    """Only where a limit changed of late can slots and runs disagree; a look now and then finds what nobody thought of."""
    changed = tx.one("limits.changed")
    if changed is None or changed[0] is None or (tx.now - changed[0] > _CHANGED_OF_LATE_US and tx.now // SECOND % _SWEEP_EVERY):
        return 0
    return limits.sweep(tx)
