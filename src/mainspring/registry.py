"""Tasks by name: from a function to everything a run of it needs to know. An object, not a global.

Here: what the options of a task mean and how a call becomes a ``Request``. Not here: databases (``client``), workers (``runtime``).
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_type_hints

from mainspring import codec
from mainspring.client import Client, Request, with_bodies
from mainspring.context import Context
from mainspring.core import retry
from mainspring.core.capacity import Overflow, check_bound
from mainspring.core.collecting import Collect
from mainspring.core.dependencies import Condition
from mainspring.core.durations import Duration
from mainspring.core.lanes import Lane
from mainspring.core.launch import TARGETS
from mainspring.core.limits import Limit, Rate, Scope
from mainspring.core.names import check_name
from mainspring.errors import DuplicateTask, InvalidOption, PayloadInvalid, PayloadTooLarge, UnknownQueue, UnknownTask, shown
from mainspring.operations.enqueue import DEFAULT_KEY_TTL, policy_row
from mainspring.options import (
    OWN_OPTIONS,
    POLICY_OPTIONS,
    UNSAID,
    Kept,
    Options,
    bounded_by,
    called,
    changed,
    checked_limits,
    one_of_many,
    policy_of,
    refuse_unknown,
    whole,
)

ExecutorKind = Literal["auto", "async", "thread", "process"]
FailureDetail = Literal["full", "code"]

if TYPE_CHECKING:
    from mainspring.client.schedules import Declared

T = TypeVar("T")

_KINDS = ("auto", "async", "thread", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """What code says of a queue."""

    limits: tuple[Limit | Rate, ...] = ()
    max_waiting: int | None = None
    overflow: Overflow = "refuse"
    kept: Kept = UNSAID


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task: a function under a name, with its payload schema and policies."""

    name: str
    function: Callable[..., Any]
    schema: codec.PayloadSchema
    executor: Literal["async", "thread", "process"]
    version: int
    fingerprint: str
    limits: tuple[Limit | Rate, ...]
    options: Options
    decode_result: Callable[[bytes], Any]
    upcasters: codec.Upcasters
    failure_detail: FailureDetail = "full"
    delay: retry.DelayFunction | None = None
    collect: Collect | None = None

    def request(self, about: Request, options: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """What a call asks for, checked and encoded; ``about`` is everything else about it.

        Raises:
            PayloadInvalid, PayloadTooLarge: the arguments do not fit; nothing was created.
        """
        if codec.references(args, kwargs):
            return self._around(about, options, args, kwargs)
        request = about._replace(body=self.schema.encode(args, kwargs))
        if options.is_plain:
            return request
        key = called(options.concurrency_key, "concurrency_key", args, kwargs)
        deadline_at, deadline_in = bounded_by(options.deadline, "deadline", args, kwargs)
        expires_at, expires_in = bounded_by(options.expires, "expires", args, kwargs)
        return request._replace(
            lane=request.lane if key is None else replace(request.lane, concurrency_key=key),
            key=called(options.key, "key", args, kwargs),
            singleton=called(options.singleton, "singleton", args, kwargs),
            deadline_at=deadline_at,
            deadline_in=deadline_in,
            expires_at=expires_at,
            expires_in=expires_in,
        )

    def _around(self, request: Request, options: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """A call some of whose arguments are results of other runs, behind which it waits."""
        if not options.is_plain:
            raise InvalidOption(
                "a call with result_of() takes no key=, singleton=, concurrency_key=, deadline= or expires=", option="result_of"
            )
        body, inputs = codec.encode_around(self.schema, args, kwargs, codec.run_of)
        upstreams = dict.fromkeys(inputs.values(), Condition.SUCCEEDED) | dict(request.after)
        return request._replace(body=codec.with_inputs(body, inputs), after=tuple(upstreams.items()))

    def about(self, namespace: str, options: Options) -> Request:
        """Everything about a call but its payload and keys: the same for all calls with these options."""
        return Request(
            lane=_lane(
                namespace,
                options.queue,
                self.name,
                options.priority,
                self.version,
                self.fingerprint,
                options.requires,
                options.uses,
            ),
            policy=policy_row(options.policy),
            body=b"",
            due_at=options.due_at,
            delay=options.delay,
            key_ttl=DEFAULT_KEY_TTL if options.key_ttl is None else options.key_ttl,
            decode=self.decode_result,
            attributes=options.attributes,
            on_singleton=options.on_singleton or "existing",
            debounce=options.debounce,
            after=tuple((upstream, options.on) for upstream in options.after),
        )

    def requests(self, about: Request, options: Options, items: Sequence[tuple[Any, ...] | Mapping[str, Any]]) -> Sequence[Request]:
        """What many calls ask for: each item a tuple of arguments or a mapping of named ones.

        Raises:
            PayloadInvalid, PayloadTooLarge: naming the first item that does not fit; nothing was created.
        """
        calls = [_as_call(item) for item in items]
        bodies = self._bodies(calls)
        if options.is_plain:
            return with_bodies(about, bodies)
        return [self.request(about, options, *call) for call in calls]

    def _bodies(self, calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[bytes]:
        encode, bodies = self.schema.encode, list[bytes]()
        try:
            for args, kwargs in calls:
                bodies.append(encode(args, kwargs))
        except (PayloadInvalid, PayloadTooLarge) as error:
            place = len(bodies)
            raise type(error)(f"item {place}: {error.message}", **error.details | {"item": place}) from None
        return bodies


class Registry:
    """The tasks of one app."""

    def __init__(
        self, *, queue: str, largest: int = codec.LARGEST, failure_detail: FailureDetail = "full", kept: Kept = UNSAID
    ) -> None:
        self._largest = largest
        self._kept = kept
        self._failure_detail: FailureDetail = _detail(failure_detail)
        self.default_queue = check_name(queue, "queue")
        self.queues: dict[str, QueueSpec] = {self.default_queue: QueueSpec()}
        self.pools: dict[str, tuple[Limit | Rate, ...]] = {}
        self.around: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function  # what each task runs inside
        self.schedules: dict[str, Declared] = {}
        self._tasks: dict[str, TaskSpec] = {}
        self._aliases: dict[str, str] = {}

    def declare(self, client: Client, limits: Sequence[Limit | Rate]) -> None:
        """Tell a database what code says of queues, limits (``limits`` are the namespace's) and schedules. What an operator said
        stays."""
        for queue, spec in self.queues.items():
            client.queues.declare(queue, limits=spec.limits, max_waiting=spec.max_waiting, overflow=spec.overflow)
        said: list[tuple[Scope, str, Sequence[Limit | Rate]]] = [
            (Scope.NAMESPACE, "", limits),
            *((Scope.POOL, name, of_pool) for name, of_pool in self.pools.items()),
            *((Scope.TASK, each.name, each.limits) for each in self.tasks()),
        ]
        for scope, name, each_of in said:
            for limit in each_of:
                client.limits.declare(scope, name, limit)
        for declared in self.schedules.values():
            declared.put(client)

    def weights(self, queues: Sequence[str] | Mapping[str, int] | None) -> dict[str, int | None]:
        """The queues of a worker, and the part of its claims that each gets; ``*`` stands for all that are not named."""
        if not queues:
            return dict.fromkeys(self.queues)
        if not isinstance(queues, Mapping):
            return dict.fromkeys(self.known_queue(queue) for queue in queues)
        for queue, weight in queues.items():
            if not isinstance(weight, int) or isinstance(weight, bool) or not 1 <= weight <= 1000:
                raise InvalidOption(f"the weight of queue {queue!r} must be from 1 to 1000, not {weight!r}", option="queues")
        named = {self.known_queue(queue): weight for queue, weight in queues.items() if queue != "*"}
        others = dict.fromkeys(self.queues, queues["*"]) if "*" in queues else {}
        return {**others, **named}

    def schedule(self, task: T, declared: "Declared") -> T:
        """Have a task run by a rule.

        Raises:
            InvalidOption: another schedule has that name.
        """
        if declared.name in self.schedules:
            raise InvalidOption(f"two schedules named {declared.name!r}; give one another name", option="name")
        self.schedules[declared.name] = declared
        return task

    def add(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        executor: ExecutorKind = "auto",
        version: int = 1,
        limits: Sequence[Limit | Rate] = (),
        failure_detail: FailureDetail | None = None,
        collect: Collect | None = None,
        run_ttl: Duration | None = None,
        result_ttl: Duration | None = None,
        receipt_ttl: Duration | None = None,
        **options: Any,
    ) -> TaskSpec:
        """Register a function as a task; see ``App.task`` for the options.

        Raises:
            InvalidOption, InvalidName, DuplicateTask, UnknownQueue: naming the option and what to write.
        """
        if not inspect.isroutine(function):
            raise InvalidOption(f"a task is a function, not {shown(function)}; write a `def` or `async def`", option="task")
        _refuse_shape(function)
        refuse_unknown(options)
        function = self.around(function)
        named = check_name(_full_name(function) if name is None else name, "task name")
        one = function if collect is None else one_of_many(function, Context, executor)
        if named in TARGETS:
            raise InvalidOption(f"runs of {named} are requests or programs of their own; name the task otherwise", option="name")
        schema = codec.payload_schema(one, Context, largest=self._largest)
        backoff = options.get("backoff")
        policy = policy_of(**{option: value for option, value in options.items() if option in POLICY_OPTIONS})
        kept = Kept.checked(run_ttl, result_ttl, receipt_ttl)
        plain = Options(queue=options.get("queue") or self.default_queue, policy=policy, kept=kept)
        own = self.changed(plain, **{option: value for option, value in options.items() if option in OWN_OPTIONS})
        spec = TaskSpec(
            name=named,
            function=function,
            schema=schema,
            executor=_executor(executor, function),
            version=whole(version, "version"),
            fingerprint=schema.fingerprint,
            limits=checked_limits(limits, "limits", keys=False),
            options=own,
            decode_result=codec.result_decoder(get_type_hints(one).get("return", Any)),
            upcasters=codec.Upcasters(named, version),
            failure_detail=self._failure_detail if failure_detail is None else _detail(failure_detail),
            delay=backoff if callable(backoff) else None,
            collect=collect,
        )
        self._enter(spec, aliases)
        return spec

    def changed(self, options: Options, **given: Any) -> Options:
        """``options`` with what is given changed; None leaves an option as it is.

        Raises:
            InvalidOption: a value that cannot be, a limit nobody declared; UnknownQueue: a queue nobody registered.
        """
        new = changed(options, self.known_queue, given)
        for pool, _ in new.uses:
            self._known_pool(pool)
        policy = new.kept.captured(new.policy, self.queues[new.queue].kept, self._kept)
        return new if policy == new.policy else replace(new, policy=policy)

    def add_queue(
        self,
        name: str,
        limit: int | None,
        limits: Sequence[Limit | Rate] = (),
        max_waiting: int | None = None,
        overflow: Overflow = "refuse",
        kept: Kept = UNSAID,
    ) -> str:
        """Declare a queue.

        Raises:
            InvalidOption: naming the option and what to write.
        """
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise InvalidOption(f"limit= of queue {name!r} must be a whole number from 0, or None, not {limit!r}", option="limit")
        given = checked_limits([*([] if limit is None else [Limit(limit)]), *limits], "limits", keys=True)
        check_bound(max_waiting, overflow)
        spec = QueueSpec(limits=given, max_waiting=max_waiting, overflow=overflow, kept=kept)
        if kept != self.queues.get(name, spec).kept and any(task.options.queue == name for task in self._tasks.values()):
            raise InvalidOption(
                f"declare queue {name!r} before its tasks: how long their runs are kept is theirs already", option="queue"
            )
        self.queues[check_name(name, "queue")] = spec
        return name

    def add_pool(self, name: str, limits: Sequence[Limit | Rate]) -> str:
        """Declare a named limit, which tasks take by ``uses``."""
        self.pools[check_name(name, "limit")] = checked_limits(limits, "limits", keys=False)
        return name

    def known_queue(self, name: str) -> str:
        """``name``, if a queue of that name was declared.

        Raises:
            UnknownQueue: it was not.
        """
        if name not in self.queues:
            known = ", ".join(sorted(self.queues))
            raise UnknownQueue(f"no queue {name!r} (there are {known}); declare it with app.queue({name!r})")
        return name

    def _known_pool(self, name: str) -> None:
        if name not in self.pools:
            known = ", ".join(sorted(self.pools)) or "none"
            told = f"uses= names limit {name!r} (there are {known}); declare it with app.limit({name!r}, Limit(…)) before"
            raise InvalidOption(told, option="uses")

    def get(self, name: str) -> TaskSpec:
        """The task of that name or alias.

        Raises:
            UnknownTask: there is none.
        """
        found = self._tasks.get(self._aliases.get(name, name))
        if found is None:
            known = ", ".join(sorted(self._tasks)) or "none"
            raise UnknownTask(f"no task {name!r}; this app has {known}")
        return found

    def check(self) -> None:
        """See that every task that reads old payloads has all the steps for it; what a worker does before it begins.

        Raises:
            InvalidOption: naming the step that is missing.
        """
        for spec in self._tasks.values():
            spec.upcasters.check()

    @property
    def collects(self) -> dict[str, Collect]:
        """The tasks that get their runs many at a time, by every name they go by."""
        named = {name: self.get(name).collect for name in self.names()}
        return {name: collect for name, collect in named.items() if collect is not None}

    def tasks(self) -> list[TaskSpec]:
        """Every task, by name."""
        return [self._tasks[name] for name in sorted(self._tasks)]

    def versions(self) -> dict[str, int]:
        """Every name and alias a worker of this app can execute, by the newest version of its payload that it knows."""
        return {name: self.get(name).version for name in self.names()}

    def names(self) -> list[str]:
        """Every name and alias a worker of this app can execute."""
        return sorted({*self._tasks, *self._aliases})

    def _enter(self, spec: TaskSpec, aliases: Sequence[str]) -> None:
        if isinstance(aliases, str):
            raise InvalidOption(f"aliases must be a list of names; write aliases=[{aliases!r}]", option="aliases")
        for name in (spec.name, *(check_name(alias, "alias") for alias in aliases)):
            if name in self._tasks or name in self._aliases:
                other = self.get(name).function
                raise DuplicateTask(
                    f"two tasks named {name!r}: {_full_name(spec.function)} and {_full_name(other)}; give one a name= of its own",
                    option="name",
                )
        self._tasks[spec.name] = spec
        self._aliases |= dict.fromkeys(aliases, spec.name)


def _as_call(item: tuple[Any, ...] | Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(item, tuple):
        return item, {}
    if isinstance(item, Mapping):
        return (), item
    raise PayloadInvalid(
        f"an item of enqueue_many is a tuple of arguments or a mapping of named ones, not {shown(item)}; write ({shown(item)},)",
        errors=[{"field": "$", "message": "not a tuple or mapping"}],
    )


@cache
def _lane(
    namespace: str, queue: str, task: str, priority: int, version: int, fingerprint: str,
    requires: tuple[tuple[str, str], ...], uses: tuple[tuple[str, int], ...],
) -> Lane:  # fmt: skip
    return Lane(
        namespace=namespace, queue=queue, task=task, priority=priority, version=version, fingerprint=fingerprint,
        requires=requires, uses=uses,
    )  # fmt: skip


def _refuse_shape(function: Callable[..., Any]) -> None:
    """Functions that could be enqueued, and would fail in every worker."""
    name = function.__qualname__
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        told = f"{name} yields, and a run has one result: return it, or a list; enqueue a run for each where they are many"
        raise InvalidOption(told, option="task")
    if next(iter(inspect.signature(function).parameters), "") in {"self", "cls"}:
        told = (
            f"{name} is a method, and a worker has no object to call it on: write a function, or put @staticmethod above @app.task"
        )
        raise InvalidOption(told, option="task")


def _full_name(function: Callable[..., Any]) -> str:
    qualname = function.__qualname__.replace(".<locals>.", ".").replace("<lambda>", "lambda")
    return f"{_module_name(function.__module__)}.{qualname}"


def _module_name(module: str) -> str:
    """A script run as ``python shop.py`` names its tasks as a worker that imports ``shop`` does."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return PurePath(file).stem if file else module


def _detail(detail: str) -> FailureDetail:
    if detail not in get_args(FailureDetail):
        raise InvalidOption(f'failure_detail must be "full" or "code", not {detail!r}', option="failure_detail")
    return detail  # type: ignore[return-value]


def _executor(kind: str, function: Callable[..., Any]) -> Literal["async", "thread", "process"]:
    if kind not in _KINDS:
        raise InvalidOption(f"executor must be one of {', '.join(_KINDS)}, not {kind!r}", option="executor")
    is_async = inspect.iscoroutinefunction(function)
    if kind == "auto":
        return "async" if is_async else "thread"
    if is_async and kind != "async":
        raise InvalidOption(f"an `async def` runs on the event loop; executor={kind!r} needs a plain `def`", option="executor")
    if not is_async and kind == "async":
        raise InvalidOption('executor="async" needs an `async def`', option="executor")
    return kind  # type: ignore[return-value]
