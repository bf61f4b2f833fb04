"""What is left when a worker has drained its queues, and why it could not do that. A bounded look that takes no lock.

Not here: why one run waits, with all its holds (``explaining``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mainspring.core.lanes import QUEUE_SPAN, Lane, queue_floor
from mainspring.operations.claims import Claimer
from mainspring.operations.lanes import lanes_of
from mainspring.operations.limits import Gate, Limits, held, load
from mainspring.store.database import Transaction

#: Of each kind no more are counted than this; ``Remaining.at_least`` says that there are more.
MOST = 10_000


@dataclass(slots=True, kw_only=True)
class Remaining:
    """Runs of a worker's queues by what holds them. ``delayed``: until a time, the first at ``next_due_at`` (µs). ``blocked``: by
    other runs. ``parked``: until a person decides. By name: ``paused`` queues, ``full`` limits, ``other_task`` (or a newer version,
    or a capability that this worker lacks), ``held`` by which worker. ``ready``: by nothing, so it came during the look."""

    delayed: int = 0
    next_due_at: int | None = None
    blocked: int = 0
    parked: int = 0
    paused: dict[str, int] = field(default_factory=dict)
    full: dict[str, int] = field(default_factory=dict)
    other_task: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    ready: int = 0
    at_least: bool = False

    @property
    def total(self) -> int:
        """How many there are."""
        named = (self.paused, self.full, self.other_task, self.held)
        return self.delayed + self.blocked + self.parked + self.ready + sum(sum(counts.values()) for counts in named)


def remaining(tx: Transaction, who: Claimer) -> Remaining:
    """Count what is left of the queues that ``who`` serves."""
    found = Remaining()
    queued = _queued(tx, who)
    delayed, blocked = tx.rows("remaining.delayed", most=MOST), tx.rows("remaining.blocked", most=MOST)
    parked, held = tx.rows("remaining.parked", most=MOST), tx.rows("remaining.held", most=MOST)
    groups = [queued, delayed, blocked, parked, held]
    lanes = lanes_of(tx, sorted({int(row[0]) for rows in groups for row in rows}))
    mine = {number for number, lane in lanes.items() if lane.namespace == who.namespace and lane.queue in who.queues}
    found.at_least = any(sum(int(row[-1 if rows is held else 1]) for row in rows) >= MOST for rows in groups)
    found.delayed = _sum(delayed, mine)
    found.next_due_at = min((int(row[2]) for row in delayed if row[0] in mine), default=None)
    found.blocked, found.parked = _sum(blocked, mine), _sum(parked, mine)
    for lane_id, worker_id, runs in held:
        if lane_id in mine:
            _add(found.held, str(worker_id), runs)
    _sort_queued(tx, who, found, [(lanes[row[0]], int(row[1])) for row in queued if row[0] in mine])
    return found


def _queued(tx: Transaction, who: Claimer) -> list[tuple[int, int]]:
    floors = sorted({queue_floor(who.namespace, queue) for queue in who.queues})
    rows = [row for floor in floors for row in tx.rows("remaining.queued", floor=floor, ceiling=floor + QUEUE_SPAN, most=MOST)]
    return [(int(row[0]), int(row[1])) for row in rows]


def _sort_queued(tx: Transaction, who: Claimer, found: Remaining, queued: Sequence[tuple[Lane, int]]) -> None:
    """By the first thing that holds them, in the order in which a claim would find it."""
    paused = {str(row[0]) for row in tx.rows("queues.paused", namespace=who.namespace, queues=sorted(who.queues))}
    shut = _shut(tx, load(tx, who.namespace), [lane for lane, _ in queued])
    for lane, runs in queued:
        if lane.queue in paused:
            _add(found.paused, lane.queue, runs)
        elif not who.serves(lane):
            _add(found.other_task, lane.task, runs)
        elif lane.id in shut:
            _add(found.full, shut[lane.id], runs)
        else:
            found.ready += runs


def _shut(tx: Transaction, known: Limits, lanes: Sequence[Lane]) -> dict[int, str]:
    """Lanes with a limit that lets nothing through at this moment, and its name."""
    paths = {lane.id: known.path(lane).steps for lane in lanes}
    ids = sorted({gate.id for path in paths.values() for gate, _ in path})
    if not ids:
        return {}
    _, used = held(tx, known, [gate for path in paths.values() for gate, _ in path])
    instants = {int(row[0]): int(row[1]) for row in tx.rows("rates.get", ids=ids)}
    names: dict[int, str] = {}
    for lane_id, path in paths.items():
        shut = [gate for gate, cost in path if not _lets(gate, cost, used, instants, tx.now)]
        if shut:
            row = shut[0].row
            names[lane_id] = " ".join(filter(None, (row.scope, row.name, row.key)))
    return names


def _lets(gate: Gate, cost: int, used: Mapping[int, int], instants: Mapping[int, int], now: int) -> bool:
    row = gate.row
    if row.is_rate:
        return row.pace.admits(instants.get(gate.id, 0), now) > 0
    return (row.size or 0) - used.get(gate.id, 0) >= cost


def _sum(rows: Sequence[Sequence[int]], mine: set[int]) -> int:
    return sum(int(row[1]) for row in rows if row[0] in mine)


def _add(counts: dict[str, int], name: str, runs: int) -> None:
    counts[name] = counts.get(name, 0) + int(runs)
