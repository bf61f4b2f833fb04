"""One failover: a busy fleet on a fresh pair of servers, the primary killed amid the work, its standby promoted.

Here: a round and its figures. Not here: the fleet, the work and what must hold of them (``tests/crash``), and the servers
(``mainspring.testing.standby``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mainspring.testing.invariants import Violation
from mainspring.testing.standby import PostgresPair
from tests.crash.checker import going_on
from tests.crash.evidence import Evidence
from tests.crash.outages import FailedOver
from tests.crash.trial import Plan, Trial

#: Nobody but the primary dies: whoever was at work before the failover is at work after it, through the connections it had.
LIVING = 0.0


def plan(seed: int, *, away_seconds: tuple[float, float] = (0.0, 2.0)) -> Plan:
    """A round's plan: some work, the failover, some work."""
    return Plan(
        kills=0,
        seed=seed,
        every_seconds=LIVING,
        outages=1,
        away_seconds=away_seconds,
        between_seconds=(0.5, 2.0),
        drain_seconds=60.0,
        most_seconds=90.0,
        workers=3,
        producers=3,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round came to. ``seconds`` is from the call for promotion until the first run asked for after it was done."""

    evidence: Evidence
    violations: list[Violation]
    acknowledged: int
    lost: int
    away_seconds: float
    seconds: float | None

    def __str__(self) -> str:
        went_on = "never" if self.seconds is None else f"after {self.seconds:.2f} s"
        return (
            f"{self.acknowledged} acknowledged, {self.lost} lost, without a server for {self.away_seconds:.2f} s, "
            f"work goes on {went_on}, {len(self.violations)} violations"
        )


def run(folder: Path, planned: Plan, *, say: Callable[[str], None]) -> Round:
    """Fail over once."""
    with PostgresPair() as pair:
        report = Trial(pair.url, folder, planned, say=say, server=FailedOver(pair)).run()
    evidence = report.evidence
    accepted = {run_id for call in evidence.calls for run_id, _ in call.accepted or ()}
    outage, at = next(iter(going_on(evidence)), (None, None))
    return Round(
        evidence=evidence,
        violations=report.violations,
        acknowledged=len(accepted),
        lost=len(accepted - evidence.runs.keys()),
        away_seconds=0.0 if outage is None else (outage.called_at - outage.began_at) / 1e6,
        seconds=None if outage is None or at is None else (at - outage.called_at) / 1e6,
    )
