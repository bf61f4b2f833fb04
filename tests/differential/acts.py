"""Operations as values: a function of one fleet, which does one thing in one transaction and answers what it answered.

Here: every operation there is, with everything it needs decided beforehand (ids, instants, targets), so that doing the same act
on several databases must give the same answer. Not here: what is drawn, and when (``machine.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from psycopg.errors import UniqueViolation

from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unstarted, Unworkable
from mainspring.core.budgets import Budgets
from mainspring.core.capacity import Overflow
from mainspring.core.dependencies import Condition
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.limits import Limit, Measure, Rate, Scope
from mainspring.core.policy import Policy
from mainspring.core.retry import Fixed, Steps
from mainspring.core.states import State
from mainspring.errors import BrokenInvariant
from mainspring.operations import attempts, batches, capacity, deadlines, explaining, keys, queues, retention, runs, steering, views
from mainspring.operations import limits as limiting
from mainspring.operations.attempts import Beat, Ended, HeldNow
from mainspring.operations.claims import Claimed
from mainspring.operations.enqueue import NewRun, insertion_alike
from mainspring.store.database import Transaction
from tests.support.builders import TTL, Fleet

Act: TypeAlias = Callable[[Fleet], Any]

POLICIES = (
    Policy(),
    Policy(budgets=Budgets(max_attempts=1, max_interruptions=1, max_releases=0)),
    Policy(budgets=Budgets(max_attempts=2, max_releases=1), backoff=Fixed(delay_us=5 * SECOND), jitter=0.5),
    Policy(budgets=Budgets(max_attempts=4, max_interruptions=2), backoff=Steps(delays_us=(0, MINUTE)), jitter=1.0),
)


class Lifted(NamedTuple):
    """A claim and whose it was."""

    held: Claimed
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A run that somebody wants. ``due_at`` is an instant, or None for ``delay`` from now."""

    id: str
    task: str
    queue: str
    priority: int
    policy: int
    body: bytes
    due_at: int | None = None
    delay: int = 0
    key: str | None = None
    singleton: str | None = None
    lane: Mapping[str, Any] = field(default_factory=dict)
    after: Sequence[tuple[str, Condition]] = ()
    expires_in: int | None = None
    deadline_in: int | None = None

    def new(self, fleet: Fleet, **more: Any) -> NewRun:
        """The run as a fleet creates it."""
        return fleet.new(
            id=self.id,
            task=self.task,
            queue=self.queue,
            priority=self.priority,
            policy=POLICIES[self.policy],
            body=self.body,
            due_at=self.due_at,
            delay=self.delay,
            lane=self.lane,
            after=tuple(self.after),
            expires_in=self.expires_in,
            deadline_in=self.deadline_in,
            **more,
        )


# -- callers ---------------------------------------------------------------------------------------------------------------


def enqueue(wishes: Sequence[Wish], key_ttl: int, how: Mapping[str, Any] | None = None) -> Act:
    """Create runs, each judged by its keys; ``how`` is what becomes of a second call of a singleton."""
    return lambda fleet: fleet.submit(
        *(wish.new(fleet, key=wish.key, singleton=wish.singleton) for wish in wishes), key_ttl=key_ttl, **(how or {})
    )


def enqueue_alike(wish: Wish, ids: Sequence[str]) -> Act:
    """Create runs that differ in nothing but their id and payload, by the statement made for that."""

    def act(fleet: Fleet) -> int:
        new = wish.new(fleet)
        query = insertion_alike(new.lane_id, new.policy_id, new.actor, [(run_id, wish.body) for run_id in ids])

        def fn(tx: Transaction) -> int:
            fleet.create(tx, [])  # which interns the lane
            return tx.execute(query.statement, **query.params)

        try:
            return fleet.database.write("runs.create", fn)
        except BrokenInvariant as error:  # what is there already is refused on PostgreSQL, where ``single`` counts none
            if isinstance(error.__cause__, UniqueViolation):
                return 0
            raise

    return act


def batch(batch_id: str, members: Sequence[Wish], callback: Wish | None, on: batches.FiresOn, *, seal: bool = True) -> Act:
    """Create a batch; without ``seal`` others may join it."""

    def act(fleet: Fleet) -> None:
        then = callback.new(fleet, blocked="batch") if callback else None
        joined = [wish.new(fleet, batch_id=batch_id) for wish in members]

        def fn(tx: Transaction) -> None:
            fleet.create(tx, [])
            batches.create(tx, batch_id, joined, then, namespace=fleet.namespace, fires_on=on, seal=seal)

        fleet.database.write("batches.create", fn)

    return act


