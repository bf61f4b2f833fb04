"""A cursor under other zone data or calendars than those it was moved under: whether it is planned, and from where on.

What is compared is written time: a wall time that was decided under the old data is not decided again, and one that under the new
data is past and undecided is late. Not here: the data (``mainspring.zones``), and whether anything was decided in a time
(``operations/replanning.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from mainspring.core.durations import SECOND
from mainspring.core.schedule import Cursor
from mainspring.core.zone import Zone, is_older


class ZoneData(NamedTuple):
    """What the data in use say of the zones of one rule; the hash covers what its calendars say too."""

    version: str
    zones: Sequence[Zone]
    hash: str

    @classmethod
    def of(cls, version: str, zones: Sequence[Zone], calendars: str | None = None) -> ZoneData:
        """Those of a rule with these zones and calendars. Their hash is equal for equal ones, under whatever data."""
        days = "" if calendars is None else hashlib.sha256(calendars.encode()).hexdigest()[:16]
        return cls(version, zones, "".join(each.hash for each in zones) + days)

    def offset_at(self, at: int) -> int | None:
        """Seconds ahead of UTC at that instant (µs); None where there is not one zone."""
        return self.zones[0].offset_at(at // SECOND) if len(self.zones) == 1 else None


class Standing(StrEnum):
    """``same``: the zones say what they said. ``newer``: they say something else now. ``older``: the cursor was moved under newer
    data, which say something else."""

    SAME = "same"
    NEWER = "newer"
    OLDER = "older"


def standing(cursor: Cursor, data: ZoneData) -> Standing:
    """How the data in use stand to those of the cursor. One whose zones are not known is as good as the same."""
    if not cursor.zone_hash or cursor.zone_hash == data.hash or cursor.tz_version is None:
        return Standing.SAME
    return Standing.OLDER if is_older(data.version, cursor.tz_version) else Standing.NEWER


def moved_to(cursor: Cursor, data: ZoneData) -> int:
    """Up to which instant under the new data the written times are those that lie behind the cursor under the old."""
    offset = data.offset_at(cursor.cursor_at)
    if offset is None or cursor.zone_offset is None:
        return cursor.cursor_at
    return cursor.cursor_at + (cursor.zone_offset - offset) * SECOND


def stamped(cursor: Cursor, data: ZoneData) -> Cursor:
    """The cursor as moved under these data; of newer ones that say the same it keeps the version."""
    offset = data.offset_at(cursor.cursor_at)
    if (cursor.tz_version, cursor.zone_hash, cursor.zone_offset) == (data.version, data.hash, offset):
        return cursor
    is_behind = cursor.tz_version is not None and cursor.zone_hash == data.hash and is_older(data.version, cursor.tz_version)
    version = cursor.tz_version if is_behind else data.version
    return cursor._replace(tz_version=version, zone_hash=data.hash, zone_offset=offset)
