"""``client.tick()``: one pass of maintenance on request, for those who have no worker running, and what it says it did."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mainspring.core.durations import Duration, format_instant, parse_duration
from mainspring.core.lease import DEFAULT_TTL
from mainspring.errors import MainspringError, StorageUnavailable
from mainspring.operations import upkeep
from mainspring.operations.upkeep import StageReport, Terms

if TYPE_CHECKING:
    from mainspring.client.client import Client, Dispatching


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What a call of ``tick`` did. ``stages`` has an entry for each stage, in order: ``done`` (how much), ``more`` (there may be
    more at once) and ``error`` (why it failed; the others went on all the same). ``next_due_at`` is the first instant at which
    something is due that is known by now."""

    stages: dict[str, StageReport]
    next_due_at: datetime | None

    @property
    def more(self) -> bool:
        """Whether another call would find more at once."""
        return any(report.more for report in self.stages.values())

    @property
    def errors(self) -> dict[str, Exception]:
        """The stages that failed."""
        return {name: report.error for name, report in self.stages.items() if report.error is not None}


def tick(client: "Client", every: Duration) -> Tick:
    """See ``Client.tick``."""
    ttl = max(DEFAULT_TTL, parse_duration(every, option="every") * 5 // 2)  # more than half of it between two calls is an outage
    made = upkeep.make_pass(client.database, Terms(actor=client.actor, ttl=ttl))
    if client.relay is not None:
        made.stages["published"] = _publish(client.relay)
    if any(report.done for report in made.stages.values()):
        client.tell_work([queue.name for queue in client.queues.list()])
    at = made.next_due_at
    return Tick(stages=made.stages, next_due_at=None if at is None else datetime.fromisoformat(format_instant(at)))


def _publish(relay: "Dispatching") -> StageReport:
    """The last stage: what is due is told of, by the transports that this process has."""
    try:
        count = relay.publish()
    except StorageUnavailable:
        raise
    except MainspringError as error:
        return StageReport(error=error)
    return StageReport(done=count)
