"""Asking what is enqueued, and asserting it: an error shows what waits instead, and in what it differs.

Here: reading waiting runs with their arguments as the task will get them. Not here: running them (``draining``).

A run counts as enqueued while it waits: for a worker, for its time, for its batch, or to be tried again. Runs that have ended do
not. All of this only reads, so it works on any app, in a sandbox or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mainspring.app import App
from mainspring.codec import decode_json
from mainspring.core.durations import Duration, format_duration, parse_duration
from mainspring.core.states import TERMINAL, WAITING, WAITING_FOR_TIME, State
from mainspring.errors import InvalidOption, PayloadInvalid, UnknownTask, shown
from mainspring.operations import views
from mainspring.registry import Registry, TaskSpec
from mainspring.store.database import Transaction
from mainspring.tasks import Task
from mainspring.testing.sandboxing import Sandbox

#: Arguments by name, or the first ones by place.
Arguments = Mapping[str, Any] | Sequence[Any]
#: A span, or the shortest and the longest.
Span = Duration | tuple[Duration, Duration]

_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """A run that waits. ``args`` holds every argument by name, defaults too, as the task will get it."""

    run_id: str
    task: str
    queue: str
    priority: int
    args: Mapping[str, Any]
    key: str | None
    singleton: str | None
    state: State
    failures: int
    due_at: int
    due_in: timedelta

    def __str__(self) -> str:
        args = ", ".join(f"{name}={shown(value)}" for name, value in self.args.items())
        keys = {"key": self.key, "singleton": self.singleton}
        told = [f"queue {self.queue}", _when(self), *(f"{kind} {key!r}" for kind, key in keys.items() if key is not None)]
        if self.failures:
            told.append(f"failed {self.failures} times" if self.failures > 1 else "failed once")
        return f"{self.task}({args}): {', '.join(told)}"


def enqueued(
    app: App | Sandbox,
    task: Task[..., Any] | str | None = None,
    *,
    args: Arguments | None = None,
    queue: str | None = None,
    key: str | None = None,
    singleton: str | None = None,
    priority: int | None = None,
    due_in: Span | None = None,
) -> list[Enqueued]:
    """The runs that wait and are as described, in the order in which they were created.

    ``args`` is compared with the arguments as the task will get them, and need not name them all: a mapping compares those it
    names, a list or tuple the first ones. Anything that answers ``==`` may stand for a value (``mock.ANY``). ``due_in`` is how
    long from now, exactly, or ``(shortest, longest)``; what is due already is due in ``"0s"``.

    Raises:
        InvalidOption: ``args`` names a parameter that the task does not have.
    """
    wanted = _Wanted(app, task, args=args, queue=queue, key=key, singleton=singleton, priority=priority, due_in=due_in)
    return [run for run in _waiting(_app(app)) if not wanted.differences(run)]


def assert_enqueued(
    app: App | Sandbox,
    task: Task[..., Any] | str | None = None,
    *,
    args: Arguments | None = None,
    queue: str | None = None,
    key: str | None = None,
    singleton: str | None = None,
    priority: int | None = None,
    due_in: Span | None = None,
    count: int | None = None,
) -> list[Enqueued]:
    """Assert that a run as described waits (see ``enqueued``), or exactly ``count`` of them; returns them.

    Raises:
        AssertionError: showing what waits, and in what it differs.
    """
    __tracebackhide__ = True
    wanted = _Wanted(app, task, args=args, queue=queue, key=key, singleton=singleton, priority=priority, due_in=due_in)
    waiting = _waiting(_app(app))
    found = [run for run in waiting if not wanted.differences(run)]
    if len(found) == count or (count is None and found):
        return found
    told = f"no run waits {wanted}" if count is None else f"not {count} but {_so_many(len(found))} {wanted}"
    raise AssertionError("\n".join([told, *_what_waits(waiting, wanted), *wanted.what_ended()]))


def refute_enqueued(
    app: App | Sandbox,
    task: Task[..., Any] | str | None = None,
    *,
    args: Arguments | None = None,
    queue: str | None = None,
    key: str | None = None,
    singleton: str | None = None,
    priority: int | None = None,
    due_in: Span | None = None,
) -> None:
    """Assert that no run as described waits (see ``enqueued``); without a description, that none waits at all.

    Raises:
        AssertionError: showing those that do.
    """
    __tracebackhide__ = True
    wanted = _Wanted(app, task, args=args, queue=queue, key=key, singleton=singleton, priority=priority, due_in=due_in)
    if found := [run for run in _waiting(_app(app)) if not wanted.differences(run)]:
        raise AssertionError("\n".join([f"{_so_many(len(found))} {wanted}, and none should:", *_listed(found)]))


class _Wanted:
    """What a run should be."""

    def __init__(
        self, app: App | Sandbox, task: Task[..., Any] | str | None, *, args: Arguments | None, due_in: Span | None, **exact: Any
    ) -> None:
        self._app = _app(app)
        self._task = None if task is None else _canonical(self._app.registry, task if isinstance(task, str) else task.name)
        self._args = _by_name(self._app.registry, self._task, args)
        self._due_in = _bounds(due_in)
        self._exact = {name: value for name, value in exact.items() if value is not None}

    def differences(self, run: Enqueued) -> list[str]:
        """In what a run is another; nothing: it is the one."""
        if not self.is_of(run.task):
            return ["another task"]
        found = [f"{name} is {shown(getattr(run, name))}" for name, value in self._exact.items() if value != getattr(run, name)]
        for place, value in self._args.items():
            given = run.args.get(place, _MISSING) if isinstance(place, str) else _nth(run.args, place)
            if not value == given:  # noqa: SIM201  (what stands for a value need only know ==)
                found.append(f"{place} is {shown(given)}" if isinstance(place, str) else f"argument {place + 1} is {shown(given)}")
        if self._due_in is not None and not self._due_in[0] <= run.due_in <= self._due_in[1]:
            found.append(f"is {_when(run)}")
        return found

    def is_of(self, task: str) -> bool:
        """Whether a run of that task may be meant."""
        return self._task is None or _canonical(self._app.registry, task) == self._task

    def what_ended(self) -> list[str]:
        """A hint, for those who look for a run after it has run."""
        page = self._app.runs.list(states=sorted(TERMINAL), limit=500).data
        ended = [view for view in page if self.is_of(view.task)] if self._task is not None else []
        states = {str(view.run.state): sum(other.run.state is view.run.state for other in ended) for view in ended}
        told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return [f"of {self._task} have ended already: {told}"] if ended else []

    def __str__(self) -> str:
        told = [f"of {self._task or 'any task'}"]
        if self._args:
            told.append("with " + ", ".join(f"{name}={shown(value)}" for name, value in self._args.items()))
        told += [f"{name} {value!r}" for name, value in self._exact.items()]
        if self._due_in is not None:
            low, high = (format_duration(span // _MICROSECOND) for span in self._due_in)
            told.append(f"due in {low}" if low == high else f"due in {low} to {high}")
        return ", ".join(told)


_MISSING = type("nothing", (), {"__repr__": lambda _: "nothing"})()
_MICROSECOND = timedelta(microseconds=1)


# -- reading ----------------------------------------------------------------------------------------------------------


def _app(target: App | Sandbox) -> App:
    if isinstance(target, Sandbox):
        return target.app
    if isinstance(target, App):
        return target
    raise InvalidOption(f"an App or its Sandbox is needed, not {shown(target)}", option="app")


def _waiting(app: App) -> list[Enqueued]:
    """Every run that waits, oldest first."""
    found: list[Enqueued] = app.client.database.read("testing.enqueued", lambda tx: _read(tx, app))
    return found


def _read(tx: Transaction, app: App) -> list[Enqueued]:
    seen: list[views.RunView] = []
    before = None
    while True:
        page = views.listing(tx, app.namespace, states=sorted(WAITING), before=before, most=views.MOST)
        seen += page
        if len(page) < views.MOST:
            return [_enqueued(tx, app, view) for view in reversed(seen)]
        before = page[-1].run.id


def _enqueued(tx: Transaction, app: App, view: views.RunView) -> Enqueued:
    run = view.run
    row = tx.one("runs.payload", id=run.id)
    body = app.client.keeping.read_payload(row[1] or b"{}", task=view.task) if row else None
    return Enqueued(
        run_id=run.id,
        task=view.task,
        queue=view.queue,
        priority=view.priority,
        args=_arguments(_spec(app.registry, view.task), body),
        key=run.idempotency_key,
        singleton=run.singleton_key,
        state=run.state,
        failures=run.failures,
        due_at=run.due_at,
        due_in=timedelta(microseconds=max(0, run.due_at - tx.now) if run.state in WAITING_FOR_TIME else 0),
    )


def _arguments(spec: TaskSpec | None, body: bytes | None) -> Mapping[str, Any]:
    """As the task will get them; as JSON says them, where this app has no such task or the task could not read them."""
    if spec is not None:
        try:
            return dict(zip(spec.schema.fields, spec.schema.decode(body or b"{}"), strict=True))
        except PayloadInvalid:
            pass
    plain: Mapping[str, Any] = decode_json(body) if body else {}
    return plain


# -- what was asked for -----------------------------------------------------------------------------------------------


def _spec(registry: Registry, name: str) -> TaskSpec | None:
    try:
        return registry.get(name)
    except UnknownTask:
        return None


def _canonical(registry: Registry, name: str) -> str:
    spec = _spec(registry, name)
    return name if spec is None else spec.name


def _by_name(registry: Registry, task: str | None, args: Arguments | None) -> dict[str | int, Any]:
    """Arguments by name where the task is known, else as given: by name, or by place."""
    spec = None if task is None else _spec(registry, task)
    fields = None if spec is None else spec.schema.fields
    if args is None:
        return {}
    if isinstance(args, str | bytes) or not isinstance(args, Mapping | Sequence):
        raise InvalidOption(f"args must be a mapping of names, or a list or tuple, not {shown(args)}", option="args")
    if isinstance(args, Mapping):
        odd = [name for name in args if fields is not None and name not in fields]
        return _known({name: value for name, value in args.items()}, odd, task, fields)  # noqa: C416
    odd = [f"argument {len(args)}"] if fields is not None and len(args) > len(fields) else []
    names: Sequence[str | int] = range(len(args)) if fields is None else fields
    return _known(dict(zip(names, args, strict=False)), odd, task, fields)


def _known(given: dict[str | int, Any], odd: list[str], task: str | None, fields: Sequence[str] | None) -> dict[str | int, Any]:
    if odd:
        raise InvalidOption(f"{task} takes ({', '.join(fields or ())}); there is no {odd[0]}", option="args")
    return given


def _nth(args: Mapping[str, Any], place: int) -> Any:
    values = list(args.values())
    return values[place] if place < len(values) else _MISSING


def _bounds(due_in: Span | None) -> tuple[timedelta, timedelta] | None:
    if due_in is None:
        return None
    low, high = due_in if isinstance(due_in, tuple) else (due_in, due_in)
    return parse_duration(low, option="due_in") * _MICROSECOND, parse_duration(high, option="due_in") * _MICROSECOND


# -- for people -------------------------------------------------------------------------------------------------------


def _when(run: Enqueued) -> str:
    if run.state is State.BLOCKED:
        return "waiting for its batch"
    return f"due in {format_duration(run.due_in // _MICROSECOND)}" if run.due_in else "due now"


def _what_waits(waiting: Sequence[Enqueued], wanted: _Wanted) -> list[str]:
    """What waits, those that come close first, each with what it is instead."""
    if not waiting:
        return ["no runs wait"]
    near = [(run, wanted.differences(run)) for run in waiting if wanted.is_of(run.task)]
    far = [run for run in waiting if not wanted.is_of(run.task)]
    lines = [f"{_so_many(len(waiting))}:", *_listed([run for run, _ in near], [found for _, found in near])]
    return lines + _listed(far) if len(near) < _MOST_SHOWN else lines


def _listed(runs: Sequence[Enqueued], differences: Sequence[Sequence[str]] = ()) -> list[str]:
    lines = []
    for place, run in enumerate(runs[:_MOST_SHOWN]):
        found = differences[place] if differences else ()
        lines.append(f"  {run}" + (f"  <- {', '.join(found)}" if found else ""))
    return [*lines, f"  and {len(runs) - _MOST_SHOWN} more"] if len(runs) > _MOST_SHOWN else lines


def _so_many(count: int) -> str:
    return "1 run waits" if count == 1 else f"{count or 'no'} runs wait"
