"""What the options of a task and of its calls mean: from what a program writes to checked values.

Here: one value at a time, and those that go together. Not here: tasks by name (``registry``), what a call becomes (``client``).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from mainspring.client import condition_of, upstreams_of
from mainspring.core import retry
from mainspring.core.attributes import checked as checked_attributes
from mainspring.core.budgets import Budgets
from mainspring.core.debounce import Debounce, OnSingleton, check_singleton, gathering
from mainspring.core.dependencies import Condition
from mainspring.core.durations import Duration, parse_duration, parse_instant
from mainspring.core.lanes import labels
from mainspring.core.limits import Limit, Rate
from mainspring.core.names import check_key, check_name, check_priority
from mainspring.core.policy import Policy
from mainspring.errors import InvalidOption, shown

KeyOption = str | Callable[..., str] | None
#: How long a key is retained: a span, or "active": until its run has ended.
KeyTtl = Duration | Literal["active"]
#: A span from the call on, an aware instant, or a function of the payload that gives one of them.
SpanOption = Duration | datetime | Callable[..., Any] | None

_MOST_POOLS = 4
_PLAIN = Policy()


class Kept(NamedTuple):
    """How long (µs, from the end on) runs, their results and the receipts of their attempts are kept. None: whoever is asked next
    says: the task, then its queue, then the app, then ``Policy``."""

    run: int | None = None
    result: int | None = None
    receipt: int | None = None

    @classmethod
    def checked(cls, run_ttl: Duration | None, result_ttl: Duration | None, receipt_ttl: Duration | None) -> "Kept":
        """What a program wrote.

        Raises:
            InvalidOption: naming the option and what to write.
        """
        return cls(
            None if run_ttl is None else positive(run_ttl, "run_ttl"),
            None if result_ttl is None else parse_duration(result_ttl, option="result_ttl"),
            None if receipt_ttl is None else parse_duration(receipt_ttl, option="receipt_ttl"),
        )

    def captured(self, policy: Policy, *more: "Kept") -> Policy:
        """``policy`` with what is said here, or else by ``more``, in that order."""
        run, result, receipt = (next((ttl for ttl in said if ttl is not None), None) for said in zip(self, *more, strict=True))
        plain = _PLAIN
        return replace(
            policy,
            run_ttl_us=plain.run_ttl_us if run is None else run,
            result_ttl_us=plain.result_ttl_us if result is None else result,
            receipt_ttl_us=plain.receipt_ttl_us if receipt is None else receipt,
        )


UNSAID = Kept()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one call is to be enqueued: what ``task.options(...)`` changes. A view; never stored as such."""

    queue: str
    priority: int = 0
    policy: Policy = field(default_factory=Policy)
    kept: Kept = UNSAID
    delay: int = 0
    due_at: int | None = None
    key: KeyOption = None
    key_ttl: int | None = None
    singleton: KeyOption = None
    concurrency_key: KeyOption = None
    requires: tuple[tuple[str, str], ...] = ()
    uses: tuple[tuple[str, int], ...] = ()
    deadline: SpanOption = None
    expires: SpanOption = None
    attributes: tuple[tuple[str, str], ...] = ()
    on_singleton: OnSingleton | None = None
    debounce: Debounce | None = None
    after: tuple[str, ...] = ()
    on: Condition = Condition.SUCCEEDED
    using: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing about a call depends on its payload."""
        return (self.key, self.singleton, self.concurrency_key, self.deadline, self.expires) == (None,) * 5


def changed(options: Options, known_queue: Callable[[str], str], given: Mapping[str, Any]) -> Options:
    """``options`` with what is given changed; None leaves an option as it is.

    Raises:
        InvalidOption: a value that cannot be; UnknownQueue: a queue nobody registered.
    """
    told = {name: value for name, value in given.items() if value is not None}
    _check_company(options, told)
    policy = _changed_policy(options.policy, told.pop("max_attempts", None), told.pop("timeout", None))
    gathered = gathering(told.pop("debounce", None), told.pop("throttle", None))
    due_at = told.pop("at", None)
    read: dict[str, Any] = {name: _READERS[name](value) if name in _READERS else value for name, value in told.items()}
    if "queue" in told:
        read["queue"] = known_queue(told["queue"])
    more: dict[str, Any] = {
        "policy": policy,
        "debounce": gathered,
        "due_at": None if due_at is None else parse_instant(due_at, option="at"),
    }
    new = replace(options, **read, **{name: value for name, value in more.items() if value is not None})
    moved = bool(new.delay) or new.due_at is not None
    check_singleton(new.singleton is not None, new.on_singleton, new.debounce, moved=moved)
    return new


def _check_company(options: Options, told: Mapping[str, Any]) -> None:
    """Options that exclude each other, or mean nothing alone."""
    if "delay" in told and "at" in told:
        raise InvalidOption("delay= and at= are two spellings of one thing; give one", option="delay")
    if "key_ttl" in told and "key" not in told and options.key is None:
        raise InvalidOption("key_ttl= without key= has nothing to keep; give key= too", option="key_ttl")
    if "on" in told and "after" not in told and not options.after:
        raise InvalidOption("on= without after= has nobody to wait for; give after= too", option="on")


def policy_of(
    *,
    max_attempts: int | None = None,
    retries: int | None = None,
    max_interruptions: int = 10,
    max_releases: int | None = None,
    backoff: Any = None,
    jitter: float = retry.DEFAULT_JITTER,
    timeout: Duration | None = "1h",
    grace: Duration = "30s",
    heartbeat_timeout: Duration | None = None,
    retry_on: Any = (),
    never_on: Any = (),
    deadline: SpanOption = None,
) -> Policy:
    """The policy that a task's options make.

    Raises:
        InvalidOption: naming the option and what to write.
    """
    budgets = Budgets(
        max_attempts=_attempts(max_attempts, retries), max_interruptions=max_interruptions, max_releases=max_releases
    )  # fmt: skip
    return Policy(
        budgets=budgets,
        backoff=retry.DEFAULT_BACKOFF if backoff is None else retry.parse_backoff(backoff),
        jitter=retry.check_jitter(jitter),
        timeout_us=_timeout(timeout, deadline),
        grace_us=parse_duration(grace, option="grace"),
        heartbeat_timeout_us=None if heartbeat_timeout is None else positive(heartbeat_timeout, "heartbeat_timeout"),
        kinds=retry.kinds_of(retry_on, never_on),
    )


def _attempts(max_attempts: int | None, retries: int | None) -> int:
    if max_attempts is not None and retries is not None:
        raise InvalidOption("max_attempts= and retries= are two spellings of one thing; give one", option="retries")
    if retries is not None:
        return whole(retries, "retries", least=0) + 1
    return 3 if max_attempts is None else max_attempts


def checked_limits(limits: Sequence[Limit | Rate], option: str, *, keys: bool) -> tuple[Limit | Rate, ...]:
    """Limits of one subject: at most one of a kind, each key's apart.

    Raises:
        InvalidOption: naming the option and what to write.
    """
    seen = set()
    for limit in limits:
        if not isinstance(limit, (Limit, Rate)):
            raise InvalidOption(f"{option} is a list of Limit(…) and Rate(…), not {shown(limit)}", option=option)
        if limit.each_key and not keys:
            raise InvalidOption("each_key=True belongs to a queue, whose concurrency keys it counts", option=option)
        if (limit.measure, limit.each_key) in seen:
            raise InvalidOption(f"{option} names two limits of one kind; give one", option=option)
        seen.add((limit.measure, limit.each_key))
    return tuple(limits)


def _labels(requires: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return labels({check_name(name, "requires"): check_key(value, f"requires[{name!r}]") for name, value in requires.items()})


def _uses(uses: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    if len(uses) > _MOST_POOLS:
        raise InvalidOption(f"uses names {len(uses)} limits; {_MOST_POOLS} is the most", option="uses")
    return tuple(sorted((check_name(name, "uses"), whole(units, f"uses[{name!r}]")) for name, units in uses.items()))


def _checked_span(value: SpanOption, option: str) -> SpanOption:
    """Refuse here, at import, what is no span and no instant; what a function gives is looked at when it is called."""
    if value is not None and not callable(value):
        _instant_or_span(value, option)
    return value


def bounded_by(value: SpanOption, option: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """An instant, or a span from the call on."""
    given = _answer(value, option, args, kwargs) if callable(value) else value
    return (None, None) if given is None else _instant_or_span(given, option)


def _instant_or_span(value: Any, option: str) -> tuple[int | None, int | None]:
    if isinstance(value, datetime):
        return parse_instant(value, option=option), None
    return None, positive(value, option)


def one_of_many(function: Callable[..., Any], context: type, executor: str) -> Callable[..., Any]:
    """The signature of a task with ``collect=`` as its callers see it: one payload instead of a list, one result.

    Raises:
        InvalidOption: its first parameter is no list, it has others, or it runs in a process.
    """
    hints, signature = get_type_hints(function), inspect.signature(function)
    payload = [name for name in signature.parameters if hints.get(name) is not context]
    kind = hints.get(payload[0]) if len(payload) == 1 else None
    if get_origin(kind) is not list or executor == "process":
        told = "a task with collect= takes one list of payloads (`items: list[Order]`), and perhaps a Context; not in a process"
        raise InvalidOption(told, option="collect")
    result = hints.get("return", Any)
    own = get_args(result)[0] if get_origin(result) is list and get_args(result) else result
    changed = {**hints, payload[0]: get_args(kind)[0], "return": own if own is result else own | result}
    parameters = [each.replace(annotation=changed.get(name, Any)) for name, each in signature.parameters.items()]

    def one() -> None:
        """Never called."""

    one.__name__, one.__qualname__, one.__module__ = function.__name__, function.__qualname__, function.__module__
    one.__annotations__ = changed
    one.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return one


def _changed_policy(policy: Policy, max_attempts: int | None, timeout: Duration | None) -> Policy | None:
    if max_attempts is None and timeout is None:
        return None
    if max_attempts is not None:
        policy = replace(policy, budgets=replace(policy.budgets, max_attempts=max_attempts))
    if timeout is not None:
        policy = replace(policy, timeout_us=positive(timeout, "timeout"))
    return policy


def called(key: KeyOption, what: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    return check_key(_answer(key, what, args, kwargs), what) if callable(key) else key


def _answer(function: Callable[..., Any], option: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a function of the payload gives. It is called with the arguments as the caller gave them.

    Raises:
        InvalidOption: it raised; nothing was created.
    """
    try:
        return function(*args, **kwargs)
    except Exception as error:
        told = f"the function of {option}= raised {type(error).__qualname__}: {error}; it is given the arguments of the call"
        raise InvalidOption(told, option=option) from error


