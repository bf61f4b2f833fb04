"""What must be true of every database at every moment, whatever happened: small oracles over all its rows.

Here: one named function for each promise, in plain SQL and the fold of ``core/events.py``, used by the simulator, by the
conformance and crash tests, and by whoever wants to look at a database of their own. Not here: anything that repairs, and
anything that asks the code under test for its opinion (rows are read over a connection of our own, in one snapshot).

P-numbers are the promises of the project: P1 nothing accepted is lost, P3 only the newest fence writes, P4 one end, P6 keys,
P8 limits, P9 a dependant starts exactly once, P10 no timer is early, P11 a cancel is final, P12 the audit chain is unbroken,
P13 the ledger gives the row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import apsw
import msgspec

from mainspring.core.audit import BEGINNING, Entry, Place, follow
from mainspring.core.events import Event, fold
from mainspring.core.limits import Scope
from mainspring.core.run import Run
from mainspring.core.states import TERMINAL, EventType, State
from mainspring.errors import BrokenInvariant
from mainspring.operations.lanes import as_lane
from mainspring.operations.limits import Gate, LimitRow, Limits
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing import occurring

if TYPE_CHECKING:
    import psycopg

    from mainspring.store.postgres import PostgresDatabase

Row: TypeAlias = tuple[Any, ...]
#: Runs a SELECT on the snapshot under test and yields its rows.
Select: TypeAlias = Callable[[str], Iterable[Row]]

_SHOWN = 20
_LANE_FIELDS = "id, namespace, queue, priority, concurrency_key, kind, task, version, fingerprint, requires, uses"


class Violation(NamedTuple):
    """A promise that does not hold: its oracle, whom it concerns, and what differs."""

    invariant: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.subject}: {self.detail}"


def check(database: SqliteDatabase | PostgresDatabase, *, lowered: Iterable[str] = ()) -> None:
    """Raise ``AssertionError`` naming each invariant that does not hold, the run (or other row) and what differs.

    ``lowered`` names the queues whose limit was put below what ran: only there may a limit be exceeded.
    """
    found = violations(database, lowered=lowered)
    if found:
        more = [f"... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise AssertionError("\n".join(["invariants broken:", *map(str, found[:_SHOWN]), *more]))


def violations(database: SqliteDatabase | PostgresDatabase, *, lowered: Iterable[str] = ()) -> list[Violation]:
    """Everything that does not hold."""
    with snapshot(database) as select:
        return [
            *_over_ledgers(select),
            *_over_tables(select),
            *limits_are_kept(select, frozenset(lowered)),
            *(Violation("slots_are_kept", *row) for row in occurring.slots_are_kept(select)),
            *the_audit_chain_is_unbroken(select),
        ]


def _over_tables(select: Select) -> Iterator[Violation]:
    for oracle in TABLE_ORACLES:
        for row in select(oracle()):
            yield Violation(oracle.__name__, str(row[0]), ", ".join(map(str, row[1:])))


def _over_ledgers(select: Select) -> Iterator[Violation]:
    ledgers = groupby(_events(select), key=attrgetter("run_id"))
    run_id, ledger = next(ledgers, (None, iter(())))
    for run in _runs(select):
        while run_id is not None and run_id < run.id:
            yield Violation("no_event_without_its_run", run_id, "there is no such run")
            run_id, ledger = next(ledgers, (None, iter(())))
        events = list(ledger) if run_id == run.id else []
        for oracle in LEDGER_ORACLES:
            if difference := oracle(run, events):
                yield Violation(oracle.__name__, run.id, difference)
        if run_id == run.id:
            run_id, ledger = next(ledgers, (None, iter(())))
    while run_id is not None:
        yield Violation("no_event_without_its_run", run_id, "there is no such run")
        run_id, ledger = next(ledgers, (None, iter(())))


# -- one run and its ledger: "" where all is well ----------------------------------------------------------------------


def the_ledger_is_gapless(run: Run, ledger: Sequence[Event]) -> str:
    """P13: ``seq`` counts 1, 2, 3, ... and the row carries the last one: no state without its event, and no event lost."""
    numbers = [event.seq for event in ledger]
    return "" if numbers == list(range(1, run.seq + 1)) else f"row at seq {run.seq}, ledger has {numbers}"


def folding_the_ledger_gives_the_row(run: Run, ledger: Sequence[Event]) -> str:
    """P13: the fold of a run's events is its row exactly, by legal moves only."""
    try:
        folded = fold(ledger)
    except BrokenInvariant as broken:
        return broken.message
    if folded == run:
        return ""
    names = [name.name for name in fields(Run) if getattr(folded, name.name) != getattr(run, name.name)]
    return "; ".join(f"{name} is {getattr(run, name)!r}, folded {getattr(folded, name)!r}" for name in names)


