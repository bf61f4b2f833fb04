"""Limits: how many at once, how many in a span. Values, and the arithmetic of a rate.

A rate is kept by one instant (the generic cell rate algorithm, ITU-T I.371 annex A): ``next_at`` is when the next unit is due if
they came evenly spaced, and a burst may run ahead of it. Not here: which limits bind a run (``core/claiming.py``), and rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mainspring.core.durations import DAY, Duration, parse_duration
from mainspring.core.ids import stable_id
from mainspring.errors import InvalidOption, shown

MOST = 1_000_000
MOST_STRICT = 10_000


class Scope(StrEnum):
    """Over what a limit counts. ``each_key`` is one limit for each concurrency key of a queue; ``key`` is that of one key, and
    comes before it. ``pool`` is a named limit that tasks use by name."""

    TOTAL = "total"
    NAMESPACE = "namespace"
    QUEUE = "queue"
    EACH_KEY = "each_key"
    KEY = "key"
    TASK = "task"
    POOL = "pool"


class Measure(StrEnum):
    """What a limit counts: runs at once, or runs begun in a span."""

    AT_ONCE = "at_once"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``size`` units at once, over the whole fleet; 0 lets nothing begin. ``each_key``: for each concurrency key."""

    size: int
    each_key: bool = False

    def __post_init__(self) -> None:
        _check_whole(self.size, "limit", least=0, most=MOST)

    @property
    def measure(self) -> Measure:
        """Runs at once."""
        return Measure.AT_ONCE


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``n`` begun in any ``per``, evenly spaced but for a ``burst`` that may come at once; each takes ``cost``.

    ``strict`` also keeps every window of ``per`` at ``n`` or less, whatever the burst, by logging what was let in.
    """

    n: int
    per: Duration
    burst: int = 1
    cost: int = 1
    each_key: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        _check_whole(self.n, "n", least=0, most=MOST_STRICT if self.strict else MOST)
        _check_whole(self.burst, "burst", least=1, most=MOST)
        _check_whole(self.cost, "cost", least=1, most=MOST)
        per = parse_duration(self.per, option="per")
        if not 1_000 <= per <= 366 * DAY:
            raise InvalidOption(f'per of a rate must be from "1ms" to "366d", got {shown(self.per)}', option="per")

    @property
    def measure(self) -> Measure:
        """Runs begun in a span."""
        return Measure.RATE

    @property
    def per_us(self) -> int:
        """The span in microseconds."""
        return parse_duration(self.per, option="per")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A rate as it is kept: ``interval`` µs for each run, of which ``burst`` may come at once. No interval: nothing may begin."""

    interval: int | None
    burst: int

    @staticmethod
    def of(n: int, per_us: int, *, burst: int, cost: int) -> Pace:
        """The pace of ``n`` units in ``per_us``, where each run takes ``cost`` of them."""
        return Pace(interval=-(-per_us * cost // n) if n else None, burst=burst)

    def admits(self, next_at: int, now: int) -> int:
        """How many runs may begin now."""
        if self.interval is None:
            return 0
        ahead = now + self._tolerance - max(next_at, now)
        return ahead // self.interval + 1 if ahead >= 0 else 0

    def opens_at(self, next_at: int) -> int | None:
        """From which instant one may begin; None: never, as things stand."""
        return None if self.interval is None else next_at - self._tolerance

    def after(self, next_at: int, now: int, begun: int) -> int:
        """``next_at`` once ``begun`` runs have begun; a negative number gives back what did not begin after all."""
        return max(next_at, now) + begun * (self.interval or 0) if begun > 0 else next_at + begun * (self.interval or 0)

    def closed_until(self, instant: int) -> int:
        """The ``next_at`` with which nothing begins before ``instant``."""
        return instant + self._tolerance

    @property
    def _tolerance(self) -> int:
        return (self.burst - 1) * (self.interval or 0)


def limit_id(scope: Scope, namespace: str, name: str, key: str, measure: Measure) -> int:
    """The number of a limit: the same in every process and database."""
    return stable_id("limit", scope, namespace, name, key, measure)


def counter_id(limit: int, key: str) -> int:
    """The number under which the slots and the instant of one key of an ``each_key`` limit are kept."""
    return stable_id("counter", limit, key)


def _check_whole(value: object, what: str, *, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidOption(f"{what} must be a whole number from {least} to {most:,}, got {shown(value)}", option=what)
