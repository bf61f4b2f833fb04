"""Calls from outside a worker: create runs, wait for them, look at them, stop them. Thin shells over ``operations``.

A ``Client`` needs no task code: it speaks of tasks by name. An ``App`` has one inside, and adds the code.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from mainspring import codec
from mainspring.core.durations import Duration, parse_duration
from mainspring.core.events import Event
from mainspring.core.ids import parse_run_id
from mainspring.core.names import check_name
from mainspring.core.policy import Policy
from mainspring.core.states import TERMINAL, State
from mainspring.errors import InvalidOption, RunCancelled, RunFailed, UnknownRun, WorldTrouble
from mainspring.operations import batches, queues, retention, runs, views
from mainspring.operations.enqueue import Created, Keyed, Lane, NewRun, Outcome, create, insertion, intern, policy_row
from mainspring.store.database import Database, Transaction, drive
from mainspring.store.foreign import arun_plan, run_plan
from mainspring.store.opening import migrate_database, open_database, ready
from mainspring.system import RealSystem, System
from mainspring.waiting import Hub, Wait, until
from mainspring.waiting import adrive as await_in_loop
from mainspring.waiting import drive as wait_in_thread

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

MOST_AT_ONCE = 10_000
_CHUNK = 1_000
_COMMIT_TRIES = 5


class Request(NamedTuple):
    """One run somebody wants: everything that is decided before the database is asked."""

    lane: Lane
    policy: tuple[int, str]
    body: bytes
    due_at: int | None = None
    delay: int = 0
    key: str | None = None
    key_ttl: int = 0
    singleton: str | None = None
    decode: Callable[[bytes], Any] = codec.decode_json


class Page(NamedTuple):
    """Part of a list, and the cursor of what follows; None at the end."""

    data: list[views.RunView]
    next_cursor: str | None


class Member(NamedTuple):
    """One member of a batch, as its callback sees it."""

    run_id: str
    state: State
    result: Any


class Handle(Generic[R_co]):
    """A run that was asked for. ``outcome`` says whether this call created it (``created``) or found it (``existing``)."""

    __slots__ = ("_client", "_decode", "id", "outcome")

    def __init__(self, client: "Client", run_id: str, outcome: Outcome, decode: Callable[[bytes], Any]) -> None:
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
        return self._read(await await_in_loop(self._wait(timeout), self._client.hub, self.id))

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
            return self._decode(ending.body) if ending.body is not None else None  # type: ignore[return-value]
        message = ending.data.get("message") or ending.reason or ""
        kind = RunCancelled if ending.state is State.CANCELLED else RunFailed
        raise kind(
            f"run {self.id} {ending.state}" + (f": {message}" if message else ""),
            run_id=self.id,
            reason=ending.reason,
            error=message,
            failure=ending.data,
        )


class BatchHandle(Generic[R_co]):
    """A batch that was created: its id, its members' ids in order, and the handle of its callback, if it has one."""

    __slots__ = ("callback", "id", "members")

    def __init__(self, batch_id: str, members: list[str], callback: Handle[R_co] | None) -> None:
        self.id = batch_id
        self.members = members
        self.callback = callback


