"""Celery beat's schedules as entries of schedule files: ``beat_schedule`` as data or as it stands in a module, which is read and
never run; and the tables of django-celery-beat and celery-sqlalchemy-scheduler.

Here: entries, and the grammar of Celery's crontab, whose weekdays count from Sunday as 0. Not here: ``celerybeat-schedule``, which
is a pickle of what these say, and is refused; instants (``wall_sets.py``).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from mainspring.core.durations import SECOND, format_duration, format_instant, parse_instant
from mainspring.core.problems import Refused
from mainspring.importing.imported import CLOCKS, Fires, Imported, Names, bounded, is_plain, steps, task_name, why_not
from mainspring.importing.wall_sets import WallSets

MOST_ENTRIES = 2_000
#: Beat knows no slots, and sends once what was due while it was away. Retries are the task's own.
AS_BEAT: Mapping[str, Any] = {"overlap": "allow", "misfire": "run_once_if_late", "retry": {"max_attempts": 1}, "timeout": None}
_FIELDS: Mapping[str, tuple[str, int, int]] = {
    "minute": ("minutes", 0, 59), "hour": ("hours", 0, 23), "day_of_week": ("weekdays", 0, 6),
    "day_of_month": ("dates", 1, 31), "month_of_year": ("months", 1, 12),
}  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/([0-9]{1,4}))?")
_OPTIONS = ("queue", "priority", "expires")


def read_beat(text: str, *, timezone: str | None, prefix: str = "celery/") -> list[Imported]:
    """Every entry of ``beat_schedule``, in order: as JSON, or in the text of a Python module. ``timezone``: that of the Celery app.

    Raises:
        Refused: there is none.
    """
    found = _json(text)
    found = _module(text) if found is None else found
    if not isinstance(found, dict) or len(found) > MOST_ENTRIES:
        raise Refused(f"beat_schedule is a mapping from names to entries, up to {MOST_ENTRIES:,}")
    names = Names(prefix)
    return [_entry(str(name), said, timezone, names) for name, said in found.items()]


def imported(place: str, said: Mapping[str, Any], timezone: str | None, names: Names, more: Mapping[str, Any]) -> Imported:
    """One entry, with the fields that only a table has."""
    source = f"{said.get('task')} {said.get('schedule')}"
    notes: list[str] = []
    try:
        rule, fires = _rule(said.get("schedule"), timezone, notes)
        if told := why_not(rule):
            raise Refused(told)
        entry = {"name": names.new(place), "rule": rule, "target": _target(said), **AS_BEAT, **more}
        entry |= _options(said.get("options") or {}, notes)
    except Refused as refused:
        return Imported(place, source, notes=tuple(notes), refused=" ".join(refused.sentences))
    start, end = (None if field not in more else parse_instant(more[field], option=field) for field in ("start_at", "end_at"))
    cause = CLOCKS if "cron" in rule else "the source counts from its last start, which is not in the file"
    return Imported(place, source, entry, tuple(notes), fires=bounded(fires, start, end), cause=cause)


def _json(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found.get("beat_schedule", found) if isinstance(found, dict) else found


def _module(text: str) -> Any:
    """The value given to ``beat_schedule`` in a module, calls as ``{"crontab": {...}}``."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Refused("it is neither JSON nor Python") from None
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        names = [each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in targets]
        if isinstance(node, ast.Assign) and any(name.lower().endswith("beat_schedule") for name in names):
            return _value(node.value)
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        return _value(tree.body[0].value)
    raise Refused("it gives no value to beat_schedule")


def _value(node: ast.expr) -> Any:
    """What an expression says, where it can be known without running it; else the expression itself."""
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {key.value: _value(each) for key, each in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Call) and not any(word.arg is None for word in node.keywords):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {str(word.arg): _value(word.value) for word in node.keywords}
        return {name: given | dict(zip(_POSITIONS.get(name, ()), map(_value, node.args), strict=False))}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return node


_POSITIONS: Mapping[str, tuple[str, ...]] = {
    "crontab": tuple(_FIELDS),
    "timedelta": ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks"),
    "schedule": ("run_every",),
}


def _entry(name: str, said: Any, timezone: str | None, names: Names) -> Imported:
    if not isinstance(said, dict):
        return Imported(name, "an entry", refused="an entry is a mapping with task and schedule")
    return imported(name, said, timezone, names, {})


