"""Absurd on PostgreSQL, driven: its awaiting worker, 100 tasks at a time, claimed 100 at a time, polling every 10 ms (the default
is 250 ms). Its clock begins at the first job.

Of a finished job it keeps the task, the run and the result.
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import asyncio
import time

import absurdctl
import psycopg
from absurd_sdk import Absurd, AsyncAbsurd

from bench.peers import driving

MODULE = "bench.peers.drive_absurd"
CONCURRENCY = 100
POLL_SECONDS = 0.01
WARM_SECONDS = 1.0
QUEUE = "bench"


def installed(url: str) -> Absurd:
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(absurdctl.BUNDLED_SCHEMA_SQL)
    app = Absurd(url, queue_name=QUEUE)
    app.create_queue(QUEUE)
    return app


def spawn(app: Absurd, at: int) -> None:
    app.spawn("noop", {"at": at}, queue=QUEUE)


async def work(url: str, tally: driving.Tally) -> None:
    app = AsyncAbsurd(url, queue_name=QUEUE)

    @app.register_task("noop", queue=QUEUE)
    async def noop(params, ctx) -> None:
        if tally.mark(params["at"]):
            app.stop_worker()

    await app.start_worker(concurrency=CONCURRENCY, batch_size=CONCURRENCY, poll_interval=POLL_SECONDS)
    await app.close()


def drain(url: str, count: int) -> float:
    app, tally = installed(url), driving.Tally(count)
    for _ in range(count):
        spawn(app, 0)
    driving.settle(url)
    asyncio.run(work(url, tally))
    return tally.rate()


def enqueue_single(url: str, count: int) -> float:
    app = installed(url)
    spawn(app, 0)
    started = time.perf_counter()
    for _ in range(count):
        spawn(app, 0)
    return driving.rate(count, started)


def start_latency(url: str, count: int) -> tuple[float, float]:
    installed(url)
    tally = driving.Tally(count)
    driving.start_producer(MODULE, url, count)
    asyncio.run(work(url, tally))
    return tally.percentiles()


def produce(url: str, count: int) -> None:
    app = Absurd(url, queue_name=QUEUE)
    time.sleep(WARM_SECONDS)
    for _ in range(count):
        time.sleep(driving.GAP_SECONDS)
        spawn(app, time.monotonic_ns())


if __name__ == "__main__":
    driving.main({work.__name__: work for work in (drain, enqueue_single, start_latency, produce)})
