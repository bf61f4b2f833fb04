"""Calendars as rows: put, expanded, copied to the schedules whose rules name them, and those planned again.

A schedule keeps a copy of what its calendars come to, so that a planner reads one row. Whoever changes a copy holds the calendars
first and then the cursor. Not here: what a calendar says (``core/calendar_reading.py``), and which days are holidays.

Lock order: calendars by name, then cursors by id, before everything else of a schedule.
"""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import msgspec

from mainspring import public_holidays
from mainspring.core.calendar_reading import CalendarSpec, calendar_data, calendar_from_data, expand, read_calendar
from mainspring.core.calendars import Calendar
from mainspring.core.dates import DAY_SECONDS
from mainspring.core.durations import SECOND
from mainspring.core.rules import Rule, calendars
from mainspring.errors import CalendarInUse, ChangedMeanwhile, RuleInvalid, UnknownCalendar
from mainspring.operations import audit
from mainspring.operations.rows import encode_data
from mainspring.store.database import Transaction

PAGE = 500
#: How many calendars a namespace may have.
MOST = 1_000
_YEAR_DAYS = 366
_BACK_DAYS, _AHEAD_DAYS = 2 * _YEAR_DAYS, 3 * _YEAR_DAYS  # two years ahead, for a year
_DAY_US = DAY_SECONDS * SECOND
_MOST_TOLD = 20


class CalendarView(NamedTuple):
    """A calendar as it is now. ``version`` grows with each change; ``users`` are the schedules whose rules name it."""

    name: str
    version: int
    spec: CalendarSpec
    days: Calendar
    created_at: int
    updated_at: int
    updated_by: str


def get(tx: Transaction, name: str, *, namespace: str) -> CalendarView:
    """A calendar by its name.

    Raises:
        UnknownCalendar: there is none.
    """
    row = tx.one("calendars.get", namespace=namespace, name=name)
    if row is None:
        raise _unknown(name, namespace)
    return _view(row)


def listing(tx: Transaction, *, namespace: str, after: str, most: int) -> list[CalendarView]:
    """A page of a namespace's calendars, by name."""
    return [_view(row) for row in tx.rows("calendars.page", namespace=namespace, after=after, most=most)]


def users(tx: Transaction, name: str, *, namespace: str) -> dict[str, str]:
    """The schedules whose rules name a calendar: their names by id."""
    found: dict[str, str] = {}
    after = "00000000-0000-0000-0000-000000000000"
    while page := tx.rows("calendars.users", namespace=namespace, name=name, after=after, most=PAGE):
        found |= {row[0]: row[1] for row in page}
        after = page[-1][0]
    return found


def put(tx: Transaction, name: str, spec: CalendarSpec, *, namespace: str, actor: str) -> CalendarView:
    """Make a calendar what ``spec`` says. What uses it is planned again: what was decided stays, what is due later follows the new
    days. Where it says so already nothing is written.

    Raises:
        RuleInvalid: it is made of a calendar that there is not, or of itself, or it comes to too many days. ChangedMeanwhile:
            somebody else made it at the same time.
    """
    held = _hold_all(tx, namespace)
    old = held.get(name)
    if old is not None and old.spec == spec:
        return get(tx, name, namespace=namespace)
    specs = {each.name: each.spec for each in held.values()} | {name: spec}
    _check(name, spec, specs, is_new=old is None)
    _expand_anew(tx, {name, *_made_of(name, specs)}, specs, held, namespace, actor)
    data = {"version": 1 if old is None else old.version + 1}
    audit.record(tx, f"calendar:{name}", action="calendar.put", namespace=namespace, actor=actor, data=data)
    return get(tx, name, namespace=namespace)


def delete(tx: Transaction, name: str, *, namespace: str, actor: str) -> None:
    """Free its name. Instants that were decided by it keep their fate.

    Raises:
        UnknownCalendar: there is none. CalendarInUse: a schedule or another calendar is made with it.
    """
    held = _hold_all(tx, namespace)
    if name not in held:
        raise _unknown(name, namespace)
    used_by = [f"schedule {each}" for each in users(tx, name, namespace=namespace).values()]
    used_by += [f"calendar {each.name}" for each in held.values() if name in each.spec.calendars]
    if used_by:
        told = ", ".join(used_by[:3]) + (f" and {len(used_by) - 3} more" if len(used_by) > 3 else "")
        raise CalendarInUse(f"calendar {name!r} is used by {told}: change those first", users=used_by[:_MOST_TOLD])
    tx.execute("calendars.delete", namespace=namespace, name=name)
    audit.record(tx, f"calendar:{name}", action="calendar.deleted", namespace=namespace, actor=actor)


def refresh(tx: Transaction, name: str, *, namespace: str, actor: str) -> bool:
    """Expand a calendar to which time has added, and plan again what uses it; whether it was still to be done."""
    held = _hold_all(tx, namespace)
    if name not in held or (name, namespace) not in {(row[1], row[0]) for row in tx.rows("calendars.to_expand", most=MOST)}:
        return False
    specs = {each.name: each.spec for each in held.values()}
    _expand_anew(tx, {name, *_made_of(name, specs)}, specs, held, namespace, actor)
    return True


# -- copies of schedules -----------------------------------------------------------------------------------------------


