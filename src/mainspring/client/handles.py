"""What a caller gets: a handle to wait for a run, a batch, a member of one."""

from collections.abc import Callable, Generator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mainspring.codec import Keeping, is_wrapped
from mainspring.core.durations import Duration, parse_duration
from mainspring.core.states import TERMINAL, State
from mainspring.errors import RunCancelled, RunFailed, UnknownRun, WorldTrouble
from mainspring.operations import views
from mainspring.operations.enqueue import Outcome
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


class Member(NamedTuple):
    """One member of a batch, as its callback sees it."""

    run_id: str
    state: State
    result: Any


class Handle(Generic[R_co]):
    """A run that was asked for. ``outcome`` says whether this call created it (``created``) or found it (``existing``)."""

    __slots__ = ("_client", "_decode", "id", "outcome")

    def __init__(self, client: Origin, run_id: str, outcome: Outcome, decode: Callable[[bytes], Any]) -> None:
        self._client = client
        self._decode = decode
        self.id = run_id
        self.outcome = outcome

    def __repr__(self) -> str:
        return f"Handle({self.id!r}, outcome={self.outcome!r})"

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the run has ended, and return what its task returned.

        Raises:
            RunFailed, RunCancelled: it ended otherwise. ResultTimeout: it has not ended yet.
        """
        return self._read(wait_in_thread(self._wait(timeout), self._client.hub, self.id))

    async def aresult(self, timeout: Duration | None = None) -> R_co:
        """``result`` for an event loop."""
        ending = await await_in_loop(self._wait(timeout), self._client.hub, self.id)
        if is_wrapped(ending.body):  # opening it may mean to fetch it
            return await in_thread(lambda: self._read(ending))
        return self._read(ending)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aresult().__await__()

    def _wait(self, timeout: Duration | None) -> Wait[views.Ending]:
        seconds = None if timeout is None else parse_duration(timeout, option="timeout") / 1e6
        return until(self._look, timeout=seconds, what=f"run {self.id}")

    def _look(self) -> views.Ending | None:
        try:
            ending = self._client.database.read("views.outcomes", lambda tx: views.endings(tx, [self.id])).get(self.id)
        except WorldTrouble:  # the database is away for a moment; the wait goes on until its own timeout
            return None
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
        kind = RunCancelled if ending.state is State.CANCELLED else RunFailed
        raise kind(
            f"run {self.id} {ending.state}" + (f": {message}" if message else ""),
            run_id=self.id,
            reason=ending.reason,
            error=message,
            failure=data,
        )


class BatchHandle(Generic[R_co]):
    """A batch that was created: its id, its members' ids in order, and the handle of its callback, if it has one."""

    __slots__ = ("callback", "id", "members")

    def __init__(self, batch_id: str, members: list[str], callback: Handle[R_co] | None) -> None:
        self.id = batch_id
        self.members = members
        self.callback = callback
