"""Acts on many runs: a preview that says what would happen, and carrying it out so that nothing is done twice.

A preview remembers each run it saw, and the place in its ledger it was at. Carrying out writes those down first; then, chunk by
chunk, each run is done what the act says, and its outcome is written, in one transaction. So whoever goes on after a crash, the
caller or maintenance, goes on exactly there; and a run that moved since the preview is left alone (``changed``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec

from mainspring.core.attempts import Held, Move
from mainspring.core.bulk import Action, Effect, effect_of
from mainspring.core.durations import MINUTE
from mainspring.core.ids import stable_id, uuid7
from mainspring.core.lanes import Lane
from mainspring.core.run import Run
from mainspring.core.states import State
from mainspring.errors import CallerMistake, CommitUnknown, UnknownRun
from mainspring.operations import moves, occurrences, retention, runs, searching, steering
from mainspring.operations.lanes import lanes_of
from mainspring.operations.searching import Filter, Match
from mainspring.operations.views import RunView
from mainspring.store.database import Database, Transaction

T = TypeVar("T")

#: A preview counts exactly up to here, and no act is about more.
MOST = 100_000
SAMPLE = 20
CHUNK = 100
#: An act at which nobody has been for so long is taken up by maintenance.
ABANDONED_US = 1 * MINUTE
_COMMIT_TRIES = 4
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a preview saw: the runs, how many are in each state, and some of them. ``is_exact`` False: there are more."""

    matches: tuple[Match, ...]
    is_exact: bool
    by_state: Mapping[State, int]
    sample: tuple[RunView, ...]


class Act(NamedTuple):
    """An act on many runs as it stands."""

    id: str
    namespace: str
    action: Action
    options: dict[str, Any]
    actor: str
    total: int
    done: int
    is_ready: bool
    created_at: int
    finished_at: int | None


class Item(NamedTuple):
    """What became of one run: ``done``, ``changed`` (it moved since the preview and was left alone), ``refused`` with a code; None:
    nothing yet. ``made`` is the new run, where the act makes one."""

    run_id: str
    outcome: str | None
    code: str | None
    made: str | None


class Step(NamedTuple):
    """How far an act is after some of it was done, and the queues in which there is work now."""

    act: Act
    queues: tuple[str, ...]