def a_run_ends_once_and_last(run: Run, ledger: Sequence[Event]) -> str:
    """P4, P11: at most one event ends a run, and nothing comes after it."""
    ends = [event.seq for event in ledger if event.state in TERMINAL]
    if not ends or ends == [ledger[-1].seq]:
        return ""
    return f"ended at seq {ends}, and its ledger ends at {ledger[-1].seq}"


def the_fence_counts_the_claims(run: Run, ledger: Sequence[Event]) -> str:
    """P3: every claim raised the token by one, and so did an end over the head of the holder; nothing else did."""
    raised = sum(event.type is EventType.CLAIMED or bool(event.data.get("fenced")) for event in ledger)
    return "" if raised == run.token else f"{raised} claims and token {run.token}"


def no_claim_found_the_run_held(run: Run, ledger: Sequence[Event]) -> str:
    """P3: between two claims the first lease was over: no run was given to two workers."""
    held: Event | None = None
    for event in ledger:
        if event.type is EventType.CLAIMED:
            if held is not None:
                return f"claimed by {event.actor} at seq {event.seq} while {held.actor} held it since seq {held.seq}"
            held = event
        elif event.state not in {State.RUNNING, State.CANCELLING}:
            held = None
    return ""


def no_timer_was_early(run: Run, ledger: Sequence[Event]) -> str:
    """P10: a run became due no sooner than its instant."""
    for place, event in enumerate(ledger):
        if event.type is EventType.DUE and (due_at := fold(ledger[:place]).due_at) > event.at:
            return f"due at {due_at}, and called due at {event.at}"
    return ""


def a_dependant_started_once(run: Run, ledger: Sequence[Event]) -> str:
    """P9: what was held back was let go at most once, each time: a scheduled run waits for a slot again before a retry."""
    times = sum(event.type is EventType.UNBLOCKED for event in ledger)
    states = [None, *(event.state for event in ledger)]
    held = sum(state is State.BLOCKED and before is not State.BLOCKED for before, state in pairwise(states))
    return "" if times <= held else f"held back {held} times, and unblocked {times} times"


def a_cancelled_run_was_not_revived(run: Run, ledger: Sequence[Event]) -> str:
    """P11: after a cancel was asked for, the next thing to happen is the end."""
    asked = next((place for place, event in enumerate(ledger) if event.type is EventType.CANCEL_REQUESTED), None)
    if asked is None or all(event.state in TERMINAL for event in ledger[asked + 1 :]):
        return ""
    return f"asked to stop at seq {ledger[asked].seq}, then {[str(event.type) for event in ledger[asked + 1 :]]}"


def the_payload_is_there(run: Run, ledger: Sequence[Event]) -> str:
    """P1: the event that the row names holds the payload."""
    body = next((event.body for event in ledger if event.seq == run.payload_seq), None)
    return "" if body is not None else f"no payload at seq {run.payload_seq}"


LEDGER_ORACLES: tuple[Callable[[Run, Sequence[Event]], str], ...] = (
    the_ledger_is_gapless,
    folding_the_ledger_gives_the_row,
    a_run_ends_once_and_last,
    the_fence_counts_the_claims,
    no_claim_found_the_run_held,
    no_timer_was_early,
    a_dependant_started_once,
    a_cancelled_run_was_not_revived,
    the_payload_is_there,
)


# -- tables side by side: SELECTs that answer the rows which break the promise -----------------------------------------


