"""Time zones by name, read from the pinned ``tzdata`` package: never from the machine, so that a fleet agrees.

Here: the file format (TZif, RFC 9636, with the rule of a POSIX ``TZ`` string for the years after its table) and the version of the
data. Not here: what a clock change means for a rule (``core/zone.py``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources

import tzdata

from mainspring.core.dates import DAY_SECONDS, END_YEAR, FIRST_YEAR, SHORTEST_MONTH, day_of, weekday
from mainspring.core.zone import Zone, zone_of
from mainspring.errors import BrokenInvariant

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_-]*(?:/[A-Za-z0-9][A-Za-z0-9+_-]*){0,2}")
_HEADER = struct.Struct(">4sc15x6l")
_TIME = r"(-?\+?\d+)(?::(\d+))?(?::(\d+))?"
_ABBREVIATION = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)"
_POSIX = re.compile(rf"{_ABBREVIATION}{_TIME}(?:{_ABBREVIATION}(?:{_TIME})?,([^,]+),([^,]+))?")
_WHEN = re.compile(rf"(?:M(\d+)\.(\d+)\.(\d+)|J(\d+)|(\d+))(?:/{_TIME})?")


def tz_version() -> str:
    """The version of the zone data in use, such as ``2026.6``."""
    return str(tzdata.__version__)


@lru_cache(maxsize=1024)
def zone(name: str) -> Zone | None:
    """The zone of that IANA name, by its exact spelling; None if there is none.

    Abbreviations that the database keeps for old times' sake (``EST``, ``CET``) are names too, and mean what it says.
    """
    found = _file(name)
    return None if found is None else _parsed(name, found)


def _file(name: str) -> bytes | None:
    """The bytes of a zone's file. A name is nothing but a name: it leads nowhere else."""
    if not _NAME.fullmatch(name):
        return None
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    try:
        content = file.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return content if content.startswith(b"TZif") else None


def _parsed(name: str, content: bytes) -> Zone:
    """The second, 64-bit half of a file of version 2 or later, and its rule for the years after."""
    _, version, *counts = _HEADER.unpack_from(content)
    if version < b"2":
        raise BrokenInvariant(f"the zone data of {name} are of a version before 2", zone=name)
    utc_count, standard_count, leap_count, time_count, type_count, letter_count = counts
    start = _HEADER.size + time_count * 5 + type_count * 6 + letter_count + leap_count * 8 + standard_count + utc_count
    _, _, utc_count, standard_count, leap_count, time_count, type_count, letter_count = _HEADER.unpack_from(content, start)
    at = start + _HEADER.size
    times = struct.unpack_from(f">{time_count}q", content, at)
    kinds = content[at + time_count * 8 : at + time_count * 9]
    at += time_count * 9
    offsets = [struct.unpack_from(">l", content, at + kind * 6)[0] for kind in range(type_count)]
    at += type_count * 6 + letter_count + leap_count * 12 + standard_count + utc_count
    rule = content[at:].decode("ascii").strip("\n")
    changes = [(time, offsets[kind]) for time, kind in zip(times, kinds, strict=True)]
    changes += _later(rule, changes[-1][0] if changes else -(1 << 62))
    return zone_of(name, offsets[0], changes, version=tz_version())


def _later(rule: str, after: int) -> Iterator[tuple[int, int]]:
    """The changes that a POSIX ``TZ`` string makes after an instant."""
    found = _POSIX.fullmatch(rule)
    if found is None:
        raise BrokenInvariant(f"the zone rule {rule!r} cannot be read", rule=rule)
    standard = -_seconds(*found.groups()[:3])
    if found.group(7) is None:
        return
    summer = standard + 3600 if found.group(4) is None else -_seconds(*found.groups()[3:6])
    changes = sorted(
        change
        for year in range(FIRST_YEAR, END_YEAR)
        for change in ((_when(found.group(7), year) - standard, summer), (_when(found.group(8), year) - summer, standard))
    )
    yield from (change for change in changes if change[0] > after)


def _seconds(hours: str, minutes: str | None, seconds: str | None) -> int:
    size = abs(int(hours)) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return -size if hours.startswith("-") else size


def _when(rule: str, year: int) -> int:
    """The wall second of a change in a year: ``M3.2.0/2``, ``J60/2`` (without leap days) or ``59/2`` (with them)."""
    found = _WHEN.fullmatch(rule)
    if found is None:
        raise BrokenInvariant(f"the date {rule!r} of a zone rule cannot be read", rule=rule)
    month, week, dow, julian, nth, hours, minutes, seconds = found.groups()
    second = 7200 if hours is None else _seconds(hours, minutes, seconds)
    if month is not None:
        day = _nth_weekday(year, int(month), int(week), (int(dow) - 1) % 7)
    elif julian is not None:
        is_leap = day_of(year + 1, 1, 1) - day_of(year, 1, 1) == 366
        day = day_of(year, 1, 1) + int(julian) - 1 + (is_leap and int(julian) > 59)
    else:
        day = day_of(year, 1, 1) + int(nth)
    return day * DAY_SECONDS + second


def _nth_weekday(year: int, month: int, nth: int, dow: int) -> int:
    """The n-th such weekday of a month; the fifth is the last."""
    first = day_of(year, month, 1)
    day = first + (dow - weekday(first)) % 7 + (nth - 1) * 7
    end = day_of(year + month // 12, month % 12 + 1, 1)
    return day if nth * 7 <= SHORTEST_MONTH or day < end else day - 7
