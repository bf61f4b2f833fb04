"""The work of a crash trial: an App whose tasks keep the ledger, and for each task what its runs must come to.

Here: tasks of every kind (coroutine, thread, process, retried, released, checkpointed, keyed, in a batch, after another run, under
limits of the queue, of each key and of units), and the
pure functions that say the right result and the right number of failures. Not here: who is killed when.

Every payload has a ``nonce``, ``CALL.PLACE``: which call of which producer wanted this run.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mainspring import App, Context, Limit, Release, Task, fixed
from tests.crash.ledger import Ledger

NARROW = 3
DUE = "due"
LANES = 4
EACH_LANE = 2
UNITS = 5
STEPS = 4


class Jobs(NamedTuple):
    """An App and its tasks by name."""

    app: App
    tasks: Mapping[str, Task[..., Any]]


def build(url: str, ledger: Ledger) -> Jobs:
    """The App with all its tasks; each process of a trial builds its own."""
    app = App("crash", database=url)
    app.queue("narrow", limit=NARROW)
    app.queue("lanes", limits=[Limit(EACH_LANE, each_key=True)])
    app.limit("units", Limit(UNITS))
    apart = app.task(name="apart", max_interruptions=1000, executor="process")(in_a_process)
    made = [*_plain(app, ledger), *_demanding(app, ledger), *_related(app, ledger), apart]
    return Jobs(app, {task.name: task for task in made})


def in_a_process(ctx: Context, nonce: str, n: int) -> int:
    """The task ``apart``. A child imports it by name, so it finds its ledger by itself."""
    with _ledger_of_this_child().attempt(ctx) as result:
        time.sleep(0.02 * (n % 5))
        result.append(n * 3 + 1)
    return n * 3 + 1


@functools.cache
def _ledger_of_this_child() -> Ledger:
    """Lines by the worker whose child this is, in a file of its own."""
    return Ledger(Path(os.environ["CRASH_LEDGER"]), os.environ["CRASH_NAME"], child=os.getpid())


def expected(task: str, payload: Mapping[str, Any]) -> Any:
    """What a run of this task returns in the end (a batch's callback: see ``evidence``)."""
    return len(payload["nonce"]) if task in {"once", "only"} else payload["n"] * 3 + 1


def failures(task: str, payload: Mapping[str, Any]) -> int:
    """How often the task itself raises on the way there."""
    return int(payload["n"]) % 3 if task == "flaky" else 0


def limits_of(task: str, payload: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
    """The limits that a run is under: by name, the units it takes and their number."""
    if task == "threaded":
        return {"narrow": (1, NARROW)}
    return {f"lane {lane_of(payload['n'])}": (1, EACH_LANE), "units": (2, UNITS)} if task == "laned" else {}


def lane_of(n: int) -> str:
    """The concurrency key of a run."""
    return f"lane-{n % LANES}"


def fires_on(members: int) -> Literal["done", "all_succeeded"]:
    """What the callback of a batch of so many waits for."""
    return "all_succeeded" if members % 2 else "done"


def _plain(app: App, ledger: Ledger) -> list[Task[..., Any]]:
    @app.task(name=DUE, max_interruptions=1000)
    async def due(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            result.append(n * 3 + 1)
        return n * 3 + 1

    @app.task(name="quick", max_interruptions=1000)
    async def quick(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            result.append(n * 3 + 1)
        return n * 3 + 1

    @app.task(name="slow", max_interruptions=1000)
    async def slow(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            await asyncio.sleep(0.05 * (n % 8))
            result.append(n * 3 + 1)
        return n * 3 + 1

    @app.task(name="threaded", max_interruptions=1000, queue="narrow")
    def threaded(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            time.sleep(0.02 * (n % 5))
            result.append(n * 3 + 1)
        return n * 3 + 1

    def key(nonce: str, n: int) -> str:
        return lane_of(n)

    @app.task(name="laned", max_interruptions=1000, queue="lanes", concurrency_key=key, uses={"units": 2})
    async def laned(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            await asyncio.sleep(0.02 * (n % 5))
            result.append(n * 3 + 1)
        return n * 3 + 1

    return [quick, slow, threaded, laned]


def _demanding(app: App, ledger: Ledger) -> list[Task[..., Any]]:
    @app.task(name="flaky", max_interruptions=1000, max_attempts=3, backoff=fixed("100ms"))
    def flaky(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            if ctx.failures < n % 3:
                raise OSError(f"failure {ctx.failures + 1} of {n % 3}")
            result.append(n * 3 + 1)
        return n * 3 + 1

    @app.task(name="patient", max_interruptions=1000)
    async def patient(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            releases = ctx.attempt - 1 - ctx.failures - ctx.interruptions
            if releases < n % 3:
                raise Release(after="150ms", reason="not yet")
            result.append(n * 3 + 1)
        return n * 3 + 1

    @app.task(name="stepwise", max_interruptions=1000)
    def stepwise(ctx: Context, nonce: str, n: int) -> int:
        with ledger.attempt(ctx) as result:
            for step in range(ctx.checkpoint or 0, STEPS):
                time.sleep(0.03)
                ledger.write("saved", run=ctx.run_id, token=ctx.token, checkpoint=step + 1)
                ctx.heartbeat(step + 1, now=True)
            result.append(n * 3 + 1)
        return n * 3 + 1

    return [flaky, patient, stepwise]


def _related(app: App, ledger: Ledger) -> list[Task[..., Any]]:
    @app.task(name="once", max_interruptions=1000)
    async def once(ctx: Context, nonce: str) -> int:
        with ledger.attempt(ctx) as result:
            result.append(len(nonce))
        return len(nonce)

    @app.task(name="only", max_interruptions=1000)
    async def only(ctx: Context, nonce: str) -> int:
        with ledger.attempt(ctx) as result:
            await asyncio.sleep(0.1)
            result.append(len(nonce))
        return len(nonce)

    @app.task(name="gather", max_interruptions=1000)
    def gather(ctx: Context, nonce: str) -> dict[str, int]:
        with ledger.attempt(ctx) as result:
            result.append({member.run_id: member.result for member in ctx.members()})
        seen: dict[str, int] = result[0]
        return seen

    @app.task(name="after", max_interruptions=1000)
    async def after(ctx: Context, nonce: str, n: int, upstream: str) -> int:
        with ledger.attempt(ctx) as result:
            result.append(n * 3 + 1)
        return n * 3 + 1

    return [once, only, gather, after]
