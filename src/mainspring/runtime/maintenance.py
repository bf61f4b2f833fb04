"""What must happen although nobody asks: one pass after another over the stages of ``operations/upkeep.py``.

Every worker process runs it; every write is guarded, so any number may. Not here: the stages.
"""

import logging
from collections.abc import Callable

from mainspring.core.clock_trust import ClockTrust
from mainspring.core.durations import MINUTE, SECOND
from mainspring.errors import BrokenInvariant
from mainspring.operations import upkeep
from mainspring.operations.upkeep import Pass, Terms
from mainspring.runtime.remembering import remembered
from mainspring.runtime.service import Wake
from mainspring.store.database import Database
from mainspring.system import System
from mainspring.telemetry.metrics import Metrics

log = logging.getLogger("mainspring")

_LONGEST_SECONDS = 1.0
_SHORT_SECONDS = 0.05
_BROKEN_US = 1 * MINUTE


class Maintenance:
    """The service. ``on_due`` is called after something was done, from the step's thread: runs may have become queued, or places
    free.

    A stage that fails stops no other: its error is raised once the pass is over. One that meets a bug of ours is left alone for a
    minute, and ``broken`` says so. While the database's clock is too far ahead of the time since boot nothing is planned, and
    ``clock_ahead_us`` says by how much.
    """

    name = "maintenance"

    def __init__(
        self,
        database: Database,
        *,
        system: System,
        ttl_us: int,
        actor: str,
        on_due: Callable[[], None],
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._database = database
        self._system = system
        self._on_due = on_due
        self.broken: dict[str, BrokenInvariant] = {}
        self._not_before: dict[str, int] = {}  # stages that are not due yet, by the monotonic clock
        self._longest = min(_LONGEST_SECONDS, ttl_us / 6e6)  # well within the silence that the reaper takes for an outage
        self._trust = ClockTrust()
        self.clock_ahead_us = 0
        self._terms = Terms(
            actor=actor,
            ttl=ttl_us,
            reap_every=int(self._longest * 500_000),
            may_plan=self._may_plan,
            memory=remembered(database, system.new_id),
        )

    def step(self) -> Wake:
        """One pass."""
        now = self._system.monotonic()
        resting = {name for name, at in self._not_before.items() if at > now}
        made = upkeep.make_pass(self._database, self._terms, leave_out=resting)
        if self._metrics is not None:
            self._metrics.ticked(made.done("due"), made.done("leases"), made.done("reservations"))
        if any(report.done for report in made.stages.values()):
            self._on_due()
        self._rest(made, now)
        for report in made.stages.values():
            if report.error is not None and not isinstance(report.error, BrokenInvariant):
                raise report.error
        return Wake(0.0 if made.more else self._seconds(made))

    def _may_plan(self, now: int) -> bool:
        """Say aloud when the clock leaps, and when it is believed again."""
        ahead, before = self._trust.ahead(now, self._system.boottime()), self.clock_ahead_us
        self.clock_ahead_us = ahead
        if ahead and not before:
            log.critical(
                "%s: the database's clock leapt %d s ahead: no schedule is planned here until it is set right, or this process is"
                " started anew",
                self.name,
                ahead // SECOND,
            )
        elif before and not ahead:
            log.warning("%s: the database's clock is right again: schedules are planned", self.name)
        return ahead == 0

    def _rest(self, made: Pass, now: int) -> None:
        """Stages that need not be looked at in every pass, and those that should not."""
        for stage in upkeep.STAGES:
            report = made.stages.get(stage.name)
            if report is None:
                continue
            if isinstance(report.error, BrokenInvariant):
                log.critical("%s: the stage %s rests for a minute: %s", self.name, stage.name, report.error, exc_info=report.error)
                self.broken[stage.name] = report.error
                self._not_before[stage.name] = now + _BROKEN_US
            elif stage.every and report.error is None and not report.more:
                self._not_before[stage.name] = now + stage.every

    def _seconds(self, made: Pass) -> float:
        if made.next_in is None:
            return self._longest
        did_nothing = not any(report.done for report in made.stages.values())
        is_with_another = did_nothing and made.next_in <= 0  # what is due and was left alone
        least = _SHORT_SECONDS if is_with_another else 0.0
        return min(self._longest, max(least, made.next_in / 1e6))
