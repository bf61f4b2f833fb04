"""``Client`` and ``AsyncClient``: everything that can be asked of a database by name. Thin shells over ``operations``."""

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mainspring import codec
from mainspring.client.batches import Batches
from mainspring.client.blobs import SweptBlobs, sweep_blobs
from mainspring.client.facets import Facets
from mainspring.client.handles import Handle, Member
from mainspring.client.keys import Keys, with_fields
from mainspring.client.limits import LimitsAtWork
from mainspring.client.queues import Queues
from mainspring.client.requests import Alike, Request, as_alike, check_promises
from mainspring.client.reruns import FindTask
from mainspring.client.runs import Runs
from mainspring.client.writing import write_again
from mainspring.core.durations import LONGEST, Duration, parse_duration
from mainspring.core.ids import parse_run_id
from mainspring.core.lanes import Lane
from mainspring.core.names import check_name
from mainspring.core.policy import Policy
from mainspring.core.states import TERMINAL, State
from mainspring.errors import CommitUnknown, InvalidOption, KeyConflict, PayloadInvalid, StorageConflict, StorageUnavailable
from mainspring.operations import views
from mainspring.operations.deliveries import Dispatch, delivering, followed
from mainspring.operations.enqueue import Created, Keyed, NewRun, create, insertion_alike, interned, policy_row
from mainspring.store.database import Database, Query, Transaction, drive
from mainspring.store.foreign import arun_plan, on_commit, run_plan
from mainspring.store.opening import has_schema, migrate_database, open_database, ready
from mainspring.system import RealSystem, System
from mainspring.telemetry import tracing
from mainspring.telemetry.metrics import Measured, Metrics
from mainspring.telemetry.tracing import Sending
from mainspring.transports import Transport
from mainspring.wakeups import Hub

if TYPE_CHECKING:
    from mainspring.client.ticking import Tick

T = TypeVar("T")

MOST_AT_ONCE = 10_000
_CHUNK = 1_000
_MOST_BYTES = 16 * 1024 * 1024  # of payloads in one statement; more go in by chunks
_MOST_REMEMBERED = 50_000


class Dispatching(Protocol):
    """Whoever publishes deliveries (``runtime/relay``)."""

    name: str

    def step(self) -> Any: ...
    def publish(self) -> int: ...
    def dispatch(self, run_ids: Sequence[str]) -> None: ...


