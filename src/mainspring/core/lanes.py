"""Lanes: runs that are alike in everything a claim tests, and the number by which the database keeps them in claiming order.

The number of a lane is made of four parts, from the most significant: its queue (14 bits of a hash), its priority (11 bits, higher
first), its concurrency key (20 bits of a hash) and the rest (18 bits of a hash). So in one index on ``(lane_id, due_at, id)`` the
queued runs of a queue lie together, in order of priority, and within a priority the lanes of one key lie together: a walk from
lane to lane visits only lanes in which something waits, in the order in which they are to be served. Nothing is stored about a
lane that could become untrue.

Parts of hashes collide. Two queues or two keys that do are walked together and told apart by what their lanes say; two lanes that
do are told apart by ``salt`` (``operations/enqueue.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mainspring.core.ids import stable_id
from mainspring.core.names import PRIORITY_MAX

_REST_BITS = 18
_KEY_BITS = 20
_PRIORITY_BITS = 11
_GROUP_BITS = _KEY_BITS + _REST_BITS

#: How many numbers the lanes of one queue and priority share, and those of one queue.
CLASS_SPAN = 1 << _GROUP_BITS
QUEUE_SPAN = CLASS_SPAN << _PRIORITY_BITS


@dataclass(frozen=True, kw_only=True)
class Lane:
    """What the runs of a lane are. ``version`` and ``fingerprint`` are those of the payload's schema; ``requires`` names what a
    worker must be (label and value), ``uses`` the units of named limits that a run takes."""

    namespace: str
    queue: str
    task: str
    priority: int = 0
    concurrency_key: str | None = None
    kind: str = "task"
    version: int = 1
    fingerprint: str = ""
    requires: tuple[tuple[str, str], ...] = ()
    uses: tuple[tuple[str, int], ...] = ()
    salt: int = 0

    def __hash__(self) -> int:
        return self.id

    @cached_property
    def id(self) -> int:
        """The same for the same lane, in every process and database."""
        rest = stable_id(
            "lane", self.namespace, self.queue, self.priority, self.concurrency_key or "", self.kind, self.task, self.version,
            self.fingerprint, repr(self.requires), repr(self.uses), self.salt,
        )  # fmt: skip
        return (
            class_floor(self.namespace, self.queue, self.priority)
            | _key_part(self.concurrency_key) << _REST_BITS
            | _low(rest, _REST_BITS)
        )

    @property
    def holds(self) -> tuple[object, ...]:
        """Everything that makes it this lane and no other, but for its number."""
        return (
            self.namespace, self.queue, self.task, self.priority, self.concurrency_key, self.kind, self.version, self.fingerprint,
            self.requires, self.uses,
        )  # fmt: skip

    def with_priority(self, priority: int) -> "Lane":
        """The lane of the same runs at another priority."""
        return replace(self, priority=priority, salt=0)

    def salted(self) -> "Lane":
        """The same lane under another number, because another lane has this one."""
        return replace(self, salt=self.salt + 1)


def queue_floor(namespace: str, queue: str) -> int:
    """The smallest number a lane of this queue can have; they end before ``queue_floor + QUEUE_SPAN``."""
    return _low(stable_id("queue", namespace, queue), 14) << (_PRIORITY_BITS + _GROUP_BITS)


def class_floor(namespace: str, queue: str, priority: int) -> int:
    """The smallest number a lane of this queue and priority can have."""
    return queue_floor(namespace, queue) | (PRIORITY_MAX - priority) << _GROUP_BITS


def class_of(lane_id: int) -> int:
    """The floor of the queue and priority to which a lane's number belongs."""
    return lane_id >> _GROUP_BITS << _GROUP_BITS


def group_of(lane_id: int) -> int:
    """The part of a class in which all lanes of one key lie."""
    return (lane_id % CLASS_SPAN) >> _REST_BITS


def after_group(lane_id: int) -> int:
    """Where in a class a walk goes on that has served this lane's key: around the ring, at its end."""
    return ((group_of(lane_id) + 1) << _REST_BITS) % CLASS_SPAN


def after_lane(lane_id: int) -> int:
    """Where in a class a walk goes on that has come as far as this lane."""
    return (lane_id + 1) % CLASS_SPAN


def labels(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Labels in their own order, so that equal ones make equal lanes."""
    return tuple(sorted(given.items()))


def _key_part(key: str | None) -> int:
    return 0 if key is None else _low(stable_id("key", key), _KEY_BITS)


def _low(number: int, bits: int) -> int:
    return number & ((1 << bits) - 1)
