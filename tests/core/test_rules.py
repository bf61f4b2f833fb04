"""Rules of every kind: as they are written, what is refused, and when they are due within their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mainspring.core.calendars import Calendar, Hours, dates_calendar
from mainspring.core.dates import day_of
from mainspring.core.rule_building import after, any_of, cron, every, in_calendar, on_calendar, once, rrule
from mainspring.core.rule_reading import read_rule
from mainspring.core.rules import After, CronRule, Dates, Interval, Once, Rule, RuleSet, as_data, calendars, timezones
from mainspring.errors import NeverDue, RuleInvalid
from mainspring.zones import zone
from tests.support.occurring import BERLIN, NY, around, bound, due, instant, upcoming

WORKDAYS = Calendar(name="workdays", hours=tuple(Hours(weekday=day) for day in range(5)))
OFFICE = Calendar(name="office", hours=tuple(Hours(weekday=day, since=9 * 3600, until=17 * 3600) for day in range(5)))
CHRISTMAS = dates_calendar([day_of(2026, 12, 24), day_of(2026, 12, 25), day_of(2026, 12, 26)], "christmas")
CALENDARS = {each.name: each for each in (WORKDAYS, OFFICE, CHRISTMAS)}


def problems(data: object, **asked: Any) -> dict[str, str]:
    """Path and sentence of everything that is wrong."""
    with pytest.raises(RuleInvalid) as refused:
        read_rule(data, **asked)
    return {each["path"]: each["message"] for each in refused.value.errors}


# --- bounds, intervals, once ------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 24)
@pytest.mark.parametrize(
    "rule",
    [
        cron("0 0 30 2 *", tz=NY),
        cron("0 0 31 4,6,9,11 *", tz="UTC"),
        rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", start="2026-01-01T00:00", tz=NY),
        rrule("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", start="2026-01-01T00:00", tz=NY),
        rrule("FREQ=HOURLY;INTERVAL=24;BYHOUR=5", start="2026-01-01T03:00", tz=NY),
        rrule("FREQ=DAILY;BYHOUR=2;BYSETPOS=2", start="2026-01-01T00:00", tz=NY),
        any_of(cron("* * * * *", tz=NY), only=["1999-01-01"]),
        any_of(cron("0 0 1 * *", tz=NY), only=[in_calendar("christmas")], roll="next"),
        any_of(every("1h", anchor="2026-01-01T00:00Z"), only=["1999-01-01"], tz=NY),
        any_of(cron("0 0 1 1 *", tz=NY), except_=[cron("0 0 1 * *", tz=NY)]),
        on_calendar("christmas", at="00:00", tz=NY, pick=9, of="year"),
    ],
)  # fmt: skip
def test_a_rule_that_is_never_due_is_refused_and_holds_up_nobody(rule: Rule) -> None:
    calendars = {**CALENDARS, "christmas": dates_calendar([day_of(1999, 12, 25)])}
    table = bound(rule, calendars=calendars)
    with pytest.raises(NeverDue, match="no instant of the next 50 years"):
        table.check_due(instant("2026-01-01T00:00Z"))
    assert table.before(instant("1990-01-01T00:00Z")) is None


def test_what_is_rare_is_not_never() -> None:
    assert upcoming(cron("0 0 ? 2 1#5", tz="UTC"), "2026-01-01T00:00Z", 1) == ["2044-02-29T00:00Z"]


@pytest.mark.case("schedules", 24)
def test_a_rule_all_of_whose_instants_are_taken_away_gives_up_after_a_bounded_search() -> None:
    table = bound(any_of(cron("* * * * * *", tz="UTC", dialect="cron6"), except_=[every("1s", anchor="2026-01-01T00:00Z")]))
    assert table.after(instant("2026-01-01T00:00Z")) is None
    assert table.before(instant("2026-01-01T00:00Z")) is None


@pytest.mark.case("schedules", 26)
def test_an_interval_stays_on_its_grid_whatever_its_bounds() -> None:
    rule = every("90m", anchor="2026-01-01T00:00Z")
    assert due(rule, "2026-01-01T00:00Z", "2026-01-02T00:00Z", start_at="2026-01-01T01:00Z", end_at="2026-01-01T04:30Z") == [
        "2026-01-01T01:30Z", "2026-01-01T03:00Z", "2026-01-01T04:30Z",
    ]  # fmt: skip


@pytest.mark.case("schedules", 26)
@pytest.mark.parametrize(
    "rule",
    [
        cron("0 * * * *", tz="UTC"),
        cron("*:00", tz="UTC", dialect="systemd"),
        every("1h", anchor="2020-01-01T00:00Z"),
        once(*(f"2026-01-01T{hour:02}:00Z" for hour in range(24))),
        once(*(f"2026-01-01T{hour:02}:00" for hour in range(24)), tz="UTC"),
        rrule("FREQ=HOURLY", start="2020-01-01T00:00", tz="UTC"),
        on_calendar("workdays", at=[f"{hour:02}:00" for hour in range(24)], tz="UTC"),
        any_of(cron("0 0-11 * * *", tz="UTC"), every("1h", anchor="2020-01-01T00:00Z")),
    ],
)
def test_start_and_end_bound_every_kind_of_rule_and_are_included(rule: Rule) -> None:
    bounds = {"start_at": "2026-01-01T03:00Z", "end_at": "2026-01-01T06:00Z", "calendars": CALENDARS}
    assert due(rule, "2026-01-01T00:00Z", "2026-01-02T00:00Z", **bounds) == [f"2026-01-01T{hour:02}:00Z" for hour in (3, 4, 5, 6)]


@pytest.mark.case("schedules", 27)
def test_an_interval_without_anchor_counts_from_its_creation_and_is_not_due_at_it() -> None:
    rule = every("1d")
    assert upcoming(rule, "2020-01-01T00:00Z", 2, created="2026-01-01T10:00Z") == ["2026-01-02T10:00Z", "2026-01-03T10:00Z"]
    assert bound(rule, created="2026-01-01T10:00Z").before(instant("2026-01-02T10:00Z")) is None
    assert upcoming(rule, "2026-01-02T09:59Z", 1, created="2026-01-01T10:00Z") == ["2026-01-02T10:00Z"], "whenever it is asked"


def test_an_interval_without_anchor_counts_from_its_start_and_is_due_at_it() -> None:
    assert upcoming(every("1d"), "2020-01-01T00:00Z", 2, start_at="2026-01-01T10:00Z") == ["2026-01-01T10:00Z", "2026-01-02T10:00Z"]


def test_an_interval_goes_back_before_its_anchor() -> None:
    rule = every("7h", anchor="2026-01-01T00:00Z")
    assert due(rule, "2025-12-31T12:00Z", "2026-01-01T07:00Z") == ["2025-12-31T17:00Z", "2026-01-01T00:00Z", "2026-01-01T07:00Z"]


@pytest.mark.case("schedules", 28)
def test_a_once_in_the_past_is_refused_and_a_spent_one_is_due_no_more() -> None:
    table = bound(once("2026-01-01T00:00Z"))
    table.check_due(instant("2026-01-01T00:00Z"))
    with pytest.raises(NeverDue):
        table.check_due(instant("2026-01-01T00:00:01Z"))
    assert table.after(instant("2026-01-01T00:00Z")) is None
    assert table.before(instant("2026-01-02T00:00Z")) == instant("2026-01-01T00:00Z")


def test_once_may_be_many_instants_and_local_times() -> None:
    rule = once("2026-01-01T12:00Z", "2026-01-01T12:00+01:00", "2026-01-01T07:00", tz=NY)
    assert due(rule, "2026-01-01T00:00Z", "2026-01-02T00:00Z") == ["2026-01-01T11:00Z", "2026-01-01T12:00Z"]
    assert upcoming(once(datetime(2026, 1, 1, 12, tzinfo=UTC)), "2026-01-01T00:00Z") == ["2026-01-01T12:00Z"]
    assert upcoming(once(datetime(2026, 7, 1, 12), tz=BERLIN), "2026-01-01T00:00Z") == ["2026-07-01T10:00Z"]  # noqa: DTZ001


def test_a_local_once_is_fixed_at_a_clock_change_unless_told_otherwise() -> None:
    assert upcoming(once("2026-03-08T02:30", tz=NY), "2026-03-08T00:00Z") == ["2026-03-08T07:00Z"]
    assert upcoming(once("2026-11-01T01:30", tz=NY, dst={"overlap": "both"}), "2026-11-01T00:00Z") == [
        "2026-11-01T05:30Z",
        "2026-11-01T06:30Z",
    ]


def test_after_is_due_so_long_after_the_end_of_the_previous_run() -> None:
    rule = after("10m")
    assert upcoming(rule, "2026-01-01T00:00Z", created="2026-01-01T00:00Z") == ["2026-01-01T00:00Z"]
    assert upcoming(rule, "2026-01-01T00:00Z", created="2026-01-01T00:00Z", start_at="2026-01-02T00:00Z") == ["2026-01-02T00:00Z"]
    assert upcoming(rule, "2026-01-01T00:00Z", ended_at="2026-01-01T00:07Z") == ["2026-01-01T00:17Z"]


def test_instants_between_two_leave_out_the_first_and_take_the_last() -> None:
    table = bound(every("1h", anchor="2026-01-01T00:00Z"))
    first, last = instant("2026-01-01T00:00Z"), instant("2026-01-01T02:00Z")
    assert list(table.between(first, last)) == [instant("2026-01-01T01:00Z"), last]
    assert len(list(table.between(first, last, most=1))) == 1
    assert table.is_due(first)
    assert not table.is_due(first + 1)


def test_what_is_due_more_often_than_allowed_is_refused_with_the_bound() -> None:
    now = instant("2026-01-01T00:00Z")
    bound(cron("* * * * * *", tz="UTC", dialect="cron6")).check_often(now)
    with pytest.raises(RuleInvalid, match="250ms apart, and MIN_INTERVAL is 1s"):
        bound(any_of(every("1h", anchor="2026-01-01T00:00Z"), once("2026-01-01T05:00:00.25Z"))).check_often(now)
    with pytest.raises(RuleInvalid, match="1m apart, and MIN_INTERVAL is 5m"):
        bound(cron("0,1 3 * * *", tz="UTC")).check_often(now, least=300_000_000)
    bound(once("2026-01-01T05:00Z")).check_often(now)


# --- calendars and sets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (
            on_calendar("workdays", at="09:00", tz=NY, pick=-1, of="month"),
            ["2026-01-30T14:00Z", "2026-02-27T14:00Z", "2026-03-31T13:00Z"],
        ),
        (
            on_calendar("workdays", at="09:00", tz="UTC", pick=[1, -1], of="week"),
            ["2026-01-02T09:00Z", "2026-01-05T09:00Z", "2026-01-09T09:00Z"],
        ),
        (
            on_calendar("workdays", at="09:00", tz="UTC", pick=2, of="quarter"),
            ["2026-01-02T09:00Z", "2026-04-02T09:00Z", "2026-07-02T09:00Z"],
        ),
        (
            on_calendar("workdays", at="09:00", tz="UTC", pick=1, of="year"),
            ["2026-01-01T09:00Z", "2027-01-01T09:00Z", "2028-01-03T09:00Z"],
        ),
        (
            on_calendar("christmas", at=["18:00", "08:30"], tz="UTC"),
            ["2026-12-24T08:30Z", "2026-12-24T18:00Z", "2026-12-25T08:30Z"],
        ),
        (on_calendar("workdays", at="02:30", tz=NY, pick=-30, of="month"), []),
    ],
)  # fmt: skip
def test_a_calendar_rule_is_due_on_the_days_that_it_picks(rule: Rule, wanted: list[str]) -> None:
    assert upcoming(rule, "2026-01-01T00:00Z", calendars=CALENDARS) == wanted
    if wanted:
        assert due(rule, "2026-01-01T00:00Z", wanted[-1], calendars=CALENDARS) == wanted


def test_a_set_is_due_when_any_is_and_an_instant_is_due_once() -> None:
    rule = any_of(cron("0 */2 * * *", tz="UTC"), every("3h", anchor="2026-01-01T00:00Z"))
    assert [at[11:13] for at in due(rule, "2026-01-01T00:00Z", "2026-01-01T09:00Z")] == ["00", "02", "03", "04", "06", "08", "09"]


def test_a_set_leaves_out_the_instants_of_rules_and_the_dates_of_calendars() -> None:
    rule = any_of(
        cron("0 9,17 * * *", tz=BERLIN), except_=[cron("0 17 * * FRI", tz=BERLIN), in_calendar("christmas"), date(2026, 12, 28)]
    )
    assert due(rule, "2026-12-23T00:00Z", "2026-12-29T23:00Z", calendars=CALENDARS) == [
        "2026-12-23T08:00Z", "2026-12-23T16:00Z", "2026-12-27T08:00Z",
        "2026-12-27T16:00Z", "2026-12-29T08:00Z", "2026-12-29T16:00Z",
    ]  # fmt: skip


def test_hours_of_a_calendar_hold_the_times_of_a_rule() -> None:
    rule = any_of(cron("30 * * * *", tz=BERLIN), only=[in_calendar("office")])
    friday = due(rule, "2026-01-02T00:00Z", "2026-01-05T08:30Z", calendars=CALENDARS)
    assert [at[:13] for at in friday] == [*(f"2026-01-02T{hour:02}" for hour in range(8, 16)), "2026-01-05T08"]
    outside = any_of(cron("30 * * * *", tz=BERLIN), except_=[in_calendar("office")])
    assert [at[11:13] for at in due(outside, "2026-01-02T05:00Z", "2026-01-02T18:00Z", calendars=CALENDARS)] == [
        "05",
        "06",
        "07",
        "16",
        "17",
    ]


def test_within_several_calendars_means_within_each() -> None:
    rule = any_of(cron("0 12 * * *", tz="UTC"), only=[in_calendar("workdays"), in_calendar("christmas")])
    assert due(rule, "2026-12-01T00:00Z", "2027-01-31T00:00Z", calendars=CALENDARS) == ["2026-12-24T12:00Z", "2026-12-25T12:00Z"]


def test_a_day_taken_out_of_a_calendar_is_out_whatever_else_says_so() -> None:
    day = day_of(2026, 1, 5)
    calendar = Calendar(name="c", hours=WORKDAYS.hours, added=frozenset([day]), removed=frozenset([day]))
    assert not calendar.has_day(day)
    assert calendar.has_day(day + 1)


@pytest.mark.parametrize(
    ("roll", "wanted"),
    [
        ("none", ["2026-11-23", "2026-11-27"]),
        ("next", ["2026-11-23", "2026-11-27", "2026-11-30"]),
        ("previous", ["2026-11-20", "2026-11-23", "2026-11-27"]),
        ("nearest", ["2026-11-20", "2026-11-23", "2026-11-27", "2026-11-30"]),
    ],
)
def test_a_removed_date_rolls_to_an_allowed_one_at_the_same_wall_time(roll: str, wanted: list[str]) -> None:
    rule = any_of(cron("30 9 21,23,27,29 11 *", tz=NY), only=[in_calendar("workdays")], roll=roll)
    found = due(rule, "2026-11-01T00:00Z", "2026-12-31T00:00Z", calendars=CALENDARS)
    assert found == [f"{day}T14:30Z" for day in wanted]


def test_of_two_dates_equally_near_the_later_one_is_taken() -> None:
    rule = any_of(cron("0 9 18 11 *", tz="UTC"), except_=["2026-11-18"], roll="nearest")
    assert due(rule, "2026-11-01T00:00Z", "2026-12-01T00:00Z") == ["2026-11-19T09:00Z"]


def test_a_date_rolls_no_further_than_31_days() -> None:
    closed = dates_calendar(range(day_of(2026, 3, 1), day_of(2026, 4, 2)))
    rule = any_of(cron("0 9 * 3 *", tz="UTC"), except_=[in_calendar("closed")], roll="next")
    assert due(rule, "2026-02-01T00:00Z", "2026-05-01T00:00Z", calendars={"closed": closed}) == ["2026-04-02T09:00Z"]
    first = any_of(cron("0 9 1 3 *", tz="UTC"), except_=[in_calendar("closed")], roll="next")
    assert due(first, "2026-02-01T00:00Z", "2026-05-01T00:00Z", calendars={"closed": closed}) == []
    back = any_of(cron("0 9 31 3 *", tz="UTC"), except_=[in_calendar("closed")], roll="previous")
    assert due(back, "2026-02-01T00:00Z", "2026-05-01T00:00Z", calendars={"closed": closed}) == ["2026-02-28T09:00Z"]


def test_dates_are_compared_as_written_before_a_clock_change_is_resolved() -> None:
    """Apia wrote no 30th of December 2011; what was written for it falls on the 31st of the wall, and is still the 30th's."""
    rule = any_of(cron("0 12 * * *", tz="Pacific/Apia"), except_=["2011-12-30"])
    assert due(rule, "2011-12-29T12:00Z", "2011-12-31T12:00Z") == ["2011-12-29T22:00Z", "2011-12-30T22:00Z"]
    other = any_of(cron("0 12 * * *", tz="Pacific/Apia"), except_=["2011-12-31"])
    assert due(other, "2011-12-29T12:00Z", "2011-12-31T12:00Z") == ["2011-12-29T22:00Z", "2011-12-30T10:00Z"]