def a_run_has_its_lane_queue_and_policy() -> str:
    """P1: everything a claim needs to find a run is there."""
    return """
        SELECT r.id, r.lane_id, l.queue, r.policy_id FROM runs r
        LEFT JOIN lanes l ON l.id = r.lane_id
        LEFT JOIN policies p ON p.id = r.policy_id
        LEFT JOIN queues q ON q.namespace = l.namespace AND q.name = l.queue
        WHERE l.id IS NULL OR p.id IS NULL OR q.name IS NULL"""


def exactly_active_runs_have_a_holder() -> str:
    """P3, P7: whoever runs has a known worker, so that its end is noticed; nobody else has one."""
    return """
        SELECT r.id, r.state, 'holder', r.worker_id FROM runs r LEFT JOIN workers w ON w.id = r.worker_id
        WHERE (r.state IN ('running', 'cancelling')) <> (r.worker_id IS NOT NULL)
           OR (r.worker_id IS NOT NULL AND w.id IS NULL)"""


def the_audit_chain_is_unbroken(select: Select) -> Iterator[Violation]:
    """P12: the entries of the audit log follow one another from where it was pruned to where it says it ends."""
    begins, ends = BEGINNING, BEGINNING
    for seq, digest, pruned_seq, pruned_digest in select("SELECT seq, hash, pruned_seq, pruned_hash FROM audit_chain"):
        begins, ends = Place(seq=pruned_seq, hash=pruned_digest), Place(seq=seq, hash=digest)
    columns = [field.name for field in fields(Entry)]
    rows = select(f"SELECT {', '.join(columns)} FROM audit_entries ORDER BY seq")
    place, broken = follow(begins, (Entry(**dict(zip(columns, row, strict=True))) for row in rows))
    if broken is not None:
        yield Violation("the_audit_chain_is_unbroken", str(broken.seq), broken.why)
    elif place != ends:
        yield Violation("the_audit_chain_is_unbroken", str(place.seq), f"the log says that it ends with {ends}")


def limits_are_kept(select: Select, lowered: frozenset[str]) -> Iterator[Violation]:
    """P8: there are never more at work under a limit than it allows, except where it was lowered."""
    lanes = {row[0]: as_lane(row) for row in select(f"SELECT {_LANE_FIELDS} FROM lanes")}
    rows = list(select(f"SELECT {', '.join(LimitRow._fields)} FROM limits"))
    namespaces = {lane.namespace for lane in lanes.values()}
    limits = {name: Limits(row for row in rows if row[1] == name or row[2] == Scope.TOTAL) for name in namespaces}
    used: dict[int, int] = {}
    gates: dict[int, Gate] = {}
    for (lane_id,) in select("SELECT lane_id FROM runs WHERE worker_id IS NOT NULL"):
        for gate, cost in limits[lanes[lane_id].namespace].path(lanes[lane_id]).steps:
            if not gate.is_rate:
                gates[gate.id] = gate
                used[gate.id] = used.get(gate.id, 0) + cost
    for number, gate in gates.items():
        if gate.row.size is not None and used[number] > gate.row.size and gate.row.name not in lowered:
            yield Violation("limits_are_kept", gate.row.name, f"{used[number]} of {gate.row.size} used")


def a_singleton_key_is_held_by_its_live_run() -> str:
    """P6: whoever holds a singleton key has not ended and was made under it."""
    return """
        SELECT s.run_id, 'singleton', s.key, 'run is', r.state FROM singletons s
        LEFT JOIN runs r ON r.id = s.run_id
        LEFT JOIN lanes l ON l.id = r.lane_id
        WHERE r.id IS NULL OR r.ended_at IS NOT NULL OR r.singleton_key IS NULL OR r.singleton_key <> s.key
           OR l.task <> s.task OR l.namespace <> s.namespace"""


def a_live_singleton_run_holds_its_key() -> str:
    """P6: at most one run of a singleton key is live, and the key says which."""
    return """
        SELECT r.id, 'lives without its singleton', r.singleton_key FROM runs r
        LEFT JOIN singletons s ON s.run_id = r.id AND s.key = r.singleton_key
        WHERE r.singleton_key IS NOT NULL AND r.ended_at IS NULL AND s.run_id IS NULL"""