class Client:
    """Everything that can be asked of a Mainspring database, by name, without the tasks' code.

    ``database`` is a URL or an open database. Opening is lazy: the first call connects.
    """

    def __init__(
        self,
        database: "str | Database",
        *,
        namespace: str = "default",
        system: System | None = None,
        actor: str = "client",
    ) -> None:
        self.namespace = check_name(namespace, "namespace")
        self.system: System = system or RealSystem()
        self.actor = actor
        self.hub = Hub()
        self.runs = Runs(self)
        self.queues = Queues(self)
        self._url = database if isinstance(database, str) else None
        self._database: Any = None if isinstance(database, str) else database
        self._interned: set[int] = set()
        self._after_commit: list[Callable[[Sequence[str]], None]] = [self.hub.work]

    @property
    def database(self) -> Any:
        """The open database; opened at first use, refused if its schema is not this code's."""
        if self._database is None:
            assert self._url is not None
            opened = open_database(self._url, clock=self.system.now)
            try:
                ready(opened)
            except BaseException:
                opened.close()
                raise
            self._database = opened
        return self._database

    def enqueue(
        self, task: str, /, *, queue: str = "default", priority: int = 0, version: int = 1, **payload: Any
    ) -> Handle[Any]:
        """Create a run of a task by name; its worker validates the payload when it claims the run."""
        lane = Lane(
            namespace=self.namespace,
            queue=check_name(queue, "queue"),
            task=check_name(task, "task"),
            priority=priority,
            version=version,
        )
        body = codec.encode_json(payload, what="payload", largest=codec.LARGEST)
        (handle,) = self.submit([Request(lane=lane, policy=policy_row(Policy()), body=body)])
        return handle

    def submit(self, requests: Sequence[Request], *, using: Any = None) -> list[Handle[Any]]:
        """Create runs, all in one transaction: ours, or with ``using`` the caller's. One handle per request, in order.

        Raises:
            KeyConflict: a key belongs to a run with another payload; nothing was created.
            StorageUnavailable: nothing was created.
        """
        new, keyed = self._plan(requests)
        if using is not None:
            answers = run_plan(self.database, using, self._create_interned(requests, new, keyed))
        else:
            self._intern(requests)
            answers = self._create(new, keyed)
            self.tell_work(sorted({request.lane.queue for request in requests}))
        return self._handles(requests, answers)

    async def asubmit(self, requests: Sequence[Request], *, using: Any = None) -> list[Handle[Any]]:
        """``submit`` for an event loop; ``using`` may be a connection that is awaited."""
        if using is None:
            return await asyncio.to_thread(self.submit, requests)
        new, keyed = self._plan(requests)
        plan = self._create_interned(requests, new, keyed)
        return self._handles(requests, await arun_plan(self.database, using, plan))

    def submit_batch(
        self, members: Sequence[Request], callback: Request | None, *, fires_on: batches.FiresOn
    ) -> BatchHandle[Any]:
        """Create a batch with its members and its callback, all or nothing.

        Raises:
            InvalidOption: a request with keys, or more than 10,000 members.
        """
        if any(request.key or request.singleton for request in [*members, *([callback] if callback else [])]):
            raise InvalidOption("members and callbacks of a batch take no keys; enqueue keyed runs by themselves", option="key")
        _bound_size(members)
        batch_id = self.system.new_id()
        new = [self._new_run(request)._replace(batch_id=batch_id) for request in members]
        then = self._new_run(callback)._replace(blocked="batch") if callback else None
        self._intern([*members, *([callback] if callback else [])])
        self._write(
            "batches.create",
            lambda tx: batches.create(tx, batch_id, new, then, namespace=self.namespace, fires_on=fires_on),
        )
        self.tell_work(sorted({request.lane.queue for request in members}))
        handle = Handle[Any](self, then.id, "created", callback.decode) if then and callback else None
        return BatchHandle(batch_id, [run.id for run in new], handle)

    def members(self, callback_run_id: str) -> Iterator[Member]:
        """The members of the batch whose callback this run is, in member order, with their results."""
        row = self.database.read("batches.of_callback", lambda tx: tx.one("batches.of_callback", run_id=callback_run_id))
        after: str | None = None
        while row:
            page = self.database.read("batches.members", lambda tx, at=after: batches_page(tx, row[0], at))
            yield from (Member(end.run_id, end.state, _result(end)) for end in page)
            if len(page) < views.MOST:
                return
            after = page[-1].run_id

    def workers(self) -> list[views.WorkerView]:
        """The workers of this namespace, newest first."""
        found: list[views.WorkerView] = self.database.read("workers.list", lambda tx: views.workers(tx, self.namespace))
        return found

    def handle(self, run_id: str, decode: Callable[[bytes], Any] = codec.decode_json) -> Handle[Any]:
        """A handle of a run by its id, to wait for it."""
        return Handle(self, parse_run_id(run_id), "existing", decode)

    def migrate(self) -> list[str]:
        """Bring the database to this code's schema; the names of the steps applied."""
        database = self._database
        if database is None:
            assert self._url is not None
            database = self._database = open_database(self._url, clock=self.system.now)
        return migrate_database(database)

    def tell_work(self, named: Sequence[str]) -> None:
        """Hint, after a commit, that there is work in these queues."""
        for call in self._after_commit:
            call(named)

    def after_commit(self, call: Callable[[Sequence[str]], None]) -> None:
        """Have ``call(queues)`` called after each commit that created runs."""
        self._after_commit.append(call)

    def close(self) -> None:
        """Close the database, if it was opened here."""
        if self._database is not None and self._url is not None:
            self._database.close()
            self._database = None

    # -- creating ---------------------------------------------------------------------------------------------------

    def _plan(self, requests: Sequence[Request]) -> tuple[list[NewRun], dict[str, Keyed]]:
        _bound_size(requests)
        new = [self._new_run(request) for request in requests]
        keyed = {
            run.id: Keyed(
                namespace=request.lane.namespace,
                task=request.lane.task,
                payload_hash=codec.payload_hash(request.body),
                ttl=request.key_ttl,
            )
            for run, request in zip(new, requests, strict=True)
            if request.key is not None or request.singleton is not None
        }
        return new, keyed

    def _new_run(self, request: Request) -> NewRun:
        return NewRun(
            self.system.new_id(), request.lane.id, request.policy[0], request.body, self.actor,
            request.due_at, request.delay, None, request.key, request.singleton,
        )  # fmt: skip

    def _create(self, new: list[NewRun], keyed: dict[str, Keyed]) -> list[Created]:
        if keyed or len(new) > _CHUNK:
            return self._write("runs.create", lambda tx: drive(tx, _in_chunks(new, keyed)))
        self._insert_alone(new)
        return [Created(run.id, "created") for run in new]

    def _insert_alone(self, new: list[NewRun]) -> None:
        query = insertion(new)
        single = getattr(self.database, "single", None)
        if single is not None:  # one statement, one round trip
            single("runs.create", query.statement, **query.params)
        else:
            self._write("runs.create", lambda tx: tx.execute(query.statement, **query.params))

    def _create_interned(
        self, requests: Sequence[Request], new: list[NewRun], keyed: dict[str, Keyed]
    ) -> Generator[Any, Any, list[Created]]:
        lanes, policies = _distinct(requests)
        yield intern(lanes, policies)
        return (yield from create(new, keyed))

    def _intern(self, requests: Sequence[Request]) -> None:
        wanted = {request.lane.id for request in requests} | {request.policy[0] for request in requests}
        if wanted <= self._interned:
            return
        query = intern(*_distinct(requests))
        self._write("runs.intern", lambda tx: tx.execute(query.statement, **query.params))
        self._interned |= wanted

    def _write(self, name: str, fn: Callable[[Transaction], T]) -> T:
        """A write whose repetition changes nothing, so an unknown commit is simply tried again."""
        return write_again(self.database, name, fn)

    def _handles(self, requests: Sequence[Request], answers: Sequence[Created]) -> list[Handle[Any]]:
        return [
            Handle(self, answer.run_id, answer.outcome, request.decode)
            for request, answer in zip(requests, answers, strict=True)
        ]


