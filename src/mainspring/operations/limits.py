"""Limits at work: which of them bind the runs of a lane, what they still let through, and what a claim takes of them.

A slot is a row, by fence; what is held of a limit is counted from its rows and kept nowhere else. Limits of queues, tasks, pools,
namespaces and all of it are locked row by row in one order; counters of single keys are passed over where another claim is at them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mainspring.core.claiming import Reservation, Toll
from mainspring.core.durations import DAY
from mainspring.core.lanes import Lane
from mainspring.core.limits import Limit, Measure, Pace, Rate, Scope, counter_id, limit_id
from mainspring.operations.lanes import lanes_of
from mainspring.store.database import Transaction

_MOST_PATHS = 20_000


class LimitRow(NamedTuple):
    """A row of ``limits``. ``size`` None: lifted. Of a rate, ``size`` runs may begin in ``per`` µs."""

    id: int
    namespace: str
    scope: str
    name: str
    key: str
    measure: str
    size: int | None
    per: int | None
    burst: int
    cost: int
    strict: int
    source: str
    changed_at: int
    reserved_lane: int | None
    reserved_priority: int | None

    @property
    def is_rate(self) -> bool:
        """Whether it counts runs begun in a span, rather than runs at once."""
        return self.measure == Measure.RATE

    @property
    def pace(self) -> Pace:
        """The rate it keeps."""
        return Pace.of(self.size or 0, self.per or 0, burst=self.burst, cost=self.cost)


class Gate(NamedTuple):
    """A limit as it binds some lanes: the row that says how much, and the counter that is counted in."""

    id: int
    row: LimitRow
    is_coarse: bool


class Limits:
    """The limits that can bind runs of one namespace, by what they are over."""

    def __init__(self, rows: Iterable[Sequence[object]]) -> None:
        self.rows = list(rows)
        self._by_subject: dict[tuple[str, str, str], list[LimitRow]] = {}
        self._paths: dict[Lane, list[tuple[Gate, int]]] = {}
        self._tolls: dict[Lane, tuple[Toll, ...]] = {}
        for row in map(LimitRow._make, self.rows):
            if row.size is not None:
                self._by_subject.setdefault((row.scope, row.name, row.key), []).append(row)

    def __bool__(self) -> bool:
        return bool(self._by_subject)

    def of(self, lane: Lane) -> list[tuple[Gate, int]]:
        """The gates on the path of a lane's runs, and what one run takes of each."""
        if not self._by_subject:
            return []
        if lane not in self._paths:
            if len(self._paths) > _MOST_PATHS:
                self._paths.clear()
                self._tolls.clear()
            self._paths[lane] = self._path(lane)
        return self._paths[lane]

    def tolls(self, lane: Lane) -> tuple[Toll, ...]:
        """What one run of a lane takes of each gate on its path."""
        if lane not in self._tolls:
            self._tolls[lane] = tuple(Toll(gate.id, cost) for gate, cost in self.of(lane))
        return self._tolls[lane]

    def _path(self, lane: Lane) -> list[tuple[Gate, int]]:
        found = [(Gate(row.id, row, True), cost) for subject, cost in _subjects(lane) for row in self._by_subject.get(subject, ())]
        if lane.concurrency_key is not None:
            found += [(Gate(counter_id(row.id, lane.concurrency_key), row, False), 1) for row in self._of_key(lane)]
        return found

    def _of_key(self, lane: Lane) -> list[LimitRow]:
        """What the queue says of each key, or an operator of this one."""
        each = self._by_subject.get((Scope.EACH_KEY, lane.queue, ""), [])
        own = self._by_subject.get((Scope.KEY, lane.queue, lane.concurrency_key or ""), [])
        measures = {row.measure for row in own}
        # the counter stays that of `each key`, so that nothing is forgotten when one key gets a limit of its own
        ids = {row.measure: row.id for row in each}
        return [row._replace(id=ids.get(row.measure, row.id)) for row in own] + [row for row in each if row.measure not in measures]