def join(batch_id: str, members: Sequence[Wish]) -> Act:
    """Let more members join a batch."""

    def act(fleet: Fleet) -> None:
        joined = [wish.new(fleet, batch_id=batch_id) for wish in members]

        def fn(tx: Transaction) -> None:
            fleet.create(tx, [])
            batches.add(tx, batch_id, joined, namespace=fleet.namespace)

        fleet.database.write("batches.add", fn)

    return act


def close_batch(batch_id: str) -> Act:
    """Let nobody join any more."""
    return lambda fleet: fleet.database.write("batches.close", lambda tx: batches.close(tx, batch_id, namespace=fleet.namespace))


def cancel_batch(batch_id: str, most: int) -> Act:
    """Cancel a batch, and the first of its members."""

    def fn(fleet: Fleet, tx: Transaction) -> list[str | None]:
        batches.cancel(tx, batch_id, namespace=fleet.namespace)
        under_way = batches.cancelling(tx, most=10)
        return [batches.cancel_some(tx, *each, most=most, actor="leader", reason=None) for each in under_way]

    return lambda fleet: fleet.database.write("batches.cancel", lambda tx: fn(fleet, tx))


def park_idle(before: int) -> Act:
    """Park the callbacks of batches that nobody sealed."""
    return lambda fleet: fleet.database.write("batches.park_idle", lambda tx: batches.park_idle(tx, before=before, most=10))


def reset_key(task: str, key: str) -> Act:
    """Free a key by hand."""
    return lambda fleet: fleet.database.write(
        "keys.reset", lambda tx: keys.reset(tx, fleet.namespace, task, key, actor="user:operator", reason="again")
    )


# -- workers ---------------------------------------------------------------------------------------------------------------


def register(worker: str, tasks: str, served: str) -> Act:
    """A worker says hello."""
    return lambda fleet: fleet.register(worker, tasks=tasks, queues=served)


def renew(worker: str) -> Act:
    """A worker renews its lease."""
    return lambda fleet: fleet.database.write("workers.renew", lambda tx: attempts.renew(tx, worker))


def leave(worker: str) -> Act:
    """A worker says goodbye."""
    return lambda fleet: fleet.database.write("workers.leave", lambda tx: attempts.leave(tx, worker))


def claim(worker: str, most: int, served: Sequence[str], tasks: Sequence[str]) -> Act:
    """A worker claims."""
    return lambda fleet: fleet.claim(worker, most=most, queues=served, tasks=tasks)


def finish(
    ends: Sequence[tuple[Claimed, Outcome, float]], worker: str, *, limits: bool = True, then_claim: tuple[Any, ...] = ()
) -> Act:
    """A worker writes outcomes and, if asked to, claims in the same transaction: (lost, claimed)."""

    def fn(fleet: Fleet, tx: Transaction) -> tuple[set[str], list[Claimed]]:
        known = views.policies(tx, [held.policy_id for held, _, _ in ends])
        ended = [Ended(held, outcome, known[held.policy_id], draw) for held, outcome, draw in ends]

        def claim_next() -> list[Claimed]:
            most, served, tasks = then_claim
            return fleet.claim_in(tx, worker, most=most, queues=served, tasks=tasks)

        lost, claimed = attempts.finish_and(tx, ended, claim_next if then_claim else list, actor=f"worker:{worker}", limits=limits)
        return lost, claimed

    def act(fleet: Fleet) -> tuple[set[str], list[Claimed]]:
        if then_claim and worker not in fleet._workers:
            fleet.register(worker)
        return fleet.database.write("worker.turn", lambda tx: fn(fleet, tx))

    return act


def start(held: Claimed) -> Act:
    """A worker records that user code begins."""
    return lambda fleet: fleet.start(held)


def heartbeat(beats: Sequence[Beat]) -> Act:
    """A worker saves what attempts told."""
    return lambda fleet: fleet.database.write("attempts.heartbeat", lambda tx: attempts.heartbeat(tx, beats))


def give_back(orphans: Sequence[HeldNow]) -> Act:
    """A worker gives back what it holds and does not have."""
    return lambda fleet: fleet.database.write(
        "attempts.give_back", lambda tx: attempts.give_back(tx, orphans, views.policies, actor="worker:w1")
    )


# -- operators and the leader ----------------------------------------------------------------------------------------------


def retry(run_id: str, new_id: str) -> Act:
    """Try a run again."""
    return lambda fleet: fleet.database.write(
        "runs.retry", lambda tx: runs.retry(tx, run_id, new_id, namespace=fleet.namespace, actor="user:operator")
    )


