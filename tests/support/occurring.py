"""When rules are due, in the words of tests: instants as text, to a second.

Here: a timetable in given surroundings, and what it says. Not here: assertions.
"""

from __future__ import annotations

from typing import Any

from mainspring.core.durations import format_instant, parse_instant
from mainspring.core.rules import Rule
from mainspring.core.timetable import Surroundings, Timetable, timetable
from mainspring.core.zone import Zone, zone_of
from mainspring.zones import zone

NY = "America/New_York"
BERLIN = "Europe/Berlin"
LORD_HOWE = "Australia/Lord_Howe"


def instant(text: str) -> int:
    """``2026-03-08T07:00Z`` in microseconds."""
    return parse_instant(text, option="instant")


def around(created: str = "2000-01-01T00:00Z", **more: Any) -> Surroundings:
    """Surroundings with the real zones; ``start_at``, ``end_at`` and ``ended_at`` may be text."""
    read = {name: instant(value) if isinstance(value, str) and name.endswith("_at") else value for name, value in more.items()}
    given: dict[str, Any] = {"zones": zone, "created_at": instant(created), **read}
    return Surroundings(**given)


def bound(rule: Rule, **more: Any) -> Timetable:
    """The rule's timetable."""
    return timetable(rule, around(**more))


def due(rule: Rule, since: str, until: str, **more: Any) -> list[str]:
    """The instants from ``since`` to ``until``, both included; asked backwards they must be the same."""
    table, first, last = bound(rule, **more), instant(since), instant(until)
    found = list(table.between(first - 1, last))
    back, at = [], table.before(last + 1)
    while at is not None and at >= first:
        back.append(at)
        at = table.before(at)
    assert back[::-1] == found, "backwards is not forwards"
    return [shown(at) for at in found]


def upcoming(rule: Rule, since: str, most: int = 3, **more: Any) -> list[str]:
    """The next instants at or after ``since``."""
    return [shown(fire.at) for fire in bound(rule, **more).preview(instant(since) - 1, most)]


def shown(at: int) -> str:
    """An instant without seconds of nothing: ``2026-03-08T07:00Z``."""
    text = format_instant(at)
    return f"{text[:-4]}Z" if text.endswith(":00Z") else text


def zone_since(changed: Zone, at: str, offset: int, version: str) -> Zone:
    """The zone as older data had it: from an instant on it never changed again."""
    cut = instant(at) // 1_000_000
    kept = [(since, east) for since, east in zip(changed.since, changed.offsets, strict=True) if since < cut]
    return zone_of(changed.name, changed.offsets[0], [*kept[1:], (cut, offset)], version=version)
