"""Cursors that were moved under other zone data or calendars: planned again under newer ones, and left alone under older ones.

Not here: what is decided (``core/replanning.py``).
"""

from mainspring.core.replanning import ZoneData, moved_to
from mainspring.core.rules import timezones
from mainspring.core.schedule import Cursor, Spec
from mainspring.core.timetable import Timetable
from mainspring.operations.rows import encode_data
from mainspring.store.database import Transaction
from mainspring.zones import tz_version, zone


def data_of(spec: Spec, calendars: str | None) -> ZoneData:
    """What the data in use say of the zones of a rule, and of its calendars, as its schedule keeps them."""
    found = (zone(name) for name in sorted(timezones(spec.rule)))
    return ZoneData.of(tz_version(), [each for each in found if each is not None], calendars)


def replanned(tx: Transaction, cursor: Cursor, table: Timetable, data: ZoneData) -> Cursor:
    """The cursor under newer data, on record. It goes back only over a time in which nothing has a fate: nothing fires twice."""
    to = moved_to(cursor, data)
    if to < cursor.cursor_at and tx.one("replanning.decided", id=cursor.schedule_id, after=to, upto=cursor.cursor_at) is not None:
        to = cursor.cursor_at
    told = {"old": cursor.next_nominal_at, "new": table.after(to), "old_tz": cursor.tz_version, "new_tz": data.version}
    tx.execute("schedules.log", id=cursor.schedule_id, type="replanned", actor="system", data=encode_data(told))
    return cursor._replace(cursor_at=to)
