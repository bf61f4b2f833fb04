"""Limits at work: which of them bind the runs of a lane, what they still let through, and what a claim takes of them.

A leased run is the slot: what is held of a limit is counted from the runs that are held, each by the path of its lane, and is kept
nowhere else. Limits of queues, tasks, pools, namespaces and all of it are locked row by row in one order; counters of single keys
are passed over where another claim is at them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mainspring.core.access import EVERY
from mainspring.core.claiming import Reservation, Toll
from mainspring.core.durations import DAY
from mainspring.core.ids import stable_id
from mainspring.core.lanes import QUEUE_SPAN, Lane, queue_floor
from mainspring.core.limits import Limit, Measure, Pace, Rate, Scope, counter_id, limit_id
from mainspring.errors import ChangedMeanwhile, UnknownLimit
from mainspring.operations import audit
from mainspring.operations.lanes import lanes_of
from mainspring.store.database import Transaction

_MOST_PATHS = 20_000
_EVERYWHERE = (0, 2**63 - 1)
_OF_ONE_QUEUE = frozenset({Scope.QUEUE, Scope.EACH_KEY, Scope.KEY})


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
    """A limit as it binds some lanes: the row that says how much, and the counter that is counted in. ``queue`` (namespace, name)
    is where its runs are; None: in more than one."""

    id: int
    row: LimitRow
    is_coarse: bool
    is_rate: bool
    queue: tuple[str, str] | None

    @staticmethod
    def of(row: LimitRow, key: str | None = None) -> "Gate":
        """The gate of a limit; with ``key``, that of one concurrency key."""
        number = row.id if key is None else counter_id(row.id, key)
        queue = (row.namespace, row.name) if row.scope in _OF_ONE_QUEUE else None
        return Gate(number, row, key is None, row.is_rate, queue)


class Path(NamedTuple):
    """The gates that a lane's runs go through, and what one run takes of each."""

    steps: tuple[tuple[Gate, int], ...]
    gates: Mapping[int, Gate]
    tolls: tuple[Toll, ...]

    @staticmethod
    def through(steps: Sequence[tuple[Gate, int]]) -> "Path":
        """Through these gates, at these costs."""
        gates = {gate.id: gate for gate, _ in steps}
        return Path(tuple(steps), gates, tuple(Toll(gate.id, cost) for gate, cost in steps))


_FREE = Path((), {}, ())


class Limits:
    """The limits that can bind runs of one namespace, by what they are over."""

    def __init__(self, rows: Iterable[Sequence[object]]) -> None:
        self.rows = list(rows)
        self._by_subject: dict[tuple[str, str, str, str], list[LimitRow]] = {}
        self._paths: dict[int, Path] = {}
        for row in map(LimitRow._make, self.rows):
            if row.size is not None:
                self._by_subject.setdefault((row.namespace, row.scope, row.name, row.key), []).append(row)

    def __bool__(self) -> bool:
        return bool(self._by_subject)

    def path(self, lane: Lane) -> Path:
        """What the runs of a lane go through."""
        path = self._paths.get(lane.id)
        if path is None:
            if not self._by_subject:
                return _FREE
            if len(self._paths) > _MOST_PATHS:
                self._paths.clear()
            path = self._paths[lane.id] = Path.through(self._on_the_way(lane))
        return path

    def path_of_held(self, lane_id: int) -> Path:
        """The same for a lane of which ``held`` was told, by its number."""
        return self._paths.get(lane_id, _FREE)

    def held(self, tx: Transaction, rows: Sequence[Sequence[Any]]) -> dict[int, int]:
        """How much is held of each gate, from the rows of ``limits.held``."""
        unknown = [row[0] for row in rows if row[0] is not None and row[0] not in self._paths]
        for lane in lanes_of(tx, unknown).values():
            self.path(lane)
        held: dict[int, int] = {}
        for lane_id, number, units in rows:
            for gate, cost in ((number, 1),) if lane_id is None else self.path_of_held(lane_id).tolls:
                held[gate] = held.get(gate, 0) + int(units) * cost
        return held

    def _on_the_way(self, lane: Lane) -> list[tuple[Gate, int]]:
        found = [(Gate.of(row), cost) for subject, cost in _subjects(lane) for row in self._by_subject.get(subject, ())]
        if lane.concurrency_key is not None:
            found += [(Gate.of(row, lane.concurrency_key), 1) for row in self._of_key(lane)]
        return found

    def _of_key(self, lane: Lane) -> list[LimitRow]:
        """What the queue says of each key, or an operator of this one."""
        each = self._by_subject.get((lane.namespace, Scope.EACH_KEY, lane.queue, ""), [])
        own = self._by_subject.get((lane.namespace, Scope.KEY, lane.queue, lane.concurrency_key or ""), [])
        measures = {row.measure for row in own}
        # the counter stays that of `each key`, so that nothing is forgotten when one key gets a limit of its own
        ids = {row.measure: row.id for row in each}
        return [row._replace(id=ids.get(row.measure, row.id)) for row in own] + [row for row in each if row.measure not in measures]