def test_dates_of_intervals_are_those_of_the_zone_of_the_set() -> None:
    rule = any_of(every("6h", anchor="2026-01-01T00:00Z"), except_=["2026-01-02"], tz=NY)
    assert due(rule, "2026-01-01T18:00Z", "2026-01-03T06:00Z") == ["2026-01-01T18:00Z", "2026-01-02T00:00Z", "2026-01-03T06:00Z"]
    (fire,) = bound(rule).preview(instant("2026-01-03T00:00Z"), 1)
    assert fire.notes == (("2026-01-03T01:00:00", "-05:00", NY, ""),)


def test_dates_of_intervals_are_right_about_a_clock_change_at_midnight() -> None:
    """In Azores the clock goes back at one o'clock to midnight: the 25th has a second first hour, and the 24th none of it."""
    rule = any_of(every("30m", anchor="2026-01-01T00:00Z"), only=["2026-10-24"], tz="Atlantic/Azores")
    found = due(rule, "2026-10-23T00:00Z", "2026-10-26T00:00Z")
    assert (found[0], found[-1], len(found)) == ("2026-10-24T00:00Z", "2026-10-24T23:30Z", 48)
    nuuk = any_of(every("30m", anchor="2026-01-01T00:00Z"), only=["2026-10-24"], tz="America/Nuuk")
    found = due(nuuk, "2026-10-23T00:00Z", "2026-10-26T00:00Z")
    assert (found[0], found[-1], len(found)) == ("2026-10-24T01:00Z", "2026-10-25T01:30Z", 50)


