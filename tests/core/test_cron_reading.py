"""Expressions: what each means, and what is refused with which advice."""

from __future__ import annotations

from datetime import date

import pytest

from mainspring.core.cron import CronWalls, Dialect
from mainspring.core.cron_reading import PRESETS, read_cron
from mainspring.core.cron_words import explained
from mainspring.core.dates import DAY_SECONDS, NEVER, day_of, format_date, format_wall, members
from mainspring.core.problems import Refused
from mainspring.core.rule_building import cron
from mainspring.errors import RuleInvalid
from tests.support.occurring import NY, due, upcoming


def dates(text: str, since: date, until: date, dialect: Dialect = Dialect.CRON5) -> list[str]:
    """The dates, from the first to the last, on which an expression writes a time."""
    walls = CronWalls(read_cron(text, dialect))
    day, end = day_of(since.year, since.month, since.day), day_of(until.year, until.month, until.day)
    found = []
    while (day := walls.next(day * DAY_SECONDS) // DAY_SECONDS) <= end:
        found.append(format_date(day))
        day += 1
    return found


def minutes(text: str) -> list[int]:
    return members(read_cron(f"{text} * * * *").minutes)


def complaint(text: object, dialect: Dialect = Dialect.CRON5) -> str:
    with pytest.raises(Refused) as refused:
        read_cron(text, dialect)
    return " ".join(refused.value.sentences)


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("5", [5]),
        ("5,10,7", [5, 7, 10]),
        ("5-8", [5, 6, 7, 8]),
        ("50-59/4", [50, 54, 58]),
        ("*/20", [0, 20, 40]),
        ("50/3", [50, 53, 56, 59]),
        ("*", list(range(60))),
        ("05", [5]),
        ("*/60", [0]),
    ],
)
def test_a_field_is_lists_ranges_and_steps(text: str, wanted: list[int]) -> None:
    assert minutes(text) == wanted


@pytest.mark.case("schedules", 20)
def test_a_date_and_a_weekday_mean_either_unless_one_starts_with_a_star() -> None:
    june = (date(2026, 6, 1), date(2026, 6, 30))
    assert dates("0 0 13 * 5", *june) == ["2026-06-05", "2026-06-12", "2026-06-13", "2026-06-19", "2026-06-26"]
    assert dates("0 0 */2 * 1", *june) == ["2026-06-01", "2026-06-15", "2026-06-29"]
    assert dates("0 0 13 * */5", date(2026, 6, 1), date(2026, 9, 30)) == ["2026-09-13"], (
        "the 13th, where it is a Sunday or a Friday"
    )


@pytest.mark.case("schedules", 21)
def test_weekdays_are_counted_as_each_dialect_counts_them() -> None:
    week = (date(2026, 6, 1), date(2026, 6, 7))
    assert dates("0 0 * * 7", *week) == dates("0 0 * * 0", *week) == dates("0 0 * * sun", *week) == ["2026-06-07"]
    assert dates("0 0 * * 2", *week) == ["2026-06-02"]
    assert dates("0 0 0 ? * 2", *week, Dialect.QUARTZ) == ["2026-06-01"]
    assert dates("0 0 0 ? * 1", *week, Dialect.QUARTZ) == dates("0 0 0 ? * SUN", *week, Dialect.QUARTZ) == ["2026-06-07"]
    assert dates("0 0 0 ? * L", *week, Dialect.QUARTZ) == ["2026-06-06"]


def test_sunday_ends_a_week_as_well_as_it_begins_one() -> None:
    week = (date(2026, 6, 1), date(2026, 6, 7))
    weekend = ["2026-06-05", "2026-06-06", "2026-06-07"]
    assert dates("0 0 * * FRI-SUN", *week) == dates("0 0 * * 5-7", *week) == weekend
    assert dates("0 0 * * 0-1", *week) == dates("0 0 * * Sun-mon", *week) == ["2026-06-01", "2026-06-07"]


