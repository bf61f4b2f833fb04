"""What people do to schedules: put, look, pause, resume, trigger, delete. Each takes the cursor, so it is before or after a fire,
and never beside one. Not here: what is due (``planning``)."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from mainspring.core.calendars import Calendar
from mainspring.core.lanes import Lane
from mainspring.core.launch import TARGETS
from mainspring.core.occurrence import Disposition, Origin, manual_key
from mainspring.core.planning import Arrival
from mainspring.core.policy import Policy
from mainspring.core.schedule import Cursor, ScheduleState, Spec, kind_of, state_of
from mainspring.core.schedule_filter import ScheduleFilter
from mainspring.errors import ChangedMeanwhile, InvalidOption, MainspringError, NameTaken, UnknownSchedule
from mainspring.operations import blackouts, calendars, holds, occurrences
from mainspring.operations.creation import intern
from mainspring.operations.holds import HELD, OnHeld
from mainspring.operations.lanes import as_lane
from mainspring.operations.planning import look_at
from mainspring.operations.replanning import data_of
from mainspring.operations.rows import encode_data
from mainspring.operations.schedule_rows import ScheduleRow, read_spec, table_of
from mainspring.store.database import Transaction
from mainspring.zones import tz_version

_ANY = ScheduleFilter()
#: So many pages are looked through for one page of what is wanted.
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """A schedule as it is now. Instants in UTC microseconds; ``next_at`` has jitter in it. ``spec`` is
    None where it can no longer be read; ``reason`` says why."""

    id: str
    name: str
    revision: int
    kind: str
    state: ScheduleState
    reason: str | None
    spec: Spec | None
    next_nominal_at: int | None
    next_at: int | None
    fired: int
    failure_streak: int
    last_fired_at: int | None
    last_success_at: int | None
    last_failure_at: int | None
    paused_at: int | None
    paused_by: str | None
    created_at: int
    updated_at: int


class Target(NamedTuple):
    """What the runs of a schedule are made of."""

    lane: Lane
    policy: tuple[int, str]
    body: bytes


class Triggered(NamedTuple):
    """What a trigger came to."""

    run_id: str
    key: str
    disposition: Disposition


class Definition(NamedTuple):
    """A schedule as it is now, and all that it says."""

    view: ScheduleView
    lane: Lane
    policy: Policy
    body: bytes | None


def put(tx: Transaction, new_id: str, name: str, spec: Spec, target: Target, *, namespace: str, actor: str) -> ScheduleView:
    """Make a schedule what ``spec`` says: a new one, or a new revision of the one of that name. Where it says so already nothing is
    written. Instants up to now are settled as the old revision says; where it is paused, when it is resumed.

    Raises:
        NeverDue, RuleInvalid: the rule is due at no instant, or too often. Nothing is written.
    """
    told = _told(tx, spec, target, namespace)
    if tx.one("schedules.by_name", namespace=namespace, name=name) is not None or not _create(
        tx, new_id, name, spec, told, namespace=namespace, actor=actor
    ):
        _edit(tx, *_take(tx, name, namespace), spec, told, actor)
    return get(tx, name, namespace=namespace)


def create(tx: Transaction, new_id: str, name: str, spec: Spec, target: Target, *, namespace: str, actor: str) -> ScheduleView:
    """Make a new schedule. A repeat of the same call (the same ``new_id``) changes nothing.

    Raises:
        NameTaken: there is one of that name. NeverDue, RuleInvalid: as for ``put``. Nothing is written.
    """
    told = _told(tx, spec, target, namespace)
    there = tx.one("schedules.by_name", namespace=namespace, name=name)
    if there is None:
        if not _create(tx, new_id, name, spec, told, namespace=namespace, actor=actor):
            raise _taken(name)
    elif there[0] != new_id:
        raise _taken(name)
    return get(tx, name, namespace=namespace)


def edit(tx: Transaction, was: ScheduleView, name: str, spec: Spec, target: Target, *, namespace: str, actor: str) -> ScheduleView:
    """Make the schedule that the caller saw what ``spec`` says, under ``name``. A repeat of the same call changes nothing.

    Raises:
        UnknownSchedule: it was deleted. ChangedMeanwhile: it was edited since. NameTaken: another one has that name. NeverDue,
            RuleInvalid: as for ``put``. Nothing is written.
    """
    told = _told(tx, spec, target, namespace)
    cursor = _locked(tx, was.id)
    schedule = find_by_id(tx, was.id, namespace=namespace)
    if schedule.deleted_at is not None:
        raise UnknownSchedule(f"there is no schedule {was.name!r} in namespace {namespace} any more", schedule=was.name)
    if schedule.name == name and _says(schedule) == tuple(told.row.values()):
        return _view(schedule, cursor)
    if schedule.revision != was.revision:
        raise ChangedMeanwhile(f"schedule {was.name!r} was edited meanwhile: it is at revision {schedule.revision} now")
    _edit(tx, schedule, cursor, spec, told, actor, name=name)
    return get(tx, name, namespace=namespace)


def definition(tx: Transaction, name: str, *, namespace: str) -> Definition:
    """A schedule as it is now, and all that it says.

    Raises:
        UnknownSchedule: there is none.
    """
    schedule = find(tx, name, namespace=namespace)
    (lane,) = tx.rows("lanes.some", ids=[schedule.lane_id])
    ((_, policy),) = tx.rows("policies.get", ids=[schedule.policy_id])
    view = _view(schedule, _looked(tx, schedule.id))
    return Definition(view, as_lane(lane), Policy.from_data(msgspec.json.decode(policy)), schedule.body)


class _Told(NamedTuple):
    """What a revision holds, and what the calendars that it names come to."""

    row: dict[str, Any]
    calendars: dict[str, Calendar]


def _told(tx: Transaction, spec: Spec, target: Target, namespace: str) -> _Told:
    """Lanes and policies are there then, and its calendars are held: before any cursor."""
    found = calendars.named(tx, spec.rule, namespace=namespace)
    tx.rows("runs.intern", lanes=intern([target.lane], [target.policy]).params["lanes"], policies=[target.policy])
    text = encode_data(spec.as_data()) or ""
    return _Told({"spec": text, "lane_id": target.lane.id, "policy_id": target.policy[0], "body": target.body}, found)


def _says(schedule: ScheduleRow) -> tuple[Any, ...]:
    return schedule.spec, schedule.lane_id, schedule.policy_id, schedule.body


def _taken(name: str) -> NameTaken:
    return NameTaken(f"there is a schedule {name!r} already: take another name, or edit that one", schedule=name)


def _create(tx: Transaction, new_id: str, name: str, spec: Spec, told: _Told, *, namespace: str, actor: str) -> bool:
    """Whether it is there now; else another of that name is."""
    tx.execute(
        "schedules.create",
        id=new_id,
        namespace=namespace,
        name=name,
        enabled=int(spec.enabled),
        kind=kind_of(spec.rule),
        set_name=None,
        calendars=calendars.kept(told.calendars),
    )
    there = tx.one("schedules.by_name", namespace=namespace, name=name)
    if there is not None and there[0] != new_id:
        return False
    tx.execute("schedules.revise", id=new_id, revision=1, actor=actor, at=tx.now, **told.row)
    calendars.note(tx, new_id, told.calendars, anew=False)
    tx.execute("schedules.log", id=new_id, type="created", actor=actor, data=None)
    schedule = find(tx, name, namespace=namespace)
    table = table_of(schedule)
    start = tx.now if spec.start_at is None else min(tx.now, spec.start_at)
    table.check_due(tx.now)
    table.check_often(tx.now)
    first = table.after(start - 1) if spec.start_at is not None else table.after(tx.now - 1)
    tx.execute(
        "cursors.create", id=new_id, cursor_at=(start if spec.start_at is not None else tx.now) - 1, next_nominal_at=first,
        next_at=first if spec.enabled else None, tz_version=tz_version(), zone_hash=data_of(spec, schedule.calendars).hash,
    )  # fmt: skip
    _follow_alerts(tx, schedule, spec)
    return True


def _edit(
    tx: Transaction, old: ScheduleRow, cursor: Cursor, spec: Spec, told: _Told, actor: str, *, name: str | None = None
) -> None:
    renamed = name not in {None, old.name}
    if not renamed and _says(old) == tuple(told.row.values()):
        return
    look_at(tx, [cursor])
    if renamed and not tx.execute("schedules.rename", id=old.id, namespace=old.namespace, name=name):
        raise _taken(str(name))
    cursor = _locked(tx, old.id)
    revision = old.revision + 1
    in_force_from = max(cursor.cursor_at, old.revised_at, tx.now)
    tx.execute("schedules.revise", id=old.id, revision=revision, actor=actor, at=in_force_from, **told.row)
    tx.execute(
        "schedules.edit", id=old.id, revision=revision, kind=kind_of(spec.rule), enabled=int(spec.enabled),
        calendars=calendars.kept(told.calendars, old.calendars),
    )  # fmt: skip
    calendars.note(tx, old.id, told.calendars, anew=old.calendars is not None)
    data = {"revision": revision, "settled_to": in_force_from} | ({"renamed_from": old.name} if renamed else {})
    tx.execute("schedules.log", id=old.id, type="edited", actor=actor, data=encode_data(data))
    table = table_of(find_by_id(tx, old.id, namespace=old.namespace), cursor)
    if _due_at(old.spec) != _due_at(told.row["spec"]):
        table.check_due(old.created_at)  # one that has been due may be ended by its end_at
    table.check_often(tx.now)
    _follow_alerts(tx, old, spec)
    look_at(tx, [cursor._replace(zone_hash="")])  # the zones of another rule


def _follow_alerts(tx: Transaction, schedule: ScheduleRow, spec: Spec) -> None:
    """The alerts that a schedule wants from now on, and the end of those that it wanted."""
    if spec.alerts is not None or schedule.wants_alerts:
        from mainspring.operations import alerting  # paid for only by those who have alerts

        alerting.follow(tx, schedule.id, spec.alerts)


def _due_at(text: str) -> list[Any]:
    """What of a stored spec says when it is due."""
    spec = msgspec.json.decode(text)
    return [spec[each] for each in ("rule", "start_at", "end_at")]


def pause(tx: Transaction, name: str, *, namespace: str, actor: str, reason: str) -> None:
    """Let nothing more fire. What was due before is settled first.

    Raises:
        UnknownSchedule: there is none of that name.
    """
    schedule, cursor = _take(tx, name, namespace)
    if schedule.paused_at is not None:
        return
    look_at(tx, [cursor])
    tx.execute("schedules.pause", id=schedule.id, actor=actor, reason=reason)
    tx.execute("schedules.log", id=schedule.id, type="paused", actor=actor, data=encode_data({"reason": reason}))
    look_at(tx, [_locked(tx, schedule.id)])


def resume(tx: Transaction, name: str, *, namespace: str, actor: str) -> None:
    """Let it fire again: what was due meanwhile is settled as late.

    Raises:
        UnknownSchedule: there is none of that name.
    """
    schedule, cursor = _take(tx, name, namespace)
    if schedule.paused_at is None:
        return
    tx.execute("schedules.resume", id=schedule.id)
    tx.execute("schedules.log", id=schedule.id, type="resumed", actor=actor, data=None)
    tx.execute("cursors.forgive", id=schedule.id)
    look_at(tx, [cursor._replace(backlog_is_late=1, failure_streak=0)])


def trigger(
    tx: Transaction,
    name: str,
    run_id: str,
    *,
    namespace: str,
    actor: str,
    reason: str,
    body: bytes | None,
    as_of: int | None,
    ignore_blackout: bool = False,
) -> Triggered:
    """Run it now, beside its rule: neither cursor nor next instant change. It waits for a slot as the others do. A
    repeat of the same call (the same ``run_id``) changes nothing.

    Raises:
        UnknownSchedule: there is none of that name. BlackedOut: it is in a blackout.
    """
    schedule, cursor = _take(tx, name, namespace)
    if (before := occurrences.of_run(tx, run_id)) is not None:
        return Triggered(run_id, before.key, before.disposition)
    if not ignore_blackout:
        blackouts.require_open(tx, schedule)
    key = manual_key(run_id)
    arrival = Arrival(
        key=key, nominal=tx.now if as_of is None else as_of, due_at=tx.now, origin=Origin.MANUAL, reason=reason, actor=actor,
        run_id=run_id, body=_given(schedule, body),
    )  # fmt: skip
    made = look_at(tx, [cursor], {schedule.id: [arrival]})[schedule.id]
    tx.execute("schedules.log", id=schedule.id, type="triggered", actor=actor, data=encode_data({"reason": reason, "run": run_id}))
    (fate,) = [each for each in made.fates if each.arrival.key == key]
    return Triggered(run_id, key, fate.disposition)


def _given(schedule: ScheduleRow, body: bytes | None) -> bytes | None:
    """The payload of a run with what its trigger gives. A target stays what it is, and is given it."""
    if body is None or schedule.body is None or read_spec(schedule.spec).target not in TARGETS:
        return body
    order = msgspec.json.decode(schedule.body)
    return msgspec.json.encode(order | {"payload": msgspec.Raw(body)})


def decide(tx: Transaction, name: str, policy: OnHeld, *, namespace: str, actor: str, reason: str) -> bool:
    """Decide what becomes of what a schedule holds back since a restore; whether it held anything.

    Raises:
        UnknownSchedule: there is none of that name.
    """
    schedule, cursor = _take(tx, name, namespace)
    if cursor.held_to is None:
        return False
    holds.lift(tx, schedule.id, policy, actor=actor, reason=reason)
    look_at(tx, [_locked(tx, schedule.id)])
    return True


def delete(tx: Transaction, name: str, *, namespace: str, actor: str) -> None:
    """Free its name, and withdraw what waits; what runs, and what was, stays.

    Raises:
        UnknownSchedule: there is none of that name.
    """
    schedule, cursor = _take(tx, name, namespace)
    look_at(tx, [cursor])
    tx.execute("schedules.delete", id=schedule.id, actor=actor)
    tx.execute("schedules.log", id=schedule.id, type="deleted", actor=actor, data=None)
    look_at(tx, [_locked(tx, schedule.id)])


# -- looking -----------------------------------------------------------------------------------------------------------


def find(tx: Transaction, name: str, *, namespace: str) -> ScheduleRow:
    """A schedule by its name.

    Raises:
        UnknownSchedule: there is none.
    """
    row = tx.one("schedules.by_name", namespace=namespace, name=name)
    if row is None:
        raise UnknownSchedule(f"there is no schedule {name!r} in namespace {namespace}", schedule=name)
    return ScheduleRow(*row)


def find_by_id(tx: Transaction, schedule_id: str, *, namespace: str) -> ScheduleRow:
    """A schedule by its id, deleted or not.

    Raises:
        UnknownSchedule: there is none.
    """
    row = tx.one("schedules.by_id", namespace=namespace, id=schedule_id)
    if row is None:
        raise UnknownSchedule(f"there is no schedule {schedule_id} in namespace {namespace}", schedule=schedule_id)
    return ScheduleRow(*row)


def get(tx: Transaction, name: str, *, namespace: str) -> ScheduleView:
    """A schedule as it is now.

    Raises:
        UnknownSchedule: there is none.
    """
    schedule = find(tx, name, namespace=namespace)
    return _view(schedule, _looked(tx, schedule.id))


def listing(
    tx: Transaction, *, namespace: str, after: str, most: int, wanted: ScheduleFilter = _ANY
) -> tuple[list[ScheduleView], str | None]:
    """A page of those of a namespace's schedules that are wanted, by name, and the last name looked at where there may be more."""
    found: list[ScheduleView] = []
    for _ in range(_MOST_PAGES):
        page = tx.rows("schedules.page", namespace=namespace, after=after, prefix=wanted.prefix, most=most + 1)
        rows = [row for row in map(ScheduleRow._make, page) if row.name.startswith(wanted.prefix)]
        cursors = {row[0]: Cursor(*row) for row in tx.rows("cursors.look_all", ids=sorted(row.id for row in rows))} if rows else {}
        for row in rows:
            if len(found) == most:
                return found, after
            view = _view(row, cursors[row.id])
            if wanted.admits(
                name=view.name, kind=view.kind, state=view.state, spec=view.spec, next_nominal_at=view.next_nominal_at
            ):
                found.append(view)
            after = row.name
        if len(rows) <= most:
            return found, None
    return found, after