def test_sets_within_sets_are_held_by_all_around_them() -> None:
    inner = any_of(cron("0 9 * * *", tz="UTC"), once("2026-12-27T12:00Z"), except_=["2026-12-23"], tz="UTC")
    rule = any_of(inner, every("12h", anchor="2026-12-22T00:00Z"), except_=[in_calendar("christmas")], tz=NY)
    assert due(rule, "2026-12-22T06:00Z", "2026-12-27T23:00Z", calendars=CALENDARS) == [
        "2026-12-22T09:00Z", "2026-12-22T12:00Z", "2026-12-23T00:00Z", "2026-12-23T12:00Z", "2026-12-24T00:00Z",
        "2026-12-27T09:00Z", "2026-12-27T12:00Z",
    ]  # fmt: skip


# --- recurrences ------------------------------------------------------------------------------------------------------


def test_a_recurrence_may_add_and_leave_out_local_times() -> None:
    text = "RRULE:FREQ=DAILY;UNTIL=20260105T090000\nRDATE:20260110T120000\nEXDATE:20260102T090000,20260104T090000"
    rule = rrule(text, start="2026-01-01T09:00", tz=NY)
    assert due(rule, "2026-01-01T00:00Z", "2026-02-01T00:00Z") == [
        "2026-01-01T14:00Z", "2026-01-03T14:00Z", "2026-01-05T14:00Z", "2026-01-10T17:00Z",
    ]  # fmt: skip
    until = rrule("FREQ=DAILY;UNTIL=20260102T140000Z", start="2026-01-01T09:00", tz=NY)
    assert due(until, "2026-01-01T00:00Z", "2026-02-01T00:00Z") == ["2026-01-01T14:00Z", "2026-01-02T14:00Z"]


