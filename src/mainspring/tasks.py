"""``Task``: a function that can also be enqueued, and the decorators that make one.

Here: what a program does with a task. Not here: what its options mean (``registry``), and what a call becomes (``client``).
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from mainspring import composing
from mainspring.client import BatchHandle, Handle, Request
from mainspring.client.streaming import OnChunk, stream
from mainspring.composing import Call
from mainspring.context import Context
from mainspring.core.attributes import Value as Attribute
from mainspring.core.debounce import Debounce, OnSingleton
from mainspring.core.dependencies import EndsAs
from mainspring.core.durations import Duration
from mainspring.errors import InvalidOption
from mainspring.options import KeyOption, KeyTtl, Options, SpanOption
from mainspring.registry import Registry, TaskSpec
from mainspring.waiting import in_thread

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
S = TypeVar("S", bound=Callable[[dict[str, Any]], dict[str, Any]])


class Home(composing.Home, Protocol):
    """The app of a task."""

    @property
    def registry(self) -> Registry: ...


class Task(Generic[P, R]):
    """A function that can also be enqueued. Calling it runs it, here and now, and records nothing."""

    def __init__(self, app: Home, spec: TaskSpec, function: Callable[..., Any], options: Options) -> None:
        self._app = app
        self._options = options
        self._about: Request | None = None  # what all its calls ask for, made with the first one
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
        key_ttl: KeyTtl | None = None,
        singleton: KeyOption = None,
        on_singleton: OnSingleton | None = None,
        debounce: Debounce | None = None,
        throttle: Duration | None = None,
        concurrency_key: KeyOption = None,
        requires: Mapping[str, str] | None = None,
        uses: Mapping[str, int] | None = None,
        deadline: SpanOption = None,
        expires: SpanOption = None,
        max_attempts: int | None = None,
        timeout: Duration | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        after: Sequence[Handle[Any] | BatchHandle[Any] | str] | None = None,
        on: EndsAs | None = None,
        using: Any = None,
    ) -> "Task[P, R]":
        """The same task with other options for the calls made through it. The task itself does not change.

        ``key`` is an idempotency key: a second call with it gets the run of the first, for ``key_ttl`` (30 d; ``"active"``: while
        that run lives). ``singleton`` lets one run live at a time; ``on_singleton`` says what becomes of a second call
        (``"existing"``, ``"skip"``, ``"replace"``), and ``debounce`` or ``throttle`` gather many calls into one run. ``attributes``
        are up to 32 small values (text, numbers, truth) by which ``app.runs.find`` finds the run. ``after`` names up to 1,000 runs
        or batches behind which the run begins, once each of them has ended as ``on`` says: ``succeeded``, ``failed``, or ``done``
        however it ends; if one ends otherwise, the run ends ``upstream_failed``. ``using`` is a connection with an open transaction
        of yours: the run exists if and only if that commits.

        Raises:
            InvalidOption: naming the option and what to write.
        """
        changed = self._app.registry.changed(
            self._options, queue=queue, priority=priority, delay=delay, at=at, key=key, key_ttl=key_ttl,
            singleton=singleton, on_singleton=on_singleton, debounce=debounce, throttle=throttle,
            concurrency_key=concurrency_key, requires=requires, uses=uses, deadline=deadline, expires=expires,
            max_attempts=max_attempts, timeout=timeout, attributes=attributes, after=after, on=on, using=using,
        )  # fmt: skip
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

    def enqueue_stream(
        self,
        items: Iterable[tuple[Any, ...] | Mapping[str, Any]],
        *,
        chunk: int = 1_000,
        on_chunk: OnChunk[R] | None = None,
    ) -> int:
        """``enqueue_many`` for as many items as there are: each chunk is a transaction of its own. The index of the last item that
        is committed, counted from 0. ``on_chunk(last, handles)`` is called after each commit; an error of ours names the last one
        too, as ``details["last_committed"]``, so that a caller may go on behind it.

        Raises:
            InvalidOption: ``using=``, or a chunk of less than one or more than 10,000. Else as ``enqueue_many``.
        """
        if self._options.using is not None:
            raise InvalidOption("enqueue_stream commits chunk by chunk, so it takes no using=; call enqueue_many", option="using")
        return stream(self.enqueue_many, items, chunk=chunk, on_chunk=on_chunk)

    async def aenqueue_many(self, items: Sequence[tuple[Any, ...] | Mapping[str, Any]]) -> list[Handle[R]]:
        """``enqueue_many`` for an event loop."""
        return await self._app.client.asubmit(self._requests(items), using=self._options.using)

    def run_now(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """Create a run and run one attempt of it here, now: no worker is needed, and what a worker promises holds: limits, lease,
        fence, ledger. Its result is there when this returns; a retry or a release is left to workers. If a key of it has an owner,
        this is that run's handle (``existing``), and nothing was executed.

        Raises:
            QueuePaused, NoCapacity: it may not begin now; nothing was created. PayloadInvalid, KeyConflict: as of ``enqueue``.
        """
        from mainspring.runtime.single import in_a_loop  # what executes runs is not for those who only ask for them

        return in_a_loop(lambda: self.arun_now(*args, **kwargs))

    async def arun_now(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """``run_now`` in this event loop. Cancelled, it cuts the attempt off, which goes back to be run by a worker."""
        client = await in_thread(lambda: self._app.client)
        from mainspring.runtime.single import run_now

        return await run_now(client, self._app.registry, self._request(args, kwargs), using=self._options.using)

    def find_current(self, *, key: str) -> Handle[R] | None:
        """The run that a call with this idempotency key would get now, None if it would create one. Advice, for it may change at
        once: nothing but the enqueue decides."""
        return self._app.client.keys.current(self.name, key, self.spec.decode_result)

    def find_active(self, *, singleton: str) -> Handle[R] | None:
        """The live run of a singleton, if there is one. Advice, for it may end at once."""
        return self._app.client.keys.active(self.name, singleton, self.spec.decode_result)

    async def afind_current(self, *, key: str) -> Handle[R] | None:
        """``find_current`` for an event loop."""
        return await in_thread(lambda: self.find_current(key=key))

    async def afind_active(self, *, singleton: str) -> Handle[R] | None:
        """``find_active`` for an event loop."""
        return await in_thread(lambda: self.find_active(singleton=singleton))

    @overload
    def call(self) -> Call[R]: ...
    @overload
    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]: ...

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The request without sending it, for ``batch`` and ``chain``. A chain may bring the first argument.

        Raises:
            PayloadInvalid, PayloadTooLarge: the arguments do not fit.
        """
        return Call(self._app, self.spec, self._options, args, kwargs)

    def _request(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        return self.spec.request(self._about or self._settled(), self._options, args, kwargs)

    def _requests(self, items: Sequence[tuple[Any, ...] | Mapping[str, Any]]) -> Sequence[Request]:
        return self.spec.requests(self._about or self._settled(), self._options, items)

    def _settled(self) -> Request:
        self._about = self.spec.about(self._app.namespace, self._options)
        return self._about


class CollectDecorator(Protocol):
    """``@app.task(collect=...)``: the function takes a list, and a call gives one of it."""

    @overload
    def __call__(self, function: Callable[[list[T], Context], Coroutine[Any, Any, list[R]]], /) -> Task[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[list[T], Context], list[R]], /) -> Task[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], Coroutine[Any, Any, list[R]]], /) -> Task[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], list[R]], /) -> Task[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[list[T], Context], Coroutine[Any, Any, R]], /) -> Task[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[list[T], Context], R], /) -> Task[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], Coroutine[Any, Any, R]], /) -> Task[[T], R]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], R], /) -> Task[[T], R]: ...


class Decorator:
    """``@app.task(...)`` with options, waiting for its function."""

    def __init__(self, app: Home, options: Mapping[str, Any]) -> None:
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
