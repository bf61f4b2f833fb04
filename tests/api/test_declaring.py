"""Declaring apps, queues and tasks: what is accepted, and what is refused at import, naming the option and what to write."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from mainspring import App, Context, Limit, exponential, fixed, linear, steps
from mainspring.errors import CallerMistake, DuplicateTask, InvalidName, InvalidOption, UnknownQueue

# -- forms -----------------------------------------------------------------------------------------------------------------


def test_a_decorated_function_stays_a_function(idle: App) -> None:
    @idle.task
    def double(x: int) -> int:
        """Twice as much."""
        return 2 * x

    assert double(21) == 42
    assert double.__doc__ == "Twice as much."
    assert double.__name__ == "double"
    assert double.name == f"{__name__}.test_a_decorated_function_stays_a_function.double"


def test_the_decorator_takes_options_or_none(idle: App) -> None:
    @idle.task()
    def first() -> None: ...

    @idle.task(name="second.one", max_attempts=7)
    def second() -> None: ...

    assert second.name == "second.one"
    assert second.spec.options.policy.budgets.max_attempts == 7
    assert first.spec.options.policy.budgets.max_attempts == 3


def test_a_function_runs_where_its_kind_belongs(idle: App) -> None:
    @idle.task
    async def on_the_loop() -> None: ...

    @idle.task
    def in_a_thread() -> None: ...

    @idle.task(executor="process")
    def in_a_process() -> None: ...

    assert [task.spec.executor for task in (on_the_loop, in_a_thread, in_a_process)] == ["async", "thread", "process"]


def test_retries_is_another_spelling_of_max_attempts(idle: App) -> None:
    @idle.task(retries=0)
    def once() -> None: ...

    assert once.spec.options.policy.budgets.max_attempts == 1


@pytest.mark.parametrize(
    "backoff", [fixed("1s"), linear("1s", max="5s"), exponential("1s", max="5m"), steps("1s", "2s"), ["1s", 2]]
)
def test_every_kind_of_back_off_is_taken(idle: App, backoff: Any) -> None:
    @idle.task(backoff=backoff)
    def task() -> None: ...

    assert task.spec.options.policy.backoff is not None


@pytest.mark.parametrize("timeout", ["30s", 30, 30.0, timedelta(seconds=30), "PT30S"])
def test_every_spelling_of_a_duration_is_taken(idle: App, timeout: Any) -> None:
    @idle.task(timeout=timeout)
    def task() -> None: ...

    assert task.spec.options.policy.timeout_us == 30_000_000


def test_an_alias_is_a_name_that_workers_serve(idle: App) -> None:
    @idle.task(name="new.name", aliases=["old.name"])
    def task() -> None: ...

    assert idle.registry.names() == ["new.name", "old.name"]
    assert idle.registry.get("old.name") is task.spec


def test_options_make_a_view_and_leave_the_task_alone(idle: App) -> None:
    mail = idle.queue("mail")

    @idle.task
    def task(x: int) -> None: ...

    changed = task.options(queue=mail, priority=5, max_attempts=9, timeout="1s")
    assert (changed.spec, changed.function) == (task.spec, task.function)
    assert task.call(1).request.lane.queue == "default"
    assert changed.call(1).request.lane.queue == "mail"
    assert changed.call(1).request.lane.priority == 5
    assert changed.options(priority=6).call(1).request.lane.queue == "mail"


# -- refusals --------------------------------------------------------------------------------------------------------------

REFUSED_OPTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"max_attempts": 0}, "max_attempts", "1"),
    ({"max_attempts": "3"}, "max_attempts", "1"),
    ({"max_attempts": True}, "max_attempts", "1"),
    ({"retries": -1}, "retries", "from 0"),
    ({"retries": 1, "max_attempts": 2}, "retries", "give one"),
    ({"max_interruptions": 0}, "max_interruptions", "1"),
    ({"max_releases": -1}, "max_releases", "0"),
    ({"timeout": "soon"}, "timeout", "90s"),
    ({"timeout": 0}, "timeout", "30s"),
    ({"timeout": -1}, "timeout", "90s"),
    ({"timeout": None}, "timeout", "deadline"),
    ({"grace": "a while"}, "grace", "90s"),
    ({"backoff": "fast"}, "backoff", "fixed"),
    ({"backoff": []}, "backoff", ""),
    ({"jitter": 2}, "jitter", "1"),
    ({"jitter": "some"}, "jitter", "1"),
    ({"priority": 1001}, "priority", "1000"),
    ({"priority": 1.5}, "priority", "1000"),
    ({"name": "two words"}, "name", "mail.send"),
    ({"name": ""}, "name", "mail.send"),
    ({"name": "x" * 201}, "name", "200"),
    ({"aliases": ["two words"]}, "alias", "mail.send"),
    ({"aliases": "one.string"}, "alias", "list"),
    ({"executor": "greenlet"}, "executor", "thread"),
    ({"executor": "async"}, "executor", "async def"),
    ({"key": ""}, "key", "1-512"),
    ({"key": 7}, "key", "string"),
    ({"key_ttl": "1d"}, "key_ttl", "key="),
    ({"key": "k", "key_ttl": 0}, "key_ttl", "longer"),
    ({"singleton": "x" * 513}, "singleton", "1-512"),
]


@pytest.mark.parametrize(("options", "named", "hint"), REFUSED_OPTIONS, ids=lambda value: repr(value)[:40])
def test_an_option_that_cannot_be_is_refused_naming_it_and_what_to_write(
    idle: App, options: dict[str, Any], named: str, hint: str
) -> None:
    def task() -> None: ...

    with pytest.raises(InvalidOption) as refused:
        idle.task(**options)(task)
    assert named in refused.value.message
    assert named in str(refused.value.details["option"])
    assert hint in refused.value.message
    assert idle.registry.names() == []


def test_an_option_that_does_not_exist_is_refused_by_name(idle: App) -> None:
    def task() -> None: ...

    with pytest.raises((InvalidOption, TypeError), match="max_attemps"):
        idle.task(max_attemps=3)(task)  # type: ignore[call-overload]


def test_an_async_def_cannot_run_in_a_thread(idle: App) -> None:
    async def task() -> None: ...

    with pytest.raises(InvalidOption, match="async def"):
        idle.task(executor="thread")(task)


def test_two_tasks_of_one_name_are_refused_naming_both(idle: App) -> None:
    @idle.task(name="mail.send")
    def one() -> None: ...

    def two() -> None: ...

    with pytest.raises(DuplicateTask, match=r"mail\.send.*two.*one.*name="):
        idle.task(name="mail.send")(two)
    with pytest.raises(DuplicateTask, match=r"mail\.send"):
        idle.task(name="other", aliases=["mail.send"])(two)
    assert idle.registry.names() == ["mail.send"]


def test_a_task_that_names_itself_as_its_alias_is_refused_or_harmless(idle: App) -> None:
    def task() -> None: ...

    try:
        idle.task(name="a", aliases=["a"])(task)
    except DuplicateTask:
        return
    assert idle.registry.names() == ["a"]
    assert idle.registry.get("a").function is task


def test_a_queue_nobody_declared_is_refused_naming_those_there_are(idle: App) -> None:
    def task() -> None: ...

    idle.queue("mail")
    with pytest.raises(UnknownQueue, match=r"'mial'.*default.*mail.*app\.queue"):
        idle.task(queue="mial")(task)


@pytest.mark.parametrize("limit", [-1, "5", 1.5, True])
def test_a_limit_that_is_no_number_is_refused(idle: App, limit: Any) -> None:
    with pytest.raises(InvalidOption, match="limit"):
        idle.queue("mail", limit=limit)
    assert "mail" not in idle.registry.queues


@pytest.mark.parametrize("name", ["", "two words", "x" * 201, None, 5, "naïve"])
def test_a_name_that_cannot_be_is_refused_everywhere(idle: App, name: Any) -> None:
    with pytest.raises(InvalidName, match="app name"):
        App(name)
    with pytest.raises(InvalidName, match="namespace"):
        App("shop", namespace=name)
    with pytest.raises(InvalidName, match="queue"):
        App("shop", queue=name)
    with pytest.raises(InvalidName, match="queue"):
        idle.queue(name)


def keyword_only(*, x: int) -> None: ...
def many(*args: int) -> None: ...
def named(**kwargs: int) -> None: ...
def unstorable(x: Callable[[], None]) -> None: ...
def twice(first: Context, second: Context) -> None: ...


class AClass:
    def __init__(self, x: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (keyword_only, r"x.*keyword"),
        (many, r"args"),
        (named, r"kwargs"),
        (unstorable, r"x|parameters"),
        (twice, r"Context|second"),
        (AClass, r"function"),
        ("a string", r"function"),
        (5, r"function"),
    ],
    ids=["keyword only", "args", "kwargs", "unstorable", "two contexts", "class", "string", "number"],
)
def test_a_function_that_cannot_be_a_task_is_refused_saying_why(idle: App, function: Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        idle.task(name="odd")(function)
    assert idle.registry.names() == []


def test_a_partial_of_a_function_is_refused_as_a_callers_mistake(idle: App) -> None:
    def add(x: int, y: int) -> int:
        return x + y

    with pytest.raises(CallerMistake, match="function"):
        idle.task(name="odd")(functools.partial(add, 1))


REFUSED_CALLS: list[tuple[dict[str, Any], str]] = [
    ({"delay": "-1s"}, "delay"),
    ({"delay": "soon"}, "delay"),
    ({"delay": "11y"}, "delay"),
    ({"delay": "4000d"}, "delay"),
    ({"at": "2031-05-01T09:00:00"}, "at .*time zone"),
    ({"at": "tomorrow"}, "at "),
    ({"at": 5}, "at "),
    ({"delay": "1s", "at": "2031-05-01T09:00:00Z"}, "delay"),
    ({"priority": -1001}, "priority"),
    ({"key": "a\nb"}, "key"),
    ({"key_ttl": "1d"}, "key_ttl"),
    ({"singleton": ""}, "singleton"),
    ({"max_attempts": 0}, "max_attempts"),
    ({"timeout": 0}, "timeout"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED_CALLS, ids=lambda value: repr(value)[:40])
def test_a_call_option_that_cannot_be_is_refused_before_anything_is_opened(
    idle: App, options: dict[str, Any], message: str
) -> None:
    @idle.task
    def task() -> None: ...

    with pytest.raises(InvalidOption, match=message):
        task.options(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "4"}, "concurrency"),
        ({"concurrency": 20_000}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"lease": "10ms"}, "lease"),
        ({"lease": "never"}, "lease"),
        ({"poll": "often"}, "poll"),
        ({"poll": 0}, "poll"),
        ({"grace": -1}, "grace"),
        ({"name": "two words"}, "worker name"),
        ({"queues": ["nowhere"]}, "nowhere"),
        ({"queues": "default"}, "queues"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_worker_option_that_cannot_be_is_refused_before_the_worker_runs(idle: App, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CallerMistake, match=message):
        idle.worker(**options)


def test_a_message_shows_a_huge_value_only_in_part(idle: App) -> None:
    with pytest.raises(InvalidName) as refused:
        idle.queue("x" * 1_000_000)
    assert len(refused.value.message) < 500
    assert re.search("x{10}", refused.value.message)


def test_what_could_only_fail_in_a_worker_is_no_task(idle: App) -> None:
    def rows(count: int) -> Any:
        yield from range(count)

    async def pages(count: int) -> Any:
        yield count

    class Shop:
        def send(self, to: str) -> None: ...

    for function, told in ((rows, "yields"), (pages, "yields"), (Shop.send, "is a method")):
        with pytest.raises(InvalidOption, match=told):
            idle.task(function)


def test_units_of_a_limit_nobody_declared_are_refused(idle: App) -> None:
    gpu = idle.limit("gpu", Limit(4))

    @idle.task(uses={gpu: 1})
    def train() -> None: ...

    with pytest.raises(InvalidOption, match=r"limit 'gpus' \(there are gpu\); declare it with app\.limit\('gpus'"):
        idle.task(name="other", uses={"gpus": 1})(train.function)
    with pytest.raises(InvalidOption, match="gpus"):
        train.options(uses={"gpus": 1})
    shared = idle.limit("theirs")  # of another app's making, or an operator's
    assert train.options(uses={shared: 2})._options.uses == (("theirs", 2),)


def test_a_parameter_that_cannot_be_stored_is_named(idle: App) -> None:
    def draw(size: int, surface: threading.Event) -> None: ...

    with pytest.raises(InvalidOption, match="draw cannot be stored: surface is a Event, which has no JSON form"):
        idle.task(draw)


def test_a_function_of_the_payload_that_raises_is_named(idle: App) -> None:
    @idle.task(key=lambda order: order.number, expires=lambda order: "1h" if "number" in order else order.soon)
    def send(order: dict[str, int]) -> None: ...

    with pytest.raises(InvalidOption, match=r"key= raised AttributeError: 'dict' object has no attribute 'number'") as refused:
        send.call({"number": 1})
    assert isinstance(refused.value.__cause__, AttributeError)
    with pytest.raises(InvalidOption, match=r"expires= raised AttributeError"):
        send.options(key="seven").call({"letter": 1})


def test_a_worker_told_to_run_until_nobody_knows_when_does_not_begin(idle: App) -> None:
    with pytest.raises(InvalidOption, match="until must be one of stopped, drained, empty, not 'drain'"):
        idle.worker().run(until="drain")  # type: ignore[arg-type]


def test_a_key_may_be_made_of_anything(idle: App) -> None:
    @idle.task
    def send(to: str) -> None: ...

    made = idle.key("receipt", "Zoë <zoe@example.org>\n" * 1_000, 7)
    assert send.options(key=made).call("zoe").request.key == made
    assert made == App.key("receipt", "Zoë <zoe@example.org>\n" * 1_000, 7)
