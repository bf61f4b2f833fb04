"""The life of an attempt: claim, start, heartbeat, finish; and what the fleet does when a holder is gone.

Every write about an attempt names its run, its fence (``token``) and the state it expects. A late writer changes nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from mainspring.core.attempts import Interrupted, Outcome, Succeeded, Unstarted, settle
from mainspring.core.lease import reap_hold_until
from mainspring.core.policy import Policy
from mainspring.core.run import Run
from mainspring.core.states import State
from mainspring.operations import deliveries, moves, occurrences, receipts, releases
from mainspring.operations import limits as limiting
from mainspring.operations.claims import Claimed
from mainspring.operations.lanes import lanes_of
from mainspring.operations.releases import Ended as Ended
from mainspring.operations.rows import encode_data
from mainspring.store.database import Transaction

#: Finds captured policies by id, asking the database only for those not seen before.
Policies = Callable[[Transaction, Sequence[int]], dict[int, Policy]]

T = TypeVar("T")

_REAPED_WORKERS = 10
_REAPED_RUNS = 100


class Beat(NamedTuple):
    """What an attempt tells of itself; a part that is None keeps what was told before."""

    run_id: str
    token: int
    details: bytes | None
    progress: str | None

    def over(self, before: "Beat") -> "Beat":
        """This one, told after ``before`` by the same attempt."""
        return self._replace(
            details=before.details if self.details is None else self.details,
            progress=before.progress if self.progress is None else self.progress,
        )


class HeldNow(NamedTuple):
    """What the database says of a run that a worker holds."""

    run_id: str
    token: int
    state: State
    reason: str | None = None

    @property
    def why(self) -> str:
        """Why it is to stop, as user code is told."""
        return "deadline" if self.reason == "deadline" else "cancelled"


def start(tx: Transaction, run_id: str, token: int) -> bool:
    """Record that user code is about to begin. False: the lease is lost, so it must not begin."""
    return tx.execute("attempts.start", run_id=run_id, token=token) == 1


def heartbeat(tx: Transaction, beats: Sequence[Beat]) -> set[str]:
    """Save checkpoints and progress under their fences; returns the runs still held. The others' leases are lost."""
    return {row[0] for row in tx.rows("attempts.heartbeat", batch=sorted(beats))} if beats else set()


def finish(tx: Transaction, ended: Sequence[Ended], *, actor: str, limits: bool = True) -> set[str]:
    """Write outcomes, one of each run; returns the runs whose lease was lost, about which nothing was written.

    A run that was asked to stop meanwhile ends as a cancelled one does. An outcome that was already written under the same
    fence (a commit whose answer got lost) is not written twice, and is not lost either.
    """
    lost, _ = finish_and(tx, ended, list, actor=actor, limits=limits)
    return lost


def finish_and(
    tx: Transaction, ended: Sequence[Ended], claim_next: Callable[[], list[T]], *, actor: str, limits: bool
) -> tuple[set[str], list[T]]:
    """``finish``, and ``claim_next`` while the answer is on its way: what a busy worker does in each transaction.

    What ends holds no slot any more when the claim looks for one: it is written first.
    """
    if any(not end.policy.result_ttl_us for end in ended):
        ended = [_without_result(end) for end in ended]
    plain = [end for end in ended if type(end.outcome) is Succeeded and not _has_followers(end.held)]
    rest = (
        [end for end in ended if type(end.outcome) is not Succeeded or _has_followers(end.held)] if len(plain) < len(ended) else []
    )
    succeeded = _succeed(tx, plain, actor)
    moved = _apply(tx, rest, actor)
    if limits:
        _refund(tx, [end for end in rest if type(end.outcome) is Unstarted and end.held.id in moved])
    claimed = claim_next()
    moved |= succeeded()
    late = [end for end in ended if end.held.id not in moved] if len(moved) < len(ended) else []
    lost = _finish_late(tx, late, actor) if late else set()
    receipts.write(tx, ended, lost=lost)
    if not late:
        return set(), claimed
    return lost, claimed or claim_next()  # those who waited for these ends may be all there is to do


def _without_result(end: Ended) -> Ended:
    return end if end.policy.result_ttl_us or type(end.outcome) is not Succeeded else end._replace(outcome=Succeeded(None))


def _has_followers(held: Claimed) -> bool:
    """Whether anything is known to hang on the end of this run: a key, a batch. (Whoever waits for it says so on its row.)"""
    return held.batch_id is not None or held.singleton_key is not None