@pytest.mark.case("schedules", 22)
def test_special_days_of_a_month() -> None:
    assert dates("0 0 * * 5#5", date(2026, 10, 1), date(2027, 1, 31)) == ["2026-10-30", "2027-01-29"]
    assert dates("0 0 1W * *", date(2026, 8, 1), date(2026, 8, 31)) == ["2026-08-03"]
    assert dates("0 0 LW * *", date(2026, 10, 1), date(2026, 10, 31)) == ["2026-10-30"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0 0 L 2 *", ["2026-02-28"]),
        ("0 0 L-3 2 *", ["2026-02-25"]),
        ("0 0 L,15 2 *", ["2026-02-15", "2026-02-28"]),
        ("0 0 * 2 5L", ["2026-02-27"]),
        ("0 0 * 2 friL", ["2026-02-27"]),
        ("0 0 * 2 1#1,5#2", ["2026-02-02", "2026-02-13"]),
        ("0 0 14W 2 *", ["2026-02-13"]),
        ("0 0 15W 2 *", ["2026-02-16"]),
        ("0 0 28W 2 *", ["2026-02-27"]),
        ("0 0 31W 5 *", ["2026-05-29"]),
        ("0 0 30W 2 *", []),
        ("0 0 L-30 2 *", []),
        ("0 0 L-2W 2 *", ["2026-02-26"]),
        ("0 0 ? 2 1#1", ["2026-02-02"]),
    ],
)
def test_each_special_form_means_one_day(text: str, wanted: list[str]) -> None:
    assert dates(text, date(2026, 1, 1), date(2026, 12, 31)) == wanted


def test_ranges_go_round_the_end_in_quartz() -> None:
    assert members(read_cron("0 0 22-2 ? * FRI-MON", Dialect.QUARTZ).hours) == [0, 1, 2, 22, 23]
    assert members(read_cron("0 50-10/20 * ? NOV-FEB 1", Dialect.QUARTZ).minutes) == [10, 50]
    assert dates("0 0 0 ? NOV-FEB FRI-MON", date(2026, 11, 1), date(2026, 11, 7), Dialect.QUARTZ) == [
        "2026-11-01", "2026-11-02", "2026-11-06", "2026-11-07",
    ]  # fmt: skip


def test_quartz_may_name_years() -> None:
    assert dates("0 0 12 1 JAN ? 2028-2034/3", date(2026, 1, 1), date(2040, 1, 1), Dialect.QUARTZ) == [
        "2028-01-01", "2031-01-01", "2034-01-01",
    ]  # fmt: skip
    walls = CronWalls(read_cron("0 0 12 1 JAN ? 2028", Dialect.QUARTZ))
    last = walls.previous(NEVER)
    assert format_wall(last) == "2028-01-01T12:00:00"
    assert walls.next(last + 1) == NEVER
    assert walls.previous(last - 1) == -NEVER
    assert read_cron("0 0 12 1 JAN ? *", Dialect.QUARTZ).years is None


def test_six_fields_begin_with_seconds() -> None:
    assert upcoming(cron("*/20 * * * * *", tz=NY, dialect="cron6"), "2026-01-01T00:00:01Z") == [
        "2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2026-01-01T00:01Z",
    ]  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_the_expression_it_stands_for_in_any_case_and_dialect(preset: str) -> None:
    plain = read_cron(PRESETS[preset])
    for dialect in (Dialect.CRON5, Dialect.CRON6, Dialect.QUARTZ):
        read = read_cron(f" {preset.upper()} ", dialect)
        assert (read.minutes, read.hours, read.days, read.months) == (plain.minutes, plain.hours, plain.days, plain.months)
        assert read.resolved == PRESETS[preset]


@pytest.mark.parametrize(
    ("text", "is_wildcard"),
    [
        ("0 2 * * *", False),
        ("* 2 * * *", True),
        ("0 */2 * * *", True),
        ("0 0-23 * * *", False),
        ("0 1,* * * *", False),
        ("H H * * *", False),
        ("H * * * *", True),
        ("@hourly", True),
        ("@daily", False),
    ],
)
def test_an_entry_is_a_wildcard_if_its_minute_or_hour_starts_with_a_star(text: str, is_wildcard: bool) -> None:
    assert read_cron(text).is_wildcard is is_wildcard


