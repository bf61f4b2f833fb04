"""The waits we offer to users, each written once: a generator says how long to pause, and a driver of either colour pauses.

A wait looks at the database, pauses, and looks again. A hint from this process (``Hub``) cuts the pause short; without one the
pauses grow to a bound, so that a lost hint costs latency and nothing else.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mainspring.errors import ResultTimeout
from mainspring.wakeups import Hub

T = TypeVar("T")

#: A wait: yields how many seconds it would pause, and returns what it waited for.
Wait = Generator[float, None, T]

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.25


def until(look: Callable[[], T | None], *, timeout: float | None, what: str) -> Wait[T]:
    """Wait until ``look()`` gives something.

    Raises:
        ResultTimeout: ``timeout`` seconds went by.
    """
    pause = _FIRST_PAUSE
    give_up_at = None if timeout is None else time.monotonic() + timeout
    while (found := look()) is None:
        left = None if give_up_at is None else give_up_at - time.monotonic()
        if left is not None and left <= 0:
            raise ResultTimeout(f"{what} did not end within {timeout} s; it goes on: wait again, or cancel it")
        yield pause if left is None else min(pause, left)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return found


def drive(wait: Wait[T], hub: Hub, run_id: str) -> T:
    """Wait in this thread."""
    hint = threading.Event()
    stop = hub.watch_end(run_id, hint.set)
    try:
        pause = next(wait)
        while True:
            hint.wait(pause)
            hint.clear()
            pause = wait.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        stop()


async def adrive(wait: Wait[T], hub: Hub, run_id: str) -> T:
    """Wait in this event loop; looking at the database happens in a thread."""
    loop = asyncio.get_running_loop()
    hint = asyncio.Event()
    stop = hub.watch_end(run_id, lambda: _ring(loop, hint))
    try:
        while True:
            pause, result = await asyncio.to_thread(_advance, wait)
            if pause is None:
                return result  # type: ignore[return-value]
            timer = loop.call_later(pause, hint.set)
            await hint.wait()
            timer.cancel()
            hint.clear()
    finally:
        stop()


async def in_thread(fn: Callable[[], T]) -> T:
    """The answer of a call that may block, for an event loop."""
    return await asyncio.to_thread(fn)


def _ring(loop: asyncio.AbstractEventLoop, hint: asyncio.Event) -> None:
    loop.call_soon_threadsafe(hint.set)


def _advance(wait: Wait[T]) -> tuple[float | None, T | None]:
    """One look: how long to pause, or the result. (A StopIteration cannot leave a thread by a future.)"""
    try:
        return next(wait), None
    except StopIteration as done:
        return None, done.value


def answered(question: Coroutine[Any, Any, T]) -> T:
    """What a coroutine answers, asked in a loop of its own: whoever calls may be in one."""
    with ThreadPoolExecutor(1, thread_name_prefix="mainspring-asked") as thread:
        return thread.submit(asyncio.run, question).result()
