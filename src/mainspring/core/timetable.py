"""A rule in its surroundings: the zones, calendars and bounds of its schedule, and the instants at which it is due.

Here: ``timetable`` binds a rule, and a ``Timetable`` answers what is due after, before and between. Not here: what becomes of a due
instant, jitter (``core/jitter.py``), and how instants are found (``core/instants.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from mainspring.core import rules
from mainspring.core.calendars import MOST_CANDIDATES, Bounds, Calendar, Picked, Roll, dates_calendar, held
from mainspring.core.cron import CronWalls
from mainspring.core.cron_reading import read_cron
from mainspring.core.dates import HORIZON_SECONDS, NEVER
from mainspring.core.durations import SECOND, format_duration
from mainspring.core.instants import Any, Except, Grid, Instants, Note, OnDates, OnTheWall, Points, skipped
from mainspring.core.problems import Refused
from mainspring.core.rrule import RRuleWalls
from mainspring.core.rrule_reading import read_rrule
from mainspring.core.walls import Listed, Walls
from mainspring.core.zone import FIXED, WILDCARD, Gap, Overlap, Policy, Zone, real_seconds
from mainspring.errors import NeverDue, RuleInvalid

#: No rule may be due more often.
MIN_INTERVAL = SECOND
_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a rule does not say itself. ``seed`` is namespace and name: ``H`` hashes it.

    ``ended_at`` is when the previous planned run ended, for ``after``; None if there was none.
    """

    zones: Callable[[str], Zone | None]
    created_at: int
    start_at: int | None = None
    end_at: int | None = None
    ended_at: int | None = None
    seed: str = ""
    calendars: Mapping[str, Calendar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """A due instant, with what clocks on the wall show."""

    at: int
    notes: tuple[Note, ...]


class Timetable:
    """The instants (µs) of one rule, from ``start_at`` to ``end_at``, both included. No question takes long."""

    __slots__ = ("_end", "_instants", "_start")

    def __init__(self, instants: Instants, start: int, end: int) -> None:
        self._instants, self._start, self._end = instants, start, end

    def after(self, at: int) -> int | None:
        """The first instant after ``at``; None if there is none within 50 years."""
        wanted = max(at + 1, self._start)
        found = self._instants.next(wanted)
        return found if found <= min(self._end, wanted + HORIZON_SECONDS * SECOND) else None

    def before(self, at: int) -> int | None:
        """The last instant before ``at``; None if there is none within 50 years."""
        wanted = min(at - 1, self._end)
        found = self._instants.previous(wanted)
        return found if found >= max(self._start, wanted - HORIZON_SECONDS * SECOND) else None

    def between(self, after: int, upto: int, *, most: int = MOST_CANDIDATES) -> Iterator[int]:
        """At most so many instants after ``after`` and up to ``upto``, which is included, in order."""
        for _ in range(most):
            found = self.after(after)
            if found is None or found > upto:
                return
            yield found
            after = found

    def is_due(self, at: int) -> bool:
        """Whether that very instant is due."""
        return self.after(at - 1) == at

    def preview(self, after: int, most: int) -> list[Fire]:
        """The next fires, with notes."""
        return [Fire(at=at, notes=tuple(self._instants.notes(at))) for at in self.between(after, NEVER, most=most)]

    def skipped(self, after: int, upto: int) -> list[Note]:
        """The written times that clock changes skip in that time."""
        return list(skipped(self._instants, max(after + 1, self._start), min(upto + 1, self._end)))

    def check_due(self, at: int) -> None:
        """Refuse a rule that is not due within 50 years from ``at``.

        Raises:
            NeverDue: saying so.
        """
        if self.after(at - 1) is None:
            raise NeverDue("the rule is due at no instant of the next 50 years: check its dates, its start and its end")

    def check_often(self, at: int, *, least: int = MIN_INTERVAL) -> None:
        """Refuse a rule two of whose next thousand instants are less than ``least`` apart.

        Raises:
            RuleInvalid: naming the bound.
        """
        last = None
        for each in self.between(at - 1, NEVER, most=_LOOKED_AT):
            if last is not None and each - last < least:
                apart = format_duration(each - last)
                told = f"two instants are {apart} apart, and MIN_INTERVAL is {format_duration(least)}: make the rule less frequent"
                raise RuleInvalid(told, errors=[{"path": "rule", "value": apart, "message": told}])
            last = each


def timetable(rule: rules.Rule, around: Surroundings) -> Timetable:
    """The rule's instants in its surroundings.

    Raises:
        RuleInvalid: a zone or a calendar that there is not, or an expression that no longer can be read.
    """
    start = -NEVER if around.start_at is None else around.start_at
    end = NEVER - 1 if around.end_at is None else around.end_at
    try:
        return Timetable(_instants(rule, around, ()), start, end)
    except Refused as refused:
        errors = [{"path": "rule", "value": "", "message": sentence} for sentence in refused.sentences]
        raise RuleInvalid("; ".join(refused.sentences), errors=errors) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holding:
    """What one set around a rule holds it to."""

    bounds: Bounds
    roll: Roll
    zone: Zone | None


def _instants(rule: rules.Rule, around: Surroundings, holds: tuple[_Holding, ...]) -> Instants:
    """The instants of a rule within all sets around it, the innermost first."""
    match rule:
        case rules.CronRule():
            cron = read_cron(rule.cron, rule.dialect, seed=around.seed)
            policy = _policy(rule.dst, WILDCARD if cron.is_wildcard else FIXED)
            return _on_the_wall(CronWalls(cron), rule.timezone, policy, around, holds)
        case rules.CalendarRule():
            picked = Picked(_calendar(rule.calendar, around), rule.at, rule.pick, rule.of)
            return _on_the_wall(picked, rule.timezone, _policy(rule.dst, FIXED), around, holds)
        case rules.Recurrence():
            zone = _zone(rule.timezone, around)
            policy = _policy(rule.dst, Policy(Gap.SKIP, Overlap.FIRST))
            return _on_the_wall(_recurrence(rule, zone, policy), rule.timezone, policy, around, holds)
        case rules.Once():
            found: list[Instants] = [_on_dates(Points(rule.instants), holds)] if rule.instants else []
            if rule.walls:
                found.append(_on_the_wall(Listed(rule.walls), rule.timezone or "", _policy(rule.dst, FIXED), around, holds))
            return found[0] if len(found) == 1 else Any(found)
        case rules.Interval():
            return _on_dates(_grid(rule, around), holds)
        case rules.After():
            first = around.created_at if around.start_at is None else around.start_at
            return Points([first if around.ended_at is None else around.ended_at + rule.after_us])
        case rules.RuleSet():
            return _set(rule, around, holds)
        case _:
            assert_never(rule)


def _grid(rule: rules.Interval, around: Surroundings) -> Instants:
    """Counted from the anchor, else from the start, else from the creation: then the first is one interval later."""
    if rule.anchor is not None:
        return Grid(rule.anchor, rule.every_us)
    if around.start_at is not None:
        return Grid(around.start_at, rule.every_us, around.start_at)
    return Grid(around.created_at, rule.every_us, around.created_at + rule.every_us)


def _set(rule: rules.RuleSet, around: Surroundings, holds: tuple[_Holding, ...]) -> Instants:
    bounds = Bounds(only=_calendars(rule.only, around), without=_calendars(rule.except_dates, around))
    zone = None if rule.timezone is None else _zone(rule.timezone, around)
    if bounds.only or bounds.without:
        holds = (_Holding(bounds=bounds, roll=rule.roll, zone=zone), *holds)
    elif zone is not None:
        holds = tuple(each if each.zone else replace(each, zone=zone) for each in holds)
    parts = [_instants(each, around, holds) for each in rule.any]
    found = parts[0] if len(parts) == 1 else Any(parts)
    but = [_instants(each, around, ()) for each in rule.except_rules]
    return Except(found, but) if but else found


def _calendars(dates: rules.Dates, around: Surroundings) -> tuple[Calendar, ...]:
    """The calendars named, and one of the dates written beside them."""
    found = [_calendar(name, around) for name in dates.calendars]
    return (*found, dates_calendar(dates.days)) if dates.days else tuple(found)


def _on_the_wall(walls: Walls, timezone: str, policy: Policy, around: Surroundings, holds: tuple[_Holding, ...]) -> Instants:
    """Wall times as the sets around them hold them, by the dates that are written, and then resolved."""
    for each in holds:
        walls = held(walls, each.bounds, each.roll)
    return OnTheWall(walls, _zone(timezone, around), policy)


def _on_dates(instants: Instants, holds: tuple[_Holding, ...]) -> Instants:
    """Instants as the sets around them hold them, by their date in the set's zone."""
    for each in holds:
        if each.zone is None:
            raise Refused("the dates of a rule without a zone are nobody's: write the timezone of the set")
        instants = OnDates(instants, each.zone, each.bounds)
    return instants


def _recurrence(rule: rules.Recurrence, zone: Zone, policy: Policy) -> Walls:
    found = read_rrule(rule.rrule, rule.start)
    last = NEVER if found.until is None else found.until + (zone.offset_at(found.until) if found.until_is_utc else 0)
    return RRuleWalls(found, exists=lambda wall: policy.gap is not Gap.SKIP or bool(real_seconds(zone, wall)), last=last)


def _policy(dst: rules.Dst, auto: Policy) -> Policy:
    return Policy(dst.gap or auto.gap, dst.overlap or auto.overlap)


def _zone(name: str, around: Surroundings) -> Zone:
    zone = around.zones(name)
    if zone is None:
        raise Refused(f'there is no zone "{name}": write an IANA name such as "Europe/Berlin", in its exact spelling')
    return zone


def _calendar(name: str, around: Surroundings) -> Calendar:
    if name not in around.calendars:
        raise Refused(f'there is no calendar "{name}": put it first')
    return around.calendars[name]
