"""What a drain did: its report, and what it knows of each run on the way there.

Here: values, and what a test should hear of a run that failed. Not here: doing it (``draining``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mainspring.core.attempts import Failed, Outcome
from mainspring.core.durations import format_duration
from mainspring.core.states import State
from mainspring.errors import RunFailed
from mainspring.operations import views
from mainspring.runtime.worker import Assignment
from mainspring.tasks import Task
from mainspring.testing.recording import Raised


class Unfinished(AssertionError):  # noqa: N818  (it says what happened)
    """A drain reached one of its bounds before all was done. The message says what still waits, or runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a drain did with one run: how many ``attempts`` it made, and in which ``state`` it left it.

    ``error`` is what the last of them raised; a ``RunFailed`` where there was no exception (a timeout, say) or it stayed in
    another process.
    """

    task: str
    queue: str
    run_id: str
    attempts: int
    state: State
    result: Any
    error: BaseException | None

    def __str__(self) -> str:
        told = f": {type(self.error).__name__}: {self.error}" if self.error is not None else ""
        return f"{self.task} {self.run_id}: {self.state} after {count(self.attempts, 'attempt')}{told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain did: the runs it worked on, in the order in which they began; how far it moved the clock (``passed``); and
    how many runs have not ended, by state (``left``)."""

    ran: tuple[Ran, ...]
    passed: timedelta
    left: Mapping[str, int]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs it left in each state."""
        found: dict[str, int] = {}
        for run in self.ran:
            found[run.state.value] = found.get(run.state.value, 0) + 1
        return found

    @property
    def attempts(self) -> int:
        """How many attempts it made."""
        return sum(run.attempts for run in self.ran)

    def of(self, task: "Task[..., Any] | str") -> list[Ran]:
        """The runs of one task."""
        name = task if isinstance(task, str) else task.name
        return [run for run in self.ran if run.task == name]

    def __str__(self) -> str:
        left = ", ".join(f"{count} {state}" for state, count in self.left.items()) or "nothing"
        passed = format_duration(self.passed // timedelta(microseconds=1))
        lines = [f"{count(len(self.ran), 'run')} worked on in {count(self.attempts, 'attempt')}; {passed} passed; left: {left}"]
        return "\n".join([*lines, *(f"  {run}" for run in self.ran)])


class Entry:
    """What is known of one run of this drain."""

    __slots__ = ("attempts", "outcome", "queue", "raised", "task")

    def __init__(self, assignment: Assignment) -> None:
        self.task = assignment.lane.task
        self.queue = assignment.lane.queue
        self.attempts = 0
        self.outcome: Outcome | None = None
        self.raised: Raised | None = None

    def begin(self) -> None:
        """Another attempt: what is known of the last is over."""
        self.outcome = self.raised = None

    @property
    def is_under_way(self) -> bool:
        """Whether it was begun and has not ended yet."""
        return self.outcome is None

    @property
    def traceback(self) -> Any:
        """Where its task raised, if that is known."""
        return self.raised.traceback if self.raised is not None and self._is_meant else None

    def is_failure(self, state: State) -> bool:
        """Whether a test should hear of it: it failed for good, nobody can work on it, or it failed by no choice of its task."""
        if state in {State.FAILED, State.NEEDS_ATTENTION}:
            return True
        return state is State.RETRYING and isinstance(self.outcome, Failed) and self.outcome.type != "Retry"

    def error(self, ending: views.Ending) -> BaseException | None:
        """What its last attempt raised, or what is on record instead."""
        if ending.state not in {State.FAILED, State.NEEDS_ATTENTION, State.RETRYING}:
            return None
        if self.raised is not None and self._is_meant:
            return self.raised.error
        message = ending.data.get("message") or ending.reason or ""
        error = RunFailed(
            f"run {ending.run_id} of {self.task}: {ending.reason}: {message}",
            run_id=ending.run_id,
            reason=ending.reason,
            error=message,
            failure=ending.data,
        )
        if told := ending.data.get("traceback"):
            error.add_note(f"in its own process:\n{told}")
        return error

    @property
    def _is_meant(self) -> bool:
        """Whether what was raised is why the attempt failed, and can be raised in a test."""
        if not isinstance(self.outcome, Failed) or self.outcome.code == "timeout" or self.raised is None:
            return False
        return isinstance(self.raised.error, Exception)


def count(number: int, noun: str) -> str:
    """So many of something, for people."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
