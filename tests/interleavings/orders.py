"""Which orders two transactions can run in: all of them, or a seeded sample of those that show most first.

First each is paused just before its commit, with all its locks, while the other runs; then at any one of its steps; then the rest.

An order is the list of choices made while both could go; after them, whoever went last goes on. Each order that was run shows where
else a choice could have been made, so no step has to be known beforehand, orders that blocking makes impossible are never tried,
and none is run twice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

Choices = Sequence[int]

#: One transaction after the other. The first choice of an order is who begins.
SERIAL: tuple[tuple[int, ...], ...] = ((), (1,))


class Orders:
    """A walk over the orders of one pair: ``for prefix in orders: orders.ran(prefix, choices)``. ``most`` None: all of them."""

    def __init__(self, *, most: int | None, seed: str) -> None:
        self._most = most
        self._random = random.Random(seed)
        self._before_commit: list[tuple[int, ...]] = []
        self._one_change: list[tuple[int, ...]] = []
        self._more: list[tuple[int, ...]] = []

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        given = 0
        while not self.is_complete and (self._most is None or given < self._most):
            some = self._before_commit or self._one_change or self._more
            yield some.pop(self._random.randrange(len(some)) if self._most is not None else -1)
            given += 1

    @property
    def is_complete(self) -> bool:
        """Whether there is no order left."""
        return not (self._before_commit or self._one_change or self._more)

    def ran(self, prefix: Choices, choices: Choices) -> None:
        """What was chosen when an order was run: each choice after its prefix could have gone the other way."""
        found = [(*choices[:place], 1 - choices[place]) for place in range(max(1, len(prefix)), len(choices))]
        if prefix in SERIAL:
            self._before_commit += found[-1:]
            self._one_change += found[:-1]
        else:
            self._more += found
