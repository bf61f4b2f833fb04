"""Finding runs by what they are: a filter, its pages, and a walk over everything it matches.

A page is found in two looks: an index gives candidates in the order of ids, newest first (ids are unique, so no two runs share a
place), and one statement keeps those that match. Which index is chosen by the filter:

- key, singleton, batch, an attribute of one value, states other than ``succeeded``: an index of those runs alone;
- an attribute within a stretch or of several values: the index of its values, sorted;
- anything else walks the runs from the newest on: the age of what is asked for is what it costs. A call looks at no more than
  ``LOOKS`` candidates and then gives the page it has, with a cursor to go on from.

Not here: acting on what is found (``bulk.py``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mainspring.core import attributes
from mainspring.core.attributes import Span
from mainspring.core.states import ACTIVE, PARKED, TERMINAL, WAITING, WAITING_FOR_TIME, State
from mainspring.errors import InvalidOption, shown
from mainspring.operations.views import RunView, as_view
from mainspring.store.database import Transaction

#: How many candidates one call looks at, and the most it asks for at once.
LOOKS = 100_000
_CHUNK, _LARGEST_CHUNK = 500, 5_000
_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_ALWAYS, _NEVER = -(2**62), 2**62

#: Names for many states at once.
CLASSES: Mapping[str, frozenset[State]] = {
    "waiting": WAITING,
    "active": ACTIVE,
    "parked": PARKED,
    "terminal": TERMINAL,
    "open": frozenset(State) - TERMINAL,
}
_BY_STATE = TERMINAL - {State.SUCCEEDED} | PARKED | {State.BLOCKED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What is asked of runs; what is not named is not asked. ``code`` is a run's reason: that of its failure, or of its waiting."""

    states: frozenset[State] | None = None
    task: str | None = None
    queue: str | None = None
    key: str | None = None
    singleton: str | None = None
    code: str | None = None
    actor: str | None = None
    batch_id: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    spans: tuple[Span, ...] = ()

    @property
    def wanted_states(self) -> frozenset[State]:
        """The states to look in: a run that succeeded has no code."""
        if self.states is not None:
            return self.states
        return frozenset(State) - {State.SUCCEEDED} if self.code is not None else frozenset(State)


class Match(NamedTuple):
    """A run that a filter matches, at a place in its ledger."""

    run_id: str
    seq: int
    state: State


class Found(NamedTuple):
    """A page of runs, newest first, and where the next one begins; None at the end."""

    data: list[RunView]
    next_cursor: str | None


def parse_states(state: Any) -> frozenset[State] | None:
    """States by name, by class name (waiting, active, parked, terminal, open), or several of either.

    Raises:
        InvalidOption: naming what there is.
    """
    if state is None:
        return None
    names = [state] if isinstance(state, str) else list(state)
    found: frozenset[State] = frozenset()
    for name in names:
        if name in CLASSES:
            found |= CLASSES[name]
        elif name in set(State):
            found |= {State(name)}
        else:
            known = ", ".join([*State, *CLASSES])
            raise InvalidOption(f"{shown(name)} is no state of a run and no class of states; there are {known}", option="state")
    return found


def find(tx: Transaction, namespace: str, wanted: Filter, *, before: str | None = None, most: int = 50) -> Found:
    """A page of the runs that match. It may be short of ``most`` and have a cursor: then the search was long, and goes on there."""
    found: list[Match] = []
    cursor, looked = before or _LAST_ID, 0
    for candidates, matches in _chunks(tx, namespace, wanted, cursor):
        found += matches
        looked += len(candidates)
        cursor = candidates[-1]
        if len(found) >= most:
            cursor = found[most - 1].run_id
            break
        if looked >= LOOKS:
            break
    else:
        return Found(_views(tx, namespace, found), None)
    return Found(_views(tx, namespace, found[:most]), cursor)


