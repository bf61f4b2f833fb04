"""Using an outbox: writing rows beside a caller's data, and the relay that moves them, in the caller's process.

A row becomes a run at least once, and the run id makes it once: the run is created here, committed, and only then the row deleted
there. Rows go in the order in which they were written, so those of one key do.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from mainspring.client import Client, Handle, Request
from mainspring.codec import LARGEST_STORED, Keeping
from mainspring.errors import CallerMistake, MainspringError, WorldTrouble
from mainspring.operations import outbox
from mainspring.operations.outbox import Chosen
from mainspring.store.outbox import Row, Theirs, troubles
from mainspring.system import System
from mainspring.transports.transport import Backoff

log = logging.getLogger("mainspring")

BATCH = 100
_TIMED = {"delay": "due_at", "expires_in": "expires_at", "deadline_in": "deadline_at"}
_APART = ("lane", "policy", "body", "decode", "run_id")


class Calling(Protocol):
    """An unsent call of a task: what ``task.call(…)`` gives."""

    @property
    def request(self) -> Request: ...


class _Later:
    """The client that a handle asks, opened when it does."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client(), name)


def chosen(request: Request, system: System, keeping: Keeping) -> Chosen:
    """A request as it can wait: with its run id, and every span turned into an instant, for it counts from now."""
    now, run_id = system.now(), system.new_id()
    fields = {name: value for name, value in request._asdict().items() if name not in _APART}
    for span, instant in _TIMED.items():
        value = fields.pop(span, None)
        if value and fields.get(instant) is None:
            fields[instant] = now + value
    inline = replace(keeping, inline=LARGEST_STORED)  # a blob that no ledger points to would be swept before its row is moved
    body = inline.keep_payload(request.body, task=request.lane.task, run_id=run_id, keyed=True)
    return Chosen(run_id, request.lane, request.policy, body, fields)


class Outbox:
    """Runs that wait beside a caller's data until a relay moves them here. Made by ``App.outbox``."""

    def __init__(self, client: Callable[[], Client], connection: Any, *, ours: str, system: System, keeping: Keeping) -> None:
        self._client = client
        self._system = system
        self._keeping = keeping
        self._theirs = Theirs(connection, ours=ours)

    def create_table(self) -> None:
        """Make the table ``mainspring_outbox``, if it is not there; in the transaction of the connection."""
        self._theirs.create_table()

    def enqueue(self, call: Calling, *, order_key: str | None = None) -> Handle[Any]:
        """Write a row for ``task.call(…)`` into the caller's transaction. This app's database is not asked, and may be away. The
        run is there once the transaction has committed and a relay has come by; until then the handle knows of no run.
        ``order_key`` is kept with the row, for people: all rows go in the order in which they were written.

        Raises:
            InvalidOption: an option that cannot wait.
        """
        waiting = chosen(call.request, self._system, self._keeping)
        self._theirs.insert(waiting.run_id, order_key, outbox.encode(waiting))
        return Handle(_Later(self._client), waiting.run_id, "created", call.request.decode)

    def refused(self) -> list[tuple[str, str | None, str]]:
        """Rows that can never become a run, and were set aside: run id, order key, and why."""
        return self._theirs.refused()


class Relay:
    """Moves rows of one outbox. ``connect`` opens a connection to their database, which the relay uses alone and closes.

    ``moved`` and ``refused`` count rows. One relay at a time works on an outbox; others wait for it.
    """

    def __init__(self, client: Callable[[], Client], connect: Callable[[], Any], *, ours: str) -> None:
        self._client = client
        self._ours = ours
        self._connect = connect
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.moved = 0
        self.refused = 0

    def step(self) -> int:
        """Move up to 100 rows; how many there were.

        Raises:
            StorageUnavailable, StorageConflict, CommitUnknown: our database is away; the rows stay. What their driver raises.
        """
        client = self._client()
        theirs = Theirs(self._connect(), ours=self._ours)
        try:
            theirs.begin()
            rows = theirs.next_rows(BATCH)
            if rows:
                self._move(client, theirs, rows)
            theirs.commit()
            return len(rows)
        finally:
            theirs.close()

    def drain(self) -> int:
        """Move all there are; how many."""
        count = 0
        while found := self.step():
            count += found
        return count

    def start(self, *, every_seconds: float = 0.5) -> None:
        """Move rows in a thread of this process from now on, looking every so many seconds."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, args=(every_seconds,), name="mainspring-outbox", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop; a step under way is waited for. A second call does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, every_seconds: float) -> None:
        away: tuple[type[BaseException], ...] = (WorldTrouble, *troubles())
        backoff = Backoff(first_seconds=every_seconds, longest_seconds=max(every_seconds, 30.0))
        while not self._stop.is_set():
            try:
                found = self.step()
                backoff.worked()
            except away as error:
                log.warning("the outbox waits: %s", error)
                self._stop.wait(backoff.next_seconds())
                continue
            if found < BATCH:
                self._stop.wait(every_seconds)

    def _move(self, client: Client, theirs: Theirs, rows: Sequence[Row]) -> None:
        readable = [(row, request) for row in rows if (request := self._read(client, theirs, row)) is not None]
        try:
            if readable:
                client.submit([request for _, request in readable])
            theirs.delete([row for row, _ in readable])
            self.moved += len(readable)
        except CallerMistake:
            self._move_one_by_one(client, theirs, readable)

    def _move_one_by_one(self, client: Client, theirs: Theirs, readable: Sequence[tuple[Row, Request]]) -> None:
        for row, request in readable:
            try:
                client.submit([request])
            except CallerMistake as error:  # say, its key belongs to a run with another payload
                self._refuse(theirs, row, error)
                continue
            theirs.delete([row])
            self.moved += 1

    def _read(self, client: Client, theirs: Theirs, row: Row) -> Request | None:
        try:
            waiting = outbox.decode(row.run_id, row.request)
            body = client.keeping.read_payload(waiting.body, task=waiting.lane.task)
            return Request(lane=waiting.lane, policy=waiting.policy, body=body, run_id=waiting.run_id, **waiting.fields)
        except WorldTrouble:
            raise
        except (MainspringError, ValueError, TypeError) as error:
            self._refuse(theirs, row, error)
            return None

    def _refuse(self, theirs: Theirs, row: Row, error: Exception) -> None:
        log.error("outbox row %d, run %s, can never become a run and is set aside: %s", row.seq, row.run_id, error)
        theirs.refuse(row, f"{getattr(error, 'code', type(error).__name__)}: {error}")
        self.refused += 1
