"""One attempt under way, as the executor and user code's context see it; and the call of a function in its own thread.

Not here: when an attempt begins and why it stops (``executor``), and what its end means (``outcomes``).
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

from mainspring.client import JoinedBatch, Member
from mainspring.context import Context
from mainspring.core.attempts import Outcome
from mainspring.operations.receipts import Left
from mainspring.registry import TaskSpec
from mainspring.runtime.concluding import Concluding, Result
from mainspring.runtime.outcomes import arguments, raised, returned
from mainspring.runtime.worker import Assignment

if TYPE_CHECKING:
    from mainspring.client.schedules import DueOccurrence
    from mainspring.runtime.collecting import Group
    from mainspring.runtime.executor import LoopExecutor
    from mainspring.runtime.processes import ProcessPool

#: From so many interruptions on, a run is given a fresh process of its own.
ALONE_FROM = 3

#: A run's id and the token of one attempt at it: an attempt that lost its lease may still run beside the one that replaced it.
Fence: TypeAlias = tuple[str, int]


class Attempt:
    """One attempt under way; its context tells it what user code says."""

    __slots__ = (
        "_context",
        "assignment",
        "company",
        "concluding",
        "deadline",
        "executor",
        "fence",
        "heard_at",
        "pool",
        "receipts",
        "reported",
        "spec",
        "task",
        "why",
    )

    def __init__(self, executor: "LoopExecutor", assignment: Assignment, spec: TaskSpec, deadline: float) -> None:
        self.executor = executor
        self.assignment = assignment
        self.spec = spec
        self.deadline = deadline
        self.task: asyncio.Task[None] | None = None
        self.why: str | None = None
        self.reported = False
        self.heard_at = time.monotonic()
        self.pool: ProcessPool | None = None  # where it runs, if that is a process
        self.concluding: Concluding | None = None
        self.receipts: tuple[Left, ...] = ()  # what a target left
        self.company: Group | None = None  # those it shares its call with
        self.fence: Fence = (assignment.claimed.id, assignment.claimed.token)  # what tells this attempt from every other
        self._context: Context | None = None

    def context(self) -> Context:
        """What user code knows of it: made when somebody asks first, for many tasks never do. That first one asks in the loop."""
        if self._context is None:
            run, lane, checkpoint = self.assignment.claimed, self.assignment.lane, self.assignment.checkpoint
            self._context = Context(run, task=lane.task, queue=lane.queue, sink=self, checkpoint=checkpoint)
        return self._context

    def forget_context(self) -> None:
        """It is over. User code may hold its context; nobody else does, so that it goes when user code lets go."""
        self._context = None

    def tell(self, details: bytes | None, progress: str | None, now: bool) -> None:
        """A checkpoint or progress, from whatever thread user code runs in."""
        self.heard_at = time.monotonic()
        self.executor.told(self.assignment.claimed, details, progress, now)

    def open(self, opened: Assignment) -> None:
        """Go on with what the claim held, now that it can be read."""
        self.assignment = opened
        if self._context is not None:
            self._context.restore(opened.checkpoint)

    @property
    def is_silent(self) -> bool:
        """Whether it has said nothing for longer than its policy allows."""
        most = self.assignment.policy.heartbeat_timeout_us
        return most is not None and time.monotonic() - self.heard_at > most / 1e6

    @property
    def is_dangerous(self) -> bool:
        """Whether it took its worker with it so often that it runs where it can take nobody."""
        return self.assignment.claimed.interruptions >= ALONE_FROM

    def arguments(self) -> Sequence[Any]:
        """What user code is called with."""
        schema = self.spec.schema
        return arguments(schema, None if schema.context_at is None else self.context(), self.assignment.claimed.body)

    def transaction(self, using: Any, result: Result) -> AbstractContextManager[Any]:
        """A transaction that ends with this attempt's success."""
        return self._concluding().transaction(using, self._kept(result))

    def atransaction(self, using: Any, result: Result) -> AbstractAsyncContextManager[Any]:
        """The same for an event loop."""
        return self._concluding().atransaction(using, self._kept(result))

    def _concluding(self) -> Concluding:
        if self.concluding is None:
            assert self.executor.worker is not None
            self.concluding = Concluding(self.executor.worker, self.assignment)
        return self.concluding

    def _kept(self, result: Result) -> Result:
        """The result as the app keeps it."""
        return lambda: self.executor.kept_result(self.assignment.claimed, result())

    def batch(self) -> JoinedBatch:
        """The batch this run is a member of."""
        return self.executor.batch_of(self.assignment.claimed)

    def occurrence(self) -> "DueOccurrence | None":
        """The occurrence of a schedule for which the run was made."""
        return self.executor.occurrence_of(self.assignment.claimed.id)

    def members(self) -> Iterator[Member]:
        """The members of the batch whose callback this is."""
        return self.executor.members_of(self.assignment.claimed.id)


def call(attempt: Attempt) -> Outcome:
    """Run a function to its outcome in its own thread: nothing it raises crosses over as an exception."""
    values: Sequence[Any] = ()
    schema, kinds = attempt.spec.schema, attempt.assignment.policy.kinds
    try:
        values = attempt.arguments()
        return returned(attempt.spec.function(*values), schema)
    except BaseException as error:  # noqa: BLE001  (whatever user code raises is an outcome)
        return raised(error, values, schema=schema, kinds=kinds)
