"""Celery beat's schedules as schedule files, beside what Celery itself waits for."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab

from mainspring.core.problems import Refused
from mainspring.core.rule_reading import read_rule
from mainspring.core.timetable import Surroundings, timetable
from mainspring.importing.beat_tables import read_tables
from mainspring.importing.celery_beat import read_beat
from mainspring.importing.imported import Imported
from mainspring.zones import zone

BERLIN = ZoneInfo("Europe/Berlin")
CRONS: list[dict[str, Any]] = [
    {"minute": "30", "hour": "2"},
    {"minute": "*/20", "hour": "8-18/3"},
    {"minute": 0, "hour": 9, "day_of_week": 2},
    {"minute": 0, "hour": "22-2", "day_of_week": "fri-mon"},
    {"minute": 5, "hour": 4, "day_of_month": "1-7", "day_of_week": "mon"},
    {"minute": 5, "hour": 4, "day_of_month": "*/10", "month_of_year": "3-12/3"},
]
STARTS = [
    datetime(2026, 3, 28, 20, 1, tzinfo=BERLIN),
    datetime(2026, 6, 1, 10, 7, tzinfo=BERLIN),
    datetime(2026, 10, 24, 20, 1, tzinfo=BERLIN),
]


def one(schedule: Any, **more: Any) -> Imported:
    text = json.dumps({"beat_schedule": {"job": {"task": "shop.mail", "schedule": schedule} | more}})
    (made,) = read_beat(text, timezone="Europe/Berlin")
    return made


def micros(at: datetime) -> int:
    return (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def theirs(fields: dict[str, Any], start: datetime, most: int = 50) -> list[int]:
    """What a beat does that looks whenever Celery tells it to."""
    clock = [start.astimezone(UTC)]
    app = Celery(set_as_current=False)
    app.conf.timezone = "Europe/Berlin"
    schedule = crontab(**fields, nowfun=lambda: clock[0].astimezone(BERLIN), app=app)
    found: list[int] = []
    last = clock[0]
    while len(found) < most:
        left = schedule.remaining_estimate(last.astimezone(BERLIN))
        if left > timedelta(0):
            clock[0] += left
            continue
        found.append(micros(clock[0]))
        last = clock[0]
    return found


def ours(made: Imported, start: datetime, most: int = 50) -> list[int]:
    assert made.entry is not None, made
    around = Surroundings(zones=zone, created_at=micros(start))
    return [fire.at for fire in timetable(read_rule(made.entry["rule"]), around).preview(micros(start), most)]


@pytest.mark.parametrize("start", STARTS, ids=["spring", "summer", "autumn"])
@pytest.mark.parametrize("fields", CRONS, ids=str)
def test_what_is_said_of_the_source_is_what_celery_waits_for(fields: dict[str, Any], start: datetime) -> None:
    made = one({"crontab": fields})
    assert made.fires is not None, made
    assert made.fires(micros(start), 50) == theirs(fields, start), made.entry
    assert ours(made, start) == theirs(fields, start), made.entry


@pytest.mark.case("schedules", 21)
def test_two_is_tuesday_where_weekdays_count_from_sunday() -> None:
    made = one({"crontab": {"minute": 0, "hour": 9, "day_of_week": 2}})
    assert made.entry is not None
    assert made.entry["rule"]["cron"] == "0 9 * * TUE"


def test_times_that_only_the_source_leaves_out_are_a_difference() -> None:
    fields = {"minute": "0,30", "hour": 2}
    made = one({"crontab": fields})
    assert made.fires is not None
    assert made.fires(micros(STARTS[0]), 50) == theirs(fields, STARTS[0])
    assert len(set(ours(made, STARTS[0])) - set(theirs(fields, STARTS[0]))) == 1
    assert "change of the clocks" in made.cause


MODULE = """\
import os
from celery.schedules import crontab, solar
from datetime import timedelta
os.system("touch run")
app.conf.beat_schedule = {
    "nightly": {"task": "shop.nightly", "schedule": crontab(30, hour="2"), "kwargs": {"full": True},
                "options": {"queue": "slow", "expires": 600, "exchange": "x"}},
    "often": {"task": "shop.often", "schedule": timedelta(minutes=5)},
    "seconds": {"task": "shop.often", "schedule": 30.0},
    "sun": {"task": "shop.sun", "schedule": solar("sunset", -37, 144)},
    "unknown": {"task": "shop.x", "schedule": make()},
    "places": {"task": "shop.x", "schedule": 30, "args": (1, 2)},
}
"""


def test_a_module_is_read_and_not_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nightly, often, seconds, sun, unknown, places = read_beat(MODULE, timezone="Europe/Berlin")
    assert not list(tmp_path.iterdir())
    assert nightly.entry is not None
    assert nightly.entry["rule"]["cron"] == "30 2 * * *"
    assert nightly.entry["target"] == {"task": "shop.nightly", "payload": {"full": True}}
    assert (nightly.entry["queue"], nightly.entry["start_within"]) == ("slow", "10m")
    assert "exchange" in nightly.notes[-1]
    assert [each.entry and each.entry["rule"] for each in (often, seconds)] == [{"every": "5m"}, {"every": "30s"}]
    assert often.fires is not None
    assert often.fires(0, 2) == [300_000_000, 600_000_000]
    assert "sun" in (sun.refused or "")
    assert unknown.refused
    assert "position" in (places.refused or "")


@pytest.mark.parametrize(
    "fields",
    [{"hour": "24"}, {"day_of_week": "7"}, {"minute": "a"}, {"minute": "*/0"}, {"hour": "5/2"}, {"hour": ""}, {"week": 1}],
    ids=str,
)
def test_what_celery_would_not_take_is_refused(fields: dict[str, Any]) -> None:
    assert one({"crontab": fields}).refused


@pytest.mark.parametrize("text", ["[]", "x = 1", "((", "\x80\x04"])
def test_what_is_no_schedule_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(Refused):
        read_beat(text, timezone="UTC")


TABLES = """
CREATE TABLE {p}crontab{s} (id INTEGER, minute, hour, day_of_week, day_of_month, month_of_year, timezone);
CREATE TABLE {p}interval{s} (id INTEGER, every, period);
CREATE TABLE {p}clocked{s} (id INTEGER, clocked_time);
CREATE TABLE {p}solar{s} (id INTEGER, event);
CREATE TABLE {t} (id INTEGER, name, task, args, kwargs, queue, expires, expire_seconds, enabled, one_off, start_time,
    crontab_id, interval_id, clocked_id, solar_id);