def _view(schedule: ScheduleRow, cursor: Cursor) -> ScheduleView:
    spec = None
    with contextlib.suppress(MainspringError):
        spec = read_spec(schedule.spec)
    state = state_of(
        is_enabled=bool(schedule.enabled), is_paused=schedule.paused_at is not None, is_deleted=schedule.deleted_at is not None,
        broken=schedule.broken, next_nominal_at=cursor.next_nominal_at, is_after=schedule.kind == "after",
        is_held=cursor.held_to is not None,
    )  # fmt: skip
    return ScheduleView(
        id=schedule.id, name=schedule.name, revision=schedule.revision, kind=schedule.kind, state=state,
        reason=schedule.broken or (HELD if cursor.held_to is not None else schedule.paused_reason), spec=spec,
        next_nominal_at=cursor.next_nominal_at if state is ScheduleState.ACTIVE else None,
        next_at=cursor.next_at if state is ScheduleState.ACTIVE else None, fired=cursor.fired,
        failure_streak=cursor.failure_streak, last_fired_at=cursor.last_fired_at, last_success_at=cursor.last_success_at,
        last_failure_at=cursor.last_failure_at, paused_at=schedule.paused_at, paused_by=schedule.paused_by,
        created_at=schedule.created_at, updated_at=schedule.updated_at,
    )  # fmt: skip