def _subjects(lane: Lane) -> list[tuple[tuple[str, Scope, str, str], int]]:
    space = lane.namespace
    once = [("", Scope.TOTAL, ""), (space, Scope.NAMESPACE, ""), (space, Scope.QUEUE, lane.queue), (space, Scope.TASK, lane.task)]
    return [((*subject, ""), 1) for subject in once] + [((space, Scope.POOL, name, ""), units) for name, units in lane.uses]


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
        path = limits.path(lane)
        if path.tolls:
            found.tolls[lane.id] = path.tolls
            found.gates.update(path.gates)
    if not found.gates:
        return found
    coarse = sorted(number for number, gate in found.gates.items() if gate.is_coarse)
    keys = sorted(number for number, gate in found.gates.items() if not gate.is_coarse)
    # where nobody can pass over a counter in which another counts, claims that share the limit over it take turns
    whole = set() if tx.capabilities.skip_locked else {found.gates[number].row.id for number in keys}
    locked = tx.ask("limits.lock", ids=sorted(whole.union(coarse)), keys=[(key,) for key in keys])
    used = _ask_held(tx, found.gates.values())
    rates = [number for number, gate in found.gates.items() if gate.is_rate]
    instants = tx.ask("rates.get", ids=rates) if rates else None
    shut = set(coarse)
    for row in locked():
        if row[1]:
            shut.add(int(row[0]))
        elif row[0] in found.gates:
            shut.discard(int(row[0]))
            _renew(found, row)
    _forget_lifted(found)
    held = limits.held(tx, used())
    found.next_at = {int(row[0]): int(row[1]) for row in (instants() if instants else ())}
    found.contended = bool(shut)
    for number, gate in found.gates.items():
        if number in shut:
            found.free[number] = 0
        elif gate.is_rate:
            found.free[number] = _admits(tx, gate, found)
        else:
            found.free[number] = max(0, (gate.row.size or 0) - held.get(number, 0))
    return found


def _ask_held(tx: Transaction, gates: Iterable[Gate]) -> Callable[[], list[tuple[Any, ...]]]:
    """Ask what is held in the queues of these gates; everywhere, if one of them is over more than a queue."""
    counted = [gate for gate in gates if not gate.is_rate]
    if not counted:
        return list
    over = {gate.queue for gate in counted}
    floors = sorted({queue_floor(*queue) for queue in over if queue is not None})
    spans = [_EVERYWHERE] if None in over else [(floor, floor + QUEUE_SPAN) for floor in floors]
    return tx.ask("limits.held", spans=spans, ids=[gate.id for gate in counted])


def held(tx: Transaction, limits: Limits, gates: Sequence[Gate]) -> tuple[list[int], dict[int, int]]:
    """The lanes of which runs are held beside these gates, and how much is held of each gate. For a reader: nothing is locked."""
    rows = _ask_held(tx, gates)()
    return [row[0] for row in rows if row[0] is not None], limits.held(tx, rows)


def _renew(found: Room, row: Sequence[int | None]) -> None:
    """What an operator changed since the limits were read counts."""
    number, _, size, per, burst, cost, lane, priority = row
    assert number is not None
    gate = found.gates[number]
    fresh = gate.row._replace(size=size, per=per, burst=burst or 1, cost=cost or 1)
    found.gates[number] = gate._replace(row=fresh)
    if lane is not None and priority is not None:
        found.reserved[number] = Reservation(number, lane, priority)


def _forget_lifted(found: Room) -> None:
    """What an operator lifted since the limits were read binds nobody."""
    if lifted := {number for number, gate in found.gates.items() if gate.row.size is None}:
        found.gates = {number: gate for number, gate in found.gates.items() if number not in lifted}
        found.tolls = {lane: tuple(toll for toll in tolls if toll.gate not in lifted) for lane, tolls in found.tolls.items()}


