"""Creating runs: who wins a key, what is written, once.

``create`` is a plan: it yields queries and is sent their rows, so the same lines serve our own transactions, a caller's psycopg
connection, and connections that are awaited.
"""

from collections.abc import Generator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from mainspring.core.durations import DAY
from mainspring.core.ids import stable_id
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.errors import KeyConflict, StorageConflict
from mainspring.operations.lanes import as_lane, as_row
from mainspring.operations.moves import encode_data
from mainspring.store.database import Plan, Query, Row

Outcome = Literal["created", "existing"]
_KEY_TRIES = 3
_SALTS = 8
DEFAULT_KEY_TTL = 30 * DAY


@cache
def policy_row(policy: Policy) -> tuple[int, str]:
    """A policy's id, which is a hash of what it says, and its text."""
    body = encode_data(policy.as_data()) or "{}"
    return stable_id("policy", body), body


class NewRun(NamedTuple):
    """One run to create. ``due_at`` is an instant (the past is now); ``delay`` is µs from now and used without it; so with
    ``expires_at``/``expires_in`` and ``deadline_at``/``deadline_in``. ``blocked`` and ``skipped`` are reasons."""

    id: str
    lane_id: int
    policy_id: int
    body: bytes
    actor: str
    due_at: int | None = None
    delay: int = 0
    blocked: str | None = None
    idempotency_key: str | None = None
    singleton_key: str | None = None
    batch_id: str | None = None
    rerun_of: str | None = None
    trace: str | None = None
    expires_at: int | None = None
    expires_in: int | None = None
    deadline_at: int | None = None
    deadline_in: int | None = None
    skipped: str | None = None


class Keyed(NamedTuple):
    """What taking the keys of a new run needs to know."""

    namespace: str
    task: str
    payload_hash: str
    ttl: int


class Created(NamedTuple):
    """The run that a call got, and whether the call made it."""

    run_id: str
    outcome: Outcome


def intern(lanes: Sequence[Lane], policies: Sequence[tuple[int, str]]) -> Query:
    """Make sure that lanes and policies exist. A repeat changes nothing."""
    return Query(statement="runs.intern", params={"lanes": [as_row(lane) for lane in lanes], "policies": policies})


def interned(lanes: Sequence[Lane], policies: Sequence[tuple[int, str]]) -> Plan[dict[Lane, Lane]]:
    """``intern``, and a look at what is there: of lanes whose number another lane had already, as they are now."""
    moved: dict[Lane, Lane] = {}
    wanted = [(lane, lane) for lane in lanes]
    for _ in range(_SALTS):
        first = {lane.id: lane for _, lane in reversed(wanted)}  # of two with one number the first one has it
        yield intern([first[number] for number in sorted(first)], policies)
        rows = yield Query(statement="lanes.some", params={"ids": sorted(first)})
        there = {row[0]: as_lane(row).holds for row in rows}
        wanted = [(asked, lane.salted()) for asked, lane in wanted if there[lane.id] != lane.holds]
        moved |= dict(wanted)
        if not wanted:
            return moved
    raise StorageConflict("no free number was found for a lane; this should never happen")


def insertion(runs: Sequence[NewRun]) -> Query:
    """Insert runs whose keys, if any, are theirs. A repeat changes nothing."""
    return Query(statement="runs.create", params={"batch": [_row(run) for run in runs]})


def insertion_alike(lane_id: int, policy_id: int, actor: str, batch: Sequence[tuple[str, bytes]]) -> Query:
    """Insert runs without keys, due now, that differ in their id and payload only."""
    data = _plain_data(lane_id, policy_id)
    params = {"lane_id": lane_id, "policy_id": policy_id, "actor": actor, "data": data, "batch": batch}
    return Query(statement="runs.create_alike", params=params)


def create(runs: Sequence[NewRun], keyed: Mapping[str, Keyed]) -> Plan[list[Created]]:
    """Create runs, each judged by its keys; one answer per run. ``keyed`` holds an entry for every run with a key.

    Keys are taken in their own order, whatever the caller's, so that two calls with the same keys never wait for each other;
    of two runs with one key the first in the list wins.

    Raises:
        KeyConflict: an idempotency key is owned by a run with another payload. Nothing is written if the caller's
            transaction is rolled back, as ours is.
    """
    repeated = yield from _already_there([run for run in runs if run.id in keyed])
    owners: dict[str, str] = {}
    wanted = [run for run in runs if run.id in keyed and run.id not in repeated]
    for run in sorted((run for run in wanted if run.idempotency_key is not None), key=lambda run: run.idempotency_key or ""):
        if owner := (yield from _take_key(run, keyed[run.id])):
            owners[run.id] = owner
    for run in sorted((run for run in wanted if run.singleton_key is not None), key=lambda run: run.singleton_key or ""):
        if run.id not in owners and (owner := (yield from _take_singleton(run, keyed[run.id]))):
            owners[run.id] = owner
            if run.idempotency_key is not None:
                yield Query(statement="keys.give_up", params={"run_id": run.id, **_key(run, keyed[run.id])})
    made = [run for run in runs if run.id not in owners and run.id not in repeated]
    if made:
        yield insertion(made)
    return [Created(owners.get(run.id, run.id), "existing" if run.id in owners else "created") for run in runs]


