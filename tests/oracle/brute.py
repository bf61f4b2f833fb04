"""What must be due, by looking at every wall time and asking the standard library's zones about each.

Here: the oracle and the stories it judges. It knows nothing of tables, bits or bisection; its zones are read by ``zoneinfo`` from
the same pinned data. Not here: how many stories are told (``campaign.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from mainspring.core.rules import Dst
from mainspring.core.zone import Gap, Overlap
from mainspring.zones import zone
from tests.oracle.expressions import EXPRESSIONS, Expression

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (a wall clock's)
MINUTE, HOUR, DAY = 60, 3600, 86_400
_MANY_A_DAY = 50
SPANS: st.SearchStrategy[int] = st.sampled_from((3 * HOUR, DAY, 20 * DAY))
FIRST, LAST = -20 * 365 * DAY, 130 * 365 * DAY


@cache
def names() -> list[str]:
    """The names of all zones."""
    return resources.files("tzdata").joinpath("zones").read_text().split()


@cache
def library_zone(name: str) -> ZoneInfo:
    """The standard library's own reading of a zone, from the same data."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def offset_at(known: ZoneInfo, second: int) -> int:
    """Seconds ahead of UTC at an instant."""
    offset = (EPOCH.replace(tzinfo=UTC) + timedelta(seconds=second)).astimezone(known).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


@cache
def changes(name: str) -> list[int]:
    """Seconds about which a zone is worth looking at. Our own table may say where to look: it does not say what is due there."""
    ours = zone(name)
    assert ours is not None
    return [second for second in ours.since[1:] if FIRST + 40 * DAY < second < LAST - 40 * DAY]


def first_after_change(known: ZoneInfo, low: int, high: int) -> int:
    """The first second with the offset of ``high`` between two instants with different offsets."""
    wanted = offset_at(known, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if offset_at(known, middle) == wanted else (middle, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """An expression in a zone under policies, and a stretch of instants in which it is looked at."""

    expression: Expression
    zone: str
    dst: Dst
    since: int
    until: int

    def __repr__(self) -> str:
        gap, overlap = self.dst.gap or "auto", self.dst.overlap or "auto"
        when = f"{EPOCH + timedelta(seconds=self.since)} to {EPOCH + timedelta(seconds=self.until)}"
        return f"<{self.expression.dialect} {self.expression.text!r} in {self.zone}, gap {gap}, overlap {overlap}, {when} UTC>"


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Mostly about a change of the clock: elsewhere there is little to get wrong."""
    expression = draw(EXPRESSIONS)
    name = draw(st.sampled_from(names()))
    gap, overlap = draw(st.sampled_from((None, None, *Gap))), draw(st.sampled_from((None, None, *Overlap)))
    near = changes(name)
    middle = draw(st.integers(FIRST + 40 * DAY, LAST - 40 * DAY))
    wants_change = draw(st.integers(0, 9)) > 0
    if near and wants_change:
        middle = draw(st.sampled_from(near)) + draw(st.integers(-2 * HOUR, 2 * HOUR))
    about = 40 * MINUTE if expression.has_seconds else draw(SPANS)
    if about > DAY and len(_times(expression, MINUTE, 0, DAY)) > _MANY_A_DAY:
        about = DAY
    dst = Dst(gap=gap, overlap=overlap)
    return Story(expression=expression, zone=name, dst=dst, since=middle - about, until=middle + about)


def expected(story: Story) -> set[int]:
    """The seconds at which the story's expression is due from its ``since`` to before its ``until``."""
    known, found = library_zone(story.zone), set[int]()
    gap = story.dst.gap or (Gap.SKIP if story.expression.is_wildcard else Gap.AT_TRANSITION)
    overlap = story.dst.overlap or (Overlap.BOTH if story.expression.is_wildcard else Overlap.FIRST)
    for wall in _walls(story):
        found.update(_due(known, wall, gap, overlap))
    return {second for second in found if story.since <= second < story.until}


def _walls(story: Story) -> Iterator[int]:
    """Of every wall second (or minute) that can have to do with the story's instants, those that its expression writes."""
    known, expression = library_zone(story.zone), story.expression
    offsets = [offset_at(known, second) for second in (story.since - 2 * DAY, story.since, story.until, story.until + 2 * DAY)]
    margin = max(offsets) - min(offsets) + HOUR
    first, last = story.since + min(offsets) - margin, story.until + max(offsets) + margin
    step = 1 if expression.has_seconds else MINUTE
    whole = [] if expression.has_seconds else _times(expression, step, 0, DAY)
    for day in range(first // DAY, last // DAY + 1):
        if expression.on_day(EPOCH + timedelta(days=day)):
            times = whole or _times(expression, step, max(first - day * DAY, 0), min(last - day * DAY, DAY))
            yield from (day * DAY + time for time in times)


def _times(expression: Expression, step: int, first: int, last: int) -> list[int]:
    """The seconds of a day at which an expression is due, each looked at."""
    return [time for time in range(first, last, step) if expression.at_time(EPOCH + timedelta(seconds=time))]


def _due(known: ZoneInfo, wall: int, gap: Gap, overlap: Overlap) -> list[int]:
    """The instants of one wall second."""
    moment = EPOCH + timedelta(seconds=wall)
    readings = [_read(moment.replace(tzinfo=known, fold=fold)) for fold in (0, 1)]
    real = sorted({second for second in readings if second + offset_at(known, second) == wall})
    if real:
        return {Overlap.FIRST: real[:1], Overlap.SECOND: real[-1:], Overlap.BOTH: real}[overlap]
    if gap is Gap.SKIP:
        return []
    if gap is Gap.SHIFT:
        return readings[:1]
    return [first_after_change(known, min(readings) - 1, max(readings))]


def _read(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None
    return int((moment.replace(tzinfo=None) - offset - EPOCH).total_seconds())
