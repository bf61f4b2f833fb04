"""What user code may ask and tell while it runs: the context of one attempt. It knows no database and no event loop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, overload

from mainspring.codec import decode_json, encode_json, encode_result
from mainspring.core.durations import Duration
from mainspring.core.signals import Cancelled, Fail, Release, Retry, TaskSignal
from mainspring.errors import InvalidOption, LeaseLost

if TYPE_CHECKING:
    from mainspring.client import JoinedBatch, Member
    from mainspring.client.schedules import DueOccurrence

CHECKPOINT_BYTES = 64 * 1024
PROGRESS_BYTES = 4 * 1024


class Claim(Protocol):
    """What a context needs to know of the run it belongs to."""

    @property
    def id(self) -> str: ...
    @property
    def token(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def interruptions(self) -> int: ...
    @property
    def releases(self) -> int: ...


class Sink(Protocol):
    """Where a context's words go."""

    def tell(self, details: bytes | None, progress: str | None, now: bool) -> None:
        """Save a checkpoint or progress."""

    def members(self) -> "Iterator[Member]":
        """The members of the batch whose callback this is."""

    def batch(self) -> "JoinedBatch":
        """The batch this run is a member of."""

    def occurrence(self) -> "DueOccurrence | None":
        """The occurrence of a schedule for which the run was made."""

    def transaction(self, using: Any, result: Callable[[], bytes]) -> AbstractContextManager[Any]:
        """A transaction that ends with the attempt's success."""

    def atransaction(self, using: Any, result: Callable[[], bytes]) -> AbstractAsyncContextManager[Any]:
        """The same for an event loop."""


