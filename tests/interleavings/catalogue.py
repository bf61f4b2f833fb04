"""Every operation that writes, as one transaction on the stage, in the variants that can meet: what they do and what they answer.

An operation is given its transaction and the player who makes it, for new runs have ids of their own. It answers plain data
without instants. Here: the calls. Not here: what is prepared for them (``stage.py``), and which results are right (``verdict.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, TypeAlias

from mainspring.codec import payload_hash
from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Succeeded, Unworkable
from mainspring.core.debounce import Debounce
from mainspring.core.dependencies import Condition
from mainspring.core.durations import DAY, SECOND
from mainspring.core.lanes import Lane
from mainspring.core.limits import Limit
from mainspring.core.policy import Policy
from mainspring.core.states import TERMINAL, State
from mainspring.operations import attempts, batches, deadlines, keys, limits, queues, retention, runs, steering, views
from mainspring.operations.attempts import Beat, Ended, HeldNow
from mainspring.operations.claims import Claimed, Claimer, Walk, claim, claim_run
from mainspring.operations.enqueue import Keyed, NewRun, create, insertion_alike, intern, policy_row
from mainspring.operations.run_now import run_now
from mainspring.store.database import Transaction, drive
from tests.interleavings.stage import FINAL, NAMESPACE, POLICY, Stage
from tests.support.builders import TTL

#: What an operation does on a stage, for a player.
Deed: TypeAlias = Callable[[Stage, Transaction, str], Any]

OPERATOR = {"namespace": NAMESPACE, "actor": "user:operator"}
FLAKY = Failed(code="flaky", message="again")
_QUEUES = ["closed", "free", "keyed", "main", "narrow", "summaries"]
_TASKS = ["summary", "work"]
_AGAIN = {"singleton_key": "s-waiting", "body": b'"again"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can happen. ``lowers`` names a queue whose limit it may put below what runs; ``meets`` is whom it is paired
    with, if not with all who do not say so themselves."""

    name: str
    deed: Deed
    lowers: str | None = None
    meets: frozenset[str] = frozenset()


# -- creating runs -----------------------------------------------------------------------------------------------------


def _lane(queue: str = "main", task: str = "work", priority: int = 0) -> Lane:
    return Lane(namespace=NAMESPACE, queue=queue, task=task, priority=priority)


def _new(run_id: str, lane: Lane, *, body: bytes = b"[]", **options: Any) -> NewRun:
    return NewRun(id=run_id, lane_id=lane.id, policy_id=policy_row(POLICY)[0], body=body, actor="user:test", **options)


def _enqueue(*wanted: Mapping[str, Any], **how: Any) -> Deed:
    """Create runs in one call, each with the keys and options given; ``how`` is what becomes of a second call of a singleton."""

    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        new = [_new(run_id, _lane(), **options) for run_id, options in zip(stage.fresh[player], wanted, strict=False)]
        keyed = {run.id: Keyed(NAMESPACE, "work", payload_hash(run.body), 30 * DAY, **how) for run in new if _has_key(run)}
        return drive(tx, create(new, keyed))

    return deed


def _enqueue_after(*names: str, condition: Condition = Condition.SUCCEEDED) -> Deed:
    """Create a run that waits for others, or for batches."""

    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        after = tuple((stage.ids[name], condition) for name in names)
        new = _new(stage.fresh[player][0], _lane("free"), after=after)
        return drive(tx, create([new], {}))

    return deed


def _has_key(run: NewRun) -> bool:
    return run.idempotency_key is not None or run.singleton_key is not None


def _enqueue_alike(stage: Stage, tx: Transaction, player: str) -> Any:
    batch = [(run_id, b"[]") for run_id in stage.fresh[player]]
    query = insertion_alike(_lane().id, policy_row(POLICY)[0], "user:test", batch)
    return tx.execute(query.statement, **query.params)