def _subjects(lane: Lane) -> list[tuple[tuple[Scope, str, str], int]]:
    once = [(Scope.TOTAL, ""), (Scope.NAMESPACE, ""), (Scope.QUEUE, lane.queue), (Scope.TASK, lane.task)]
    return [((scope, name, ""), 1) for scope, name in once] + [((Scope.POOL, name, ""), units) for name, units in lane.uses]


@dataclass(slots=True)
class Room:
    """What the gates of some lanes let through at this moment, under lock until the transaction ends."""

    now: int
    gates: dict[int, Gate] = field(default_factory=dict)
    tolls: dict[int, tuple[Toll, ...]] = field(default_factory=dict)  # of each lane
    free: dict[int, int] = field(default_factory=dict)
    reserved: dict[int, Reservation] = field(default_factory=dict)
    next_at: dict[int, int] = field(default_factory=dict)
    opens_at: int | None = None
    contended: bool = False


def room(tx: Transaction, limits: Limits, lanes: Sequence[Lane], *, now: int | None = None) -> Room:
    """Lock the limits on the paths of these lanes, and count what they let through at the instant ``now``."""
    found = Room(now=tx.now if now is None else now)
    for lane in lanes:
        if path := limits.of(lane):
            for gate, _ in path:
                found.gates[gate.id] = gate
            found.tolls[lane.id] = limits.tolls(lane)
    if not found.gates:
        return found
    coarse = sorted(gate.id for gate in found.gates.values() if gate.is_coarse)
    keys = sorted(gate.id for gate in found.gates.values() if not gate.is_coarse)
    locked = tx.ask("limits.lock", ids=coarse, keys=[(key,) for key in keys])
    used = tx.ask("limits.used", ids=[gate.id for gate in found.gates.values() if not gate.row.is_rate])
    rates = [gate.id for gate in found.gates.values() if gate.row.is_rate]
    instants = tx.ask("rates.get", ids=rates) if rates else None
    allowed = set[int]()
    for row in locked():
        allowed.add(int(row[0]))
        _renew(found, row)
    _forget_lifted(found)
    held = {int(row[0]): int(row[1]) for row in used()}
    found.next_at = {int(row[0]): int(row[1]) for row in (instants() if instants else ())}
    found.contended = len(allowed) < len(found.gates)
    for gate in found.gates.values():
        found.free[gate.id] = _lets_through(tx, gate, held, found) if gate.id in allowed else 0
    return found


def _renew(found: Room, row: Sequence[int | None]) -> None:
    """What an operator changed since the limits were read counts."""
    number, size, per, burst, cost, lane, priority = row
    assert number is not None
    gate = found.gates[number]
    if not gate.is_coarse:
        return
    fresh = gate.row._replace(size=size, per=per, burst=burst or 1, cost=cost or 1)
    found.gates[number] = gate._replace(row=fresh)
    if lane is not None and priority is not None:
        found.reserved[number] = Reservation(number, lane, priority)


def _forget_lifted(found: Room) -> None:
    """What an operator lifted since the limits were read binds nobody."""
    if lifted := {number for number, gate in found.gates.items() if gate.row.size is None}:
        found.gates = {number: gate for number, gate in found.gates.items() if number not in lifted}
        found.tolls = {lane: tuple(toll for toll in tolls if toll.gate not in lifted) for lane, tolls in found.tolls.items()}


def _lets_through(tx: Transaction, gate: Gate, held: Mapping[int, int], found: Room) -> int:
    row = gate.row
    assert row.size is not None
    if not row.is_rate:
        return max(0, row.size - held.get(gate.id, 0))
    next_at = found.next_at.get(gate.id, 0)
    free = row.pace.admits(next_at, found.now)
    opens_at = row.pace.opens_at(next_at)
    if row.strict and row.per:
        begun = [int(at) for (at,) in tx.rows("admissions.since", id=gate.id, since=found.now - row.per, most=row.size)]
        room_left = (row.size - len(begun) * row.cost) // row.cost
        if room_left < free:
            free = max(0, room_left)
            opens_at = begun[0] + row.per if begun and not free else opens_at
    if not free and opens_at is not None:
        found.opens_at = opens_at if found.opens_at is None else min(found.opens_at, opens_at)
    return free


