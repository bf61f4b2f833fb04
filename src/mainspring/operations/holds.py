"""Holding back after a restore: what was due between backup and now fires only once a person has decided.

The mark grows with each step of a planner, in its transaction. Not here: what tells that it went back (``core/restoring.py``), and
what a decision comes to (``core/planning.py``: what is suppressed; the rest is settled as late).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mainspring.core.restoring import Mark, Memory
from mainspring.operations.rows import encode_data
from mainspring.store.database import Row, Transaction

HELD: Final = "the database was restored: decide what becomes of what was due since the backup"


class OnHeld(StrEnum):
    """``policy``: what was held is settled as late, by the schedule's misfire policy. ``suppress``: none of it runs."""

    POLICY = "policy"
    SUPPRESS = "suppress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A schedule that is held: its instants after ``after`` and up to ``upto`` (µs, UTC) wait for a person."""

    schedule_id: str
    name: str
    after: int
    upto: int


def mark(tx: Transaction) -> Mark:
    """How far planning has come."""
    return as_mark(tx.rows("holds.mark"))


def as_mark(rows: Sequence[Row]) -> Mark:
    """What ``holds.mark`` answered."""
    return Mark(*rows[0]) if rows else Mark(None, 0, 0)


def step(tx: Transaction, memory: Memory | None) -> Mark:
    """A planner took a step. The first that has a memory names the incarnation."""
    tx.send("holds.step", incarnation=None if memory is None else memory.new_incarnation())
    return mark(tx)


def restored(tx: Transaction, incarnation: str, *, actor: str) -> int:
    """This database is a backup: hold every schedule with instants since; how many. Another life begins."""
    since = mark(tx)
    tx.execute("holds.begin", incarnation=incarnation)
    tx.execute("holds.hold")
    tx.execute("holds.log", actor=actor, data=encode_data({"since": since.at, "incarnation": incarnation}))
    if watched := [row[0] for row in tx.rows("alerts.held")]:
        from mainspring.operations import alerting  # paid for only by those who have alerts

        alerting.judge(tx, watched)
    row = tx.one("holds.count")
    return 0 if row is None else int(row[0])


def listing(tx: Transaction, *, namespace: str, after: str, most: int) -> list[Hold]:
    """A page of a namespace's held schedules, by name."""
    rows = tx.rows("holds.page", namespace=namespace, after=after, most=most)
    return [Hold(schedule_id=row[0], name=row[1], after=row[2], upto=row[3]) for row in rows]


def lift(tx: Transaction, schedule_id: str, policy: OnHeld, *, actor: str, reason: str) -> None:
    """A person has decided. The caller holds the cursor, and looks at it afterwards."""
    tx.execute("holds.lift", id=schedule_id, suppress=int(policy is OnHeld.SUPPRESS), actor=actor)
    data = encode_data({"policy": str(policy), "reason": reason})
    tx.execute("schedules.log", id=schedule_id, type="hold_decided", actor=actor, data=data)
