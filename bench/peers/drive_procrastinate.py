"""Procrastinate, driven: psycopg's async pool, 30 jobs at a time in one worker, `wait=False` to drain.

Of a finished job it keeps the job row with its status and one row per event (by trigger); there is no result.
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import asyncio
import time

import procrastinate

from bench.peers import driving

MODULE = "bench.peers.drive_procrastinate"
CONCURRENCY = 30  # the fastest here of 1, 10 and 30
WARM_SECONDS = 1.0


def application(url: str) -> procrastinate.App:
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=10))


def no_op(app: procrastinate.App) -> procrastinate.tasks.Task:
    @app.task(name="noop")
    async def noop(n: int) -> None:
        pass

    return noop


async def fill(task, count: int) -> None:
    for some in driving.chunks(count):
        await task.batch_defer_async(*({"n": n} for n in some))


async def drain(url: str, count: int) -> float:
    app = application(url)
    task = no_op(app)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await fill(task, count)
        driving.settle(url)
        started = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=CONCURRENCY, install_signal_handlers=False)
        return driving.rate(count, started)


async def enqueue_bulk(url: str, count: int) -> float:
    app = application(url)
    task = no_op(app)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        started = time.perf_counter()
        await fill(task, count)
        return driving.rate(count, started)


async def enqueue_single(url: str, count: int) -> float:
    app = application(url)
    task = no_op(app)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        started = time.perf_counter()
        for n in range(count):
            await task.defer_async(n=n)
        return driving.rate(count, started)


async def start_latency(url: str, count: int) -> tuple[float, float]:
    app, seconds, ended = application(url), list[float](), asyncio.Event()

    @app.task(name="stamped")
    async def stamped(at: int) -> None:
        seconds.append(driving.age(at))
        if len(seconds) == count:
            ended.set()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        running = asyncio.create_task(app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False))
        await asyncio.sleep(WARM_SECONDS)
        driving.start_producer(MODULE, url, count)
        await ended.wait()
        running.cancel()
        await asyncio.wait([running])
    return driving.percentiles(seconds)


async def produce(url: str, count: int) -> None:
    app = application(url)
    async with app.open_async():
        for _ in range(count):
            await asyncio.sleep(driving.GAP_SECONDS)
            await app.configure_task("stamped").defer_async(at=time.monotonic_ns())


def on_loop(work) -> driving.Work:
    return lambda url, count: asyncio.run(work(url, count))


if __name__ == "__main__":
    driving.main({work.__name__: on_loop(work) for work in (drain, enqueue_bulk, enqueue_single, start_latency, produce)})
