"""Idempotency keys: who owns one, who may take it, and letting go of it by hand.

``take`` is a plan, as ``enqueue.create`` is. A live run keeps its key whatever its time; one that has ended keeps it until its
captured time is over, unless it failed. Not here: singletons (``singletons``), and which payload belongs to a call (``client``).
"""

from collections.abc import Generator
from typing import Any, NamedTuple

from mainspring.core.names import check_key, check_name, check_text
from mainspring.errors import KeyActive, KeyConflict, StorageConflict
from mainspring.operations import audit
from mainspring.operations.creation import Created, Keyed, NewRun
from mainspring.store.database import Query, Row, Transaction

_TRIES = 3
_MOST_CHANGES = 500


class Found(NamedTuple):
    """The owner of a key. ``final_state`` and ``ended_at`` are told of one that was pruned, of which nothing else is left."""

    run_id: str
    final_state: str | None = None
    ended_at: int | None = None


def take(run: NewRun, keyed: Keyed) -> Generator[Query, list[Row], Created | None]:
    """Take the idempotency key for ``run``; the owner if somebody else has it.

    Raises:
        KeyConflict: the owner has another payload. ``details`` hold both as they are stored, for whoever can read them.
    """
    row = (keyed.namespace, keyed.task, run.idempotency_key, run.id, keyed.payload_hash, keyed.ttl)
    for _ in range(_TRIES):
        yield Query(statement="keys.expire", params={"wanted": [row]})
        if (yield Query(statement="keys.take", params={"wanted": [row]})):
            return None
        owners = yield Query(statement="keys.owner", params=named(run, keyed))
        if not owners:  # freed in between: try to take it again
            continue
        owner, payload_hash, final_state, ended_at = owners[0]
        if payload_hash != keyed.payload_hash:
            raise (yield from _conflict(run, keyed, str(owner)))
        return Created(str(owner), "existing", final_state, ended_at)
    raise StorageConflict(f"key {run.idempotency_key!r} kept changing its owner")


def give_up(run: NewRun, keyed: Keyed) -> Query:
    """Give back the key that this transaction took for a run it does not create after all."""
    return Query(statement="keys.give_up", params={"run_id": run.id, **named(run, keyed)})


def named(run: NewRun, keyed: Keyed) -> dict[str, Any]:
    """The key of a run as statements name it."""
    return {"namespace": keyed.namespace, "task": keyed.task, "key": run.idempotency_key}


def _conflict(run: NewRun, keyed: Keyed, owner: str) -> Generator[Query, list[Row], KeyConflict]:
    rows = yield Query(statement="keys.taken_for", params={"run_id": owner})
    return KeyConflict(
        f"key {run.idempotency_key!r} of task {keyed.task!r} belongs to run {owner}, which has another payload; "
        "use another key, or send the same payload",
        owner=owner,
        key=run.idempotency_key,
        task=keyed.task,
        stored=(bytes(rows[0][0]) if rows and rows[0][0] is not None else None, run.body),
    )


# -- asking, and letting go ----------------------------------------------------------------------------------------------


def current(tx: Transaction, namespace: str, task: str, key: str) -> Found | None:
    """Who would be found under an idempotency key now. Advice: it may change before the next call."""
    row = tx.one("keys.current", namespace=namespace, task=task, key=key)
    return None if row is None else Found(str(row[0]), row[1], row[2])


def active(tx: Transaction, namespace: str, task: str, singleton: str) -> Found | None:
    """The live run of a singleton. Advice: it may end before the next call."""
    row = tx.one("keys.singleton_owner", namespace=namespace, task=task, key=singleton)
    return None if row is None else Found(str(row[0]))


def is_deferred(tx: Transaction, run_id: str) -> bool:
    """Whether a run is promised, and will be created when the owner of its singleton has ended."""
    return tx.one("keys.is_deferred", run_id=run_id) is not None


def reset(tx: Transaction, namespace: str, task: str, key: str, *, actor: str, reason: str) -> str | None:
    """Free the idempotency key of a run that has ended, and put it on record; whose it was. None: nobody has it.

    Nothing is run by it: the next call with the key creates a run.

    Raises:
        KeyActive: its owner has not ended.
    """
    subject = f"key:{check_name(task, 'task')}/{check_key(key, 'key')}"
    reason = check_text(reason, "reason")
    named = {"namespace": namespace, "task": task, "key": key}
    row = tx.one("keys.owner", **named)
    if row is None:
        return None
    owner = str(row[0])
    locked = tx.rows("runs.lock", ids=[owner])
    if locked and locked[0][-1] is None:
        raise KeyActive(
            f"key {key!r} of task {task!r} belongs to run {owner}, which is {locked[0][3]}; cancel that first, or wait for its end",
            owner=owner,
            key=key,
        )
    if not tx.execute("keys.give_up", run_id=owner, **named):
        return None
    told = {"reason": reason, "owner": owner, "state": row[2] or (locked[0][3] if locked else None)}
    audit.record(tx, subject, action="key.reset", namespace=namespace, actor=actor, data=told)
    return owner