def _intern(tx: Transaction, *lanes: Lane, policy: Policy = POLICY) -> None:
    query = intern(sorted(lanes, key=lambda lane: lane.id), [policy_row(policy)])
    tx.execute(query.statement, **query.params)


def _intern_new(stage: Stage, tx: Transaction, player: str) -> Any:
    """Each player knows one lane that the other knows too, and one of its own."""
    _intern(tx, _lane("fresh"), _lane("fresh", "other"), _lane(f"fresh-{player}"), policy=Policy(timeout_us=SECOND))


def _enqueue_in_a_new_lane(stage: Stage, tx: Transaction, player: str) -> Any:
    """As in a transaction of the caller's: the lane is made first, in the same one."""
    lane = _lane("main", priority=7)
    _intern(tx, lane)
    return drive(tx, create([_new(stage.fresh[player][0], lane)], {}))


def _batch(members: int) -> Deed:
    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        batch_id, member, callback = stage.fresh[player]
        lanes = _lane("free"), _lane("summaries", "summary")
        new = [_new(member, lanes[0], batch_id=batch_id)] * members
        then = _new(callback, lanes[1], blocked="batch")
        return batches.create(tx, batch_id, new, then, namespace=NAMESPACE, fires_on="done")

    return deed


def _enqueue_into_a_full_queue(stage: Stage, tx: Transaction, player: str) -> Any:
    """What waits there longest makes room."""
    return drive(tx, create([_new(stage.fresh[player][0], _lane("narrow"))], {}))


def _add(stage: Stage, tx: Transaction, player: str) -> Any:
    new = _new(stage.fresh[player][0], _lane("free"), batch_id=stage.ids["open batch"])
    return batches.add(tx, stage.ids["open batch"], [new], namespace=NAMESPACE)


def _run_now(**options: Any) -> Deed:
    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        new = _new(stage.fresh[player][0], _lane(), **options)
        keyed = {new.id: Keyed(NAMESPACE, "work", payload_hash(new.body), 30 * DAY)} if _has_key(new) else {}
        begun = run_now(tx, new, keyed, _lane(), _claimer("w3"))
        return begun.created, _claims([begun.claimed] if begun.claimed else [])

    return deed


# -- workers -----------------------------------------------------------------------------------------------------------


def _claim_as(worker: str, *, most: int = 100) -> Deed:
    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        return _claims(_claimed(tx, worker, most))

    return deed


def _claimed(tx: Transaction, worker: str, most: int) -> list[Claimed]:
    return claim(tx, _claimer(worker), Walk(), most=most).runs


def _claimer(worker: str, queues: Sequence[str] = _QUEUES) -> Claimer:
    return Claimer(worker_id=worker, namespace=NAMESPACE, queues=dict.fromkeys(queues), tasks=dict.fromkeys(_TASKS, 1))


def _claim_from(queue: str) -> Deed:
    return lambda stage, tx, player: _claims(claim(tx, _claimer("w3", [queue]), Walk(), most=100).runs)


def _claim_run(name: str) -> Deed:
    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        taken = claim_run(tx, _claimer("w3"), stage.ids[name])
        return _claims([taken] if taken else [])

    return deed


def _claims(claimed: Sequence[Claimed]) -> Any:
    return sorted((run.id, run.token, run.seq, run.body) for run in claimed)


def _finish(names: Sequence[str], outcome: Outcome, *, worker: str = "w1", limits: bool = True) -> Deed:
    """Write outcomes; the answer is whose lease was lost."""

    def deed(stage: Stage, tx: Transaction, player: str) -> Any:
        ended = [Ended(stage.held[name], outcome, POLICY, 0.0) for name in names]
        return sorted(attempts.finish(tx, ended, actor=f"worker:{worker}", limits=limits))

    return deed