def take(tx: Transaction, name: str, *, namespace: str) -> tuple[ScheduleRow, Cursor]:
    """A schedule with its cursor, locked.

    Raises:
        UnknownSchedule: there is none.
    """
    return _take(tx, name, namespace)


def look(tx: Transaction, name: str, *, namespace: str) -> tuple[ScheduleRow, Cursor]:
    """The same for a reader."""
    schedule = find(tx, name, namespace=namespace)
    return schedule, _looked(tx, schedule.id)


def _take(tx: Transaction, name: str, namespace: str) -> tuple[ScheduleRow, Cursor]:
    """A schedule with its cursor, locked, as it is once we hold it: whoever held it may have edited, paused or deleted it."""
    schedule = find(tx, name, namespace=namespace)
    while True:
        cursor = _locked(tx, schedule.id)
        if not tx.capabilities.row_locks:
            return schedule, cursor
        fresh = find(tx, name, namespace=namespace)
        if fresh.id == schedule.id:
            return fresh, cursor
        schedule = fresh


def _locked(tx: Transaction, schedule_id: str) -> Cursor:
    return Cursor(*_one(tx.one("cursors.lock", id=schedule_id)))


def cursor_of(tx: Transaction, schedule: ScheduleRow) -> Cursor:
    """How far a schedule has been settled."""
    return _looked(tx, schedule.id)


def _looked(tx: Transaction, schedule_id: str) -> Cursor:
    return Cursor(*_one(tx.one("cursors.look", id=schedule_id)))


def _one(row: Sequence[Any] | None) -> Sequence[Any]:
    if row is None:
        raise InvalidOption("this schedule was removed meanwhile", option="name")
    return row