def _refund(tx: Transaction, unstarted: Sequence[Ended]) -> None:
    """What did not begin after all was spent of no rate."""
    if not unstarted:
        return
    lanes = lanes_of(tx, [end.held.lane_id for end in unstarted])
    claims = sorted((end.held.id, end.held.seq) for end in unstarted)
    claimed_at = {row[0]: int(row[1]) for row in tx.rows("attempts.claimed_at", batch=claims)}
    for namespace in sorted({lane.namespace for lane in lanes.values()}):
        known = limiting.load(tx, namespace)
        mine = [(lanes[end.held.lane_id], claimed_at.get(end.held.id, 0)) for end in unstarted]
        limiting.refund(tx, known, [each for each in mine if each[0].namespace == namespace])


def _succeed(tx: Transaction, ended: Sequence[Ended], actor: str) -> Callable[[], set[str]]:
    """The common case: nothing to decide, and nothing follows. The same move as ``runs.move`` makes, with less to carry. The call
    of what is returned waits for the runs that moved."""
    if not ended:
        return set
    batch = sorted((end.held.id, end.held.token, end.held.seq + 1, end.outcome.result) for end in ended)  # type: ignore[union-attr]
    count = tx.send("attempts.succeed", batch=batch, actor=actor)

    def moved() -> set[str]:
        if count() == len(batch):
            return {row[0] for row in batch}
        return {row[0] for row in tx.rows("attempts.succeeded", batch=batch, actor=actor)}

    return moved


def _apply(tx: Transaction, ended: Sequence[Ended], actor: str) -> set[str]:
    if not ended:
        return set()
    known = releases.prepared(tx, ended)
    pairs = [(end.held, settle(end.held, State.RUNNING, end.outcome, end.policy, draw=end.draw, actor=actor)) for end in known]
    moved = moves.apply(tx, pairs)
    releases.close_rates(tx, [end for end in known if end.held.id in moved])
    return moved


def _finish_late(tx: Transaction, ended: Sequence[Ended], actor: str) -> set[str]:
    runs = moves.lock_runs(tx, [end.held.id for end in ended])
    lost = set()
    pairs = []
    for end in releases.prepared(tx, ended):
        run = runs.get(end.held.id)
        if run is None or run.token != end.held.token:
            lost.add(end.held.id)
        elif run.state is State.CANCELLING or (run.state is State.RUNNING and run.worker_id is not None):
            pairs.append((run, settle(run, run.state, end.outcome, end.policy, draw=end.draw, actor=actor)))
        elif not _wrote(tx, run, actor):
            lost.add(run.id)
    moves.apply(tx, pairs)
    return lost


def _wrote(tx: Transaction, run: Run, actor: str) -> bool:
    """Whether the last thing that happened to this run was our own word, from an earlier try of this call."""
    events = tx.rows("views.events", id=run.id, after=run.seq - 1, most=1)
    return bool(events) and events[0][5] == actor and run.worker_id is None


def held(tx: Transaction, worker_id: str) -> list[HeldNow]:
    """What the database says a worker holds."""
    return [HeldNow(row[0], row[1], State(row[2]), row[3]) for row in tx.rows("attempts.held", worker_id=worker_id)]


def checkpoints(tx: Transaction, run_ids: Sequence[str]) -> dict[str, bytes]:
    """What the last attempts of these runs saved."""
    return {row[0]: row[1] for row in tx.rows("attempts.checkpoints", ids=sorted(run_ids)) if row[1] is not None}


def give_back(tx: Transaction, orphans: Sequence[HeldNow], policies: Policies, *, actor: str) -> None:
    """Give back runs that a worker holds and does not have, with nothing spent."""
    runs = moves.lock_runs(tx, [orphan.run_id for orphan in orphans])
    mine = [runs[o.run_id] for o in orphans if o.run_id in runs and runs[o.run_id].token == o.token and runs[o.run_id].worker_id]
    known = policies(tx, [run.policy_id for run in mine])
    moves.apply(tx, [(run, settle(run, run.state, Unstarted(), known[run.policy_id], draw=0.0, actor=actor)) for run in mine])


