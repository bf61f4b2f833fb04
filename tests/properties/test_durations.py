"""Whatever is printed reads back as the same span or instant."""

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.durations import (
    LONGEST,
    SECOND,
    Duration,
    format_duration,
    format_instant,
    parse_duration,
    parse_instant,
)
from mainspring.errors import InvalidOption

SPANS = st.one_of(st.integers(0, LONGEST), st.integers(0, 2_000_000), st.integers(0, LONGEST // SECOND).map(SECOND.__mul__))
YEAR_1, YEAR_9999 = -62_135_596_800 * SECOND, 253_402_300_800 * SECOND - 1


@given(SPANS)
def test_a_printed_span_reads_back_exactly(span: int) -> None:
    assert parse_duration(format_duration(span), option="x") == span


@given(SPANS)
def test_a_timedelta_is_the_span_it_stands_for(span: int) -> None:
    assert parse_duration(timedelta(microseconds=span), option="x") == span


@given(st.integers(0, LONGEST // SECOND))
def test_whole_seconds_read_alike_in_every_spelling(seconds: int) -> None:
    spellings: list[Duration] = [seconds, float(seconds), f"{seconds}s", f"PT{seconds}S", timedelta(seconds=seconds)]
    assert {parse_duration(spelling, option="x") for spelling in spellings} == {seconds * SECOND}


@given(st.integers(0, 999), st.integers(0, 99), st.integers(0, 99), st.integers(0, 9999))
def test_both_notations_agree(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds) // timedelta(microseconds=1)
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s", option="x") == expected
    assert parse_duration(f"P{days}DT{hours}H{minutes}M{seconds}S", option="x") == expected


@given(st.one_of(st.text(), st.from_regex(r"P?T?([0-9.]{1,5}[wdhmsuWDHMSY]{0,2}){0,4}", fullmatch=True), st.floats()))
def test_any_text_or_number_is_read_within_bounds_or_refused_by_name(value: str | float) -> None:
    try:
        assert 0 <= parse_duration(value, option="delay") <= LONGEST
    except InvalidOption as refusal:
        assert refusal.message.startswith("delay ")  # noqa: PT017  (either outcome is right; this checks which it was)


@given(st.integers(YEAR_1, YEAR_9999))
def test_a_printed_instant_reads_back_exactly(instant: int) -> None:
    printed = format_instant(instant)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,5}[1-9])?Z", printed)
    assert parse_instant(printed, option="at") == instant


@given(st.datetimes(timezones=st.timezones()))
def test_an_aware_datetime_is_one_instant_in_whatever_zone(moment: datetime) -> None:
    microseconds = parse_instant(moment, option="at")
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds) == moment.astimezone(UTC)