def _rule(schedule: Any, timezone: str | None, notes: list[str]) -> tuple[dict[str, Any], Fires]:
    if isinstance(schedule, dict) and "crontab" in schedule:
        if timezone is None:
            raise Refused("nothing says whose clocks it means: give the timezone of the Celery app")
        walls = _walls(schedule["crontab"])
        return walls.rule(timezone), lambda after, most: walls.fires(timezone, after, most)
    if isinstance(schedule, dict) and "solar" in schedule:
        raise Refused("solar: no rule here follows the sun; write the times, or a calendar of them")
    if isinstance(schedule, dict) and isinstance(schedule.get("clocked"), int):
        at = schedule["clocked"]
        return {"at": format_instant(at)}, lambda after, most: [at] if at > after and most else []
    every = _span(schedule)
    notes.append("beat counts an interval from the last time it sent the task; here it is a fixed grid from the creation")
    return {"every": format_duration(every)}, lambda after, most: steps(after + every, every, after, most)


def _span(schedule: Any) -> int:
    if isinstance(schedule, dict) and "schedule" in schedule and isinstance(schedule["schedule"], dict):
        return _span(schedule["schedule"].get("run_every"))
    try:
        if isinstance(schedule, dict) and set(schedule) == {"timedelta"}:
            span = timedelta(**schedule["timedelta"]) // timedelta(microseconds=1)
        elif isinstance(schedule, int | float) and not isinstance(schedule, bool):
            span = int(schedule * SECOND)
        else:
            raise Refused("its schedule cannot be known from the text: write seconds, timedelta(...), or crontab(...)")
    except (TypeError, ValueError, OverflowError):
        raise Refused("its interval cannot be read") from None
    if span < SECOND:
        raise Refused("its interval is shorter than a second: write 1s or more")
    return span


def _walls(given: Any) -> WallSets:
    if not isinstance(given, dict) or set(given) - set(_FIELDS):
        raise Refused(f"a crontab has {', '.join(_FIELDS)} and nothing else")
    made: dict[str, Any] = {}
    for field, (name, low, high) in _FIELDS.items():
        numbers = _numbers(given.get(field, "*"), low, high)
        made[name] = frozenset((each - 1) % 7 for each in numbers) if name == "weekdays" else numbers
    return WallSets(**made)


def _numbers(said: Any, low: int, high: int) -> frozenset[int]:
    """What a field of a crontab means: ranges may go round the end, and steps count from where they begin."""
    if isinstance(said, list | tuple | set) and all(type(each) is int for each in said):
        found = frozenset(said)
    elif type(said) is int:
        found = frozenset({said})
    elif isinstance(said, str):
        found = frozenset(each for part in said.replace(" ", "").split(",") for each in _part(part, low, high))
    else:
        raise Refused("a field of its crontab cannot be known from the text")
    if not found or min(found) < low or max(found) > high:
        raise Refused(f"{said!r} is not within {low} and {high}")
    return found


def _part(part: str, low: int, high: int) -> list[int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise Refused(f"{part!r} is no field of a crontab")
    star, first, last, step = match.groups()
    if star:
        numbers = list(range(low, high + 1))
    else:
        begin = _number(first, low, high)
        end = begin if last is None else _number(last, low, high)
        numbers = [*range(begin, end + 1)] if begin <= end else [*range(begin, high + 1), *range(low, end + 1)]
    if step is not None and (int(step) < 1 or not (star or last)):
        raise Refused(f"{part!r} has a step that means nothing")
    return numbers[:: int(step or 1)]


def _number(word: str, low: int, high: int) -> int:
    if word.isascii() and word.isdigit():
        number = int(word[:6])
    else:
        short = word[:3].lower()
        known = _MONTHS if high == 12 else _DAYS if high == 6 else ()
        if short not in known:
            raise Refused(f"{word!r} is no name of a day or a month")
        number = known.index(short) + (1 if high == 12 else 0)
    if not low <= number <= high:
        raise Refused(f"{word} is not within {low} and {high}")
    return number


def _target(said: Mapping[str, Any]) -> dict[str, Any]:
    args, kwargs = said.get("args") or (), said.get("kwargs") or {}
    if args:
        raise Refused("it has arguments by position, and a payload has names: give them as kwargs")
    if not isinstance(kwargs, dict) or not is_plain(kwargs):
        raise Refused("its kwargs cannot be known from the text, or are not what JSON can say")
    if not isinstance(said.get("task"), str):
        raise Refused("it names no task")
    return {"task": task_name(said["task"])} | ({"payload": kwargs} if kwargs else {})


def _options(given: Any, notes: list[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Refused("its options cannot be known from the text")
    made: dict[str, Any] = {}
    if isinstance(given.get("queue"), str):
        made["queue"] = given["queue"]
    if given.get("priority") is not None:
        notes.append(f"priority {given['priority']} is left out: what it means depends on the broker")
    if (expires := given.get("expires")) is not None:
        made["start_within"] = format_duration(_span(expires))
    if left := [str(name) for name in given if name not in _OPTIONS]:
        notes.append(f"options left out: {', '.join(left)}")
    return made
