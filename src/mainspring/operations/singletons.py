"""Singletons: at most one live run of a key, and what becomes of calls that come meanwhile.

Here: ``judge``, a plan as ``enqueue.create`` is (the key, its owner, swapping the owner's payload or keeping it for afterwards),
and ``hand_on``, by which the transaction that ends an owner creates the run that follows. The order of locks: the owner's run, then
its key. Claim and replacement both lock the run's row, so a payload is swapped before it is handed out or kept for afterwards.
Not here: when a burst of calls is due (``core/debounce.py``).
"""

from collections.abc import Generator, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.core.attempts import move
from mainspring.core.debounce import Debounce
from mainspring.core.run import Run
from mainspring.core.states import WAITING, EventType, State
from mainspring.errors import StorageConflict
from mainspring.operations.creation import Created, Keyed, NewRun, insertion, labelling
from mainspring.operations.rows import as_run, encode_data
from mainspring.store.database import Query, Row, Transaction

_TRIES = 3

Steps = Generator[Query, list[Row], Created | None]


class _Owner(NamedTuple):
    """The run under a singleton key. ``next_id`` is promised to follow it; ``at`` is now."""

    run_id: str
    first_at: int | None
    next_id: str | None
    at: int


class _Burst(NamedTuple):
    """What a call is within a burst of calls. ``since`` None: it begins with this call, if it gathers."""

    gathers: bool
    since: int | None = None
    leader: str | None = None
    at: int = 0


def lock_owners(runs: Sequence[NewRun], keyed: Mapping[str, Keyed]) -> Generator[Query, list[Row], None]:
    """Lock the runs whose payloads many calls of one transaction may replace, in ascending id, before any key is taken."""
    replacing = [run for run in runs if run.singleton_key is not None and policy(keyed[run.id]) == "replace"]
    if len(replacing) < 2:
        return
    wanted = sorted({(keyed[run.id].namespace, keyed[run.id].task, run.singleton_key) for run in replacing})
    rows = yield Query(statement="keys.singleton_owners", params={"wanted": wanted})
    if rows:
        yield Query(statement="runs.lock", params={"ids": sorted({str(row[0]) for row in rows})})


def policy(keyed: Keyed) -> str:
    """What becomes of a call whose singleton has an owner."""
    return "replace" if keyed.debounce is not None else keyed.on_singleton


def judge(run: NewRun, keyed: Keyed, mine: MutableMapping[str, NewRun]) -> Steps:
    """What the singleton key makes of a call: None where its own run is to be created. ``mine`` are the runs that this transaction
    is about to create, by id; what is said of one of them changes there."""
    burst = (yield from _enter(run, keyed)) if keyed.debounce is not None else _Burst(gathers=False)
    for _ in range(_TRIES):
        if burst.leader is not None:
            found = yield Query(statement="keys.singleton_owner", params=_named(run, keyed))
            return Created(str(found[0][2] or found[0][0]) if found else burst.leader, "existing")
        params = _named(run, keyed) | {"run_id": run.id, "gathers": int(burst.gathers), "first_at": burst.since}
        if (yield Query(statement="keys.take_singleton", params=params)):
            mine[run.id] = _first_of(run, keyed.debounce, burst)
            return None
        owner = yield from _owner(run, keyed)
        if owner is not None and (answer := (yield from _beside(run, keyed, owner, burst, mine))) is not None:
            return answer
    raise StorageConflict(f"singleton key {run.singleton_key!r} kept changing its owner")


def _beside(run: NewRun, keyed: Keyed, owner: _Owner, burst: _Burst, mine: MutableMapping[str, NewRun]) -> Steps:
    """What a call becomes beside the owner of its key; None: that is not the owner any more."""
    match policy(keyed):
        case "existing":
            return Created(owner.run_id, "existing")
        case "skip":
            mine[run.id] = run._replace(skipped="superseded")
            return Created(run.id, "skipped")
        case _ if owner.run_id in mine:
            mine[owner.run_id] = _merged(mine[owner.run_id], run, burst)
            return Created(owner.run_id, "replaced")
        case _:
            answer = yield from _replace(run, keyed, burst, owner.run_id)
            if answer is not None and keyed.debounce is not None and keyed.debounce.leads and not burst.gathers:
                yield Query(statement="keys.lead_burst", params=_named(run, keyed) | {"run_id": answer.run_id})
            return answer


def _enter(run: NewRun, keyed: Keyed) -> Generator[Query, list[Row], _Burst]:
    """What a debounced call is: gathered, the first of its burst, or answered by the first."""
    debounce = keyed.debounce
    assert debounce is not None
    if not debounce.leads:
        return _Burst(gathers=True)
    params = _named(run, keyed) | {"run_id": run.id, "quiet": debounce.quiet_us, "max_wait": debounce.max_wait_us}
    ((leader, first_at, now),) = yield Query(statement="keys.enter_burst", params=params)
    if str(leader) == run.id:
        return _Burst(gathers=False)
    return _Burst(gathers=True, since=first_at, leader=str(leader) if debounce.edge == "leading" else None, at=now)


def _first_of(run: NewRun, debounce: Debounce | None, burst: _Burst) -> NewRun:
    """A run that is created, due when its burst is over."""
    if debounce is None or not burst.gathers:
        return run
    if burst.since is None:
        return run._replace(due_at=None, delay=debounce.quiet_us)
    return run._replace(due_at=debounce.due_at(burst.since, burst.at), delay=0)


def _merged(first: NewRun, last: NewRun, burst: _Burst) -> NewRun:
    """Two calls of one transaction: the run of the first, with the payload of the last."""
    same = first._replace(body=last.body, lane_id=last.lane_id)
    return same if burst.gathers else same._replace(due_at=last.due_at, delay=last.delay)