def take(tx: Transaction, found: Room, begun: Sequence[tuple[str, int, int]]) -> None:
    """Write what claimed runs (id, token, lane) take of the gates on their path."""
    slots, spent, admitted = [], dict[int, int](), []
    for run_id, token, lane_id in begun:
        for toll in found.tolls.get(lane_id, ()):
            row = found.gates[toll.gate].row
            if not row.is_rate:
                slots.append((toll.gate, run_id, token, toll.cost))
                continue
            spent[toll.gate] = spent.get(toll.gate, 0) + 1
            if row.strict:
                admitted.append((toll.gate, run_id, token))
    if slots:
        tx.send("slots.begin", batch=sorted(slots))
    if spent:
        batch = [(gate, _after(found, gate, begun_now, found.now)) for gate, begun_now in sorted(spent.items())]
        tx.send("rates.put", batch=batch)
    if admitted:
        tx.send("admissions.log", batch=sorted(admitted))


def _after(found: Room, gate: int, begun: int, now: int) -> int:
    return found.gates[gate].row.pace.after(found.next_at.get(gate, 0), now, begun)


def free(tx: Transaction, fences: Sequence[tuple[str, int]]) -> None:
    """Give back the slots of fences (run, token) that are over."""
    if fences:
        tx.execute("slots.free", batch=sorted(fences))


def refund(tx: Transaction, limits: Limits, lanes: Sequence[Lane]) -> None:
    """Give back to rates what runs of these lanes spent that did not begin after all."""
    back: dict[int, int] = {}
    for lane in lanes:
        for gate, _ in limits.of(lane):
            if gate.row.is_rate:
                back[gate.id] = back.get(gate.id, 0) + (gate.row.pace.interval or 0)
    if back:
        tx.execute("rates.refund", batch=sorted(back.items()))


def close(tx: Transaction, limits: Limits, lane: Lane, *, until: int, pool: str | None = None) -> None:
    """Let nothing that shares a rate with this lane (or the pool of that name) begin before an instant."""
    gates = [gate for gate, _ in limits.of(lane) if gate.row.is_rate and (pool is None or gate.row.name == pool)]
    if gates:
        tx.execute("rates.close", batch=sorted((gate.id, gate.row.pace.closed_until(until)) for gate in gates))


def load(tx: Transaction, namespace: str) -> Limits:
    """The limits that can bind runs of a namespace."""
    return Limits(row for row in tx.rows("limits.all", namespace=namespace) if row[1] == namespace or row[2] == Scope.TOTAL)


# -- declaring and changing --------------------------------------------------------------------------------------------


def declare(tx: Transaction, namespace: str, scope: Scope, name: str, limit: Limit | Rate) -> None:
    """What code says of a limit. One that an operator changed stays as the operator left it."""
    row = _row(namespace, scope, name, "", limit)
    if tx.execute("limits.declare", **row):
        adopt(tx, namespace)


def put(
    tx: Transaction, namespace: str, scope: Scope, name: str, limit: Limit | Rate | None, *, key: str = "", measure: Measure
) -> None:
    """An operator sets a limit, or lifts it (None). What runs already keeps running and is counted."""
    if limit is None:
        limit, size = Limit(0) if measure is Measure.AT_ONCE else Rate(0, per="1s"), None
    else:
        size = limit.size if isinstance(limit, Limit) else limit.n
    tx.execute("limits.set", **_row(namespace, scope, name, key, limit) | {"size": size})
    adopt(tx, namespace)


def reset(tx: Transaction, namespace: str, scope: Scope, name: str, *, key: str = "", measure: Measure) -> bool:
    """Let code say again what a limit is. False: no operator had changed it."""
    return tx.execute("limits.reset", id=limit_id(scope, _space(namespace, scope), name, key, measure)) == 1


def _row(namespace: str, scope: Scope, name: str, key: str, limit: Limit | Rate) -> dict[str, object]:
    space = _space(namespace, scope)
    number = limit_id(scope, space, name, key, limit.measure)
    row: dict[str, object] = {"id": number, "namespace": space, "scope": scope, "name": name, "key": key, "measure": limit.measure}
    if isinstance(limit, Limit):
        return row | {"size": limit.size, "per": None, "burst": 1, "cost": 1, "strict": 0}
    return row | {"size": limit.n, "per": limit.per_us, "burst": limit.burst, "cost": limit.cost, "strict": int(limit.strict)}


