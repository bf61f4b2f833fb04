"""Which schedules a caller asks for, from keywords to a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from mainspring.core import attributes as labels
from mainspring.core.durations import parse_instant
from mainspring.core.names import check_name
from mainspring.core.schedule import ScheduleState
from mainspring.core.schedule_filter import ScheduleFilter
from mainspring.errors import InvalidOption, shown

KINDS: Final = ("cron", "interval", "after", "once", "rrule", "calendar", "set")
STATES: Final = tuple(str(state) for state in ScheduleState if state is not ScheduleState.DELETED)


def tags_of(given: Sequence[str], *, option: str = "attribute") -> dict[str, Any]:
    """Attributes as people type them: ``team=billing``, ``order=7``.

    Raises:
        InvalidOption: one without ``=``.
    """
    found: dict[str, Any] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign:
            raise InvalidOption(f"write NAME=VALUE, such as team=billing, not {shown(each)}", option=option)
        found[name] = int(value) if value.lstrip("-").isdecimal() and len(value) < 16 else value
    return found


def filter_of(
    state: str | Sequence[str] | None,
    kind: str | None,
    target: str | None,
    prefix: str,
    next_before: datetime | str | None,
    attributes: Mapping[str, Any] | None,
) -> ScheduleFilter:
    """The filter that keywords mean.

    Raises:
        InvalidOption: naming what cannot be asked.
    """
    states = [state] if isinstance(state, str) else list(state or ())
    for each in states:
        if each not in STATES:
            raise InvalidOption(f"state is one of {', '.join(STATES)}, not {shown(each)}", option="state")
    if kind is not None and kind not in KINDS:
        raise InvalidOption(f"kind is one of {', '.join(KINDS)}, not {shown(kind)}", option="kind")
    return ScheduleFilter(
        states=frozenset(map(ScheduleState, states)),
        kind=kind,
        target=target,
        prefix=check_name(prefix, "prefix") if prefix else "",
        next_before=None if next_before is None else parse_instant(next_before, option="next_before"),
        attributes=labels.checked(attributes or {}),
    )