# --- H ----------------------------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 23)
def test_a_hash_stays_for_a_name_and_two_names_spread() -> None:
    assert read_cron("H H * * *", seed="default/nightly") == read_cron("H H * * *", seed="default/nightly")
    assert read_cron("H H * * *", seed="default/nightly").resolved == "54 4 * * *", "a value that a later version must give too"
    assert len({read_cron("H H * * *", seed=f"default/{n}").resolved for n in range(100)}) > 90
    rule = cron("H H * * *", tz="UTC")
    assert upcoming(rule, "2026-01-01T00:00Z", 1, seed="default/nightly") == ["2026-01-01T04:54Z"]


def test_a_hash_keeps_to_its_range_and_its_step() -> None:
    for n in range(50):
        ranged = read_cron("H(10-19) H(0-7)/2 H * H", seed=str(n))
        assert all(10 <= minute <= 19 for minute in members(ranged.minutes))
        hours = members(ranged.hours)
        assert hours in ([0, 2, 4, 6], [1, 3, 5, 7])
        assert members(ranged.days.dates)[0] <= 28
        stepped = members(read_cron("H/15 * * * *", seed=str(n)).minutes)
        assert len(stepped) == 4
        assert {minute % 15 for minute in stepped} == {stepped[0]}
    assert read_cron("H/15 H * * *", seed="x").resolved.split()[0].endswith("-59/15")


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 25)
@pytest.mark.parametrize("text", ["CRON_TZ=", "CRON_TZ", "TZ=UTC", "TZ=UTC 0 0 * * *", "CRON_TZ=Europe/Berlin 30 2 * * *", "tz=0"])
@pytest.mark.parametrize("dialect", Dialect)
def test_a_zone_in_an_expression_is_refused_whole_or_cut_short(text: str, dialect: Dialect) -> None:
    assert '"timezone": "Europe/Berlin"' in complaint(text, dialect)


