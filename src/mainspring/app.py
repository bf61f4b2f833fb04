"""``App``: your tasks, one database, and the workers that run them. The object a program makes once.

This is where everything is put together: names to functions (``registry``), calls to runs (``client``), runs to executions
(``runtime``). Nothing is opened at import; the database is opened at first use.
"""

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from mainspring.client import Batches, Client, LimitsAtWork, Queues, Runs
from mainspring.codec import BlobStore, Codec, keeping_of
from mainspring.config import default_database, default_transport, follow
from mainspring.context import Context
from mainspring.core import retry
from mainspring.core.capacity import Overflow
from mainspring.core.collecting import Collect
from mainspring.core.debounce import Debounce, OnSingleton
from mainspring.core.durations import Duration, parse_duration
from mainspring.core.limits import Limit, Rate
from mainspring.core.names import check_name, hashed_key
from mainspring.errors import CapabilityUnsupported, InvalidOption
from mainspring.operations.views import WorkerView
from mainspring.options import Kept, KeyOption, KeyTtl, SpanOption, checked_limits
from mainspring.registry import ExecutorKind, FailureDetail, Registry
from mainspring.runtime.links import Delivering, Links
from mainspring.runtime.outboxing import Outbox
from mainspring.runtime.outboxing import Relay as OutboxRelay
from mainspring.store.database import Capabilities
from mainspring.system import RealSystem, process_name
from mainspring.tasks import CollectDecorator, Decorator, Task
from mainspring.telemetry.metrics import Metrics, Served
from mainspring.transports import Message, Transport

if TYPE_CHECKING:
    from mainspring.client.dead_letters import DeadLetters
    from mainspring.client.schedules import Schedules
    from mainspring.client.ticking import Tick
    from mainspring.core.rules import Rule
    from mainspring.runtime.delivered import Delivered
    from mainspring.runtime.hosting import WorkerProcess

P = ParamSpec("P")
R = TypeVar("R")

#: Set while a sandboxed test has children (``mainspring.testing``): its process id. The sandbox is in that process alone, so an app
#: of any other that would open its own database instead is refused.
SANDBOXED_BY = "MAINSPRING_TEST_SANDBOX"


