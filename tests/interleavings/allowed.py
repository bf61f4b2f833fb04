"""Third results that are right: where READ COMMITTED gives what neither order gives, and no promise is broken by it.

Each has its reason. SERIALIZABLE needs none of them. Here: the list. Not here: how a result is judged (``verdict.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.interleavings.catalogue import OPERATIONS

_ALL_PROFILES = frozenset({"stock", "serializable", "portable", "portable, serializable"})
_READ_COMMITTED = frozenset({"stock", "portable"})


class Result(NamedTuple):
    """What a pair leaves: two answers, a database, and the promises that do not hold in it."""

    first: str
    second: str
    state: str
    broken: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Pairs of one of ``some`` with one of ``others`` may give a third result.

    ``answers_only``: the database is as one of the orders leaves it.
    """

    why: str
    some: frozenset[str]
    others: frozenset[str]
    profiles: frozenset[str] = _READ_COMMITTED
    answers_only: bool = False

    def covers(self, names: tuple[str, str], profile: str, result: Result, serial: Sequence[Result]) -> bool:
        """Whether this is the reason for a result."""
        first, second = names
        is_named = (first in self.some and second in self.others) or (second in self.some and first in self.others)
        if not is_named or profile not in self.profiles or result.broken:
            return False
        return not self.answers_only or result.state in {expected.state for expected in serial}


_CLAIMS = frozenset({"claim", "claim one", "claim by a worker whose lease is over", "a worker's turn"})
_ENDS = frozenset({operation.name for operation in OPERATIONS if operation.name.startswith("finish")})
_BACK_TO_THE_QUEUE = frozenset({"give back", "reap"})
_OUT_OF_THE_QUEUE = frozenset({"cancel a queued run", "park"})
_STAYS_IN_THE_QUEUE = frozenset({
    "replace a waiting owner", "replace a waiting owner, later", "reschedule", "set priority", "claim one run", "expire",
    "enforce deadlines",
})  # fmt: skip
_REAPERS = frozenset({"reap", "reap, claim and start"})
_LOOKS_AT_WHAT_IS_HELD = frozenset({
    "cancel a running run", "retry a running run", "give back", "defer behind a running owner", "reset a key that is in use",
})  # fmt: skip
_FIRST_LIMIT = frozenset({"declare a first limit", "set a first limit"})
_ALL = frozenset({operation.name for operation in OPERATIONS})

ALLOWANCES: tuple[Allowance, ...] = (
    Allowance(
        why="a claim passes over keys in which another claim is counting just then, and comes back with less; the next sees them",
        some=_CLAIMS,
        others=_CLAIMS | {"reap, claim and start", "claim one run", "claim under a limit of each key"},
        profiles=_ALL_PROFILES,
    ),
    Allowance(
        why="a claim that waited for its limit counts the slots as they are now and reads the queue as it was when it began: it may"
        " take a slot just freed without seeing the run just queued; the next claim sees it",
        some=_CLAIMS,
        others=_BACK_TO_THE_QUEUE,
    ),
    Allowance(
        why="without SKIP LOCKED a claim picks first and takes then: it passes over what is gone, and comes back with less",
        some=_CLAIMS,
        others=_OUT_OF_THE_QUEUE | _CLAIMS,
        profiles=frozenset({"portable"}),
    ),
    Allowance(
        why="a claim passes over a run on which somebody has his hand, and takes the next; so does whoever ends what is too late",
        some=_CLAIMS,
        others=_STAYS_IN_THE_QUEUE,
        profiles=_ALL_PROFILES,
    ),
    Allowance(
        why="a claim of one run by its id picks first and takes then: it comes back with nothing if somebody changed the run",
        some=frozenset({"claim one run"}),
        others=_STAYS_IN_THE_QUEUE | _CLAIMS | _OUT_OF_THE_QUEUE,
    ),
    Allowance(
        why="a reaper passes over a run on which somebody has his hand; its worker is gone by then, so that the next look takes it",
        some=_REAPERS,
        others=_ENDS | _LOOKS_AT_WHAT_IS_HELD,
        profiles=_ALL_PROFILES,
    ),
    Allowance(
        why="what was kept for afterwards a moment ago is due a moment from now, by the clock of an ending that began before that:"
        " it is scheduled, and queued at the next look",
        some=_ENDS,
        others=frozenset({"defer behind a running owner", "defer behind what follows already"}),
    ),
    Allowance(
        why="a full queue drops what nobody has in his hands; where that is nothing, the newcomer is the oldest and is not let in",
        some=frozenset({"enqueue into a full queue"}),
        others=_CLAIMS | {"cancel the oldest", "enqueue into a full queue"},
        profiles=_ALL_PROFILES,
    ),
    Allowance(
        why="a batch that somebody is just adding to, or closing, is passed over by who parks idle ones: it is not idle",
        some=frozenset({"park idle batches"}),
        others=frozenset({"add to a batch", "close a batch", "cancel an open batch", "finish a member", "park idle batches"}),
    ),
    Allowance(
        why="a limit set while a claim was under way that knew of none: that claim goes on, and what it took counts",
        some=_FIRST_LIMIT,
        others=_CLAIMS,
    ),
    Allowance(
        why="a worker's turn is many statements, each guarded by itself, and each sees what was committed before it",
        some=frozenset({"a worker's turn"}),
        others=_ALL,
    ),
    Allowance(
        why="a reaper that looks while a worker is just leaving finds it neither lapsed (its row is locked) nor gone; the next look"
        " finds it",
        some=frozenset({"reap"}),
        others=frozenset({"leave"}),
    ),
    Allowance(
        why="how many runs there were to park is counted before each is locked, so two who park the same run both count it",
        some=frozenset({"park the unserved"}),
        others=frozenset({"park the unserved"}),
        answers_only=True,
    ),
)

_BATCH_AND_CALLBACK = (
    "an ending locks its run, then the batch, then the callback; whoever is to wait for runs and batches locks runs first, as"
    " endings of members do, and that is the wrong way round for a callback; only a run after a batch and its callback waits so"
)

#: Pairs that the server may have to stop and run again, with the reason why that is accepted.
DEADLOCKS: Mapping[frozenset[str], str] = {
    frozenset({"finish many", "finish: asked to stop"}): (
        "two write the outcome of one run that was asked to stop, one of them among others: it locks that run after it has freed"
        " the slots of the others; nobody but a worker that repeats itself does so"
    ),
    **{
        frozenset({"enqueue after a batch and its callback", other}): _BATCH_AND_CALLBACK
        for other in ("finish the other member: failed", "finish both members", "cancel a member", "cancel members")
    },
}


def allowance(names: tuple[str, str], profile: str, result: Result, serial: Sequence[Result]) -> str | None:
    """The reason why a result is right although neither order gives it; None: it is not."""
    return next((each.why for each in ALLOWANCES if each.covers(names, profile, result, serial)), None)