def an_idempotency_key_answers_for_its_owner() -> str:
    """P6: a key names a run made under it that did not simply fail, or the final state of one that was pruned."""
    return """
        SELECT k.run_id, 'key', k.key, 'owner is', r.state, 'final', k.final_state FROM idempotency_keys k
        LEFT JOIN runs r ON r.id = k.run_id
        LEFT JOIN lanes l ON l.id = r.lane_id
        WHERE (r.id IS NULL AND k.final_state IS NULL)
           OR (r.id IS NOT NULL AND (r.idempotency_key IS NULL OR r.idempotency_key <> k.key
               OR l.task <> k.task OR l.namespace <> k.namespace))
           OR (r.state IN ('failed', 'upstream_failed') AND r.cancel_requested_at IS NULL)"""


def a_live_keyed_run_finds_its_key() -> str:
    """P6: the key of a live run is on record, so that a second call finds an owner."""
    return """
        SELECT r.id, 'lives without its key', r.idempotency_key FROM runs r
        JOIN lanes l ON l.id = r.lane_id
        LEFT JOIN idempotency_keys k ON k.namespace = l.namespace AND k.task = l.task AND k.key = r.idempotency_key
        WHERE r.idempotency_key IS NOT NULL AND r.ended_at IS NULL AND (k.run_id IS NULL OR k.run_id <> r.id)"""


def a_promised_run_is_not_there_before_its_turn() -> str:
    """P6: what is kept for after the owner's end is whole, and becomes a run then, not sooner."""
    return """
        SELECT s.next_id, 'is there beside its owner', CAST(s.run_id AS TEXT), r.state
        FROM singletons s JOIN runs r ON r.id = s.next_id
        UNION ALL
        SELECT s.run_id, 'is followed by half a run', s.key, '' FROM singletons s
        LEFT JOIN lanes l ON l.id = s.next_lane AND l.task = s.task LEFT JOIN policies p ON p.id = s.next_policy
        WHERE s.next_id IS NOT NULL AND (s.next_body IS NULL OR s.next_due_at IS NULL OR l.id IS NULL OR p.id IS NULL)"""


def a_batch_counts_its_open_members() -> str:
    """P9: ``open`` is the number of members that have not ended."""
    return """
        SELECT b.id, 'open', b.open, 'members alive', count(r.id) FROM batches b
        LEFT JOIN runs r ON r.batch_id = b.id AND r.ended_at IS NULL
        GROUP BY b.id, b.open HAVING b.open <> count(r.id)"""


def a_batch_counts_its_failed_members() -> str:
    """P9: ``failed`` members failed for good, ``stopped`` ones were cancelled or skipped (while all are on record)."""
    return """
        SELECT b.id, 'failed', b.failed, 'stopped', b.stopped, 'members',
               sum(CASE WHEN r.state IN ('failed', 'upstream_failed') THEN 1 ELSE 0 END),
               sum(CASE WHEN r.state IN ('cancelled', 'skipped') THEN 1 ELSE 0 END)
        FROM batches b JOIN runs r ON r.batch_id = b.id
        GROUP BY b.id, b.failed, b.stopped, b.total
        HAVING count(*) = b.total
           AND (b.failed <> sum(CASE WHEN r.state IN ('failed', 'upstream_failed') THEN 1 ELSE 0 END)
             OR b.stopped <> sum(CASE WHEN r.state IN ('cancelled', 'skipped') THEN 1 ELSE 0 END))"""


