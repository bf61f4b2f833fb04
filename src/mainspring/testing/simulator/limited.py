"""Limits as a shape of the simulator: concurrency keys, named limits of several units, rates, changed while everything runs.

Here: enqueueing under them and changing them. The limits of whole queues are with ``jobs``; who watches them is the witness.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import ClassVar

import msgspec

from mainspring.client import Request
from mainspring.core.durations import SECOND
from mainspring.core.events import Event
from mainspring.core.lanes import Lane
from mainspring.core.limits import Limit, Rate
from mainspring.errors import CommitUnknown, StorageConflict, StorageUnavailable
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.jobs import POLICIES
from mainspring.testing.simulator.nodes import ClientNode
from mainspring.testing.simulator.scenario import Kind
from mainspring.testing.simulator.witness import Subject, Witness
from mainspring.testing.simulator.world import World

_QUEUE = "a"
_KEYS = ("x", "y", "z")
_POOLS = ("gpu", "licence")
_encode = msgspec.json.Encoder().encode
_WORLD = (StorageUnavailable, StorageConflict, CommitUnknown)


class Limited:
    """Runs with keys and units, and the limits over them."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "enqueue under limits": Kind(9, "user"),
        "limit each key": Kind(3, "user"),
        "limit a pool": Kind(3, "user"),
        "pace": Kind(2, "user"),
        "lift": Kind(2, "user"),
    }

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness
        self._set: set[tuple[Subject, bool]] = set()

    def calls(self) -> Mapping[str, Callable[[ClientNode, Random], None]]:
        """What each kind of step does."""
        return {
            "enqueue under limits": self._enqueue,
            "limit each key": self._limit_each_key,
            "limit a pool": self._limit_pool,
            "pace": self._pace,
            "lift": self._lift,
        }

    def begin(self, client: ClientNode) -> None:
        """Nothing is limited at first."""

    def heal(self, client: ClientNode) -> None:
        """Let everything run: no limit is less than what one run takes."""
        for (scope, name), is_rate in sorted(self._set):
            self._forget((scope, name))
            client.client.limits.set(scope, name, None, rate=is_rate)
        self._witness.look_for_lowered()

    def verify(self, ledgers: Mapping[str, Sequence[Event]]) -> Iterable[Violation]:
        """Nothing beyond what the witness saw."""
        return ()

    def excuses(self, violation: Violation) -> bool:
        """Nothing."""
        return False

    def _enqueue(self, client: ClientNode, dice: Random) -> None:
        requests = [self._request(dice) for _ in range(dice.randint(1, 6))]
        client.system.made.clear()
        try:
            handles = client.client.submit(requests)
        except CommitUnknown:
            return
        except _WORLD:
            self._witness.was_refused(client.system.made)
            return
        for request, handle in zip(requests, handles, strict=True):
            self._witness.was_accepted(handle.id, request.body)

    @staticmethod
    def _request(dice: Random) -> Request:
        uses = tuple((name, dice.choice((1, 1, 2))) for name in _POOLS if dice.random() < 0.4)
        key = dice.choice(_KEYS) if dice.random() < 0.8 else None
        lane = Lane(namespace="default", queue=_QUEUE, task="t", priority=dice.choice((0, 0, 3)), concurrency_key=key, uses=uses)
        return Request(lane=lane, policy=dice.choice(POLICIES), body=_encode({"dice": dice.randrange(10**6)}))

    def _limit_each_key(self, client: ClientNode, dice: Random) -> None:
        self._limit(client, ("each_key", _QUEUE), dice.choice((0, 1, 1, 2)))

    def _limit_pool(self, client: ClientNode, dice: Random) -> None:
        self._limit(client, ("pool", dice.choice(_POOLS)), dice.choice((0, 1, 2, 3)))

    def _limit(self, client: ClientNode, subject: Subject, size: int) -> None:
        self._witness.limits.pop(subject, None)
        self._set.add((subject, False))
        try:
            client.client.limits.set(*subject, Limit(size))
        except _WORLD:
            return
        finally:
            self._witness.look_for_lowered()
        self._witness.was_limited(subject, size)

    def _pace(self, client: ClientNode, dice: Random) -> None:
        subject = dice.choice((("queue", "b"), ("each_key", _QUEUE), ("task", "u")))
        n, per, burst = dice.choice((1, 2, 5)), dice.choice((1, 2, 4)), dice.choice((1, 3))
        self._witness.paces.pop(subject, None)
        self._set.add((subject, True))
        try:
            client.client.limits.set(*subject, Rate(n, per=per, burst=burst))
        except _WORLD:
            return
        self._witness.was_paced(subject, n, per * SECOND, burst)

    def _lift(self, client: ClientNode, dice: Random) -> None:
        if not self._set:
            return
        subject, is_rate = dice.choice(sorted(self._set))
        self._forget(subject)
        try:
            client.client.limits.set(*subject, None, rate=is_rate)
        except _WORLD:
            return
        finally:
            self._witness.look_for_lowered()

    def _forget(self, subject: Subject) -> None:
        self._witness.limits.pop(subject, None)
        self._witness.paces.pop(subject, None)
