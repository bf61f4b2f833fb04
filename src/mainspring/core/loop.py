"""The event loop of a workflow: asyncio without a clock, without I/O and without chance.

What is ready runs first in, first out; timers are asked of a host, which says when they are over; tasks and futures hash by the
number of their creation, so that asyncio's own sets iterate alike in every replay. Not here: what a timer becomes (``replay``).
"""

import asyncio
import contextvars
import math
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple

from mainspring.core.commands import NotInWorkflow, TurnRefused

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Callbacks that one input may lead to. A workflow that spins does not come to rest by itself.
MOST_CALLBACKS = 1_000_000
#: The longest sleep: ten years.
LONGEST_SECONDS = 10 * 366 * 86_400


class Timer(asyncio.TimerHandle):
    """What ``call_later`` gives out. ``delay_us`` is how long it is to run; ``ordinal`` is the host's, once it has a number."""

    __slots__ = ("delay_us", "ticket")

    delay_us: int
    ticket: Any


class Host(Protocol):
    """Who makes timers durable."""

    def timer_started(self, timer: Timer) -> None: ...
    def timer_cancelled(self, timer: Timer) -> None: ...


class _Task(asyncio.Task[Any]):
    """A task that hashes by the number of its creation."""

    def __init__(self, number: int, *args: Any, **options: Any) -> None:
        self._number = number  # before all else: asyncio keeps it in a set
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


