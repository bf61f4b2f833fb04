"""Looking at runs, and acting on them from outside."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from mainspring import codec
from mainspring.client.handles import Handle
from mainspring.client.writing import write_again
from mainspring.core.durations import Duration, parse_duration
from mainspring.core.events import Event
from mainspring.core.ids import parse_run_id
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption
from mainspring.operations import retention, runs, views
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")

Ledger: TypeAlias = list[Event]
Attempts: TypeAlias = list[views.Attempt]


class Page(NamedTuple):
    """Part of a list, and the cursor of what follows; None at the end."""

    data: list[views.RunView]
    next_cursor: str | None


class Runs:
    """Looking at runs, and acting on them."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def get(self, run_id: str) -> views.RunView:
        """One run.

        Raises:
            UnknownRun: there is none.
        """
        return self._read("views.get", lambda tx: views.get(tx, self._client.namespace, parse_run_id(run_id)))

    def list(
        self,
        *,
        states: Sequence[str | State] | None = None,
        task: str | None = None,
        queue: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """A page of runs, newest first; ``cursor`` is ``next_cursor`` of the page before. At most 500 a page."""
        limit = _bound_page(limit)
        chosen = [_state(state) for state in states] if states is not None else None
        before = parse_run_id(cursor) if cursor else None
        data = self._read(
            "views.list",
            lambda tx: views.listing(tx, self._client.namespace, states=chosen, task=task, queue=queue, before=before, most=limit),
        )
        return Page(data, data[-1].run.id if len(data) == limit else None)

    def events(self, run_id: str, *, after: int = 0) -> "Ledger":
        """The ledger of a run, from ``after`` on, at most 500 entries.

        Raises:
            UnknownRun: there is none.
        """
        ledger = self._read("views.events", lambda tx: self._events(tx, run_id, after))
        return [self._opened(event) if "message" in event.data else event for event in ledger]

    def _opened(self, event: Event) -> Event:
        return replace(event, data=self._client.keeping.read_told(event.data, run_id=event.run_id))

    def attempts(self, run_id: str) -> "Attempts":
        """The attempts of a run, read off its ledger."""
        ledger = self.events(run_id)
        while page := self.events(run_id, after=ledger[-1].seq):
            ledger += page
        return views.attempts(ledger)

    def why(self, run_id: str) -> str | None:
        """What a run waits for, in words; None if it waits for nothing."""
        return self._read("views.why", lambda tx: self._why(tx, run_id))

    def counts(self) -> dict[str, int]:
        """How many runs there are in each state."""
        rows = self._read("views.counts", lambda tx: tx.rows("views.counts", namespace=self._client.namespace))
        return dict(rows)

    def cancel(self, run_id: str, *, reason: str | None = None) -> runs.CancelOutcome:
        """Cancel a run: ``cancelled`` at once where nobody runs it, else ``cancelling``.

        Raises:
            UnknownRun: there is none. RunTerminal: it has ended otherwise.
        """
        named = parse_run_id(run_id)
        return self._write("runs.cancel", lambda tx: runs.cancel(tx, named, reason=reason, **self._who()))

    def retry(self, run_id: str) -> Handle[Any]:
        """Try a failed or cancelled run again, as a new run linked to it. At most one such run is alive at a time.

        Raises:
            UnknownRun: there is none. NotTerminal: it has not failed.
        """
        named, new_id = parse_run_id(run_id), self._client.system.new_id()
        again, made, queue = self._write("runs.retry", lambda tx: self._retry(tx, named, new_id))
        self._client.tell_work([queue])
        return Handle(self._client, again, "created" if made else "existing", codec.decode_json)

    def resume(self, run_id: str, reason: str) -> None:
        """Queue a run that needs attention again."""
        named = parse_run_id(run_id)
        self._write("runs.resume", lambda tx: runs.resume(tx, named, reason=reason, **self._who()))

    def fail(self, run_id: str, reason: str) -> None:
        """Fail a run that needs attention."""
        named = parse_run_id(run_id)
        self._write("runs.fail", lambda tx: runs.fail(tx, named, reason=reason, **self._who()))

    def prune(
        self,
        *,
        older_than: Duration = "30d",
        states: Sequence[str | State] | None = None,
        limit: int = 1_000,
        cursor: str | None = None,
    ) -> retention.Pruned:
        """Remove up to ``limit`` runs that ended longer ago than ``older_than``; ``cursor`` goes on where a call ended.

        Raises:
            InvalidOption: a state that is no end.
        """
        chosen = [_state(state) for state in states] if states is not None else sorted(TERMINAL)
        age = parse_duration(older_than, option="older_than")
        return self._write(
            "retention.prune",
            lambda tx: retention.prune(tx, self._client.namespace, cut_off=tx.now - age, states=chosen, cursor=cursor, most=limit),
        )

    def _retry(self, tx: Transaction, run_id: str, new_id: str) -> tuple[str, bool, str]:
        again, made = runs.retry(tx, run_id, new_id, **self._who())
        return again, made, views.get(tx, self._client.namespace, again).queue

    def _who(self) -> dict[str, str]:
        return {"namespace": self._client.namespace, "actor": self._client.actor}

    def _events(self, tx: Transaction, run_id: str, after: int) -> "Ledger":
        view = views.get(tx, self._client.namespace, parse_run_id(run_id))
        return views.events(tx, view.run.id, after=after)

    def _why(self, tx: Transaction, run_id: str) -> str | None:
        return views.why_waiting(tx, views.get(tx, self._client.namespace, parse_run_id(run_id)))

    def _read(self, name: str, fn: Callable[[Transaction], T]) -> T:
        result: T = self._client.database.read(name, fn)
        return result

    def _write(self, name: str, fn: Callable[[Transaction], T]) -> T:
        return write_again(self._client.database, name, fn)


def _state(state: str | State) -> State:
    try:
        return State(state)
    except ValueError:
        known = ", ".join(State)
        raise InvalidOption(f"{state!r} is no state of a run; there are {known}", option="states") from None


def _bound_page(limit: int) -> int:
    if not isinstance(limit, int) or not 1 <= limit <= views.MOST:
        raise InvalidOption(f"limit must be from 1 to {views.MOST}, got {limit!r}", option="limit")
    return limit