class Runs:
    """Looking at runs, and acting on them."""

    def __init__(self, client: Client) -> None:
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
            lambda tx: views.listing(
                tx, self._client.namespace, states=chosen, task=task, queue=queue, before=before, most=limit
            ),
        )
        return Page(data, data[-1].run.id if len(data) == limit else None)

    def events(self, run_id: str, *, after: int = 0) -> "list[Event]":
        """The ledger of a run, from ``after`` on, at most 500 entries.

        Raises:
            UnknownRun: there is none.
        """
        return self._read("views.events", lambda tx: self._events(tx, run_id, after))

    def attempts(self, run_id: str) -> "list[views.Attempt]":
        """The attempts of a run, read off its ledger."""
        ledger = self.events(run_id)
        while ledger and len(page := self.events(run_id, after=ledger[-1].seq)):
            ledger += page
        return views.attempts(ledger)

    def why(self, run_id: str) -> str | None:
        """What a run waits for, in words; None if it waits for nothing."""
        return self._read("views.why", lambda tx: self._why(tx, run_id))

    def counts(self) -> dict[str, int]:
        """How many runs there are in each state."""
        rows = self._read("views.counts", lambda tx: tx.rows("views.counts", namespace=self._client.namespace))
        return dict(rows)  # type: ignore[arg-type]

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
        again, made = self._write("runs.retry", lambda tx: runs.retry(tx, named, new_id, **self._who()))
        self._client.tell_work([self.get(again).queue])
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
            lambda tx: retention.prune(
                tx, self._client.namespace, cut_off=tx.now - age, states=chosen, cursor=cursor, most=limit
            ),
        )

    def _who(self) -> dict[str, str]:
        return {"namespace": self._client.namespace, "actor": self._client.actor}

    def _events(self, tx: Transaction, run_id: str, after: int) -> "list[Event]":
        view = views.get(tx, self._client.namespace, parse_run_id(run_id))
        return views.events(tx, view.run.id, after=after)

    def _why(self, tx: Transaction, run_id: str) -> str | None:
        return views.why_waiting(tx, views.get(tx, self._client.namespace, parse_run_id(run_id)))

    def _read(self, name: str, fn: Callable[[Transaction], T]) -> T:
        result: T = self._client.database.read(name, fn)
        return result

    def _write(self, name: str, fn: Callable[[Transaction], T]) -> T:
        return write_again(self._client.database, name, fn)


