"""What a caller gets: a handle to wait for a run, a batch, a member of one."""

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mainspring.client import receipts
from mainspring.codec import Keeping, is_wrapped
from mainspring.core.dependencies import FiresOn
from mainspring.core.durations import Duration, parse_duration
from mainspring.core.states import TERMINAL, State
from mainspring.errors import RunCancelled, RunFailed, RunSkipped, RunUnsuccessful, UnknownRun, WorldTrouble
from mainspring.operations import keys, views
from mainspring.operations.enqueue import Outcome
from mainspring.targets.receipts import Receipt
from mainspring.waiting import Wait, in_thread, until
from mainspring.waiting import adrive as await_in_loop
from mainspring.waiting import drive as wait_in_thread
from mainspring.wakeups import Hub

R_co = TypeVar("R_co", covariant=True)


class Origin(Protocol):
    """Where a handle looks: a client."""

    @property
    def database(self) -> Any: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def keeping(self) -> Keeping: ...


_UNSUCCESSFUL: dict[State, type[RunUnsuccessful]] = {State.CANCELLED: RunCancelled, State.SKIPPED: RunSkipped}


class Member(NamedTuple):
    """One member of a batch, as its callback sees it."""

    run_id: str
    state: State
    result: Any


class Handle(Generic[R_co]):
    """A run that was asked for. ``outcome`` says what the call did: ``created`` it, found it (``existing``), ``replaced`` its
    payload, was ``deferred`` to it (it is created when the one before has ended), or was ``skipped``, which it puts on record.

    ``final_state`` and ``ended_at`` (µs, UTC) are told of a run that was found by its key and is pruned: that is all that is left.
    """

    __slots__ = ("_client", "_decode", "ended_at", "final_state", "id", "outcome")

    def __init__(
        self,
        client: Origin,
        run_id: str,
        outcome: Outcome,
        decode: Callable[[bytes], Any],
        *,
        final_state: str | None = None,
        ended_at: int | None = None,
    ) -> None:
        self._client = client
        self._decode = decode
        self.id = run_id
        self.outcome = outcome
        self.final_state = None if final_state is None else State(final_state)
        self.ended_at = ended_at

    def __repr__(self) -> str:
        return f"Handle({self.id!r}, outcome={self.outcome!r})"

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the run has ended, and return what its task returned.

        Raises:
            RunFailed, RunCancelled, RunSkipped: it ended otherwise. ResultTimeout: it has not ended yet.
        """
        return self._read(wait_in_thread(self._wait(timeout), self._client.hub, self.id))

    async def aresult(self, timeout: Duration | None = None) -> R_co:
        """``result`` for an event loop."""
        ending = await await_in_loop(self._wait(timeout), self._client.hub, self.id)
        if is_wrapped(ending.body):  # opening it may mean to fetch it
            return await in_thread(lambda: self._read(ending))
        return self._read(ending)

    def receipts(self) -> list[Receipt]:
        """What the attempts of this run left, if it is one of an HTTP request or a program; in order."""
        client = self._client
        there = receipts.listed(client.database, self.id)
        return [receipts.opened(client.database, client.keeping, self.id, n).receipt for n in range(len(there))]

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aresult().__await__()

    def _wait(self, timeout: Duration | None) -> Wait[views.Ending]:
        seconds = None if timeout is None else parse_duration(timeout, option="timeout") / 1e6
        return until(self._look, timeout=seconds, what=f"run {self.id}")

    def _look(self) -> views.Ending | None:
        try:
            ending = self._client.database.read("views.outcomes", lambda tx: views.endings(tx, [self.id])).get(self.id)
            if ending is None and self._client.database.read("keys.is_deferred", lambda tx: keys.is_deferred(tx, self.id)):
                return None  # its turn comes when the run before it has ended
            if ending is None and self.outcome == "deferred":  # created between the two looks, perhaps
                ending = self._client.database.read("views.outcomes", lambda tx: views.endings(tx, [self.id])).get(self.id)
        except WorldTrouble:  # the database is away for a moment; the wait goes on until its own timeout
            return None
        if ending is None and self.final_state is not None:
            raise UnknownRun(f"run {self.id} {self.final_state} and was pruned: its key answers, and its result is gone")
        if ending is None:
            raise UnknownRun(f"no run {self.id}: it was pruned, or the transaction that created it was rolled back")
        return ending if ending.state in TERMINAL else None

    def _read(self, ending: views.Ending) -> R_co:
        if ending.state is State.SUCCEEDED:
            if ending.body is None:
                return None  # type: ignore[return-value]
            return self._decode(self._client.keeping.read_result(ending.body, run_id=self.id))  # type: ignore[no-any-return]
        data = self._client.keeping.read_told(ending.data, run_id=self.id)
        message = data.get("message") or ending.reason or ""
        kind = _UNSUCCESSFUL.get(ending.state, RunFailed)
        raise kind(
            f"run {self.id} {ending.state}" + (f": {message}" if message else ""),
            run_id=self.id,
            reason=ending.reason,
            error=message,
            failure=data,
        )


class BatchHandle(Generic[R_co]):
    """A batch that was created: its id, its members' ids in order, and the handles of its callbacks by what they wait for.
    ``callback`` is the one of ``then=``, or the only one; None if there is none."""

    __slots__ = ("_batches", "callbacks", "id", "members")

    def __init__(self, batch_id: str, members: list[str], callbacks: Mapping[FiresOn, Handle[Any]], steering: Any) -> None:
        self.id = batch_id
        self.members = members
        self.callbacks = dict(callbacks)
        self._batches = steering

    def __repr__(self) -> str:
        return f"BatchHandle({self.id!r}, {len(self.members)} members)"

    @property
    def callback(self) -> Handle[R_co] | None:
        """The handle of ``then=``, which stands first; None in a batch without callbacks."""
        return next(iter(self.callbacks.values()), None)

    def add(self, members: Iterable[Any]) -> list[str]:
        """Let more calls join this batch, which was made with ``open=True``; their ids in order.

        Raises:
            InvalidOption: it is sealed.
        """
        joined: list[str] = self._batches.add(self.id, members)
        self.members += joined
        return joined

    def seal(self) -> None:
        """Nobody joins from now on: callbacks start when the last member has ended."""
        self._batches.seal(self.id)

    def cancel(self, *, reason: str | None = None) -> None:
        """Cancel every member that has not ended. Callbacks for ``done`` still run."""
        self._batches.cancel(self.id, reason=reason)
