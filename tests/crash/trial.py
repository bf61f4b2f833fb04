"""One trial on one database: a busy fleet under a killer, then a healthy one that finishes everything, then the checker.

Here: the order of things and when somebody dies. Not here: processes (``fleet``), and what must hold (``checker``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from mainspring.core.durations import SECOND
from mainspring.core.states import TERMINAL
from mainspring.testing import invariants
from mainspring.testing.invariants import Violation
from tests.crash import checker
from tests.crash.evidence import Database, Evidence, read_attempts, read_calls, read_runs
from tests.crash.fleet import Fleet, Role
from tests.crash.jobs import build
from tests.crash.ledger import Ledger

_LOOK_SECONDS = 0.02
_HOLD_LOOK_SECONDS = 0.25
_PROGRESS_SECONDS = 5.0
_PAUSE_EVERY_SECONDS = 6.0
_FAREWELL_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is to happen."""

    kills: int
    seed: int
    every_seconds: float = 0.3
    most_seconds: float = 600.0
    drain_seconds: float = 120.0
    lease_us: int = 2 * SECOND
    workers: int = 4
    producers: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened, and what does not hold."""

    evidence: Evidence
    violations: list[Violation]
    seconds: float

    def lines(self) -> list[str]:
        """The figures, for people."""
        evidence, record = self.evidence, self.evidence.record
        takeovers = checker.recovery(evidence)
        braked = max((each.after_us for each in takeovers if each.braked), default=0) / 1e6
        longest = max((each.after_us for each in takeovers if not each.braked), default=0) / 1e6
        held_up = sum(each.braked for each in takeovers)
        attempts = sum(line.what == "begin" for line in evidence.lines)
        interruptions = sum(run.interruptions for run in evidence.runs.values())
        return [
            f"kills {record.killed} ({', '.join(f'{count} {how}' for how, count in record.kills.items())}), "
            f"stops {len(record.pauses)}, reaper's brakes {len(evidence.holds)}, {self.seconds:.0f} s",
            f"runs {len(evidence.runs)}, attempts {attempts}, interruptions {interruptions}, takeovers {len(takeovers)}, "
            f"max recovery {longest:.2f} s ({held_up} behind the brake: {braked:.2f} s), violations {len(self.violations)}",
        ]


class Trial:
    """A trial in a folder of its own."""

    def __init__(self, url: str, folder: Path, plan: Plan, *, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._say = say
        self._dice = random.Random(plan.seed)
        self._app = build(url, Ledger(folder, "trial")).app
        self._app.migrate()
        self._database: Database = self._app.client.database
        self._fleet = Fleet(database=url, folder=folder, lease_us=plan.lease_us, dice=self._dice)
        self._holds: set[int] = set()
        self._began_at = time.monotonic()
        self._said_at = self._began_at
        self._looked_at = 0.0

    def run(self) -> Report:
        """The whole of it."""
        try:
            self._man(faulty=True)
            self._kill_for_a_while()
            self._fleet.kill_all()
            self._man(faulty=False, roles=("worker",))
            left = self._drain()
            self._fleet.dismiss(_FAREWELL_SECONDS)
            return self._judge(left)
        finally:
            self._fleet.kill_all()
            self._app.close()

    def _man(self, *, faulty: bool, roles: tuple[Role, ...] = ("worker", "producer")) -> None:
        for role in roles:
            for _ in range(self._plan.workers if role == "worker" else self._plan.producers):
                self._fleet.start(role, faulty=faulty)

    def _kill_for_a_while(self) -> None:
        """Until enough have died: a death about every ``every_seconds``, and now and then a worker stopped beyond its lease."""
        kill_at, pause_at = time.monotonic() + 1.0, time.monotonic() + _PAUSE_EVERY_SECONDS / 2
        while self._fleet.record.killed < self._plan.kills and self._seconds() < self._plan.most_seconds:
            self._look("killing")
            self._fleet.replace_dead()
            if time.monotonic() >= kill_at:
                self._fleet.kill_one()
                kill_at = time.monotonic() + self._dice.uniform(0.0, 2 * self._plan.every_seconds)
            if time.monotonic() >= pause_at:
                lease_seconds = self._plan.lease_us / SECOND
                self._fleet.pause_one(lease_seconds * self._dice.uniform(1.1, 1.7))
                pause_at = time.monotonic() + self._dice.uniform(0.5, 1.5) * _PAUSE_EVERY_SECONDS

    def _drain(self) -> int:
        """Until all workers are up and all runs have ended, or time is up; how many have not."""
        give_up_at = time.monotonic() + self._plan.drain_seconds
        while (self._unfinished() or not self._all_are_up()) and time.monotonic() < give_up_at:
            self._look("draining")
        return self._unfinished()

    def _judge(self, left: int) -> Report:
        evidence = Evidence(
            runs=read_runs(self._database),
            calls=read_calls(self._folder),
            lines=read_attempts(self._folder),
            record=self._fleet.record,
            holds=sorted(self._holds),
            lease_us=self._plan.lease_us,
            logs=list(self._fleet.logs()),
        )
        found = [*checker.violations(evidence), *invariants.violations(self._database), *_integrity(self._database)]
        if left:
            found.append(Violation("drained", str(left), f"runs have not ended within {self._plan.drain_seconds:.0f} s"))
        return Report(evidence=evidence, violations=found, seconds=self._seconds())

    # -- looking on -----------------------------------------------------------------------------------------------------

    def _look(self, doing: str) -> None:
        time.sleep(_LOOK_SECONDS)
        at = time.monotonic()
        if at - self._looked_at >= _HOLD_LOOK_SECONDS:
            self._looked_at = at
            if (row := self._database.read("fleet.tick", lambda tx: tx.one("fleet.tick"))) and row[1]:
                self._holds.add(row[1])
        if at - self._said_at >= _PROGRESS_SECONDS:
            self._said_at = at
            record = self._fleet.record
            ended = sum(count for state, count in self._counts().items() if state in TERMINAL)
            self._say(
                f"  {self._seconds():4.0f} s  {doing}: {record.killed} of {self._plan.kills} kills, {len(record.pauses)} stops, "
                f"{ended} runs ended, {self._unfinished()} to go"
            )

    def _all_are_up(self) -> bool:
        return self._fleet.names <= {worker.id.partition(".")[0] for worker in self._app.client.workers()}

    def _unfinished(self) -> int:
        return sum(count for state, count in self._counts().items() if state not in TERMINAL)

    def _counts(self) -> dict[Any, int]:
        counts: dict[Any, int] = self._app.runs.counts()
        return counts

    def _seconds(self) -> float:
        return time.monotonic() - self._began_at


def _integrity(database: Database) -> list[Violation]:
    """What SQLite says of its own file; PostgreSQL has no such question."""
    path = getattr(database, "path", None)
    if path is None:
        return []
    connection = apsw.Connection(path)
    try:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close()
    return [Violation("integrity_check", path, line) for line in said if line != "ok"]
