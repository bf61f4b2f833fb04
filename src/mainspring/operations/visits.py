"""What looks at schedules decided, as rows: occurrences with their runs, those who waited, retries, ranges, cursors.

Everything a step decided is written in a few batches, whatever the number of schedules. Not here: what is decided (``planning``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.core.attempts import Held, Move, move
from mainspring.core.backlog import Backlog
from mainspring.core.ids import stable_uuid7
from mainspring.core.occurrence import SKIP_REASON, Disposition
from mainspring.core.planning import Fate, Range, Visit
from mainspring.core.schedule import Cursor
from mainspring.core.states import EventType, State
from mainspring.operations import backlogs, deliveries, moves, occurrences
from mainspring.operations.creation import NewRun, insertion, labelling
from mainspring.operations.rows import encode_data
from mainspring.operations.schedule_rows import ScheduleRow, read_spec
from mainspring.store.database import Transaction
from mainspring.zones import tz_version

WITHDRAWN = "withdrawn"
REPLACED = "replaced"
#: What an occurrence says of its slot.
HELD, WANTED = 1, 2
FAILED_TOO_OFTEN = "so many runs in a row failed"


@dataclass(slots=True)
class Writing:
    """What is to be written of several schedules."""

    fates: list[tuple[ScheduleRow, Fate]]
    ranges: list[tuple[ScheduleRow, Range]]
    visits: list[tuple[ScheduleRow, Visit]]
    broken: list[tuple[ScheduleRow, str | None]]
    backlogs: dict[str, tuple[list[Backlog], list[Backlog]]]


def write(tx: Transaction, writing: Writing) -> None:
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
    """Those who waited and begin now, those who are superseded or shut out by a blackout, and those who need wait no more."""
    begins = [each for _, made in visits for each in made.begins]
    gone = [each for _, made in visits for each in made.superseded]
    withdrawn = [each for _, made in visits for each in made.withdrawn]
    shut = [each for _, made in visits for each in made.shut]
    if not (begins or gone or withdrawn or shut):
        return
    locked = moves.lock_runs(tx, [each.run_id for each in (*begins, *(each for each, _ in gone), *withdrawn, *shut)])
    blocked = {run.id: run for run in locked.values() if run.state is State.BLOCKED}
    pairs: list[tuple[Held, Move]] = [
        (run, move(run, EventType.UNBLOCKED, run.state, State.QUEUED, actor="system", delay=0))
        for each in begins
        if (run := blocked.get(each.run_id)) is not None
    ]
    skipped = [(each, Disposition.SUPERSEDED) for each, _ in gone] + [(each, Disposition.BLACKOUT) for each in shut]
    pairs += [
        (run, move(run, EventType.SKIPPED, run.state, State.SKIPPED, actor="system", reason=SKIP_REASON[fate]))
        for each, fate in skipped
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
    decided += [(each.key, str(Disposition.BLACKOUT), None, None, 0) for each in shut]
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


def enter(tx: Transaction, schedule: ScheduleRow, entries: Sequence[tuple[Fate, str | None]]) -> None:
    """Write occurrences that begin at once, each with the run that it does again. The caller holds the cursor and found room."""
    ids = {fate.arrival.key: _run_id(fate) for fate, _ in entries}
    new = [_new_run(schedule, fate, ids[fate.arrival.key], tx.now)._replace(rerun_of=again) for fate, again in entries]
    _create(tx, new)
    deliveries.follow(tx, [run.id for run in new])
    tx.execute("occurrences.create", batch=[_row(schedule, fate, ids) for fate, _ in entries])
