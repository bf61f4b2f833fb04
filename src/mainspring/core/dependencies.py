"""What waits for what: the conditions a run may wait for, and when the end of a run or the progress of a batch decides them."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, NamedTuple

from mainspring.core.states import TERMINAL, State

#: How a run is wanted to have ended before another may begin.
EndsAs = Literal["succeeded", "done", "failed"]
#: What a batch is wanted to have come to before a callback may begin.
FiresOn = Literal["done", "all_succeeded", "any_failed"]


class Condition(StrEnum):
    """What a dependant waits for. Of a batch: that all members succeeded, that all ended, that any failed for good."""

    SUCCEEDED = "succeeded"
    DONE = "done"
    FAILED = "failed"


_OF_BATCH: dict[str, Condition] = {
    "all_succeeded": Condition.SUCCEEDED,
    "done": Condition.DONE,
    "any_failed": Condition.FAILED,
}
_NONE: frozenset[Condition] = frozenset()
_FAILED_FOR_GOOD = frozenset({State.FAILED, State.UPSTREAM_FAILED})


class Settled(NamedTuple):
    """What is decided about those who wait for ``id``: conditions that came true, and conditions that never will."""

    id: str
    met: frozenset[Condition]
    lost: frozenset[Condition]


class Tally(NamedTuple):
    """How far a batch is: members that have not ended, those that failed for good, those that were cancelled or skipped."""

    sealed: bool
    open: int
    failed: int
    stopped: int

    @property
    def is_over(self) -> bool:
        """Whether nobody can join it and every member has ended."""
        return self.sealed and self.open == 0

    def after(self, states: Iterable[State]) -> "Tally":
        """With these ends of members counted."""
        ended = list(states)
        failed = sum(state in _FAILED_FOR_GOOD for state in ended)
        stopped = sum(state is not State.SUCCEEDED for state in ended) - failed
        return self._replace(open=self.open - len(ended), failed=self.failed + failed, stopped=self.stopped + stopped)


def fires_on(name: str) -> Condition | None:
    """The condition behind the name of a batch's callback; None if there is no such name."""
    return _OF_BATCH.get(name)


def by_run(run_id: str, state: State) -> Settled:
    """What a run decides by being where it is. ``failed`` is met by a run that failed, itself or by what it waited for."""
    if state not in TERMINAL:
        return Settled(run_id, _NONE, _NONE)
    met = {Condition.DONE}
    if state is State.SUCCEEDED:
        met.add(Condition.SUCCEEDED)
    elif state in _FAILED_FOR_GOOD:
        met.add(Condition.FAILED)
    return Settled(run_id, frozenset(met), frozenset(set(Condition) - met))


def by_batch(batch_id: str, tally: Tally) -> Settled:
    """What a batch decides by being as far as it is: one failure decides two conditions, the last end decides all."""
    met, lost = set(), set()
    if tally.failed:
        met.add(Condition.FAILED)
    if tally.failed or tally.stopped:
        lost.add(Condition.SUCCEEDED)
    if tally.is_over:
        met.add(Condition.DONE)
        (lost if Condition.SUCCEEDED in lost else met).add(Condition.SUCCEEDED)
        (met if tally.failed else lost).add(Condition.FAILED)
    return Settled(batch_id, frozenset(met), frozenset(lost))
