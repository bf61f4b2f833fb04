"""Looking at runs, and acting on them from outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, Unpack

from mainspring import codec
from mainspring.client import receipts, reruns
from mainspring.client.applying import apply_policy
from mainspring.client.filters import Wanted, parse_filter
from mainspring.client.handles import Handle
from mainspring.client.reviving import copies as revived
from mainspring.client.values import Values, values_of
from mainspring.client.writing import write_again
from mainspring.core.attributes import Value as Attribute
from mainspring.core.attributes import readable
from mainspring.core.durations import Duration, parse_duration, parse_instant
from mainspring.core.events import Event
from mainspring.core.ids import parse_run_id
from mainspring.core.names import check_priority
from mainspring.core.retry import Backoff
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption
from mainspring.operations import retention, reviving, runs, searching, steering, views
from mainspring.operations.receipts import ReceiptRow
from mainspring.store.database import Transaction
from mainspring.targets.receipts import Receipt

if TYPE_CHECKING:
    from mainspring.client.bulk import BulkActs, Selection
    from mainspring.client.client import Client
    from mainspring.operations.explaining import Explanation

T = TypeVar("T")

Ledger: TypeAlias = list[Event]
Attempts: TypeAlias = list[views.Attempt]
ReceiptRows: TypeAlias = list[ReceiptRow]


class Page(NamedTuple):
    """Part of a list, and the cursor of what follows; None at the end."""

    data: list[views.RunView]
    next_cursor: str | None


class Runs:
    """Looking at runs, and acting on them."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    @cached_property
    def bulk(self) -> "BulkActs":
        """Acts on many runs: going on with one, and what became of each run."""
        from mainspring.client.bulk import BulkActs  # imported when asked for, like the facets of a client

        return BulkActs(self._client)

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
        limit = views.bound_page(limit)
        chosen = [_state(state) for state in states] if states is not None else None
        before = parse_run_id(cursor) if cursor else None
        data = self._read(
            "views.list",
            lambda tx: views.listing(tx, self._client.namespace, states=chosen, task=task, queue=queue, before=before, most=limit),
        )
        return Page(data, data[-1].run.id if len(data) == limit else None)

    def find(self, *, limit: int = 50, cursor: str | None = None, **wanted: Unpack[Wanted]) -> Page:
        """A page of the runs that are as asked, newest first: by ``state``, ``task``, ``queue``, ``key``, ``singleton``, ``code``,
        ``actor``, ``batch``, ``created_after``, ``created_before`` and ``attributes={"order": 7, "total": (">=", 5)}``.

        A page may be short and yet have a ``next_cursor``: then the search was long, and goes on there. At most 500 a page.

        Raises:
            InvalidOption: naming what runs cannot be found by.
        """
        most, asked = views.bound_page(limit), parse_filter(wanted)
        before = parse_run_id(cursor) if cursor else None
        found = self._read("runs.find", lambda tx: searching.find(tx, self._client.namespace, asked, before=before, most=most))
        return Page(found.data, found.next_cursor)

    def count(self, *, most: int = 10_000, **wanted: Unpack[Wanted]) -> int:
        """How many runs are as asked (see ``find``); counting ends at ``most``.

        Raises:
            InvalidOption: naming what runs cannot be found by.
        """
        asked = parse_filter(wanted)
        return len(self._read("runs.count", lambda tx: searching.matches(tx, self._client.namespace, asked, most=most)))

    def preview(self, **wanted: Unpack[Wanted]) -> "Selection":
        """The runs that are as asked (see ``find``), to be acted on together: ``runs.preview(error="smtp_down").retry()``
        says how many and what would become of them, and ``.apply()`` does it.

        Raises:
            InvalidOption: naming what runs cannot be found by.
        """
        from mainspring.client.bulk import look

        return look(self._client, parse_filter(wanted))

    def attributes(self, run_id: str) -> Mapping[str, Attribute]:
        """The attributes a run was made with.

        Raises:
            UnknownRun: there is none.
        """
        named = parse_run_id(run_id)

        def fn(tx: Transaction) -> Mapping[str, Attribute]:
            views.get(tx, self._client.namespace, named)
            return readable([(row[0], row[1]) for row in tx.rows("attributes.get", id=named)])

        return self._read("attributes.get", fn)

    def explain(self, run_id: str) -> "Explanation":
        """Why a run is where it is: every hold on one that waits, in the order a claim meets them, and when it can start; why one
        that has ended ended so. ``print`` it, or read its fields.

        Raises:
            UnknownRun: there is none.
        """
        from mainspring.operations import explaining  # it takes a while to import, and who asks is a person

        named = parse_run_id(run_id)
        return self._read("runs.explain", lambda tx: explaining.explain(tx, self._client.namespace, named))

    def values(self, run_id: str) -> "Values":
        """What a run was given and what it came to. What is sealed, or in a blob store, is only described.

        Raises:
            UnknownRun: there is none.
        """
        named, namespace = parse_run_id(run_id), self._client.namespace
        return self._read("runs.values", lambda tx: values_of(tx, namespace, named, self._client.keeping))

    def events(self, run_id: str, *, after: int = 0, limit: int = views.MOST) -> "Ledger":
        """The ledger of a run, from ``after`` on, at most 500 entries.

        Raises:
            UnknownRun: there is none.
        """
        most = views.bound_page(limit)
        ledger = self._read("views.events", lambda tx: self._events(tx, run_id, after, most))
        return [self._opened(event) if "message" in event.data else event for event in ledger]

    def _opened(self, event: Event) -> Event:
        return replace(event, data=self._client.keeping.read_told(event.data, run_id=event.run_id))

    def attempts(self, run_id: str) -> "Attempts":
        """The attempts of a run, read off its ledger."""
        ledger = self.events(run_id)
        while page := self.events(run_id, after=ledger[-1].seq):
            ledger += page
        return views.attempts(ledger)

    def receipts(self, run_id: str) -> "ReceiptRows":
        """What the attempts of a run without user code left (answers of servers, output of programs), in order.

        Raises:
            UnknownRun: there is none.
        """
        self.get(run_id)
        return [*receipts.listed(self._client.database, parse_run_id(run_id))]

    def receipt(self, run_id: str, n: int) -> Receipt:
        """The ``n``-th of a run's receipts, from 0, with the bytes that are kept.

        Raises:
            UnknownRun: there is none. UnknownReceipt: it has not so many.
        """
        self.get(run_id)
        return receipts.opened(self._client.database, self._client.keeping, parse_run_id(run_id), n).receipt

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
            UnknownRun: there is none. RunTerminal: it has ended otherwise. InvalidOption: it needs attention, and no reason.
        """
        named = parse_run_id(run_id)
        return self._write("runs.cancel", lambda tx: runs.cancel(tx, named, reason=reason, **self._who()))

    def retry(self, run_id: str, *, with_dependants: bool = False) -> Handle[Any]:
        """Try a failed or cancelled run again, as a new run linked to it. At most one such run is alive at a time.

        ``with_dependants``: and so does each run that ended ``upstream_failed`` behind it, up to 1,000, behind the new one; without
        it nobody is revived.

        Raises:
            UnknownRun: there is none. NotTerminal: it has not failed.
        """
        named, new_id = parse_run_id(run_id), self._client.system.new_id()
        found = self._write("runs.behind", lambda tx: reviving.behind(tx, named)) if with_dependants else []
        copies = revived(self._client, named, new_id, found)
        again, made, queue = self._write("runs.retry", lambda tx: self._retry(tx, named, new_id, copies))
        self._client.tell_work([queue])
        return Handle(self._client, again, "created" if made else "existing", codec.decode_json)

    def rerun(self, run_id: str, payload: Mapping[str, Any] | None = None, *, new_id: str | None = None) -> Handle[Any]:
        """Run again what has ended, however it ended: a new run linked to it, with fresh budgets. It takes the singleton
        key, and not the idempotency key. ``payload`` names other arguments;
        where the task's code is at hand the payload is validated by it. ``new_id`` names the new run: a second call with it makes
        no second one.

        Raises:
            UnknownRun: there is none. NotTerminal: it has not ended. PayloadInvalid, PayloadTooLarge: it does not fit.
            KeyConflict: another run has the singleton key. Nothing was created.
        """
        named, new_id = parse_run_id(run_id), new_id or self._client.system.new_id()
        namespace = self._client.namespace
        source = self._write("runs.payload", lambda tx: runs.payload_of(tx, named, namespace=namespace))
        body, lane = reruns.renewed(self._client, source, payload, new_id)
        self._write("runs.rerun", lambda tx: runs.rerun(tx, named, new_id, body=body, lane=lane, **self._who()))
        self._client.tell_work([source.lane.queue])
        return Handle(self._client, new_id, "created", codec.decode_json)

    def reschedule(self, run_id: str, *, at: datetime | str | None = None, delay: Duration | None = None) -> str:
        """Make a waiting run due at an instant, or so long from now; the state it is in then.

        Raises:
            UnknownRun: there is none. RunTerminal, NotWaiting: it has ended, or a worker has claimed it meanwhile.
        """
        return self._reschedule(run_id, due_at(self._client, at, delay))

    def run_soon(self, run_id: str) -> str:
        """Make a waiting run due now; the state it is in then.

        Raises:
            UnknownRun: there is none. RunTerminal, NotWaiting: it has ended, or a worker has claimed it meanwhile.
        """
        return self._reschedule(run_id, 0)

    def _reschedule(self, run_id: str, instant: int) -> str:
        named = parse_run_id(run_id)
        state = self._write("runs.reschedule", lambda tx: steering.reschedule(tx, named, due_at=instant, **self._who()))
        if state is State.QUEUED:
            self._client.tell_work([self.get(named).queue])
        return state

    def set_priority(self, run_id: str, priority: int) -> bool:
        """Give a waiting run another priority, from -1000 to 1000. False: it has that already.

        Raises:
            UnknownRun: there is none. RunTerminal, NotWaiting: it has ended, or a worker has claimed it meanwhile.
        """
        named, wanted = parse_run_id(run_id), check_priority(priority)
        changed = self._write("runs.set_priority", lambda tx: steering.set_priority(tx, named, wanted, **self._who()))
        if changed:
            self._client.tell_work([self.get(named).queue])
        return changed

    def release(self, run_id: str, reason: str) -> None:
        """Queue a run that needs attention again.

        Raises:
            UnknownRun: there is none. NotTerminal: it does not need attention.
        """
        self.resume(run_id, reason)

    def resume(self, run_id: str, reason: str) -> None:
        """Queue a run that needs attention again."""
        named = parse_run_id(run_id)
        self._write("runs.resume", lambda tx: runs.resume(tx, named, reason=reason, **self._who()))

    def fail(self, run_id: str, reason: str) -> None:
        """Fail a run that needs attention."""
        named = parse_run_id(run_id)
        self._write("runs.fail", lambda tx: runs.fail(tx, named, reason=reason, **self._who()))

    def apply_policy(
        self,
        target: str | Sequence[str],
        *,
        max_attempts: int | None = None,
        max_interruptions: int | None = None,
        max_releases: int | None = None,
        backoff: Backoff | Sequence[Duration] | None = None,
        jitter: float | None = None,
        timeout: Duration | None = None,
        grace: Duration | None = None,
        heartbeat_timeout: Duration | None = None,
    ) -> int:
        """Change the policy that waiting runs captured when they were made: of a task by its name, or of the runs in a list of ids.
        How many have another one now. A run that is being worked on, or has ended, keeps its own; each change is on its ledger.

        Raises:
            InvalidOption: naming the option and what to write; nothing was changed.
        """
        options = {
            "max_attempts": max_attempts, "max_interruptions": max_interruptions, "max_releases": max_releases, "backoff": backoff,
            "jitter": jitter, "timeout": timeout, "grace": grace, "heartbeat_timeout": heartbeat_timeout,
        }  # fmt: skip
        return apply_policy(self._client, target, options)

    def reset_key(self, task: str, key: str, reason: str) -> str | None:
        """Free the idempotency key of a run that has ended, so that the next call with it creates a run; the run's id, or None if
        nobody has the key. Nothing is run by it, and it is put on record (``client.audit``).

        Raises:
            KeyActive: its owner has not ended.
        """
        return self._client.keys.reset(task, key, reason=reason)

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

    def _retry(self, tx: Transaction, run_id: str, new_id: str, copies: Mapping[str, tuple[str, bytes]]) -> tuple[str, bool, str]:
        again, made = reviving.retry(tx, run_id, new_id, copies, **self._who())
        return again, made, views.get(tx, self._client.namespace, again).queue

    def _who(self) -> dict[str, str]:
        return {"namespace": self._client.namespace, "actor": self._client.actor}

    def _events(self, tx: Transaction, run_id: str, after: int, most: int) -> "Ledger":
        tx.capabilities.require("reads_history", "look at the run itself: runs.get")
        view = views.get(tx, self._client.namespace, parse_run_id(run_id))
        return views.events(tx, view.run.id, after=after, most=most)

    def _why(self, tx: Transaction, run_id: str) -> str | None:
        from mainspring.operations import explaining

        return explaining.why(tx, self._client.namespace, parse_run_id(run_id))

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


def due_at(client: "Client", at: datetime | str | None, delay: Duration | None) -> int:
    """The instant that ``at=`` or ``delay=`` means.

    Raises:
        InvalidOption: both, or neither.
    """
    if (at is None) == (delay is None):
        raise InvalidOption("give one of at (an instant) and delay (how long from now)", option="at")
    if at is not None:
        return parse_instant(at, option="at")
    now: int = client.database.read("clock", lambda tx: tx.now)
    return now + parse_duration(delay, option="delay")  # type: ignore[arg-type]