def a_dependant_waits_while_an_upstream_is_open() -> str:
    """P9: a run is blocked for others exactly while one of them has not decided, and whoever decides knows of it."""
    return """
        SELECT r.id, 'is blocked and waits for nobody', r.reason FROM runs r
        WHERE r.state = 'blocked' AND r.reason IN ('dependency', 'batch')
          AND NOT EXISTS (SELECT 1 FROM dependencies d WHERE d.run_id = r.id AND d.open = 1)
        UNION ALL
        SELECT r.id, 'waits and is', r.state FROM runs r JOIN dependencies d ON d.run_id = r.id
        WHERE d.open = 1 AND r.state <> 'blocked' AND r.ended_at IS NULL
          AND NOT EXISTS (SELECT 1 FROM events e WHERE e.run_id = r.id AND e.type = 'parked')  -- from there on a person decides
        UNION ALL
        SELECT r.id, 'waits for what is not there', CAST(d.upstream_id AS TEXT)
        FROM runs r JOIN dependencies d ON d.run_id = r.id
        LEFT JOIN runs u ON u.id = d.upstream_id LEFT JOIN batches b ON b.id = d.upstream_id
        WHERE d.open = 1 AND r.state = 'blocked' AND u.id IS NULL AND b.id IS NULL
        UNION ALL
        SELECT r.id, 'waits for a run that does not know', CAST(u.id AS TEXT)
        FROM runs r JOIN dependencies d ON d.run_id = r.id JOIN runs u ON u.id = d.upstream_id
        WHERE d.open = 1 AND r.state = 'blocked' AND u.ended_at IS NULL AND u.followed IN (0, 2)"""


def what_is_decided_lets_its_dependants_go() -> str:
    """P9: nobody waits for what is decided, unless it is noted that more is to be let go."""
    return """
        SELECT r.id, 'waits for an end that was', CAST(u.id AS TEXT)
        FROM runs r JOIN dependencies d ON d.run_id = r.id JOIN runs u ON u.id = d.upstream_id
        WHERE d.open = 1 AND r.state = 'blocked' AND u.ended_at IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM unfinished_releases f WHERE f.upstream_id = u.id)
        UNION ALL
        SELECT r.id, 'waits for a batch that decided', CAST(b.id AS TEXT)
        FROM runs r JOIN dependencies d ON d.run_id = r.id JOIN batches b ON b.id = d.upstream_id
        WHERE d.open = 1 AND r.state = 'blocked'
          AND ((b.sealed_at IS NOT NULL AND b.open = 0) OR (d.condition = 'failed' AND b.failed > 0)
               OR (d.condition = 'succeeded' AND b.failed + b.stopped > 0))
          AND NOT EXISTS (SELECT 1 FROM unfinished_releases f WHERE f.upstream_id = b.id)"""


def nobody_is_let_go_before_it_is_decided() -> str:
    """P9: a wait is over when its upstream has ended, or its batch has decided, and not before."""
    return """
        SELECT d.run_id, 'was let go, and still alive is', CAST(u.id AS TEXT)
        FROM dependencies d JOIN runs u ON u.id = d.upstream_id
        WHERE d.open = 0 AND u.ended_at IS NULL
        UNION ALL
        SELECT d.run_id, 'was let go, and undecided is', CAST(b.id AS TEXT)
        FROM dependencies d JOIN batches b ON b.id = d.upstream_id
        WHERE d.open = 0 AND b.parked_at IS NULL AND NOT ((b.sealed_at IS NOT NULL AND b.open = 0)
              OR (d.condition = 'failed' AND b.failed > 0) OR (d.condition = 'succeeded' AND b.failed + b.stopped > 0))"""


def a_used_up_budget_leaves_a_dead_letter() -> str:
    """P1: a run that failed under its lease is on the list of dead letters, and nobody else is."""
    return """
        SELECT r.id, r.state, 'dead letter', d.run_id FROM runs r LEFT JOIN dead_letters d ON d.run_id = r.id
        WHERE (d.run_id IS NOT NULL AND r.state <> 'failed')
           OR (d.run_id IS NULL AND r.state = 'failed' AND EXISTS (
               SELECT 1 FROM events e WHERE e.run_id = r.id AND e.seq = r.seq - 1 AND e.state = 'running'))"""