@pytest.mark.case("schedules", 25)
@pytest.mark.parametrize(
    ("zone", "advice"),
    [
        (None, "nothing is guessed"),
        ("", "is empty"),
        ("  ", "is empty"),
        ("Local", "on every machine"),
        ("localtime", "on every machine"),
        ("EST", "abbreviation"),
        ("CEST", "abbreviation"),
        ("PST8PDT", "abbreviation"),
        ("UTC+2", "an offset is no zone"),
        ("+02:00", "an offset is no zone"),
    ],
)
def test_a_zone_that_says_of_no_zone_which_is_refused(zone: str | None, advice: str) -> None:
    with pytest.raises(RuleInvalid, match=advice) as refused:
        cron("30 2 * * *", tz=zone)
    assert refused.value.errors[0]["path"] == "cron.timezone"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write five fields"),
        ("   ", "write five fields"),
        (None, "an expression is text"),
        (5, "an expression is text"),
        ("0 0 * * *\n", "on one line"),
        ("0 0 * * ſun", "plain letters"),
        ("*/5 * * * *" + " " * 502, "at most 512 characters, not 513"),
        ("@reboot", "does not know when machines start"),
        ("@every 5m", 'write {"every": "5m"}'),
        ("@fortnightly", "write @yearly"),
        ("*/90 * * * *", 'write {"every": "90m"}'),
        ("0 */25 * * *", 'write {"every": "25h"}'),
        ("0 0 */32 * *", 'write {"every": "32d"}'),
        ("0 0 1 */13 *", "write 1"),
        ("0 0 * * */8", "write 0"),
        ("*/0 * * * *", "a step of 0"),
        ("0 0 * * 5#6", "write #1 to #5, or 5L for the last"),
        ("0 0 * * 5#0", "write #1 to #5"),
        ("0 22-2 * * *", "write 22-23,0-2"),
        ("0 23-0 * * *", "write 23,0"),
        ("0 0 * * 5-1", "write 5-6,0-1"),
        ("0 0 * * 6-0", "write 6,0"),
        ("0 0 0 * * *", "dialect: cron6 or quartz"),
        ("0 0 0 * * ? 2030", "dialect: quartz"),
        ("Mon..Fri 02:30", "dialect: systemd"),
        ("* * * *", "4 fields; cron5 has 5: minute hour day-of-month month weekday"),
        ("x", "1 field; cron5"),
        ("60 * * * *", "write numbers from 0 to 59"),
        ("0 24 * * *", "write numbers from 0 to 23"),
        ("0 0 0 * *", "write numbers from 1 to 31"),
        ("0 0 32W * *", "write numbers from 1 to 31"),
        ("0 0 * 13 *", "write numbers from 1 to 12"),
        ("0 0 * * 8", "write numbers from 0 to 7"),
        ("0 0 * * 8#1", "write numbers from 0 to 7"),
        ("0 0 L-31 * *", "write L-1 to L-30"),
        ("0 0 * * L", "write 5L for the last Friday"),
        ("0 0 * * XYZL", "cannot be read"),
        ("0 0 W * *", "cannot be read"),
        ("0 0 * FOO *", "write 1-12 or JAN FEB"),
        ("0 0 * * monday", "write 0-7 or SUN MON"),
        ("? * * * *", "cannot be read"),
        ("1,,2 * * * *", "a comma too many"),
        ("1, * * * *", "a comma too many"),
        ("-5 * * * *", "cannot be read"),
        ("5- * * * *", "cannot be read"),
        ("*/ * * * *", "cannot be read"),
        ("1/2/3 * * * *", "cannot be read"),
        ("1.5 * * * *", "cannot be read"),
        ("99999 * * * *", "cannot be read"),
        ("H(5-99) * * * *", "write H(0-59) or less"),
        ("H(9-5) * * * *", "write H(0-59) or less"),
        ("H(5) * * * *", "cannot be read"),
        ("h,j * * * *", "cannot be read"),
    ],
)
def test_what_is_no_expression_is_refused_with_what_to_write_instead(text: object, advice: str) -> None:
    assert advice in complaint(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("0 0 12 * * *", 'write as in "0 0 12 15 * ?"'),
        ("0 0 12 ? * ?", 'write as in "0 0 12 15 * ?"'),
        ("0 0 12 1 * MON", 'write as in "0 0 12 ? * MON"'),
        ("0 0 12 1 *", "6 or 7"),
        ("0 0 12 1 * ? 2030 9", "6 or 7"),
        ("0 0 12 ? * 0", "from 1 to 7"),
        ("0 0 12 1 * ? 1960", "from 1970 to 2099"),
        ("0 0 12 1 * ? H", "year cannot be H"),
        ("0 0 12 1 * ? 2030-2029", "write 2030-2099,1970-2029"),
        ("0 0 12 1 * ? */200", "write 1970"),
    ],
)
def test_quartz_has_refusals_of_its_own(text: str, advice: str) -> None:
    assert advice in complaint(text, Dialect.QUARTZ)


def test_every_field_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(RuleInvalid) as refused:
        cron("60 24 0 13 8", tz="UTC")
    assert [each["message"].split(" '")[0] for each in refused.value.errors] == [
        "minute",
        "hour",
        "day of month",
        "month",
        "weekday",
    ]
    assert {each["path"] for each in refused.value.errors} == {"cron.cron"}


def test_the_longest_expression_is_read() -> None:
    assert read_cron(",".join(["0"] * 200) + " * * * *" + " " * 105).minutes == 1


