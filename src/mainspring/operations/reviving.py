"""Trying a run again together with those that never began because of it: linked copies, behind each other as the old ones were."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mainspring.core.dependencies import Condition
from mainspring.core.states import State
from mainspring.errors import InvalidOption, KeyConflict
from mainspring.operations import deliveries, moves, runs
from mainspring.operations.creation import Keyed, NewRun
from mainspring.operations.enqueue import create
from mainspring.operations.lanes import lanes_of
from mainspring.store.database import Transaction, drive

MOST = 1_000


class Behind(NamedTuple):
    """A run that ended ``upstream_failed`` because of another: its task and its payload as it is stored."""

    run_id: str
    task: str
    body: bytes
    is_singleton: bool


def behind(tx: Transaction, run_id: str) -> list[Behind]:
    """Everything that ended ``upstream_failed`` behind a run, near or far.

    Raises:
        InvalidOption: more than a thousand.
    """
    found: dict[str, None] = {}
    level = [run_id]
    while level:
        rows = tx.rows("dependencies.failed_behind", ids=level, most=MOST + 1)
        level = [row[0] for row in rows if row[0] not in found]
        found |= dict.fromkeys(level)
        if len(found) > MOST:
            told = f"more than {MOST:,} runs failed behind run {run_id}; retry them by themselves"
            raise InvalidOption(told, option="with_dependants")
    return [_read(tx, each) for each in found]


def retry(
    tx: Transaction, run_id: str, new_id: str, copies: Mapping[str, tuple[str, bytes]], *, namespace: str, actor: str
) -> tuple[str, bool]:
    """``runs.retry``, and a new run for each of ``copies`` (of whom: its id and payload), behind the new ones of those it waited
    for. Where the run is being retried already, nothing is copied.

    Raises:
        UnknownRun, NotTerminal, KeyConflict: nothing was created.
    """
    again, made = runs.retry(tx, run_id, new_id, namespace=namespace, actor=actor)
    if not made or not copies:
        return again, made
    ids = {run_id: new_id} | {old: new for old, (new, _) in copies.items()}
    new, keyed = _copies(tx, copies, ids, actor)
    answers = drive(tx, create(new, keyed))
    if taken := [answer for run, answer in zip(new, answers, strict=True) if answer.run_id != run.id]:
        raise KeyConflict(f"run {taken[0].run_id} has the singleton key of a run behind {run_id}", owner=taken[0].run_id)
    deliveries.follow(tx, [run.id for run in new])
    return again, made


def _copies(
    tx: Transaction, copies: Mapping[str, tuple[str, bytes]], ids: Mapping[str, str], actor: str
) -> tuple[list[NewRun], dict[str, Keyed]]:
    made: list[NewRun] = []
    keyed: dict[str, Keyed] = {}
    for run in moves.lock_runs(tx, copies).values():
        if run.state is not State.UPSTREAM_FAILED:
            continue
        new_id, body = copies[run.id]
        new, keys = runs.copy_of(tx, run, new_id, actor, retry=False)
        after = tuple((ids.get(up, up), Condition(condition)) for up, condition in _upstreams(tx, run.id))
        made.append(new._replace(after=after, body=body))
        keyed |= keys
    return made, keyed


def _upstreams(tx: Transaction, run_id: str) -> Sequence[tuple[str, str]]:
    return [(row[0], row[1]) for row in tx.rows("dependencies.of", run_id=run_id, most=MOST)]


def _read(tx: Transaction, run_id: str) -> Behind:
    run = moves.lock_runs(tx, [run_id])[run_id]
    payload = tx.one("runs.payload", id=run_id)
    assert payload is not None
    return Behind(run_id, lanes_of(tx, [run.lane_id])[run.lane_id].task, payload[1], run.singleton_key is not None)