class Client(Facets):
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
        keeping: codec.Keeping | None = None,
    ) -> None:
        self.keeping = keeping or codec.Keeping()
        self.namespace = check_name(namespace, "namespace")
        self.system: System = system or RealSystem()
        self.actor = actor
        self.hub = Hub()
        self.transport: Transport | None = None  # None: hints come from the database itself
        self.relay: Dispatching | None = None  # publishes deliveries, where an app has queues with any
        self.delivering: dict[str, Dispatch] | None = None  # those queues; None: not asked yet
        self.runs = Runs(self)
        self.queues = Queues(self)
        self.limits = LimitsAtWork(self)
        self.batches = Batches(self)
        self.find_task: FindTask | None = None  # where the tasks' code is at hand: how their payloads are read
        self.keys = Keys(self)
        self._url = database if isinstance(database, str) else None
        self._database: Any = None if isinstance(database, str) else database
        self.tracing: bool | None = None
        self.metrics: Metrics | None = None
        self._interned: set[Lane | int] = set()
        self._moved: dict[Lane, Lane] = {}
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
            self._database = opened if self.metrics is None else Measured(opened, self.metrics)
        return self._database

    def observe(self, metrics: Metrics) -> None:
        """Count what is asked of this client from now on, and time its transactions."""
        if self.metrics is None:
            self.metrics = metrics
            self._database = None if self._database is None else Measured(self._database, metrics)

    def enqueue(self, task: str, /, *, queue: str = "default", priority: int = 0, version: int = 1, **payload: Any) -> Handle[Any]:
        """Create a run of a task by name; its worker validates the payload when it claims the run."""
        where, what = check_name(queue, "queue"), check_name(task, "task")
        lane = Lane(namespace=self.namespace, queue=where, task=what, priority=priority, version=version)
        body = codec.encode_json(payload, what="payload", largest=codec.LARGEST)
        (handle,) = self.submit([Request(lane=lane, policy=policy_row(Policy()), body=body)])
        return handle

    def submit(self, requests: Sequence[Request], *, using: Any = None) -> list[Handle[Any]]:
        """Create runs, all in one transaction: ours, or with ``using`` the caller's. One handle per request, in order.

        Raises:
            KeyConflict: a key belongs to a run with another payload; nothing was created.
            StorageUnavailable: nothing was created.
        """
        sending = self._sending(requests)
        if sending is None:
            return self._submit(requests, using)
        with sending:
            handles = self._submit(requests, using)
            sending.tell([handle.id for handle in handles])
            return handles

    def _submit(self, requests: Sequence[Request], using: Any) -> list[Handle[Any]]:
        try:
            return self._submit_judged(requests, using)
        except KeyConflict as refused:
            raise with_fields(refused, self.keeping) from None

    def _submit_judged(self, requests: Sequence[Request], using: Any) -> list[Handle[Any]]:
        delivered = using is None and self._delivered(requests)
        alike = as_alike(requests) if using is None and not delivered else None
        if alike is not None and self._trace() is None and sum(map(len, alike.bodies)) <= _MOST_BYTES:
            return self._submit_alike(alike)
        check_promises(self.database.capabilities, requests, using)
        if using is None or not hasattr(self.database, "exclusive"):
            self._intern(requests)
        new, keyed = self._plan(requests)
        tried: dict[str, Created] = {}
        if using is not None:
            answers = run_plan(self.database, using, self._create_in(requests, new, keyed))
            self._tell_after_commit(using, requests)
        elif delivered:
            ids = [run.id for run in new]
            answers = self._write("runs.create", lambda tx: drive(tx, followed(_in_chunks(new, keyed, tried), ids)))
            self._dispatch(requests, answers)
        else:
            answers = self._write("runs.create", lambda tx: drive(tx, _in_chunks(new, keyed, tried)))
            self.tell_work(sorted({request.lane.queue for request in requests}))
        return self._handles(requests, answers)

    def _submit_alike(self, requests: Alike) -> list[Handle[Any]]:
        """The common case: nothing to judge, so one statement does for all."""
        _bound_size(requests)
        like, new_id = requests.like, self.system.new_id
        self._intern([like])
        ids = [new_id() for _ in requests.bodies]
        bodies = requests.bodies
        if not self.keeping.is_plain:
            bodies = [self._kept(run_id, request) for run_id, request in zip(ids, requests, strict=True)]
        batch = list(zip(ids, bodies, strict=True))
        if self._write_one(insertion_alike(self._number(like.lane), like.policy[0], self.actor, batch)) < len(batch):
            return self._submit_bounded(requests, batch)  # a bounded queue; or this is a second try
        if self.metrics is not None:
            self._count(requests, ["created"] * len(requests))
        self.tell_work([like.lane.queue])
        return [Handle(self, run_id, "created", like.decode) for run_id in ids]

    def _submit_bounded(self, requests: Alike, batch: Sequence[tuple[str, bytes]]) -> list[Handle[Any]]:
        """Plain runs for a queue that may be full."""
        first = requests.like
        lane_id, policy_id = self._number(first.lane), first.policy[0]
        new = [NewRun(run_id, lane_id, policy_id, body, self.actor) for run_id, body in batch]
        try:
            answers = self._write("runs.create", lambda tx: drive(tx, _in_chunks(new, {}, {})))
        except (StorageUnavailable, StorageConflict) as error:  # they may be there from the first try, if that was committed
            raise CommitUnknown(f"some of the runs may have been created; and then: {error.message}") from error
        self.tell_work([first.lane.queue])
        return self._handles(requests, answers)

    def prepare(self, request: Request) -> tuple[NewRun, dict[str, Keyed]]:
        """What creating one run takes, with its lane and its policy in place: for ``run_now``, which creates it itself."""
        check_promises(self.database.capabilities, [request])
        self._intern([request])
        new, keyed = self._plan([request])
        return new[0], keyed

    def got(self, request: Request, created: Created) -> Handle[Any]:
        """The handle of a run that ``prepare`` began."""
        (handle,) = self._handles([request], [created])
        return handle

    async def asubmit(self, requests: Sequence[Request], *, using: Any = None) -> list[Handle[Any]]:
        """``submit`` for an event loop; ``using`` may be a connection that is awaited."""
        if using is None:
            return await asyncio.to_thread(self.submit, requests)
        sending = self._sending(requests)
        if sending is None:
            return await self._asubmit(requests, using)
        with sending:
            handles = await self._asubmit(requests, using)
            sending.tell([handle.id for handle in handles])
            return handles

    async def _asubmit(self, requests: Sequence[Request], using: Any) -> list[Handle[Any]]:
        check_promises((await asyncio.to_thread(lambda: self.database)).capabilities, requests, using)
        new, keyed = await asyncio.to_thread(self._plan, requests)
        plan = await asyncio.to_thread(self._create_in, requests, new, keyed)
        try:
            answers = await arun_plan(self.database, using, plan)
        except KeyConflict as refused:
            raise await asyncio.to_thread(with_fields, refused, self.keeping) from None
        self._tell_after_commit(using, requests)
        return self._handles(requests, answers)

    def _tell_after_commit(self, using: Any, requests: Sequence[Request]) -> None:
        """The hint for runs in a transaction of the caller's: after its commit where we hear of it, else there is the poll."""
        named = sorted({request.lane.queue for request in requests})
        on_commit(using, lambda: self.tell_work(named))

    def members(self, callback_run_id: str) -> Iterator[Member]:
        """The members of the batch whose callback this run is, in member order, with their results."""
        batch_id = self.batches.of_callback(callback_run_id)
        return iter(()) if batch_id is None else self.batches.members(batch_id)

    def results(self, run_ids: Sequence[str]) -> dict[str, bytes]:
        """What runs that have ended returned, as JSON; ``null`` where they did not succeed, or their results are not kept.

        Raises:
            PayloadInvalid: one of them is gone. StorageUnavailable: it cannot be looked at now.
        """
        found: dict[str, views.Ending] = self.database.read("views.outcomes", lambda tx: views.endings(tx, run_ids))
        if missing := [run_id for run_id in run_ids if run_id not in found or found[run_id].state not in TERMINAL]:
            told = f"it needs the result of run {missing[0]}, which was pruned, or has not ended"
            raise PayloadInvalid(told, errors=[{"field": "$", "message": told}])
        return {run_id: self._stored_result(found[run_id]) for run_id in run_ids}

    def _stored_result(self, end: views.Ending) -> bytes:
        if end.state is not State.SUCCEEDED or end.body is None:
            return b"null"
        return self.keeping.read_result(end.body, run_id=end.run_id)

    def workers(self) -> list[views.WorkerView]:
        """The workers of this namespace, newest first."""
        return list(self.database.read("workers.list", lambda tx: views.workers(tx, self.namespace)))

    def tick(self, *, every: Duration = "10s") -> "Tick":
        """One pass of maintenance, as every worker makes it all the time: due runs are queued, expiry and deadlines take effect,
        lapsed leases are taken, old keys are forgotten. Any number may call at once. ``every`` is how often you call: a longer
        silence is taken for an outage of the database, after which nobody's lease is taken for a while.

        Raises:
            StorageUnavailable: the database cannot be reached. A stage that fails otherwise is in the report, and stops no other.
        """
        from mainspring.client.ticking import tick  # all of maintenance: not for those who only enqueue

        return tick(self, every)

    def handle(self, run_id: str, decode: Callable[[bytes], Any] = codec.decode_json) -> Handle[Any]:
        """A handle of a run by its id, to wait for it."""
        return Handle(self, parse_run_id(run_id), "existing", decode)

    def migrate(self) -> list[str]:
        """Bring the database to this code's schema; the names of the steps applied."""
        return migrate_database(self._opened())

    def make_schema(self) -> list[str]:
        """Give an empty database this code's schema; the names of the steps applied. One that has a schema is left as it is."""
        return [] if has_schema(self._opened()) else self.migrate()

    def _opened(self) -> Any:
        """The database, whatever its schema."""
        database = self._database
        if database is None:
            assert self._url is not None
            database = self._database = open_database(self._url, clock=self.system.now)
        return database

    def tell_work(self, named: Sequence[str]) -> None:
        """Hint, after a commit, that there is work in these queues."""
        for call in self._after_commit:
            call(named)

    def after_commit(self, call: Callable[[Sequence[str]], None]) -> None:
        """Have ``call(queues)`` called after each commit that created runs."""
        self._after_commit.append(call)

    def sweep_blobs(self, *, older_than: Duration = "1d", cursor: str | None = None, most: int = 500) -> SweptBlobs:
        """Remove blobs that nothing points to any more, of those older than that; ``cursor`` goes on where a call ended.

        Without a blob store there are none. What retention calls now and then; runs that were pruned leave theirs to it.
        """
        if self.keeping.blobs is None:
            return SweptBlobs(0, 0, None)
        age = parse_duration(older_than, option="older_than")
        now = self.system.now()
        return sweep_blobs(self.database, self.keeping.blobs, now=now, older_than_us=age, cursor=cursor, most=most)

    def close(self) -> None:
        """Close the database, if it was opened here."""
        if self._database is not None and self._url is not None:
            self._database.close()
            self._database = None

    # -- creating ---------------------------------------------------------------------------------------------------

    def _sending(self, requests: Sequence[Request]) -> Sending | None:
        """The span of this enqueue, if the caller is in one and the app traces."""
        if self.tracing is False or not requests:
            return None
        lane = requests[0].lane
        return tracing.sending(lane.namespace, lane.queue, lane.task, len(requests))

    def _trace(self) -> str | None:
        """Which span the runs that are created now belong under."""
        return None if self.tracing is False else tracing.parent()

    def _plan(self, requests: Sequence[Request]) -> tuple[list[NewRun], dict[str, Keyed]]:
        _bound_size(requests)
        new = [self._new_run(request) for request in requests]
        keyed = {
            run.id: Keyed(
                namespace=request.lane.namespace,
                task=request.lane.task,
                payload_hash=codec.payload_hash(run.body),
                ttl=request.key_ttl,
                on_singleton=request.on_singleton,
                debounce=request.debounce,
            )
            for run, request in zip(new, requests, strict=True)
            if request.key is not None or request.singleton is not None
        }
        return new, keyed

    def _new_run(self, request: Request) -> NewRun:
        if request.due_at is not None and request.due_at > self.system.now() + LONGEST:
            raise InvalidOption("at= is too far away: ten years from now is the most", option="at")
        if request.after and request.singleton is not None and (request.debounce or request.on_singleton == "replace"):
            raise InvalidOption(
                "a payload that replaces another cannot wait for runs of its own; leave after= out, or on_singleton= and debounce=",
                option="after",
            )
        run_id = request.run_id or self.system.new_id()
        return NewRun(
            run_id, self._number(request.lane), request.policy[0], self._kept(run_id, request), self.actor,
            request.due_at, request.delay, None, request.key, request.singleton, trace=self._trace(),
            expires_at=request.expires_at, expires_in=request.expires_in,
            deadline_at=request.deadline_at, deadline_in=request.deadline_in, attributes=request.attributes, after=request.after,
        )  # fmt: skip

    def _number(self, lane: Lane) -> int:
        """The number of a lane, which is another than asked for where another lane had that."""
        return self._moved.get(lane, lane).id if self._moved else lane.id

    def _kept(self, run_id: str, request: Request) -> bytes:
        """The payload as it is stored: sealed, or in the blob store, which is written before the transaction."""
        if self.keeping.is_plain:
            return request.body
        keyed = request.key is not None or request.singleton is not None
        return self.keeping.keep_payload(request.body, task=request.lane.task, run_id=run_id, keyed=keyed)

    def _count(self, requests: Sequence[Request], outcomes: Sequence[str]) -> None:
        if self.metrics is not None:
            pairs = zip(requests, outcomes, strict=True)
            self.metrics.created([(request.lane.queue, request.lane.task, outcome) for request, outcome in pairs])

    def _write_one(self, query: Query) -> int:
        """Run one statement in a transaction of its own; how many rows it changed."""
        single = getattr(self.database, "single", None)
        if single is not None:  # one round trip
            changed: int = single("runs.create", query.statement, **query.params)
            return changed
        return self._write("runs.create", lambda tx: tx.execute(query.statement, **query.params))

    def _create_in(
        self, requests: Sequence[Request], new: list[NewRun], keyed: dict[str, Keyed]
    ) -> Generator[Any, Any, list[Created]]:
        """The plan for a transaction of the caller's. Lanes went before it, by our own connection, lest others wait for its end;
        on SQLite, where the caller holds the one writer, they go inside it."""
        ids = [run.id for run in new]
        plan = create(new, keyed) if not hasattr(self.database, "exclusive") else self._interned_first(requests, new, keyed)
        is_known = self.delivering is not None or not hasattr(self.database, "exclusive")  # else it would ask beside the caller
        return followed(plan, ids) if not is_known or self._delivered(requests) else plan

    def _delivered(self, requests: Sequence[Request]) -> bool:
        """Whether any of these goes to a queue with deliveries, as far as this process has heard; the relay finds the rest."""
        if self.delivering is None:
            found: dict[str, Dispatch] = self.database.read("deliveries.queues", lambda tx: delivering(tx, self.namespace))
            self.delivering = found
        return bool(self.delivering) and any(request.lane.queue in self.delivering for request in requests)

    def _dispatch(self, requests: Sequence[Request], answers: Sequence[Created]) -> None:
        """After the commit: publish at once where the queue asks for it. What that fails to do the relay does."""
        if self.relay is not None and self.delivering:
            pairs = zip(requests, answers, strict=True)
            self.relay.dispatch([made.run_id for request, made in pairs if self.delivering.get(request.lane.queue) == "eager"])

    def _interned_first(
        self, requests: Sequence[Request], new: list[NewRun], keyed: dict[str, Keyed]
    ) -> Generator[Any, Any, list[Created]]:
        self._moved |= yield from interned(*_distinct(requests))
        placed = [run._replace(lane_id=self._number(request.lane)) for run, request in zip(new, requests, strict=True)]
        return (yield from create(placed, keyed))

    def _intern(self, requests: Sequence[Request]) -> None:
        """Make sure that the lanes and policies asked for are there, and learn which of them got another number than asked."""
        wanted = {request.lane for request in requests} | {request.policy[0] for request in requests}
        if wanted <= self._interned:
            return
        self._moved |= self._write("runs.intern", lambda tx: drive(tx, interned(*_distinct(requests))))
        if len(self._interned) > _MOST_REMEMBERED:
            self._interned.clear()
        self._interned |= wanted

    def _result(self, end: views.Ending) -> Any:
        return codec.decode_json(self.keeping.read_result(end.body, run_id=end.run_id)) if end.body is not None else None

    def _write(self, name: str, fn: Callable[[Transaction], T]) -> T:
        """A write whose repetition changes nothing, so an unknown commit is simply tried again."""
        return write_again(self.database, name, fn)

    def _handles(self, requests: Sequence[Request], answers: Sequence[Created]) -> list[Handle[Any]]:
        self._count(requests, [answer.outcome for answer in answers])
        return [
            Handle(self, answer.run_id, answer.outcome, request.decode, final_state=answer.final_state, ended_at=answer.ended_at)
            for request, answer in zip(requests, answers, strict=True)
        ]


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


def _in_chunks(new: "list[NewRun]", keyed: dict[str, Keyed], tried: "dict[str, Created]") -> Generator[Any, Any, "list[Created]"]:
    answers: list[Created] = []
    for start in range(0, len(new), _CHUNK):
        answers += yield from create(new[start : start + _CHUNK], keyed, tried)
    return answers


def _distinct(requests: Sequence[Request]) -> "tuple[list[Lane], list[tuple[int, str]]]":
    lanes = list({request.lane: None for request in requests})
    policies = {request.policy[0]: request.policy for request in requests}
    return sorted(lanes, key=lambda lane: lane.id), [policies[key] for key in sorted(policies)]


def _bound_size(requests: Sequence[Any]) -> None:
    if len(requests) > MOST_AT_ONCE:
        told = f"{len(requests):,} runs in one call; {MOST_AT_ONCE:,} is the most, so call once per chunk"
        raise InvalidOption(told, option="items")
