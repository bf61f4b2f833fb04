"""The planner: who holds a schedule's cursor settles what is due, gives out its slots, and moves the cursor, in one transaction.

Occurrence, run and cursor are written together, so nothing is due twice and nothing due disappears, with any number of planners.
What is decided is in ``core/planning.py``. Not here: writing it (``visits``), and what people do to schedules (``schedules``).

Lock order: cursor, runs, occurrences. An ending run takes its row, its occurrence and then the cursor, but never a run that waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from mainspring.core import replanning as zoned
from mainspring.core.backlog import Backlog, Source
from mainspring.core.blackouts import Window, closed
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.occurrence import Disposition, Origin
from mainspring.core.planning import Arrival, Range, Standing, Visit, shut_down, visit
from mainspring.core.restoring import Mark, Memory
from mainspring.core.schedule import Cursor, Spec, kind_of
from mainspring.core.states import State
from mainspring.core.timetable import Timetable
from mainspring.errors import MainspringError
from mainspring.operations import backlogs, blackouts, holds, parking
from mainspring.operations.replanning import data_of, replanned
from mainspring.operations.rows import encode_data
from mainspring.operations.schedule_rows import ScheduleRow, read_spec, table_of
from mainspring.operations.visits import HELD, WANTED, Writing, write
from mainspring.store.database import Row, Transaction

_BROKEN_US = 1 * MINUTE
_OLDER_US = 5 * SECOND
_MOST_TOLD = 500
NO_MORE = "never_due: its calendars or zones were changed, and its rule is due at no instant any more"


class Planned(NamedTuple):
    """What a look at due schedules did: how many were looked at, whether there may be more, and the schedules (with a number) of
    which the oldest under way are to be asked to stop. ``mark``: how far planning has come; None if nothing was due."""

    schedules: int
    more: bool
    stops: list[tuple[str, int]]
    mark: Mark | None = None


def plan_due(tx: Transaction, *, most: int, memory: Memory | None = None) -> Planned:
    """Look at up to ``most`` schedules that are due; after a restore, first park what a backup left unfinished. Where ``memory``
    tells that the database was restored since, nothing is done but to hold back what the backup does not know of."""
    due, marked = tx.ask("cursors.due", most=most), tx.ask("holds.mark")
    cursors, mark = [Cursor(*row) for row in due()], holds.as_mark(marked())
    if mark.park_before is not None:
        parked = parking.step(tx, mark.park_before)
        return Planned(parked, True, [])
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
    asked = ("cursors.schedules", "occurrences.standing", "backlogs.of", "blackouts.over")
    rules, stand, late, shut = (tx.ask(name, ids=ids) for name in asked)
    rows = {row[0]: ScheduleRow(*row) for row in rules()}
    found = _standing(stand())
    windows = blackouts.by_schedule(shut(), rows.values())
    held, pace = backlogs.by_schedule(late()), backlogs.Pace(tx)
    writing = Writing([], [], [], [], {})
    for cursor in cursors:
        schedule = rows[cursor.schedule_id]
        arrivals = arriving.get(schedule.id, ()) if arriving else ()
        before = held.get(schedule.id, [])
        try:
            told, made = _look(
                tx, schedule, cursor, found.get(schedule.id, ()), arrivals, before, pace, windows.get(schedule.id, ())
            )  # fmt: skip
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
    write(tx, writing)
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
    windows: Sequence[Window],
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
    if windows and (found := closed(windows, tx.now)) is not None:
        made = shut_down(spec, cursor, found, standing=standing, arriving=arriving, now=tx.now)
        return schedule, replace(made, backlogs=list(held))
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
            revision=schedule.revision, paced_until=paced_until, windows=windows,
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
        revision=older.row.revision, paced_until=pace.until, windows=windows,
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
        row = schedule._replace(revision=revision, spec=text, lane_id=lane_id, policy_id=policy_id, body=body)
        try:
            spec = read_spec(text)
            row = row._replace(kind=kind_of(spec.rule))
            table = table_of(row, cursor, until=until)
            if spec.enabled and table.after(cursor.cursor_at) is not None:
                return _Older(row, cursor, table, until)
        except MainspringError as error:  # nobody can say any more what was due under it: a newer revision heals the schedule
            passed = {"revision": revision, "after": cursor.cursor_at, "upto": until, "why": error.message[:_MOST_TOLD]}
            tx.execute("schedules.log", id=schedule.id, type="unreadable", actor="system", data=encode_data(passed))
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
