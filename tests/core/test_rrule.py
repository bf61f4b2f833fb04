"""Recurrence rules by example: those of RFC 5545, and the corners that its examples leave out."""

from __future__ import annotations

import pytest

from mainspring.core import calendars, instants
from mainspring.core import rrule as module
from mainspring.core.calendars import Calendar, dates_calendar
from mainspring.core.dates import DAY_SECONDS, NEVER, day_of, format_wall, read_wall
from mainspring.core.rrule import RRuleWalls
from mainspring.core.rrule_reading import read_rrule
from mainspring.core.rule_building import any_of, cron, every, in_calendar
from tests.support.occurring import NY, due, instant, upcoming
from tests.support.occurring import bound as bound_rule


def walls(text: str, start: str = "1997-09-02T09:00") -> RRuleWalls:
    begin = read_wall(start)
    assert begin is not None
    return RRuleWalls(read_rrule(text, begin), exists=lambda wall: True)


def first(text: str, most: int, start: str = "1997-09-02T09:00") -> list[str]:
    found, wall = walls(text, start), -NEVER
    seen = []
    for _ in range(most):
        wall = found.next(wall + 1)
        seen.append(format_wall(wall)[:16])
    back = [found.previous(wall)]
    while len(back) < most:
        back.append(found.previous(back[-1] - 1))
    assert [format_wall(each)[:16] for each in back[::-1]] == seen
    return seen


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["1998-05-11", "1999-05-17", "2000-05-15"]),
        ("FREQ=YEARLY;BYWEEKNO=-1;BYDAY=SU", ["1997-12-28", "1999-01-03", "2000-01-02"]),
        ("FREQ=YEARLY;BYYEARDAY=1,100,-1", ["1997-12-31", "1998-01-01", "1998-04-10"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["1998-05-18", "1999-05-17", "2000-05-15"]),
        ("FREQ=MONTHLY;BYDAY=-2MO", ["1997-09-22", "1997-10-20", "1997-11-17"]),
        ("FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3", ["1997-09-04", "1997-10-07", "1997-11-06"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", ["1997-09-29", "1997-10-30", "1997-11-27"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", ["1997-09-28", "1997-10-29", "1997-11-28"]),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU", ["1997-09-02", "1997-09-14", "1997-09-16"]),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=MO;BYDAY=TU,SU", ["1997-09-02", "1997-09-07", "1997-09-16"]),
        ("FREQ=YEARLY", ["1997-09-02", "1998-09-02", "1999-09-02"]),
        ("FREQ=MONTHLY", ["1997-09-02", "1997-10-02", "1997-11-02"]),
        ("FREQ=WEEKLY", ["1997-09-02", "1997-09-09", "1997-09-16"]),
        ("FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", ["1997-11-04", "2001-11-06", "2005-11-08"]),
    ],
)
def test_the_days_of_a_rule(text: str, wanted: list[str]) -> None:
    assert first(text, 3) == [f"{day}T09:00" for day in wanted]


def test_positions_count_within_the_period_whatever_its_size() -> None:
    assert first("FREQ=HOURLY;BYMINUTE=10,20,30;BYSETPOS=-1", 2) == ["1997-09-02T09:30", "1997-09-02T10:30"]
    assert first("FREQ=DAILY;BYHOUR=8,20;BYMINUTE=15,45;BYSETPOS=2,-1", 3, "1997-09-02T00:00") == [
        "1997-09-02T08:45", "1997-09-02T20:45", "1997-09-03T08:45",
    ]  # fmt: skip
    assert first("FREQ=WEEKLY;BYDAY=MO,TH;BYSETPOS=1", 2, "1997-09-04T09:00") == ["1997-09-08T09:00", "1997-09-15T09:00"]


def test_a_first_week_whose_picked_day_is_before_the_start_has_none() -> None:
    found = walls("FREQ=WEEKLY;BYDAY=MO,TH;BYSETPOS=1", "1997-09-04T09:00")
    assert found.previous(found.next(-NEVER) - 1) == -NEVER


