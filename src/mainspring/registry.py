"""Tasks by name: from a function to everything a run of it needs to know. An object, not a global.

Here: what the options of a task mean and how a call becomes a ``Request``. Not here: databases (``client``), workers (``runtime``).
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, get_type_hints

from mainspring import codec
from mainspring.client import Request
from mainspring.context import Context
from mainspring.core import retry
from mainspring.core.budgets import Budgets
from mainspring.core.durations import Duration, parse_duration, parse_instant
from mainspring.core.names import check_key, check_name, check_priority
from mainspring.core.policy import Policy
from mainspring.errors import DuplicateTask, InvalidOption, PayloadInvalid, PayloadTooLarge, UnknownQueue, UnknownTask, shown
from mainspring.operations.enqueue import DEFAULT_KEY_TTL, Lane, policy_row

ExecutorKind = Literal["auto", "async", "thread", "process"]
KeyOption = str | Callable[..., str] | None

_KINDS = ("auto", "async", "thread", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one call is to be enqueued: what ``task.options(...)`` changes. A view; never stored as such."""

    queue: str
    priority: int = 0
    policy: Policy = field(default_factory=Policy)
    delay: int = 0
    due_at: int | None = None
    key: KeyOption = None
    key_ttl: int | None = None
    singleton: KeyOption = None
    using: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A task: a function under a name, with its payload schema and policies."""

    name: str
    function: Callable[..., Any]
    schema: codec.PayloadSchema
    executor: Literal["async", "thread", "process"]
    version: int
    options: Options
    decode_result: Callable[[bytes], Any]

    def request(self, namespace: str, options: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        """What a call asks for, checked and encoded.

        Raises:
            PayloadInvalid, PayloadTooLarge: the arguments do not fit; nothing was created.
        """
        request = self._about(namespace, options)._replace(body=self.schema.encode(args, kwargs))
        if options.key is None and options.singleton is None:
            return request
        return request._replace(
            key=_called(options.key, "key", args, kwargs), singleton=_called(options.singleton, "singleton", args, kwargs)
        )

    def _about(self, namespace: str, options: Options) -> Request:
        """Everything about a call but its payload and keys."""
        return Request(
            lane=_lane(namespace, options.queue, self.name, options.priority, self.version),
            policy=policy_row(options.policy),
            body=b"",
            due_at=options.due_at,
            delay=options.delay,
            key_ttl=options.key_ttl or DEFAULT_KEY_TTL,
            decode=self.decode_result,
        )

    def requests(self, namespace: str, options: Options, items: Sequence[tuple[Any, ...] | Mapping[str, Any]]) -> list[Request]:
        """What many calls ask for: each item a tuple of arguments or a mapping of named ones.

        Raises:
            PayloadInvalid, PayloadTooLarge: naming the first item that does not fit; nothing was created.
        """
        calls = [_as_call(item) for item in items]
        bodies = [self._body(place, *call) for place, call in enumerate(calls)]
        if options.key is None and options.singleton is None:
            alike = self._about(namespace, options)
            return [alike._replace(body=body) for body in bodies]
        return [self.request(namespace, options, *call) for call in calls]

    def _body(self, place: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        try:
            return self.schema.encode(args, kwargs)
        except (PayloadInvalid, PayloadTooLarge) as error:
            details = error.details | {"item": place}
            raise type(error)(f"item {place}: {error.message}", **details) from None


class Registry:
    """The tasks of one app."""

    def __init__(self, *, queue: str) -> None:
        self.default_queue = check_name(queue, "queue")
        self.queues: dict[str, int | None] = {self.default_queue: None}
        self._tasks: dict[str, TaskSpec] = {}
        self._aliases: dict[str, str] = {}

    def add(
        self,
        function: Callable[..., Any],
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
        executor: ExecutorKind = "auto",
    ) -> TaskSpec:
        """Register a function as a task; see ``App.task`` for the options.

        Raises:
            InvalidOption, InvalidName, DuplicateTask, UnknownQueue: naming the option and what to write.
        """
        if not inspect.isroutine(function):
            raise InvalidOption(f"a task is a function, not {shown(function)}; write a `def` or `async def`", option="task")
        named = check_name(_full_name(function) if name is None else name, "task name")
        schema = codec.payload_schema(function, Context)
        policy = Policy(
            budgets=Budgets(
                max_attempts=_attempts(max_attempts, retries),
                max_interruptions=max_interruptions,
                max_releases=max_releases,
            ),
            backoff=retry.DEFAULT_BACKOFF if backoff is None else retry.parse_backoff(backoff),
            jitter=retry.check_jitter(jitter),
            timeout_us=_positive(timeout, "timeout"),
            grace_us=parse_duration(grace, option="grace"),
        )
        plain = Options(queue=queue or self.default_queue, policy=policy)
        options = self.changed(plain, priority=priority, key=key, key_ttl=key_ttl, singleton=singleton, queue=queue)
        spec = TaskSpec(
            name=named,
            function=function,
            schema=schema,
            executor=_executor(executor, function),
            version=1,
            options=options,
            decode_result=codec.result_decoder(get_type_hints(function).get("return", Any)),
        )
        self._enter(spec, aliases)
        return spec

    def changed(
        self,
        options: Options,
        *,
        queue: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | str | None = None,
        key: KeyOption = None,
        key_ttl: Duration | None = None,
        singleton: KeyOption = None,
        max_attempts: int | None = None,
        timeout: Duration | None = None,
        using: Any = None,
    ) -> Options:
        """``options`` with what is named changed.

        Raises:
            InvalidOption: a value that cannot be; UnknownQueue: a queue nobody registered.
        """
        if delay is not None and at is not None:
            raise InvalidOption("delay= and at= are two spellings of one thing; give one", option="delay")
        if key_ttl is not None and key is None and options.key is None:
            raise InvalidOption("key_ttl= without key= has nothing to keep; give key= too", option="key_ttl")
        given: dict[str, Any] = {
            "queue": None if queue is None else self.known_queue(queue),
            "priority": None if priority is None else check_priority(priority),
            "delay": None if delay is None else parse_duration(delay, option="delay"),
            "due_at": None if at is None else parse_instant(at, option="at"),
            "key": _checked_key(key, "key"),
            "key_ttl": None if key_ttl is None else _positive(key_ttl, "key_ttl"),
            "singleton": _checked_key(singleton, "singleton"),
            "policy": _changed_policy(options.policy, max_attempts, timeout),
            "using": using,
        }
        return replace(options, **{name: value for name, value in given.items() if value is not None})

    def add_queue(self, name: str, limit: int | None) -> str:
        """Declare a queue."""
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise InvalidOption(f"limit= of queue {name!r} must be a whole number from 0, or None, not {limit!r}", option="limit")
        self.queues[check_name(name, "queue")] = limit
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
    if isinstance(item, Mapping):
        return (), item
    if isinstance(item, tuple):
        return item, {}
    raise PayloadInvalid(
        f"an item of enqueue_many is a tuple of arguments or a mapping of named ones, not {shown(item)}; write ({shown(item)},)",
        errors=[{"field": "$", "message": "not a tuple or mapping"}],
    )


@cache
def _lane(namespace: str, queue: str, task: str, priority: int, version: int) -> Lane:
    return Lane(namespace=namespace, queue=queue, task=task, priority=priority, version=version)


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


def _attempts(max_attempts: int | None, retries: int | None) -> int:
    if max_attempts is not None and retries is not None:
        raise InvalidOption("max_attempts= and retries= are two spellings of one thing; give one", option="retries")
    if retries is not None:
        return _whole(retries, "retries", least=0) + 1
    return 3 if max_attempts is None else max_attempts


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


def _changed_policy(policy: Policy, max_attempts: int | None, timeout: Duration | None) -> Policy | None:
    if max_attempts is None and timeout is None:
        return None
    if max_attempts is not None:
        policy = replace(policy, budgets=replace(policy.budgets, max_attempts=max_attempts))
    if timeout is not None:
        policy = replace(policy, timeout_us=_positive(timeout, "timeout"))
    return policy


def _called(key: KeyOption, what: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    return check_key(key(*args, **kwargs), what) if callable(key) else key


def _checked_key(key: KeyOption, what: str) -> KeyOption:
    return key if key is None or callable(key) else check_key(key, what)


def _positive(value: Duration, option: str) -> int:
    span = parse_duration(value, option=option)
    if span == 0:
        raise InvalidOption(f'{option} must be longer than nothing; write {option}="30s"', option=option)
    return span


def _whole(value: Any, option: str, *, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidOption(f"{option} must be a whole number from {least}, not {value!r}", option=option)
    return value