class Queues:
    """Looking at queues, and steering them while everything runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> "list[queues.Queue]":
        """Every queue."""
        found: list[queues.Queue] = self._client.database.read(
            "queues.list", lambda tx: queues.listing(tx, self._client.namespace)
        )
        return found

    def declare(self, queue: str, *, limit: int | None = None) -> None:
        """What code says of a queue; an operator's limit stays."""
        write_again(
            self._client.database,
            "queues.declare",
            lambda tx: queues.declare(tx, self._client.namespace, queue, limit=limit),
        )

    def pause(self, queue: str) -> bool:
        """Stop claims from a queue. False: it was paused already.

        Raises:
            UnknownQueue: there is none.
        """
        return write_again(
            self._client.database,
            "queues.pause",
            lambda tx: queues.pause(tx, self._client.namespace, queue, actor=self._client.actor),
        )

    def resume(self, queue: str) -> bool:
        """Let claims go on. False: it was not paused.

        Raises:
            UnknownQueue: there is none.
        """
        resumed = write_again(
            self._client.database, "queues.resume", lambda tx: queues.resume(tx, self._client.namespace, queue)
        )
        self._client.tell_work([queue])
        return resumed

    def limit(self, queue: str, size: int | None) -> None:
        """At most ``size`` runs of a queue at once over the whole fleet; None takes the limit away.

        Raises:
            UnknownQueue: there is none. InvalidOption: a negative size.
        """
        if size is not None and (not isinstance(size, int) or size < 0):
            raise InvalidOption(f"a limit is a whole number from 0, or None for no limit, not {size!r}", option="limit")
        write_again(
            self._client.database,
            "limits.set",
            lambda tx: queues.set_limit(tx, self._client.namespace, queue, size),
        )
        self._client.tell_work([queue])


class AsyncClient:
    """``Client`` for an event loop: the same calls, awaited; each runs in a thread."""

    def __init__(self, database: "str | Database", *, namespace: str = "default") -> None:
        self.client = Client(database, namespace=namespace)

    async def enqueue(self, task: str, /, **options: Any) -> Handle[Any]:
        """See ``Client.enqueue``."""
        return await asyncio.to_thread(self.client.enqueue, task, **options)

    async def call(self, fn: Callable[[Client], T]) -> T:
        """Any other call of the client: ``await client.call(lambda c: c.runs.get(run_id))``."""
        return await asyncio.to_thread(fn, self.client)

    async def close(self) -> None:
        """Close the database."""
        await asyncio.to_thread(self.client.close)


def write_again(database: Any, name: str, fn: Callable[[Transaction], T]) -> T:
    """Write, and write again when it is unknown whether the commit happened. ``fn`` must change nothing when repeated."""
    from mainspring.errors import CommitUnknown

    for _ in range(_COMMIT_TRIES - 1):
        try:
            result: T = database.write(name, fn)
            return result
        except CommitUnknown:
            continue
    result = database.write(name, fn)
    return result


def due_instant(at: datetime | str | None) -> int | None:
    """``at=`` as UTC microseconds."""
    from mainspring.core.durations import parse_instant

    return None if at is None else parse_instant(at, option="at")


def batches_page(tx: Transaction, batch_id: str, after: str | None) -> "list[views.Ending]":
    """A page of a batch's members."""
    return views.batch_members(tx, batch_id, after=after)


def _in_chunks(new: "list[NewRun]", keyed: dict[str, Keyed]) -> Generator[Any, Any, "list[Created]"]:
    answers: list[Created] = []
    for start in range(0, len(new), _CHUNK):
        answers += yield from create(new[start : start + _CHUNK], keyed)
    return answers


def _distinct(requests: Sequence[Request]) -> "tuple[list[Lane], list[tuple[int, str]]]":
    lanes = {request.lane.id: request.lane for request in requests}
    policies = {request.policy[0]: request.policy for request in requests}
    return [lanes[key] for key in sorted(lanes)], [policies[key] for key in sorted(policies)]


def _result(end: views.Ending) -> Any:
    return codec.decode_json(end.body) if end.body is not None else None


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


def _bound_size(requests: Sequence[Any]) -> None:
    if len(requests) > MOST_AT_ONCE:
        raise InvalidOption(
            f"{len(requests):,} runs in one call; {MOST_AT_ONCE:,} is the most, so call once per chunk", option="items"
        )