def _turn(stage: Stage, tx: Transaction, player: str) -> Any:
    """What a busy worker does in each transaction: renew, save, end, claim."""
    limits = attempts.renew(tx, "w1")
    kept = attempts.heartbeat(tx, [Beat(stage.ids["stopping"], stage.held["stopping"].token, b"half", None)])
    ended = [Ended(stage.held[name], Succeeded(b"1"), POLICY, 0.0) for name in ("held", "light")]

    def claim_next() -> list[Claimed]:
        return _claimed(tx, "w1", 2)

    lost, claimed = attempts.finish_and(tx, ended, claim_next, actor="worker:w1", limits=True)
    return limits, sorted(kept), sorted(lost), _claims(claimed)


def _start(stage: Stage, tx: Transaction, player: str) -> Any:
    return attempts.start(tx, stage.ids["light"], stage.held["light"].token)


def _heartbeat(stage: Stage, tx: Transaction, player: str) -> Any:
    beats = [Beat(stage.ids[name], stage.held[name].token, b"half", '"50 %"') for name in ("held", "light")]
    return sorted(attempts.heartbeat(tx, beats))


def _give_back(stage: Stage, tx: Transaction, player: str) -> Any:
    orphans = [HeldNow(stage.ids[name], stage.held[name].token, State.RUNNING) for name in ("held", "light")]
    return attempts.give_back(tx, orphans, _policies, actor="worker:w1")


def _policies(tx: Transaction, ids: Sequence[int]) -> dict[int, Policy]:
    return views.policies(tx, ids)


def _register(worker: str) -> Deed:
    told: dict[str, Any] = {"namespace": NAMESPACE, "tasks": '["work"]', "queues": "[]", "concurrency": 8, "ttl": TTL}
    return lambda stage, tx, player: attempts.register(tx, worker, **told)


def _renew(worker: str) -> Deed:
    return lambda stage, tx, player: attempts.renew(tx, worker)


def _leave(worker: str) -> Deed:
    return lambda stage, tx, player: attempts.leave(tx, worker)


# -- operators and upkeep ----------------------------------------------------------------------------------------------


def _cancel(name: str) -> Deed:
    return lambda stage, tx, player: runs.cancel(tx, stage.ids[name], reason="unwanted", **OPERATOR)


def _cancel_batch(name: str) -> Deed:
    return lambda stage, tx, player: batches.cancel(tx, stage.ids[name], namespace=NAMESPACE)


def _cancel_members(stage: Stage, tx: Transaction, player: str) -> Any:
    """As the leader does after a batch was cancelled; here it need not have been."""
    return batches.cancel_some(tx, stage.ids["batch"], batches.FIRST_ID, most=100, actor="leader", reason="unwanted")


def _close_batch(stage: Stage, tx: Transaction, player: str) -> Any:
    return batches.close(tx, stage.ids["open batch"], namespace=NAMESPACE)


def _park_idle(stage: Stage, tx: Transaction, player: str) -> Any:
    return batches.park_idle(tx, before=tx.now, most=10)


def _reschedule(name: str, delay: int) -> Deed:
    return lambda stage, tx, player: steering.reschedule(tx, stage.ids[name], due_at=tx.now + delay, **OPERATOR)


def _set_priority(name: str) -> Deed:
    return lambda stage, tx, player: steering.set_priority(tx, stage.ids[name], 7, **OPERATOR)


def _reset_key(key: str) -> Deed:
    return lambda stage, tx, player: keys.reset(tx, NAMESPACE, "work", key, actor="user:operator", reason="again")


def _rerun(name: str) -> Deed:
    who: dict[str, Any] = dict(OPERATOR)
    return lambda stage, tx, player: runs.rerun(tx, stage.ids[name], stage.fresh[player][0], **who)


def _expire(stage: Stage, tx: Transaction, player: str) -> Any:
    return deadlines.expire(tx, most=100, actor="leader")


def _enforce(stage: Stage, tx: Transaction, player: str) -> Any:
    return deadlines.enforce(tx, most=100, actor="leader")


def _retry(name: str) -> Deed:
    return lambda stage, tx, player: runs.retry(tx, stage.ids[name], stage.fresh[player][0], **OPERATOR)