def test_a_count_larger_than_what_there_is_ends_nothing() -> None:
    rule = rrule("FREQ=YEARLY;COUNT=10000", start="2026-01-01T09:00", tz="UTC")
    assert len(due(rule, "2026-01-01T00:00Z", "2036-01-01T00:00Z")) == 10


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "is text, such as"),
        (None, "is text, such as"),
        ("FREQ=DAILY;" + "X" * 17_000, "at most 16,384 characters"),
        ("RRULE:FREQ=DAILY RRULE:FREQ=DAILY", "2 rules in one text"),
        ("RDATE:20260101T000000", "0 rules in one text"),
        ("DTSTART:20260101T000000 RRULE:FREQ=DAILY", "the start as dtstart"),
        ("INTERVAL=2", "FREQ is missing"),
        ("FREQ=OFTEN", "write YEARLY, MONTHLY"),
        ("FREQ=DAILY;FREQ=DAILY", "there twice"),
        ("FREQ=DAILY;BYEASTER=1", "is no part of a rule"),
        ("FREQ=DAILY;INTERVAL=0", "from 1 to 100000"),
        ("FREQ=DAILY;COUNT=10001", "from 1 to 10000"),
        ("FREQ=DAILY;COUNT=x", "from 1 to 10000"),
        ("FREQ=DAILY;COUNT=1;UNTIL=20260101T000000", "two ways to end"),
        ("FREQ=DAILY;UNTIL=20260101", "write it as 20260307T023000"),
        ("FREQ=DAILY;UNTIL=20261341T000000", "write it as 20260307T023000"),
        ("FREQ=DAILY;BYHOUR=24", "from 0 to 23"),
        ("FREQ=DAILY;BYMONTHDAY=0", "or -1 to -31 from the end"),
        ("FREQ=MONTHLY;BYDAY=FRIDAY", "write MO TU"),
        ("FREQ=MONTHLY;BYDAY=0FR", "write MO TU"),
        ("FREQ=MONTHLY;BYDAY=54FR", "write MO TU"),
        ("FREQ=DAILY;WKST=X", "WKST 'X' is no weekday"),
        ("FREQ=DAILY;BYDAY=1FR", "needs FREQ=MONTHLY or YEARLY"),
        ("FREQ=YEARLY;BYDAY=1FR;BYWEEKNO=1", "does not go with BYWEEKNO"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "needs FREQ=YEARLY"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "write FREQ=YEARLY"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "write FREQ=MONTHLY"),
        ("FREQ=DAILY;BYSETPOS=1", "picks from other BY parts"),
        ("FREQ=DAILY\nRDATE:20260101T000000Z", "without the Z"),
        ("FREQ=DAILY\nRDATE:soon", "write it as 20260307T023000"),
        ("FREQ=DAILY\nEXDATE:" + ",".join(["20260101T000000"] * 367), "366 is the most"),
    ],
)
def test_what_is_no_recurrence_is_refused_with_what_to_write_instead(text: Any, advice: str) -> None:
    found = problems({"rrule": text, "dtstart": "2026-01-01T00:00", "timezone": "UTC"})
    assert advice in found["rule.rrule"]


