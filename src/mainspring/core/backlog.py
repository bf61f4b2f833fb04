"""A backlog: late instants that are to run under ``catch_up``, once there is place for them.

The cursor is at now meanwhile, so what comes due live is decided on time; a backlog is a stretch of instants of one revision, which
enters as places free: into free slots, and into half of those that may wait, so that the other half is left to live ones. All
schedules share one pace. Not here: what is late (``core/settling.py``), and who of those that wait begins (``core/overlap.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mainspring.core.durations import SECOND
from mainspring.core.overlap import OnOverlap, Overlap
from mainspring.core.schedule import Spec
from mainspring.core.settling import Order
from mainspring.core.timetable import Timetable

#: So many late occurrences of all schedules together start in a second.
CATCH_UP_RATE = 50
#: What was not used of the pace is not kept for longer.
_BURST_US = 1 * SECOND
_APART_US = SECOND // CATCH_UP_RATE
#: So many enter at one look.
MOST_ENTERING = 1_000
#: A schedule has at most so many; of more the oldest is missed.
MOST_BACKLOGS = 32
#: Under the others late ones contend for the slot at once: all but one of them would not run.
_WAITING = frozenset({OnOverlap.ALLOW, OnOverlap.FORBID})


class Backlog(NamedTuple):
    """``number`` instants of a revision, from ``first`` to ``last``, both included. ``ready_at``: none of them starts before."""

    first: int
    last: int
    number: int
    revision: int
    ready_at: int


class Source(NamedTuple):
    """A backlog with what its revision says."""

    backlog: Backlog
    spec: Spec
    table: Timetable


class Entry(NamedTuple):
    """One that enters, and from when on it may start."""

    nominal: int
    ready_at: int
    source: Source


@dataclass(frozen=True, slots=True)
class Entered:
    """Who enters, in order; what is left of the backlogs; until when the pace of all schedules is used up; and when the next may
    enter, where no slot has to become free for it."""

    entries: list[Entry]
    left: list[Backlog]
    paced_until: int
    next_at: int | None = None


def has_backlog(overlap: Overlap) -> bool:
    """Whether late ones under this policy wait outside until there is place."""
    return overlap.policy in _WAITING


def enter(
    sources: Sequence[Source], overlap: Overlap, *, order: Order, free: int | None, waiting: int, paced_until: int, now: int
) -> Entered:
    """Let in as many as there is place for, while ``free`` slots are to be had (None: without end) and so many wait."""
    room = max(0, overlap.buffer_max - overlap.buffer_max // 2 - waiting) if has_backlog(overlap) else 0
    paced_until = max(paced_until, now - _BURST_US)
    entries: list[Entry] = []
    left: list[Backlog] = []
    next_at: int | None = None
    for source in sorted(sources, key=lambda each: each.backlog.first, reverse=order is Order.NEWEST_FIRST):
        ready_at, gone, rest = source.backlog.ready_at, 0, None
        for nominal in _instants(source):
            starts_at = max(now, ready_at, paced_until + _APART_US)
            takes_slot = starts_at <= now and (free is None or free > 0)
            if (not takes_slot and room == 0) or len(entries) == MOST_ENTERING:
                rest, looks = nominal, free is None or free > 0
                next_at = min(next_at or starts_at, starts_at) if looks else next_at
                break
            if not takes_slot:
                room -= 1
            elif free is not None:
                free -= 1
            paced_until += _APART_US
            entries.append(Entry(nominal, starts_at, source))
            ready_at, gone = starts_at + source.spec.misfire.spacing_us, gone + 1
        if rest is not None:
            left.append(_rest(source, rest, gone, ready_at))
    return Entered(entries, sorted(left), paced_until, next_at)


def _instants(source: Source) -> Iterator[int]:
    """Those of a backlog in the order in which they enter."""
    (first, last, *_), table = source.backlog, source.table
    if source.spec.misfire.order is Order.OLDEST_FIRST:
        yield from table.between(first - 1, last, most=MOST_ENTERING + 1)
        return
    found = table.before(last + 1)
    while found is not None and found >= first:
        yield found
        found = table.before(found)


def _rest(source: Source, start: int, gone: int, ready_at: int) -> Backlog:
    """What is left from ``start`` on, after so many went."""
    backlog = source.backlog._replace(number=max(1, source.backlog.number - gone), ready_at=ready_at)
    is_forward = source.spec.misfire.order is Order.OLDEST_FIRST
    return backlog._replace(first=start) if is_forward else backlog._replace(last=start)
