"""The child's half of the process executor: a warm process that runs attempts one by one, and the messages of both halves.

Messages are msgpack behind their length; nothing is pickled. Not here: starting, watching and ending children (``processes``).
"""

import asyncio
import contextlib
import ctypes
import functools
import importlib
import inspect
import os
import queue
import runpy
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, NoReturn, assert_never, get_args

import msgspec

from mainspring.codec import PayloadSchema, payload_schema
from mainspring.context import Context
from mainspring.core.attempts import Outcome, Unworkable
from mainspring.core.retry import Kinds
from mainspring.errors import InvalidOption
from mainspring.registry import TaskSpec
from mainspring.runtime.outcomes import MESSAGE_BYTES, arguments, bounded, raised, returned
from mainspring.runtime.worker import Assignment
from mainspring.telemetry import tracing

LENGTH_BYTES = 4
_MAIN = "__mp_main__"  # the name that multiprocessing gives a main module in its children: scripts are guarded against it
_PR_SET_PDEATHSIG = 1

# -- messages --------------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What a child must know before it can import anything of the user."""

    parent: int
    path: list[str]
    argv: list[str]
    main_name: str | None
    main_file: str | None

    @staticmethod
    def of_this_process() -> "Hello":
        """What a child of this process must know."""
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        return Hello(
            parent=os.getpid(),
            path=[entry or os.getcwd() for entry in sys.path],
            argv=sys.argv,
            main_name=None if spec is None else spec.name,
            main_file=None if file is None else os.path.abspath(file),
        )


class Job(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One attempt, as its child sees it. ``qualname`` leads from the module to the function or to the task made of it."""

    module: str
    qualname: str
    id: str
    task: str
    queue: str
    token: int
    failures: int
    interruptions: int
    releases: int
    body: bytes | None
    checkpoint: bytes | None
    trace: str | None = None
    retry_on: tuple[str, ...] = ()
    never_on: tuple[str, ...] = ()

    @staticmethod
    def of(spec: TaskSpec, assignment: Assignment, trace: str | None = None) -> "Job":
        """The attempt that a claim began."""
        claimed, lane = assignment.claimed, assignment.lane
        return Job(
            module=spec.function.__module__,
            qualname=spec.function.__qualname__,
            id=claimed.id,
            task=lane.task,
            queue=lane.queue,
            token=claimed.token,
            failures=claimed.failures,
            interruptions=claimed.interruptions,
            releases=claimed.releases,
            body=claimed.body,
            checkpoint=assignment.checkpoint,
            trace=trace,
            retry_on=assignment.policy.kinds.on,
            never_on=assignment.policy.kinds.never,
        )


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Ask the attempt of that run to stop."""

    run_id: str
    why: str


class Quit(msgspec.Struct, frozen=True, tag=True):
    """End, after the attempt that runs now."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """User code called ``ctx.heartbeat``."""

    details: bytes | None
    progress: str | None
    now: bool


class Ended(msgspec.Struct, frozen=True, tag=True):
    """How the attempt ended: the name of an outcome and its fields."""

    kind: str
    fields: msgspec.Raw

    @staticmethod
    def of(outcome: Outcome) -> "Ended":
        """The message for an outcome."""
        return Ended(type(outcome).__name__, msgspec.Raw(msgspec.msgpack.encode(outcome)))

    def outcome(self) -> Outcome:
        """The outcome again."""
        found: Outcome = msgspec.msgpack.decode(self.fields, type=_OUTCOMES[self.kind])
        return found


Order = Job | Stop | Quit
Report = Told | Ended

_OUTCOMES: dict[str, Any] = {kind.__name__: kind for kind in get_args(Outcome)}
_orders = msgspec.msgpack.Decoder(Order)


def framed(message: Order | Report) -> bytes:
    """A message as it crosses the channel."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


# -- the process -----------------------------------------------------------------------------------------------------


def serve(descriptor: int, greeting: Mapping[str, Any]) -> None:
    """Run attempts until told to quit. Nothing of the user was imported before."""
    hello = msgspec.convert(greeting, Hello)
    die_with(hello.parent)
    _leave_signals_to_the_worker()
    os.set_inheritable(descriptor, False)  # what a task starts must not hold the channel open
    sys.argv[:] = hello.argv
    with socket.socket(fileno=descriptor) as channel:
        Child(channel, hello).serve()


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process that signal when its parent dies, however it dies. Elsewhere than on Linux whoever listens
    to the parent does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def _leave_signals_to_the_worker() -> None:
    """A supervisor may signal every process of a service; the worker alone decides what that means for an attempt.

    A handler that does nothing, for an ignored signal would stay ignored in the programs that a task starts.
    """
    kinds = (signal.SIGTERM, signal.SIGINT)
    before = {kind: signal.signal(kind, lambda *_: None) for kind in kinds}

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    os.register_at_fork(after_in_child=restore)


class UnimportableTaskError(Exception):
    """The code of the task is not where its name says."""


class Child:
    """Runs attempts in the main thread, one at a time, and listens in another."""

    def __init__(self, channel: socket.socket, hello: Hello) -> None:
        self._channel = channel
        self._hello = hello
        self._sending = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Job, Context] | None] = queue.SimpleQueue()
        self._context: Context | None = None
        self._known: dict[tuple[str, str], tuple[Callable[..., Any], PayloadSchema]] = {}

    def serve(self) -> None:
        """Run attempts until told to quit."""
        threading.Thread(target=self._listen, name="mainspring-listener", daemon=True).start()
        while (given := self._jobs.get()) is not None:
            outcome = self._attempt(*given)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):  # closed or replaced by user code
                    stream.flush()
            self._send(Ended.of(outcome))

    # -- the channel ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        with self._channel.makefile("rb") as stream:
            while (order := _next(stream)) is not None:
                match order:
                    case Job():
                        self._context = Context(order, task=order.task, queue=order.queue, sink=self, checkpoint=order.checkpoint)
                        self._jobs.put((order, self._context))
                    case Stop():
                        if self._context is not None and self._context.run_id == order.run_id:
                            self._context.stop(order.why)
                    case Quit():
                        self._jobs.put(None)
                        return
                    case _:
                        assert_never(order)
        os.killpg(0, signal.SIGKILL)  # the worker is gone and nobody can hear how this ends: stop, with all that it started

    def tell(self, details: bytes | None, progress: str | None, now: bool) -> None:
        """User code saves a checkpoint or progress."""
        self._send(Told(details, progress, now))

    def members(self) -> NoReturn:
        """The members of a batch are read from the database, which only the worker has."""
        raise InvalidOption(
            'ctx.members() reads the database, which a process does not; give this task executor="thread"', option="executor"
        )

    def occurrence(self) -> NoReturn:
        """So is the occurrence."""
        raise InvalidOption(
            'ctx.occurrence reads the database, which a process does not; give this task executor="thread"', option="executor"
        )

    def batch(self) -> NoReturn:
        """So is its batch."""
        raise InvalidOption(
            'ctx.batch needs the database, which a process does not have; give this task executor="thread"', option="executor"
        )

    def transaction(self, using: Any, result: Callable[[], bytes]) -> NoReturn:
        """So is the database that the success is written to."""
        raise InvalidOption(
            'ctx.transaction() needs the database, which a process does not have; give this task executor="thread"',
            option="executor",
        )

    atransaction = transaction

    def _send(self, report: Report) -> None:
        with self._sending:
            self._channel.sendall(framed(report))

    # -- one attempt ------------------------------------------------------------------------------------------------

    def _attempt(self, job: Job, context: Context) -> Outcome:
        values: Sequence[Any] = ()
        schema: PayloadSchema | None = None
        try:
            function, schema = self._find(job)
            values = arguments(schema, context, job.body)
            result = tracing.under(job.trace).run(function, *values)
            if inspect.iscoroutine(result):  # a task for an event loop, which runs here because it took its worker with it before
                result = asyncio.run(result)
            return returned(result, schema)
        except UnimportableTaskError as error:
            return Unworkable("task_unimportable", bounded(str(error), MESSAGE_BYTES))
        except BaseException as error:  # noqa: BLE001  - as in the executor: SystemExit ends the attempt, not the process
            return raised(error, values, schema=schema, kinds=Kinds(on=job.retry_on, never=job.never_on))

    def _find(self, job: Job) -> tuple[Callable[..., Any], PayloadSchema]:
        at = (job.module, job.qualname)
        if at not in self._known:
            self._known[at] = _code_of(_attribute(self._module(job), job))
        return self._known[at]

    def _module(self, job: Job) -> types.ModuleType:
        try:
            return module_of(self._hello, job.module)
        except ImportError as error:
            raise UnimportableTaskError(
                f"a process of the task {job.task} cannot import {job.module}: {type(error).__name__}: {error}; "
                "put the module where the worker's sys.path leads"
            ) from error