# --- as they are written ----------------------------------------------------------------------------------------------

FOUR_HUNDRED_DATES = [f"20{year}-0{month}-01" for year in range(20, 90) for month in range(1, 7)]
WRITTEN: list[dict[str, Any]] = [
    {"cron": "30 2 * * *", "timezone": BERLIN},
    {"cron": "0 30 2 ? * MON", "timezone": BERLIN, "dialect": "quartz", "dst": {"gap": "shift", "overlap": "second"}},
    {"cron": "30 2 * * *", "timezone": BERLIN, "dst": {"gap": "skip"}},
    {"every": "5m"},
    {"every": "1h30m", "anchor": "2026-01-01T00:00:00Z"},
    {"after": "10m"},
    {"at": "2026-12-31T23:00:00Z"},
    {"at": ["2026-12-31T23:00:00Z", "2026-12-31T23:00:00.5Z", "2026-01-01T07:00:00"], "timezone": NY},
    {"rrule": "FREQ=DAILY;COUNT=3", "dtstart": "2026-03-07T02:30:00", "timezone": NY, "dst": {"overlap": "both"}},
    {"calendar": "workdays", "at": "09:00", "timezone": NY},
    {"calendar": "workdays", "at": ["09:00", "17:30:15"], "timezone": NY, "pick": -1, "of": "month"},
    {"calendar": "workdays", "at": "09:00", "timezone": NY, "pick": [1, 2], "of": "week"},
    {"any": [{"every": "5m"}, {"at": "2026-12-31T23:00:00Z"}], "except": [{"every": "1h"}, {"calendar": "c"}, "2026-12-24"],
     "timezone": NY},
    {"any": [{"cron": "30 2 * * *", "timezone": BERLIN}], "only": [{"calendar": "c"}], "roll": "next"},
]  # fmt: skip