def _admits(tx: Transaction, gate: Gate, found: Room) -> int:
    """How many a rate lets begin now; and where that is none, from when on it does."""
    row = gate.row
    assert row.size is not None
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


def spend(tx: Transaction, found: Room, begun: Sequence[tuple[str, int, int]]) -> None:
    """Write what claimed runs (id, token, lane) spend of the rates on their path. Of the other limits they hold by being held."""
    spent, admitted = dict[int, int](), []
    rates = {number: gate.row for number, gate in found.gates.items() if gate.is_rate}
    if not rates:
        return
    for run_id, token, lane_id in begun:
        for toll in found.tolls.get(lane_id, ()):
            if (row := rates.get(toll.gate)) is not None:
                spent[toll.gate] = spent.get(toll.gate, 0) + 1
                if row.strict:
                    admitted.append((toll.gate, run_id, token))
    if spent:
        batch = [(gate, _after(found, gate, begun_now, found.now)) for gate, begun_now in sorted(spent.items())]
        tx.send("rates.put", batch=batch)
    if admitted:
        tx.send("admissions.log", batch=sorted(admitted))


def _after(found: Room, gate: int, begun: int, now: int) -> int:
    return found.gates[gate].row.pace.after(found.next_at.get(gate, 0), now, begun)


def refund(tx: Transaction, limits: Limits, unstarted: Sequence[tuple[Lane, int]]) -> None:
    """Give back to rates what runs (lane, and when it was claimed) spent that did not begin after all. A rate that was set since
    had nothing of them."""
    back: dict[int, int] = {}
    for lane, claimed_at in unstarted:
        for gate, _ in limits.path(lane).steps:
            if gate.is_rate and claimed_at > gate.row.changed_at:
                back[gate.id] = back.get(gate.id, 0) + (gate.row.pace.interval or 0)
    if back:
        tx.execute("rates.refund", batch=sorted(back.items()))


def close(tx: Transaction, limits: Limits, lane: Lane, *, until: int, pool: str | None = None) -> None:
    """Let nothing that shares a rate with this lane (or the pool of that name) begin before an instant."""
    gates = [gate for gate, _ in limits.path(lane).steps if gate.is_rate and (pool is None or gate.row.name == pool)]
    if gates:
        tx.execute("rates.close", batch=sorted((gate.id, gate.row.pace.closed_until(until)) for gate in gates))


def load(tx: Transaction, namespace: str) -> Limits:
    """The limits that can bind runs of a namespace."""
    return Limits(row for row in tx.rows("limits.all", namespace=namespace) if row[1] == namespace or row[2] == Scope.TOTAL)


# -- declaring and changing --------------------------------------------------------------------------------------------


def declare(tx: Transaction, namespace: str, scope: Scope, name: str, limit: Limit | Rate) -> None:
    """What code says of a limit. One that an operator changed stays as the operator left it."""
    tx.capabilities.require("limits", "declare none, and bound what runs at once by the workers' concurrency=")
    row = _row(namespace, scope, name, "", limit)
    tx.execute("limits.declare", **row)


def put(
    tx: Transaction, namespace: str, scope: Scope, name: str, limit: Limit | Rate | None, *, key: str = "", measure: Measure,
    actor: str,
) -> None:  # fmt: skip
    """An operator sets a limit, or lifts it (None). What runs already keeps running, and counts."""
    verb = "lifted" if limit is None else "set"
    tx.capabilities.require("limits", "set none, and bound what runs at once by the workers' concurrency=")
    if limit is None:
        limit, size = Limit(0) if measure is Measure.AT_ONCE else Rate(0, per="1s"), None
    else:
        size = limit.size if isinstance(limit, Limit) else limit.n
    row = _row(namespace, scope, name, key, limit) | {"size": size}
    tx.execute("limits.set", **row)
    told = {name: row[name] for name in ("size", "per", "burst", "cost", "strict")} if verb == "set" else {}
    _record(tx, namespace, scope, name, key, measure, verb, actor, told)


def lock(tx: Transaction, namespace: str, scope: Scope, name: str, *, key: str = "", measure: Measure) -> None:
    """Lock a limit, if it is there, until the transaction ends: nobody else changes it, and nothing begins under it."""
    tx.rows("limits.lock", ids=[limit_id(scope, _space(namespace, scope), name, key, measure)], keys=[])


