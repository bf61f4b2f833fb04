"""Why an instant is due or not, and what became of it: one code and one sentence, from facts that were read.

Not here: reading them (``operations/schedule_history.py``), and deciding a fate (``core/planning.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mainspring.core.durations import format_instant


class Why(StrEnum):
    """What there is to say of an instant."""

    DECIDED = "decided"
    IN_RANGE = "in_range"
    NOT_CREATED = "not_created"
    BEFORE_START = "before_start"
    AFTER_END = "after_end"
    DISABLED = "disabled"
    NOT_DUE = "not_due"
    UNSETTLED = "unsettled"
    TO_COME = "to_come"
    WILL_NOT_FIRE = "will_not_fire"
    NOT_KEPT = "not_kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of an instant, under the revision that was in force then. Instants in UTC microseconds. ``state`` is that of
    the schedule now, and ``reason`` why; ``fate`` is that of the instant, where one is kept."""

    at: int
    now: int
    revision: int
    is_due: bool
    is_enabled: bool
    state: str
    reason: str | None
    settled_to: int
    created_at: int
    start_at: int | None = None
    end_at: int | None = None
    fate: str | None = None
    is_range: bool = False
    previous: int | None = None
    next: int | None = None


def why(facts: Facts) -> tuple[Why, str]:
    """The code and the sentence."""
    if facts.fate is not None:
        kept = "with others of its time" if facts.is_range else "by itself"
        return (Why.IN_RANGE if facts.is_range else Why.DECIDED), f"it was due and is {facts.fate}, kept {kept}"
    if facts.start_at is not None and facts.at < facts.start_at:
        return Why.BEFORE_START, f"the schedule starts at {format_instant(facts.start_at)}"
    if facts.end_at is not None and facts.at > facts.end_at:
        return Why.AFTER_END, f"the schedule ends at {format_instant(facts.end_at)}"
    if not facts.is_due:
        return Why.NOT_DUE, f"the rule of revision {facts.revision} is not due then; {_around(facts)}"
    if facts.start_at is None and facts.at < facts.created_at:
        return Why.NOT_CREATED, f"the schedule was created at {format_instant(facts.created_at)}"
    if not facts.is_enabled:
        return Why.DISABLED, f"the schedule is disabled in revision {facts.revision}, so nothing is due"
    return _without_fate(facts)


def _without_fate(facts: Facts) -> tuple[Why, str]:
    """A due instant of which nothing is written."""
    because = f" ({facts.reason})" if facts.reason else ""
    if facts.at > facts.now:
        if facts.state == "active":
            return Why.TO_COME, "it is due and will fire, unless somebody changes something before"
        return Why.WILL_NOT_FIRE, f"it is due, but the schedule is {facts.state}{because}"
    if facts.at > facts.settled_to:
        told = "the planner settles it next" if facts.state == "active" else f"the schedule is {facts.state}{because}"
        return Why.UNSETTLED, f"it was due and has no fate yet: {told}"
    return Why.NOT_KEPT, "it was due, and of its fate nothing is kept: the ledger was pruned, or the schedule was not in force"


def _around(facts: Facts) -> str:
    before = "never before" if facts.previous is None else f"before it at {format_instant(facts.previous)}"
    after = "never after" if facts.next is None else f"after it at {format_instant(facts.next)}"
    return f"it is due {before} and {after}"
