"""The tables of django-celery-beat and of celery-sqlalchemy-scheduler in a SQLite file, as entries of schedule files.

Here: rows. Not here: what they mean (``celery_beat.py``).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mainspring.core.durations import format_instant
from mainspring.core.problems import Refused
from mainspring.importing.celery_beat import MOST_ENTRIES, imported
from mainspring.importing.imported import Imported, Names

_KINDS = ("crontab", "interval", "clocked", "solar")
_TABLES: tuple[Mapping[str, str], ...] = (
    {"task": "django_celery_beat_periodictask", **{kind: f"django_celery_beat_{kind}schedule" for kind in _KINDS}},
    {"task": "celery_periodic_task", **{kind: f"celery_{kind}_schedule" for kind in _KINDS}},
)
_PERIODS = ("days", "hours", "minutes", "seconds", "microseconds")
#: What django-celery-beat makes for Celery itself.
_OF_CELERY = ("celery.backend_cleanup",)


def read_tables(database: sqlite3.Connection, *, timezone: str | None, prefix: str = "celery/") -> list[Imported]:
    """Every periodic task, by name. ``timezone``: that of crontabs without one.

    Raises:
        Refused: the tables are not there, or cannot be read.
    """
    database.row_factory = sqlite3.Row
    try:
        there = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        tables = next((each for each in _TABLES if each["task"] in there), None)
        if tables is None:
            raise Refused("it has no tables of django-celery-beat or celery-sqlalchemy-scheduler")
        rows = _rows(database, tables["task"])
        kinds = {kind: {row["id"]: row for row in _rows(database, tables[kind])} for kind in _KINDS if tables[kind] in there}
    except sqlite3.Error as error:
        raise Refused(f"it cannot be read: {error}") from None
    names = Names(prefix)
    return [_entry(row, kinds, timezone, names) for row in sorted(rows, key=lambda row: str(row["name"]))]


def _rows(database: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    found = database.execute(f'SELECT * FROM "{table}" LIMIT ?', (MOST_ENTRIES,)).fetchall()
    return [dict(row) for row in found]


def _entry(
    row: Mapping[str, Any], kinds: Mapping[str, Mapping[Any, Mapping[str, Any]]], timezone: str | None, names: Names
) -> Imported:
    name = str(row["name"])
    try:
        if row.get("task") in _OF_CELERY:
            raise Refused("it cleans the results of Celery, which are not here")
        kind = next((kind for kind in _KINDS if row.get(f"{kind}_id") is not None), None)
        said = kinds.get(kind or "", {}).get(row.get(f"{kind}_id"))
        if kind is None or said is None:
            raise Refused("it has no schedule")
        schedule, zone = _schedule(kind, said, timezone)
        options = {"queue": row.get("queue"), "priority": row.get("priority"), "expires": row.get("expire_seconds")}
        options |= {left: row[left] for left in ("exchange", "routing_key") if row.get(left)}
        data = {"task": row.get("task"), "schedule": schedule, "options": options}
        data |= {"args": _json(row, "args"), "kwargs": _json(row, "kwargs")}
        return imported(name, data, zone, names, _more(row))
    except Refused as refused:
        return Imported(name, str(row.get("task")), refused=" ".join(refused.sentences))


def _schedule(kind: str, said: Mapping[str, Any], timezone: str | None) -> tuple[dict[str, Any], str | None]:
    if kind == "crontab":
        fields = {name: said[name] for name in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year") if name in said}
        return {"crontab": fields}, said.get("timezone") or timezone
    if kind == "interval":
        if said.get("period") not in _PERIODS:
            raise Refused(f"its period is not one of {', '.join(_PERIODS)}")
        return {"timedelta": {said["period"]: said.get("every")}}, timezone
    if kind == "clocked":
        return {"clocked": _instant(said.get("clocked_time"))}, timezone
    return {"solar": {}}, timezone


def _more(row: Mapping[str, Any]) -> dict[str, Any]:
    more: dict[str, Any] = {} if row.get("enabled", True) else {"enabled": False}
    if row.get("one_off"):
        more["max_runs"] = 1
    for field, column in (("start_at", "start_time"), ("end_at", "expires")):
        if row.get(column) is not None:
            more[field] = format_instant(_instant(row[column]))
    return more


def _json(row: Mapping[str, Any], column: str) -> Any:
    try:
        return json.loads(row.get(column) or "null")
    except (TypeError, ValueError, RecursionError):
        raise Refused(f"its {column} are no JSON") from None


def _instant(text: Any) -> int:
    """Both keep instants in UTC, without saying so."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Refused(f"{text!r} is no date and time") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
