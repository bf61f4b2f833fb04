"""One look at one schedule: what its due instants become, who of those waiting gets a slot, and when to look again.

All of it is decided here, from values, so that one function serves the planner, a trigger, a resume and an edit. Not here: reading
and writing (``operations/planning.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

from mainspring.core import jitter as jittering
from mainspring.core.backlog import MOST_BACKLOGS, Backlog, Entered, Entry, Source, enter, has_backlog
from mainspring.core.blackouts import Closed, OnBlackout, Window, closed
from mainspring.core.durations import SECOND
from mainspring.core.occurrence import SKIP_REASON, Disposition, Origin, planned_key
from mainspring.core.overlap import Admission, Waiter, admit, replaced
from mainspring.core.rules import After
from mainspring.core.schedule import Cursor, Spec
from mainspring.core.settling import MOST_SETTLED, Covers, Due, OnMisfire, Verdict, left_to_carry, settle
from mainspring.core.timetable import Timetable

#: So many instants of one settlement that did not run are kept one by one; older ones as ranges.
LEDGER_DETAIL = 100
_ASKS_AGAIN_US = 5 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An occurrence that holds a slot of its schedule, or waits for one. ``is_retry``: its run gave its slot back until a retry,
    and wants one again if that ``is_due``. ``asked_at``: since then it is asked to stop; ``stalled_at``: it was told that it does
    not."""

    key: str
    nominal_at: int
    origin: Origin
    ready_at: int
    holds_slot: bool
    run_id: str
    is_retry: bool = False
    is_due: bool = False
    asked_at: int | None = None
    stalled_at: int | None = None

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return not self.holds_slot and not self.is_retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An occurrence that is new. ``ready_at``: it may start from then on, for late ones that are spaced out.
    ``revision``: of those from a backlog, that under which they came due."""

    key: str
    nominal: int
    due_at: int
    origin: Origin = Origin.PLANNED
    is_late: bool = False
    ready_at: int = 0
    covers: Covers | None = None
    reason: str | None = None
    actor: str | None = None
    run_id: str | None = None
    body: bytes | None = None
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a new occurrence."""

    arrival: Arrival
    disposition: Disposition
    reason_code: str | None = None
    into: str | None = None
    slot: bool = False