def make_due(tx: Transaction, *, most: int, actor: str) -> int:
    """Queue up to ``most`` runs whose instant has come; how many there were. A retry without a slot of its schedule waits for one,
    and nobody else can claim it meanwhile."""
    rows = tx.rows("runs.due", most=most)
    without = occurrences.without_slot(tx, [run_id for run_id, followed in rows if followed & moves.OF_SCHEDULE])
    if without:
        told = encode_data({"reason": occurrences.BLOCKED})
        tx.execute("runs.block_due", ids=sorted(without), actor=actor, data=told)
        tx.execute("cursors.poke", ids=sorted(set(without.values())))
    if due := [row[0] for row in rows if row[0] not in without]:
        tx.execute("runs.make_due", ids=sorted(due), actor=actor)
        deliveries.follow(tx, due)
    return len(rows)


def next_due_at(tx: Transaction) -> int | None:
    """The earliest instant for which any run waits."""
    row = tx.one("runs.next_due")
    return row[0] if row else None


def waits_for_time(tx: Transaction, *, namespace: str, queues: Sequence[str], tasks: Sequence[str]) -> bool:
    """Whether a run of these queues and tasks is due later."""
    return bool(tx.rows("runs.waiting", namespace=namespace, queues=queues, tasks=tasks))


# -- when a holder is gone ------------------------------------------------------------------------------------------


def reap(tx: Transaction, policies: Policies, *, ttl: int, actor: str, every: int = 0) -> int | None:
    """Take the runs of workers whose lease is over, at most a hundred for each of ten workers; how many were taken.

    After an outage of the database nobody is reaped until the fleet had one TTL to renew (``core/lease.py``). None: somebody
    looked less than ``every`` µs ago, and one look serves the fleet.
    """
    last_tick_at, held_until = tx.one("fleet.tick") or (None, 0)
    if last_tick_at is not None and 0 <= tx.now - last_tick_at < every:
        return None
    hold = max(held_until, reap_hold_until(last_tick_at, tx.now, ttl) or 0)
    tx.execute("fleet.ticked", hold_until=hold)
    if hold > tx.now:
        return 0
    lapsed = [row[0] for row in tx.rows("workers.lapsed", most=_REAPED_WORKERS)]
    orphaned = [row[0] for row in tx.rows("workers.orphaned", most=_REAPED_WORKERS)]
    return sum(_take_from(tx, worker_id, policies, actor) for worker_id in sorted({*lapsed, *orphaned}))


def _take_from(tx: Transaction, worker_id: str, policies: Policies, actor: str) -> int:
    runs = [moves.as_run(row) for row in tx.rows("attempts.held_rows", worker_id=worker_id, most=_REAPED_RUNS)]
    if runs:
        known = policies(tx, [run.policy_id for run in runs])
        began = {row[0] for row in tx.rows("attempts.started", ids=[run.id for run in runs])}
        outcomes: list[tuple[Run, Outcome]] = [(run, _fate(run, run.id in began)) for run in runs]
        moves.apply(
            tx,
            [(run, settle(run, run.state, o, known[run.policy_id], draw=0.0, actor=actor)) for run, o in outcomes],
        )
    if len(runs) < _REAPED_RUNS:
        tx.execute("workers.leave", id=worker_id)
    return len(runs)


def _fate(run: Run, began: bool) -> Outcome:
    """A run that was interrupted before is started on the record; without that record its code provably never began."""
    return Interrupted("worker_lost") if began or run.interruptions == 0 else Unstarted()


def leave(tx: Transaction, worker_id: str) -> None:
    """A worker says goodbye. It holds nothing any more."""
    tx.execute("workers.leave", id=worker_id)


def register(
    tx: Transaction,
    worker_id: str,
    *,
    namespace: str,
    tasks: str,
    queues: str,
    concurrency: int,
    ttl: int,
    skills: str | None = None,
) -> None:
    """A worker says hello; its lease lasts ``ttl`` µs from now and covers whatever it will hold. ``skills`` (JSON) says which
    ``versions`` of tasks it knows and its ``capabilities``, for ``explain``."""
    tx.capabilities.require("leases", "runs can be created here, and no worker can claim them")
    params: dict[str, Any] = {"id": worker_id, "namespace": namespace, "tasks": tasks, "queues": queues}
    tx.execute("workers.register", **params, concurrency=concurrency, ttl=ttl, skills=skills)


def renew(tx: Transaction, worker_id: str) -> int | None:
    """Renew a worker's lease; how many limits its namespace has. None: the worker was declared gone, all its leases are lost."""
    row = tx.one("workers.renew", id=worker_id)
    return row[0] if row else None