def reset(tx: Transaction, namespace: str, scope: Scope, name: str, *, key: str = "", measure: Measure, actor: str) -> bool:
    """Let code say again what a limit is. False: no operator had changed it."""
    if not tx.execute("limits.reset", id=limit_id(scope, _space(namespace, scope), name, key, measure)):
        return False
    _record(tx, namespace, scope, name, key, measure, "reset", actor, {})
    return True


def _record(
    tx: Transaction, namespace: str, scope: Scope, name: str, key: str, measure: Measure, verb: str, actor: str,
    told: Mapping[str, Any],
) -> None:  # fmt: skip
    noun = "rate" if measure is Measure.RATE else "limit"
    subject = ":".join(part for part in (noun, scope, name) if part)
    data = dict(told) | ({"key": key} if key else {})
    place = _space(namespace, scope) or EVERY
    audit.record(tx, subject, action=f"{noun}.{verb}", namespace=place, actor=actor, data=data)


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
    cost: int
    strict: bool
    source: str
    used: int | None
    opens_at: int | None

    @property
    def version(self) -> str:
        """What tells two settings of the limit apart; what is held of it does not count."""
        said = (self.size, self.per_us, self.burst, self.cost, self.strict, self.source)
        return f"{stable_id('limit', *map(str, said)):016x}"


def listing(tx: Transaction, namespace: str) -> list[LimitView]:
    """The limits that can bind runs of a namespace, by scope and name."""
    rows = list(map(LimitRow._make, tx.rows("limits.all", namespace=namespace)))
    held = Limits(rows).held(tx, tx.rows("limits.held", spans=[_EVERYWHERE], ids=[row.id for row in rows]))
    instants = {row[0]: int(row[1]) for row in tx.rows("rates.get", ids=[row.id for row in rows])}
    views = [_view(row, held, instants) for row in rows if row.namespace == namespace or row.scope == Scope.TOTAL]
    return sorted(views, key=lambda view: (view.scope, view.name, view.key, view.measure))


def get(tx: Transaction, namespace: str, scope: Scope, name: str, *, key: str = "", measure: Measure) -> LimitView:
    """One limit.

    Raises:
        UnknownLimit: neither code nor an operator ever said how much.
    """
    wanted = (scope, name, key, measure)
    found = [view for view in listing(tx, namespace) if (view.scope, view.name, view.key, view.measure) == wanted]
    if not found:
        raise UnknownLimit(f"no limit ({measure}) over {scope} {name}{f' key {key}' if key else ''} in namespace {namespace!r}")
    return found[0]


def require_version(
    tx: Transaction, namespace: str, scope: Scope, name: str, *, key: str = "", measure: Measure, version: str | None
) -> None:
    """Lock a limit, and refuse to go on where it is not as the caller saw it; None: whatever it is.

    Raises:
        ChangedMeanwhile: somebody else changed it, or it is gone.
    """
    lock(tx, namespace, scope, name, key=key, measure=measure)
    if version is None:
        return
    seen = [view.version for view in listing(tx, namespace) if (view.scope, view.name, view.key) == (scope, name, key)]
    if version not in seen:
        raise ChangedMeanwhile(f"the limit over {scope} {name} was changed since you read it; read it again")


def _view(row: LimitRow, held: Mapping[int, int], instants: Mapping[int, int]) -> LimitView:
    return LimitView(
        scope=row.scope,
        name=row.name,
        key=row.key,
        measure=row.measure,
        size=row.size,
        per_us=row.per,
        burst=row.burst,
        cost=row.cost,
        strict=bool(row.strict),
        source=row.source,
        used=None if row.is_rate or row.scope == Scope.EACH_KEY else held.get(row.id, 0),
        opens_at=row.pace.opens_at(instants[row.id]) if row.is_rate and row.id in instants else None,
    )


# -- upkeep ------------------------------------------------------------------------------------------------------------


def sweep(tx: Transaction) -> int:
    """Let go of limits that are kept for the head of a lane in which nothing waits any more; how many."""
    return tx.execute("limits.idle_reservations")


def forget(tx: Transaction) -> None:
    """Remove what rates remember of a time that no longer counts."""
    tx.execute("rates.forget", before=tx.now - DAY)
    tx.execute("admissions.forget")