def module_of(hello: Hello, name: str) -> types.ModuleType:
    """A module of the parent's by its name there. Its main script is loaded under another name, so that its ``__main__`` part does
    not run again."""
    return _main_of(hello) if name in {"__main__", _MAIN} else importlib.import_module(name)


def _main_of(hello: Hello) -> types.ModuleType:
    if _MAIN in sys.modules:
        return sys.modules[_MAIN]
    module = types.ModuleType(_MAIN)
    if hello.main_name is not None:
        module.__dict__.update(runpy.run_module(hello.main_name, run_name=_MAIN, alter_sys=True))
    elif hello.main_file is not None:
        module.__dict__.update(runpy.run_path(hello.main_file, run_name=_MAIN))
    else:
        raise ImportError("the worker was started without a file")
    sys.modules["__main__"] = sys.modules[_MAIN] = module
    return module


def _next(stream: BinaryIO) -> Order | None:
    """The next order; None at the end of the channel."""
    with contextlib.suppress(OSError):
        head = stream.read(LENGTH_BYTES)
        size = int.from_bytes(head, "big")
        if len(head) == LENGTH_BYTES and len(body := stream.read(size)) == size:
            order: Order = _orders.decode(body)
            return order
    return None


def _attribute(module: types.ModuleType, job: Job) -> Any:
    try:
        return functools.reduce(getattr, job.qualname.split("."), module)
    except AttributeError:
        raise UnimportableTaskError(
            f"a process of the task {job.task} cannot find {job.qualname} in {job.module}; "
            'executor="process" needs a function that has a name at the top level of its module'
        ) from None


def _code_of(found: Any) -> tuple[Callable[..., Any], PayloadSchema]:
    spec = getattr(found, "spec", None)
    if isinstance(spec, TaskSpec):
        return spec.function, spec.schema
    return found, payload_schema(found, Context)
