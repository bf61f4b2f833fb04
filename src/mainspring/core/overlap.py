"""Overlap: what happens to occurrences that are due while earlier ones of their schedule are under way.

A decision over one schedule at one moment: how many slots are free, who waits, who arrives. It is made in the transaction that
takes the slots, and nowhere else. Not here: how late an instant is (``core/settling.py``), and who holds a slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, assert_never

from mainspring.core.durations import SECOND
from mainspring.core.occurrence import Disposition


class OnOverlap(StrEnum):
    """What becomes of an occurrence that finds no free slot."""

    ALLOW = "allow"
    FORBID = "forbid"
    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    QUEUE_LATEST = "queue_latest"
    REPLACE = "replace"
    TERMINATE = "terminate"


#: Other systems' words for the same.
SYNONYMS: Final = {
    "buffer_all": OnOverlap.FORBID,
    "cancel_other": OnOverlap.REPLACE,
    "terminate_other": OnOverlap.TERMINATE,
}
#: Under ``replace``, a run that ignores the request for so long is said to be stalled.
STALLED_US: Final = 30 * SECOND
_STOPS: Final = frozenset({OnOverlap.REPLACE, OnOverlap.TERMINATE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """``max_concurrency`` None: as many as there are (``allow``). ``buffer_max`` bounds those that wait. ``grace_us`` is how long
    ``terminate`` lets an old attempt end by itself. ``retries_hold_slot``: a run keeps its slot while it waits for a retry."""

    policy: OnOverlap = OnOverlap.FORBID
    max_concurrency: int | None = 1
    buffer_max: int = 100
    grace_us: int = 0
    retries_hold_slot: bool = False

    @property
    def stops(self) -> bool:
        """Whether a newer occurrence ends older ones."""
        return self.policy in _STOPS

    @property
    def patience_us(self) -> int:
        """How long after a run was asked to stop it is fenced (``terminate``), or said to be stalled."""
        return self.grace_us if self.policy is OnOverlap.TERMINATE else STALLED_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """An occurrence that waits for a slot. ``is_planned``: manual ones never supersede, and are never superseded."""

    key: str
    is_planned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What becomes of those who wait and those who arrive: who takes a slot, in order; the fate of each that does not; who is
    superseded, and by whom; and how many of the oldest that are under way are asked to stop (asking twice changes nothing)."""

    fired: tuple[str, ...] = ()
    fates: dict[str, Disposition] = field(default_factory=dict)
    superseded: dict[str, str] = field(default_factory=dict)
    stops: int = 0


def replaced(overlap: Overlap, *, active: int, retries: Sequence[bool]) -> int:
    """How many of the runs that wait for a retry give way to the newest occurrence: the first so many of ``retries`` (oldest first)
    that may be (true), for as long as there are not slots for all. Only policies that stop older runs end any."""
    if not overlap.stops or overlap.max_concurrency is None:
        return 0
    return max(0, min(sum(retries), active + len(retries) + 1 - overlap.max_concurrency))


def admit(overlap: Overlap, *, active: int, waiting: Sequence[Waiter], arriving: Sequence[Waiter]) -> Admission:
    """Decide over those who ``waiting`` (oldest first) and those who arrive (oldest first) while ``active`` hold a slot."""
    free = None if overlap.max_concurrency is None else max(0, overlap.max_concurrency - active)
    match overlap.policy:
        case OnOverlap.ALLOW | OnOverlap.FORBID:
            return _in_order(waiting, arriving, free, room=overlap.buffer_max, full=Disposition.BUFFER_FULL)
        case OnOverlap.SKIP:
            return _in_order(waiting, arriving, free, room=0, full=Disposition.SKIPPED_OVERLAP)
        case OnOverlap.BUFFER_ONE:
            return _in_order(waiting, arriving, free, room=1, full=Disposition.SKIPPED_OVERLAP)
        case OnOverlap.QUEUE_LATEST | OnOverlap.REPLACE | OnOverlap.TERMINATE:
            return _latest(overlap, waiting, arriving, free)
        case _:
            assert_never(overlap.policy)


def _in_order(
    waiting: Sequence[Waiter], arriving: Sequence[Waiter], free: int | None, *, room: int, full: Disposition
) -> Admission:
    """The oldest first; of those who find no slot so many may wait. Manual ones count, and are never turned away."""
    line = [*waiting, *arriving]
    taken = len(line) if free is None else min(free, len(line))
    known = {waiter.key for waiter in waiting}
    room -= sum(waiter.key in known and waiter.is_planned for waiter in line[taken:])
    fates: dict[str, Disposition] = {}
    for waiter in line[taken:]:
        if waiter.key in known:
            continue
        may_wait = room > 0 or not waiter.is_planned
        fates[waiter.key] = Disposition.WAITING if may_wait else full
        room -= may_wait and waiter.is_planned
    return Admission(fired=tuple(waiter.key for waiter in line[:taken]), fates=fates)


def _latest(overlap: Overlap, waiting: Sequence[Waiter], arriving: Sequence[Waiter], free: int | None) -> Admission:
    """Manual ones in order, then the newest; whoever else would wait is superseded by the newest."""
    line = [*waiting, *arriving]
    manual = [waiter.key for waiter in line if not waiter.is_planned]
    planned = [waiter.key for waiter in line if waiter.is_planned]
    slots = len(line) if free is None else free
    fired = manual[:slots]
    newest = planned[max(0, len(planned) - max(0, slots - len(fired))) :] if slots > len(fired) else []
    fired += newest
    left = planned[: len(planned) - len(newest)]
    stays = left[-1:] if not newest else []
    into = (newest or stays)[-1:]
    superseded = {key: into[0] for key in left if key not in stays} if into else {}
    known = {waiter.key for waiter in waiting}
    fates = {key: Disposition.WAITING for key in [*manual[slots:], *stays] if key not in known}
    stops = len(stays) if overlap.policy in _STOPS else 0
    return Admission(fired=tuple(fired), fates=fates, superseded=superseded, stops=stops)