def matches(tx: Transaction, namespace: str, wanted: Filter, *, most: int) -> list[Match]:
    """Up to ``most`` runs that match, newest first."""
    found: list[Match] = []
    for _, some in _chunks(tx, namespace, wanted, _LAST_ID):
        found += some
        if len(found) >= most:
            break
    return found[:most]


def views_of(tx: Transaction, namespace: str, run_ids: Sequence[str]) -> list[RunView]:
    """Runs of a namespace by id, newest first; others are missing."""
    return [as_view(row) for row in tx.rows("search.views", ids=list(run_ids), namespace=namespace)] if run_ids else []


def _views(tx: Transaction, namespace: str, found: Sequence[Match]) -> list[RunView]:
    return views_of(tx, namespace, [match.run_id for match in found])


def _chunks(tx: Transaction, namespace: str, wanted: Filter, before: str) -> Iterator[tuple[list[str], list[Match]]]:
    """Candidates from a place on, growing chunk by growing chunk, and those of them that match."""
    most = _CHUNK
    while True:
        candidates = _candidates(tx, namespace, wanted, before, most)
        if candidates:
            yield candidates, _matching(tx, namespace, wanted, candidates)
        if len(candidates) < most:
            return
        before, most = candidates[-1], min(2 * most, _LARGEST_CHUNK)


def _candidates(tx: Transaction, namespace: str, wanted: Filter, before: str, most: int) -> list[str]:
    """The next ids, newest first, by the index that narrows most."""
    page: dict[str, Any] = {"before": before, "most": most}
    if wanted.key is not None:
        return _ids(tx, "search.key", key=wanted.key, **page)
    if wanted.singleton is not None:
        return _ids(tx, "search.singleton", key=wanted.singleton, **page)
    if wanted.batch_id is not None:
        return _ids(tx, "search.batch", batch=wanted.batch_id, **page)
    for spans in attributes.by_condition(wanted.spans):
        if (value := attributes.only_value(spans)) is not None:
            return _ids(tx, "search.attribute", namespace=namespace, name=spans[0].name, value=value, **page)
    if State.SUCCEEDED not in wanted.wanted_states:
        return _of_states(tx, wanted.wanted_states, page)
    for spans in attributes.by_condition(wanted.spans):
        return _ids(tx, "search.attributes", namespace=namespace, spans=[span[1:] for span in spans], **page)
    return _ids(tx, "search.recent", **page)


def _of_states(tx: Transaction, states: frozenset[State], page: Mapping[str, Any]) -> list[str]:
    """The newest of several indexes together; each gives its own newest, so none is missed."""
    found = [run_id for state in sorted(states & _BY_STATE) for run_id in _ids(tx, "search.unhappy", state=state, **page)]
    for statement, some in (("search.queued", {State.QUEUED}), ("search.waiting", WAITING_FOR_TIME), ("search.held", ACTIVE)):
        if states & some:
            found += _ids(tx, statement, **page)
    return sorted(found, reverse=True)[: page["most"]]


def _ids(tx: Transaction, statement: str, **params: Any) -> list[str]:
    return [row[0] for row in tx.rows(statement, **params)]


def _matching(tx: Transaction, namespace: str, wanted: Filter, candidates: Sequence[str]) -> list[Match]:
    rows = tx.rows(
        "search.match",
        ids=candidates,
        namespace=namespace,
        states=sorted(wanted.wanted_states),
        task=wanted.task or "",
        queue=wanted.queue or "",
        key=wanted.key or "",
        singleton=wanted.singleton or "",
        code=wanted.code or "",
        batch=wanted.batch_id or "",
        actor=wanted.actor or "",
        created_after=_ALWAYS if wanted.created_after is None else wanted.created_after,
        created_before=_NEVER if wanted.created_before is None else wanted.created_before,
        spans=wanted.spans,
        conditions=len(attributes.by_condition(wanted.spans)),
    )
    return sorted((Match(row[0], row[1], State(row[2])) for row in rows), key=lambda match: match.run_id, reverse=True)
