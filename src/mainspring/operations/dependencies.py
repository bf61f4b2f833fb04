"""Runs that wait for others: what a new run waits for, and what is left to be let go of.

``look`` and ``record`` are parts of the plan that creates runs (``enqueue``), so they yield queries. What an ending lets go is in
``releasing`` and ``moves``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mainspring.core.attempts import move
from mainspring.core.dependencies import Condition, Settled, Tally, by_batch, by_run
from mainspring.core.states import EventType, State
from mainspring.errors import UnknownRun
from mainspring.operations import moves, releasing
from mainspring.store.database import Plan, Query, Transaction

if TYPE_CHECKING:
    from mainspring.operations.creation import NewRun

MOST_UPSTREAMS = 1_000
REASON = "dependency"


class Fresh(NamedTuple):
    """A run that was made just now, as a move wants to know it."""

    id: str
    batch_id: str | None
    idempotency_key: str | None
    singleton_key: str | None
    token: int = 0
    seq: int = 1
    failures: int = 0
    interruptions: int = 0
    releases: int = 0


def look(runs: Sequence["NewRun"]) -> Plan[Mapping[str, Settled]]:
    """What the upstreams of new runs have decided by now; locked, runs before batches, so that none of them goes on meanwhile.

    Raises:
        UnknownRun: an upstream is not there (any more), or in another namespace. Nothing is written.
    """
    here = {run.id for run in runs}
    known = {run.id: by_run(run.id, State.QUEUED) for run in runs}
    ids = sorted({upstream for run in runs for upstream, _ in run.after} - here)
    if ids:
        lane_id = next(run.lane_id for run in runs if run.after)
        found = yield Query(statement="dependencies.upstreams", params={"ids": ids, "lane_id": lane_id})
        known |= {str(row[0]): by_run(str(row[0]), State(row[1])) for row in found}
        if missing := [upstream for upstream in ids if upstream not in known]:
            found = yield Query(statement="dependencies.batches", params={"ids": missing, "lane_id": lane_id})
            known |= {str(row[0]): by_batch(str(row[0]), Tally(row[1] is not None, *row[2:])) for row in found}
        if missing := [upstream for upstream in ids if upstream not in known]:
            raise UnknownRun(
                f"after= names {missing[0]}, and there is no such run or batch: it was pruned, never created, or is elsewhere",
                run_id=missing[0],
            )
    return known


def hold_back(made: Sequence["NewRun"], known: Mapping[str, Settled]) -> Plan[tuple[list["NewRun"], set[str]]]:
    """The new runs, those blocked that have to wait; and which of them are there already, from an earlier try of this call."""
    waiting = sorted(run.id for run in made if run.after)
    there = (yield Query(statement="views.states", params={"ids": waiting})) if waiting else []
    held = [
        run._replace(blocked=run.blocked or REASON) if any(each not in known[up].met for up, each in run.after) else run
        for run in made
    ]
    return held, {str(row[0]) for row in there}


def record(made: Sequence["NewRun"], known: Mapping[str, Settled], there: set[str]) -> Plan[None]:
    """Write down whom new runs wait for, behind their creation; end those that wait in vain."""
    known = dict(known)
    vain: dict[str, str] = {}
    for run in made:
        lost = next((upstream for upstream, condition in run.after if condition in known[upstream].lost), None)
        if run.skipped is not None:
            known[run.id] = by_run(run.id, State.SKIPPED)
        elif lost is not None and run.id not in there:  # else: the end of its upstream has seen to it, or will
            vain[run.id] = lost
            known[run.id] = by_run(run.id, State.UPSTREAM_FAILED)
    waits = [
        (run.id, upstream, str(condition), int(condition not in known[upstream].met | known[upstream].lost))
        for run in made
        for upstream, condition in run.after
    ]
    if waits:
        yield Query(statement="dependencies.create", params={"batch": waits})
        yield Query(statement="dependencies.follow", params={"ids": sorted({upstream for _, upstream, _, _ in waits})})
    if vain:
        yield from _end([run for run in made if run.id in vain], vain)


def _end(runs: Sequence["NewRun"], vain: Mapping[str, str]) -> Plan[None]:
    """Nobody waits for these yet, so nothing follows from their end but that their keys are free."""
    ended = []
    for run in runs:
        fresh = Fresh(run.id, run.batch_id, run.idempotency_key, run.singleton_key)
        told = {"upstream": vain[run.id]}
        target = State.UPSTREAM_FAILED
        change = move(fresh, EventType.UPSTREAM_FAILED, State.BLOCKED, target, actor="system", reason="upstream_failed", data=told)
        ended.append(moves.as_stored(change))
    yield Query(statement="runs.move", params={"batch": sorted(ended)})
    if keyed := [run.id for run in runs if run.idempotency_key is not None]:
        yield Query(statement="keys.free_failed", params={"ids": keyed})
    if keyed := [run.id for run in runs if run.singleton_key is not None]:
        yield Query(statement="keys.free_singletons", params={"ids": keyed})


# -- going on ----------------------------------------------------------------------------------------------------------


def go_on(tx: Transaction, *, most: int) -> int:
    """Let go more dependants of up to ``most`` upstreams that had too many for one transaction; how many upstreams."""
    left = [str(row[0]) for row in tx.rows("dependencies.left", most=most)]
    if left:
        tx.execute("dependencies.take_up", ids=left)
        ended = [by_run(row[0], State(row[1])) for row in tx.rows("views.states", ids=left)]
        rest = sorted(set(left) - {each.id for each in ended})
        tallies = releasing.lock_batches(tx, rest) if rest else {}
        moves.release(tx, [*ended, *(by_batch(row.id, row.tally) for row in tallies.values())])
    return len(left)


def conditions(after: Sequence[tuple[str, str]]) -> tuple[tuple[str, Condition], ...]:
    """What a request says of its upstreams, each once."""
    return tuple((upstream, Condition(condition)) for upstream, condition in dict(after).items())