INSERT INTO {p}crontab{s} VALUES (1, '0', '9', '1', '*', '*', 'America/New_York');
INSERT INTO {p}interval{s} VALUES (1, 90, 'minutes');
INSERT INTO {p}clocked{s} VALUES (1, '2027-01-02 03:04:05');
INSERT INTO {p}solar{s} VALUES (1, 'sunset');
INSERT INTO {t} VALUES (1, 'a', 'shop.a', '[]', '{{"n": 1}}', 'q', '2030-01-01 00:00:00', 60, 1, 0, NULL, 1, NULL, NULL, NULL);
INSERT INTO {t} VALUES (2, 'b', 'shop.b', '[]', '{{}}', NULL, NULL, NULL, 0, 0, '2026-12-01 00:00:00', NULL, 1, NULL, NULL);
INSERT INTO {t} VALUES (3, 'c', 'shop.c', '[]', '{{}}', NULL, NULL, NULL, 1, 1, NULL, NULL, NULL, 1, NULL);
INSERT INTO {t} VALUES (4, 'd', 'shop.d', '[]', '{{}}', NULL, NULL, NULL, 1, 0, NULL, NULL, NULL, NULL, 1);
INSERT INTO {t} VALUES (5, 'e', 'shop.e', '[', '{{}}', NULL, NULL, NULL, 1, 0, NULL, NULL, 1, NULL, NULL);
"""


@pytest.mark.parametrize(
    ("prefix", "suffix", "task"),
    [("django_celery_beat_", "schedule", "django_celery_beat_periodictask"), ("celery_", "_schedule", "celery_periodic_task")],
    ids=["django", "sqlalchemy"],
)
def test_tables_become_entries(prefix: str, suffix: str, task: str) -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(TABLES.format(p=prefix, s=suffix, t=task))
    a, b, c, d, e = read_tables(database, timezone="UTC")
    assert a.entry is not None
    assert (a.entry["rule"]["cron"], a.entry["rule"]["timezone"]) == ("0 9 * * MON", "America/New_York")
    assert (a.entry["target"], a.entry["queue"]) == ({"task": "shop.a", "payload": {"n": 1}}, "q")
    assert (a.entry["end_at"][:10], a.entry["start_within"]) == ("2030-01-01", "1m")
    assert b.entry is not None
    assert (b.entry["rule"], b.entry["enabled"], b.entry["start_at"][:10]) == ({"every": "1h30m"}, False, "2026-12-01")
    assert c.entry is not None
    assert (c.entry["rule"]["at"][:19], c.entry["max_runs"]) == ("2027-01-02T03:04:05", 1)
    assert "sun" in (d.refused or "")
    assert "JSON" in (e.refused or "")


def test_a_file_without_such_tables_is_refused() -> None:
    with pytest.raises(Refused, match="no tables"):
        read_tables(sqlite3.connect(":memory:"), timezone="UTC")
