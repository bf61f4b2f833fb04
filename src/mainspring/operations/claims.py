"""The claim: walk the lanes in which something waits, decide each one's share, take it.

Three looks and one write: which lanes have queued runs (``lanes.ring``), what their limits let through, what is taken. The decision
between them is ``core/claiming.py``. A lane of another task, of a paused queue or behind a full limit is passed over whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mainspring.core import claiming
from mainspring.core.claiming import Plan, Reservation, Share, Waiting
from mainspring.core.lanes import CLASS_SPAN, QUEUE_SPAN, Lane, after_group, after_lane, class_of, queue_floor
from mainspring.operations import limits
from mainspring.operations.lanes import lanes_of
from mainspring.operations.limits import Limits, Room
from mainspring.store.database import Transaction

#: How many lanes of one priority a claim looks at, at least; what lies beyond is next. And how many for each run it wants, since a
#: lane may give only one: a few more, or a quarter more where the last claim met shut ones and came back short.
STEPS = 16
_STEPS_PER_RUN = 1.05
_STEPS_PER_RUN_AFTER_SHORT = 1.25
_WRAPPED_STEPS = 8
#: One run in so many goes to the one that has waited longest, once that is long.
AGED_SHARE = 4
_CONTENDED_US = 5_000


class Claimed(NamedTuple):
    """A run as its claim handed it out, under its new fence."""

    id: str
    token: int
    seq: int
    lane_id: int
    policy_id: int
    failures: int
    interruptions: int
    releases: int
    idempotency_key: str | None
    singleton_key: str | None
    batch_id: str | None
    created_at: int
    due_at: int
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimer:
    """Who claims, and what it can do: ``tasks`` by the newest version it knows; ``queues`` by weight, None for strictly by
    priority; ``capabilities`` by label. ``keys`` names the concurrency keys it wants; None: all."""

    worker_id: str
    namespace: str
    queues: Mapping[str, int | None]
    tasks: Mapping[str, int]
    capabilities: Mapping[str, str] = field(default_factory=dict)
    keys: frozenset[str | None] | None = None

    def serves(self, lane: Lane) -> bool:
        """Whether it may claim the runs of a lane."""
        return (
            lane.namespace == self.namespace
            and lane.queue in self.queues
            and self.tasks.get(lane.task, 0) >= lane.version
            and (self.keys is None or lane.concurrency_key in self.keys)
            and (not lane.requires or all(self.capabilities.get(label) == value for label, value in lane.requires))
        )


@dataclass(slots=True)
class Walk:
    """Where a claimer is on its way around the ring of keys, and what it knows of lanes (they never change)."""

    place: int = 0
    is_long: bool = False  # more lanes lie on the ring than one claim looks at
    fell_short: bool = False  # the last claim got less than it wanted
    lanes: dict[int, Lane] = field(default_factory=dict)
    limits: Limits = field(default_factory=lambda: Limits([]))
    credit: dict[str, float] = field(default_factory=dict)
    unaged: int = 0
    fruitless: int = 0


class Claim(NamedTuple):
    """What a claim got. ``more``: there may be work for another one at once. ``opens_in``: µs until a rate lets more begin."""

    runs: list[Claimed]
    more: bool
    opens_in: int | None


def claim(tx: Transaction, who: Claimer, walk: Walk, *, most: int, meanwhile: Callable[[], None] = lambda: None) -> Claim:
    """Lease up to ``most`` runs to a worker, in any order.

    ``meanwhile`` is called once, if at all, when the last and longest question is on its way.
    """
    steps = max(STEPS, int(most * (_STEPS_PER_RUN_AFTER_SHORT if walk.fell_short else _STEPS_PER_RUN)))
    ring = _ask_ring(tx, who, walk, steps)
    bounds = tx.ask("limits.and_pauses", **_queues(who))
    rows = ring()
    if not rows:
        meanwhile()
        bounds()
        walk.is_long = False
        return Claim([], False, None)
    found, cut_off, now = *_seen(walk, [(lane_id, due_at) for lane_id, due_at, _ in rows], steps), rows[0][2]
    rows = bounds()
    open_lanes = _learn(tx, walk, list(found), who, {row[3] for row in rows if row[2] == "paused"})
    gates = limits.room(tx, _known(walk, who, rows), [lane for lane, _ in open_lanes], now=now)
    waiting = _waiting(open_lanes, found, gates)
    plan = _plan(walk, who, waiting, gates, most, now)
    if plan.reservations:
        tx.execute("limits.reserve", batch=_one_for_each(plan.reservations))
    runs = _take(tx, who.worker_id, plan.shares, most, meanwhile) if plan.shares else []
    if gates.gates and runs:
        limits.spend(tx, gates, [(run.id, run.token, run.lane_id) for run in runs])
        served = {run.lane_id for run in runs}
        if any(kept.lane_id in served for kept in gates.reserved.values()):
            tx.execute("limits.unreserve", lanes=sorted(served))
    more = _go_on(walk, list(found), cut_off, waiting, plan, runs, most)
    opens_in = max(0, gates.opens_at - now) if gates.opens_at is not None else None
    return Claim(runs, more, _CONTENDED_US if gates.contended and not runs else opens_in)


def _known(walk: Walk, who: Claimer, rows: Sequence[Sequence[Any]]) -> Limits:
    """The limits as they are: most often those of the claim before, with what was worked out about them."""
    bounds = [row for row in rows if row[2] != "paused"]
    if bounds != walk.limits.rows:
        walk.limits = Limits(bounds)
    return walk.limits


def claim_run(tx: Transaction, who: Claimer, run_id: str) -> Claimed | None:
    """Lease one run by its id, if it is queued and nothing holds it back; None otherwise."""
    picked = tx.one("attempts.pick_one", id=run_id)
    if picked is None:
        return None
    lanes = _learn(tx, Walk(), [picked[3]], who, {row[0] for row in tx.rows("queues.paused", **_queues(who))})
    if not lanes:
        return None
    lane = lanes[0][0]
    gates = limits.room(tx, limits.load(tx, who.namespace), [lane])
    if any(kept.lane_id != lane.id and lane.priority <= kept.priority for kept in gates.reserved.values()):
        return None
    if any(gates.free[toll.gate] < toll.cost for toll in gates.tolls.get(lane.id, ())):
        return None
    run = _handed_out(picked)
    if not tx.execute("attempts.take", worker_id=who.worker_id, batch=[(run.id, run.token - 1, run.seq - 1)]):
        return None
    limits.spend(tx, gates, [(run.id, run.token, run.lane_id)])
    return run


def _queues(who: Claimer) -> dict[str, Any]:
    return {"namespace": who.namespace, "queues": sorted(who.queues)}


def _ask_ring(tx: Transaction, who: Claimer, walk: Walk, steps: int) -> Callable[[], list[tuple[Any, ...]]]:
    """A short ring is seen whole, from its start; of a long one the stretch that is next."""
    floors = sorted({queue_floor(who.namespace, queue) for queue in who.queues})
    spans = [(floor, floor + QUEUE_SPAN) for floor in floors]
    offset = walk.place if walk.is_long else 0
    return tx.ask("lanes.ring", queues=spans, span=CLASS_SPAN, offset=offset, most=steps, wrapped=_WRAPPED_STEPS)


def _learn(tx: Transaction, walk: Walk, ids: Sequence[int], who: Claimer, paused: set[str]) -> list[tuple[Lane, str]]:
    """The lanes of a walk that this claimer serves, in its order."""
    if unknown := [number for number in ids if number not in walk.lanes]:
        walk.lanes |= lanes_of(tx, unknown)
    lanes = (walk.lanes[number] for number in ids if number in walk.lanes)
    return [(lane, lane.queue) for lane in lanes if who.serves(lane) and lane.queue not in paused]


def _waiting(lanes: Sequence[tuple[Lane, str]], due: Mapping[int, int], gates: Room) -> list[tuple[str, Waiting]]:
    return [
        (
            queue,
            Waiting(
                lane.id,
                -lane.priority,
                hash((queue, lane.concurrency_key)),
                lane.priority,
                due[lane.id],
                tolls=gates.tolls.get(lane.id, ()),
            ),
        )
        for lane, queue in lanes
    ]


def _plan(walk: Walk, who: Claimer, waiting: Sequence[tuple[str, Waiting]], gates: Room, most: int, now: int) -> Plan:
    """The shares of one claim: a part for what has waited too long, the rest by the claimer's queues."""
    lanes = [lane for _, lane in waiting]
    plan, free = Plan(), dict(gates.free)
    if (aged := walk.unaged // AGED_SHARE or int(walk.unaged >= AGED_SHARE - 1)) and (old := claiming.starving(lanes, now)):
        plan = claiming.share_out(old, free, gates.reserved, most=min(aged, max(1, most // AGED_SHARE)), now=now)
        plan.aged = {share.lane_id for share in plan.shares}
        waiting = [(queue, lane) for queue, lane in waiting if lane.lane_id not in plan.aged]
        most -= sum({share.place: share.quota for share in plan.shares}.values())
    for lanes, part in _by_queue(walk, who, waiting, most):
        _add(plan, claiming.share_out(lanes, free, gates.reserved, most=part, now=now))
    return plan


def _by_queue(walk: Walk, who: Claimer, waiting: Sequence[tuple[str, Waiting]], most: int) -> list[tuple[list[Waiting], int]]:
    weights = {queue: who.queues[queue] for queue, _ in waiting}
    if most <= 0:
        return []
    if any(weight is None for weight in weights.values()):
        return [([lane for _, lane in waiting], most)]
    parts, walk.credit = claiming.split(most, {queue: weight or 1 for queue, weight in weights.items()}, walk.credit)
    return [([lane for queue, lane in waiting if queue == name], part) for name, part in parts.items() if part]


def _add(plan: Plan, more: Plan) -> None:
    """Append the shares of another part of the claim; places of groups stay apart."""
    first = 1 + max((share.place for share in plan.shares), default=-1)
    plan.shares += [share._replace(place=share.place + first) for share in more.shares] if first else more.shares
    plan.reservations += more.reservations


def _one_for_each(made: Sequence[Reservation]) -> list[Reservation]:
    """The reservations to be written, one for each limit: that of the highest priority, the first of several."""
    strongest: dict[int, Reservation] = {}
    for each in sorted(made, key=lambda each: each.priority):
        if each.gate not in strongest or each.priority > strongest[each.gate].priority:
            strongest[each.gate] = each
    return sorted(strongest.values())


def _take(tx: Transaction, worker_id: str, shares: Sequence[Share], most: int, meanwhile: Callable[[], None]) -> list[Claimed]:
    if tx.capabilities.skip_locked:
        answer = tx.ask("attempts.claim", worker_id=worker_id, share=shares, most=most)
        meanwhile()
        claimed = [Claimed(*row) for row in answer()]
        return [run if run.body is not None else _with_payload(tx, run) for run in claimed]
    deepest = max(share.cap for share in shares)
    picked = tx.rows("attempts.pick", share=shares, most=most, deepest=deepest)
    if not picked:
        return []
    taken = tx.execute("attempts.take", worker_id=worker_id, batch=sorted((row[0], row[1], row[2]) for row in picked))
    runs = [_handed_out(row) for row in picked]
    if taken == len(runs):
        return runs
    mine = {(row[0], row[1]) for row in tx.rows("attempts.held", worker_id=worker_id)}  # another claim was first with some
    return [run for run in runs if (run.id, run.token) in mine]


def _with_payload(tx: Transaction, run: Claimed) -> Claimed:
    """A run whose payload was replaced by a transaction that ended while the claim was under way: its statement saw the run as it
    is now, and the ledger as it was before."""
    row = tx.one("runs.payload", id=run.id)
    return run if row is None else run._replace(body=row[1])


def _handed_out(row: Sequence[Any]) -> Claimed:
    """A picked run as it is after its claim: one token and one event further."""
    return Claimed(row[0], row[1] + 1, row[2] + 1, *row[3:])


def _go_on(
    walk: Walk,
    ring: Sequence[int],
    cut_off: int | None,
    waiting: Sequence[tuple[str, Waiting]],
    plan: Plan,
    runs: Sequence[Claimed],
    most: int,
) -> bool:
    """Move on around the ring, and say whether another claim may find work at once."""
    taken: dict[int, int] = {}
    for run in runs:
        taken[run.lane_id] = taken.get(run.lane_id, 0) + 1
    walk.unaged = walk.unaged + len(runs) if plan.aged.isdisjoint(taken) else 0
    walk.fell_short = len(runs) < most
    if runs:
        walk.fruitless = 0
        walk.place = after_group([number for number in ring if number in taken][-1])
        shared = {share.lane_id for share in plan.shares}
        return (
            len(runs) >= most
            or cut_off is not None
            or any(taken.get(share.lane_id, 0) >= share.cap for share in plan.shares)
            or any(lane.lane_id not in shared and lane.tolls for _, lane in waiting)
        )
    if cut_off is None:
        walk.fruitless = 0
        return False
    place = after_lane(cut_off)
    walk.fruitless += (place - walk.place) % CLASS_SPAN or CLASS_SPAN  # at the same place again: that was once around
    walk.place = place
    if walk.fruitless >= CLASS_SPAN:  # once around, and nothing for us
        walk.fruitless = 0
        return False
    return True


def _seen(walk: Walk, ring: Sequence[tuple[int, int]], steps: int) -> tuple[dict[int, int], int | None]:
    """The lanes of a walk with the instant of their heads, in the order in which they are served, and the last one of the first
    stretch that ended by its bound and not because it was at its end: what lies beyond it is next."""
    seen: dict[int, int] = {}
    cut_off: int | None = None
    for first, stretch in _stretches(ring):
        bound = steps if first else _WRAPPED_STEPS
        if not first and cut_off is not None and class_of(cut_off) == class_of(stretch[0][0]):
            continue  # the stretch before it went on
        if len(stretch) >= bound and cut_off is None:
            cut_off = stretch[-1][0]
        turned = stretch if walk.is_long else sorted(stretch, key=lambda lane: lane[0] % CLASS_SPAN < walk.place)
        seen |= dict(turned)
    walk.is_long = cut_off is not None
    return seen, cut_off


def _stretches(ring: Sequence[tuple[int, int]]) -> Iterator[tuple[bool, Sequence[tuple[int, int]]]]:
    """The parts of a walk: of each class from the claimer's place to its end, and, second, from its start to that place."""
    start, first, before = 0, True, -1
    ceiling = class_of(ring[0][0]) + CLASS_SPAN if ring else 0
    for place, (lane_id, _) in enumerate(ring):
        if not before < lane_id < ceiling:
            yield first, ring[start:place]
            same = ceiling - CLASS_SPAN <= lane_id < ceiling
            start, first, ceiling = place, not same, class_of(lane_id) + CLASS_SPAN
        before = lane_id
    if ring:
        yield first, ring[start:]
