"""Jitter: an instant that a rule says is made due a little later, so that not all is due at once.

The nominal instant and its key stay as they are. Here: how much later. Not here: the dice (``random`` takes a number that was
drawn elsewhere, once, and stored) and how much is due at a second (``spread`` asks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from mainspring.core.cron_fields import stable_hash
from mainspring.core.durations import SECOND

_CHOICES = 8


class JitterMode(StrEnum):
    """How a delay is found."""

    HASH = "hash"
    RANDOM = "random"
    SPREAD = "spread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """At most ``max_us`` later."""

    max_us: int
    mode: JitterMode = JitterMode.HASH


def due_at(
    jitter: Jitter,
    nominal: int,
    *,
    seed: str,
    following: int | None = None,
    end_at: int | None = None,
    draw: float = 0.0,
    busy: Callable[[int], int] | None = None,
) -> int:
    """When the instant ``nominal`` is due: not before it, and before the ``following`` one and not after ``end_at``.

    ``seed`` says whose instant it is. ``draw`` in [0, 1) decides under ``random``; ``busy`` says how much is due already in the
    second that begins at an instant, and decides under ``spread``. Under ``hash`` an instant always gets the same delay.
    """
    ends = [nominal + jitter.max_us]
    ends += [] if following is None else [following - 1]
    ends += [] if end_at is None else [end_at]
    window = max(0, min(ends) - nominal)
    match jitter.mode:
        case JitterMode.HASH:
            return nominal + stable_hash(f"{seed}\x00{nominal}") % (window + 1)
        case JitterMode.RANDOM:
            return nominal + int(draw * (window + 1))
        case JitterMode.SPREAD:
            seconds = window // SECOND + 1
            choices = [nominal + stable_hash(f"{seed}\x00{nominal}\x00{n}") % seconds * SECOND for n in range(_CHOICES)]
            return choices[0] if busy is None else min(choices, key=busy)
        case _:
            assert_never(jitter.mode)
