"""What must be due, by looking at every wall time and asking the standard library's zones about each.

Here: the oracle and the stories it judges. It knows nothing of tables, bits or bisection; its zones are read by ``zoneinfo`` from the
same pinned data. Not here: how many stories are told (``campaign.py``).
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
from tests.oracle.expressions import EXPRESSIONS, Expression

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (a wall clock's)
MINUTE, HOUR, DAY = 60, 3600, 86_400
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


def offset_at(zone: ZoneInfo, second: int) -> int:
    """Seconds ahead of UTC at an instant."""
    offset = (EPOCH.replace(tzinfo=UTC) + timedelta(seconds=second)).astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


@cache
def changes(name: str) -> list[int]:
    """Seconds at which a zone changes its offset, found by halving a grid of ten days; two changes within one may hide each other."""
    zone, found = library_zone(name), []
    step = 10 * DAY
    offsets = [offset_at(zone, second) for second in range(FIRST, LAST, step)]
    for index in range(1, len(offsets)):
        if offsets[index] != offsets[index - 1]:
            found.append(first_after_change(zone, FIRST + (index - 1) * step, FIRST + index * step))
    return found


def first_after_change(zone: ZoneInfo, low: int, high: int) -> int:
    """The first second with the offset of ``high`` between two instants with different offsets."""
    wanted = offset_at(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if offset_at(zone, middle) == wanted else (middle, high)
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
    zone = draw(st.sampled_from(names()))
    dst = Dst(gap=draw(st.sampled_from((None, None, *Gap))), overlap=draw(st.sampled_from((None, None, *Overlap))))
    near = changes(zone)
    middle = draw(st.integers(FIRST + 40 * DAY, LAST - 40 * DAY))
    if near and draw(st.integers(0, 9)):
        middle = draw(st.sampled_from(near)) + draw(st.integers(-2 * HOUR, 2 * HOUR))
    about = 40 * MINUTE if expression.has_seconds else draw(st.sampled_from((3 * HOUR, DAY, 2 * DAY)))
    return Story(expression=expression, zone=zone, dst=dst, since=middle - about, until=middle + about)


def expected(story: Story) -> set[int]:
    """The seconds at which the story's expression is due from its ``since`` to before its ``until``."""
    zone, found = library_zone(story.zone), set()
    policy_gap = story.dst.gap or (Gap.SKIP if story.expression.is_wildcard else Gap.AT_TRANSITION)
    policy_overlap = story.dst.overlap or (Overlap.BOTH if story.expression.is_wildcard else Overlap.FIRST)
    step = 1 if story.expression.has_seconds else MINUTE
    for wall in _walls(zone, story.since, story.until, step):
        if story.expression.matches(EPOCH + timedelta(seconds=wall)):
            found.update(_due(zone, wall, policy_gap, policy_overlap))
    return {second for second in found if story.since <= second < story.until}


def _walls(zone: ZoneInfo, since: int, until: int, step: int) -> Iterator[int]:
    """Every wall second (or minute) that can have to do with instants of that stretch."""
    offsets = [offset_at(zone, second) for second in (since - 2 * DAY, since, until, until + 2 * DAY)]
    margin = max(offsets) - min(offsets) + HOUR
    first = since + min(offsets) - margin
    yield from range(first - first % step, until + max(offsets) + margin, step)


def _due(zone: ZoneInfo, wall: int, gap: Gap, overlap: Overlap) -> list[int]:
    """The instants of one wall second."""
    moment = EPOCH + timedelta(seconds=wall)
    readings = [_read(moment.replace(tzinfo=zone, fold=fold)) for fold in (0, 1)]
    real = sorted({second for second in readings if second + offset_at(zone, second) == wall})
    if real:
        return {Overlap.FIRST: real[:1], Overlap.SECOND: real[-1:], Overlap.BOTH: real}[overlap]
    if gap is Gap.SKIP:
        return []
    if gap is Gap.SHIFT:
        return readings[:1]
    return [first_after_change(zone, min(readings) - 1, max(readings))]


def _read(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None
    return int((moment.replace(tzinfo=None) - offset - EPOCH).total_seconds())
