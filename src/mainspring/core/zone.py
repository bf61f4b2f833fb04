"""A time zone as a table of offsets, and what becomes of written times about its changes.

A wall time is *written* by a rule and *resolved* to instants here: usually to one, at a change of the clock to none or to two, and
then the policy decides. For one zone and one policy that is worked out once, for all changes, into stretches of time in each of
which an instant is a wall second minus a constant; a search then only bisects. Not here: where tables come from
(``mainspring.zones``), and which wall times a rule writes.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from mainspring.core.dates import DAY_SECONDS, END_DAY, FIRST_DAY, NEVER
from mainspring.errors import BrokenInvariant

#: No two offsets of one zone are further apart, even where a whole day is left out.
_WIDEST = 2 * DAY_SECONDS
BEGINNING = FIRST_DAY * DAY_SECONDS
END = END_DAY * DAY_SECONDS


class Gap(StrEnum):
    """What a wall time becomes that does not exist."""

    AT_TRANSITION = "at_transition"
    SHIFT = "shift"
    SKIP = "skip"


class Overlap(StrEnum):
    """What a wall time becomes that exists twice."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"


class Policy(NamedTuple):
    """Both decisions, after ``auto`` has been made one of them."""

    gap: Gap
    overlap: Overlap


FIXED = Policy(Gap.AT_TRANSITION, Overlap.FIRST)
WILDCARD = Policy(Gap.SKIP, Overlap.BOTH)


@dataclass(frozen=True, slots=True)
class Zone:
    """From each of ``since`` (seconds UTC) the clock is ``offsets`` (seconds east of UTC) ahead. Made by ``zone_of``.

    Two zones are equal if their rules are, under whatever data: ``hash`` says so, and is what a cursor keeps. ``version`` is that
    of the data, such as ``2026.6``.
    """

    name: str = field(compare=False)
    hash: str
    version: str = field(compare=False)
    since: tuple[int, ...] = field(compare=False, repr=False)
    offsets: tuple[int, ...] = field(compare=False, repr=False)

    def offset_at(self, second: int) -> int:
        """How far the clock is ahead of UTC at that second."""
        return self.offsets[max(0, bisect_right(self.since, second) - 1)]

    def segment_at(self, second: int) -> tuple[int, int, int]:
        """Start, end and offset of the stretch without a change that a second lies in; beyond the table there is no change."""
        index = max(0, bisect_right(self.since, second) - 1)
        start = self.since[index] if index else -NEVER
        end = self.since[index + 1] if index + 1 < len(self.since) else NEVER
        return start, end, self.offsets[index]

    def segments(self) -> Iterator[tuple[int, int, int]]:
        """Start, end and offset of each stretch without a change."""
        return zip(self.since, (*self.since[1:], END), self.offsets, strict=True)


def zone_of(name: str, offset: int, changes: Iterable[tuple[int, int]] = (), *, version: str) -> Zone:
    """The zone that is ``offset`` seconds ahead of UTC until the first of ``changes`` (instant, new offset), which are in order.

    Changes that change no offset are left out, and so is what lies outside the years 1900 to 2199.
    """
    since, offsets = [BEGINNING], [offset]
    for at, new in changes:
        if at >= END:
            break
        if at <= BEGINNING:
            offsets[0] = new
        elif new != offsets[-1]:
            if at <= since[-1]:
                raise BrokenInvariant(f"the changes of {name} are not in order", zone=name)
            since.append(at)
            offsets.append(new)
    rules = ";".join(f"{at},{east}" for at, east in zip(since, offsets, strict=True))
    digest = hashlib.sha256(rules.encode()).hexdigest()[:32]
    return Zone(name, digest, version, tuple(since), tuple(offsets))


@lru_cache(maxsize=64)
def is_older(version: str, than: str) -> bool:
    """Whether zone data of one version (``2026.1``) was published before those of another."""
    return _ordered(version) < _ordered(than)


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


# --- resolved ---------------------------------------------------------------------------------------------------------


class Stretch(NamedTuple):
    """Instants ``start`` to before ``end`` at which ``wall = instant + offset``."""

    start: int
    end: int
    offset: int