def test_short_periods_go_on_over_days() -> None:
    assert first("FREQ=MINUTELY;INTERVAL=90", 3)[1:] == ["1997-09-02T10:30", "1997-09-02T12:00"]
    assert first("FREQ=SECONDLY;INTERVAL=3600;BYHOUR=9", 2) == ["1997-09-02T09:00", "1997-09-03T09:00"]
    assert first("FREQ=MINUTELY;BYHOUR=23;BYMINUTE=59;BYDAY=FR", 2) == ["1997-09-05T23:59", "1997-09-12T23:59"]


def test_a_rule_ends_with_the_table_and_begins_with_its_start() -> None:
    found = walls("FREQ=DAILY")
    assert format_wall(found.previous(NEVER)) == "2199-12-31T09:00:00"
    assert found.next(NEVER) == NEVER
    assert found.previous(-NEVER) == -NEVER
    early = walls("FREQ=YEARLY", "1900-01-01T09:00")
    assert early.previous(read_wall("1900-01-01T08:59") or 0) == -NEVER
    rare = walls("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "1900-01-01T09:00")
    assert rare.previous(read_wall("1903-01-01T00:00") or 0) == -NEVER
    late = walls("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "2197-01-01T09:00")
    assert late.next(0) == NEVER
    assert walls("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=3").next(0) == NEVER


def test_every_search_gives_up_after_so_many_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (module, calendars, instants):
        monkeypatch.setattr(each, "MOST_CANDIDATES", 2)
    nothing = walls("FREQ=DAILY;BYHOUR=2;BYSETPOS=2")
    assert nothing.next(0) == NEVER
    assert nothing.previous(read_wall("2026-01-01T00:00") or 0) == -NEVER
    monday = Calendar(name="c", added=frozenset([day_of(2026, 6, 1)]))
    held = calendars.Held(walls("FREQ=DAILY"), calendars.Bounds(only=(monday,)))
    assert held.next(day_of(2026, 1, 1) * DAY_SECONDS) == NEVER
    assert held.previous(day_of(2026, 12, 1) * DAY_SECONDS) == -NEVER
    table = bound_rule(any_of(every("1h", anchor="2026-01-01T00:00Z"), only=["2026-06-01"], tz=NY))
    assert table.after(instant("2026-01-01T00:00Z")) is None
    assert table.before(instant("2026-12-01T00:00Z")) is None


def test_rolled_dates_go_both_ways_to_the_ends_of_a_rule() -> None:
    closed = dates_calendar([day_of(2026, 6, 1), day_of(2026, 6, 2)])
    rule = any_of(cron("0 0 9 1 6 ? 2026", tz="UTC", dialect="quartz"), except_=[in_calendar("closed")], roll="next")
    assert due(rule, "2020-01-01T00:00Z", "2060-01-01T00:00Z", calendars={"closed": closed}) == ["2026-06-03T09:00Z"]
    never = any_of(cron("0 0 9 1 6 ? 2026", tz="UTC", dialect="quartz"), only=[in_calendar("closed")], roll="next")
    assert due(never, "2026-06-02T00:00Z", "2060-01-01T00:00Z", calendars={"closed": dates_calendar([1])}) == []


def test_an_inner_set_says_the_zone_of_its_instants_for_those_around_it() -> None:
    inner = any_of(every("12h", anchor="2026-01-01T00:00Z"), cron("0 6 * * *", tz="UTC"), tz="Asia/Tokyo")
    rule = any_of(inner, except_=["2026-01-02"])
    assert upcoming(rule, "2026-01-01T06:00Z", 4) == [
        "2026-01-01T06:00Z", "2026-01-01T12:00Z", "2026-01-03T00:00Z", "2026-01-03T06:00Z",
    ]  # fmt: skip
