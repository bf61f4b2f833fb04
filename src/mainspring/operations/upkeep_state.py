"""Whether somebody makes passes of maintenance: read off the fleet's row, which each pass touches. Only reading."""

from typing import NamedTuple

from mainspring.core.durations import SECOND, format_duration
from mainspring.store.database import Transaction

#: Workers and servers make a pass at least every second; a cron line that calls ``tick`` perhaps every minute.
SILENT_AFTER_US = 90 * SECOND


class UpkeepState(NamedTuple):
    """When somebody last looked for lapsed leases, by the database's clock; None: never."""

    now: int
    last_at: int | None

    @property
    def is_ticking(self) -> bool:
        """Whether that was lately."""
        return self.last_at is not None and self.now - self.last_at <= SILENT_AFTER_US

    @property
    def told(self) -> str:
        """The same in words."""
        if self.last_at is None:
            return "nobody has ever made a pass of maintenance: start a worker"
        return f"last pass {format_duration(max(0, self.now - self.last_at) // SECOND * SECOND)} ago"


def upkeep_state(tx: Transaction) -> UpkeepState:
    """How maintenance is doing."""
    row = tx.one("fleet.tick")
    return UpkeepState(tx.now, None if row is None else int(row[0]))