def what_hangs_on_a_run_goes_with_it() -> str:
    """P3: checkpoints and dead letters belong to runs there are, and a checkpoint to a fence there was."""
    return """
        SELECT c.run_id, 'checkpoint of token', c.token, r.token FROM checkpoints c LEFT JOIN runs r ON r.id = c.run_id
        WHERE r.id IS NULL OR c.token > r.token
        UNION ALL
        SELECT d.run_id, 'dead letter', 0, 0 FROM dead_letters d LEFT JOIN runs r ON r.id = d.run_id WHERE r.id IS NULL"""


def a_run_has_one_live_retry() -> str:
    """P1: trying a run again makes one new run, however many people ask."""
    return """
        SELECT r.rerun_of, 'live retries', count(*) FROM runs r JOIN events e ON e.run_id = r.id AND e.seq = 1
        WHERE r.rerun_of IS NOT NULL AND r.ended_at IS NULL AND e.data LIKE '%,"retry":1%'
        GROUP BY r.rerun_of HAVING count(*) > 1"""


TABLE_ORACLES: tuple[Callable[[], str], ...] = (
    occurring.an_occurrence_is_where_its_run_is,
    occurring.an_instant_is_decided_once_and_behind_the_cursor,
    a_run_has_its_lane_queue_and_policy,
    exactly_active_runs_have_a_holder,
    a_singleton_key_is_held_by_its_live_run,
    a_live_singleton_run_holds_its_key,
    an_idempotency_key_answers_for_its_owner,
    a_live_keyed_run_finds_its_key,
    a_promised_run_is_not_there_before_its_turn,
    a_batch_counts_its_open_members,
    a_batch_counts_its_failed_members,
    a_dependant_waits_while_an_upstream_is_open,
    what_is_decided_lets_its_dependants_go,
    nobody_is_let_go_before_it_is_decided,
    a_used_up_budget_leaves_a_dead_letter,
    what_hangs_on_a_run_goes_with_it,
    a_run_has_one_live_retry,
)


# -- reading everything in one snapshot --------------------------------------------------------------------------------

_RUN_FIELDS = tuple(each.name for each in fields(Run))


def _runs(select: Select) -> Iterator[Run]:
    for row in select(f"SELECT {', '.join(_RUN_FIELDS)} FROM runs ORDER BY id"):
        values = dict(zip(_RUN_FIELDS, row, strict=True))
        yield Run(**{**values, "state": State(values["state"])})


def _events(select: Select) -> Iterator[Event]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for run_id, seq, kind, state, at, actor, data, body in select(
        "SELECT run_id, seq, type, state, at, actor, data, body FROM events ORDER BY run_id, seq"
    ):
        yield Event(
            run_id=run_id,
            seq=seq,
            type=EventType(kind),
            state=State(state),
            at=at,
            actor=actor,
            data=decode(data) if data else {},
            body=body,
        )


def ledgers(select: Select) -> dict[str, list[Event]]:
    """Every run's ledger, by run id. For databases that fit into memory."""
    return {run_id: list(events) for run_id, events in groupby(_events(select), key=attrgetter("run_id"))}


@contextmanager
def snapshot(database: SqliteDatabase | PostgresDatabase) -> Iterator[Select]:
    """Run SELECTs on one moment of a database, over a connection that is not the database's own where that can be."""
    if not isinstance(database, SqliteDatabase):
        with _session(database) as session:
            yield lambda sql: _streamed(session, sql)
    elif database.path == ":memory:":
        with database.exclusive() as held:
            yield held.execute
    else:
        reader = apsw.Connection(database.path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            reader.set_busy_timeout(60_000)
            reader.execute("BEGIN")
            yield reader.execute
        finally:
            reader.close(True)


@contextmanager
def _session(database: PostgresDatabase) -> Iterator[psycopg.Connection[Row]]:
    import psycopg  # an extra: whoever needs no PostgreSQL need not have it
    from psycopg.types.string import TextLoader

    with psycopg.connect(database.conninfo) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.adapters.register_loader("uuid", TextLoader)
        yield session


def _streamed(session: psycopg.Connection[Row], sql: str) -> Iterator[Row]:
    with session.cursor(f"rows_{next(_cursor_numbers)}") as cursor:
        cursor.itersize = 5000
        yield from cursor.execute(cast("Any", sql))


_cursor_numbers = itertools.count()