class _Future(asyncio.Future[Any]):
    """A future that hashes by the number of its creation."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


def _refused(what: str, instead: str) -> Any:
    def refuse(self: object, *args: object, **options: object) -> NoReturn:
        for each in args:
            if isinstance(each, Coroutine):
                each.close()
        raise NotInWorkflow(f"{what} has no place in a workflow, for a replay would do it again: {instead}", what=what)

    return refuse


_STEP = "put it into a function and call that with `await ctx.step(function, ...)`"


class Loop(asyncio.AbstractEventLoop):
    """Runs the code of one workflow until nothing in it is ready. The seconds of ``time()`` are those its host delivered."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._ready: deque[asyncio.Handle] = deque()
        self._number = 0
        self._tasks: dict[int, _Task] = {}
        self._seconds = 0.0
        self._closed = False
        self._running = False
        self.trouble: BaseException | None = None

    # -- for the host -----------------------------------------------------------------------------------------------

    def set_time(self, seconds: float) -> None:
        """What ``time()`` says from now on; it never goes back."""
        self._seconds = max(self._seconds, seconds)

    def fire(self, timer: Timer) -> None:
        """This timer is over."""
        self._ready.append(timer)

    def run_until_quiet(self) -> None:
        """Run what is ready, and what that makes ready, in order.

        Raises:
            TurnRefused: it did not come to rest (``stuck``).
        """
        outer, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        # A generator that nobody finished is dropped: when it is found to be garbage is no business of a replay.
        sys.set_asyncgen_hooks(firstiter=None, finalizer=lambda dropped: None)
        self._running = True
        try:
            self._run()
        finally:
            self._running = False
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)

    def _run(self) -> None:
        for _ in range(MOST_CALLBACKS):
            if not self._ready:
                return
            handle = self._ready.popleft()
            if handle.cancelled():
                continue
            try:
                handle._run()
            except (SystemExit, KeyboardInterrupt) as error:  # asyncio lets these through: they end the run, not the worker
                self.trouble = self.trouble or error
        raise TurnRefused("stuck", f"the code did not come to rest within {MOST_CALLBACKS:,} callbacks of one input")

    # -- asyncio: what runs -----------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the workflow began, as far as it has been told."""
        return self._seconds

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run ``callback`` behind what is ready already."""
        if self._closed:
            raise RuntimeError("this workflow is not in memory any more")
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run ``callback`` when a durable timer of ``delay`` seconds is over; with nothing to wait for, behind what is ready."""
        if math.isnan(delay) or delay > LONGEST_SECONDS:
            raise ValueError(f"a workflow can wait for up to ten years, not for {delay} seconds")
        if self._closed:
            raise RuntimeError("this workflow is not in memory any more")
        timer = Timer(self._seconds + delay, callback, args, self, context)
        timer.delay_us, timer.ticket = round(delay * 1e6), None
        if timer.delay_us > 0:
            self._host.timer_started(timer)
        else:
            self._ready.append(timer)
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """``call_later``, by an instant of ``time()``."""
        return self.call_later(when - self._seconds, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio's own word from ``TimerHandle.cancel``."""
        if isinstance(handle, Timer) and handle.ticket is not None:
            self._host.timer_cancelled(handle)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        self._number += 1
        return _Future(self._number, self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """A task of this loop, named after its number where it has no name."""
        if self._closed:
            if isinstance(coro, Coroutine):
                coro.close()
            raise RuntimeError("this workflow is not in memory any more")
        self._number += 1
        number = self._number
        task = _Task(number, coro, loop=self, name=name or f"task-{number}", context=context)
        self._tasks[number] = task
        task.add_done_callback(lambda done: self._tasks.pop(number, None))
        return task

    def call_exception_handler(self, context: Mapping[str, Any]) -> None:
        """A callback that raised ends the run; what nobody asked a task or a future for is told when it is garbage, and dropped."""
        if "handle" in context:
            self.trouble = self.trouble or context.get("exception")

    def default_exception_handler(self, context: Mapping[str, Any]) -> None:
        """The same."""
        self.call_exception_handler(context)

    def is_running(self) -> bool:
        """Whether code of the workflow is just running."""
        return self._running

    def is_closed(self) -> bool:
        """Whether it was put away."""
        return self._closed

    def get_debug(self) -> bool:
        """Never: what debugging adds is chance."""
        return False

    def close(self) -> None:
        """Put the workflow away: its coroutines are closed, in the order of their creation, and can ask for nothing meanwhile."""
        self._closed = True
        self._ready.clear()
        for task in tuple(self._tasks.values()):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # else asyncio complains of what is meant
            coroutine = task.get_coro()
            try:
                if isinstance(coroutine, Coroutine):
                    coroutine.close()
            except BaseException:  # noqa: BLE001  (what clean-up of the user's raises while it is put away concerns nobody)
                continue
        self._tasks.clear()

    # -- asyncio: what a replay could not repeat --------------------------------------------------------------------

    run_in_executor = _refused("an executor or a thread", _STEP)
    call_soon_threadsafe = _refused("a call from another thread", "send a signal, `run.signal(name, value)`")
    set_default_executor = _refused("an executor", _STEP)
    getaddrinfo = getnameinfo = _refused("a look-up of an address", _STEP)
    create_connection = create_server = create_datagram_endpoint = _refused("a socket", _STEP)
    create_unix_connection = create_unix_server = connect_accepted_socket = _refused("a socket", _STEP)
    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = _refused("a socket", _STEP)
    sock_sendall = sock_sendto = sock_connect = sock_accept = sock_sendfile = sendfile = start_tls = _refused("a socket", _STEP)
    add_reader = remove_reader = add_writer = remove_writer = _refused("a file descriptor", _STEP)
    connect_read_pipe = connect_write_pipe = _refused("a pipe", _STEP)
    subprocess_shell = subprocess_exec = _refused("a program", _STEP)
    add_signal_handler = remove_signal_handler = _refused("a signal of the system", "send a signal, `run.signal(name, value)`")
    get_exception_handler = set_exception_handler = _refused("a handler of exceptions", "catch them where they are raised")
    get_task_factory = set_task_factory = _refused("a factory of tasks", "leave tasks to the loop")
    set_debug = _refused("debugging the loop", "leave it as it is")
    run_forever = run_until_complete = _refused("running the loop", "`await` it")
    stop = _refused("stopping the loop", "return")
    shutdown_asyncgens = shutdown_default_executor = _refused("stopping the loop", "return")