class RefusedItem(Exception):  # noqa: N818
    """A run of an act cannot be done this; its transaction must not be kept."""

    def __init__(self, run_id: str, code: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id
        self.code = code


def look(tx: Transaction, namespace: str, wanted: Filter) -> Seen:
    """What a filter matches: up to 100,000 runs, newest first."""
    found = searching.matches(tx, namespace, wanted, most=MOST + 1)
    seen = found[:MOST]
    by_state: dict[State, int] = {}
    for match in seen:
        by_state[match.state] = by_state.get(match.state, 0) + 1
    sample = searching.views_of(tx, namespace, [match.run_id for match in seen[:SAMPLE]])
    return Seen(matches=tuple(seen), is_exact=len(found) <= MOST, by_state=by_state, sample=tuple(sample))


def effects(action: Action, by_state: Mapping[State, int]) -> dict[State, tuple[int, Effect]]:
    """How many runs are in each state, and what an act would do to them."""
    return {state: (count, effect_of(action, state)) for state, count in sorted(by_state.items())}


# -- writing it down ---------------------------------------------------------------------------------------------------


def begin(
    tx: Transaction, action_id: str, *, namespace: str, action: Action, options: Mapping[str, Any], actor: str, total: int
) -> None:
    """Note an act; its items follow. A repeat changes nothing."""
    told = msgspec.json.encode(options).decode()
    tx.execute("bulk.begin", id=action_id, namespace=namespace, action=action, options=told, actor=actor, total=total)


def add(tx: Transaction, action_id: str, seen: Sequence[Match]) -> None:
    """Write down some of the runs. A repeat changes nothing."""
    tx.execute("bulk.add", id=action_id, batch=[(match.run_id, match.seq) for match in seen])


def ready(tx: Transaction, action_id: str) -> None:
    """Every run is written down: the act can be carried out by anybody from now on. One about nothing is over."""
    tx.execute("bulk.ready", id=action_id)
    tx.execute("bulk.count", id=action_id, more=0)


# -- carrying it out ---------------------------------------------------------------------------------------------------


def step(tx: Transaction, action_id: str, *, namespace: str, most: int = CHUNK) -> Step:
    """Carry out some of an act.

    Raises:
        UnknownRun: no such act. RefusedItem: roll back, write that run's refusal (``refuse``), and go on.
    """
    act = _locked(tx, action_id, namespace)
    if act.finished_at is not None or not act.is_ready:
        return Step(act, ())
    items = [(row[0], row[1]) for row in tx.rows("bulk.next", id=action_id, most=most)]
    outcomes, queues = _do(tx, act, items)
    _conclude(tx, act, outcomes)
    return Step(_get(tx, action_id, namespace), tuple(sorted(queues)))


def refuse(tx: Transaction, action_id: str, run_id: str, code: str, *, namespace: str) -> None:
    """Write that a run of an act was refused. A repeat changes nothing."""
    _conclude(tx, _locked(tx, action_id, namespace), [Item(run_id, "refused", code, None)])


def get(tx: Transaction, action_id: str, *, namespace: str) -> Act:
    """An act as it stands.

    Raises:
        UnknownRun: there is none of that id in this namespace.
    """
    return _get(tx, action_id, namespace)


def listing(tx: Transaction, namespace: str, *, before: str | None = None, most: int = 50) -> list[Act]:
    """A page of acts, newest first."""
    return [_act(row) for row in tx.rows("bulk.list", namespace=namespace, before=before or _LAST_ID, most=most)]


def outcomes(tx: Transaction, action_id: str, *, namespace: str, after: str | None = None, most: int = 500) -> list[Item]:
    """What became of the runs of an act: a page, in the order of their ids."""
    _get(tx, action_id, namespace)
    return [Item(*row) for row in tx.rows("bulk.outcomes", id=action_id, after=after or _FIRST_ID, most=most)]


def summary(tx: Transaction, action_id: str, *, namespace: str) -> list[tuple[str | None, str | None, int]]:
    """Outcomes and codes of an act, counted."""
    _get(tx, action_id, namespace)
    found = [(row[0], row[1], row[2]) for row in tx.rows("bulk.summary", id=action_id)]
    return sorted(found, key=lambda row: (row[0] or "", row[1] or ""))


def abandoned(tx: Transaction) -> tuple[str, str] | None:
    """An act (id, namespace) whose caller is gone."""
    row = tx.one("bulk.abandoned", before=tx.now - ABANDONED_US)
    return (row[0], row[1]) if row else None


def carry_on(database: Database, action_id: str, namespace: str) -> Iterator[Step]:
    """Carry an act out, a transaction a step, until nothing is left. Steps may be repeated: nothing is done twice."""
    singly = 0  # where one run was refused inside its transaction, its neighbours go one by one
    while True:
        most = 1 if singly else CHUNK
        singly = max(0, singly - 1)
        try:
            made = _write(database, "bulk.step", partial(step, action_id=action_id, namespace=namespace, most=most))
        except RefusedItem as refusal:
            refusing = partial(refuse, action_id=action_id, run_id=refusal.run_id, code=refusal.code, namespace=namespace)
            _write(database, "bulk.refuse", refusing)
            singly = CHUNK
            continue
        yield made
        if made.act.finished_at is not None or not made.act.is_ready:
            return


def take_up(database: Database, *, most: int) -> int:
    """Go on with acts whose caller is gone, up to so many of their runs; how many."""
    carried = 0
    while carried < most and (found := database.read("bulk.abandoned", abandoned)) is not None:
        act_id, namespace = found
        began = database.read("bulk.get", partial(get, action_id=act_id, namespace=namespace)).done
        for made in carry_on(database, act_id, namespace):
            if (carried := carried + made.act.done - began) >= most:
                return carried
            began = made.act.done
    return carried


def _write(database: Database, name: str, fn: Callable[[Transaction], T]) -> T:
    for _ in range(_COMMIT_TRIES):
        try:
            return database.write(name, fn)
        except CommitUnknown:  # what was written is not written again
            continue
    return database.write(name, fn)


def _do(tx: Transaction, act: Act, items: Sequence[tuple[str, int]]) -> tuple[list[Item], set[str]]:
    there = moves.lock_runs(tx, [run_id for run_id, _ in items])
    lanes = lanes_of(tx, [run.lane_id for run in there.values()])
    mine = {run.id: run for run in there.values() if lanes[run.lane_id].namespace == act.namespace}
    fresh = [mine[run_id] for run_id, seq in items if run_id in mine and mine[run_id].seq == seq]
    known = {run.id for run in fresh}
    found = [Item(run_id, "changed", None, None) for run_id, _ in items if run_id not in known]
    refused = {run.id: effect_of(act.action, run.state).refused for run in fresh}
    found += [Item(run_id, "refused", code, None) for run_id, code in refused.items() if code is not None]
    rest = [run for run in fresh if refused[run.id] is None]
    match act.action:
        case Action.RETRY | Action.RERUN:
            found += [_again(tx, act, run) for run in rest]
        case Action.PRUNE:
            found += _prune(tx, rest)
        case Action.CANCEL | Action.SET_PRIORITY | Action.RESCHEDULE:
            found += _move(tx, act, rest, lanes)
    return found, {lanes[run.lane_id].queue for run in rest}


def _again(tx: Transaction, act: Act, run: Run) -> Item:
    chance = stable_id("bulk", act.id, run.id) << 11 | stable_id("low", act.id, run.id) & 0x7FF  # whoever carries on needs no dice
    new_id = uuid7(tx.now // 1000, chance)
    try:
        if act.action is Action.RETRY:
            made, _ = runs.retry(tx, run.id, new_id, namespace=act.namespace, actor=act.actor)
        else:
            made = runs.rerun(tx, run.id, new_id, namespace=act.namespace, actor=act.actor)
    except CallerMistake as refusal:
        raise RefusedItem(run.id, refusal.code) from refusal
    return Item(run.id, "done", None, made)


def _prune(tx: Transaction, rest: Sequence[Run]) -> list[Item]:
    gone = set(retention.remove(tx, [run.id for run in rest]))
    return [Item(run.id, "done", None, None) if run.id in gone else Item(run.id, "refused", "kept", None) for run in rest]


def _move(tx: Transaction, act: Act, rest: Sequence[Run], lanes: Mapping[int, Lane]) -> list[Item]:
    found: list[Item] = []
    pairs: list[tuple[Held, Move]] = []
    elsewhere: dict[int, int] = {}
    for run in rest:
        try:
            change = _change(tx, act, run, lanes[run.lane_id], elsewhere)
        except CallerMistake as refusal:
            found.append(Item(run.id, "refused", refusal.code, None))
            continue
        found.append(Item(run.id, "done", None, None))
        if change is not None:
            pairs.append((run, change))
    moves.apply(tx, pairs)
    return found


def _change(tx: Transaction, act: Act, run: Run, lane: Lane, elsewhere: dict[int, int]) -> Move | None:
    """The move an act makes of one run; None where nothing changes."""
    if act.action is Action.CANCEL:
        return runs.cancellation(run, actor=act.actor, reason=act.options.get("reason"))
    if act.action is Action.RESCHEDULE:
        has_slot = run.state is not State.RETRYING or not occurrences.without_slot(tx, [run.id])
        return steering.rescheduling(run, due_at=act.options["due_at"], now=tx.now, actor=act.actor, has_slot=has_slot)
    priority = act.options["priority"]
    if lane.priority == priority:
        return None
    if run.lane_id not in elsewhere:
        elsewhere[run.lane_id] = steering.lane_at(tx, lane, priority)
    return steering.reprioritising(run, elsewhere[run.lane_id], actor=act.actor)


def _conclude(tx: Transaction, act: Act, items: Sequence[Item]) -> None:
    more = tx.execute("bulk.conclude", id=act.id, batch=sorted(items)) if items else 0
    tx.execute("bulk.count", id=act.id, more=more)


def _locked(tx: Transaction, action_id: str, namespace: str) -> Act:
    return _known(tx.one("bulk.lock", id=action_id, namespace=namespace), action_id, namespace)


def _get(tx: Transaction, action_id: str, namespace: str) -> Act:
    return _known(tx.one("bulk.get", id=action_id, namespace=namespace), action_id, namespace)


def _known(row: Sequence[Any] | None, action_id: str, namespace: str) -> Act:
    if row is None:
        raise UnknownRun(f"no act {action_id} on runs in namespace {namespace!r}", run_id=action_id)
    return _act(row)


def _act(row: Sequence[Any]) -> Act:
    options = msgspec.json.decode(row[3], type=dict[str, Any])
    return Act(row[0], row[1], Action(row[2]), options, row[4], row[5], row[6], bool(row[7]), row[8], row[9])
