"""Dispatching: deliveries are taken, published, told again, given up; and a run is claimed because of a message about it.

Every step is guarded by the delivery's claim token or the run's fence, so any number of relays may work, and a message may come
twice, late, or from somebody who made it up. Not here: transports (``runtime/relay``), and writing deliveries (``deliveries``).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from mainspring.core.attempts import move
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.states import ACTIVE, EventType, State
from mainspring.operations import claims, limits, moves
from mainspring.operations.claims import Claimed, Claimer
from mainspring.operations.lanes import lanes_of
from mainspring.store.database import Transaction

CLAIM_US = 30 * SECOND
AGAIN_US = 5 * MINUTE
FIRST_BACKOFF_US = 1 * SECOND
LONGEST_BACKOFF_US = 5 * MINUTE
MOST_REFUSALS = 20
MOST_LOST = 10
PUT_OFF_US = 30 * SECOND


class Taken(NamedTuple):
    """A delivery that this relay has to publish."""

    run_id: str
    queue: str
    claim_token: int
    tries: int


class Verdict(StrEnum):
    """What became of a message: the run was claimed, or why it was left alone."""

    EXECUTED = "executed"
    UNKNOWN = "unknown"  # no message, no such run here, or a queue that has no deliveries: perhaps made up
    STALE = "stale"  # the run has ended, or waits for something else
    LEASED = "leased"
    PAUSED = "paused"
    FULL = "full"
    UNSERVED = "unserved"  # this app has no such task, or not in that version


def take(tx: Transaction, namespace: str, queues: Sequence[str], *, most: int) -> list[Taken]:
    """Take up to ``most`` deliveries that are due. Those whose run has moved on are removed."""
    return _take(tx, tx.rows("deliveries.due", namespace=namespace, queues=sorted(queues), most=most))


def take_these(tx: Transaction, run_ids: Sequence[str]) -> list[Taken]:
    """Take the deliveries of runs that were just created, unless a relay was quicker."""
    return _take(tx, tx.rows("deliveries.these", ids=sorted(run_ids)))


def _take(tx: Transaction, rows: Sequence[tuple[str, str, int, str, int, int]]) -> list[Taken]:
    if not rows:
        return []
    waiting = {row[0]: (row[1], row[2]) for row in tx.rows("deliveries.still", ids=sorted(row[0] for row in rows))}
    there = {row[0]: row for row in rows if waiting.get(row[0], (None,))[0] == row[2]}
    if gone := sorted((row[0], row[2]) for row in rows if row[0] not in there):
        tx.execute("deliveries.drop", batch=gone)
    ready = {key: row for key, row in there.items() if waiting[key][1]}  # the rest waits for a new reservation
    if held_up := sorted(key for key in there if key not in ready):
        for key in held_up:
            tx.execute("deliveries.put_off", id=key, fence=there[key][2], delay=PUT_OFF_US, heard=0)
    if not ready:
        return []
    batch = sorted((key, row[5] + (row[3] == "published")) for key, row in ready.items())
    tokens = {row[0]: row[1] for row in tx.rows("deliveries.claim", batch=batch, lasts=CLAIM_US)}
    return [Taken(key, ready[key][1], token, ready[key][4]) for key, token in sorted(tokens.items())]


def settle(tx: Transaction, answers: Sequence[tuple[Taken, str | None]]) -> None:
    """Write what the transport answered: None is published, a text is why not."""
    batch = sorted(
        (
            taken.run_id, taken.claim_token, *(("published", AGAIN_US, 0) if error is None else _refused(taken.tries + 1)), error,
        )
        for taken, error in answers
    )  # fmt: skip
    if batch:
        tx.execute("deliveries.settle", batch=batch)


def _refused(tries: int) -> tuple[str, int, int]:
    if tries >= MOST_REFUSALS:
        return "dead", 0, tries
    return "failed", min(FIRST_BACKOFF_US << (tries - 1), LONGEST_BACKOFF_US), tries


def give_up(tx: Transaction, namespace: str, queues: Sequence[str], *, most: int, actor: str) -> int:
    """Park the runs whose dispatch was lost ten times over: a person looks why nobody comes. Nothing is spent. How many."""
    rows = tx.rows("deliveries.hopeless", namespace=namespace, queues=sorted(queues), most_lost=MOST_LOST, most=most)
    if not rows:
        return 0
    runs = moves.lock_runs(tx, [row[0] for row in rows])
    lost = [runs[key] for key, fence in rows if key in runs and runs[key].state is State.QUEUED and runs[key].token == fence]
    parked = [
        (run, move(run, EventType.PARKED, State.QUEUED, State.NEEDS_ATTENTION, actor=actor, reason="dispatch_lost")) for run in lost
    ]
    moves.apply(tx, parked)
    tx.execute("deliveries.drop", batch=sorted((row[0], row[1]) for row in rows))
    return len(parked)


def catch_up(tx: Transaction, namespace: str, queues: Sequence[str], *, most: int) -> int:
    """Write the deliveries of runs that somebody queued who had not heard of them, and remove dead ones that are over. How many."""
    missing = [row[0] for row in tx.rows("deliveries.missing", namespace=namespace, queues=sorted(queues), most=most)]
    if missing:
        tx.execute("deliveries.write", ids=sorted(missing))
    tx.execute("deliveries.dead_and_gone")
    return len(missing)


# -- upkeep, for every namespace ---------------------------------------------------------------------------------------


def look_after(tx: Transaction, *, most: int, actor: str) -> int:
    """Give up lost dispatches, and reserve slots and write deliveries where queues are bounded; how many runs were concerned."""
    done = 0
    for namespace, timeouts in _everywhere(tx).items():
        bounded = {queue: timeout for queue, timeout in timeouts.items() if timeout is not None}
        done += give_up(tx, namespace, list(timeouts), most=most, actor=actor)
        done += reserve(tx, namespace, bounded, most=most)
    return done


def catch_up_all(tx: Transaction, *, most: int) -> int:
    """``catch_up`` in every namespace."""
    return sum(catch_up(tx, namespace, list(timeouts), most=most) for namespace, timeouts in _everywhere(tx).items())


def _everywhere(tx: Transaction) -> dict[str, dict[str, int | None]]:
    found: dict[str, dict[str, int | None]] = {}
    for namespace, queue, timeout in tx.rows("deliveries.everywhere"):
        found.setdefault(namespace, {})[queue] = timeout
    return found


# -- bounded queues ----------------------------------------------------------------------------------------------------


def expire(tx: Transaction) -> int:
    """Give back the slots of reservations that are over. How many."""
    return tx.execute("deliveries.expired")


def reserve(tx: Transaction, namespace: str, timeouts: dict[str, int], *, most: int) -> int:
    """Reserve slots for the first queued runs of bounded queues, as far as their limits let them, and write their deliveries.

    ``timeouts`` (µs, by queue) is how long a reservation lasts. A reservation is a slot under the fence that the run's next claim
    will have. How many runs got one.
    """
    rows = tx.rows("deliveries.unreserved", namespace=namespace, queues=sorted(timeouts), most=most) if timeouts else []
    if not rows:
        return 0
    lanes = lanes_of(tx, sorted({row[2] for row in rows}))
    gates = limits.room(tx, limits.load(tx, namespace), [lanes[number] for number in sorted(lanes)])
    batch, ready = [], []
    for run_id, token, lane_id in rows:
        tolls = [toll for toll in gates.tolls.get(lane_id, ()) if not gates.gates[toll.gate].is_rate]
        if all(gates.free[toll.gate] >= toll.cost for toll in tolls):
            for toll in tolls:
                gates.free[toll.gate] -= toll.cost
                batch.append((toll.gate, run_id, token + 1, toll.cost, timeouts[lanes[lane_id].queue]))
            ready.append(run_id)
    if batch:
        tx.execute("deliveries.reserve", batch=sorted(batch))
    if ready:
        tx.execute("deliveries.write_reserved", ids=sorted(ready))
    return len(ready)


# -- the other end -----------------------------------------------------------------------------------------------------


def claim(tx: Transaction, who: Claimer, run_id: str, queue: str) -> tuple[Verdict, Claimed | None]:
    """Claim the run that a message names, if it waits there and nothing holds it back.

    Its reservation becomes the slot: given back and taken in one transaction, under the lock of the limits. One that expired before
    finds the limit as it is now: there is room, or the run stays queued.
    """
    row = tx.one("deliveries.run", id=run_id)
    if row is None or (row[3], row[4]) != (who.namespace, queue) or row[5] is None:
        return Verdict.UNKNOWN, None
    state, token, lane_id = State(row[0]), row[1], row[2]
    if state in ACTIVE:
        return Verdict.LEASED, None
    if state is not State.QUEUED:
        return Verdict.STALE, None
    if row[6] is not None:
        return _put_off(tx, Verdict.PAUSED, run_id, token)
    if not who.serves(lanes_of(tx, [lane_id])[lane_id]):
        return Verdict.UNSERVED, None
    tx.execute("deliveries.unreserve", id=run_id, token=token)
    claimed = claims.claim_run(tx, who, run_id)
    if claimed is not None:
        tx.execute("deliveries.drop", batch=[(run_id, token)])
        return Verdict.EXECUTED, claimed
    now = tx.one("deliveries.run", id=run_id)
    if now is not None and (State(now[0]), now[1]) != (State.QUEUED, token):
        return Verdict.LEASED, None
    return _put_off(tx, Verdict.FULL, run_id, token)


def _put_off(tx: Transaction, verdict: Verdict, run_id: str, fence: int) -> tuple[Verdict, None]:
    tx.execute("deliveries.put_off", id=run_id, fence=fence, delay=PUT_OFF_US, heard=1)
    return verdict, None
