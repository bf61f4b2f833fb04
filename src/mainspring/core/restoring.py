"""How far planning has come, and what tells that a database is a restored backup: its mark went back.

A database has an incarnation, which is new after each restore, and a count of the planner's steps. A process remembers the highest
it saw, and need not be told: a lower count of the same incarnation, or an incarnation that was left, are those of a backup. Not
here: where it is kept (``runtime/remembering.py``), and what is held back (``operations/holds.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Mark(NamedTuple):
    """How far planning has come. ``at``: when the last step was (µs). ``park_before``: after a restore, unfinished runs that were
    created up to then (µs) are still to be parked."""

    incarnation: str | None
    steps: int
    at: int
    park_before: int | None = None


class Memory:
    """What a process knows: the highest mark, and incarnations that are over. ``keep`` is called with what is new."""

    def __init__(
        self,
        new_id: Callable[[], str],
        *,
        seen: Mark | None = None,
        left: tuple[str, ...] = (),
        keep: Callable[[Mark, tuple[str, ...]], None] = lambda _mark, _left: None,
    ) -> None:
        self._new_id = new_id
        self._seen = seen
        self._left = left
        self._keep = keep

    def new_incarnation(self) -> str:
        """A name that no life of a database had."""
        return self._new_id()

    def was_restored(self, mark: Mark) -> bool:
        """Whether a database with this mark is a backup of one that had come further."""
        if self._seen is None:
            return False
        if mark.incarnation == self._seen.incarnation:
            return mark.steps < self._seen.steps
        return mark.incarnation in self._left

    def saw(self, mark: Mark) -> None:
        """Remember it, if it is further."""
        if self._seen is not None and mark.incarnation == self._seen.incarnation and mark.steps <= self._seen.steps:
            return
        if self._seen is not None and self._seen.incarnation not in {None, mark.incarnation}:
            self._left = (*self._left, str(self._seen.incarnation))[-_LEFT:]
        self._seen = mark
        self._keep(mark, self._left)


_LEFT = 100