def _checked_key(key: KeyOption, what: str) -> KeyOption:
    return key if key is None or callable(key) else check_key(key, what)


def _timeout(value: Duration | None, deadline: SpanOption) -> int | None:
    if value is not None:
        return positive(value, "timeout")
    if deadline is None:
        raise InvalidOption('timeout=None lets an attempt run for ever; give a deadline="1d" too', option="timeout")
    return None


def positive(value: Duration, option: str) -> int:
    span = parse_duration(value, option=option)
    if span == 0:
        raise InvalidOption(f'{option} must be longer than nothing; write {option}="30s"', option=option)
    return span


def whole(value: Any, option: str, *, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidOption(f"{option} must be a whole number from {least}, not {value!r}", option=option)
    return value


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "priority": check_priority,
    "delay": lambda value: parse_duration(value, option="delay"),
    "key": lambda value: _checked_key(value, "key"),
    "key_ttl": lambda value: 0 if value == "active" else positive(value, "key_ttl"),
    "singleton": lambda value: _checked_key(value, "singleton"),
    "concurrency_key": lambda value: _checked_key(value, "concurrency_key"),
    "requires": _labels,
    "uses": _uses,
    "deadline": lambda value: _checked_span(value, "deadline"),
    "expires": lambda value: _checked_span(value, "expires"),
    "attributes": checked_attributes,
    "after": upstreams_of,
    "on": condition_of,
}

#: Options that a run captures as its policy, and those that are about a call.
POLICY_OPTIONS = frozenset(inspect.signature(policy_of).parameters)
KEPT_OPTIONS = frozenset(inspect.signature(Kept.checked).parameters)
OWN_OPTIONS = frozenset(
    {
        "queue", "priority", "key", "key_ttl", "singleton", "on_singleton", "debounce", "throttle", "concurrency_key", "requires",
        "uses", "deadline", "expires",
    }
)  # fmt: skip


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse what is no option of a task.

    Raises:
        InvalidOption: naming it, and those there are.
    """
    known = POLICY_OPTIONS | OWN_OPTIONS | KEPT_OPTIONS
    if unknown := sorted(options.keys() - known):
        raise InvalidOption(f"{unknown[0]}= is no option of a task; there are {', '.join(sorted(known))}", option=unknown[0])
