"""Expressions thrown at the parser, and searches against another implementation of one dialect."""

from __future__ import annotations

import re
import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mainspring.core.cron import CronWalls, Dialect
from mainspring.core.cron_reading import read_cron
from mainspring.core.cron_words import explained
from mainspring.core.dates import END_DAY, NEVER
from mainspring.core.problems import Refused
from mainspring.core.rule_reading import read_rule
from mainspring.core.rules import CronRule, as_data
from mainspring.core.timetable import Surroundings, timetable
from mainspring.errors import RuleInvalid
from mainspring.zones import zone
from tests.oracle.brute import library_zone
from tests.oracle.expressions import EXPRESSIONS, Expression, cron_expressions

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
#: Zones whose changes are whole hours, for the other implementation errs about others.
WHOLE_HOURS = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "America/Santiago",
    "Asia/Kolkata",
    "Atlantic/Azores",
    "Pacific/Auckland",
)

PIECES = st.sampled_from(
    [*"*?/-,#LWH()~:. @\n\x00٣ſé", *("..", "TZ=", "0", "5", "7", "31", "59", "99", "MON", "fri", "JAN", "daily", "every", "5m")]
)
GIBBERISH = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=40).map("".join))


@settings(max_examples=500)
@given(GIBBERISH, st.sampled_from(Dialect))
def test_any_text_is_read_or_refused_with_a_sentence(text: str, dialect: Dialect) -> None:
    try:
        cron = read_cron(text, dialect)
    except Refused as refused:
        assert all(len(sentence) > 15 for sentence in refused.sentences)  # noqa: PT017
        return
    assert explained(cron)
    wall = CronWalls(cron).next(0)
    assert wall == NEVER or 0 <= wall < END_DAY * 86_400


KNOWN = ("cron", "every", "after", "at", "any", "except", "only", "calendar", "rrule")
FIELDS = st.sampled_from([*KNOWN, "timezone", "dst", "dtstart", "pick", "of", "roll", "anchor", "dialect"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), PIECES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(FIELDS, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=500)
@given(JSON)
def test_any_data_is_a_rule_that_reads_back_or_is_refused_with_paths(data: object) -> None:
    try:
        rule = read_rule(data)
    except RuleInvalid as refused:
        assert all(each["path"].startswith("rule") and each["message"] for each in refused.errors)  # noqa: PT017
        return
    assert read_rule(as_data(rule)) == rule


@given(EXPRESSIONS)
def test_an_expression_without_hashes_is_resolved_to_itself(expression: Expression) -> None:
    cron = read_cron(expression.text, Dialect(expression.dialect))
    assert cron.resolved.upper() == expression.text.upper()
    assert cron.is_wildcard is expression.is_wildcard


@settings(max_examples=150)
@given(cron_expressions(seconds=False), st.sampled_from(WHOLE_HOURS), st.integers(0, 60 * 365 * 86_400))
def test_what_is_due_is_what_another_implementation_says(expression: Expression, name: str, since: int) -> None:
    began = EPOCH + timedelta(seconds=since)
    try:
        theirs = CronSim(expression.text, began.astimezone(library_zone(name)))
    except CronSimError:
        assume(False)
    assume(not _is_read_otherwise(expression.text))
    until = began + timedelta(days=400)
    wanted = [int((each.astimezone(UTC) - EPOCH).total_seconds()) for each in islice(theirs, 20) if each.astimezone(UTC) < until]
    table = timetable(CronRule(cron=expression.text, timezone=name), Surroundings(zones=zone, created_at=0))
    found = [at // SECOND for at in islice(table.between(since * SECOND, int((until - EPOCH).total_seconds()) * SECOND - 1), 20)]
    assert found == wanted


def _is_read_otherwise(text: str) -> bool:
    """The other dialect has no 15W, takes 5-5/2 for 5/2, and goes on to Sunday as 7 where weekdays have a step."""
    return "W" in text.replace("LW", "") or "/" in text.split()[4] or re.search(r"\b(\d+)-\1/", text) is not None


@pytest.mark.parametrize(
    "text",
    [
        ",".join(["*"] * 128) + " " + ",".join(["1-31"] * 40) + " 1 1 1",
        "0-59/1," * 60 + "1 * * * *",
        "0 0 29 2 1#5",
        "0 0 30 2 *",
        "* * * * *",
        "9" * 512,
        "H(0-59)/59 H(0-23)/23 H H H",
    ],
)
def test_no_expression_takes_memory(text: str) -> None:
    tracemalloc.start()
    try:
        walls = CronWalls(read_cron(text))
        walls.next(0)
    except Refused:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000
