"""The planner: who holds a schedule's cursor settles what is due, gives out its slots, and moves the cursor, in one transaction.

Occurrence, run and cursor are written together, so nothing is due twice and nothing due disappears, with any number of planners.
What is decided is in ``core/planning.py``. Not here: what people do to schedules (``schedules``).

Lock order: cursor, runs, occurrences. An ending run takes its row, its occurrence and then the cursor, but never a run that waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from mainspring.core import replanning as zoned
from mainspring.core.attempts import Held, Move, move
from mainspring.core.backlog import Backlog, Source
from mainspring.core.calendar_reading import calendar_from_data
from mainspring.core.calendars import Calendar
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.ids import stable_uuid7
from mainspring.core.occurrence import SKIP_REASON, Disposition, Origin
from mainspring.core.planning import Arrival, Fate, Range, Standing, Visit, visit
from mainspring.core.restoring import Mark, Memory
from mainspring.core.schedule import Cursor, Spec, kind_of
from mainspring.core.states import EventType, State
from mainspring.core.timetable import Surroundings, Timetable, timetable
from mainspring.errors import MainspringError
from mainspring.operations import backlogs, deliveries, holds, moves, occurrences
from mainspring.operations.creation import NewRun, insertion, labelling
from mainspring.operations.replanning import data_of, replanned
from mainspring.operations.rows import encode_data
from mainspring.store.database import Row, Transaction
from mainspring.zones import tz_version, zone

_BROKEN_US = 1 * MINUTE
_OLDER_US = 5 * SECOND
_COMPILED = 4096
_MOST_TOLD = 500
WITHDRAWN = "withdrawn"
REPLACED = "replaced"
#: What an occurrence says of its slot.
HELD, WANTED = 1, 2
FAILED_TOO_OFTEN = "so many runs in a row failed"
NO_MORE = "never_due: its calendars or zones were changed, and its rule is due at no instant any more"


class ScheduleRow(NamedTuple):
    """A row of ``schedules`` with the revision in force."""

    id: str
    namespace: str
    name: str
    revision: int
    enabled: int
    kind: str
    set_name: str | None
    paused_at: int | None
    paused_by: str | None
    paused_reason: str | None
    broken: str | None
    created_at: int
    updated_at: int
    deleted_at: int | None
    spec: str
    lane_id: int
    policy_id: int
    body: bytes | None
    revised_at: int
    calendars: str | None = None

    @property
    def is_in_force(self) -> bool:
        """Whether its rule is followed now."""
        return bool(self.enabled) and self.paused_at is None and self.deleted_at is None

    @property
    def wants_alerts(self) -> bool:
        """Whether its spec has alerts; also of one that can no longer be read."""
        return '"alerts":' in self.spec

    @property
    def seed(self) -> str:
        """What ``H`` hashes: the same after a restore, and after re-creation under the same name."""
        return f"{self.namespace}/{self.name}"


class Planned(NamedTuple):
    """What a look at due schedules did: how many were looked at, whether there may be more, and the schedules (with a number) of
    which the oldest under way are to be asked to stop. ``mark``: how far planning has come; None if nothing was due."""

    schedules: int
    more: bool
    stops: list[tuple[str, int]]
    mark: Mark | None = None


@dataclass(slots=True)
class _Writing:
    """What is to be written of several schedules."""

    fates: list[tuple[ScheduleRow, Fate]]
    ranges: list[tuple[ScheduleRow, Range]]
    visits: list[tuple[ScheduleRow, Visit]]
    broken: list[tuple[ScheduleRow, str | None]]
    backlogs: dict[str, tuple[list[Backlog], list[Backlog]]]


@lru_cache(maxsize=_COMPILED)
def read_spec(text: str) -> Spec:
    """A stored spec."""
    return Spec.from_data(msgspec.json.decode(text))


@lru_cache(maxsize=_COMPILED)
def read_calendars(text: str | None) -> Mapping[str, Calendar]:
    """The calendars that a schedule keeps, by name."""
    return {} if text is None else {name: calendar_from_data(each) for name, each in msgspec.json.decode(text).items()}


@lru_cache(maxsize=_COMPILED)
def _table(text: str, calendars: str | None, seed: str, created_at: int, ended_at: int | None, until: int | None) -> Timetable:
    spec = read_spec(text)
    ends = [at for at in (spec.end_at, until) if at is not None]
    around = Surroundings(
        zones=zone, created_at=created_at, start_at=spec.start_at, end_at=min(ends, default=None), ended_at=ended_at, seed=seed,
        calendars=read_calendars(calendars),
    )  # fmt: skip
    return timetable(spec.rule, around)


def table_of(schedule: ScheduleRow, cursor: Cursor | None = None, *, until: int | None = None) -> Timetable:
    """The instants of a schedule, up to ``until`` where that is given.

    Raises:
        RuleInvalid: its rule can no longer be read.
    """
    waits_for_end = schedule.kind == "after" and cursor is not None
    ended_at = cursor.last_ended_at if waits_for_end and cursor else None
    return _table(schedule.spec, schedule.calendars, schedule.seed, schedule.created_at, ended_at, until)


def plan_due(tx: Transaction, *, most: int, memory: Memory | None = None) -> Planned:
    """Look at up to ``most`` schedules that are due. Where ``memory`` tells that the database was restored since, nothing is done
    but to hold back what the backup does not know of."""
    due, marked = tx.ask("cursors.due", most=most), tx.ask("holds.mark")
    cursors, mark = [Cursor(*row) for row in due()], holds.as_mark(marked())
    if not cursors:
        return Planned(0, False, [])
    if memory is not None and memory.was_restored(mark):
        return Planned(holds.restored(tx, memory.new_incarnation(), actor="system"), True, [], holds.mark(tx))
    made = look_at(tx, cursors)
    more = len(cursors) == most or any(each.more for each in made.values())
    stops = [(key, each.stops) for key, each in made.items() if each.stops]
    return Planned(len(cursors), more, stops, holds.step(tx, memory))


def look_at(
    tx: Transaction, cursors: Sequence[Cursor], arriving: Mapping[str, Sequence[Arrival]] | None = None
) -> dict[str, Visit]:
    """Settle these schedules, whose cursors the caller holds, and let in who arrives; what was decided of each."""
    ids = sorted(cursor.schedule_id for cursor in cursors)
    rules, stand, late = (tx.ask(name, ids=ids) for name in ("cursors.schedules", "occurrences.standing", "backlogs.of"))
    rows = {row[0]: ScheduleRow(*row) for row in rules()}
    found = _standing(stand())
    held, pace = backlogs.by_schedule(late()), backlogs.Pace(tx)
    writing = _Writing([], [], [], [], {})
    for cursor in cursors:
        schedule = rows[cursor.schedule_id]
        arrivals = arriving.get(schedule.id, ()) if arriving else ()
        before = held.get(schedule.id, [])
        try:
            told, made = _look(tx, schedule, cursor, found.get(schedule.id, ()), arrivals, before, pace)
            pace.move(made.paced_until)
            writing.backlogs[schedule.id] = before, made.backlogs
            if schedule.broken != made.broken:
                writing.broken.append((schedule, made.broken))
        except MainspringError as error:  # this schedule cannot be planned; the others can
            told, made = schedule, _unplanned(schedule, cursor, found.get(schedule.id, ()), tx.now)
            writing.broken.append((schedule, error.message[:_MOST_TOLD]))
        writing.visits.append((schedule, made))
        writing.fates += [(_under(tx, told, fate.arrival.revision), fate) for fate in made.fates]
        writing.ranges += [(told, each) for each in made.ranges]
        writing.ranges += [
            (told._replace(revision=gone.revision), Range(gone.first, gone.last, gone.number, fate, code))
            for gone, fate, code in made.given_up
        ]
    _write(tx, writing)
    pace.write()
    return {schedule.id: made for schedule, made in writing.visits}


def _unplanned(schedule: ScheduleRow, cursor: Cursor, standing: Sequence[Standing], now: int) -> Visit:
    """Of a schedule that cannot be planned, what has begun goes on; the rest is looked at again later."""
    try:
        made = visit(read_spec(schedule.spec), None, cursor, standing=standing, now=now)
    except MainspringError:
        made = Visit(cursor=cursor)
    return replace(made, cursor=made.cursor._replace(next_at=now + _BROKEN_US))


def _look(
    tx: Transaction,
    schedule: ScheduleRow,
    cursor: Cursor,
    standing: Sequence[Standing],
    arriving: Sequence[Arrival],
    held: Sequence[Backlog],
    pace: backlogs.Pace,
) -> tuple[ScheduleRow, Visit]:
    """What is decided of a schedule, and the revision under which it is. One that is not in force is looked at again when something
    about it changes; what is asked for by hand starts anyway, as the newest revision says."""
    spec = read_spec(schedule.spec)
    failed = spec.pause_after_failures is not None and cursor.failure_streak >= spec.pause_after_failures
    if not schedule.is_in_force or failed or cursor.held_to is not None:
        made = visit(spec, None, cursor, standing=standing, arriving=arriving, now=tx.now)
        is_over = schedule.deleted_at is not None or not schedule.enabled
        withdrawn = [each for each in standing if is_over and each.waits]
        made = replace(made, cursor=made.cursor._replace(next_at=None), withdrawn=withdrawn, pauses=failed and schedule.is_in_force)
        gone: list[tuple[Backlog, Disposition, str | None]] = [(each, Disposition.WITHDRAWN, None) for each in held if is_over]
        return schedule, replace(made, backlogs=[] if is_over else list(held), given_up=gone)
    data = data_of(spec, schedule.calendars)
    stands = zoned.standing(cursor, data)
    if stands is zoned.Standing.OLDER:
        made = visit(spec, None, cursor, standing=standing, arriving=arriving, now=tx.now)
        told = f"tzdata_older: this process has zone data {data.version}, and it was planned under {cursor.tz_version}"
        put_off = made.cursor._replace(next_at=tx.now + _OLDER_US)
        return schedule, replace(made, cursor=put_off, backlogs=list(held), broken=told)
    older = _older(tx, schedule, cursor)
    if older.until is None and stands is zoned.Standing.NEWER:
        older = older._replace(cursor=replanned(tx, older.cursor, table_of(schedule, older.cursor), data))
    sources = [_source(tx, schedule, cursor, each) for each in held]
    if older.until is None:
        table, paced_until = table_of(schedule, older.cursor), pace.until if held or _is_late(spec, cursor, tx.now) else 0
        made = visit(
            spec, table, older.cursor, standing=standing, arriving=arriving, now=tx.now, sources=sources,
            revision=schedule.revision, paced_until=paced_until,
        )  # fmt: skip
        moved = zoned.stamped(made.cursor, data)
        if stands is zoned.Standing.NEWER and moved.next_nominal_at is None and cursor.next_nominal_at is not None:
            return schedule, replace(made, cursor=moved, broken=NO_MORE)
        return schedule, made if moved is made.cursor else replace(made, cursor=moved)
    if arriving:
        made = visit(spec, None, older.cursor, standing=standing, arriving=arriving, now=tx.now)
        return schedule, _again(replace(made, backlogs=list(held)), tx.now)
    made = visit(
        read_spec(older.row.spec), older.table, older.cursor, standing=standing, now=tx.now, sources=sources,
        revision=older.row.revision, paced_until=pace.until,
    )  # fmt: skip
    if made.more or made.cursor.next_nominal_at is not None:
        return older.row, made
    passed = made.cursor._replace(cursor_at=older.until, backlog_is_late=cursor.backlog_is_late)
    return older.row, _again(replace(made, cursor=passed), tx.now)


def _is_late(spec: Spec, cursor: Cursor, now: int) -> bool:
    """Whether some of what is due may be late."""
    following = cursor.next_nominal_at
    return bool(cursor.backlog_is_late) or following is None or now - following > spec.misfire.grace_us


def _source(tx: Transaction, schedule: ScheduleRow, cursor: Cursor, backlog: Backlog) -> Source:
    row = _under(tx, schedule, backlog.revision)
    return Source(backlog, read_spec(row.spec), table_of(row, cursor))


def _under(tx: Transaction, schedule: ScheduleRow, revision: int | None) -> ScheduleRow:
    """A schedule as one of its revisions says."""
    if revision is None or revision == schedule.revision:
        return schedule
    text, lane_id, policy_id, body = _found(tx.one("backlogs.revision", id=schedule.id, revision=revision))
    kind = kind_of(read_spec(text).rule)
    return schedule._replace(revision=revision, kind=kind, spec=text, lane_id=lane_id, policy_id=policy_id, body=body)


def _again(made: Visit, now: int) -> Visit:
    return replace(made, cursor=made.cursor._replace(next_at=now), more=True)


class _Older(NamedTuple):
    """A revision that is no longer the newest, and some of whose instants lie before the cursor. ``until`` None: there is none."""

    row: ScheduleRow
    cursor: Cursor
    table: Timetable | None = None
    until: int | None = None


def _older(tx: Transaction, schedule: ScheduleRow, cursor: Cursor) -> _Older:
    """The revision that was in force when what is settled next was due: that of its time, whatever was edited since. The cursor
    passes revisions of which nothing is left."""
    while schedule.revision > 1 and cursor.cursor_at < schedule.revised_at:
        revision, text, lane_id, policy_id, body, until = _found(tx.one("cursors.revision", id=schedule.id, at=cursor.cursor_at))
        spec = read_spec(text)
        row = schedule._replace(
            revision=revision, kind=kind_of(spec.rule), spec=text, lane_id=lane_id, policy_id=policy_id, body=body
        )
        table = table_of(row, cursor, until=until)
        if spec.enabled and table.after(cursor.cursor_at) is not None:
            return _Older(row, cursor, table, until)
        cursor = cursor._replace(cursor_at=until)
    return _Older(schedule, cursor)


def _found(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    assert row is not None, "revisions are numbered without holes, and kept"
    return row


def standing(tx: Transaction, ids: Sequence[str]) -> dict[str, list[Standing]]:
    """Who holds a slot of these schedules or waits for one, the oldest first."""
    return _standing(tx.rows("occurrences.standing", ids=ids))


def _standing(rows: Iterable[Row]) -> dict[str, list[Standing]]:
    found: dict[str, list[Standing]] = {}
    for key, schedule_id, at, origin, _, ready_at, slot, run_id, state, asked_at, stalled_at in rows:
        found.setdefault(schedule_id, []).append(
            Standing(
                key=key,
                nominal_at=at,
                origin=Origin(origin),
                ready_at=ready_at,
                holds_slot=slot == HELD,
                run_id=run_id,
                is_retry=slot == WANTED,
                is_due=slot == WANTED and state == State.BLOCKED,
                asked_at=asked_at,
                stalled_at=stalled_at,
            )
        )
    return found


def enter(tx: Transaction, schedule: ScheduleRow, entries: Sequence[tuple[Fate, str | None]]) -> None:
    """Write occurrences that begin at once, each with the run that it does again. The caller holds the cursor and found room."""
    ids = {fate.arrival.key: _run_id(fate) for fate, _ in entries}
    new = [_new_run(schedule, fate, ids[fate.arrival.key], tx.now)._replace(rerun_of=again) for fate, again in entries]
    _create(tx, new)
    deliveries.follow(tx, [run.id for run in new])
    tx.execute("occurrences.create", batch=[_row(schedule, fate, ids) for fate, _ in entries])


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(tx: Transaction, writing: _Writing) -> None:
    ids = {fate.arrival.key: _run_id(fate) for _, fate in writing.fates}
    new = [_new_run(schedule, fate, ids[fate.arrival.key], tx.now) for schedule, fate in writing.fates]
    if new:
        _create(tx, new)
        deliveries.follow(tx, [run.id for run in new if run.skipped is None and run.blocked is None])
    _move_waiting(tx, writing.visits)
    passed_by = _move_retries(tx, writing.visits)
    if writing.fates:
        tx.send("occurrences.create", batch=[_row(schedule, fate, ids) for schedule, fate in writing.fates])
    if writing.ranges:
        version = tz_version()
        tx.execute("occurrences.create_ranges", batch=[(s.id, *each, s.revision, version) for s, each in writing.ranges])
    for schedule in (schedule for schedule, made in writing.visits if made.pauses):
        tx.execute("schedules.pause", id=schedule.id, actor="system", reason=FAILED_TOO_OFTEN)
        tx.execute("schedules.log", id=schedule.id, type="paused", actor="system", data=encode_data({"reason": FAILED_TOO_OFTEN}))
    for schedule, why in writing.broken:
        tx.execute("schedules.broke", id=schedule.id, why=why)
    backlogs.keep(tx, writing.backlogs)
    moved = [as_moved(made.cursor) for _, made in writing.visits]
    tx.send("cursors.move", batch=sorted(moved))
    if passed_by:
        tx.execute("cursors.poke", ids=passed_by)
    if watched := sorted(schedule.id for schedule, _ in writing.visits if schedule.wants_alerts):
        from mainspring.operations import alerting  # paid for only by those who have alerts

        full = {schedule.id for schedule, fate in writing.fates if fate.disposition is Disposition.BUFFER_FULL}
        alerting.planned(tx, watched, full)


def _create(tx: Transaction, new: Sequence[NewRun]) -> None:
    """The runs of new occurrences. The ends of those that may run are counted, so they are marked. Nobody waits for the answers:
    the next statement that asks for one has them all."""
    for query in (insertion(new), *labelling(new)):
        tx.send(query.statement, **query.params)
    if alive := [run.id for run in new if run.skipped is None]:
        tx.send("occurrences.mark_runs", ids=alive)


def _run_id(fate: Fate) -> str:
    """The same for the same occurrence, whoever settles it and however often."""
    return fate.arrival.run_id or stable_uuid7(fate.arrival.due_at, fate.arrival.key)


def _new_run(schedule: ScheduleRow, fate: Fate, run_id: str, now: int) -> NewRun:
    spec, arrival = read_spec(schedule.spec), fate.arrival
    begins = fate.disposition in {Disposition.FIRED, Disposition.WAITING}
    return NewRun(
        id=run_id,
        lane_id=schedule.lane_id,
        policy_id=schedule.policy_id,
        body=arrival.body or schedule.body or b"{}",
        actor=arrival.actor or f"schedule:{schedule.name}",
        due_at=arrival.due_at if arrival.due_at > now else None,
        blocked=occurrences.BLOCKED if fate.disposition is Disposition.WAITING else None,
        skipped=None if begins else SKIP_REASON[fate.disposition],
        expires_at=None if spec.start_within_us is None or not begins else arrival.due_at + spec.start_within_us,
        deadline_at=None if spec.deadline_us is None or not begins else arrival.due_at + spec.deadline_us,
        attributes=spec.attributes if begins else (),
    )


def _row(schedule: ScheduleRow, fate: Fate, ids: Mapping[str, str]) -> tuple[Any, ...]:
    arrival = fate.arrival
    covers = arrival.covers or (None, None, None)
    return (
        arrival.key, schedule.id, schedule.namespace, arrival.nominal, arrival.due_at, str(arrival.origin), schedule.revision,
        tz_version(), str(fate.disposition), fate.reason_code, arrival.reason, arrival.actor or f"schedule:{schedule.name}",
        int(arrival.is_late), arrival.ready_at, int(fate.slot), ids[arrival.key], fate.into, *covers,
    )  # fmt: skip


def as_moved(cursor: Cursor) -> tuple[Any, ...]:
    """A cursor as it is written."""
    c = cursor
    return (
        c.schedule_id, c.cursor_at, c.next_nominal_at, c.next_at, c.carried_first, c.carried_last, c.carried_count,
        c.backlog_is_late, c.fired, c.last_fired_at, c.tz_version, c.zone_hash, c.zone_offset,
    )  # fmt: skip


def _move_waiting(tx: Transaction, visits: Sequence[tuple[ScheduleRow, Visit]]) -> None:
    """Those who waited and begin now, those who are superseded, and those who need wait no more."""
    begins = [each for _, made in visits for each in made.begins]
    gone = [each for _, made in visits for each in made.superseded]
    withdrawn = [each for _, made in visits for each in made.withdrawn]
    if not (begins or gone or withdrawn):
        return
    locked = moves.lock_runs(tx, [each.run_id for each in (*begins, *(each for each, _ in gone), *withdrawn)])
    blocked = {run.id: run for run in locked.values() if run.state is State.BLOCKED}
    pairs: list[tuple[Held, Move]] = [
        (run, move(run, EventType.UNBLOCKED, run.state, State.QUEUED, actor="system", delay=0))
        for each in begins
        if (run := blocked.get(each.run_id)) is not None
    ]
    told = SKIP_REASON[Disposition.SUPERSEDED]
    pairs += [
        (run, move(run, EventType.SKIPPED, run.state, State.SKIPPED, actor="system", reason=told))
        for each, _ in gone
        if (run := blocked.get(each.run_id)) is not None
    ]
    pairs += [
        (run, move(run, EventType.CANCELLED, run.state, State.CANCELLED, actor="system", reason=WITHDRAWN))
        for each in withdrawn
        if (run := blocked.get(each.run_id)) is not None
    ]
    fired, superseded = str(Disposition.FIRED), str(Disposition.SUPERSEDED)
    decided: list[tuple[str, str, str | None, str | None, int]] = [(each.key, fired, None, None, 1) for each in begins]
    decided += [(each.key, superseded, None, into, 0) for each, into in gone]
    decided += [(each.key, str(Disposition.WITHDRAWN), None, None, 0) for each in withdrawn]
    tx.execute("occurrences.decide", batch=decided)
    moves.apply(tx, pairs)


def _move_retries(tx: Transaction, visits: Sequence[tuple[ScheduleRow, Visit]]) -> list[str]:
    """Retries that are due and begin now, and those that end for a newer occurrence. Whoever changes such a run holds it and may
    want our cursor, so we do not wait for it: the schedules of those passed by, to be looked at again."""
    wanted = {each.run_id: (schedule.id, each) for schedule, made in visits for each in (*made.again, *made.replaced)}
    if not wanted:
        return []
    ended = {each.run_id for _, made in visits for each in made.replaced}
    begin = [schedule for schedule, made in visits if made.again]  # a spec that cannot be read lets nobody begin
    unlimited = {schedule.id for schedule in begin if read_spec(schedule.spec).overlap.max_concurrency is None}
    runs = [moves.as_run(row) for row in tx.rows("runs.lock_free", ids=sorted(wanted))]
    pairs: list[tuple[Held, Move]] = []
    for run in runs:
        if run.id in ended and run.state in {State.RETRYING, State.BLOCKED}:
            pairs.append((run, move(run, EventType.CANCELLED, run.state, State.CANCELLED, actor="system", reason=REPLACED)))
        elif run.state is State.BLOCKED:
            pairs.append((run, move(run, EventType.UNBLOCKED, run.state, State.QUEUED, actor="system", delay=0)))
    moved = moves.apply(tx, pairs)
    again = [wanted[key] for key in sorted(moved - ended)]
    if again:
        slots = [(each.key, 0 if schedule_id in unlimited else HELD) for schedule_id, each in again]
        tx.execute("occurrences.regain", batch=sorted(slots))
    return sorted({schedule_id for key, (schedule_id, _) in wanted.items() if key not in moved})
