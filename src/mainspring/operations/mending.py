"""The self-audit of schedules: every cursor held against its rule, and what is wrong with one put right, on record; and calendars
that are seen to reach far enough ahead.

A cursor that is lost begins anew behind the last instant that has a fate, so the planner settles what was missed. Not here: what is
wrong with a cursor (``core/cursor_audit.py``), and the ledger's own consistency (``testing/occurring.py``).
"""

import logging
from functools import partial
from typing import NamedTuple

from mainspring.core.cursor_audit import CursorFault, cursor_fault
from mainspring.core.replanning import Standing, standing
from mainspring.core.schedule import Cursor
from mainspring.errors import MainspringError
from mainspring.operations import blackouts, calendars
from mainspring.operations.replanning import data_of
from mainspring.operations.rows import encode_data
from mainspring.operations.schedule_rows import ScheduleRow, read_spec, table_of
from mainspring.operations.visits import as_moved
from mainspring.store.database import Database, Transaction
from mainspring.zones import tz_version

log = logging.getLogger("mainspring")

PAGE = 500
_FIRST = "00000000-0000-0000-0000-000000000000"
_SCHEDULE = len(ScheduleRow._fields)


class Mended(NamedTuple):
    """What an audit did: how many cursors it looked at, and how many it repaired."""

    looked: int
    repaired: int


def audit(database: Database, *, actor: str) -> Mended:
    """Hold the cursor of every schedule in force against its rule, a page at a time, and repair what is wrong. One that is ahead of
    the clock is told of and left alone: what it passed has a fate, and the clock may be what is wrong."""
    looked = repaired = 0
    after = _FIRST
    while True:
        ids, suspects = database.read("schedules.audit", partial(_suspects, after=after))
        for schedule in suspects:
            repaired += database.write("schedules.mend", partial(mend, schedule=schedule, actor=actor))
        looked += len(ids)
        if len(ids) < PAGE:
            return Mended(looked, repaired)
        after = ids[-1]


def expand_calendars(database: Database, *, actor: str) -> int:
    """Expand the calendars to which time has added, and have what uses them planned again; how many."""
    due = database.read("calendars.to_expand", lambda tx: tx.rows("calendars.to_expand", most=PAGE))
    return sum(
        database.write("calendars.refresh", partial(calendars.refresh, name=name, namespace=namespace, actor=actor))
        for namespace, name in due
    )


def mend(tx: Transaction, schedule: ScheduleRow, *, actor: str) -> bool:
    """Look again at one that seemed to be wrong, its cursor locked, and repair it; whether it was."""
    row = tx.one("schedules.by_id", namespace=schedule.namespace, id=schedule.id)
    if row is None:
        return False
    schedule, locked = ScheduleRow(*row), tx.one("cursors.lock", id=schedule.id)
    cursor = None if locked is None else Cursor(*locked)
    is_looked_at = schedule.is_in_force and blackouts.over(tx, schedule) is None  # in a blackout a look comes at its end
    fault = _fault(schedule, cursor, tx.now) if is_looked_at else None
    match fault:
        case None:
            return False
        case CursorFault.AHEAD:
            log.error("schedule %s: its cursor is ahead of the clock, so nothing of it fires until then", schedule.name)
            _alert(tx, schedule, fault)
            return False
        case CursorFault.REZONED:
            tx.execute("cursors.poke", ids=[schedule.id])
            return True
        case CursorFault.LOST:
            _begin_anew(tx, schedule)
        case CursorFault.STALLED | CursorFault.DISTANT:
            tx.execute("cursors.poke", ids=[schedule.id])
    tx.execute("schedules.log", id=schedule.id, type="repaired", actor=actor, data=encode_data({"cursor": str(fault)}))
    _alert(tx, schedule, fault)
    log.error("schedule %s: its cursor was %s, and is repaired; what it missed is settled now", schedule.name, fault)
    return True


def _alert(tx: Transaction, schedule: ScheduleRow, fault: CursorFault) -> None:
    if schedule.wants_alerts:
        from mainspring.operations import alerting  # paid for only by those who have alerts

        alerting.audited(tx, schedule.id, fault)


def _suspects(tx: Transaction, after: str) -> tuple[list[str], list[ScheduleRow]]:
    """A page of schedules in force, and those of them whose cursors seem to be wrong."""
    page = tx.rows("cursors.audited", after=after, most=PAGE)
    found = []
    for row in page:
        schedule = ScheduleRow(*row[:_SCHEDULE])
        cursor = None if row[_SCHEDULE] is None else Cursor(*row[_SCHEDULE:])
        if _fault(schedule, cursor, tx.now) is not None:
            found.append(schedule)
    return [str(row[0]) for row in page], found


def _fault(schedule: ScheduleRow, cursor: Cursor | None, now: int) -> CursorFault | None:
    if cursor is None:
        return CursorFault.LOST
    if cursor.held_to is not None:  # it waits for a person
        return None
    try:
        spec = read_spec(schedule.spec)
        stands = standing(cursor, data_of(spec, schedule.calendars))
        if stands is not Standing.SAME:  # under older data nothing is to be said of it
            return CursorFault.REZONED if stands is Standing.NEWER else None
        return cursor_fault(spec, table_of(schedule, cursor), cursor, now=now)
    except MainspringError:  # it cannot be planned, and says so itself
        return None


def _begin_anew(tx: Transaction, schedule: ScheduleRow) -> None:
    """Behind the last instant with a fate, or where its revision began, whichever is later."""
    row = tx.one("cursors.settled_to", id=schedule.id, revision=schedule.revision)
    settled_to, fired, last_fired_at = (schedule.created_at - 1, 0, None) if row is None else row
    tx.execute(
        "cursors.create", id=schedule.id, cursor_at=settled_to, next_nominal_at=None, next_at=tx.now, tz_version=tz_version(),
        zone_hash="",
    )  # fmt: skip
    cursor = Cursor(*(tx.one("cursors.lock", id=schedule.id) or ()))
    tx.execute("cursors.move", batch=[as_moved(cursor._replace(fired=fired, last_fired_at=last_fired_at))])