class App:
    """Your tasks and one database.

    ``database`` is a URL, ``sqlite:///path.db`` or ``postgresql://…``; without one, ``MAINSPRING_DATABASE`` or a file
    ``mainspring.db`` in the current folder. A SQLite file is created and brought up to date by itself; PostgreSQL is migrated on
    request (``app.migrate()``, ``mainspring db migrate``).

    ``transport`` carries hints of new work between processes: ``redis://…``, ``nats://…``, a ``Transport``, or (``auto``) the
    database itself. It may be down: new work is then found by the poll. ``tracing`` makes OpenTelemetry spans of what is enqueued
    and run (True) or none (False); left out, they are made where the program has set a tracer provider.

    ``codec`` (``Encrypted(...)``) seals payloads, results, checkpoints and what is told of failures before they are stored.
    ``blobs`` (``Directory(...)``, ``Objects(...)``) takes payloads and results over 256 KiB, up to 2 MiB. ``redact`` names texts
    and patterns to hide in messages, tracebacks and progress notes, beside what looks like a secret; ``failure_detail="code"``
    keeps of a failure its code, and of its text only what the task itself said with ``Fail`` or ``Retry``.

    ``run_ttl`` (30 days), ``result_ttl`` (7 days, ``"0s"`` keeps none) and ``receipt_ttl`` (tracebacks, 14 days) say how long what
    has ended is kept; those of a queue, and of a task, say it for theirs. It is captured with each run. Runs with an open dead
    letter stay as they are.
    """

    def __init__(
        self,
        name: str,
        *,
        database: str | None = None,
        namespace: str = "default",
        queue: str = "default",
        transport: str | Transport | None = None,
        tracing: bool | None = None,
        codec: Codec | None = None,
        blobs: BlobStore | None = None,
        redact: Sequence[str | re.Pattern[str]] = (),
        failure_detail: FailureDetail = "full",
        limits: Sequence[Limit | Rate] = (),
        run_ttl: Duration | None = None,
        result_ttl: Duration | None = None,
        receipt_ttl: Duration | None = None,
    ) -> None:
        self.name = check_name(name, "app name")
        self.keeping = keeping_of(codec, blobs, redact, follow)
        self.namespace = check_name(namespace, "namespace")
        kept = Kept.checked(run_ttl, result_ttl, receipt_ttl)
        self.registry = Registry(queue=queue, largest=self.keeping.largest, failure_detail=failure_detail, kept=kept)
        self._url = database
        self._limits = checked_limits(limits, "limits", keys=False)
        self._wanted_transport = transport
        self._tracing = tracing
        self._metrics: Metrics | None = None
        self._client: Client | None = None
        self._lent: Client | None = None
        self._links: Links | None = None
        self._delivering: dict[str, Delivering] = {}
        self._lock = threading.RLock()

    # -- declaring --------------------------------------------------------------------------------------------------

    def queue(
        self,
        name: str,
        *,
        limit: int | None = None,
        limits: Sequence[Limit | Rate] = (),
        max_waiting: int | None = None,
        overflow: Overflow = "refuse",
        delivery: str | Transport | None = None,
        dispatch: str = "eager",
        dispatch_timeout: Duration | None = None,
        run_ttl: Duration | None = None,
        result_ttl: Duration | None = None,
        receipt_ttl: Duration | None = None,
    ) -> str:
        """Declare a queue. ``limit``: at most so many of its runs at once, over the whole fleet; ``limits`` says it in full, for
        each concurrency key too: ``[Limit(50), Limit(5, each_key=True), Rate(100, per="1s", burst=20)]``. An operator may change
        them.

        ``max_waiting``: so many runs may wait in it, and ``overflow`` says what becomes of one more: it is refused (``QueueFull``),
        put on record as skipped (``"skip"``), or takes the place of the oldest that is queued (``"drop_oldest"``).

        ``delivery`` is a transport (or its URL) that is told of each run by name, for workers that do not poll
        (``execute_delivery``): ``dispatch="eager"`` right after the commit, ``"deferred"`` by the next worker. With
        ``dispatch_timeout`` a slot of the limit is kept for each run before it is told of, for so long.

        ``run_ttl``, ``result_ttl`` and ``receipt_ttl`` say how long its runs are kept, as those of ``App``.

        Returns the name, to be used as ``queue=`` of tasks.
        """
        kept = Kept.checked(run_ttl, result_ttl, receipt_ttl)
        added = self.registry.add_queue(name, limit, limits, max_waiting, overflow, kept)
        if delivery is not None:
            self._delivering[added] = Delivering.checked(
                added, delivery, dispatch, dispatch_timeout, is_limited=limit is not None or bool(limits)
            )
        return added

    def execute_delivery(self, message: Message | bytes | str) -> "Delivered":
        """Execute the run that a message of a queue with ``delivery=`` names, here and now: the worker of a process that is called.

        One that is stale, doubled or made up executes nothing, and the answer says why. Returns when the outcome is durable; how
        the attempt ended is the run's to say.

        Raises:
            StorageUnavailable, StorageConflict, CommitUnknown: the message may be given again.
        """
        return self.worker().execute_delivery(message)

    async def aexecute_delivery(self, message: Message | bytes | str) -> "Delivered":
        """``execute_delivery`` for an event loop."""
        return await self.worker().aexecute_delivery(message)

    def limit(self, name: str, *limits: Limit | Rate) -> str:
        """Declare a named limit, of which tasks take units: ``gpu = app.limit("gpu", Limit(4))``, ``@app.task(uses={gpu: 2})``."""
        return self.registry.add_pool(name, limits)

    @staticmethod
    def key(*parts: str | int) -> str:
        """A key made of what may be no key, or is nobody's to read: ids from elsewhere, addresses, whole documents. It is a hash of
        the parts, the same everywhere and for ever: ``send.options(key=app.key("receipt", address))``.

        Raises:
            InvalidOption: a part that is neither text nor a whole number.
        """
        return hashed_key(*parts)

    @overload
    def task(self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        queue: str | None = None,
        priority: int = 0,
        max_attempts: int | None = None,
        retries: int | None = None,
        max_interruptions: int = 10,
        max_releases: int | None = None,
        backoff: retry.Backoff | Sequence[Duration] | retry.DelayFunction | None = None,
        jitter: float = retry.DEFAULT_JITTER,
        retry_on: Sequence[type[BaseException]] | type[BaseException] = (),
        never_on: Sequence[type[BaseException]] | type[BaseException] = (),
        timeout: Duration | None = "1h",
        heartbeat_timeout: Duration | None = None,
        run_ttl: Duration | None = None,
        result_ttl: Duration | None = None,
        receipt_ttl: Duration | None = None,
        grace: Duration = "30s",
        key: KeyOption = None,
        key_ttl: KeyTtl | None = None,
        singleton: KeyOption = None,
        on_singleton: OnSingleton | None = None,
        debounce: Debounce | None = None,
        throttle: Duration | None = None,
        concurrency_key: KeyOption = None,
        requires: Mapping[str, str] | None = None,
        uses: Mapping[str, int] | None = None,
        limits: Sequence[Limit | Rate] = (),
        deadline: SpanOption = None,
        expires: SpanOption = None,
        version: int = 1,
        failure_detail: FailureDetail | None = None,
        executor: ExecutorKind = "auto",
    ) -> "Decorator": ...

    @overload
    def task(self, *, collect: Collect, **options: Any) -> "CollectDecorator": ...

    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # type: ignore[misc]  # typed above
        """Make a function a task: ``@app.task`` or ``@app.task(queue="mail", max_attempts=5, timeout="30s")``.

        An ``async def`` runs on the worker's event loop, a ``def`` in a thread, or in a process of its own with
        ``executor="process"``. A first parameter annotated ``Context`` is given the attempt's context and is not part of the
        payload.

        Raises:
            InvalidOption, DuplicateTask, UnknownQueue: at import, naming the option and what to write.
        """
        if function is not None:
            return Decorator(self, {})(function)
        return Decorator(self, options)

    def schedule(
        self, name: str, rule: "Rule", *, payload: Mapping[str, Any] | None = None, **options: Any
    ) -> Callable[[Task[P, R]], Task[P, R]]:
        """Run a task by a rule: above ``@app.task``, ``@app.schedule("billing/nightly", cron("30 2 * * *", tz="Europe/Berlin"))``.

        ``payload`` names its arguments; ``options`` are those of ``client.schedules.put``. The schedule is put as the app opens its
        database, so the newest deploy says what it is; pausing it is the operator's, and stays.

        Raises:
            InvalidOption: at import: the payload does not fit the task, or a schedule of that name was declared before.
        """
        from mainspring.client.schedules import Declared

        return lambda task: self.registry.schedule(task, Declared.of(name, rule, task.call(**(payload or {})).request, options))

    # -- using ------------------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """Calls by name on this app's database; opened at first use."""
        with self._lock:
            if self._lent is not None:
                return self._lent
            if self._client is None:
                self._client = self._connect()
            return self._client

    @property
    def runs(self) -> Runs:
        """Looking at runs, and acting on them."""
        return self.client.runs

    @property
    def queues(self) -> Queues:
        """Looking at queues, and steering them."""
        return self.client.queues

    @property
    def schedules(self) -> "Schedules":
        """Looking at schedules, and steering them."""
        return self.client.schedules

    @property
    def batches(self) -> Batches:
        """Looking at batches, and steering them."""
        return self.client.batches

    @property
    def limits(self) -> LimitsAtWork:
        """Looking at limits, and changing them."""
        return self.client.limits

    @property
    def dead_letters(self) -> "DeadLetters":
        """Runs that used up a budget: looking at them, replaying and dismissing them."""
        return self.client.dead_letters

    @property
    def workers(self) -> list[WorkerView]:
        """The workers of this namespace, newest first."""
        return self.client.workers()

    def tick(self, *, every: Duration = "10s") -> "Tick":
        """One pass of maintenance, for those who run no worker all the time; see ``Client.tick``."""
        return self.client.tick(every=every)

    async def atick(self, *, every: Duration = "10s") -> "Tick":
        """``tick`` for an event loop."""
        return await asyncio.to_thread(self.tick, every=every)

    @property
    def capabilities(self) -> Capabilities:
        """What this app's database promises, as flags. What one denies is refused before any effect."""
        promised: Capabilities = self.client.database.capabilities
        return promised

    def observe(self) -> Metrics:
        """Count from now on what this process does with this app; see ``mainspring.telemetry.metrics.registry``.

        Raises:
            CapabilityUnsupported: prometheus-client is not installed.
        """
        with self._lock:
            if self._metrics is None:
                self._metrics = Metrics(lambda: self.client.database, self.namespace)
            if self._client is not None:
                self._client.observe(self._metrics)
            return self._metrics

    def connection(self) -> AbstractContextManager[Any]:
        """SQLite: a connection (apsw) inside one write transaction, for your own statements and ``options(using=…)``.

        It commits when the block ends, and rolls back on an error. Other writers wait meanwhile: keep it short.

        Raises:
            CapabilityUnsupported: on PostgreSQL, where any connection of yours will do.
        """
        database = self.client.database
        database.capabilities.require("lends_connections", "pass a connection of your own to options(using=…)")
        handed_out: AbstractContextManager[Any] = database.exclusive()
        return handed_out

    def outbox(self, connection: Any) -> Outbox:
        """Runs beside your data in another database: ``app.outbox(connection).enqueue(send.call(order))`` writes a row into the
        transaction of ``connection`` (psycopg, sqlite3, or SQLAlchemy over one of them), with the run id already chosen.

        Raises:
            InvalidOption: a connection that cannot be used so. ForeignSqlite: it is to the app's own file.
        """
        opened = self._lent or self._client
        system = RealSystem() if opened is None else opened.system
        return Outbox(lambda: self.client, connection, ours=self._database_url(), system=system, keeping=self.keeping)

    def outbox_relay(self, connect: Callable[[], Any]) -> OutboxRelay:
        """What moves the rows of an outbox into this app's database: ``app.outbox_relay(lambda: psycopg.connect(url)).start()``.

        ``connect`` opens a connection to their database that nobody else uses. Rows are moved at least once, in the order in which
        they were written, and the run id makes it once.
        """
        return OutboxRelay(lambda: self.client, connect, ours=self._database_url())

    def migrate(self) -> list[str]:
        """Bring the database to this code's schema; the names of the steps applied."""
        if self._lent is not None:
            return self._lent.migrate()
        client = Client(self._database_url(), namespace=self.namespace)
        try:
            return client.migrate()
        finally:
            client.close()

    def close(self) -> None:
        """Give back connections, files and threads. The next use opens them again."""
        with self._lock:
            if self._lent is not None:
                return  # whoever lent it closes it; what was open before stays for afterwards
            if self._links is not None:
                self._links.close()
            if self._client is not None:
                self._client.close()
            self._client = self._links = None

    def _database_url(self) -> str:
        return default_database() if self._url is None else self._url

    @contextlib.contextmanager
    def _borrowing(self, client: Client) -> Iterator[None]:
        """For ``mainspring.testing``: everything asked of this app goes to ``client`` while the block lasts, and nothing to the
        app's own database.

        Raises:
            InvalidOption: it goes to a borrowed client already.
        """
        with self._lock:
            if self._lent is not None:
                raise InvalidOption(f"app {self.name!r} is in a sandbox already; leave that one first", option="app")
            self.registry.declare(client, self._limits)
            client.find_task = self.registry.get
            self._lent = client
        try:
            yield
        finally:
            with self._lock:
                self._lent = None

    def _connect(self) -> Client:
        if os.environ.get(SANDBOXED_BY, str(os.getpid())) != str(os.getpid()):
            raise CapabilityUnsupported(
                f"app {self.name!r} is in a sandbox, which this process cannot reach; drain(app) without processes=True "
                "runs such tasks where the sandbox is"
            )
        client = Client(self._database_url(), namespace=self.namespace, actor=f"app:{self.name}", keeping=self.keeping)
        client.tracing = self._tracing
        client.find_task = self.registry.get
        if self._metrics is not None:
            client.observe(self._metrics)
        _ = client.database  # storage starts first, and closes last
        try:
            self.registry.declare(client, self._limits)
            self._links = Links(client, self._wanted_transport or default_transport(), self._delivering)
        except BaseException:
            client.close()
            raise
        return client

    # -- working ----------------------------------------------------------------------------------------------------

    def worker(
        self,
        *,
        queues: Sequence[str] | Mapping[str, int] | None = None,
        capabilities: Mapping[str, str] | None = None,
        concurrency: int = 16,
        processes: int = 1,
        poll: Duration = "1s",
        lease: Duration = "30s",
        grace: Duration = "30s",
        name: str | None = None,
        metrics_port: int | None = None,
    ) -> "WorkerProcess":
        """A worker of this app, not started yet.

        ``queues`` names those it serves, strictly by priority, or gives each a weight: ``{"mail": 4, "*": 1}`` shares its claims,
        and an empty queue's part goes to the others. ``capabilities`` says what it is, for tasks that ``requires=`` something.
        ``concurrency`` attempts run at once. ``lease`` is how long the worker's runs stay its own without a sign of life; ``grace``
        how long running attempts may take to end when it is stopped. ``metrics_port`` serves Prometheus metrics on the loopback
        address while it runs. ``processes`` worker processes do all that, each with ``concurrency`` places, and those that die are
        replaced; each imports the app anew, so it must be a variable of a module. Metrics: a port each, counting up.

        Raises:
            InvalidOption, UnknownQueue: naming the option and what to write.
        """
        from mainspring.runtime.hosting import WorkerProcess  # what executes runs is not for those who only ask for them
        from mainspring.runtime.supervisor import crew_of
        from mainspring.runtime.worker import WorkerPlan

        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 1 <= concurrency <= 10_000:
            raise InvalidOption(f"concurrency must be from 1 to 10000, not {concurrency!r}", option="concurrency")
        if isinstance(queues, str):
            raise InvalidOption(f"queues must be a list of names; write queues=[{queues!r}]", option="queues")
        ttl_us = parse_duration(lease, option="lease")
        if ttl_us < 1_000_000:
            raise InvalidOption(f'lease must be at least "1s", not {lease!r}', option="lease")
        poll_us = parse_duration(poll, option="poll")
        if poll_us < 1_000:
            raise InvalidOption(f'poll must be at least "1ms", not {poll!r}', option="poll")
        self.registry.check()
        plan = WorkerPlan(
            id=check_name(name, "worker name") if name is not None else process_name(),
            namespace=self.namespace,
            queues=self.registry.weights(queues),
            tasks=self.registry.versions(),
            capabilities=dict(capabilities or {}),
            concurrency=concurrency,
            ttl_us=ttl_us,
            poll_seconds=poll_us / 1e6,
        )
        grace_seconds = parse_duration(grace, option="grace") / 1e6
        given = {
            "queues": queues, "capabilities": capabilities, "concurrency": concurrency, "poll": poll, "lease": lease,
            "grace": grace, "name": name, "metrics_port": metrics_port,
        }  # fmt: skip
        crew = None if processes == 1 else crew_of(self, processes, self._database_url(), self._settings, given)
        served = None if crew is not None or metrics_port is None else Served(self.observe(), metrics_port)
        return WorkerProcess(lambda: self.client, self.registry, plan, grace_seconds=grace_seconds, crew=crew, served=served)

    def _settings(self) -> dict[str, str]:
        """What a process of this app needs in its environment, to use what this one uses."""
        transport = default_transport()
        found = {"MAINSPRING_DATABASE": self._database_url()}
        return found | ({"MAINSPRING_TRANSPORT": transport} if isinstance(transport, str) else {})

    @contextlib.asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator["App"]:
        """A worker in this event loop for as long as the block lasts (FastAPI lifespan, tests); options as of ``worker``."""
        async with self.worker(**options).hosted():
            yield self
