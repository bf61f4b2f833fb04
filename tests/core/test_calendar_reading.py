"""Calendars as people write them: every mistake told at once, an equal value back, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mainspring import public_holidays
from mainspring.core.calendar_reading import calendar_data, calendar_from_data, expand, read_calendar
from mainspring.core.calendars import Calendar
from mainspring.core.dates import DAY_SECONDS, read_date
from mainspring.errors import RuleInvalid


def _day(text: str) -> int:
    found = read_date(text)
    assert found is not None
    return found


def _expanded(data: dict[str, Any], others: dict[str, Calendar] | None = None) -> Calendar:
    spec = read_calendar(data)
    assert read_calendar(spec.as_data()) == spec
    made = expand("c", spec, 3, _day("2026-01-01"), _day("2027-01-01"), holidays=public_holidays.days, others=others or {})
    assert calendar_from_data(calendar_data(made)) == made
    return made


def test_office_hours_without_the_holidays_of_a_place_are_what_they_seem() -> None:
    office = _expanded({
        "hours": [{"days": "mon-fri", "from": "09:00", "until": "17:00"}],
        "dates": ["2026-12-05"],
        "without": {"holidays": ["DE-BE"], "dates": ["2026-12-24"]},
    })  # fmt: skip
    nine = 9 * 3600
    assert office.has(_day("2026-12-01") * DAY_SECONDS + nine)
    assert not office.has(_day("2026-12-01") * DAY_SECONDS + nine - 1)
    assert not office.has_day(_day("2026-12-24"))
    assert not office.has_day(_day("2026-12-25"))  # a Friday, and Christmas
    assert office.has_whole(_day("2026-12-05"))
    assert not office.has_day(_day("2026-12-06"))


def test_weekdays_may_go_over_the_end_of_the_week() -> None:
    late = _expanded({"hours": [{"days": "fri-mon, wed", "from": "22:00"}]})
    assert [each.weekday for each in late.hours] == [0, 2, 4, 5, 6]
    assert {each.until for each in late.hours} == {DAY_SECONDS}


def test_of_another_calendar_every_day_is_taken_that_has_any_hour() -> None:
    office = _expanded({"hours": [{"days": "mon", "from": "09:00", "until": "17:00"}]})
    rest = _expanded({"hours": [{"days": "mon-sun"}], "without": {"calendars": ["office"]}}, {"office": office})
    assert not rest.has_day(_day("2026-11-30"))
    assert rest.has_whole(_day("2026-12-01"))


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({}, ["calendar"]),
        ({"without": {"dates": ["2026-12-24"]}}, ["calendar"]),
        ({"days": ["2026-12-24"]}, ["days"]),
        ({"dates": ["2026-02-30", "soon", 7]}, ["dates[0]", "dates[1]", "dates[2]"]),
        ({"dates": "2026-12-24"}, ["dates"]),
        ({"holidays": ["Atlantis", 3, "DE-XX"]}, ["holidays[0]", "holidays[1]", "holidays[2]"]),
        ({"calendars": ["no spaces"]}, ["calendars[0]"]),
        ({"hours": [{"days": "mon-payday"}]}, ["hours[0].days"]),
        ({"hours": [{"days": "mon", "from": "17:00", "until": "09:00"}]}, ["hours[0]"]),
        ({"hours": [{"from": "09:00"}, "mon"]}, ["hours[0]", "hours[1]"]),
        ({"dates": ["2026-12-24"], "without": ["2026-12-24"]}, ["without"]),
        ({"dates": ["2026-12-24"], "without": {"hours": []}}, ["without.hours"]),
    ],
)
def test_everything_that_is_wrong_is_told_at_once(data: dict[str, Any], paths: Sequence[str]) -> None:
    with pytest.raises(RuleInvalid) as refused:
        read_calendar(data, holiday_problem=public_holidays.problem)
    told = [each["path"] for each in refused.value.errors]
    assert [path for path in paths if path not in told] == []


def test_a_calendar_of_too_many_days_is_refused() -> None:
    spec = read_calendar({"dates": ["2026-12-24"], "calendars": ["all"]})
    everyday = _expanded({"hours": [{"days": "mon-sun"}]})
    with pytest.raises(RuleInvalid, match="10000"):
        expand("c", spec, 1, 0, 10_001, holidays=public_holidays.days, others={"all": everyday})
