"""Reading what explains a run: one bounded snapshot, whatever waits. What follows from it is decided in ``core/explaining.py``.

Every look is by an index and ends at a bound: runs and lanes before this one at 1,000, workers at 200, runs at work at 200, holders
of a limit at ten.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring.core.claiming import Reservation
from mainspring.core.explaining import (
    MOST_AHEAD,
    Explanation,
    Gate,
    Hold,
    Holder,
    HoldKind,
    Last,
    Place,
    Serving,
    Snapshot,
    Upstream,
)
from mainspring.core.explaining import explain as explained
from mainspring.core.lanes import CLASS_SPAN, Lane, class_floor, queue_floor
from mainspring.core.limits import Scope
from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, State
from mainspring.operations import limits, views
from mainspring.operations.lanes import lanes_of
from mainspring.store.database import Transaction

__all__ = ["Explanation", "Hold", "HoldKind", "Holder", "Place", "explain", "why"]

_MOST_WORKERS = 200
_MOST_AT_WORK = 200
_MOST_HOLDERS = 10
_MOST_UPSTREAMS = 20


def explain(tx: Transaction, namespace: str, run_id: str) -> Explanation:
    """Why a run is where it is.

    Raises:
        UnknownRun: there is none of that id in this namespace.
    """
    run = views.get(tx, namespace, run_id).run
    lane = lanes_of(tx, [run.lane_id])[run.lane_id]
    if run.is_terminal or run.state in ACTIVE:
        return explained(_of_holder(tx, run, lane))
    return explained(_of_waiting(tx, run, lane))


def _of_holder(tx: Transaction, run: Run, lane: Lane) -> Snapshot:
    worker = tx.one("explain.worker", id=run.worker_id) if run.worker_id is not None else None
    fleet = tx.one("fleet.tick")
    return Snapshot(
        now=tx.now,
        run=run,
        lane=lane,
        last=_last(tx, run),
        holder_expires_at=worker[0] if worker else None,
        reap_hold_until=fleet[1] if fleet else 0,
    )


def _of_waiting(tx: Transaction, run: Run, lane: Lane) -> Snapshot:
    pause = tx.one("explain.pause", namespace=lane.namespace, queue=lane.queue) or (None, None)
    workers = [_serving(row) for row in tx.rows("explain.workers", namespace=lane.namespace, most=_MOST_WORKERS)]
    queued = run.state is State.QUEUED
    return Snapshot(
        now=tx.now,
        run=run,
        lane=lane,
        last=_last(tx, run),
        upstreams=_upstreams(tx, run) if run.state is State.BLOCKED else (),
        paused_at=pause[0],
        paused_by=pause[1],
        gates=_gates(tx, lane) if queued else (),
        ahead=_ahead(tx, run) if queued else 0,
        lanes_ahead=_lanes(tx, queue_floor(lane.namespace, lane.queue), _floor(lane)) if queued else 0,
        lanes_beside=_lanes(tx, _floor(lane), _floor(lane) + CLASS_SPAN) if queued else 0,
        workers=tuple(workers),
        ages=_ages(tx, lane, [worker.id for worker in workers if worker.held]) if queued else (),
    )


def _last(tx: Transaction, run: Run) -> Last:
    """The last event; of a run at work that of its claim, which is nearly always the same."""
    (event, *_) = views.events(tx, run.id, after=run.seq - 1, most=1)
    told = event.data
    return Last(
        type=event.type, at=event.at, actor=event.actor, code=told.get("code"), message=told.get("message"),
    )  # fmt: skip


def _upstreams(tx: Transaction, run: Run) -> tuple[Upstream, ...]:
    rows = [row for row in tx.rows("dependencies.of", run_id=run.id, most=_MOST_UPSTREAMS) if row[2]]
    states = {row[0]: row[1] for row in tx.rows("views.states", ids=[row[0] for row in rows])} if rows else {}
    return tuple(Upstream(id=row[0], condition=row[1], state=states.get(row[0])) for row in rows)


def _serving(row: Sequence[Any]) -> Serving:
    worker_id, queues, tasks, skills, concurrency, held = row
    names: list[str] = msgspec.json.decode(tasks)
    known: dict[str, Any] = msgspec.json.decode(skills) if skills else {}
    return Serving(
        id=worker_id,
        queues=frozenset(msgspec.json.decode(queues)),
        tasks={name: known.get("versions", {}).get(name, 1) for name in names},
        capabilities=known.get("capabilities", {}),
        is_known=bool(skills),
        concurrency=concurrency,
        held=held,
    )


def _gates(tx: Transaction, lane: Lane) -> tuple[Gate, ...]:
    known = limits.load(tx, lane.namespace)
    path = known.path(lane).steps
    if not path:
        return ()
    holding, used = limits.held(tx, known, [gate for gate, _ in path])
    next_at = {row[0]: int(row[1]) for row in tx.rows("rates.get", ids=[gate.id for gate, _ in path if gate.is_rate])}
    full = [gate for gate, cost in path if not gate.is_rate and used.get(gate.id, 0) + cost > (gate.row.size or 0)]
    holders = {
        gate.id: _holders(tx, gate, [lane_id for lane_id in holding if gate.id in known.path_of_held(lane_id).gates])
        for gate in full
    }
    return tuple(
        _gate(tx, lane, gate, cost, used.get(gate.id, 0), next_at.get(gate.id, 0), holders.get(gate.id, ())) for gate, cost in path
    )


def _holders(tx: Transaction, gate: limits.Gate, lanes: Sequence[int]) -> tuple[Holder, ...]:
    rows = tx.rows("explain.holders", lanes=lanes[:_MOST_HOLDERS], limit_id=gate.id, most=_MOST_HOLDERS)
    return tuple(Holder(run_id=row[0], since=row[1]) for row in rows)


def _gate(tx: Transaction, lane: Lane, gate: limits.Gate, cost: int, used: int, next_at: int, holders: tuple[Holder, ...]) -> Gate:
    row = gate.row
    size = row.size or 0
    kept = row.reserved_lane
    reserved = Reservation(gate.id, kept, row.reserved_priority or 0) if kept is not None else None
    if row.is_rate:
        return Gate(
            name=_name(lane, row), size=size, cost=cost, pace=row.pace, next_at=next_at, full_until=_full_until(tx, gate),
            reserved=reserved,
        )  # fmt: skip
    return Gate(name=_name(lane, row), size=size, cost=cost, used=used, holders=holders, reserved=reserved)


def _full_until(tx: Transaction, gate: limits.Gate) -> int | None:
    """When the window of a strict rate has room again; None where it has."""
    row = gate.row
    if not (row.strict and row.per and row.size):
        return None
    begun = [int(at) for (at,) in tx.rows("admissions.since", id=gate.id, since=tx.now - row.per, most=row.size)]
    return begun[0] + row.per if begun and (len(begun) + 1) * row.cost > row.size else None


def _name(lane: Lane, row: limits.LimitRow) -> str:
    match row.scope:
        case Scope.TOTAL:
            return "the limit of everything"
        case Scope.NAMESPACE:
            return f"namespace {lane.namespace}"
        case Scope.EACH_KEY | Scope.KEY:
            return f"{lane.queue}/{lane.concurrency_key}"
        case Scope.QUEUE:
            return f"queue {row.name}"
        case scope:
            return f"{scope} {row.name}"


def _ahead(tx: Transaction, run: Run) -> int:
    row = tx.one("explain.ahead", lane_id=run.lane_id, due_at=run.due_at, id=run.id, most=MOST_AHEAD)
    return int(row[0]) if row else 0


def _lanes(tx: Transaction, floor: int, ceiling: int) -> int:
    row = tx.one("explain.lanes", floor=floor, ceiling=ceiling, most=MOST_AHEAD) if floor < ceiling else None
    return min(int(row[0]), MOST_AHEAD) if row else 0


def _floor(lane: Lane) -> int:
    return class_floor(lane.namespace, lane.queue, lane.priority)


def _ages(tx: Transaction, lane: Lane, workers: Sequence[str]) -> tuple[int, ...]:
    if not workers:
        return ()
    rows = tx.rows("explain.at_work", workers=workers, namespace=lane.namespace, queue=lane.queue, most=_MOST_AT_WORK)
    return tuple(max(0, tx.now - row[0]) for row in rows)


def why(tx: Transaction, namespace: str, run_id: str) -> str | None:
    """What a run waits for first, in words; None where it waits for nothing (it runs, or has ended).

    Raises:
        UnknownRun: there is none of that id in this namespace.
    """
    found = explain(tx, namespace, run_id)
    return found.summary if found.holds or found.state is State.QUEUED else None
