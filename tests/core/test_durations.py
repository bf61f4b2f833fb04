"""Spans and instants as people write them."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest

from mainspring.core.durations import (
    DAY,
    HOUR,
    LONGEST,
    MINUTE,
    SECOND,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
)
from mainspring.errors import InvalidOption


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [
        ("90s", 90 * SECOND),
        ("5m", 5 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("2d", 2 * DAY),
        ("1w", 7 * DAY),
        ("250ms", 250_000),
        ("3us", 3),
        ("3µs", 3),
        ("1.5s", 1_500_000),
        ("0.1s", 100_000),
        ("0s", 0),
        (" 5m ", 5 * MINUTE),
        ("0.0000004s", 0),
        ("0.0000005s", 1),
        ("PT1H30M", 90 * MINUTE),
        ("P1DT2H", 26 * HOUR),
        ("P2W", 14 * DAY),
        ("PT0.5S", 500_000),
        ("P3D", 3 * DAY),
        (90, 90 * SECOND),
        (0, 0),
        (0.25, 250_000),
        (-0.0, 0),
        (timedelta(hours=1, microseconds=1), HOUR + 1),
        (LONGEST // SECOND, LONGEST),
    ],
)
def test_a_duration_reads_as_microseconds(written: str | float | timedelta, microseconds: int) -> None:
    assert parse_duration(written, option="timeout") == microseconds


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("90", "has no unit"),
        ("1.5", "has no unit"),
        ("5 parsecs", "is no duration"),
        ("30m1h", "is no duration"),
        ("1m1m", "is no duration"),
        ("1,5s", "is no duration"),
        ("5M", "is no duration"),
        ("٥s", "is no duration"),
        ("P", "is no duration"),
        ("PT", "is no duration"),
        ("P1DT", "is no duration"),
        ("P1Y", "has years or months"),
        ("P2M", "has years or months"),
        ("-5s", "is negative"),
        (-1, "is negative"),
        (-0.001, "is negative"),
        (float("-inf"), "is negative"),
        (timedelta(microseconds=-1), "is negative"),
        (float("nan"), "is no number"),
        (float("inf"), "is too long"),
        (1e300, "is too long"),
        pytest.param(10**5000, "is too long", id="a number too long to print"),
        ("11000d", "is too long"),
        (LONGEST / SECOND + 1, "is too long"),
        (timedelta.max, "is too long"),
        (True, "is no duration"),
        (None, "is no duration"),
        ([5], "is no duration"),
    ],
)
def test_a_bad_duration_is_refused_saying_what_is_wrong_with_it(written: object, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint) as caught:
        parse_duration(written, option="timeout")  # type: ignore[arg-type]
    assert caught.value.message.startswith("timeout ")
    assert caught.value.details == {"option": "timeout"}


def test_the_refusal_says_what_to_write_instead() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_duration("soon", option="delay")
    assert caught.value.message == (
        'delay \'soon\' is no duration: write "90s", "5m", "1h30m", "2d", "250ms", "PT1H30M", a number of seconds or a timedelta'
    )


def test_a_refusal_shows_only_the_beginning_of_a_huge_text() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_duration("x" * 1_000_000, option="delay")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("microseconds", "printed"),
    [
        (0, "0s"),
        (7, "7us"),
        (1_000, "1ms"),
        (250_000, "250ms"),
        (1_500, "1.5ms"),
        (SECOND, "1s"),
        (1_500_000, "1.5s"),
        (100 * SECOND, "1m40s"),
        (90 * MINUTE, "1h30m"),
        (2 * DAY, "2d"),
        (DAY + 1, "1d0.000001s"),
        (-90 * SECOND, "-1m30s"),
    ],
)
def test_a_duration_prints_compactly(microseconds: int, printed: str) -> None:
    assert format_duration(microseconds) == printed


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000),
        ("1970-01-01T02:00:00+02:00", 0),
        (" 1970-01-01T00:00:01Z ", SECOND),
        ("1969-12-31T23:59:59.999999Z", -1),
        (datetime(1970, 1, 2, tzinfo=UTC), DAY),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
    ],
)
def test_an_instant_reads_as_microseconds_since_1970(written: str | datetime, microseconds: int) -> None:
    assert parse_instant(written, option="at") == microseconds


@pytest.mark.parametrize("naive", [datetime(2031, 5, 1), "2031-05-01T09:00:00", "2031-05-01"])  # noqa: DTZ001
def test_a_naive_instant_is_refused_saying_how_to_make_it_aware(naive: str | datetime) -> None:
    with pytest.raises(InvalidOption, match=r"at .* has no time zone: use datetime\(\.\.\., tzinfo=UTC\)"):
        parse_instant(naive, option="at")


def test_a_zone_that_gives_no_offset_counts_as_naive() -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, _: datetime | None) -> None:
            return None

        dst = utcoffset

        def tzname(self, _: datetime | None) -> None:
            return None

    with pytest.raises(InvalidOption, match="has no time zone"):
        parse_instant(datetime(2031, 5, 1, tzinfo=Nowhere()), option="at")


@pytest.mark.parametrize("written", ["", "tomorrow", "2031-13-01T00:00:00Z", 5, None])
def test_what_is_no_instant_is_refused_naming_the_option(written: object) -> None:
    with pytest.raises(InvalidOption, match="is no instant: write an aware datetime") as caught:
        parse_instant(written, option="at")  # type: ignore[arg-type]
    assert caught.value.details == {"option": "at"}


@pytest.mark.parametrize(
    ("microseconds", "printed"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (10 * SECOND, "1970-01-01T00:00:10Z"),
        (250_000, "1970-01-01T00:00:00.25Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_prints_in_utc_without_trailing_zeros(microseconds: int, printed: str) -> None:
    assert format_instant(microseconds) == printed


def test_an_instant_beyond_the_calendar_cannot_be_printed() -> None:
    with pytest.raises(OverflowError):
        format_instant(2**62)