# -- the owner is there ------------------------------------------------------------------------------------------------


def _replace(run: NewRun, keyed: Keyed, burst: _Burst, owner_id: str) -> Steps:
    """Swap the payload of an owner that waits; keep it for afterwards where it was handed out. None: the owner has ended."""
    locked = yield Query(statement="runs.lock", params={"ids": [owner_id]})
    owner = yield from _owner(run, keyed)  # again, for it may have changed while the lock was waited for
    if not locked or owner is None or owner.run_id != owner_id:
        return None
    held = as_run([str(locked[0][0]), *locked[0][1:]])
    if held.is_terminal:
        return None
    if held.state in WAITING and owner.next_id is None:
        return (yield from _swap(run, held, owner, keyed.debounce if burst.gathers else None))
    return (yield from _defer(run, keyed, owner, burst))


def _swap(run: NewRun, held: Run, owner: _Owner, gathering: Debounce | None) -> Steps:
    due_at = _moved_due(run, held, owner, gathering)
    target = held.state
    if due_at is not None:
        target = State.SCHEDULED if due_at > owner.at else State.QUEUED
    change = move(
        held, EventType.REPLACED, held.state, target, actor=run.actor, reason=held.reason, due_at=due_at, body=run.body,
        payload=True, lane_id=run.lane_id if run.lane_id != held.lane_id else None,
    )  # fmt: skip
    yield Query(statement="runs.move", params={"batch": [change._replace(data=encode_data(change.data))]})  # type: ignore[arg-type]
    return Created(held.id, "replaced", seq=change.seq)


def _moved_due(run: NewRun, held: Run, owner: _Owner, gathering: Debounce | None) -> int | None:
    """The owner's new due time; None: it stays. Only what waits for its first claim is moved, never a back-off or a release."""
    if held.token > 0 or held.state not in {State.SCHEDULED, State.QUEUED}:
        return None
    if gathering is not None:  # a first call that runs at once is not held up by those after it
        return None if owner.first_at is None else gathering.due_at(owner.first_at, owner.at)
    if run.due_at is None and not run.delay:
        return owner.at if held.state is State.SCHEDULED else None
    return max(run.due_at if run.due_at is not None else owner.at + run.delay, owner.at)


def _defer(run: NewRun, keyed: Keyed, owner: _Owner, burst: _Burst) -> Steps:
    first_at = (owner.first_at if owner.next_id is not None else None) or owner.at
    due_at = run.due_at if run.due_at is not None else owner.at + run.delay
    if burst.gathers and keyed.debounce is not None:
        due_at = keyed.debounce.due_at(first_at, owner.at)
    told: dict[str, Any] = {
        "trace": run.trace,
        "expires_at": run.expires_at if run.expires_in is None else owner.at + run.expires_in,
        "deadline_at": run.deadline_at if run.deadline_in is None else owner.at + run.deadline_in,
        "attributes": run.attributes or None,
    }
    params = _named(run, keyed) | {
        "run_id": owner.run_id,
        "next_id": run.id,
        "lane_id": run.lane_id,
        "policy_id": run.policy_id,
        "due_at": due_at,
        "actor": run.actor,
        "data": encode_data({name: value for name, value in told.items() if value is not None}),
        "body": run.body,
        "first_at": first_at if burst.gathers else None,
    }
    rows = yield Query(statement="keys.defer", params=params)
    return Created(str(rows[0][0]), "deferred") if rows else None


def _owner(run: NewRun, keyed: Keyed) -> Generator[Query, list[Row], _Owner | None]:
    rows = yield Query(statement="keys.singleton_owner", params=_named(run, keyed))
    if not rows:
        return None
    run_id, first_at, next_id, at = rows[0]
    return _Owner(str(run_id), first_at, None if next_id is None else str(next_id), at)


def _named(run: NewRun, keyed: Keyed) -> dict[str, Any]:
    return {"namespace": keyed.namespace, "task": keyed.task, "key": run.singleton_key}


# -- the same call again -----------------------------------------------------------------------------------------------


def did(run: NewRun, before: Created) -> Generator[Query, list[Row], bool]:
    """Whether an earlier try of this call, of whose commit nobody knows, did what it was answering."""
    if before.outcome == "replaced":
        rows = yield Query(statement="keys.replaced_by", params={"run_id": before.run_id, "seq": before.seq})
    else:
        rows = yield Query(statement="keys.deferred_to", params={"run_id": before.run_id})
    return any(row[0] is not None and bytes(row[0]) == run.body for row in rows)


# -- the owner ends ----------------------------------------------------------------------------------------------------


def hand_on(tx: Transaction, ended: Sequence[str]) -> list[str]:
    """Create the runs that were kept for after the end of these, and free the keys that nobody takes over; the new runs."""
    following = [_following(row) for row in tx.rows("keys.next", ids=ended)]
    if following:
        for query in [insertion(following), *labelling(following)]:
            tx.execute(query.statement, **query.params)
        tx.execute("keys.hand_on", next_ids=[run.id for run in following])
    tx.execute("keys.free_singletons", ids=ended)
    return [run.id for run in following]


def _following(row: Row) -> NewRun:
    told = msgspec.json.decode(row[6]) if row[6] else {}
    told["attributes"] = tuple((name, value) for name, value in told.get("attributes", ()))
    return NewRun(
        id=str(row[0]), lane_id=row[1], policy_id=row[2], due_at=row[3], actor=row[4], singleton_key=row[5], body=row[7], **told
    )
