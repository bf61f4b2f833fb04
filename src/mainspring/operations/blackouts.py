"""Blackouts as rows: put, deleted, read with the schedules they are over, which are looked at again when one changes.

Not here: what a window makes of an instant (``core/blackouts.py``).
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from mainspring.core.blackouts import Blackout, Closed, Window, closed, read_blackout
from mainspring.core.timetable import Surroundings, timetable
from mainspring.errors import BlackedOut, MainspringError, RuleInvalid, UnknownBlackout
from mainspring.operations import audit
from mainspring.operations.rows import encode_data
from mainspring.operations.schedule_rows import ScheduleRow, read_spec
from mainspring.store.database import Row, Transaction
from mainspring.zones import zone

#: How many blackouts a namespace may have.
MOST = 100
PAGE = 500
_COMPILED = 1024


class BlackoutView(NamedTuple):
    """A blackout as it is now; ``schedules`` are the names of those it is over."""

    name: str
    blackout: Blackout
    schedules: tuple[str, ...]
    created_at: int
    updated_at: int
    updated_by: str


@lru_cache(maxsize=_COMPILED)
def _window(namespace: str, name: str, text: str) -> Window:
    said = read_blackout(msgspec.json.decode(text))
    if said.rule is None:
        return Window(said, None)
    return Window(said, timetable(said.rule, Surroundings(zones=zone, created_at=0, seed=f"{namespace}/{name}")))


def by_schedule(rows: Iterable[Row], schedules: Iterable[ScheduleRow]) -> dict[str, list[Window]]:
    """What ``blackouts.over`` answered: the windows that each of some schedules has, if any."""
    found = [(namespace, _window(namespace, name, text)) for namespace, name, text in rows]
    if not found:
        return {}
    made: dict[str, list[Window]] = {}
    for schedule in schedules:
        made[schedule.id] = [
            window
            for namespace, window in found
            if namespace == schedule.namespace and _is_over(window.blackout, schedule.name, schedule.spec)
        ]
    return made


def over(tx: Transaction, schedule: ScheduleRow) -> Closed | None:
    """Whether a schedule is in a blackout now, and until when."""
    windows = by_schedule(tx.rows("blackouts.over", ids=[schedule.id]), [schedule])
    return closed(windows.get(schedule.id, ()), tx.now)


def require_open(tx: Transaction, schedule: ScheduleRow) -> None:
    """Go on unless a schedule is in a blackout.

    Raises:
        BlackedOut: until when.
    """
    found = over(tx, schedule)
    if found is not None:
        told = f"schedule {schedule.name!r} is in a blackout: wait for its end, or ask with ignore_blackout"
        raise BlackedOut(told, until=found.until, policy=str(found.policy))


def get(tx: Transaction, name: str, *, namespace: str) -> BlackoutView:
    """A blackout by its name.

    Raises:
        UnknownBlackout: there is none.
    """
    row = tx.one("blackouts.get", namespace=namespace, name=name)
    if row is None:
        raise _unknown(name, namespace)
    return _view(tx, row, namespace)


def listing(tx: Transaction, *, namespace: str) -> list[BlackoutView]:
    """The blackouts of a namespace, by name."""
    return [_view(tx, row, namespace) for row in tx.rows("blackouts.all", namespace=namespace)]


def put(tx: Transaction, name: str, blackout: Blackout, *, namespace: str, actor: str) -> BlackoutView:
    """Make a blackout what is said. The schedules that it was over, and is, are looked at at once.

    Raises:
        RuleInvalid: the namespace has a hundred already, or its rule is never due.
    """
    text = encode_data(blackout.as_data()) or ""
    there = tx.rows("blackouts.all", namespace=namespace)
    old = next((row for row in there if row[0] == name), None)
    if old is not None and old[1] == text:
        return _view(tx, old, namespace)
    if old is None and len(there) >= MOST:
        told = f"a namespace has at most {MOST} blackouts: delete those that are over"
        raise RuleInvalid(told, errors=[{"path": "name", "value": name, "message": told}])
    if (table := _window(namespace, name, text).table) is not None:
        table.check_due(tx.now)
    tx.execute("blackouts.put", namespace=namespace, name=name, spec=text, actor=actor)
    concerned = _concerned(tx, blackout, namespace) | ({} if old is None else _concerned(tx, _said(old[1]), namespace))
    _look_again(tx, concerned)
    audit.record(tx, f"blackout:{name}", action="blackout.put", namespace=namespace, actor=actor, data=blackout.as_data())
    return get(tx, name, namespace=namespace)


def delete(tx: Transaction, name: str, *, namespace: str, actor: str) -> None:
    """End a blackout. What it ended stays so; what it deferred is settled by the misfire policy.

    Raises:
        UnknownBlackout: there is none.
    """
    row = tx.one("blackouts.get", namespace=namespace, name=name)
    if row is None:
        raise _unknown(name, namespace)
    tx.execute("blackouts.delete", namespace=namespace, name=name)
    _look_again(tx, _concerned(tx, _said(row[1]), namespace))
    audit.record(tx, f"blackout:{name}", action="blackout.deleted", namespace=namespace, actor=actor)


def _concerned(tx: Transaction, blackout: Blackout, namespace: str) -> dict[str, str]:
    """The schedules that a blackout is over: their names by id."""
    found: dict[str, str] = {}
    after = ""
    while page := tx.rows("blackouts.schedules", namespace=namespace, after=after, most=PAGE):
        found |= {row[0]: row[1] for row in page if _is_over(blackout, row[1], row[2])}
        after = page[-1][1]
    return found


def _is_over(blackout: Blackout, name: str, spec: str) -> bool:
    """Of a schedule that cannot be read nobody knows the attributes."""
    try:
        attributes = read_spec(spec).attributes
    except MainspringError:
        attributes = ()
    return blackout.is_over(name, attributes)


def _look_again(tx: Transaction, schedules: dict[str, str]) -> None:
    ids = sorted(schedules)
    for start in range(0, len(ids), PAGE):
        tx.rows("cursors.lock_all", ids=ids[start : start + PAGE])
        tx.execute("cursors.poke", ids=ids[start : start + PAGE])


def _said(text: str) -> Blackout:
    return read_blackout(msgspec.json.decode(text))


def _view(tx: Transaction, row: Sequence[Any], namespace: str) -> BlackoutView:
    said = _said(row[1])
    names = tuple(sorted(_concerned(tx, said, namespace).values()))
    return BlackoutView(row[0], said, names, row[2], row[3], row[4])


def _unknown(name: str, namespace: str) -> UnknownBlackout:
    return UnknownBlackout(f"there is no blackout {name!r} in namespace {namespace}", blackout=name)