def _resume(stage: Stage, tx: Transaction, player: str) -> Any:
    return runs.resume(tx, stage.ids["parked"], reason="repaired", **OPERATOR)


def _fail(stage: Stage, tx: Transaction, player: str) -> Any:
    return runs.fail(tx, stage.ids["parked"], reason="hopeless", **OPERATOR)


def _park(stage: Stage, tx: Transaction, player: str) -> Any:
    return runs.park(tx, stage.ids["waiting"], reason="unknown_task", **OPERATOR)


def _park_unserved(stage: Stage, tx: Transaction, player: str) -> Any:
    return deadlines.park_unserved(tx, before=tx.now, settled=tx.now, most=100, actor="leader")


def _make_due(stage: Stage, tx: Transaction, player: str) -> Any:
    return attempts.make_due(tx, most=100, actor="leader")


def _reap(stage: Stage, tx: Transaction, player: str) -> Any:
    return attempts.reap(tx, _policies, ttl=TTL, actor="leader")


def _take_over(stage: Stage, tx: Transaction, player: str) -> Any:
    """What three parties do one after the other while something of the old holder's is still on its way."""
    taken = _reap(stage, tx, player)
    claimed = _claimed(tx, "w3", 100)
    return taken, _claims(claimed), [attempts.start(tx, run.id, run.token) for run in sorted(claimed)]


def _declare(queue: str, limit: int | None) -> Deed:
    return lambda stage, tx, player: queues.declare(tx, NAMESPACE, queue, limits=[] if limit is None else [Limit(limit)])


def _pause(queue: str) -> Deed:
    return lambda stage, tx, player: queues.pause(tx, NAMESPACE, queue, actor=f"user:{player}")


def _resume_queue(queue: str) -> Deed:
    return lambda stage, tx, player: queues.resume(tx, NAMESPACE, queue, actor=f"user:{player}")


def _set_limit(queue: str, size: int | None) -> Deed:
    return lambda stage, tx, player: queues.set_limit(tx, NAMESPACE, queue, size, actor=f"user:{player}")


def _sweep(stage: Stage, tx: Transaction, player: str) -> Any:
    return limits.sweep(tx)


def _prune(stage: Stage, tx: Transaction, player: str) -> Any:
    return retention.prune(tx, NAMESPACE, cut_off=tx.now, states=sorted(TERMINAL), cursor=None, most=100).runs


def _forget(stage: Stage, tx: Transaction, player: str) -> Any:
    return retention.forget(tx, workers_before=tx.now)


# -- who meets whom ----------------------------------------------------------------------------------------------------

