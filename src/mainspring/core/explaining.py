"""Why a run is where it is: from one snapshot to every hold on it, in the order in which a claim meets them, and when it can start.

A pure function of values that were read together. Not here: reading them (``operations/explaining.py``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mainspring.core.claiming import Reservation
from mainspring.core.durations import MINUTE, SECOND, format_duration, format_instant
from mainspring.core.lanes import Lane
from mainspring.core.limits import Pace
from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, WAITING, WAITING_FOR_TIME, State

#: Counts of runs and lanes before this one end here.
MOST_AHEAD = 1_000
UNEXPLAINED_AFTER = 1 * MINUTE


class HoldKind(StrEnum):
    """What can keep a run from starting, in the order in which a claim meets it."""

    STATE = "state"
    DUE = "due"
    OVER = "over"
    DEPENDENCY = "dependency"
    PAUSE = "pause"
    LIMIT = "limit"
    RATE = "rate"
    RESERVATION = "reservation"
    AHEAD = "ahead"
    NO_WORKER = "no_worker"
    BUSY = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A run that holds part of a limit, since when."""

    run_id: str
    since: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A limit on the path of a run. Of a rate ``pace`` and ``next_at``; ``full_until`` where a strict one let in all it may."""

    name: str
    size: int
    cost: int
    used: int = 0
    holders: tuple[Holder, ...] = ()
    pace: Pace | None = None
    next_at: int = 0
    full_until: int | None = None
    reserved: Reservation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A live worker: what it knows (task to newest version), serves and is, and how much it holds. ``is_known`` False: it did not
    say which versions it knows and what it is."""

    id: str
    queues: frozenset[str]
    tasks: dict[str, int]
    capabilities: dict[str, str]
    is_known: bool
    concurrency: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Whom a run waits for."""

    id: str
    condition: str
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """The last event of a run."""

    type: str
    at: int
    actor: str
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What there is to know about a run at one instant. ``ages``: how long runs of its queue that are at work have been at it."""

    now: int
    run: Run
    lane: Lane
    last: Last
    upstreams: tuple[Upstream, ...] = ()
    paused_at: int | None = None
    paused_by: str | None = None
    gates: tuple[Gate, ...] = ()
    ahead: int = 0
    lanes_ahead: int = 0
    lanes_beside: int = 0
    workers: tuple[Serving, ...] = ()
    ages: tuple[int, ...] = ()
    reap_hold_until: int = 0
    holder_expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One thing that keeps a run from starting. ``until``: when it ends by itself; ``likely``: when it will, at a guess.
    ``holders`` are runs that hold a full limit; ``subject`` is what the hold is about."""

    kind: HoldKind
    text: str
    subject: str | None = None
    until: int | None = None
    likely: int | None = None
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in its queue a run stands: runs before it in its lane, lanes of a higher priority with runs in them, lanes of its own
    priority, whose keys take turns. Each is counted to 1,000."""

    runs_ahead: int
    lanes_ahead: int
    lanes_beside: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a run is where it is. ``print`` it.

    ``earliest_at``: it cannot start before; ``likely_at``: when it will start, from measured rates; where that cannot be known,
    ``unknown`` says why. ``is_unexplained``: it has waited for a minute and nothing we know of holds it, which is our bug.
    """

    run_id: str
    state: State
    summary: str
    holds: tuple[Hold, ...] = ()
    place: Place | None = None
    earliest_at: int | None = None
    likely_at: int | None = None
    unknown: str | None = None
    is_unexplained: bool = False

    def __str__(self) -> str:
        lines = [f"{self.state}: {self.summary}"]
        lines += [f"  then: {hold.text}" for hold in self.holds[1:]]
        if self.earliest_at is not None:
            lines.append(f"  not before {_at(self.earliest_at)}")
        if self.likely_at is not None:
            lines.append(f"  likely about {_at(self.likely_at)}")
        elif self.unknown is not None:
            lines.append(f"  when cannot be known: {self.unknown}")
        return "\n".join(lines)


def explain(seen: Snapshot) -> Explanation:
    """Why a run is where it is."""
    run = seen.run
    if run.is_terminal:
        return Explanation(run_id=run.id, state=run.state, summary=_ending(seen))
    if run.state in ACTIVE:
        return Explanation(run_id=run.id, state=run.state, summary=_at_work(seen))
    holds = tuple(_holds(seen))
    place = None
    if run.state is State.QUEUED:
        place = Place(runs_ahead=seen.ahead, lanes_ahead=seen.lanes_ahead, lanes_beside=seen.lanes_beside)
    unexplained = not holds and seen.now - max(run.due_at, seen.last.at) >= UNEXPLAINED_AFTER
    earliest, likely, unknown = _when(seen, holds)
    return Explanation(
        run_id=run.id,
        state=run.state,
        summary=holds[0].text if holds else _unheld(unexplained),
        holds=holds,
        place=place,
        earliest_at=earliest,
        likely_at=likely,
        unknown=unknown,
        is_unexplained=unexplained,
    )


# -- the holds, in order -----------------------------------------------------------------------------------------------


def _holds(seen: Snapshot) -> Iterator[Hold]:
    run = seen.run
    yield from _of_state(seen)
    if run.state in WAITING:
        yield from _over(seen)
        if seen.paused_at is not None:
            told = f"queue {seen.lane.queue} is paused by {seen.paused_by} since {_at(seen.paused_at)}"
            yield Hold(kind=HoldKind.PAUSE, text=told, subject=seen.lane.queue)
    if run.state is State.QUEUED:
        for at_gate in (_at_limit, _at_rate, _at_reservation):
            for gate in seen.gates:
                yield from at_gate(seen, gate)
        if seen.ahead or seen.lanes_ahead:
            yield _behind(seen)
    if run.state in WAITING:
        yield from _of_workers(seen)


def _of_state(seen: Snapshot) -> Iterator[Hold]:
    run = seen.run
    if run.state is State.NEEDS_ATTENTION:
        told = f"needs a person: {run.reason or 'no reason given'}" + (f": {seen.last.message}" if seen.last.message else "")
        yield Hold(kind=HoldKind.STATE, text=f"{told}; release, fail or cancel it", subject=run.reason)
    elif run.state in WAITING_FOR_TIME:
        why = f" ({run.reason})" if run.reason else ""
        if run.due_at > seen.now:
            yield Hold(kind=HoldKind.DUE, text=f"due at {_at(run.due_at)}{why}", until=run.due_at, likely=run.due_at)
        else:
            told = f"due since {_at(run.due_at)}{why}; the next pass of maintenance queues it"
            yield Hold(kind=HoldKind.DUE, text=told, until=seen.now, likely=seen.now + SECOND)
    elif run.state is State.BLOCKED:
        if not seen.upstreams:
            yield Hold(kind=HoldKind.STATE, text=f"blocked: {run.reason or 'no reason given'}", subject=run.reason)
        for upstream in seen.upstreams:
            now = f", which is {upstream.state}," if upstream.state else ""
            told = f"waits for {upstream.id}{now} to {_CONDITIONS.get(upstream.condition, upstream.condition)}"
            yield Hold(kind=HoldKind.DEPENDENCY, text=told, subject=upstream.id)


_CONDITIONS = {"succeeded": "succeed", "failed": "fail", "done": "end"}


def _over(seen: Snapshot) -> Iterator[Hold]:
    """What a claim passes over because its time is up: it will never start."""
    run = seen.run
    if run.expires_at is not None and run.token == 0 and run.expires_at <= seen.now:
        yield Hold(kind=HoldKind.OVER, text=f"it expired at {_at(run.expires_at)} and will be skipped", subject="expired")
    if run.deadline_at is not None and run.deadline_at <= seen.now:
        yield Hold(kind=HoldKind.OVER, text=f"its deadline was {_at(run.deadline_at)}, so it will fail", subject="deadline")


def _at_limit(seen: Snapshot, gate: Gate) -> Iterator[Hold]:
    if gate.pace is None and gate.used + gate.cost > gate.size:
        likely = None if gate.cost > gate.size else _next_slot(seen, gate)
        ages = [seen.now - holder.since for holder in gate.holders if holder.since is not None]
        oldest = min(gate.holders, key=lambda holder: seen.now if holder.since is None else holder.since, default=None)
        parts = [f"{gate.used}/{gate.size}"]
        parts += [f"oldest {oldest.run_id}, {format_duration(max(ages) // SECOND * SECOND)}"] if oldest is not None and ages else []
        parts += [f"it needs {gate.cost}"] if gate.cost > 1 else []
        soon = f"; next slot about {_at(likely)}" if likely is not None else ""
        told = f"{gate.name} is full ({', '.join(parts)}){soon}"
        if gate.size == 0:
            told = f"{gate.name} lets nothing begin (its limit is 0)"
        elif gate.cost > gate.size:
            told = f"{gate.name} has {gate.size} in all and this run needs {gate.cost}: it begins only if that limit is raised"
        yield Hold(kind=HoldKind.LIMIT, text=told, subject=gate.name, likely=likely, holders=gate.holders)


def _at_reservation(seen: Snapshot, gate: Gate) -> Iterator[Hold]:
    kept = gate.reserved
    if kept is not None and kept.lane_id != seen.run.lane_id and seen.lane.priority <= kept.priority:
        told = f"{gate.name} is kept for a run of priority {kept.priority} that needs several units at once"
        yield Hold(kind=HoldKind.RESERVATION, text=told, subject=gate.name)


def _at_rate(seen: Snapshot, gate: Gate) -> Iterator[Hold]:
    if gate.pace is None:
        return
    opens = gate.pace.opens_at(gate.next_at)
    if opens is None:
        yield Hold(kind=HoldKind.RATE, text=f"the rate of {gate.name} is 0: nothing begins", subject=gate.name)
    elif not gate.pace.admits(gate.next_at, seen.now) or gate.full_until is not None:
        at = max(opens, gate.full_until or opens)
        told = f"the rate of {gate.name} lets the next begin at {_at(at)}"
        yield Hold(kind=HoldKind.RATE, text=told, subject=gate.name, until=at, likely=at)


def _next_slot(seen: Snapshot, gate: Gate) -> int | None:
    """When one of the holders will be done, if they are like the time they have been at it: on average half of it is over."""
    ages = [seen.now - holder.since for holder in gate.holders if holder.since is not None]
    if not ages:
        return None
    return seen.now + 2 * sum(ages) // len(ages) // max(gate.used, 1) * gate.cost


def _behind(seen: Snapshot) -> Hold:
    told = []
    if seen.ahead:
        told.append(f"{_counted(seen.ahead)} before it in its lane")
    if seen.lanes_ahead:
        told.append(f"{_counted(seen.lanes_ahead)} lanes of a higher priority have runs")
    beside = f"; {_counted(seen.lanes_beside)} lanes take turns" if seen.lanes_beside > 1 else ""
    return Hold(kind=HoldKind.AHEAD, text=" and ".join(told) + beside, subject=seen.lane.queue, likely=_turn(seen))


def _turn(seen: Snapshot) -> int | None:
    """When its turn comes, if runs keep ending as those at work suggest. Other lanes are not reckoned with."""
    if not seen.ages or seen.lanes_ahead or seen.lanes_beside > 1 or seen.ahead >= MOST_AHEAD:
        return None
    return seen.now + 2 * sum(seen.ages) * (seen.ahead + 1) // len(seen.ages) ** 2


def _of_workers(seen: Snapshot) -> Iterator[Hold]:
    able = [worker for worker in seen.workers if not _misses(worker, seen.lane)]
    if not able:
        nearest = min(seen.workers, key=lambda worker: (len(_misses(worker, seen.lane)), worker.id), default=None)
        miss = (
            "no worker is live"
            if nearest is None
            else f"nearest is {nearest.id}, which {' and '.join(_misses(nearest, seen.lane))}"
        )
        told = f"no live worker takes {seen.lane.task} from queue {seen.lane.queue}: {miss}"
        yield Hold(kind=HoldKind.NO_WORKER, text=told, subject=nearest.id if nearest else None)
    elif seen.run.state is State.QUEUED and all(worker.held >= worker.concurrency for worker in able):
        places = sum(worker.concurrency for worker in able)
        told = f"every worker that takes it is busy ({len(able)} with {places} places together)"
        yield Hold(kind=HoldKind.BUSY, text=told, likely=_turn(seen))


def _misses(worker: Serving, lane: Lane) -> list[str]:
    """What a worker lacks to take the runs of a lane."""
    found = []
    if lane.queue not in worker.queues:
        found.append(f"does not serve queue {lane.queue}")
    if lane.task not in worker.tasks:
        found.append(f"does not have the task {lane.task}")
    elif worker.is_known and worker.tasks[lane.task] < lane.version:
        found.append(f"knows {lane.task} up to version {worker.tasks[lane.task]} and not {lane.version}")
    if worker.is_known:
        for label, value in lane.requires:
            if (has := worker.capabilities.get(label)) != value:
                found.append(f"is not {label}={value}" + (f" but {has}" if has is not None else ""))
    return found


# -- when --------------------------------------------------------------------------------------------------------------


def _when(seen: Snapshot, holds: Sequence[Hold]) -> tuple[int | None, int | None, str | None]:
    """The earliest instant, the likely one, and why there is none."""
    instants = [hold.until for hold in holds if hold.until is not None and hold.until > seen.now]
    earliest = max(instants, default=None)
    if not holds:
        return None, None, None
    open_ended = [hold for hold in holds if hold.likely is None]
    if not open_ended:
        return earliest, max(hold.likely for hold in holds if hold.likely is not None), None
    return earliest, None, _why_unknown(seen, open_ended[0])


def _why_unknown(seen: Snapshot, hold: Hold) -> str:
    match hold.kind:
        case HoldKind.STATE | HoldKind.PAUSE:
            return "a person ends this hold"
        case HoldKind.OVER:
            return "it will not start"
        case HoldKind.DEPENDENCY:
            return "nobody knows when another run ends"
        case HoldKind.NO_WORKER:
            return "nobody knows when such a worker comes"
        case HoldKind.AHEAD if seen.lanes_ahead or seen.lanes_beside > 1:
            return "other lanes have their turn too"
        case HoldKind.LIMIT if any(gate.name == hold.subject and gate.cost > gate.size for gate in seen.gates):
            return "a person ends this hold"
        case HoldKind.LIMIT if not any(holder.since is not None for holder in hold.holders):
            return "nothing under it is at work"
        case _:
            return "no run of this queue is at work from which to tell how long one takes"


# -- words -------------------------------------------------------------------------------------------------------------


def _unheld(unexplained: bool) -> str:
    if unexplained:
        return "nothing that we know of holds it now; if that is still so in a minute, it is a bug of ours: please report it"
    return "nothing holds it: a worker takes it at its next look"


def _at_work(seen: Snapshot) -> str:
    run = seen.run
    told = f"attempt {run.token} is at work on {run.worker_id} since {_at(seen.last.at)}"
    if run.state is State.CANCELLING:
        told = f"asked to stop at {_at(run.cancel_requested_at or seen.last.at)}" + (f" ({run.reason})" if run.reason else "")
        told += f"; {run.worker_id} sees that at its next renewal"
    if seen.holder_expires_at is None or seen.holder_expires_at <= seen.now:
        held = f" after {_at(seen.reap_hold_until)}" if seen.reap_hold_until > seen.now else ""
        told += f"; its worker is silent, and maintenance takes the run back{held}"
    return told


def _ending(seen: Snapshot) -> str:
    run, last = seen.run, seen.last
    code = last.code or run.reason
    why = f" with {code}" if code else ""
    why += f" ({last.message})" if last.message else ""
    spent = f", in attempt {run.token}" if run.token else ", without an attempt"
    return f"ended at {_at(last.at)} by {last.actor}{why}{spent}"


def _counted(number: int) -> str:
    return f"{MOST_AHEAD:,} or more" if number >= MOST_AHEAD else f"{number:,}"


def _at(instant: int) -> str:
    return format_instant(instant)
