"""Settling: what becomes of the instants that came due, most of them on time, some of them late.

An instant is *late* if it is decided more than ``grace`` after it was due; the rest is on time and fires under any policy. Pause,
downtime, a slept laptop and a restored backup all end here. Not here: which instants a rule has (``core/timetable.py``), and
whether there is a slot for what fires (``core/overlap.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, assert_never

from mainspring.core.durations import DAY, SECOND
from mainspring.core.occurrence import Disposition

#: How many instants one transaction settles at most; what lies beyond is settled by the next.
MOST_SETTLED = 100_000


class OnMisfire(StrEnum):
    """What becomes of what is late."""

    SKIP = "skip"
    RUN_ONCE_IF_LATE = "run_once_if_late"
    CATCH_UP = "catch_up"


class Order(StrEnum):
    """In which order late occurrences start."""

    OLDEST_FIRST = "oldest_first"
    NEWEST_FIRST = "newest_first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfire:
    """What becomes of late instants. ``window_us``: older ones are missed. ``most``: so many late ones fire, the newest of them.
    ``spacing_us``: between the starts of late ones."""

    policy: OnMisfire = OnMisfire.RUN_ONCE_IF_LATE
    grace_us: int = 60 * SECOND
    window_us: int = 30 * DAY
    most: int = 100
    order: Order = Order.OLDEST_FIRST
    spacing_us: int = 0


class Due(NamedTuple):
    """An instant as its rule said it, and when it was due, jitter added."""

    nominal: int
    due_at: int


class Covers(NamedTuple):
    """The instants for which one run stands, its own included, and how many they are."""

    first: int
    last: int
    number: int

    def joined(self, other: Covers) -> Covers:
        """Both."""
        return Covers(min(self.first, other.first), max(self.last, other.last), self.number + other.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of one instant. ``FIRED`` means that it is to run; whether it may begin at once is for the overlap policy.

    ``into``: the nominal instant that stands for it; None of a coalesced one: that is decided when the rest is settled.
    ``covers``: what a firing one stands for. ``delay_us``: after so long it may start, for late ones that are spaced out.
    """

    due: Due
    disposition: Disposition
    reason: str | None = None
    into: int | None = None
    covers: Covers | None = None
    is_late: bool = False
    delay_us: int = 0


def settle(
    instants: Sequence[Due],
    misfire: Misfire,
    *,
    now: int,
    newer: int = 0,
    carried: Covers | None = None,
    all_late: bool = False,
    late_to: int | None = None,
) -> list[Verdict]:
    """One verdict for each instant, in their order, the oldest first.

    ``newer``: so many newer instants are due too (counted up to ``misfire.most``) and settled by the next call: then none of these
    stands for the others. ``carried``: what earlier such calls left for the one that will. ``all_late``: whatever their age, as
    after a pause; ``late_to``: what was due up to then, as after a blackout.
    """
    bound = now - misfire.grace_us if late_to is None else max(late_to + 1, now - misfire.grace_us)
    late = [due for due in instants if all_late or due.due_at < bound]
    old = sum(now - due.due_at > misfire.window_us for due in late)
    missed = [Verdict(due=due, disposition=Disposition.MISSED_WINDOW, reason="window", is_late=True) for due in late[:old]]
    on_time = [Verdict(due=due, disposition=Disposition.FIRED) for due in instants[len(late) :]]
    match misfire.policy:
        case OnMisfire.SKIP:
            decided = [Verdict(due=due, disposition=Disposition.SKIPPED_MISFIRE, is_late=True) for due in late[old:]]
        case OnMisfire.RUN_ONCE_IF_LATE:
            decided, on_time = _coalesced(late[old:], on_time, newer > 0, carried)
        case OnMisfire.CATCH_UP:
            decided = _caught_up(late[old:], misfire, newer)
        case _:
            assert_never(misfire.policy)
    return missed + decided + on_time


def left_to_carry(verdicts: Sequence[Verdict], carried: Covers | None) -> Covers | None:
    """What was coalesced into a run that is not decided yet; None once there is one."""
    if any(verdict.disposition is Disposition.FIRED for verdict in verdicts):
        return None
    open_ = [verdict.due.nominal for verdict in verdicts if verdict.disposition is Disposition.COALESCED]
    own = Covers(open_[0], open_[-1], len(open_)) if open_ else None
    return own if carried is None else carried if own is None else carried.joined(own)


def _coalesced(
    late: Sequence[Due], on_time: list[Verdict], more: bool, carried: Covers | None
) -> tuple[list[Verdict], list[Verdict]]:
    """Late ones go into the oldest on-time one; where there is none, into the newest of them, which fires."""
    if not late and carried is None:
        return [], on_time
    if on_time:
        target, merged = on_time[0].due.nominal, late
    elif late and not more:
        target, merged = late[-1].nominal, late[:-1]
    else:
        return [Verdict(due=due, disposition=Disposition.COALESCED, is_late=True) for due in late], on_time
    gone = [Verdict(due=due, disposition=Disposition.COALESCED, into=target, is_late=True) for due in merged]
    if not merged and carried is None:
        covers = None
    else:
        covers = Covers(merged[0].nominal if merged else target, target, len(merged) + 1)
        covers = covers if carried is None else carried.joined(covers)
    if on_time:
        return gone, [replace(on_time[0], covers=covers), *on_time[1:]]
    return [*gone, Verdict(due=late[-1], disposition=Disposition.FIRED, covers=covers, is_late=True)], on_time


def _caught_up(late: Sequence[Due], misfire: Misfire, newer: int) -> list[Verdict]:
    """The newest so many fire, one after the other; the rest is missed."""
    kept = min(len(late), max(0, misfire.most - newer))
    missed = [
        Verdict(due=due, disposition=Disposition.MISSED_WINDOW, reason="max", is_late=True) for due in late[: len(late) - kept]
    ]
    fire = late[len(late) - kept :]
    places = range(kept) if misfire.order is Order.OLDEST_FIRST else range(kept - 1, -1, -1)
    return missed + [
        Verdict(due=due, disposition=Disposition.FIRED, is_late=True, delay_us=place * misfire.spacing_us)
        for due, place in zip(fire, places, strict=True)
    ]