# --- systemd ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Mon..Fri *-*-* 02:30:00", ["2026-06-01T02:30:00", "2026-06-02T02:30:00", "2026-06-03T02:30:00"]),
        ("Mon..Fri 02:30", ["2026-06-01T02:30:00", "2026-06-02T02:30:00", "2026-06-03T02:30:00"]),
        ("friday,Sun", ["2026-06-05T00:00:00", "2026-06-07T00:00:00", "2026-06-12T00:00:00"]),
        ("Mon-Tue 12:00", ["2026-06-01T12:00:00", "2026-06-02T12:00:00", "2026-06-08T12:00:00"]),
        ("*-*~01", ["2026-06-30T00:00:00", "2026-07-31T00:00:00", "2026-08-31T00:00:00"]),
        ("Mon *-05~07/1", ["2027-05-31T00:00:00", "2028-05-29T00:00:00", "2029-05-28T00:00:00"]),
        ("*-*~3..1", ["2026-06-28T00:00:00", "2026-06-29T00:00:00", "2026-06-30T00:00:00"]),
        ("2027..2029-01-01", ["2027-01-01T00:00:00", "2028-01-01T00:00:00", "2029-01-01T00:00:00"]),
        ("12-24 *:0/30", ["2026-12-24T00:00:00", "2026-12-24T00:30:00", "2026-12-24T01:00:00"]),
        ("*:*:0/20", ["2026-06-01T00:00:00", "2026-06-01T00:00:20", "2026-06-01T00:00:40"]),
        ("*/6:15", ["2026-06-01T00:15:00", "2026-06-01T06:15:00", "2026-06-01T12:15:00"]),
        ("quarterly", ["2026-07-01T00:00:00", "2026-10-01T00:00:00", "2027-01-01T00:00:00"]),
        ("Weekly", ["2026-06-01T00:00:00", "2026-06-08T00:00:00", "2026-06-15T00:00:00"]),
        ("minutely", ["2026-06-01T00:00:00", "2026-06-01T00:01:00", "2026-06-01T00:02:00"]),
    ],
)
def test_calendar_expressions_mean_what_systemd_means(text: str, wanted: list[str]) -> None:
    walls, wall = CronWalls(read_cron(text, Dialect.SYSTEMD)), day_of(2026, 6, 1) * DAY_SECONDS - 1
    found = []
    for _ in wanted:
        wall = walls.next(wall + 1)
        found.append(format_wall(wall))
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("02:30 Europe/Berlin", "write 'Europe/Berlin' as timezone"),
        ("*-*-* 02:30 UTC", "write 'UTC' as timezone"),
        ("Foo 02:30", "write Mon, Tue"),
        ("Fri..Mon 02:30", "write Fri..Sun,Mon"),
        ("Sun..Tue 02:30", "write Sun,Mon..Tue"),
        ("*-Jan-01 00:00", "write *, numbers"),
        ("*-*-*-* 00:00", 'write weekdays, date and time, as in "Mon..Fri'),
        ("*--01 00:00", "write weekdays, date and time"),
        ("*-13-01", "from 1 to 12"),
        ("*-*-0", "from 1 to 31"),
        ("*-*~40", "write days from the end downwards"),
        ("*-*~1..3", "write days from the end downwards"),
        ("*-*~x", "write ~1 for the last day"),
        ("02:30:00.5", "write 00"),
        ("02", "cannot be read"),
        ("25:00", "from 0 to 23"),
        ("20..8:00", "write 20..23,0..8"),
        ("*:0/90", "write 1 to 60"),
        ("*:x", "write *, numbers"),
        ("02:30:00:00", "cannot be read"),
        ("Mon 02:30 03:30", "is too much"),
        ("1969-01-01", "from 1970 to 2199"),
    ],
)
def test_a_calendar_expression_is_refused_with_what_to_write_instead(text: str, advice: str) -> None:
    assert advice in complaint(text, Dialect.SYSTEMD)