@pytest.mark.parametrize("data", WRITTEN, ids=lambda data: next(iter(data)))
def test_a_rule_that_is_written_and_read_again_is_the_same(data: Mapping[str, Any]) -> None:
    rule = read_rule(data)
    assert as_data(rule) == data
    assert read_rule(as_data(rule)) == rule


def test_a_rule_with_exceptions_beside_it_is_a_set_of_one() -> None:
    beside = read_rule({"cron": "30 2 * * *", "timezone": BERLIN, "except": [{"calendar": "de-holidays"}]})
    plain = CronRule(cron="30 2 * * *", timezone=BERLIN)
    assert beside == RuleSet(any=(plain,), except_dates=Dates(calendars=("de-holidays",)))
    assert read_rule({"every": "5m", "timezone": NY, "except": ["2026-12-24"]}) == RuleSet(
        any=(Interval(every_us=300_000_000),), except_dates=Dates(days=(day_of(2026, 12, 24),)), timezone=NY
    )


def test_presets_for_elapsed_time_are_rules_of_their_own() -> None:
    assert read_rule({"cron": "@every 5m"}) == Interval(every_us=300_000_000)
    assert read_rule({"cron": "@continuous"}) == After(after_us=1_000_000)
    assert "write 1s to" in problems({"cron": "@every 5ms"})["rule.cron"]


def test_what_zones_and_calendars_a_rule_names_can_be_asked() -> None:
    rule = any_of(
        cron("0 0 * * *", tz=NY), every("1h"), once("2026-01-01T00:00Z"), on_calendar("workdays", at="09:00", tz=BERLIN),
        rrule("FREQ=DAILY", start="2026-01-01T00:00", tz="UTC"), except_=[in_calendar("christmas")], tz="Asia/Tokyo",
    )  # fmt: skip
    assert timezones(rule) == {NY, BERLIN, "UTC", "Asia/Tokyo"}
    assert calendars(rule) == {"workdays", "christmas"}
    assert timezones(after("1m")) == calendars(after("1m")) == set()


