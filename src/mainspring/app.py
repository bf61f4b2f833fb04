"""``App``: your tasks, one database, and the workers that run them. The object a program makes once.

This is where everything is put together: names to functions (``registry``), calls to runs (``client``), runs to executions
(``runtime``). Nothing is opened at import; the database is opened at first use.
"""

import contextlib
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from mainspring.client import BatchHandle, Client, Handle, LimitsAtWork, Queues, Request, Runs
from mainspring.codec import BlobStore, Codec, keeping_of
from mainspring.config import default_database, default_transport, follow
from mainspring.context import Context
from mainspring.core import retry
from mainspring.core.durations import Duration, parse_duration
from mainspring.core.limits import Limit, Rate, Scope
from mainspring.core.names import check_name
from mainspring.errors import CapabilityUnsupported, InvalidOption
from mainspring.operations.batches import FiresOn
from mainspring.operations.views import WorkerView
from mainspring.registry import ExecutorKind, FailureDetail, KeyOption, Options, Registry, SpanOption, TaskSpec, checked_limits
from mainspring.runtime.hosting import WorkerProcess
from mainspring.runtime.worker import WorkerPlan
from mainspring.system import process_name
from mainspring.telemetry.metrics import Metrics, Served
from mainspring.transports import Notifier, Transport, is_silent, open_transport

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S", bound=Callable[[dict[str, Any]], dict[str, Any]])

#: Set while a sandboxed test has children (``mainspring.testing``): its process id. The sandbox is in that process alone, so an app
#: of any other that would open its own database instead is refused.
SANDBOXED_BY = "MAINSPRING_TEST_SANDBOX"


class Call(Generic[R_co]):
    """An unsent request: a task with its arguments and options, to be put into a batch."""

    __slots__ = ("_app", "request")

    def __init__(self, app: "App", request: Request) -> None:
        self._app = app
        self.request = request


