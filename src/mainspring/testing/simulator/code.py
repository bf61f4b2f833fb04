"""Scripted user code, and the executor that runs it in virtual time.

Here: what an attempt does (its script follows from the dice in its run's payload and from how often the run was claimed), and an
executor that keeps the promises of the real one (``runtime/executor.py``): places, starts on record, stops, one report for each
attempt. Not here: whether what happens is right (``witness``).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from mainspring.core.attempts import (
    Dropped,
    Failed,
    GaveItselfBack,
    Interrupted,
    Outcome,
    Stopped,
    Succeeded,
    Unstarted,
    Unworkable,
)
from mainspring.core.durations import MILLISECOND, SECOND
from mainspring.errors import WorldTrouble
from mainspring.operations.claims import Claimed
from mainspring.runtime.worker import Assignment, Worker
from mainspring.testing.simulator.witness import Witness

Fence = tuple[str, int]


class Script(NamedTuple):
    """What one attempt does: works for ``us``, saves something every ``beat_us``, ends in ``outcome``, and heeds a stop or not."""

    us: int
    beat_us: int | None
    outcome: Outcome
    heeds: bool


def write_script(payload_dice: int, claimed: Claimed) -> Script:
    """The script of one attempt. Most succeed; the later an attempt, the likelier."""
    dice = Random(payload_dice * 1_000 + claimed.token)
    us = dice.choice((0, dice.randrange(2 * SECOND), dice.randrange(6 * SECOND), dice.randrange(12 * SECOND)))
    beat_us = dice.choice((None, None, 300 * MILLISECOND, 2 * SECOND))
    return Script(us, beat_us, _draw_outcome(dice, claimed), heeds=dice.random() < 0.8)


def _draw_outcome(dice: Random, claimed: Claimed) -> Outcome:
    succeeded = Succeeded(result_of(claimed))
    if dice.random() < 0.4 + 0.1 * claimed.token:
        return succeeded
    return dice.choice(
        (
            Failed(code="error", message="scripted"),
            Failed(code="error", message="scripted, with a delay of its own", after_us=dice.randrange(3 * SECOND)),
            Failed(code="error", message="scripted, for good", final=True),
            GaveItselfBack(after_us=dice.randrange(3 * SECOND), reason="not yet"),
            GaveItselfBack(until=claimed.due_at + dice.randrange(8 * SECOND)),
            GaveItselfBack(in_a_row=1, payload=_new_payload(dice, claimed)),
            GaveItselfBack(after_us=dice.randrange(3 * SECOND), reason="rate_limited", closes=""),
            Dropped("nothing to do"),
            Stopped(),
            Unworkable("unknown_task", "scripted"),
            succeeded,
        )
    )


def _new_payload(dice: Random, claimed: Claimed) -> bytes | None:
    """What a run gives itself back with; a singleton's payload is its callers' alone (``singletons``)."""
    body = b'{"dice": %d}' % dice.randrange(10**6)
    return body if claimed.singleton_key is None else None


def result_of(claimed: Claimed) -> bytes:
    """What an attempt returns: its own fence, so that anybody can tell whose result is kept."""
    return f'"{claimed.id} {claimed.token}"'.encode()


@dataclass(slots=True, kw_only=True)
class Attempt:
    """User code under way."""

    assignment: Assignment
    script: Script
    began_at: int
    ends_at: int
    beats_at: int | None
    why: str | None = None

    @property
    def next_at(self) -> int:
        """When it does something next."""
        return self.ends_at if self.beats_at is None else min(self.ends_at, self.beats_at)


class ScriptedExecutor:
    """An ``Executor`` for one worker. Time is the monotonic clock's."""

    def __init__(self, node: str, concurrency: int, witness: Witness, on_news: Callable[[], None]) -> None:
        self.worker: Worker | None = None
        self.running: dict[Fence, Attempt] = {}
        self._node = node
        self._concurrency = concurrency
        self._witness = witness
        self._on_news = on_news
        self._inbox: deque[Assignment] = deque()
        self._closed = False

    # -- for the worker ---------------------------------------------------------------------------------------------

    def begin(self, claims: Sequence[Assignment]) -> None:
        """Take these in; they begin with the next ``advance``."""
        self._witness.claimed(claims)
        self._inbox.extend(claims)

    def stop(self, run_id: str, token: int, why: str) -> None:
        """Ask one attempt to stop; its code may not listen."""
        attempt = self.running.get((run_id, token))
        if why == "lease_lost":
            self._witness.dropped((run_id, token))
        if attempt is None:
            self._forget_waiting((run_id, token), why)
        elif attempt.why is None or why == "lease_lost":
            attempt.why = why

    # -- for the node -----------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether no code runs and none waits."""
        return not self.running and not self._inbox

    def next_at(self, now: int) -> int | None:
        """When there is something to do here next."""
        if self._inbox and (self._closed or len(self.running) < self._concurrency):
            return now
        first: int | None = None
        for attempt in self.running.values():  # asked between any two things that happen
            if attempt.why is not None and attempt.script.heeds:
                return now
            if first is None or attempt.next_at < first:
                first = attempt.next_at
        return first

    def advance(self, now: int) -> None:
        """Do one thing whose time has come: an end, something saved, a beginning."""
        for fence, attempt in self.running.items():
            if attempt.why is not None and attempt.script.heeds:
                self._end(fence, attempt, Stopped(), now)
                return
            if attempt.next_at <= now:
                self._go_on(fence, attempt, now)
                return
        if self._inbox and self._closed:
            self._report(self._inbox.popleft().claimed, Unstarted(), None)
        elif self._inbox and len(self.running) < self._concurrency:
            self._launch(self._inbox.popleft(), now)

    def give_back(self) -> None:
        """Begin nothing more."""
        self._closed = True

    def interrupt(self) -> None:
        """Cut off what runs, for a shutdown."""
        for fence, attempt in tuple(self.running.items()):
            outcome = Interrupted("shutdown", shutdown=True)
            del self.running[fence]
            if attempt.why != "lease_lost":
                self._report(attempt.assignment.claimed, outcome, None)

    # -- one attempt ------------------------------------------------------------------------------------------------

    def _launch(self, assignment: Assignment, now: int) -> None:
        claimed = assignment.claimed
        if claimed.interruptions and not self._put_on_record(claimed):
            return
        self._witness.began(self._node, assignment)
        script = write_script(self._witness.payload_dice(claimed), claimed)
        fence = claimed.id, claimed.token
        beats_at = None if script.beat_us is None else now + script.beat_us
        timeout_us = assignment.policy.timeout_us
        ends_at = now + (script.us if timeout_us is None else min(script.us, timeout_us))
        self.running[fence] = Attempt(assignment=assignment, script=script, began_at=now, ends_at=ends_at, beats_at=beats_at)

    def _put_on_record(self, claimed: Claimed) -> bool:
        assert self.worker is not None
        self._witness.may_begin(claimed)
        try:
            return self.worker.start(claimed)
        except WorldTrouble:
            self._report(claimed, Unstarted(), None)
            return False

    def _go_on(self, fence: Fence, attempt: Attempt, now: int) -> None:
        assert self.worker is not None
        claimed, script = attempt.assignment.claimed, attempt.script
        if attempt.ends_at <= now:
            timeout_us = attempt.assignment.policy.timeout_us
            timed_out = timeout_us is not None and script.us > timeout_us
            self._end(fence, attempt, Failed(code="timeout", message="scripted") if timed_out else script.outcome, now)
        else:
            assert script.beat_us is not None
            self.worker.tell(claimed, self._witness.saved(claimed), f"{claimed.token}", now % 2 == 0)
            attempt.beats_at = now + script.beat_us

    def _end(self, fence: Fence, attempt: Attempt, outcome: Outcome, now: int) -> None:
        del self.running[fence]
        if attempt.why != "lease_lost":
            self._report(attempt.assignment.claimed, outcome, (now - attempt.began_at) / SECOND)

    def _forget_waiting(self, fence: Fence, why: str) -> None:
        for assignment in self._inbox:
            if (assignment.claimed.id, assignment.claimed.token) == fence:
                self._inbox.remove(assignment)
                if why != "lease_lost":
                    self._report(assignment.claimed, Stopped(), None)
                return

    def _report(self, claimed: Claimed, outcome: Outcome, seconds: float | None) -> None:
        assert self.worker is not None
        self._witness.reported(claimed, outcome)
        self.worker.ended(claimed, outcome, seconds=seconds)
        self._on_news()
