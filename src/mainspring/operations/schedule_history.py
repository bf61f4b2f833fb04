"""What was said of a schedule and done to it, and why an instant of it is due or not. Only looks. Not here: the words for that
(``core/fates.py``)."""

from typing import Any, NamedTuple

from mainspring.core.fates import Facts, Why, why
from mainspring.core.instants import Note
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.core.schedule import Spec, kind_of
from mainspring.errors import MainspringError
from mainspring.operations import occurrences, schedules, searching
from mainspring.operations.lanes import as_lane
from mainspring.operations.occurrences import Occurrence, OccurrenceRange
from mainspring.operations.schedule_rows import ScheduleRow, read_spec, table_of
from mainspring.operations.views import RunView, decode_data, policies
from mainspring.store.database import Transaction

_DAY_US = 86_400_000_000


class Revision(NamedTuple):
    """What a schedule said from an instant on. ``spec`` is None where it can no longer be read."""

    revision: int
    name: str
    spec: Spec | None
    lane: Lane
    policy: Policy
    body: bytes | None
    actor: str
    at: int


class ScheduleEvent(NamedTuple):
    """One thing that was done to a schedule."""

    seq: int
    type: str
    at: int
    actor: str
    data: dict[str, Any]


class InstantExplained(NamedTuple):
    """Why an instant is due or not, and its fate. ``walls`` is what clocks show then, where it is due; ``skipped`` the written
    times that a clock change leaves out within a day of it."""

    at: int
    is_due: bool
    code: Why
    why: str
    revision: int
    previous: int | None
    next: int | None
    walls: tuple[Note, ...]
    skipped: tuple[Note, ...]
    occurrence: Occurrence | None
    range: OccurrenceRange | None


def revisions(tx: Transaction, name: str, *, namespace: str, before: int, most: int) -> list[Revision]:
    """A page of what a schedule said, the newest first.

    Raises:
        UnknownSchedule: there is none of that name.
    """
    schedule = schedules.find(tx, name, namespace=namespace)
    rows = tx.rows("schedules.revisions", id=schedule.id, before=before, most=most)
    lanes = {row[0]: as_lane(row) for row in tx.rows("lanes.some", ids=sorted({row[2] for row in rows}))} if rows else {}
    known = policies(tx, sorted({row[3] for row in rows})) if rows else {}
    return [
        Revision(revision, schedule.name, _spec(text), lanes[lane], known[policy], body, actor, at)
        for revision, text, lane, policy, body, actor, at in rows
    ]


def events(tx: Transaction, name: str, *, namespace: str, after: int, most: int) -> list[ScheduleEvent]:
    """A page of what was done to a schedule, in order.

    Raises:
        UnknownSchedule: there is none of that name.
    """
    schedule = schedules.find(tx, name, namespace=namespace)
    rows = tx.rows("schedules.events", id=schedule.id, after=after, most=most)
    return [ScheduleEvent(seq, kind, at, actor, decode_data(data)) for seq, kind, at, actor, data in rows]


def runs(
    tx: Transaction, name: str, *, namespace: str, after: tuple[int, str] | None, most: int
) -> tuple[list[Occurrence], dict[str, RunView]]:
    """A page of a schedule's occurrences, the newest first, and their runs by id, as far as these are kept.

    Raises:
        UnknownSchedule: there is none of that name.
    """
    schedule = schedules.find(tx, name, namespace=namespace)
    found = occurrences.page(tx, schedule.id, disposition=None, after=after, most=most)
    views = searching.views_of(tx, namespace, [each.run_id for each in found]) if found else []
    return found, {view.run.id: view for view in views}


def explain(tx: Transaction, name: str, at: int, *, namespace: str) -> InstantExplained:
    """Why an instant is due or not under the revision that was in force then, and what became of it.

    Raises:
        UnknownSchedule: there is none of that name. RuleInvalid: its rule can no longer be read.
    """
    schedule = schedules.find(tx, name, namespace=namespace)
    cursor, view = schedules.cursor_of(tx, schedule), schedules.get(tx, name, namespace=namespace)
    then = _as_of(tx, schedule, at)
    table, spec = table_of(then, cursor), read_spec(then.spec)
    fate, span = occurrences.planned_at(tx, schedule.id, at), occurrences.range_at(tx, schedule.id, at)
    is_due = table.is_due(at)
    kept = fate.disposition if fate is not None else span.disposition if span is not None and is_due else None
    facts = Facts(
        at=at, now=tx.now, revision=then.revision, is_due=is_due, is_enabled=spec.enabled, state=str(view.state),
        reason=view.reason, settled_to=cursor.cursor_at, created_at=schedule.created_at, start_at=spec.start_at,
        end_at=spec.end_at, fate=None if kept is None else str(kept), is_range=fate is None, previous=table.before(at),
        next=table.after(at),
    )  # fmt: skip
    code, sentence = why(facts)
    walls = table.preview(at - 1, 1)[0].notes if is_due else ()
    skipped = table.skipped(at - _DAY_US, at + _DAY_US)
    return InstantExplained(
        at, is_due, code, sentence, then.revision, facts.previous, facts.next, tuple(walls), tuple(skipped), fate,
        span if fate is None and is_due else None,
    )  # fmt: skip


def _as_of(tx: Transaction, schedule: ScheduleRow, at: int) -> ScheduleRow:
    """A schedule with the revision that was in force at an instant; before the first one, with the first."""
    row = tx.one("schedules.revision_at", id=schedule.id, at=at)
    if row is None or row[0] == schedule.revision:
        return schedule
    return schedule._replace(revision=row[0], spec=row[1], kind=kind_of(read_spec(row[1]).rule))


def _spec(text: str) -> Spec | None:
    try:
        return read_spec(text)
    except MainspringError:
        return None