def _already_there(runs: Sequence[NewRun]) -> Generator[Query, list[Row], set[str]]:
    """Keyed runs that this very call created before, when its commit was unknown: their keys were judged then."""
    if not runs:
        return set()
    rows = yield Query(statement="views.states", params={"ids": [run.id for run in runs]})
    return {str(row[0]) for row in rows}


def _take_key(run: NewRun, keyed: Keyed) -> Generator[Query, list[Row], str | None]:
    """Take the idempotency key for ``run``; the owner if somebody else has it."""
    row = (keyed.namespace, keyed.task, run.idempotency_key, run.id, keyed.payload_hash, keyed.ttl)
    for _ in range(_KEY_TRIES):
        yield Query(statement="keys.expire", params={"wanted": [row]})
        if (yield Query(statement="keys.take", params={"wanted": [row]})):
            return None
        owners = yield Query(statement="keys.owner", params=_key(run, keyed))
        if not owners:  # freed in between: try to take it again
            continue
        owner, payload_hash = str(owners[0][0]), owners[0][1]
        if payload_hash != keyed.payload_hash:
            raise KeyConflict(
                f"key {run.idempotency_key!r} of task {keyed.task!r} belongs to run {owner}, which has another payload; "
                "use another key, or send the same payload",
                owner=owner,
                key=run.idempotency_key,
            )
        return owner
    raise StorageConflict(f"key {run.idempotency_key!r} kept changing its owner")


def _take_singleton(run: NewRun, keyed: Keyed) -> Generator[Query, list[Row], str | None]:
    params = {"namespace": keyed.namespace, "task": keyed.task, "key": run.singleton_key}
    for _ in range(_KEY_TRIES):
        if (yield Query(statement="keys.take_singleton", params=params | {"run_id": run.id})):
            return None
        owners = yield Query(statement="keys.singleton_owner", params=params)
        if owners:
            return str(owners[0][0])
    raise StorageConflict(f"singleton key {run.singleton_key!r} kept changing its owner")


def _key(run: NewRun, keyed: Keyed) -> dict[str, Any]:
    return {"namespace": keyed.namespace, "task": keyed.task, "key": run.idempotency_key}


@cache
def _plain_data(lane_id: int, policy_id: int) -> str:
    """The `created` data of a run with nothing special about it: nearly all of them, and always the same."""
    return f'{{"lane":{lane_id},"policy":{policy_id}}}'


def _data(run: NewRun) -> str | None:
    if run[5:] == _NOTHING_SPECIAL:
        return _plain_data(run.lane_id, run.policy_id)
    told = {
        "lane": run.lane_id,
        "policy": run.policy_id,
        "reason": run.blocked or run.skipped,
        "due_at": run.due_at,
        "delay": run.delay or None,
        "key": run.idempotency_key,
        "singleton": run.singleton_key,
        "batch": run.batch_id,
        "rerun_of": run.rerun_of,
        "trace": run.trace,
        "expires_at": run.expires_at,
        "expires_in": run.expires_in if run.expires_at is None else None,
        "deadline_at": run.deadline_at,
        "deadline_in": run.deadline_in if run.deadline_at is None else None,
    }
    return encode_data({key: value for key, value in told.items() if value is not None})


_NOTHING_SPECIAL = tuple(NewRun._field_defaults.values())


def _row(run: NewRun) -> tuple[Any, ...]:
    data = _data(run)
    start = "skipped" if run.skipped is not None else "blocked" if run.blocked is not None else ""
    return (
        run.id, run.lane_id, run.policy_id, start, run.blocked or run.skipped, run.due_at, run.delay, run.idempotency_key,
        run.singleton_key, run.batch_id, run.rerun_of, run.expires_at, run.expires_in, run.deadline_at, run.deadline_in,
        run.actor, data, run.body,
    )  # fmt: skip
