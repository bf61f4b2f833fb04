"""Recurrence rules against another implementation, on local time: ours must write the same wall times, in both directions."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice, takewhile

from dateutil.rrule import rrulestr
from hypothesis import assume, given
from hypothesis import strategies as st

from mainspring.core.dates import NEVER
from mainspring.core.problems import Refused
from mainspring.core.rrule import RRuleWalls
from mainspring.core.rrule_reading import read_rrule

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (a wall clock's)
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MANY = 40
#: Days that the other implementation may walk through looking for the next: it has no bound of its own.
LOOKED_AT = {"YEARLY": 9_000, "MONTHLY": 3_000, "WEEKLY": 3_000, "DAILY": 1_500, "HOURLY": 300, "MINUTELY": 20, "SECONDLY": 1}


def _part(name: str, low: int, high: int, *, from_end: bool = False) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    either = st.one_of(numbers, numbers.map(int.__neg__)) if from_end else numbers
    return st.lists(either, min_size=1, max_size=3, unique=True).map(lambda each: f"{name}={','.join(map(str, each))}")


@st.composite
def rules(draw: st.DrawFn) -> tuple[str, int]:
    """A rule that both can read, and its start."""
    frequency = draw(st.sampled_from(("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")))
    is_long = frequency in ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, 5 if is_long else 50))}"]
    by = {
        "BYMONTH": _part("BYMONTH", 1, 12),
        "BYHOUR": _part("BYHOUR", 0, 23),
        "BYMINUTE": _part("BYMINUTE", 0, 59),
        "BYSECOND": _part("BYSECOND", 0, 59),
        "BYDAY": st.lists(st.sampled_from(DAYS), min_size=1, max_size=3, unique=True).map(lambda each: f"BYDAY={','.join(each)}"),
    }
    if frequency in ("YEARLY", "MONTHLY"):
        nth = st.integers(1, 5).flatmap(lambda n: st.sampled_from((n, -n)))
        by["BYDAY"] = st.one_of(by["BYDAY"], st.tuples(nth, st.sampled_from(DAYS)).map(lambda each: f"BYDAY={each[0]}{each[1]}"))
    if frequency != "WEEKLY":
        by["BYMONTHDAY"] = _part("BYMONTHDAY", 1, 31, from_end=True)
    if frequency == "YEARLY":
        by["BYYEARDAY"] = _part("BYYEARDAY", 1, 366, from_end=True)
        by["BYWEEKNO"] = _part("BYWEEKNO", 1, 53, from_end=True)
    names = draw(st.lists(st.sampled_from(sorted(by)), max_size=3, unique=True))
    parts += [draw(by[name]) for name in names]
    if is_long and frequency != "WEEKLY" and names and draw(st.booleans()):  # theirs counts a first week from its start only
        parts.append(draw(_part("BYSETPOS", 1, 4, from_end=True)))
    if draw(st.booleans()):
        parts.append(f"WKST={draw(st.sampled_from(DAYS))}")
    if is_long and draw(st.booleans()):
        parts.append(f"COUNT={draw(st.integers(1, 30))}")
    return ";".join(parts), draw(st.integers(0, 60 * 365 * 86_400))


@given(rules())
def test_a_rule_writes_the_wall_times_that_another_implementation_says(rule: tuple[str, int]) -> None:
    text, start = rule
    try:
        ours = RRuleWalls(read_rrule(text, start), exists=lambda wall: True)
    except Refused:
        assume(False)
    begin = EPOCH + timedelta(seconds=start)
    end = begin + timedelta(days=LOOKED_AT[text[5 : text.index(";")]])
    found: list[int] = []
    wall = ours.next(start)
    while wall <= int((end - EPOCH).total_seconds()) and len(found) < MANY:
        found.append(wall)
        wall = ours.next(wall + 1)
    assert found == _theirs(text, begin, end)
    assert _backwards(ours, found) == found


def _theirs(text: str, begin: datetime, end: datetime) -> list[int]:
    """What the other implementation says, which refuses some rules that are never due, or due no more."""
    found: list[int] = []
    try:
        rule = rrulestr(text if "COUNT" in text else f"{text};UNTIL={end:%Y%m%dT%H%M%S}", dtstart=begin)
        found.extend(int((each - EPOCH).total_seconds()) for each in islice(takewhile(lambda each: each <= end, rule), MANY))
    except ValueError as nothing:
        assert "empty" in str(nothing)  # noqa: PT017
    return found


def _backwards(walls: RRuleWalls, found: list[int]) -> list[int]:
    """The same wall times, asked for from the last to the first, and nothing before them."""
    back, wall = [], found[-1] + 1 if found else NEVER
    for _ in found:
        wall = walls.previous(wall - 1)
        back.append(wall)
    assert not found or walls.previous(found[0] - 1) == -NEVER
    return back[::-1]
