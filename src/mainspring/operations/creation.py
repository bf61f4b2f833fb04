"""A run to create, and the statements that insert it. Nothing here judges keys, queues or dependencies (``enqueue``)."""

from collections.abc import Generator, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from mainspring.core.debounce import Debounce, OnSingleton
from mainspring.core.dependencies import Condition
from mainspring.core.durations import DAY
from mainspring.core.ids import stable_id
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.errors import StorageConflict
from mainspring.operations.lanes import as_lane, as_row
from mainspring.operations.rows import encode_data
from mainspring.store.database import Plan, Query, Row

#: What a call came to: a new run, the run that was there, that run with the call's payload, the run that follows it, or a refusal
#: on record.
Outcome = Literal["created", "existing", "replaced", "deferred", "skipped"]
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
    attributes: tuple[tuple[str, str], ...] = ()
    is_retry: bool = False
    after: tuple[tuple[str, Condition], ...] = ()  # upstreams (runs or batches), and how each is wanted to end


class Keyed(NamedTuple):
    """What taking the keys of a new run needs to know. ``ttl`` 0: the key is free as soon as its run has ended."""

    namespace: str
    task: str
    payload_hash: str
    ttl: int
    on_singleton: OnSingleton = "existing"
    debounce: Debounce | None = None


class Created(NamedTuple):
    """The run that a call got, and what the call did. ``final_state`` and ``ended_at`` tell of an owner that was pruned; ``seq`` is
    the event that replaced a payload."""

    run_id: str
    outcome: Outcome
    final_state: str | None = None
    ended_at: int | None = None
    seq: int = 0


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


def labelling(runs: Sequence[NewRun]) -> Generator[Query, list[Row], None]:
    """Write the attributes of new runs: no query where there are none. A repeat changes nothing."""
    rows = [(run.id, run.lane_id, name, value) for run in runs for name, value in run.attributes]
    if rows:
        yield Query(statement="attributes.put", params={"batch": rows})


def insertion_alike(lane_id: int, policy_id: int, actor: str, batch: Sequence[tuple[str, bytes]]) -> Query:
    """Insert runs without keys, due now, that differ in their id and payload only."""
    data = _plain_data(lane_id, policy_id)
    params = {"lane_id": lane_id, "policy_id": policy_id, "actor": actor, "data": data, "batch": batch}
    return Query(statement="runs.create_alike", params=params)


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
        "retry": int(run.is_retry) or None,
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