def named(tx: Transaction, rule: Rule, *, namespace: str, lock: bool = True) -> dict[str, Calendar]:
    """What the calendars that a rule names come to. With ``lock`` they stay so until the commit; the caller holds no cursor yet.

    Raises:
        RuleInvalid: one of them is not there.
    """
    wanted = sorted(calendars(rule))
    if not wanted:
        return {}
    if lock:
        found = {row[0]: row[3] for row in tx.rows("calendars.lock", namespace=namespace, names=wanted)}
    else:
        rows = [tx.one("calendars.get", namespace=namespace, name=name) for name in wanted]
        found = {row[0]: row[3] for row in rows if row is not None}
    if missing := [name for name in wanted if name not in found]:
        errors = [{"path": "rule", "value": name, "message": f'there is no calendar "{name}": put it first'} for name in missing]
        raise RuleInvalid("; ".join(each["message"] for each in errors), errors=errors)
    return {name: calendar_from_data(msgspec.json.decode(found[name])) for name in wanted}


def kept(found: dict[str, Calendar], before: str | None = None) -> str | None:
    """What a schedule keeps: these calendars, beside those of its earlier revisions, whose instants may still be settled."""
    earlier: dict[str, Any] = {} if before is None else msgspec.json.decode(before)
    data = earlier | {name: calendar_data(each) for name, each in found.items()}
    return encode_data({name: data[name] for name in sorted(data)}) if data else None


def note(tx: Transaction, schedule_id: str, found: dict[str, Calendar], *, anew: bool) -> None:
    """Write down which calendars a schedule's newest revision names."""
    if anew:
        tx.execute("calendars.forget", id=schedule_id)
    if found:
        tx.execute("calendars.note", id=schedule_id, batch=[(name,) for name in sorted(found)])


# -- expansion ---------------------------------------------------------------------------------------------------------


class _Held(NamedTuple):
    name: str
    version: int
    spec: CalendarSpec
    days: Calendar


def _hold_all(tx: Transaction, namespace: str) -> dict[str, _Held]:
    """All calendars of a namespace, locked: one may be made of others."""
    names: list[str] = []
    while page := tx.rows("calendars.page", namespace=namespace, after=names[-1] if names else "", most=PAGE):
        names += [row[0] for row in page]
    rows = tx.rows("calendars.lock", namespace=namespace, names=names) if names else []
    return {row[0]: _Held(row[0], row[1], *_both(row[2], row[3])) for row in rows}


def _check(name: str, spec: CalendarSpec, specs: dict[str, CalendarSpec], *, is_new: bool) -> None:
    problems = [f'there is no calendar "{each}": put it first' for each in sorted(spec.calendars - specs.keys())]
    try:
        _order(specs)
    except CycleError as cycle:
        problems.append(f"it would be made of itself: {' of '.join(cycle.args[1])}")
    if is_new and len(specs) > MOST:
        problems.append(f"a namespace has at most {MOST} calendars: delete some first")
    if problems:
        raise RuleInvalid("; ".join(problems), errors=[{"path": "calendars", "value": name, "message": each} for each in problems])


def _order(specs: dict[str, CalendarSpec]) -> list[str]:
    """Each after those it is made of."""
    made_of = {name: sorted(spec.calendars & specs.keys()) for name, spec in sorted(specs.items())}
    return list(TopologicalSorter(made_of).static_order())


def _made_of(name: str, specs: dict[str, CalendarSpec]) -> set[str]:
    """The calendars that are made of one, directly or not."""
    found: set[str] = set()
    for each in _order(specs):
        if specs[each].calendars & {name, *found}:
            found.add(each)
    return found


def _expand_anew(
    tx: Transaction, names: set[str], specs: dict[str, CalendarSpec], held: dict[str, _Held], namespace: str, actor: str
) -> None:
    today = tx.now // _DAY_US
    made = {name: each.days for name, each in held.items()}
    changed: dict[str, Calendar] = {}
    for name in _order(specs):
        if name not in names:
            continue
        spec, old = specs[name], held.get(name)
        days = expand(
            name, spec, 1 if old is None else old.version + 1, today - _BACK_DAYS, today + _AHEAD_DAYS,
            holidays=public_holidays.days, others=made,
        )  # fmt: skip
        made[name] = changed[name] = days
        put = tx.execute(
            "calendars.put", namespace=namespace, name=name, version=days.version, spec=encode_data(spec.as_data()),
            expanded=encode_data(calendar_data(days)), actor=actor,
            expand_at=(today + _YEAR_DAYS) * _DAY_US if spec.changes_by_itself else None,
        )  # fmt: skip
        if not put:
            raise ChangedMeanwhile(f"calendar {name!r} was put by somebody else meanwhile: look at it, and put it again")
    _copy(tx, changed, namespace)


def _copy(tx: Transaction, changed: dict[str, Calendar], namespace: str) -> None:
    """Have the schedules whose rules name these calendars keep what they say now, and be looked at at once."""
    ids = sorted({each for name in changed for each in users(tx, name, namespace=namespace)})
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        tx.rows("cursors.lock_all", ids=page)
        rows = [(row[0], row[-1]) for row in tx.rows("cursors.schedules", ids=page)]
        tx.execute("calendars.copy", batch=[(key, _with(text, changed)) for key, text in sorted(rows)])
        tx.execute("cursors.poke", ids=page)


def _with(text: str | None, changed: dict[str, Calendar]) -> str | None:
    before = {} if text is None else msgspec.json.decode(text)
    return kept({name: days for name, days in changed.items() if name in before}, text)


def _both(spec: str, expanded: str) -> tuple[CalendarSpec, Calendar]:
    data: dict[str, Any] = msgspec.json.decode(spec)
    return read_calendar(data), calendar_from_data(msgspec.json.decode(expanded))


def _view(row: Sequence[Any]) -> CalendarView:
    spec, days = _both(row[2], row[3])
    return CalendarView(row[0], row[1], spec, days, row[4], row[5], row[6])


def _unknown(name: str, namespace: str) -> UnknownCalendar:
    return UnknownCalendar(f"there is no calendar {name!r} in namespace {namespace}", calendar=name)