def test_everything_that_is_wrong_is_told_at_once_with_its_path() -> None:
    found = problems(
        {
            "any": [
                {"cron": "61 * * * *", "timezone": "Local", "dialect": "cron9", "dst": {"gap": "later"}},
                {"every": "5ms", "anchor": "2026-01-01T00:00", "jitter": 5},
                {"at": ["2026-01-01", "2026-01-01T00:00"]},
                {"calendar": "no such thing!", "at": "25:00", "pick": 0},
                "daily",
                {},
                {"cron": "* * * * *", "every": "5m"},
                {"any": []},
            ],
            "except": ["2026-02-30", {"calendar": ""}, 5],
            "only": [{"every": "5m"}],
            "roll": "sideways",
        }
    )
    assert set(found) == {
        "rule.any[0].cron", "rule.any[0].timezone", "rule.any[0].dialect", "rule.any[0].dst.gap",
        "rule.any[1].every", "rule.any[1].anchor", "rule.any[1].jitter",
        "rule.any[2].at[0]", "rule.any[2].timezone",
        "rule.any[3].calendar", "rule.any[3].at", "rule.any[3].timezone", "rule.any[3].pick", "rule.any[3]",
        "rule.any[4]", "rule.any[5]", "rule.any[6]", "rule.any[7].any",
        "rule.except[0]", "rule.except[1].calendar", "rule.except[2]", "rule.only[0]", "rule.roll",
    }  # fmt: skip
    assert "write a rule, a calendar" not in found["rule.only[0]"]