def rerun(run_id: str, new_id: str) -> Act:
    """Run again what has ended."""
    return lambda fleet: fleet.database.write(
        "runs.rerun", lambda tx: runs.rerun(tx, run_id, new_id, namespace=fleet.namespace, actor="user:operator")
    )


def reschedule(run_id: str, due_at: int) -> Act:
    """Make a waiting run due at another instant."""
    return lambda fleet: fleet.database.write(
        "runs.reschedule",
        lambda tx: steering.reschedule(tx, run_id, due_at=due_at, namespace=fleet.namespace, actor="user:operator"),
    )


def set_priority(run_id: str, priority: int) -> Act:
    """Put a waiting run into another lane, of which the fleet is told, for it sorts what it claims by that."""

    def act(fleet: Fleet) -> bool:
        moved = [lane.with_priority(priority) for lane in fleet._lanes.values()]
        fleet._lanes |= {lane.id: lane for lane in moved}
        return fleet.database.write(
            "runs.set_priority",
            lambda tx: steering.set_priority(tx, run_id, priority, namespace=fleet.namespace, actor="user:operator"),
        )

    return act


def expire(most: int) -> Act:
    """Skip what nobody began in time."""
    return lambda fleet: fleet.database.write("runs.expire", lambda tx: deadlines.expire(tx, most=most, actor="leader"))


def enforce(most: int) -> Act:
    """Fail what has not ended in time."""
    return lambda fleet: fleet.database.write("runs.enforce", lambda tx: deadlines.enforce(tx, most=most, actor="leader"))


def park_unserved(before: int, most: int) -> Act:
    """Park what no live worker can execute."""
    return lambda fleet: fleet.database.write(
        "runs.park_unserved", lambda tx: deadlines.park_unserved(tx, before=before, settled=tx.now, most=most, actor="leader")
    )


def make_due(most: int) -> Act:
    """Queue what is due."""
    return lambda fleet: fleet.make_due(most=most)


def reap(every: int) -> Act:
    """Look for lapsed leases, unless somebody just did."""
    return lambda fleet: fleet.database.write(
        "attempts.reap", lambda tx: attempts.reap(tx, views.policies, ttl=TTL, actor="leader", every=every)
    )


def limit(queue: str, size: int | None, by: str) -> Act:
    """Limit a queue, as an operator or as code; answers the queues as they stand then."""

    def fn(fleet: Fleet, tx: Transaction) -> list[queues.Queue]:
        if by == "code":
            queues.declare(tx, fleet.namespace, queue, limits=[] if size is None else [Limit(size)])
        else:
            queues.set_limit(tx, fleet.namespace, queue, size, actor="user:operator")
        return _queues(fleet, tx)

    return lambda fleet: fleet.database.write("queues.limit", lambda tx: fn(fleet, tx))


def bound(queue: str, most: int | None, overflow: Overflow) -> Act:
    """Bound a queue as an operator."""
    return lambda fleet: fleet.database.write(
        "queues.bound",
        lambda tx: capacity.bound(tx, fleet.namespace, queue, max_waiting=most, overflow=overflow, actor="user:operator"),
    )


def limit_of(scope: Scope, name: str, said: Limit | Rate | None, *, key: str = "", measure: Measure = Measure.AT_ONCE) -> Act:
    """Limit whatever an operator can limit, or lift that (None); answers the limits as they stand then."""

    def fn(fleet: Fleet, tx: Transaction) -> list[limiting.LimitView]:
        of = measure if said is None else said.measure
        limiting.put(tx, fleet.namespace, scope, name, said, key=key, measure=of, actor="user:operator")
        return limiting.listing(tx, fleet.namespace)

    return lambda fleet: fleet.database.write("limits.put", lambda tx: fn(fleet, tx))


def _queues(fleet: Fleet, tx: Transaction) -> list[queues.Queue]:
    """The queues, by name: the listing comes in the order of the database's language, which is not one order everywhere. So do
    workers who began at the same instant."""
    return queues.listing(tx, fleet.namespace)


def pause(queue: str) -> Act:
    """Stop claims from a queue."""
    return lambda fleet: fleet.database.write(
        "queues.pause", lambda tx: queues.pause(tx, fleet.namespace, queue, actor="user:operator")
    )


def unpause(queue: str) -> Act:
    """Let claims go on."""
    return lambda fleet: fleet.database.write(
        "queues.resume", lambda tx: queues.resume(tx, fleet.namespace, queue, actor="user:operator")
    )


def sweep(fleet: Fleet) -> int:
    """Let go of limits that are kept for nobody."""
    return fleet.sweep()


