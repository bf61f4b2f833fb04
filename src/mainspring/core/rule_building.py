"""Rules as a program writes them: ``cron("30 2 * * *", tz="Europe/Berlin")``, ``any_of(every("5m"), once("2026-12-31T23:00Z"))``.

Each builds the shape that a file would have and has it read, so that both mean the same and are refused alike. Not here: what
they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeAlias

from mainspring.core.durations import Duration
from mainspring.core.rule_reading import read_rule
from mainspring.core.rules import Rule, as_data

#: What ``except_`` and ``only`` list: a date, a calendar (``in_calendar("de-holidays")``), or a rule.
Exception_: TypeAlias = Rule | date | str | Mapping[str, str]
DstOption: TypeAlias = Mapping[str, str] | None


def cron(expression: str, *, tz: str | None = None, dialect: str = "cron5", dst: DstOption = None) -> Rule:
    """Due when the clocks of ``tz`` show what the expression says.

    Raises:
        RuleInvalid: an expression, zone or policy that cannot be, with what to write instead.
    """
    return read_rule(_given(cron=expression, timezone=tz, dialect=dialect, dst=dst), path="cron")


def every(span: Duration, *, anchor: str | datetime | None = None) -> Rule:
    """Due every ``span`` of elapsed time, counted from ``anchor``, else from the schedule's start, else from its creation.

    Raises:
        RuleInvalid: a span under one second or over ten years; an anchor without offset.
    """
    return read_rule(_given(every=span, anchor=anchor), path="every")


def after(span: Duration) -> Rule:
    """Due ``span`` after the previous planned run has ended, however it ended.

    Raises:
        RuleInvalid: a span under one second or over ten years.
    """
    return read_rule(_given(after=span), path="after")


def once(*at: str | datetime, tz: str | None = None, dst: DstOption = None) -> Rule:
    """Due at some instants: with an offset, or local times of ``tz``.

    Raises:
        RuleInvalid: none or more than 1,000, or one that is no instant.
    """
    return read_rule(_given(at=[_moment(each) for each in at], timezone=tz, dst=dst), path="once")


def rrule(rule: str, *, start: str | datetime, tz: str | None = None, dst: DstOption = None) -> Rule:
    """Due as a rule of RFC 5545 says (``FREQ=MONTHLY;BYDAY=-1FR``), from the local time ``start`` of ``tz``.

    Raises:
        RuleInvalid: a rule, start or zone that cannot be, with what to write instead.
    """
    return read_rule(_given(rrule=rule, dtstart=_moment(start), timezone=tz, dst=dst), path="rrule")


def on_calendar(
    calendar: str,
    *,
    at: str | Sequence[str],
    tz: str | None = None,
    pick: int | Sequence[int] | None = None,
    of: str | None = None,
    dst: DstOption = None,
) -> Rule:
    """Due at times of a calendar's days, or of the n-th of each week, month, quarter or year: ``pick=-1, of="month"`` is the last.

    Raises:
        RuleInvalid: a time, pick or zone that cannot be, with what to write instead.
    """
    times = at if isinstance(at, str) else list(at)
    picks = list(pick) if isinstance(pick, Sequence) else pick
    return read_rule(_given(calendar=calendar, at=times, timezone=tz, pick=picks, of=of, dst=dst), path="on_calendar")


def in_calendar(name: str) -> Mapping[str, str]:
    """A calendar, for the lists ``except_`` and ``only``."""
    return {"calendar": name}


def any_of(
    *rules: Rule,
    except_: Sequence[Exception_] = (),
    only: Sequence[Exception_] = (),
    roll: str | None = None,
    tz: str | None = None,
) -> Rule:
    """Due when any of some rules is, on the dates of ``only`` and not on those of ``except_``, nor at the instants of rules there.

    ``roll`` (``next``, ``previous``, ``nearest``) moves a removed date to an allowed one. ``tz`` says in which zone an instant of
    ``every`` has its date.

    Raises:
        RuleInvalid: more than 32 rules, sets more than 4 deep, a list that cannot be.
    """
    without, within = [_listed(each) for each in except_], [_listed(each) for each in only]
    given = _given(any=[as_data(each) for each in rules], roll=roll, timezone=tz, only=within or None)
    return read_rule(given | ({"except": without} if without else {}), path="any_of")


def _listed(each: Exception_) -> Any:
    if isinstance(each, str | Mapping):
        return each
    return each.isoformat() if isinstance(each, date) else as_data(each)


def _moment(at: object) -> object:
    """A naive datetime as a local time; an aware one is an instant as it is."""
    if isinstance(at, datetime) and at.utcoffset() is None:
        return at.replace(microsecond=0).isoformat()
    return at


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


__all__ = ["after", "any_of", "cron", "every", "in_calendar", "on_calendar", "once", "rrule"]