def _space(namespace: str, scope: Scope) -> str:
    return "" if scope is Scope.TOTAL else namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitView:
    """A limit as it stands: ``used`` of ``size`` at once, or ``size`` in ``per_us`` from ``opens_at`` on. ``size`` None: lifted."""

    scope: str
    name: str
    key: str
    measure: str
    size: int | None
    per_us: int | None
    burst: int
    source: str
    used: int | None
    opens_at: int | None


def listing(tx: Transaction, namespace: str) -> list[LimitView]:
    """The limits that can bind runs of a namespace, by scope and name."""
    rows = list(map(LimitRow._make, tx.rows("limits.all", namespace=namespace)))
    held = {row[0]: int(row[1]) for row in tx.rows("limits.used", ids=[row.id for row in rows])}
    instants = {row[0]: int(row[1]) for row in tx.rows("rates.get", ids=[row.id for row in rows])}
    views = [_view(row, held, instants) for row in rows if row.namespace == namespace or row.scope == Scope.TOTAL]
    return sorted(views, key=lambda view: (view.scope, view.name, view.key, view.measure))


def _view(row: LimitRow, held: Mapping[int, int], instants: Mapping[int, int]) -> LimitView:
    return LimitView(
        scope=row.scope,
        name=row.name,
        key=row.key,
        measure=row.measure,
        size=row.size,
        per_us=row.per,
        burst=row.burst,
        source=row.source,
        used=None if row.is_rate or row.scope == Scope.EACH_KEY else held.get(row.id, 0),
        opens_at=row.pace.opens_at(instants[row.id]) if row.is_rate and row.id in instants else None,
    )


# -- making slots and runs agree ---------------------------------------------------------------------------------------

_PAGE = 500
_FIRST_ID = "00000000-0000-0000-0000-000000000000"


def sweep(tx: Transaction) -> int:
    """Make slots and runs agree: free the slots of fences that are over, and give held runs their missing ones.

    They disagree only where a limit was set while a claim or an ending was under way that knew of none. Returns what was freed.
    """
    freed = tx.execute("slots.stale")
    tx.execute("limits.idle_reservations")
    adopt(tx, "")
    return freed


def forget(tx: Transaction) -> None:
    """Remove what rates remember of a time that no longer counts."""
    tx.execute("rates.forget", before=tx.now - DAY)
    tx.execute("admissions.forget")


def adopt(tx: Transaction, namespace: str) -> None:
    """Give the runs that are held in a namespace ('' for all) the slots that they hold by the limits there are now."""
    known: dict[str, Limits] = {}
    after = _FIRST_ID
    while True:
        held = tx.rows("slots.held", namespace=namespace, after=after, most=_PAGE)
        if missing := _missing(tx, held, known):
            still = {(row[0], row[1]) for row in tx.rows("slots.still", ids=sorted({slot[1] for slot in missing}))}
            if mine := [slot for slot in missing if (slot[1], slot[2]) in still]:
                tx.execute("slots.take", batch=mine)
        if len(held) < _PAGE:
            return
        after = held[-1][0]


def _missing(tx: Transaction, held: Sequence[Sequence[Any]], known: dict[str, Limits]) -> list[tuple[int, str, int, int]]:
    """The slots that held runs should have and have not."""
    lanes = lanes_of(tx, [row[2] for row in held])
    for lane in lanes.values():
        if lane.namespace not in known:
            known[lane.namespace] = load(tx, lane.namespace)
    wanted = [
        (gate.id, run_id, token, cost)
        for run_id, token, lane_id in held
        for gate, cost in known[lanes[lane_id].namespace].of(lanes[lane_id])
        if not gate.row.is_rate
    ]
    if not wanted:
        return []
    there = {(row[0], row[1], row[2]) for row in tx.rows("slots.of", ids=sorted({slot[1] for slot in wanted}))}
    return sorted(slot for slot in wanted if slot[:3] not in there)
