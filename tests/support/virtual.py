"""A worker process in virtual time: its services are stepped by hand, and its clock, its dice, its database line and its
executor do what a test says.

Here: ``Stage`` (one database, one clock) and ``Post`` (one worker process on it). Not here: user code that really runs
(``tests/runtime/test_executor.py``), and what the fleet does beside the workers (``tests/support/builders.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from mainspring.core.attempts import Outcome, Succeeded
from mainspring.core.lease import DEFAULT_TTL
from mainspring.errors import CommitUnknown, StorageUnavailable
from mainspring.operations.claims import Claimed
from mainspring.runtime.maintenance import Maintenance
from mainspring.runtime.service import Wake
from mainspring.runtime.worker import Assignment, Worker, WorkerPlan
from mainspring.store.database import Capabilities, Transaction
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.support.builders import Fleet

T = TypeVar("T")

Trouble = Literal["lost before", "lost after"]


class Line:
    """A database as one process reaches it: the line can be cut, and the answer to a commit can get lost on it."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._troubles: dict[str, deque[Trouble | None]] = {}
        self.is_cut = False
        self.cut_after: str | None = None
        self.written: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None  # called while the answer to a write is on its way

    @property
    def capabilities(self) -> Capabilities:
        return self._database.capabilities

    def upset(self, name: str, trouble: Trouble, *, skip: int = 0) -> None:
        """Lose the answer to a write of that name (after ``skip`` more that go well): the commit happened, or did not."""
        self._troubles.setdefault(name, deque()).extend([*[None] * skip, trouble])

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        if self.is_cut:
            raise StorageUnavailable("the line is cut")
        waiting = self._troubles.get(name)
        trouble = waiting.popleft() if waiting else None
        if trouble == "lost before":
            self.meanwhile()
            raise CommitUnknown("the line broke during the commit, which did not happen")
        result = self._database.write(name, fn)
        self.written.append(name)
        self.meanwhile()
        self.is_cut = name == self.cut_after
        if trouble == "lost after":
            raise CommitUnknown("the line broke during the commit, which did happen")
        return result

    def read(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        if self.is_cut:
            raise StorageUnavailable("the line is cut")
        return self._database.read(name, fn)

    def close(self) -> None:
        """The database belongs to the stage."""


class ScriptedExecutor:
    """Runs nothing. A test sees what was begun and what was to stop, and says itself how attempts end."""

    def __init__(self) -> None:
        self.begun: list[Assignment] = []
        self.stopped: list[tuple[str, str]] = []

    def begin(self, claims: Sequence[Assignment]) -> None:
        self.begun += claims

    def stop(self, run_id: str, token: int, why: str) -> None:
        self.stopped.append((run_id, why))


@dataclass(slots=True, kw_only=True)
class Post:
    """One worker process: its worker, its executor, its line to the database."""

    worker: Worker
    executor: ScriptedExecutor
    line: Line

    @property
    def hands(self) -> list[Claimed]:
        """Everything it was given to run so far, in order."""
        return [assignment.claimed for assignment in self.executor.begun]

    @property
    def last(self) -> Claimed:
        """What it was given last."""
        return self.hands[-1]

    def step(self) -> Wake:
        """Step the worker once."""
        return self.worker.step()

    def end(self, claimed: Claimed, outcome: Outcome | None = None, *, seconds: float | None = None) -> None:
        """An attempt is over: a success unless told."""
        self.worker.ended(claimed, outcome or Succeeded(b"null"), seconds=seconds)

    def settle(self, *, steps: int = 20) -> None:
        """Step until it asks to be left alone for a while."""
        for _ in range(steps):
            if self.step().after_seconds > 0:
                return
        raise AssertionError(f"still at work after {steps} steps")


@dataclass(slots=True, kw_only=True)
class Stage:
    """One in-memory database under a simulated clock, with any number of worker processes on it."""

    database: SqliteDatabase
    system: SimulatedSystem
    fleet: Fleet
    posts: list[Post] = field(default_factory=list)

    def post(
        self,
        name: str = "w1",
        *,
        concurrency: int = 4,
        ttl: int = DEFAULT_TTL,
        poll: float = 1.0,
        queues: Sequence[str] = ("main",),
        tasks: Sequence[str] = ("work",),
    ) -> Post:
        """A worker process, not registered yet."""
        plan = WorkerPlan(
            id=name,
            namespace=self.fleet.namespace,
            queues=dict.fromkeys(queues),
            tasks=dict.fromkeys(tasks, 1),
            concurrency=concurrency,
            ttl_us=ttl,
            poll_seconds=poll,
        )
        line, executor = Line(self.database), ScriptedExecutor()
        post = Post(worker=Worker(line, executor, plan, system=self.system), executor=executor, line=line)
        self.posts.append(post)
        return post

    def maintenance(self, *, on_due: Callable[[], None] = lambda: None, ttl: int = DEFAULT_TTL) -> Maintenance:
        """The upkeep that some process does."""
        return Maintenance(self.database, system=self.system, ttl_us=ttl, actor="worker:upkeep", on_due=on_due)

    def freeze(self, us: int) -> None:
        """Let time pass while every process is paused: nobody looks at anything."""
        self.system.clock.advance_us(us)

    def advance(self, us: int) -> None:
        """Let time pass, on both clocks; each process looks at its own lease meanwhile, as its guard does."""
        self.freeze(us)
        for post in self.posts:
            if not post.worker.is_trusted:
                post.worker.distrust()


def open_stage() -> Iterator[Stage]:
    """An empty stage, as a fixture gives it."""
    clock = SimulatedClock()
    database = SqliteDatabase(":memory:", clock=clock)
    try:
        migrate(database, dialect_name="sqlite")
        yield Stage(database=database, system=SimulatedSystem(clock), fleet=Fleet(database=database, clock=clock))
    finally:
        database.close()
