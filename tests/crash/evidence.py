"""What a trial left behind: rows and events of the database, lines of the jobs' own ledger, and what was done to whom.

Here: reading and arranging. Not here: judging (``checker``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mainspring.core.states import EventType, State
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.invariants import Select, snapshot
from tests.crash.fleet import Record
from tests.crash.ledger import read_lines

Database = SqliteDatabase | PostgresDatabase


class Event(NamedTuple):
    """An entry of a run's ledger in the database."""

    seq: int
    type: EventType
    at: int
    actor: str

    @property
    def worker(self) -> str:
        """The process that wrote it: a worker's id is the name of its process and a suffix for each of its lives."""
        return self.actor.removeprefix("worker:").partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the database has it at the end."""

    id: str
    task: str
    state: State
    token: int
    failures: int
    interruptions: int
    batch_id: str | None
    key: str | None
    rerun_of: str | None
    created_at: int
    payload: Mapping[str, Any]
    result: Any
    events: Sequence[Event]

    @property
    def call(self) -> str:
        """The producer's call that wanted it."""
        return str(self.payload["nonce"]).rpartition(".")[0]

    def claims(self) -> Iterator[tuple[int, Event, Event | None]]:
        """Each attempt: its token, its claim, and the event that ended it (being asked to stop is no end)."""
        token = 0
        events = [event for event in self.events if event.type is not EventType.CANCEL_REQUESTED]
        for event, after in zip(events, [*events[1:], None], strict=True):
            if event.type is EventType.CLAIMED:
                token += 1
                yield token, event, after


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a producer: how many runs it wanted, and what it was told. Neither: it died waiting."""

    id: str
    size: int
    key: str | None
    singleton: str | None
    accepted: Sequence[tuple[str, str]] | None
    refused: str | None


class Request(NamedTuple):
    """A cancel or a retry of a run, and the answer: a word, a new run's id, or an error's code. None: it died waiting."""

    verb: str
    run: str
    told: str | None
    code: str | None


class Line(NamedTuple):
    """A line that an attempt wrote."""

    what: str
    run: str
    token: int
    by: str
    at: int
    value: Any
    checkpoint: Any


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything the checker looks at."""

    runs: Mapping[str, Run]
    calls: Sequence[Call]
    requests: Sequence[Request]
    lines: Sequence[Line]
    record: Record
    holds: Sequence[int]
    lease_us: int
    logs: Sequence[tuple[str, str]] = ()

    def attempts(self) -> dict[tuple[str, int], list[Line]]:
        """The lines of each attempt, in order."""
        found: dict[tuple[str, int], list[Line]] = defaultdict(list)
        for line in self.lines:
            found[line.run, line.token].append(line)
        return found


def read_runs(database: Database) -> dict[str, Run]:
    """All runs of a database with their events, in one snapshot."""
    with snapshot(database) as select:
        return {run.id: run for run in _runs(select)}


def read_calls(folder: Path) -> list[Call]:
    """What the producers asked for and were told."""
    asked: dict[str, dict[str, Any]] = {}
    told: dict[str, dict[str, Any]] = {}
    for line in read_lines(folder):
        match line["what"]:
            case "asked":
                asked[line["call"]] = line
            case "accepted" | "refused":
                told[line["call"]] = line
    return [_call(line, told.get(call, {})) for call, line in asked.items()]


def read_requests(folder: Path) -> list[Request]:
    """What was asked about runs that were there, and answered. Each run is asked about by one producer, and once a verb."""
    asked: dict[tuple[str, str], dict[str, Any]] = {}
    for line in read_lines(folder):
        match line["what"]:
            case "cancel" | "retry" as verb:
                asked[line["of"], verb] = {}
            case "answered":
                asked[line["of"], line["verb"]] = line
    return [Request(verb, run_id, line.get("told"), line.get("code")) for (run_id, verb), line in asked.items()]


def read_attempts(folder: Path) -> list[Line]:
    """What the attempts wrote, in order of time."""
    lines = [
        Line(each["what"], each["run"], each["token"], each["by"], each["at"], each.get("value"), each.get("checkpoint"))
        for each in read_lines(folder)
        if "run" in each
    ]
    return sorted(lines, key=lambda line: line.at)


def _call(asked: Mapping[str, Any], told: Mapping[str, Any]) -> Call:
    return Call(
        id=asked["call"],
        size=asked["size"],
        key=asked.get("key"),
        singleton=asked.get("singleton"),
        accepted=list(zip(told["ids"], told["outcomes"], strict=True)) if "ids" in told else None,
        refused=told.get("code"),
    )


def _runs(select: Select) -> Iterable[Run]:
    events: dict[str, list[Event]] = defaultdict(list)
    bodies: dict[tuple[str, int], Any] = {}
    for run_id, seq, kind, at, actor, body in select("SELECT run_id, seq, type, at, actor, body FROM events ORDER BY run_id, seq"):
        events[run_id].append(Event(seq, EventType(kind), at, actor))
        if body is not None:
            bodies[run_id, seq] = msgspec.json.decode(body)
    for row in select(
        "SELECT r.id, l.task, r.state, r.token, r.failures, r.interruptions, r.batch_id, r.idempotency_key, r.payload_seq, r.seq,"
        " r.rerun_of, r.created_at FROM runs r JOIN lanes l ON l.id = r.lane_id ORDER BY r.id"
    ):
        yield Run(
            id=row[0],
            task=row[1],
            state=State(row[2]),
            token=row[3],
            failures=row[4],
            interruptions=row[5],
            batch_id=row[6],
            key=row[7],
            rerun_of=row[10],
            created_at=row[11],
            payload=bodies.get((row[0], row[8]), {}),
            result=bodies.get((row[0], row[9])),
            events=events[row[0]],
        )