@pytest.mark.parametrize(
    ("data", "path", "advice"),
    [
        ({"cron": "* * * * *", "timezone": "UTC", "dst": "never"}, "rule.dst", 'write {"gap"'),
        ({"cron": "* * * * *", "timezone": "UTC", "dst": {"gaps": "skip"}}, "rule.dst", 'write {"gap"'),
        ({"every": "11y"}, "rule.every", "write"),
        ({"every": "4000d"}, "rule.every", "ten years is the most"),
        ({"every": True}, "rule.every", "write"),
        ({"every": "5m", "timezone": NY}, "rule.timezone", "there is no timezone in this rule"),
        ({"at": []}, "rule.at", "write 1 to 1,000 instants"),
        ({"at": ["2026-01-01T00:00Z"] * 1001}, "rule.at", "write 1 to 1,000 instants"),
        ({"at": "0001-01-01T00:00:00+14:00", "timezone": 5}, "rule.timezone", "is empty"),
        ({"rrule": "FREQ=DAILY", "dtstart": "2026-01-01T00:00Z", "timezone": NY}, "rule.dtstart", "without offset"),
        ({"calendar": "c", "at": ["09:00"] * 101, "timezone": NY}, "rule.at", "up to 100"),
        ({"calendar": "c", "at": "09:00", "timezone": NY, "pick": 1}, "rule", "pick and of go together"),
        ({"calendar": "c", "at": "09:00", "timezone": NY, "pick": [], "of": "month"}, "rule.pick", "1 for the first"),
        ({"any": {"every": "5m"}}, "rule.any", "write [{"),
        ({"every": "5m", "except": "2026-12-24"}, "rule.except", "write a list"),
        ({"every": "5m", "except": FOUR_HUNDRED_DATES, "timezone": NY}, "rule.except", "366 dates"),
        ({"every": "5m", "except": ["2026-12-24"]}, "rule.timezone", "write its timezone beside it"),
        ({"any": [{"after": "5m"}, {"every": "5m"}]}, "rule", "stands alone"),
        ({"after": "5m", "except": ["2026-12-24"]}, "rule", "stands alone"),
        ({"every": "5m", "except": [{"after": "5m"}]}, "rule", "stands alone"),
        ({"every": "5m", "only": ["2026-12-24"], "roll": "next", "timezone": NY}, "rule.roll", "every has none"),
        ({"cron": "* * * * *", "timezone": NY, "roll": "next"}, "rule.roll", "write one of them"),
        ({"any": [{"every": "5m"}] * 33}, "rule.any[31]", "at most 32 rules"),
        ({"any": [{"any": [{"any": [{"any": [{"every": "5m"}]}]}]}]}, "rule.any[0].any[0].any[0].any[0]", "4 deep"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_what_to_write(data: object, path: str, advice: str) -> None:
    assert advice in problems(data)[path]


def test_auto_may_be_written_out() -> None:
    plain = CronRule(cron="* * * * *", timezone="UTC")
    assert read_rule({"cron": "* * * * *", "timezone": "UTC", "dst": "auto"}) == plain
    assert read_rule({"cron": "* * * * *", "timezone": "UTC", "dst": {"gap": "auto", "overlap": "auto"}}) == plain


def test_zones_and_calendars_are_looked_up_where_the_caller_can() -> None:
    known: dict[str, Any] = {"is_zone": lambda name: zone(name) is not None, "is_calendar": CALENDARS.__contains__}
    data = {"calendar": "holidays", "at": "09:00", "timezone": "europe/berlin", "except": [{"calendar": "workdays"}]}
    assert set(problems(data, **known)) == {"rule.calendar", "rule.timezone"}
    read_rule({"calendar": "workdays", "at": "09:00", "timezone": "Europe/Berlin"}, **known)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (cron("* * * * *", tz="Mars/Olympus"), 'no zone "Mars/Olympus"'),
        (on_calendar("gone", at="09:00", tz="UTC"), 'no calendar "gone"'),
        (CronRule(cron="no longer", timezone="UTC"), "2 fields"),
        (RuleSet(any=(Interval(every_us=10**9),), only=Dates(days=(1,))), "write the timezone of the set"),
    ],
)
def test_a_stored_rule_that_no_longer_can_be_is_told_and_not_silent(rule: Rule, told: str) -> None:
    with pytest.raises(RuleInvalid, match=told):
        bound(rule)


def test_many_mistakes_are_told_in_short_and_kept_in_full() -> None:
    with pytest.raises(RuleInvalid, match="and 3 more") as refused:
        read_rule({"any": [5] * 8})
    assert len(refused.value.errors) == 8


def test_an_interval_reads_every_spelling_of_a_span() -> None:
    assert every("1d") == every(86_400) == every(timedelta(days=1)) == every("PT24H") == Interval(every_us=86_400_000_000)
    assert once("2026-01-01T00:00Z") == Once(instants=(instant("2026-01-01T00:00Z"),))


# --- previews ---------------------------------------------------------------------------------------------------------


def test_a_preview_tells_the_local_time_and_what_is_odd_about_it() -> None:
    def told(rule: Rule, since: str) -> tuple[str, str, str]:
        (fire,) = bound(rule).preview(instant(since), 1)
        (note,) = fire.notes
        return note.local, note.offset, note.told

    assert told(cron("30 2 * * *", tz=NY), "2026-03-07T12:00Z") == (
        "2026-03-08T03:00:00", "-04:00", "2026-03-08T02:30:00 does not exist: moved to 2026-03-08T03:00:00",
    )  # fmt: skip
    assert told(cron("30 2 * * *", tz=NY, dst={"gap": "shift"}), "2026-03-07T12:00Z") == (
        "2026-03-08T03:30:00", "-04:00", "2026-03-08T02:30:00 does not exist: moved to 2026-03-08T03:30:00",
    )  # fmt: skip
    twice = cron("30 1 * * *", tz=NY, dst={"overlap": "both"})
    assert told(twice, "2026-11-01T05:00Z") == ("2026-11-01T01:30:00", "-04:00", "exists twice: first")
    assert told(twice, "2026-11-01T05:30Z") == ("2026-11-01T01:30:00", "-05:00", "exists twice: second")
    assert told(cron("0 12 * * *", tz="Asia/Kolkata"), "2026-01-01T00:00Z") == ("2026-01-01T12:00:00", "+05:30", "")
    assert told(cron("0 12 * * *", tz="Africa/Monrovia"), "1971-01-01T00:00Z") == ("1971-01-01T12:00:00", "-00:44:30", "")


def test_a_preview_names_a_few_of_many_times_that_were_moved() -> None:
    rule = cron("0-59 2 * * *", tz=NY)
    (fire,) = bound(rule).preview(instant("2026-03-08T06:59Z"), 1)
    assert fire.notes[0].told.count("does not exist") == 5


def test_a_preview_of_a_set_tells_what_those_say_that_are_due() -> None:
    rule = any_of(
        cron("0 12 * * *", tz=NY),
        cron("0 18 * * *", tz=BERLIN),
        every("1h", anchor="2026-01-01T00:00:00.5Z"),
        except_=[once("2026-01-02T17:00Z")],
    )
    fires = {fire.at: [note.zone for note in fire.notes] for fire in bound(rule).preview(instant("2026-01-01T16:00Z"), 3)}
    assert fires[instant("2026-01-01T17:00Z")] == [NY, BERLIN]
    assert fires[instant("2026-01-01T16:00:00.5Z")] == []
    assert bound(once("2026-01-01T00:00Z")).preview(instant("2025-01-01T00:00Z"), 1)[0].notes == ()


def test_what_clock_changes_skip_can_be_asked_for() -> None:
    rule = any_of(any_of(cron("*/30 2 * * *", tz=NY), every("1d"), except_=[once("2020-01-01T00:00Z")]), cron("30 2 * * *", tz=NY))
    year = (instant("2026-01-01T00:00Z"), instant("2027-01-01T00:00Z"))
    assert [note.local for note in bound(rule).skipped(*year)] == ["2026-03-08T02:00:00", "2026-03-08T02:30:00"]
    assert bound(rule).skipped(*year)[0].told == "does not exist: skipped"
    assert bound(rule, end_at="2026-02-01T00:00Z").skipped(*year) == []


def test_an_instant_with_a_fraction_has_no_note() -> None:
    rule = any_of(cron("* * * * *", tz=NY), once("2026-01-01T00:00:00.5Z"))
    assert bound(rule).preview(instant("2026-01-01T00:00:00.2Z"), 1)[0].notes == ()
    assert around().seed == ""
