"""Tests that are coroutines: each runs in an event loop of its own, with a bound on how long it may take.

Here: ``in_loop`` and waiting for what other threads do. Not here: virtual time, which needs no loop (``virtual.py``).
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

PATIENCE_SECONDS = 30.0


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test that is a coroutine function."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


async def happened(event: threading.Event) -> None:
    """Wait, without blocking the loop, for an event of another thread."""
    assert await asyncio.to_thread(event.wait, PATIENCE_SECONDS), "waited in vain"


async def turns(count: int = 20) -> None:
    """Let the loop do whatever is ready."""
    for _ in range(count):
        await asyncio.sleep(0)
