"""What must be true of schedules and their occurrences at every moment: oracles of ``invariants``, over rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

Select: TypeAlias = Callable[[str], Iterable[tuple[Any, ...]]]


def slots_are_kept(select: Select) -> Iterator[tuple[str, str]]:
    """P8: no schedule has more runs under way than the most it ever allowed."""
    most: dict[str, int | None] = {}
    for schedule_id, spec in select("SELECT schedule_id, spec FROM schedule_revisions"):
        slots = msgspec.json.decode(spec)["overlap"]["max_concurrency"]
        before = most.get(schedule_id, 0)
        most[schedule_id] = None if slots is None or before is None else max(before, slots)
    for schedule_id, held in select("SELECT schedule_id, count(*) FROM occurrences WHERE slot = 1 GROUP BY schedule_id"):
        allowed = most[str(schedule_id)]
        if allowed is not None and held > allowed:
            yield str(schedule_id), f"{held} of {allowed}"


def an_occurrence_is_where_its_run_is() -> str:
    """P2: the fate of an occurrence and the state of its run say the same."""
    return """
        SELECT o.key, o.disposition, 'its run is', coalesce(r.state, 'missing')
        FROM occurrences o LEFT JOIN runs r ON r.id = o.run_id
        WHERE CASE o.disposition
            WHEN 'waiting' THEN coalesce(r.state, '') <> 'blocked' OR o.slot <> 0
            WHEN 'fired' THEN CASE o.slot
                WHEN 1 THEN coalesce(r.state, 'blocked') = 'blocked' OR r.ended_at IS NOT NULL
                WHEN 2 THEN coalesce(r.state, '') NOT IN ('retrying', 'blocked')
                ELSE coalesce(r.state, '') = 'blocked' END
            WHEN 'withdrawn' THEN r.ended_at IS NULL AND r.id IS NOT NULL
            ELSE coalesce(r.state, 'skipped') <> 'skipped' OR o.slot <> 0 END"""


def an_instant_is_decided_once_and_behind_the_cursor() -> str:
    """P2: what has a row lies in no range and no backlog, ranges do not overlap, and the cursor has passed whatever is decided."""
    return """
        SELECT o.key, 'is in the range from', g.first_at, 'too' FROM occurrences o
        JOIN occurrence_ranges g ON g.schedule_id = o.schedule_id AND o.nominal_at BETWEEN g.first_at AND g.last_at
        WHERE o.origin = 'planned'
        UNION ALL
        SELECT CAST(g.schedule_id AS TEXT), 'ranges overlap', g.first_at, '' FROM occurrence_ranges g
        JOIN occurrence_ranges h ON h.schedule_id = g.schedule_id AND h.first_at > g.first_at AND h.first_at <= g.last_at
        UNION ALL
        SELECT o.key, 'is in the backlog from', b.first_at, 'too' FROM occurrences o
        JOIN schedule_backlogs b ON b.schedule_id = o.schedule_id AND o.nominal_at BETWEEN b.first_at AND b.last_at
        WHERE o.origin = 'planned'
        UNION ALL
        SELECT CAST(b.schedule_id AS TEXT), 'a backlog is no stretch behind the cursor', b.first_at, '' FROM schedule_backlogs b
        JOIN schedule_cursors c ON c.schedule_id = b.schedule_id
        WHERE b.number < 1 OR b.first_at > b.last_at OR b.last_at > c.cursor_at
        UNION ALL
        SELECT o.key, 'is after the cursor', c.cursor_at, '' FROM occurrences o
        JOIN schedule_cursors c ON c.schedule_id = o.schedule_id
        WHERE o.origin = 'planned' AND o.nominal_at > c.cursor_at"""