class Context:
    """One attempt of one run, as user code sees it. Any thread may use it.

    ``attempt`` counts the tries of this run (from 1), whatever ended the ones before. ``token`` is the fence of this attempt:
    a newer attempt has a larger one, so it can guard writes to other systems. ``task`` and ``queue`` say what the run is, and
    ``stopping`` turns true when the worker begins to stop. ``run_ids`` are the runs of this call: several with ``collect=``, in
    the order of the payloads (then ``run_id`` is the first).
    """

    __slots__ = ("_checkpoint", "_result", "_run", "_said", "_sink", "_why", "queue", "run_ids", "stopping", "task")

    def __init__(self, run: Claim, *, task: str, queue: str, sink: Sink, checkpoint: bytes | None = None) -> None:
        self._run = run
        self._sink = sink
        self._checkpoint = checkpoint
        self._why: str | None = None
        self._result = b"null"
        self._said: dict[int, TaskSignal] | None = None
        self.run_ids: Sequence[str] = (run.id,)
        self.task = task
        self.queue = queue
        self.stopping = False

    def __repr__(self) -> str:
        return f"Context({self.task!r}, run_id={self.run_id!r}, attempt={self.attempt})"

    @property
    def run_id(self) -> str:
        """The run's id: the same for every attempt, so it makes a good idempotency key elsewhere."""
        return self._run.id

    @property
    def token(self) -> int:
        """The fence of this attempt; it only grows."""
        return self._run.token

    @property
    def attempt(self) -> int:
        """Which try this is, from 1: failures, interruptions and releases so far, and this one."""
        return self._run.failures + self._run.interruptions + self._run.releases + 1

    @property
    def failures(self) -> int:
        """How many tries failed so far."""
        return self._run.failures

    @property
    def interruptions(self) -> int:
        """How many tries were cut off by no fault of their own so far."""
        return self._run.interruptions

    @property
    def checkpoint(self) -> Any:
        """What an earlier attempt saved last by ``heartbeat``; None if nothing."""
        return None if self._checkpoint is None else decode_json(self._checkpoint)

    @property
    def is_cancelled(self) -> bool:
        """Whether this attempt should stop: it was asked to, its time is over, or its lease is lost."""
        return self._why is not None

    def heartbeat(self, details: Any = None, *, progress: Any = None, now: bool = False) -> None:
        """Save a checkpoint (JSON-able, 64 KiB) and progress for people to read. Written at most once a second unless ``now``,
        and always before the attempt's outcome.

        Raises:
            LeaseLost: the run belongs to somebody else by now. Cancelled: the run was asked to stop.
        """
        self.check()
        saved = None if details is None else encode_json(details, what="checkpoint", largest=CHECKPOINT_BYTES)
        shown = None if progress is None else encode_json(progress, what="progress", largest=PROGRESS_BYTES).decode()
        self._sink.tell(saved, shown, now)

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Tell people how far the work is."""
        self.heartbeat(progress={"done": done, "total": total, "note": note})

    def check(self) -> None:
        """Stop here if the attempt should stop.

        Raises:
            LeaseLost, Cancelled: see ``heartbeat``.
        """
        if self._why == "lease_lost":
            raise LeaseLost(f"run {self.run_id} belongs to a newer attempt than token {self.token}; stop, and write nothing")
        if self._why is not None:
            raise Cancelled(self._why)

    @overload
    def release(self, *, after: Duration, reason: str = "") -> NoReturn: ...
    @overload
    def release(self, member: int, *, after: Duration, reason: str = "") -> None: ...

    def release(self, member: int | None = None, *, after: Duration, reason: str = "") -> None:
        """Not yet: give the run back until ``after`` from now. Spends no failure. With ``collect=``, ``member`` is one place in
        the list: that one goes back when the call returns, and the others do not.

        Raises:
            InvalidOption: ``member`` where there is one run, or a place that is not in the list.
        """
        if member is None:
            raise Release(after=after, reason=reason)
        self._say(member, Release(after=after, reason=reason))

    def fail(self, member: int, code: str = "error", message: str = "", *, retry: bool = True) -> None:
        """With ``collect=``: one member failed, and the others did not. It is retried as its policy says, unless ``retry=False``.
        An exception, in contrast, fails all.

        Raises:
            InvalidOption: there is one run (raise ``Retry`` or ``Fail``), or a place that is not in the list.
        """
        self._say(member, Retry(code=code, message=message) if retry else Fail(code, message))

    def _say(self, member: int, signal: TaskSignal) -> None:
        if self._said is None:
            raise InvalidOption("this attempt has one run; without collect= raise Release, Retry or Fail", option="member")
        if not 0 <= member < len(self.run_ids):
            raise InvalidOption(f"member must be from 0 to {len(self.run_ids) - 1}, not {member!r}", option="member")
        self._said[member] = signal

    def transaction(self, using: Any = None) -> AbstractContextManager[Any]:
        """``with ctx.transaction() as connection:``: what you write on ``connection`` and **the success of this attempt** commit
        together, or neither does: effectively once.

        PostgreSQL gives a psycopg connection of its own, SQLite one of the app's file (as ``app.connection()``; others wait
        meanwhile). ``using`` is a connection of yours instead, as in ``options(using=…)``: then the success is written into your
        transaction when the block ends, and the commit is yours. An error in the block rolls back, and the attempt goes on.

        The run's result is what ``set_result`` was given; what the function returns later is not kept, and neither is an error.

        Raises:
            LeaseLost: the run is somebody else's by now; it is rolled back. Cancelled: it was asked to stop; so too.
            CommitUnknown: the connection broke during the commit; raise it on, and it is found out.
            InvalidOption: a second one, or ``executor="process"``, which has no database.
        """
        self.check()
        return self._sink.transaction(using, lambda: self._result)

    def atransaction(self, using: Any = None) -> AbstractAsyncContextManager[Any]:
        """``transaction`` for an event loop: ``async with``, and a connection that is awaited. On PostgreSQL only."""
        self.check()
        return self._sink.atransaction(using, lambda: self._result)

    def set_result(self, value: Any) -> None:
        """The run's result, where ``transaction`` writes it; None without.

        Raises:
            ResultInvalid, ResultTooLarge: it cannot be stored.
        """
        self._result = encode_result(value)

    def members(self) -> "Iterator[Member]":
        """In a batch's callback: the members in order, with their results. Elsewhere: nothing."""
        return self._sink.members()

    @property
    def batch(self) -> "JoinedBatch":
        """In a member of a batch: that batch. ``ctx.batch.add([task.call(…)])`` lets more members join while it is open, as long as
        this attempt holds its lease; ``ctx.batch.seal()`` ends that. An attempt that is tried again adds again.

        Raises:
            InvalidOption: this run is no member of a batch, or ``executor="process"``, which has no database.
        """
        return self._sink.batch()

    @property
    def occurrence(self) -> "DueOccurrence | None":
        """The occurrence of a schedule for which this run was made: when it was due, what it covers, who asked for it; None for a
        run that was made otherwise. Read from the database each time.

        Raises:
            InvalidOption: ``executor="process"``, which has no database.
        """
        return self._sink.occurrence()

    def gather(self, run_ids: Sequence[str]) -> None:
        """For the executor: this attempt is one call for many runs."""
        self.run_ids, self._said = tuple(run_ids), {}

    def said_of(self, member: int) -> TaskSignal | None:
        """For the executor: what ``fail`` and ``release`` said of one of many."""
        return None if self._said is None else self._said.get(member)

    def restore(self, checkpoint: bytes | None) -> None:
        """For the executor: what an earlier attempt saved, now that it can be read."""
        self._checkpoint = checkpoint

    def stop(self, why: str) -> None:
        """For the executor: ask user code to stop. The first reason stays, but a lost lease overrules it."""
        if self._why is None or why == "lease_lost":
            self._why = why
