"""APScheduler 3's job store as entries of schedule files.

Here: jobs, triggers and the fields of a cron trigger, whose weekdays count from Monday as 0. Not here: pickles
(``inert_pickle.py``), instants (``wall_sets.py``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mainspring.core.durations import format_duration, format_instant
from mainspring.core.problems import Refused
from mainspring.importing.imported import CLOCKS, Fires, Imported, Names, bounded, is_plain, steps, task_name, why_not
from mainspring.importing.inert_pickle import Moment, Record, read_pickle
from mainspring.importing.wall_sets import WallSets

MOST_JOBS = 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BOUNDS = {"month": (1, 12), "day": (1, 31), "day_of_week": (0, 6), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
_SETS = {"month": "months", "day": "dates", "day_of_week": "weekdays", "hour": "hours", "minute": "minutes", "second": "seconds"}
_YEARS = (1970, 2199)
_AS_APSCHEDULER: Mapping[str, Any] = {"retry": {"max_attempts": 1}, "timeout": None}


def read_jobs(database: sqlite3.Connection, *, prefix: str = "apscheduler/") -> list[Imported]:
    """Every job of the table ``apscheduler_jobs``, by id.

    Raises:
        Refused: there is no such table.
    """
    try:
        query = "SELECT id, next_run_time, job_state FROM apscheduler_jobs ORDER BY id LIMIT ?"
        rows = database.execute(query, (MOST_JOBS,)).fetchall()
    except sqlite3.Error as error:
        raise Refused(f"the table apscheduler_jobs cannot be read: {error}") from None
    names = Names(prefix)
    return [_job(str(name), paused is None, state, names) for name, paused, state in rows]


def _job(name: str, is_paused: bool, state: Any, names: Names) -> Imported:
    place = f"job {name}"
    try:
        job = read_pickle(bytes(state)) if isinstance(state, bytes) else None
        if not isinstance(job, dict) or not isinstance(job.get("trigger"), Record) or not isinstance(job.get("func"), str):
            raise Refused("its pickle is no job of APScheduler 3")
        return _Job(place, job, is_paused).imported(names.new(name))
    except Refused as refused:
        return Imported(place, "a pickle", refused=" ".join(refused.sentences))


class _Job:
    """One job; what is different is collected in ``notes``."""

    def __init__(self, place: str, job: Mapping[str, Any], is_paused: bool) -> None:
        self._place, self._job, self._is_paused = place, job, is_paused
        self._trigger: Record = job["trigger"]
        self._notes: list[str] = []

    def imported(self, name: str) -> Imported:
        """The job as an entry."""
        rule, fires = self._rule()
        source = f"{self._trigger.kind} of {self._job['func']}"
        if told := why_not(rule):
            return Imported(self._place, source, refused=told)
        entry = {"name": name, "rule": rule, "target": self._target(), **self._late(), **_AS_APSCHEDULER}
        if self._is_paused:
            entry["enabled"] = False
            self._notes.append("it is paused there, and not enabled here")
        if jitter := self._trigger["jitter"]:
            entry["jitter"] = {"max": format_duration(int(jitter * 1_000_000)), "mode": "random"}
            self._notes.append("jitter: fires are shown without it")
        for field, bound in (("start_at", "start_date"), ("end_at", "end_date")):
            if (moment := self._trigger[bound]) is not None and self._trigger.kind != "DateTrigger":
                entry[field] = format_instant(_instant(moment))
        return Imported(self._place, source, entry, tuple(self._notes), fires=self._bounded(fires), cause=CLOCKS)

    def _rule(self) -> tuple[dict[str, Any], Fires]:
        trigger = self._trigger
        match trigger.kind:
            case "CronTrigger":
                zone = getattr(trigger["timezone"], "name", None)
                if zone is None:
                    raise Refused("its trigger has no zone by name: give it one")
                walls = _walls(trigger)
                return walls.rule(zone), lambda after, most: walls.fires(zone, after, most)
            case "IntervalTrigger":
                span, start = trigger["interval"], trigger["start_date"]
                if not isinstance(span, timedelta) or span < timedelta(seconds=1):
                    raise Refused("its interval is shorter than a second")
                every, first = span // _MICROSECOND, _instant(start)
                rule = {"every": format_duration(every), "anchor": format_instant(first)}
                return rule, lambda after, most: steps(first, every, after, most)
            case "DateTrigger":
                at = _instant(trigger["run_date"])
                return {"at": format_instant(at)}, lambda after, most: [at] if at > after and most else []
        raise Refused(f"{trigger.kind} combines triggers: make a schedule of each")

    def _bounded(self, fires: Fires) -> Fires:
        start, end = self._trigger["start_date"], self._trigger["end_date"]
        return bounded(fires, None if start is None else _instant(start), None if end is None else _instant(end))

    def _target(self) -> dict[str, Any]:
        args, kwargs = self._job.get("args"), self._job.get("kwargs") or {}
        if args:
            raise Refused("it has arguments by position, and a payload has names: give them as kwargs")
        if not isinstance(kwargs, dict) or not is_plain(kwargs):
            raise Refused("its kwargs are not what JSON can say: give it texts, numbers, lists and mappings")
        task = task_name(self._job["func"].replace(":", "."))
        self._notes.append(f"{self._job['func']} was not loaded: declare it as the task {task}")
        return {"task": task} | ({"payload": kwargs} if kwargs else {})

    def _late(self) -> dict[str, Any]:
        grace, most = self._job.get("misfire_grace_time"), self._job.get("max_instances") or 1
        policy = "run_once_if_late" if self._job.get("coalesce") else "catch_up"
        misfire: dict[str, Any] = {"policy": policy}
        if grace:
            misfire["window"] = f"{grace}s"
            self._notes.append(f"misfire_grace_time: what is later than {grace}s is missed, there and here")
        return {"misfire": misfire, "overlap": {"policy": "skip", "max_concurrency": most}}


def _walls(trigger: Record) -> WallSets:
    made: dict[str, Any] = {"repeats": True}
    for field in trigger["fields"] or ():
        name, expressions = field["name"], field["expressions"] or []
        kinds = [each.kind for each in expressions]
        if name in ("week", "year") and kinds == ["AllExpression"] and not expressions[0]["step"]:
            continue
        if name == "week":
            raise Refused("it names weeks of the year, which no rule here has: write the dates")
        if special := [each for each in expressions if each.kind in ("WeekdayPositionExpression", "LastDayOfMonthExpression")]:
            if len(expressions) > 1:
                raise Refused("it has several kinds of days of the month: make a job of each")
            made["nth"] = _nth(special[0])
            continue
        low, high = _YEARS if name == "year" else _BOUNDS[name]
        made["years" if name == "year" else _SETS[name]] = frozenset(n for each in expressions for n in _numbers(each, low, high))
    if "nth" in made and (len(made["weekdays"]) < 7 or made.get("years")):
        raise Refused("it wants a day of the month and a weekday or a year together: write the dates")
    return WallSets(**made)


def _nth(expression: Record) -> tuple[int | None, int]:
    if expression.kind == "LastDayOfMonthExpression":
        return None, -1
    return expression["weekday"], expression["option_num"] + 1 if expression["option_num"] < 5 else -1


def _numbers(expression: Record, low: int, high: int) -> range:
    first, last, step = expression["first"], expression["last"], expression["step"]
    if not all(each is None or isinstance(each, int) for each in (first, last, step)) or (step is not None and step < 1):
        raise Refused("its fields are no numbers")
    first = low if first is None else first
    return range(first, min(high if last is None else last, high) + 1, step or 1)


def _instant(moment: Any) -> int:
    if not isinstance(moment, Moment) or moment.clock is None:
        raise Refused("it has a date and time without a zone by name")
    try:
        zone = ZoneInfo(moment.clock.name)
    except (ValueError, OSError, KeyError):
        raise Refused(f"there is no zone {moment.clock.name!r}") from None
    return (moment.wall.replace(tzinfo=zone).astimezone(UTC) - _EPOCH) // _MICROSECOND