def prune(cut_off: int, states: Sequence[State], cursor: str | None, most: int) -> Act:
    """Remove ended runs."""
    return lambda fleet: fleet.prune(cut_off=cut_off, states=states, cursor=cursor, most=most)


def forget(workers_before: int) -> Act:
    """Remove keys whose time is over and workers long gone."""
    return lambda fleet: fleet.database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=workers_before))


# -- reading ---------------------------------------------------------------------------------------------------------------


def look_at_run(run_id: str, after: int, most: int) -> Act:
    """All that can be read about one run."""

    def fn(fleet: Fleet, tx: Transaction) -> Mapping[str, Any]:
        view = views.get(tx, fleet.namespace, run_id)
        ledger = views.events(tx, run_id)
        return {
            "view": view,
            "why": [str(hold.kind) for hold in explaining.explain(tx, fleet.namespace, run_id).holds],
            "ledger": ledger,
            "page": views.events(tx, run_id, after=after, most=most),
            "attempts": views.attempts(ledger),
            "checkpoint": attempts.checkpoints(tx, [run_id]),
            "ending": views.endings(tx, [run_id]),
            "again": tx.one("runs.again", id=run_id),
            "batch": tx.one("batches.of_callback", run_id=run_id),
            "waits for": tx.rows("dependencies.of", run_id=run_id, most=most),
        }

    return lambda fleet: fleet.database.read("views.get", lambda tx: fn(fleet, tx))


def look_at_list(states: Sequence[State] | None, task: str | None, queue: str | None, before: str | None, most: int) -> Act:
    """A page of runs, and how many there are in each state."""

    def fn(fleet: Fleet, tx: Transaction) -> tuple[Any, ...]:
        page = views.listing(tx, fleet.namespace, states=states, task=task, queue=queue, before=before, most=most)
        counts = sorted(tx.rows("views.counts", namespace=fleet.namespace))
        return page, counts, views.ended(tx, [view.run.id for view in page])

    return lambda fleet: fleet.database.read("views.list", lambda tx: fn(fleet, tx))


def look_at_fleet(workers: Sequence[str], served: Sequence[str], tasks: Sequence[str]) -> Act:
    """Queues, workers, what each of them holds, and what is due next."""

    def fn(fleet: Fleet, tx: Transaction) -> Mapping[str, Any]:
        return {
            "now": tx.now,
            "queues": _queues(fleet, tx),
            "workers": views.workers(tx, fleet.namespace),
            "held": {worker: sorted(attempts.held(tx, worker)) for worker in workers},
            "next due": attempts.next_due_at(tx),
            "next": deadlines.next_instants(tx),
            "limits": limiting.listing(tx, fleet.namespace),
            "waits": attempts.waits_for_time(tx, namespace=fleet.namespace, queues=served, tasks=tasks),
        }

    return lambda fleet: fleet.database.read("queues.list", lambda tx: fn(fleet, tx))


def look_at_batch(batch_id: str, after: str | None, most: int) -> Act:
    """A batch with a page of its members."""

    def fn(fleet: Fleet, tx: Transaction) -> tuple[Any, ...]:
        found = tx.one("batches.get", id=batch_id, namespace=fleet.namespace)
        return found, views.batch_members(tx, batch_id, after=after, most=most)

    return lambda fleet: fleet.database.read("batches.get", lambda tx: fn(fleet, tx))


# -- outcomes --------------------------------------------------------------------------------------------------------------


def outcomes(now: int) -> Sequence[Outcome]:
    """Every way an attempt can end, with what may be awkward about it; the common ones first."""
    return (
        Succeeded(b"null"),
        Failed(code="error", message="it did not work", type="ValueError", traceback='File "a", line 1'),
        Interrupted("worker_lost"),
        GaveItselfBack(after_us=SECOND, reason="not yet"),
        Unstarted(),
        Stopped(),
        Unworkable("invalid_payload", 'odd: "quotes" \\ and {braces}\n, a NUL \x00'),
        Succeeded(None),
        Succeeded(b'"\x00\xff is not JSON, and is kept"'),
        Failed(code="timeout", message="too long", after_us=0),
        Failed(code="error", message="later", after_us=MINUTE),
        Failed(code="fatal", message="no more", final=True),
        Interrupted("shutdown", shutdown=True),
        GaveItselfBack(),
        GaveItselfBack(until=now - 1, reason='until "then"'),
        GaveItselfBack(until=now),
        GaveItselfBack(until=now + 1, reason="NULL"),
        GaveItselfBack(until=now + MINUTE, reason="{1,2}\\"),
    )