class Leap(NamedTuple):
    """Wall seconds ``first`` to before ``last`` that a change leaves out, and where they go: each to itself minus ``offset``, or
    all to ``start`` if ``is_point``."""

    start: int
    end: int
    first: int
    last: int
    offset: int
    is_point: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A zone under a policy. Stretches never overlap in time; leaps may lie within stretches."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    offsets: tuple[int, ...]
    leaps: tuple[Leap, ...]
    leap_starts: tuple[int, ...]
    #: The latest end among a leap and those before it: bisecting by it misses none.
    leap_ends: tuple[int, ...]


@lru_cache(maxsize=4096)
def resolved(zone: Zone, policy: Policy) -> Resolved:
    """What the zone's clock changes mean under that policy, worked out once for equal zones."""
    stretches = sorted(_stretches(zone, policy.overlap))
    leaps = tuple(sorted(_leaps(zone, policy.gap)))
    return Resolved(
        starts=tuple(each.start for each in stretches),
        ends=tuple(each.end for each in stretches),
        offsets=tuple(each.offset for each in stretches),
        leaps=leaps,
        leap_starts=tuple(each.start for each in leaps),
        leap_ends=tuple(accumulate((each.end for each in leaps), max)),
    )


def _stretches(zone: Zone, overlap: Overlap) -> Iterator[Stretch]:
    """Each segment without the wall seconds that the policy leaves to another one."""
    segments = list(zone.segments())
    for index, (start, end, offset) in enumerate(segments):
        others = {
            Overlap.FIRST: _near(segments, index, -1),
            Overlap.SECOND: _near(segments, index, +1),
            Overlap.BOTH: [],
        }[overlap]
        for first, last in _without([(start + offset, end + offset)], others):
            yield Stretch(first - offset, last - offset, offset)


def _leaps(zone: Zone, gap: Gap) -> Iterator[Leap]:
    """The wall seconds that exist nowhere, at the first change that jumps over them."""
    if gap is Gap.SKIP:
        return
    segments = list(zone.segments())
    jumped: list[tuple[int, int]] = []
    for index in range(1, len(segments)):
        start, before, after = segments[index][0], segments[index - 1][2], segments[index][2]
        if after < before:
            continue
        jumped = [each for each in jumped if each[1] > start + before - _WIDEST]
        real = [*_near(segments, index, -1), *_near(segments, index, +1), *jumped]
        for first, last in _without([(start + before, start + after)], real):
            jumped.append((first, last))
            if gap is Gap.AT_TRANSITION:
                yield Leap(start, start + 1, first, last, first - start, True)
            else:
                yield Leap(first - before, last - before, first, last, before, False)


def _near(segments: Sequence[tuple[int, int, int]], index: int, step: int) -> list[tuple[int, int]]:
    """The wall seconds of the segments before (step -1) or after (+1) one, as far as they may be its own too."""
    start, end, _ = segments[index]
    found = []
    index += step
    while 0 <= index < len(segments) and start - _WIDEST < segments[index][1] and segments[index][0] < end + _WIDEST:
        found.append((segments[index][0] + segments[index][2], segments[index][1] + segments[index][2]))
        index += step
    return found


def _without(spans: list[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of the spans is left without those taken."""
    for first, last in taken:
        spans = [piece for low, high in spans for piece in ((low, min(high, first)), (max(low, last), high)) if piece[0] < piece[1]]
    return spans


# --- back to the wall -------------------------------------------------------------------------------------------------


def real_seconds(zone: Zone, wall: int) -> list[int]:
    """The instants at which the clock of that zone shows that wall second: none, one or two."""
    first = max(0, bisect_right(zone.since, wall - _WIDEST) - 1)
    found = []
    for index in range(first, len(zone.since)):
        end = zone.since[index + 1] if index + 1 < len(zone.since) else NEVER
        if zone.since[index] > wall + _WIDEST:
            break
        second = wall - zone.offsets[index]
        if zone.since[index] <= second < end:
            found.append(second)
    return found