def test_every_part_of_a_calendar_expression_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        read_cron("Foo *-13-01 25:00", Dialect.SYSTEMD)
    assert len(refused.value.sentences) == 3


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("30 2 * * *", "at 02:30, every day"),
        ("0 9,17 * * 1-5", "at 09:00 and 17:00, on Monday to Friday"),
        ("* * * * *", "every minute, every day"),
        ("*/15 * * * *", "every 15 minutes, every day"),
        ("5/20 * * * *", "every 20 minutes from minute 5, every day"),
        ("5 * * * *", "at minute 5 of every hour, every day"),
        ("5,10 * * * *", "at minutes 5 and 10 of every hour, every day"),
        ("*/20 8-18 * * *", "every 20 minutes, at hours 8 to 18 of every day, every day"),
        ("* */2 * * *", "every minute, every 2 hours, every day"),
        ("0 0 13 * 5", "at 00:00, on day 13 of the month or on Friday"),
        ("0 0 */10 * 5", "at 00:00, on days 1, 11, 21 and 31 of the month and only on Friday"),
        ("0 0 L * *", "at 00:00, on the last day of the month"),
        ("0 0 L-3 * *", "at 00:00, on the day 3 before the last of the month"),
        ("0 0 LW * *", "at 00:00, on the last weekday of the month"),
        ("0 0 L-2W * *", "at 00:00, on the weekday nearest to the day 2 before the last of the month"),
        (
            "0 0 1,15W 1-3,6 *",
            "at 00:00, on day 1 of the month and the weekday nearest to day 15 of the month, in January to March and June",
        ),
        ("0 0 * * 5#3,1L", "at 00:00, on the third Friday of the month and the last Monday of the month"),
        ("0 0 * * 1,5L", "at 00:00, on Monday and the last Friday of the month"),
    ],
)
def test_an_expression_can_be_put_into_words(text: str, words: str) -> None:
    assert explained(read_cron(text)) == words


@pytest.mark.parametrize(
    ("text", "dialect", "words"),
    [
        ("*/10 * * * * *", Dialect.CRON6, "every 10 seconds, every day"),
        ("5 */10 * * * *", Dialect.CRON6, "at second 5 of every minute, every 10 minutes, every day"),
        ("15 30 2 * * *", Dialect.CRON6, "at 02:30:15, every day"),
        ("0 0 12 ? * 6L 2027-2030", Dialect.QUARTZ, "at 12:00, on the last Friday of the month, in 2027 to 2030"),
        ("Mon..Fri 02:30", Dialect.SYSTEMD, "at 02:30, on Monday to Friday"),
    ],
)
def test_words_are_the_same_for_every_dialect(text: str, dialect: Dialect, words: str) -> None:
    assert explained(read_cron(text, dialect)) == words


# --- the ends of time -------------------------------------------------------------------------------------------------


def test_a_search_ends_with_the_table_of_months() -> None:
    walls = CronWalls(read_cron("0 12 29 2 *"))
    assert walls.next(NEVER) == NEVER
    assert format_wall(walls.next(-NEVER)) == "1904-02-29T12:00:00"
    assert format_wall(walls.previous(NEVER)) == "2196-02-29T12:00:00"
    assert walls.previous(-NEVER) == -NEVER


def test_the_29th_of_february_waits_eight_years_about_1900_and_four_otherwise() -> None:
    assert due(cron("0 0 29 2 *", tz="UTC"), "2026-01-01T00:00Z", "2038-01-01T00:00Z") == [
        "2028-02-29T00:00Z", "2032-02-29T00:00Z", "2036-02-29T00:00Z",
    ]  # fmt: skip


def test_a_search_backwards_goes_to_the_minute_and_the_hour_before() -> None:
    walls = CronWalls(read_cron("30 10,20 8,9 * * *", Dialect.CRON6))
    times = ["09:20:30", "09:10:30", "08:20:30", "08:10:30"]
    wall = DAY_SECONDS
    for time in times:
        wall = walls.previous(wall - 1)
        assert format_wall(wall) == f"1970-01-01T{time}"
    assert format_wall(walls.previous(9 * 3600 + 20 * 60 + 29)) == "1970-01-01T09:10:30"
    assert format_wall(walls.previous(9 * 3600 + 10 * 60 + 29)) == "1970-01-01T08:20:30"
    assert format_wall(walls.previous(8 * 3600 + 10 * 60 + 29)) == "1969-12-31T09:20:30"
