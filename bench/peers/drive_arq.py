"""arq on Redis, driven: uvloop and hiredis, 100 jobs at a time, burst mode to drain, no results kept; it polls every 10 ms where
latency is measured (the default is 500 ms). Its clock begins at the first job.

Of a finished job it keeps nothing here (a result for an hour, if asked).
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import asyncio
import time

import arq
import uvloop
from arq.connections import RedisSettings
from arq.worker import Worker, func

from bench.peers import driving

MODULE = "bench.peers.drive_arq"
CONCURRENCY = 100
POLL_SECONDS = 0.01
WARM_SECONDS = 1.0


def working(url: str, tally: driving.Tally, *, burst: bool) -> Worker:
    async def noop(ctx, at: int) -> None:
        tally.mark(at)

    return Worker(
        functions=[func(noop, name="noop")],
        redis_settings=RedisSettings.from_dsn(url),
        burst=burst,
        max_jobs=CONCURRENCY,
        keep_result=0,
        log_results=False,
        handle_signals=False,
        poll_delay=POLL_SECONDS,
    )


async def fill(url: str, count: int) -> float:
    redis = await arq.create_pool(RedisSettings.from_dsn(url))
    started = time.perf_counter()
    for _ in range(count):
        await redis.enqueue_job("noop", 0)
    return driving.rate(count, started)


async def drain(url: str, count: int) -> float:
    tally = driving.Tally(count)
    await fill(url, count)
    worker = working(url, tally, burst=True)
    await worker.async_run()
    return tally.rate()


async def start_latency(url: str, count: int) -> tuple[float, float]:
    tally = driving.Tally(count)
    running = asyncio.create_task(working(url, tally, burst=False).async_run())
    await asyncio.sleep(WARM_SECONDS)
    driving.start_producer(MODULE, url, count)
    await asyncio.to_thread(tally.ended.wait)
    running.cancel()
    await asyncio.wait([running])
    return tally.percentiles()


async def produce(url: str, count: int) -> None:
    redis = await arq.create_pool(RedisSettings.from_dsn(url))
    for _ in range(count):
        await asyncio.sleep(driving.GAP_SECONDS)
        await redis.enqueue_job("noop", time.monotonic_ns())


def on_loop(work) -> driving.Work:
    return lambda url, count: uvloop.run(work(url, count))


if __name__ == "__main__":
    works = {work.__name__: on_loop(work) for work in (drain, start_latency, produce)}
    driving.main({**works, "enqueue_single": on_loop(fill)})
