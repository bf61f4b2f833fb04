"""One trial on one database: a busy fleet under a killer, then a healthy one that finishes everything, then the checker.

Here: the order of things and when somebody dies. Not here: processes (``fleet``), how a database is taken away (``outages``), and
what must hold (``checker``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import apsw

from mainspring.core.durations import SECOND
from mainspring.core.states import TERMINAL, State
from mainspring.testing import invariants
from mainspring.testing.invariants import Violation
from tests.crash import checker, due
from tests.crash.evidence import Database, Evidence, Run, read_attempts, read_calls, read_requests, read_runs
from tests.crash.fleet import Fleet, Role
from tests.crash.jobs import build
from tests.crash.ledger import Ledger, now
from tests.crash.outages import Outage, Server

_LOOK_SECONDS = 0.02
_HOLD_LOOK_SECONDS = 0.25
_PROGRESS_SECONDS = 5.0
_PAUSE_EVERY_SECONDS = 6.0
_FAREWELL_SECONDS = 15.0
_GO_ON_LOOK_SECONDS = 0.1
_IDLE_SECONDS = 2.0
_OVER = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is to happen. ``every_seconds`` 0: nobody is killed, stopped or faulty, and who begins also ends."""

    kills: int
    seed: int
    every_seconds: float = 0.3
    outages: int = 0
    away_seconds: tuple[float, float] = (0.0, 1.5)
    between_seconds: tuple[float, float] = (0.5, 2.5)
    give_up_seconds: float = 40.0
    most_seconds: float = 600.0
    drain_seconds: float = 120.0
    lease_us: int = 2 * SECOND
    workers: int = 4
    producers: int = 2
    schedules: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened, and what does not hold."""

    evidence: Evidence
    violations: list[Violation]
    seconds: float

    def is_complete(self, plan: Plan) -> bool:
        """Whether all that was to happen did."""
        record = self.evidence.record
        return record.killed >= plan.kills and len(record.outages) >= plan.outages

    def lines(self) -> list[str]:
        """The figures, for people."""
        evidence, record = self.evidence, self.evidence.record
        takeovers = checker.recovery(evidence)
        braked = max((each.after_us for each in takeovers if each.braked), default=0) / 1e6
        longest = max((each.after_us for each in takeovers if not each.braked), default=0) / 1e6
        waited = f"{longest:.2f} s ({sum(each.braked for each in takeovers)} behind the brake: {braked:.2f} s)"
        attempts = sum(line.what == "begin" for line in evidence.lines)
        interruptions = sum(run.interruptions for run in evidence.runs.values())
        called_off = sum(run.state is State.CANCELLED for run in evidence.runs.values())
        return [
            f"kills {record.killed} ({', '.join(f'{count} {how}' for how, count in record.kills.items())}), "
            f"stops {len(record.pauses)}, {self._outages()}reaper's brakes {len(evidence.holds)}, {self.seconds:.0f} s",
            f"runs {len(evidence.runs)}, called off {called_off}, attempts {attempts}, interruptions {interruptions}, "
            f"takeovers {len(takeovers)}, max recovery {waited}, violations {len(self.violations)}",
        ]

    def _outages(self) -> str:
        gone_on = sorted((at - outage.back_at) / 1e6 for outage, at in checker.going_on(self.evidence) if at is not None)
        if not gone_on:
            return ""
        times = len(self.evidence.record.outages)
        return f"outages {times} (work goes on after {median(gone_on):.2f} s, at most {gone_on[-1]:.2f} s), "


class Trial:
    """A trial in a folder of its own; with a ``server`` that it may take away, if the plan has outages."""

    def __init__(self, url: str, folder: Path, plan: Plan, *, say: Callable[[str], None], server: Server | None = None) -> None:
        self._plan = plan
        self._folder = folder
        self._say = say
        self._server = server
        self._dice = random.Random(plan.seed)
        self._url = url
        self._ledger = Ledger(folder, "trial")
        self._app = build(url, self._ledger).app
        self._app.migrate()
        self._is_away = self._is_settling = False
        self._fleet = Fleet(database=url, folder=folder, lease_us=plan.lease_us, dice=self._dice)
        self._holds: set[int] = set()
        self._began_at = time.monotonic()
        self._said_at = self._began_at
        self._looked_at = 0.0

    def run(self) -> Report:
        """The whole of it."""
        try:
            due.put(self._app, self._plan.schedules)
            self._man(faulty=self._is_deadly)
            self._trouble_for_a_while()
            if self._is_deadly:
                self._fleet.kill_all()
                self._man(faulty=False, roles=("worker",))
            else:
                self._fleet.dismiss(_FAREWELL_SECONDS, role="producer")
            due.end(self._app, self._plan.schedules)
            left = self._drain()
            self._fleet.dismiss(_FAREWELL_SECONDS)
            return self._judge(left)
        finally:
            self._fleet.kill_all()
            self._app.close()

    @property
    def _is_deadly(self) -> bool:
        return self._plan.every_seconds > 0

    @property
    def _database(self) -> Database:
        database: Database = self._app.client.database
        return database

    def _man(self, *, faulty: bool, roles: tuple[Role, ...] = ("worker", "producer")) -> None:
        for role in roles:
            for _ in range(self._plan.workers if role == "worker" else self._plan.producers):
                self._fleet.start(role, faulty=faulty)

    def _trouble_for_a_while(self) -> None:
        """Until enough have died, and the database was away often enough and work went on each time."""
        killing, outages = self._killing(), self._outages()
        is_over = False
        while self._is_away or (self._seconds() < self._plan.most_seconds and not (is_over and self._has_killed_enough())):
            time.sleep(_LOOK_SECONDS)
            self._fleet.replace_dead(faulty=self._is_deadly)
            next(killing)
            is_over = next(outages, _OVER) is _OVER
            if not self._is_away:
                self._look("killing")

    def _has_killed_enough(self) -> bool:
        return self._fleet.record.killed >= self._plan.kills

    def _killing(self) -> Iterator[None]:
        """A death about every ``every_seconds``, and now and then a worker stopped beyond its lease. Yields between looks.

        Also while the database is away; but from its return until work goes on nobody dies, for that has a bound to hold. A death
        waits for an attempt since the one before, if not for long: on a slow machine processes die faster than they are born, and
        kill upon kill would meet nobody at work.
        """
        told = 0
        kill_at, pause_at = time.monotonic() + 1.0, time.monotonic() + _PAUSE_EVERY_SECONDS / 2
        while True:
            if not self._is_deadly or self._is_settling:
                yield
                continue
            if time.monotonic() >= kill_at and (self._work_told() > told or time.monotonic() >= kill_at + _IDLE_SECONDS):
                self._fleet.kill_one()
                told = self._work_told()
                kill_at = time.monotonic() + self._dice.uniform(0.0, 2 * self._plan.every_seconds)
            if time.monotonic() >= pause_at:
                lease_seconds = self._plan.lease_us / SECOND
                self._fleet.pause_one(lease_seconds * self._dice.uniform(1.1, 1.7))
                pause_at = time.monotonic() + self._dice.uniform(0.5, 1.5) * _PAUSE_EVERY_SECONDS
            yield

    def _work_told(self) -> int:
        """How many bytes the workers' attempts have written."""
        return sum(path.stat().st_size for path in self._folder.glob("w*.jsonl"))

    def _outages(self) -> Iterator[None]:
        """The database is killed, comes back after a while, and is left alone until new work was seen to be done."""
        yield from self._settle()
        for _ in range(self._plan.outages):
            assert self._server is not None
            yield from _pause(self._dice.uniform(*self._plan.between_seconds))
            began_at, self._is_away = now(), True
            self._server.take_away()
            yield from _pause(self._dice.uniform(*self._plan.away_seconds))
            called_at = now()
            self._server.give_back()
            self._fleet.record.outages.append(Outage(began_at, called_at, now()))
            self._reopen()
            yield from self._settle()

    def _settle(self) -> Iterator[None]:
        """Until a run that was created from now on is seen to have succeeded, or that took too long (which is for the checker)."""
        since, give_up_at, self._is_settling = now(), time.monotonic() + self._plan.give_up_seconds, True
        while time.monotonic() < give_up_at:
            done = self._app.runs.list(states=[State.SUCCEEDED], limit=1).data
            if done and done[0].run.created_at >= since:
                break
            yield from _pause(_GO_ON_LOOK_SECONDS)
        self._is_settling = False

    def _reopen(self) -> None:
        """Look through new connections: how long the old ones take to be replaced is for the fleet to show, and not for us."""
        self._app.close()
        self._app = build(self._url, self._ledger).app
        self._is_away = False

    def _drain(self) -> int:
        """Until all workers are up and all runs have ended, or time is up; how many have not."""
        give_up_at = time.monotonic() + self._plan.drain_seconds
        while (self._unfinished() or not self._all_are_up()) and time.monotonic() < give_up_at:
            time.sleep(_LOOK_SECONDS)
            self._look("draining")
        return self._unfinished()

    def _judge(self, left: int) -> Report:
        evidence = Evidence(
            runs=read_runs(self._database),
            calls=read_calls(self._folder),
            requests=read_requests(self._folder),
            lines=read_attempts(self._folder),
            record=self._fleet.record,
            holds=sorted(self._holds),
            lease_us=self._plan.lease_us,
            logs=list(self._fleet.logs()),
        )
        found = [*checker.violations(evidence), *invariants.violations(self._database), *_integrity(self._database)]
        found += due.violations(self._app)
        if left:
            found.append(Violation("drained", str(left), f"runs have not ended within {self._plan.drain_seconds:.0f} s"))
        self._keep([run for each in found if (run := evidence.runs.get(each.subject))])
        return Report(evidence=evidence, violations=found, seconds=self._seconds())

    def _keep(self, runs: Sequence[Run]) -> None:
        """Leave what the database says of runs that do not hold for whoever looks into it: the database will be gone."""
        with (self._folder / "violations.txt").open("w") as out:
            for run in runs:
                print(replace(run, events=()), *run.events, sep="\n  ", file=out)

    # -- looking on -----------------------------------------------------------------------------------------------------

    def _look(self, doing: str) -> None:
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
                f"{len(record.outages)} of {self._plan.outages} outages, "
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


def _pause(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield


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