class Range(NamedTuple):
    """Many instants with one fate, of which nothing ran."""

    first: int
    last: int
    number: int
    disposition: Disposition
    reason_code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What one look decided. ``begins`` and ``superseded`` are of those who waited: the latter with the key of who stands for each.
    ``shut``: those who waited and whose turn came in a blackout that skips. ``again``: due retries that have their slot back;
    ``replaced``: runs that wait for a retry and end for a newer one. ``stops``: so many of the oldest under way are asked to stop.
    ``more``: there is more to settle at once. ``pauses``: the schedule is to be paused, since its runs fail. ``backlogs``: what is
    left of them, and ``paced_until`` of the pace of all; ``given_up``: backlogs that never run, with the fate of each. ``broken``:
    why it is not planned."""

    cursor: Cursor
    fates: list[Fate] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    begins: list[Standing] = field(default_factory=list)
    superseded: list[tuple[Standing, str]] = field(default_factory=list)
    shut: list[Standing] = field(default_factory=list)
    withdrawn: list[Standing] = field(default_factory=list)
    again: list[Standing] = field(default_factory=list)
    replaced: list[Standing] = field(default_factory=list)
    stops: int = 0
    more: bool = False
    pauses: bool = False
    backlogs: list[Backlog] = field(default_factory=list)
    given_up: list[tuple[Backlog, Disposition, str | None]] = field(default_factory=list)
    paced_until: int = 0
    broken: str | None = None


def visit(
    spec: Spec,
    table: Timetable | None,
    cursor: Cursor,
    *,
    standing: Sequence[Standing],
    arriving: Sequence[Arrival] = (),
    now: int,
    sources: Sequence[Source] = (),
    revision: int = 0,
    paced_until: int = 0,
    windows: Sequence[Window] = (),
) -> Visit:
    """Settle what is due by ``now``, give out the slots that are free, retries first, and let in from the backlogs (``sources``,
    and what is late now, of this ``revision``). What came due in one of the ``windows`` of blackouts is what those make of it. No
    table: the schedule is not in force, so nothing is due and nobody who waits begins; who arrives by hand does, and what has begun
    goes on."""
    reserved = sum(each.backlog.number for each in sources)
    settled = _nothing(cursor) if table is None else _settle(spec, table, cursor, now, reserved, windows)
    waiting = [each for each in standing if each.waits] if table is not None else []
    ready = [each for each in waiting if each.ready_at <= now]
    later = [each for each in waiting if each.ready_at > now]
    active = sum(each.holds_slot for each in standing)
    if table is not None and settled.backlog is not None:
        sources = [*sources, Source(settled.backlog._replace(revision=revision), spec, table)]
    entered = _entering(spec, sources if table is not None else (), standing, ready, paced_until, now)
    new = [*(_let_in(cursor.schedule_id, each, now) for each in entered.entries), *settled.arrivals, *arriving]
    come = [each for each in new if each.ready_at <= now]
    newest = max((each.nominal_at for each in ready if each.origin is not Origin.MANUAL), default=None)
    newest = max((each.nominal for each in come if each.origin is not Origin.MANUAL), default=newest)
    replaced, again = _retries(spec, standing, active, newest)
    admission = admit(spec.overlap, active=active + len(again), waiting=_in_line(ready), arriving=_in_line(come))
    fates = settled.fates + [_fate(each, admission, now, takes_slot=spec.overlap.max_concurrency is not None) for each in new]
    begin = [each.ready_at for each in later] + [each.ready_at for each in new if each.ready_at > now]
    waits = [settled.next_at, entered.next_at, *begin, *_looks(spec, standing, admission.stops, now)]
    fired = sum(fate.disposition is Disposition.FIRED and fate.arrival.origin is Origin.PLANNED for fate in fates)
    begun = [each for each in ready if each.key in admission.fired]
    fired += sum(each.origin is Origin.PLANNED for each in begun)
    kept, ranges = _in_detail(fates, settled.ranges)
    backlogs = entered.left if table is not None else [each.backlog for each in sources]
    moved = settled.cursor._replace(
        next_at=now if settled.more or replaced else min((at for at in waits if at is not None), default=None),
        fired=cursor.fired + fired,
        last_fired_at=now if fired or begun else cursor.last_fired_at,
    )
    return Visit(
        cursor=moved,
        fates=kept,
        ranges=ranges,
        begins=begun,
        superseded=[(each, admission.superseded[each.key]) for each in ready if each.key in admission.superseded],
        again=again,
        replaced=replaced,
        stops=admission.stops,
        more=settled.more or (entered.next_at is not None and entered.next_at <= now),
        backlogs=backlogs[-MOST_BACKLOGS:],
        given_up=[(each, Disposition.MISSED_WINDOW, "max") for each in backlogs[:-MOST_BACKLOGS]],
        paced_until=entered.paced_until if entered.entries else paced_until,
    )


def shut_down(
    spec: Spec, cursor: Cursor, found: Closed, *, standing: Sequence[Standing], arriving: Sequence[Arrival], now: int
) -> Visit:
    """A look in a blackout: nothing is due before its end. What has begun goes on, and so does what is asked for by hand. Where it
    skips, those who wait and whose turn it is end."""
    made = visit(spec, None, cursor, standing=standing, arriving=arriving, now=now)
    slots = spec.overlap.max_concurrency
    line = [each for each in standing if each.waits and each.ready_at <= now and each.origin is Origin.PLANNED]
    taken = sum(each.holds_slot or (each.is_retry and each.is_due) for each in standing)
    turn = line if slots is None else line[: max(0, slots - taken)]
    moved = made.cursor._replace(next_at=min(found.until, made.cursor.next_at or found.until))
    return replace(made, cursor=moved, shut=turn if found.policy is OnBlackout.SKIP else [])


def _entering(
    spec: Spec, sources: Sequence[Source], standing: Sequence[Standing], ready: Sequence[Standing], paced_until: int, now: int
) -> Entered:
    """Who enters from the backlogs, behind those who wait and may begin."""
    slots = spec.overlap.max_concurrency
    taken = sum(each.holds_slot or (each.is_retry and each.is_due) for each in standing)
    return enter(
        sources,
        spec.overlap,
        order=spec.misfire.order,
        free=None if slots is None else max(0, slots - taken - len(ready)),
        waiting=sum(each.waits and each.origin is not Origin.MANUAL for each in standing),
        paced_until=paced_until,
        now=now,
    )


def _retries(spec: Spec, standing: Sequence[Standing], active: int, newest: int | None) -> tuple[list[Standing], list[Standing]]:
    """Of those that wait for a retry: who ends for the occurrence of ``newest``, and who is due and has its slot back."""
    retries = [each for each in standing if each.is_retry]
    older = [each for each in retries if newest is not None and each.nominal_at < newest and each.origin is not Origin.MANUAL]
    ended = older[: replaced(spec.overlap, active=active, retries=[each in older for each in retries])]
    due = [each for each in retries if each.is_due and each not in ended]
    slots = spec.overlap.max_concurrency
    return ended, due if slots is None else due[: max(0, slots - active)]


def _in_line(those: Sequence[Standing | Arrival]) -> list[Waiter]:
    return [Waiter(key=each.key, is_planned=each.origin is not Origin.MANUAL) for each in those]


def _looks(spec: Spec, standing: Sequence[Standing], stops: int, now: int) -> list[int]:
    """When those who are asked to stop for another are looked after, if they have not ended by themselves."""
    holders = [each for each in standing if each.holds_slot][:stops]
    return [_looked_after_at(spec, each, now) for each in holders if each.stalled_at is None]


def _looked_after_at(spec: Spec, holder: Standing, now: int) -> int:
    """When a run that is to make room is looked at again: asked if it was not yet, or found not to have ended in time."""
    return now + _ASKS_AGAIN_US if holder.asked_at is None else max(now, holder.asked_at + spec.overlap.patience_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    cursor: Cursor
    arrivals: list[Arrival]
    fates: list[Fate]
    ranges: list[Range]
    next_at: int | None
    more: bool
    backlog: Backlog | None = None


def _nothing(cursor: Cursor) -> _Settled:
    return _Settled(cursor=cursor, arrivals=[], fates=[], ranges=[], next_at=None, more=False)


def _settle(spec: Spec, table: Timetable, cursor: Cursor, now: int, reserved: int, windows: Sequence[Window] = ()) -> _Settled:
    """The instants between the cursor and now, each with its verdict; and the next one."""
    instants = list(table.between(cursor.cursor_at, now, most=MOST_SETTLED))
    due = _with_jitter(spec, table, cursor.schedule_id, instants)
    while due and due[-1].due_at > now:
        due.pop()  # at most the last: no instant is put off past the next one
    more = len(instants) == MOST_SETTLED
    newer = sum(1 for _ in table.between(instants[-1], now, most=spec.misfire.most)) if more else 0
    carried = None
    if cursor.carried_first is not None and cursor.carried_last is not None:
        carried = Covers(cursor.carried_first, cursor.carried_last, cursor.carried_count)
    split = 0 if cursor.suppressed_to is None else sum(each.nominal <= cursor.suppressed_to for each in due)
    verdicts = [Verdict(due=each, disposition=Disposition.SUPPRESSED_BY_RESTORE, is_late=True) for each in due[:split]]
    shut, deferred_to = _in_windows(due[split:], windows)
    open_ = [each for each in due[split:] if each not in shut]
    verdicts += settle(
        open_, spec.misfire, now=now, newer=newer, carried=carried, all_late=bool(cursor.backlog_is_late), late_to=deferred_to
    )
    if shut:
        verdicts += [Verdict(due=each, disposition=Disposition.BLACKOUT) for each in shut]
        verdicts.sort(key=lambda each: each.due)
    verdicts, is_spent = _until_spent(verdicts, spec, cursor.fired + reserved)
    left = left_to_carry(verdicts, carried)
    pending = instants[len(due)] if len(due) < len(instants) else None
    at = due[-1].nominal if more and due else now if pending is None else pending - 1
    following = None if is_spent else pending if pending is not None else table.after(at)
    next_due = None if following is None else _with_jitter(spec, table, cursor.schedule_id, [following])[0].due_at
    moved = cursor._replace(
        cursor_at=max(at, cursor.cursor_at),
        next_nominal_at=following,
        carried_first=None if left is None else left.first,
        carried_last=None if left is None else left.last,
        carried_count=0 if left is None else left.number,
        backlog_is_late=cursor.backlog_is_late if newer else 0,
    )
    ready = [verdict for verdict in verdicts if verdict.disposition is Disposition.FIRED]
    late: list[Verdict] = []
    if spec.misfire.policy is OnMisfire.CATCH_UP and has_backlog(spec.overlap) and not isinstance(spec.rule, After):
        late = [verdict for verdict in ready if verdict.is_late]
        ready = ready[len(late) :]
    rest = [verdict for verdict in verdicts if verdict.disposition is not Disposition.FIRED]
    return _Settled(
        cursor=moved,
        arrivals=[_arrival(cursor.schedule_id, verdict, now) for verdict in ready],
        fates=[_told(cursor, verdict) for verdict in rest[-LEDGER_DETAIL:]],
        ranges=_ranges(rest[:-LEDGER_DETAIL]),
        next_at=next_due,
        more=newer > 0,
        backlog=Backlog(late[0].due.nominal, late[-1].due.nominal, len(late), 0, 0) if late else None,
    )


def _in_windows(due: Sequence[Due], windows: Sequence[Window]) -> tuple[set[Due], int | None]:
    """Which of them a blackout ends, and the last that one defers: it is late, and so is what was due before it."""
    shut: set[Due] = set()
    deferred_to: int | None = None
    for each in due if windows else ():
        found = closed(windows, each.due_at)
        if found is not None and found.policy is OnBlackout.SKIP:
            shut.add(each)
        elif found is not None:
            deferred_to = each.due_at
    return shut, deferred_to


def _with_jitter(spec: Spec, table: Timetable, seed: str, instants: Sequence[int]) -> list[Due]:
    if spec.jitter is None:
        return [Due(at, at) for at in instants]
    followings = [*instants[1:], table.after(instants[-1])] if instants else []
    return [
        Due(at, jittering.due_at(spec.jitter, at, seed=seed, following=following, end_at=spec.end_at))
        for at, following in zip(instants, followings, strict=True)
    ]


def _until_spent(verdicts: list[Verdict], spec: Spec, fired: int) -> tuple[list[Verdict], bool]:
    """With ``max_runs``, up to the last one that fires; and whether that was the last."""
    if spec.max_runs is None:
        return verdicts, False
    left = spec.max_runs - fired
    for place, verdict in enumerate(verdicts):
        if left <= 0:
            return verdicts[:place], True
        left -= verdict.disposition is Disposition.FIRED
    return verdicts, left <= 0


def _arrival(schedule_id: str, verdict: Verdict, now: int) -> Arrival:
    nominal, due_at = verdict.due
    return Arrival(
        key=planned_key(schedule_id, nominal),
        nominal=nominal,
        due_at=due_at,
        is_late=verdict.is_late,
        ready_at=now + verdict.delay_us if verdict.delay_us else 0,
        covers=verdict.covers,
    )


def _let_in(schedule_id: str, entry: Entry, now: int) -> Arrival:
    (due,) = _with_jitter(entry.source.spec, entry.source.table, schedule_id, [entry.nominal])
    return Arrival(
        key=planned_key(schedule_id, due.nominal),
        nominal=due.nominal,
        due_at=due.due_at,
        is_late=True,
        ready_at=entry.ready_at if entry.ready_at > now else 0,
        revision=entry.source.backlog.revision,
    )


def _told(cursor: Cursor, verdict: Verdict) -> Fate:
    nominal, due_at = verdict.due
    arrival = Arrival(
        key=planned_key(cursor.schedule_id, nominal),
        nominal=nominal,
        due_at=due_at,
        is_late=verdict.is_late,
        actor=cursor.suppressed_by if verdict.disposition is Disposition.SUPPRESSED_BY_RESTORE else None,
    )
    into = None if verdict.into is None else planned_key(cursor.schedule_id, verdict.into)
    return Fate(arrival=arrival, disposition=verdict.disposition, reason_code=verdict.reason, into=into)


def _fate(arrival: Arrival, admission: Admission, now: int, *, takes_slot: bool) -> Fate:
    if arrival.key in admission.fired:
        return Fate(arrival=arrival, disposition=Disposition.FIRED, slot=takes_slot)
    if arrival.ready_at > now:
        return Fate(arrival=arrival, disposition=Disposition.WAITING, reason_code="spaced")
    if (into := admission.superseded.get(arrival.key)) is not None:
        return Fate(arrival=arrival, disposition=Disposition.SUPERSEDED, into=into)
    return Fate(arrival=arrival, disposition=admission.fates[arrival.key])


def _in_detail(fates: list[Fate], ranges: list[Range]) -> tuple[list[Fate], list[Range]]:
    """All that ran or will, and the newest of what did not."""
    idle = [fate for fate in fates if fate.disposition in SKIP_REASON]
    if len(idle) <= LEDGER_DETAIL:
        return fates, ranges
    old = {fate.arrival.key for fate in idle[:-LEDGER_DETAIL]}
    groups = groupby((fate for fate in idle[:-LEDGER_DETAIL]), key=lambda fate: (fate.disposition, fate.reason_code))
    more = [_range([fate.arrival.nominal for fate in group], *kind) for kind, group in groups]
    return [fate for fate in fates if fate.arrival.key not in old], ranges + more


def _ranges(verdicts: Sequence[Verdict]) -> list[Range]:
    groups = groupby(verdicts, key=lambda verdict: (verdict.disposition, verdict.reason))
    return [_range([verdict.due.nominal for verdict in group], *kind) for kind, group in groups]


def _range(nominals: Sequence[int], disposition: Disposition, reason: str | None) -> Range:
    return Range(nominals[0], nominals[-1], len(nominals), disposition, reason)
