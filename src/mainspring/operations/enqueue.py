"""Creating runs: who wins a key, what is written, once.

``create`` is a plan: it yields queries and is sent their rows, so the same lines serve our own transactions, a caller's psycopg
connection, and connections that are awaited.
"""

from collections.abc import Generator, Mapping, MutableMapping, Sequence

from mainspring.core.states import State
from mainspring.operations import capacity, dependencies, keys, singletons
from mainspring.operations.creation import (
    DEFAULT_KEY_TTL,
    Created,
    Keyed,
    NewRun,
    Outcome,
    insertion,
    insertion_alike,
    intern,
    interned,
    labelling,
    policy_row,
)
from mainspring.store.database import Plan, Query, Row

__all__ = [
    "DEFAULT_KEY_TTL",
    "Created",
    "Keyed",
    "NewRun",
    "Outcome",
    "create",
    "insertion",
    "insertion_alike",
    "intern",
    "interned",
    "labelling",
    "policy_row",
]


def create(
    runs: Sequence[NewRun], keyed: Mapping[str, Keyed], tried: MutableMapping[str, Created] | None = None
) -> Plan[list[Created]]:
    """Create runs, each judged by its keys and by the room in its queue; one answer per run. ``keyed`` holds an entry for every run
    with a key.

    Keys are taken in their own order, whatever the caller's, so that two calls with the same keys never wait for each other;
    of two runs with one key the first in the list wins. ``tried`` is where earlier tries of the same call left what they answered:
    a call whose commit is unknown does what it does once.

    Raises:
        KeyConflict: an idempotency key is owned by a run with another payload. QueueFull: a bounded queue has no room. Nothing is
            written if the caller's transaction is rolled back, as ours is. UnknownRun: an upstream is not there; so too.
    """
    known = (yield from dependencies.look(runs)) if any(run.after for run in runs) else {}
    there: set[str] = set()
    done = (yield from _already_done(runs, tried)) if tried else {}
    answers = yield from _already_there([run for run in runs if run.id in keyed])
    answers |= done
    mine: dict[str, NewRun] = {}
    wanted = [run for run in runs if run.id in keyed and run.id not in answers]
    yield from singletons.lock_owners(wanted, keyed)
    answers |= yield from _judge_keys(wanted, keyed, answers)
    answers |= yield from _judge_singletons(wanted, keyed, answers, mine, tried)
    made = [mine.get(run.id, run) for run in runs if run.id not in answers or run.id in mine]
    if known and made:
        made, there = yield from dependencies.hold_back(made, known)
    if made:
        made = yield from capacity.admit(made, keyed)
        answers |= {run.id: Created(run.id, "skipped") for run in made if run.skipped is not None}
        yield insertion(made)
        yield from labelling(made)
        if known:
            yield from dependencies.record(made, known, there)
    return [answers.get(run.id) or Created(run.id, "created") for run in runs]


def _already_there(runs: Sequence[NewRun]) -> Generator[Query, list[Row], dict[str, Created]]:
    """Keyed runs that this very call created before, when its commit was unknown: their keys were judged then."""
    if not runs:
        return {}
    rows = yield Query(statement="views.states", params={"ids": [run.id for run in runs]})
    return {str(row[0]): Created(str(row[0]), "skipped" if row[1] == State.SKIPPED else "created") for row in rows}


def _already_done(runs: Sequence[NewRun], tried: Mapping[str, Created]) -> Generator[Query, list[Row], dict[str, Created]]:
    """Calls that an earlier try answered with somebody else's run, and whose payload is there."""
    done = {}
    for run in runs:
        before = tried.get(run.id)
        if before is not None and (yield from singletons.did(run, before)):
            done[run.id] = before
    return done


def _judge_keys(
    runs: Sequence[NewRun], keyed: Mapping[str, Keyed], answers: Mapping[str, Created]
) -> Generator[Query, list[Row], dict[str, Created]]:
    found: dict[str, Created] = {}
    open_ = [run for run in runs if run.idempotency_key is not None and run.id not in answers]
    for run in sorted(open_, key=lambda run: (keyed[run.id].task, run.idempotency_key or "")):
        if owner := (yield from keys.take(run, keyed[run.id])):
            found[run.id] = owner
    return found


def _judge_singletons(
    runs: Sequence[NewRun],
    keyed: Mapping[str, Keyed],
    answers: Mapping[str, Created],
    mine: MutableMapping[str, NewRun],
    tried: MutableMapping[str, Created] | None,
) -> Generator[Query, list[Row], dict[str, Created]]:
    found: dict[str, Created] = {}
    open_ = [run for run in runs if run.singleton_key is not None and run.id not in answers]
    for run in sorted(open_, key=lambda run: (keyed[run.id].task, run.singleton_key or "")):
        answer = yield from singletons.judge(run, keyed[run.id], mine)
        if answer is None:
            continue
        found[run.id] = answer
        if tried is not None and answer.outcome in {"replaced", "deferred"}:
            tried[run.id] = answer
        if run.idempotency_key is not None:
            yield keys.give_up(run, keyed[run.id])
    return found