class Task(Generic[P, R]):
    """A function that can also be enqueued. Calling it runs it, here and now, and records nothing."""

    def __init__(self, app: "App", spec: TaskSpec, function: Callable[..., Any], options: Options) -> None:
        self._app = app
        self._options = options
        self.spec = spec
        self.function = function
        self.__wrapped__ = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__

    @property
    def name(self) -> str:
        """The task's name, part of stored data."""
        return self.spec.name

    def upcast(self, *, from_version: int) -> Callable[[S], S]:
        """Make a function the step that turns a payload of ``from_version`` into one of the next: from a dict to a dict.

        The payload of a run that was made before the task's ``version=`` went up goes through the steps in order, and is then
        validated. One that cannot be read parks the run (``needs_attention``), with nothing spent.

        Raises:
            InvalidOption: no such version, or it has a step already.
        """
        return lambda step: self.spec.upcasters.add(from_version, step)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Task({self.name!r})"

    def options(
        self,
        *,
        queue: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | str | None = None,
        key: KeyOption = None,
        key_ttl: Duration | None = None,
        singleton: KeyOption = None,
        concurrency_key: KeyOption = None,
        requires: Mapping[str, str] | None = None,
        uses: Mapping[str, int] | None = None,
        deadline: SpanOption = None,
        expires: SpanOption = None,
        max_attempts: int | None = None,
        timeout: Duration | None = None,
        using: Any = None,
    ) -> "Task[P, R]":
        """The same task with other options for the calls made through it. The task itself does not change.

        ``using`` is a connection with an open transaction of yours: the run exists if and only if that commits.

        Raises:
            InvalidOption: naming the option and what to write.
        """
        changed = self._app.registry.changed(
            self._options,
            queue=queue,
            priority=priority,
            delay=delay,
            at=at,
            key=key,
            key_ttl=key_ttl,
            singleton=singleton,
            concurrency_key=concurrency_key,
            requires=requires,
            uses=uses,
            deadline=deadline,
            expires=expires,
            max_attempts=max_attempts,
            timeout=timeout,
            using=using,
        )
        return Task(self._app, self.spec, self.function, changed)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Create a run of this task. Durable when this returns.

        Raises:
            PayloadInvalid, PayloadTooLarge: the arguments do not fit; nothing was created.
            KeyConflict: the key belongs to a run with another payload.
            StorageUnavailable: the database cannot be reached; nothing was created.
        """
        (handle,) = self._app.client.submit([self._request(args, kwargs)], using=self._options.using)
        return handle

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """``enqueue`` for an event loop."""
        (handle,) = await self._app.client.asubmit([self._request(args, kwargs)], using=self._options.using)
        return handle

    def enqueue_many(self, items: Sequence[tuple[Any, ...] | Mapping[str, Any]]) -> list[Handle[R]]:
        """Create a run for each item (a tuple of arguments, or a mapping of named ones): all in one transaction, or none.

        Raises:
            PayloadInvalid: an item does not fit; the message says which. Nothing was created.
        """
        return self._app.client.submit(self._requests(items), using=self._options.using)

    async def aenqueue_many(self, items: Sequence[tuple[Any, ...] | Mapping[str, Any]]) -> list[Handle[R]]:
        """``enqueue_many`` for an event loop."""
        return await self._app.client.asubmit(self._requests(items), using=self._options.using)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """The request without sending it, for ``batch``."""
        return Call(self._app, self._request(args, kwargs))

    def _request(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        return self.spec.request(self._app.namespace, self._options, args, kwargs)

    def _requests(self, items: Sequence[tuple[Any, ...] | Mapping[str, Any]]) -> list[Request]:
        return self.spec.requests(self._app.namespace, self._options, items)


class Batch(Generic[R_co]):
    """Many runs and one more that starts when the last of them has ended; nothing is sent before ``enqueue``."""

    def __init__(self, members: "Sequence[Call[Any]]", then: "Call[R_co] | None", on: FiresOn) -> None:
        if on not in {"done", "all_succeeded"}:
            raise InvalidOption(f'on must be "done" or "all_succeeded", not {on!r}', option="on")
        if not members and then is None:
            raise InvalidOption("a batch without members and without then= is nothing", option="members")
        self._members = list(members)
        self._then = then
        self._on = on

    def enqueue(self) -> BatchHandle[R_co]:
        """Create the members and the callback, all or nothing."""
        some = self._then or self._members[0]
        then = self._then.request if self._then else None
        return some._app.client.submit_batch([call.request for call in self._members], then, fires_on=self._on)


def batch(members: "Sequence[Call[Any]]", *, then: "Call[R] | None" = None, on: FiresOn = "done") -> Batch[R]:
    """A batch: ``members`` run in any order; ``then`` starts once, after the last of them has ended.

    With ``on="all_succeeded"`` it starts only if all succeeded, and ends ``upstream_failed`` otherwise.
    """
    return Batch(members, then, on)


class App:
    """Your tasks and one database.

    ``database`` is a URL, ``sqlite:///path.db`` or ``postgresql://…``; without one, ``MAINSPRING_DATABASE`` or a file
    ``mainspring.db`` in the current folder. A SQLite file is created and brought up to date by itself; PostgreSQL is migrated on
    request (``app.migrate()``, ``mainspring db migrate``).

    ``transport`` carries hints of new work between processes: ``redis://…``, ``nats://…``, a ``Transport``, or (``auto``) the
    database itself. It may be down: new work is then found by the poll.

    ``codec`` (``Encrypted(...)``) seals payloads, results, checkpoints and what is told of failures before they are stored.
    ``blobs`` (``Directory(...)``, ``Objects(...)``) takes payloads and results over 256 KiB, up to 2 MiB. ``redact`` names texts
    and patterns to hide in messages, tracebacks and progress notes, beside what looks like a secret; ``failure_detail="code"``
    keeps of a failure its code, and of its text only what the task itself said with ``Fail`` or ``Retry``.
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
    ) -> None:
        self.name = check_name(name, "app name")
        self.keeping = keeping_of(codec, blobs, redact, follow)
        self.namespace = check_name(namespace, "namespace")
        self.registry = Registry(queue=queue, largest=self.keeping.largest, failure_detail=failure_detail)
        self._url = database
        self._limits = checked_limits(limits, "limits", keys=False)
        self._wanted_transport = transport
        self._tracing = tracing
        self._metrics: Metrics | None = None
        self._client: Client | None = None
        self._lent: Client | None = None
        self._notifier: Notifier | None = None
        self._lock = threading.RLock()

    # -- declaring --------------------------------------------------------------------------------------------------

    def queue(self, name: str, *, limit: int | None = None, limits: Sequence[Limit | Rate] = ()) -> str:
        """Declare a queue. ``limit``: at most so many of its runs at once, over the whole fleet; ``limits`` says it in full, for each
        concurrency key too: ``[Limit(50), Limit(5, each_key=True), Rate(100, per="1s", burst=20)]``. An operator may change them.

        Returns the name, to be used as ``queue=`` of tasks.
        """
        return self.registry.add_queue(name, limit, limits)

    def limit(self, name: str, *limits: Limit | Rate) -> str:
        """Declare a named limit, of which tasks take units: ``gpu = app.limit("gpu", Limit(4))``, ``@app.task(uses={gpu: 2})``."""
        return self.registry.add_pool(name, limits)

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
        backoff: retry.Backoff | Sequence[Duration] | None = None,
        jitter: float = retry.DEFAULT_JITTER,
        timeout: Duration = "1h",
        grace: Duration = "30s",
        key: KeyOption = None,
        key_ttl: Duration | None = None,
        singleton: KeyOption = None,
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

    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # type: ignore[misc]  # options are typed above
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
    def limits(self) -> LimitsAtWork:
        """Looking at limits, and changing them."""
        return self.client.limits

    @property
    def workers(self) -> list[WorkerView]:
        """The workers of this namespace, newest first."""
        return self.client.workers()

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
        if not hasattr(database, "exclusive"):
            raise CapabilityUnsupported("on PostgreSQL pass a connection of your own to options(using=…)")
        handed_out: AbstractContextManager[Any] = database.exclusive()
        return handed_out

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
            if self._notifier is not None:
                self._notifier.close()
            if self._client is not None:
                if self._client.transport is not None:
                    self._client.transport.close()
                self._client.close()
            self._client = self._notifier = None

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
            self._declare_queues(client)
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
        if self._metrics is not None:
            client.observe(self._metrics)
        _ = client.database  # storage starts first, and closes last
        try:
            self._declare_queues(client)
            self._start_transport(client)
        except BaseException:
            client.close()
            raise
        return client

    def _start_transport(self, client: Client) -> None:
        transport = open_transport(self._wanted_transport or default_transport(), client.database)
        transport.start()
        client.transport = transport
        if not is_silent(transport):
            self._notifier = Notifier(transport, self.namespace, now=client.system.now)
            client.after_commit(self._notifier.work)

    def _declare_queues(self, client: Client) -> None:
        registry = self.registry
        for queue, spec in registry.queues.items():
            client.queues.declare(queue, limits=spec.limits)
        said: list[tuple[Scope, str, Sequence[Limit | Rate]]] = [
            (Scope.NAMESPACE, "", self._limits),
            *((Scope.POOL, name, limits) for name, limits in registry.pools.items()),
            *((Scope.TASK, spec.name, spec.limits) for spec in registry.tasks()),
        ]
        for scope, name, limits in said:
            for limit in limits:
                client.limits.declare(scope, name, limit)

    # -- working ----------------------------------------------------------------------------------------------------

    def worker(
        self,
        *,
        queues: Sequence[str] | Mapping[str, int] | None = None,
        capabilities: Mapping[str, str] | None = None,
        concurrency: int = 16,
        poll: Duration = "1s",
        lease: Duration = "30s",
        grace: Duration = "30s",
        name: str | None = None,
        metrics_port: int | None = None,
    ) -> WorkerProcess:
        """A worker of this app, not started yet.

        ``queues`` names those it serves, strictly by priority, or gives each a weight: ``{"mail": 4, "*": 1}`` shares its claims, and
        an empty queue's part goes to the others. ``capabilities`` says what it is, for tasks that ``requires=`` something.
        ``concurrency`` attempts run at once. ``lease`` is how long the worker's runs stay its own without a sign of life;
        ``grace`` how long running attempts may take to end when it is stopped. ``metrics_port`` serves Prometheus metrics on the
        loopback address while it runs.

        Raises:
            InvalidOption, UnknownQueue: naming the option and what to write.
        """
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
            queues=self._weights(queues),
            tasks=self.registry.versions(),
            capabilities=dict(capabilities or {}),
            concurrency=concurrency,
            ttl_us=ttl_us,
            poll_seconds=poll_us / 1e6,
        )
        grace_seconds = parse_duration(grace, option="grace") / 1e6
        served = None if metrics_port is None else Served(self.observe(), metrics_port)
        return WorkerProcess(lambda: self.client, self.registry, plan, grace_seconds=grace_seconds, served=served)

    def _weights(self, queues: Sequence[str] | Mapping[str, int] | None) -> dict[str, int | None]:
        """The queues of a worker, and the part of its claims that each gets; ``*`` stands for all that are not named."""
        if not queues:
            return dict.fromkeys(self.registry.queues)
        if not isinstance(queues, Mapping):
            return dict.fromkeys(self.registry.known_queue(queue) for queue in queues)
        for queue, weight in queues.items():
            if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= 1000:
                raise InvalidOption(f"the weight of queue {queue!r} must be from 1 to 1000, not {weight!r}", option="queues")
        named = {self.registry.known_queue(queue): weight for queue, weight in queues.items() if queue != "*"}
        others = dict.fromkeys(self.registry.queues, queues["*"]) if "*" in queues else {}
        return {**others, **named}

    @contextlib.asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator["App"]:
        """A worker in this event loop for as long as the block lasts (FastAPI lifespan, tests); options as of ``worker``."""
        async with self.worker(**options).hosted():
            yield self


class Decorator:
    """``@app.task(...)`` with options, waiting for its function."""

    def __init__(self, app: App, options: Mapping[str, Any]) -> None:
        self._app = app
        self._options = options

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Register the function."""
        registry = self._app.registry
        if (queue := self._options.get("queue")) is not None:
            registry.known_queue(queue)
        spec = registry.add(function, **self._options)
        return Task(self._app, spec, function, spec.options)
