"""PgQueuer, driven: asyncpg on uvloop, batches of 500, drain mode, its default durability (`durable`, all tables logged).

Of a finished job it keeps a row in its log table per status; the job row is deleted, and there is no result.
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import asyncio
import time

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgDriver
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from bench.peers import driving

MODULE = "bench.peers.drive_pgqueuer"
BATCH = 500  # the fastest here of 50, 100, 250, 500 and 1000
WARM_SECONDS = 1.0


async def connect(url: str) -> Queries:
    return Queries(AsyncpgDriver(await asyncpg.connect(url)))


async def install(url: str) -> Queries:
    queries = await connect(url)
    await queries.install()
    return queries


async def fill(queries: Queries, count: int) -> None:
    for some in driving.chunks(count):
        await queries.enqueue(["noop"] * len(some), [b"{}"] * len(some), [0] * len(some))


def manager(queries: Queries) -> QueueManager:
    working = QueueManager(queries)

    @working.entrypoint("noop")
    async def noop(job) -> None:
        pass

    return working


async def drain(url: str, count: int) -> float:
    queries = await install(url)
    await fill(queries, count)
    driving.settle(url)
    started = time.perf_counter()
    await manager(queries).run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    return driving.rate(count, started)


async def prepare_two(url: str, count: int) -> None:
    await fill(await install(url), count)
    driving.settle(url)


async def worker(url: str, count: int) -> tuple[float, float]:
    queries = await connect(url)
    working = manager(queries)
    started = driving.await_start()
    await working.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    return started, time.monotonic()


def drain_two(url: str, count: int) -> float:
    uvloop.run(prepare_two(url, count))
    return driving.two_workers(MODULE, url, count)


async def enqueue_bulk(url: str, count: int) -> float:
    queries = await install(url)
    started = time.perf_counter()
    await fill(queries, count)
    return driving.rate(count, started)


async def enqueue_single(url: str, count: int) -> float:
    queries = await install(url)
    started = time.perf_counter()
    for _ in range(count):
        await queries.enqueue("noop", b"{}")
    return driving.rate(count, started)


async def start_latency(url: str, count: int) -> tuple[float, float]:
    working = QueueManager(await install(url))
    seconds: list[float] = []

    @working.entrypoint("stamped")
    async def stamped(job) -> None:
        seconds.append(driving.age(job.payload))
        if len(seconds) == count:
            working.shutdown.set()

    running = asyncio.create_task(working.run(batch_size=BATCH))
    await asyncio.sleep(WARM_SECONDS)
    driving.start_producer(MODULE, url, count)
    await running
    return driving.percentiles(seconds)


async def produce(url: str, count: int) -> None:
    queries = await connect(url)
    for _ in range(count):
        await asyncio.sleep(driving.GAP_SECONDS)
        await queries.enqueue("stamped", b"%d" % time.monotonic_ns())


def on_loop(work) -> driving.Work:
    return lambda url, count: uvloop.run(work(url, count))


if __name__ == "__main__":
    works = {work.__name__: on_loop(work) for work in (drain, worker, enqueue_bulk, enqueue_single, start_latency, produce)}
    driving.main({**works, "drain_two": drain_two})