#: Operations that look at, or change, many runs of all kinds.
_WIDE = frozenset({"claim", "make due", "reap", "prune", "expire", "enforce deadlines", "let go of limits"})
_UPSTREAM = _WIDE | {
    "enqueue after a running run", "enqueue after a batch", "finish an upstream", "finish an upstream: failed",
    "cancel an upstream", "cancel a dependant", "cancel a batch", "cancel members", "finish a member",
    "finish the other member: failed", "finish both members", "cancel a callback",
}  # fmt: skip
_OWNERS = _WIDE | {
    "replace a waiting owner", "replace a waiting owner, later", "defer behind a running owner",
    "defer behind what follows already", "finish an owner that is followed", "finish: succeeded", "finish: failed, again later",
    "finish: failed for good", "cancel a running run", "cancel a queued run", "park", "reschedule", "set priority",
    "claim one run", "give back", "enqueue, singleton of a running run", "enqueue, singleton of a waiting run",
    "rerun a failed run", "retry a failed run",
}  # fmt: skip
_WAITERS = _WIDE | {
    "claim one", "claim one run", "replace a waiting owner", "reschedule", "reschedule what waits for its time", "set priority",
    "cancel a queued run", "cancel a run that waits for its time", "park", "run now", "declare a limit", "set a limit",
    "pause a queue", "enqueue in a new lane", "a worker's turn", "finish: succeeded",
}  # fmt: skip
_MEMBERS = _WIDE | {
    "cancel a batch", "cancel members", "cancel an open batch", "add to a batch", "close a batch", "park idle batches",
    "create a batch", "finish a member", "finish the other member: failed", "finish both members", "cancel a member",
    "cancel a callback", "enqueue after a batch",
}  # fmt: skip
_KEYS = frozenset({
    "reset a key", "reset a key that is in use", "enqueue, key of an ended run", "enqueue, key of a running run", "prune",
    "forget", "finish: succeeded", "finish: failed for good", "retry a failed run", "enqueue, new key", "run now, new key",
    "enqueue, new key, other payload",
})  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (
    Operation(name="enqueue", deed=_enqueue({})),
    Operation(name="enqueue later", deed=_enqueue({"delay": 60 * SECOND})),
    Operation(name="enqueue alike", deed=_enqueue_alike),
    Operation(name="enqueue in a new lane", deed=_enqueue_in_a_new_lane),
    Operation(name="enqueue, new key", deed=_enqueue({"idempotency_key": "k"})),
    Operation(name="enqueue, new key, other payload", deed=_enqueue({"idempotency_key": "k", "body": b"[1]"})),
    Operation(name="enqueue, two keys", deed=_enqueue({"idempotency_key": "l"}, {"idempotency_key": "k"})),
    Operation(name="enqueue, key of a running run", deed=_enqueue({"idempotency_key": "k-held"})),
    Operation(name="enqueue, key of an ended run", deed=_enqueue({"idempotency_key": "k-old"})),
    Operation(name="enqueue, key over its time", deed=_enqueue({"idempotency_key": "k-expired"})),
    Operation(name="enqueue, key of a failed run", deed=_enqueue({"idempotency_key": "k-failed"})),
    Operation(name="enqueue, key of a cancelled run", deed=_enqueue({"idempotency_key": "k-cancelled"})),
    Operation(name="enqueue, new singleton", deed=_enqueue({"singleton_key": "s"})),
    Operation(name="enqueue, singleton of a running run", deed=_enqueue({"singleton_key": "s-held"})),
    Operation(name="enqueue, singleton of a failed run", deed=_enqueue({"singleton_key": "s-failed"})),
    Operation(name="enqueue, singleton of a waiting run", deed=_enqueue({"singleton_key": "s-waiting"})),
    Operation(name="enqueue, new key, taken singleton", deed=_enqueue({"idempotency_key": "k", "singleton_key": "s-held"})),
    Operation(name="enqueue, both keys of a running run", deed=_enqueue({"idempotency_key": "k-held", "singleton_key": "s-held"})),
    Operation(name="intern", deed=_intern_new),
    Operation(name="create a batch", deed=_batch(1)),
    Operation(name="create an empty batch", deed=_batch(0)),
    Operation(name="claim", deed=_claim_as("w3")),
    Operation(name="claim one", deed=_claim_as("w2", most=1)),
    Operation(name="claim by a worker whose lease is over", deed=_claim_as("w1")),
    Operation(name="a worker's turn", deed=_turn),
    Operation(name="start", deed=_start),
    Operation(name="heartbeat", deed=_heartbeat),
    Operation(name="finish: succeeded", deed=_finish(["held"], Succeeded(b"1"))),
    Operation(name="finish: succeeded, nothing hangs on it", deed=_finish(["light"], Succeeded(b"1"), limits=False)),
    Operation(name="finish: failed, again later", deed=_finish(["held"], FLAKY)),
    Operation(name="finish: failed for good", deed=_finish(["held"], FINAL)),
    Operation(name="finish: released", deed=_finish(["held"], GaveItselfBack(after_us=60 * SECOND))),
    Operation(name="finish: interrupted", deed=_finish(["held"], Interrupted("shutdown", shutdown=True))),
    Operation(name="finish: unworkable", deed=_finish(["held"], Unworkable("invalid_payload", "unreadable"))),
    Operation(name="finish: asked to stop", deed=_finish(["stopping"], Succeeded(b"1"))),
    Operation(name="finish many", deed=_finish(["light", "stopping", "held"], Succeeded(b"1"))),
    Operation(name="finish a member", deed=_finish(["member"], Succeeded(b"1"), worker="w2")),
    Operation(name="finish the other member: failed", deed=_finish(["sibling"], FINAL, worker="w2")),
    Operation(name="finish both members", deed=_finish(["sibling", "member"], Succeeded(b"1"), worker="w2")),
    Operation(name="give back", deed=_give_back),
    Operation(name="register", deed=_register("w4")),
    Operation(name="renew", deed=_renew("w1")),
    Operation(name="leave", deed=_leave("w1")),
    Operation(name="leave, idle", deed=_leave("w3")),
    Operation(name="cancel a running run", deed=_cancel("held")),
    Operation(name="cancel a queued run", deed=_cancel("waiting")),
    Operation(name="cancel a member", deed=_cancel("member")),
    Operation(name="cancel a callback", deed=_cancel("summary")),
    Operation(name="cancel a run that waits for its time", deed=_cancel("retrying")),
    Operation(name="retry a failed run", deed=_retry("failed")),
    Operation(name="retry a cancelled run", deed=_retry("cancelled")),
    Operation(name="retry a running run", deed=_retry("held")),
    Operation(name="resume", deed=_resume),
    Operation(name="fail", deed=_fail),
    Operation(name="park", deed=_park),
    Operation(name="park the unserved", deed=_park_unserved),
    Operation(name="make due", deed=_make_due),
    Operation(name="reap", deed=_reap),
    Operation(
        name="reap, claim and start",
        deed=_take_over,
        meets=frozenset({"start", "heartbeat", "give back", "renew", "cancel a running run", "finish: succeeded", "finish many"}),
    ),
    Operation(name="declare a queue", deed=_declare("fresh", 2)),
    Operation(name="declare a limit", deed=_declare("main", 4)),
    Operation(name="declare a first limit", deed=_declare("free", 7)),
    Operation(name="pause a queue", deed=_pause("main")),
    Operation(name="resume a queue", deed=_resume_queue("closed")),
    Operation(name="set a limit", deed=_set_limit("main", 1), lowers="main"),
    Operation(name="set a first limit", deed=_set_limit("free", 7)),
    Operation(name="lift a limit", deed=_set_limit("main", None)),
    Operation(name="let go of limits", deed=_sweep),
    Operation(name="prune", deed=_prune),
    Operation(name="forget", deed=_forget),
    Operation(name="enqueue after a running run", deed=_enqueue_after("upstream"), meets=_UPSTREAM),
    Operation(name="enqueue after a batch", deed=_enqueue_after("batch", condition=Condition.FAILED), meets=_UPSTREAM | _MEMBERS),
    Operation(
        name="enqueue after a batch and its callback",
        deed=_enqueue_after("batch", "summary", condition=Condition.DONE),
        meets=_MEMBERS | {"enqueue after a batch and its callback"},
    ),
    Operation(name="finish an upstream", deed=_finish(["upstream"], Succeeded(b"1"), worker="w2"), meets=_UPSTREAM),
    Operation(name="finish an upstream: failed", deed=_finish(["upstream"], FINAL, worker="w2"), meets=_UPSTREAM),
    Operation(name="cancel an upstream", deed=_cancel("upstream"), meets=_UPSTREAM),
    Operation(name="cancel a dependant", deed=_cancel("dependant"), meets=_UPSTREAM),
    Operation(name="replace a waiting owner", deed=_enqueue(_AGAIN, on_singleton="replace"), meets=_OWNERS | _WAITERS),
    Operation(
        name="replace a waiting owner, later",
        deed=_enqueue({**_AGAIN, "delay": 60 * SECOND}, on_singleton="replace"),
        meets=_OWNERS,
    ),
    Operation(
        name="defer behind a running owner",
        deed=_enqueue({"singleton_key": "s-held", "body": b'"next"'}, on_singleton="replace"),
        meets=_OWNERS | {"finish many", "a worker's turn", "reap, claim and start"},
    ),
    Operation(
        name="defer behind what follows already",
        deed=_enqueue({"singleton_key": "s-led", "body": b'"last"'}, on_singleton="replace"),
        meets=_OWNERS,
    ),
    Operation(name="finish an owner that is followed", deed=_finish(["led"], Succeeded(b"1"), worker="w2"), meets=_OWNERS),
    Operation(
        name="debounce",
        deed=_enqueue({"singleton_key": "s-new"}, debounce=Debounce("5s")),
        meets=frozenset({"debounce", "debounce, the first at once", "make due", "claim", "forget"}),
    ),
    Operation(
        name="debounce, the first at once",
        deed=_enqueue({"singleton_key": "s-new"}, debounce=Debounce("5s", edge="both")),
        meets=frozenset({"debounce", "debounce, the first at once", "make due", "claim", "forget"}),
    ),
    Operation(
        name="claim under a limit of each key",
        deed=_claim_from("keyed"),
        meets=_WIDE | {"claim under a limit of each key", "claim one", "a worker's turn", "pause a queue", "register"},
    ),
    Operation(
        name="enqueue into a full queue",
        deed=_enqueue_into_a_full_queue,
        meets=_WIDE
        | {"enqueue into a full queue", "claim one", "a worker's turn", "cancel the oldest", "park the unserved", "intern"},
    ),
    Operation(name="cancel the oldest", deed=_cancel("oldest"), meets=frozenset({"enqueue into a full queue"})),
    Operation(name="claim one run", deed=_claim_run("waiting"), meets=_WAITERS | _OWNERS),
    Operation(name="run now", deed=_run_now(), meets=_WAITERS),
    Operation(name="run now, new key", deed=_run_now(idempotency_key="k"), meets=_KEYS),
    Operation(name="expire", deed=_expire, meets=_WIDE | {"claim one", "a worker's turn", "park the unserved"}),
    Operation(name="enforce deadlines", deed=_enforce, meets=_WIDE | {"claim one", "a worker's turn", "park the unserved"}),
    Operation(name="reschedule", deed=_reschedule("waiting", 60 * SECOND), meets=_WAITERS | _OWNERS),
    Operation(name="reschedule what waits for its time", deed=_reschedule("scheduled", 0), meets=_WAITERS),
    Operation(name="set priority", deed=_set_priority("waiting"), meets=_WAITERS | _OWNERS),
    Operation(name="rerun a failed run", deed=_rerun("failed"), meets=_OWNERS | {"enqueue, singleton of a failed run"}),
    Operation(name="reset a key", deed=_reset_key("k-old"), meets=_KEYS),
    Operation(name="reset a key that is in use", deed=_reset_key("k-held"), meets=_KEYS),
    Operation(name="cancel a batch", deed=_cancel_batch("batch"), meets=_MEMBERS),
    Operation(name="cancel members", deed=_cancel_members, meets=_MEMBERS),
    Operation(name="cancel an open batch", deed=_cancel_batch("open batch"), meets=_MEMBERS),
    Operation(name="add to a batch", deed=_add, meets=_MEMBERS),
    Operation(name="close a batch", deed=_close_batch, meets=_MEMBERS),
    Operation(name="park idle batches", deed=_park_idle, meets=_MEMBERS),
)


def pairs() -> list[tuple[Operation, Operation]]:
    """Every pair, each with itself too."""
    return [(first, second) for first, second in combinations_with_replacement(OPERATIONS, 2) if _meet(first, second)]


def _meet(first: Operation, second: Operation) -> bool:
    return not (first.meets or second.meets) or first.name in second.meets or second.name in first.meets
