"""APScheduler's job store as schedule files: its own triggers, stored and read back, beside its own fires."""

from __future__ import annotations

import pickle
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from mainspring.core.rule_reading import read_rule
from mainspring.core.timetable import Surroundings, timetable
from mainspring.importing.apscheduler import read_jobs
from mainspring.importing.imported import Imported
from mainspring.zones import zone

BERLIN = ZoneInfo("Europe/Berlin")
CRONS: list[dict[str, Any]] = [
    {"day_of_week": "2", "hour": "9"},
    {"day_of_week": "mon-fri", "hour": "8-18/2", "minute": "*/20"},
    {"minute": "*/15"},
    {"hour": "2", "minute": "30"},
    {"hour": "*/3", "second": "5,35", "minute": "0"},
    {"day": "1-7", "day_of_week": "0", "hour": "6"},
    {"day": "last", "hour": "23"},
    {"day": "3rd fri", "hour": "12"},
    {"day": "last sun", "hour": "2", "minute": "15"},
    {"month": "jan-mar,7", "day": "31"},
]
#: An ordinary day, and the eves of both changes of the clocks.
STARTS = [
    datetime(2026, 3, 28, 22, tzinfo=BERLIN),
    datetime(2026, 6, 1, 10, 7, tzinfo=BERLIN),
    datetime(2026, 10, 24, 22, tzinfo=BERLIN),
]


def work(*args: Any, **kwargs: Any) -> None:
    """What jobs name."""


def read(*triggers: Any, **options: Any) -> list[Imported]:
    store = sqlite3.connect(":memory:")
    store.execute("CREATE TABLE apscheduler_jobs (id TEXT PRIMARY KEY, next_run_time FLOAT, job_state BLOB)")
    for number, trigger in enumerate(triggers):
        name = "tests.importing.test_apscheduler:work"
        given = {"args": (), "kwargs": {"a": [1]}, "coalesce": True, "misfire_grace_time": 30, "max_instances": 2} | options
        job = Job(
            BackgroundScheduler(),
            id=f"job{number}",
            func=name,
            trigger=trigger,
            executor="x",
            name="n",
            next_run_time=None,
            **given,
        )
        state = pickle.dumps(job.__getstate__(), pickle.HIGHEST_PROTOCOL)
        store.execute("INSERT INTO apscheduler_jobs VALUES (?, 1.0, ?)", (f"job{number}", state))
    return read_jobs(store)


def micros(at: datetime) -> int:
    return (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def theirs(trigger: Any, start: datetime, most: int = 50) -> list[int]:
    found: list[datetime] = []
    while len(found) < most and (at := trigger.get_next_fire_time(found[-1] if found else None, found[-1] if found else start)):
        found.append(at)
    return [micros(at) for at in found]


def ours(entry: Any, start: datetime, most: int = 50) -> list[int]:
    end = entry.get("end_at")
    around = Surroundings(zones=zone, created_at=micros(start), end_at=None if end is None else micros(datetime.fromisoformat(end)))
    return [fire.at for fire in timetable(read_rule(entry["rule"]), around).preview(micros(start) - 1, most)]


@pytest.mark.parametrize("start", STARTS, ids=["spring", "summer", "autumn"])
@pytest.mark.parametrize("fields", CRONS, ids=str)
def test_what_is_said_of_the_source_is_what_apscheduler_fires(fields: dict[str, Any], start: datetime) -> None:
    trigger = CronTrigger(**fields, timezone=BERLIN)
    (made,) = read(trigger)
    assert made.fires is not None, made
    assert made.fires(micros(start) - 1, 50) == theirs(trigger, start), made.entry
    assert ours(made.entry, start) == theirs(trigger, start), made.entry


@pytest.mark.case("schedules", 21)
def test_two_is_wednesday_where_weekdays_count_from_monday() -> None:
    (made,) = read(CronTrigger(day_of_week="2", hour="9", timezone=BERLIN))
    assert made.entry is not None
    assert made.entry["rule"]["cron"] == "0 9 * * WED"
    assert {datetime.fromtimestamp(at / 1e6, BERLIN).weekday() for at in ours(made.entry, STARTS[1])} == {2}


def test_times_that_only_the_source_leaves_out_are_a_difference() -> None:
    trigger = CronTrigger(hour="2", minute="0,30", timezone=BERLIN)
    (made,) = read(trigger)
    assert made.fires is not None
    assert made.fires(micros(STARTS[0]) - 1, 50) == theirs(trigger, STARTS[0])
    assert len(set(ours(made.entry, STARTS[0])) - set(theirs(trigger, STARTS[0]))) == 1
    assert "change of the clocks" in made.cause


def test_intervals_dates_and_what_becomes_of_late_ones() -> None:
    first = datetime(2026, 1, 1, tzinfo=BERLIN)
    interval = IntervalTrigger(hours=5, start_date=first, end_date=STARTS[1] + timedelta(days=2), timezone=BERLIN, jitter=7)
    at = STARTS[1] + timedelta(hours=3)
    every, once = read(interval, DateTrigger(at))
    assert every.entry is not None
    assert every.fires is not None
    interval.jitter = None
    assert every.fires(micros(STARTS[1]) - 1, 50) == theirs(interval, STARTS[1]) == ours(every.entry, STARTS[1])
    assert every.entry["jitter"] == {"max": "7s", "mode": "random"}
    assert every.entry["overlap"] == {"policy": "skip", "max_concurrency": 2}
    assert every.entry["misfire"] == {"policy": "run_once_if_late", "window": "30s"}
    assert every.entry["target"] == {"task": "tests.importing.test_apscheduler.work", "payload": {"a": [1]}}
    assert ours(once.entry, STARTS[1]) == [micros(at)]


class Evil:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was run",))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kwargs": {"a": Evil()}}, "not loaded"),
        ({"args": (1,)}, "by position"),
        ({"kwargs": {"a": timedelta(1)}}, "JSON"),
    ],
    ids=["code", "position", "values"],
)
def test_what_a_payload_cannot_say_is_refused_and_never_run(options: dict[str, Any], told: str) -> None:
    (made,) = read(DateTrigger(STARTS[1]), **options)
    assert (made.entry, told in (made.refused or "")) == (None, True), made


@pytest.mark.parametrize(
    "trigger", [OrTrigger([DateTrigger(STARTS[1])]), CronTrigger(week="3"), CronTrigger(day="last", day_of_week="1")]
)
def test_triggers_that_no_rule_says_are_refused(trigger: Any) -> None:
    (made,) = read(trigger)
    assert made.refused


@pytest.mark.parametrize("state", [b"", b"\x80\x04", b"\x80\x02K\x01r\xff\xff\xff\x7f.", b"cos\nsystem\n(S'x'\ntR.", None])
def test_a_broken_or_hostile_pickle_is_refused(state: bytes | None) -> None:
    store = sqlite3.connect(":memory:")
    store.execute("CREATE TABLE apscheduler_jobs (id, next_run_time, job_state)")
    store.execute("INSERT INTO apscheduler_jobs VALUES ('a', 1, ?)", (state,))
    (made,) = read_jobs(store)
    assert made.refused
