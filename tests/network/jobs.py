"""The work of an episode: an App whose tasks tell a witness what they do, and callers that write down what they were told.

Here: tasks, their witness, and one caller. Not here: what strikes the network (``episode``) and what must hold (``checker``).

Every payload has a ``nonce``, ``CALL.PLACE``: which call wanted this run. A task's result names the token of the attempt that
made it, so that the database's result can be held against the fence.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from mainspring import App, Context, Handle, MainspringError, Task, batch, fixed
from mainspring.errors import CommitUnknown

_REPEATS = 3
_PAUSE_SECONDS = 0.02


class Line(NamedTuple):
    """What an attempt did: ``begin``, ``end`` or ``stop``, under which token, by which worker."""

    what: str
    run: str
    token: int
    by: str


class Call(NamedTuple):
    """A call: how many runs it wanted, and what it was told: ids, or a code; how long that took."""

    id: str
    size: int
    key: str | None
    accepted: Sequence[tuple[str, str]] | None
    refused: str | None
    seconds: float


class Witness:
    """What attempts and callers saw, in memory: nobody who writes here is ever killed."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.calls: list[Call] = []

    @contextmanager
    def attempt(self, ctx: Context, by: str) -> Iterator[None]:
        """Tell that user code begins, and how it ends."""
        self.lines.append(Line("begin", ctx.run_id, ctx.token, by))
        try:
            yield
        except BaseException:
            self.lines.append(Line("stop", ctx.run_id, ctx.token, by))
            raise
        self.lines.append(Line("end", ctx.run_id, ctx.token, by))


class Jobs(NamedTuple):
    """An App and its tasks by name."""

    app: App
    tasks: Mapping[str, Task[..., Any]]


def build(url: str, witness: Witness, name: str) -> Jobs:
    """The App of one worker or caller."""
    app = App("network", database=url)
    app.queue("narrow", limit=3)

    @app.task(name="quick", max_interruptions=1000)
    async def quick(ctx: Context, nonce: str) -> dict[str, Any]:
        with witness.attempt(ctx, name):
            return {"nonce": nonce, "token": ctx.token}

    @app.task(name="slow", max_interruptions=1000)
    async def slow(ctx: Context, nonce: str) -> dict[str, Any]:
        with witness.attempt(ctx, name):
            await asyncio.sleep(0.03 * (len(nonce) % 7))
            return {"nonce": nonce, "token": ctx.token}

    @app.task(name="threaded", max_interruptions=1000, queue="narrow")
    def threaded(ctx: Context, nonce: str) -> dict[str, Any]:
        with witness.attempt(ctx, name):
            time.sleep(0.02)
            return {"nonce": nonce, "token": ctx.token}

    @app.task(name="flaky", max_interruptions=1000, max_attempts=3, backoff=fixed("100ms"))
    async def flaky(ctx: Context, nonce: str) -> dict[str, Any]:
        with witness.attempt(ctx, name):
            if ctx.failures == 0:
                raise OSError("the first time it fails")
            return {"nonce": nonce, "token": ctx.token}

    return Jobs(app, {task.name: task for task in (quick, slow, threaded, flaky)})


class Caller:
    """Enqueues in every way, in a thread of its own, until told to stop."""

    def __init__(self, jobs: Jobs, witness: Witness, name: str, seed: int) -> None:
        self._tasks = jobs.tasks
        self._witness = witness
        self._name = name
        self._dice = random.Random(f"{seed}/{name}")
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Make no further call."""
        self._stop.set()

    def _run(self) -> None:
        ways = [self.one, self.many, self.keyed, self.together]
        while not self._stop.wait(_PAUSE_SECONDS):
            self._dice.choices(ways, weights=[6, 2, 4, 1])[0]()

    def one(self) -> None:
        """A single run."""
        call = self._next()
        task = self._tasks[self._dice.choice(["quick", "slow", "threaded", "flaky"])]
        self.ask(call, 1, lambda: _told([task.enqueue(nonce=f"{call}.0")]))

    def many(self) -> None:
        """Several runs in one transaction."""
        call, size = self._next(), self._dice.randrange(2, 6)
        items = [{"nonce": f"{call}.{place}"} for place in range(size)]
        self.ask(call, size, lambda: _told(self._tasks["quick"].enqueue_many(items)))

    def keyed(self) -> None:
        """A run under a key that others use as well; asked for again while it is unknown whether it was created."""
        key = f"key-{self._dice.randrange(10_000) if self._dice.random() < 0.5 else int(time.monotonic() * 2)}"
        task = self._tasks["quick"].options(key=key)
        for _ in range(_REPEATS):
            if self.ask(self._next(), 1, lambda: _told([task.enqueue(nonce=key)]), key=key) != CommitUnknown.code:
                return

    def together(self) -> None:
        """A batch and its callback."""
        call, size = self._next(), self._dice.randrange(1, 4)
        members = [self._tasks["slow"].call(nonce=f"{call}.{place}") for place in range(size)]

        def send() -> list[tuple[str, str]]:
            sent = batch(members, then=self._tasks["quick"].call(nonce=f"{call}.{size}")).enqueue()
            assert sent.callback is not None
            return [(run_id, "created") for run_id in [*sent.members, sent.callback.id]]

        self.ask(call, size + 1, send)

    def ask(self, call: str, size: int, send: Callable[[], Sequence[tuple[str, str]]], key: str | None = None) -> str | None:
        """Call, and write down what was told; the code of a refusal."""
        began, accepted, refused = time.monotonic(), None, None
        try:
            accepted = send()
        except MainspringError as error:
            refused = error.code
        except Exception as error:  # no caller should ever see one
            refused = repr(error)
        self._witness.calls.append(Call(call, size, key, accepted, refused, time.monotonic() - began))
        return refused

    def _next(self) -> str:
        return f"{self._name}-{next(self._numbers)}"


def _told(handles: Sequence[Handle[Any]]) -> list[tuple[str, str]]:
    return [(handle.id, handle.outcome) for handle in handles]
