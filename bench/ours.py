"""The library through its public API, with the functions that `bench/limit.py` describes. No measuring of anything else here."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from typing import Any

from bench.limit import GAP_SECONDS, percentiles, rate_of
from bench.settling import settle
from mainspring import App

CONCURRENCY = 100
TO, SUBJECT, NUMBER = "somebody@example.org", "hello", 12345

STARTS: list[float] = []


def app_on(url: str) -> App:
    """An app with the tasks of the benchmark, on a database that is ready."""
    app = App("bench", database=url)
    app.task(name="bench.send")(send)
    app.task(name="bench.mark")(mark)
    app.migrate()
    return app


async def send(to: str, subject: str, n: int) -> dict[str, Any]:
    return {"ok": True, "bytes": 5120}


async def mark(sent_at: float) -> None:
    STARTS.append(time.perf_counter() - sent_at)


def task(app: App, name: str) -> Any:
    from mainspring.tasks import Task

    spec = app.registry.get(name)
    return Task(app, spec, spec.function, spec.options)


def filled(url: str, count: int) -> App:
    app = app_on(url)
    send_task = task(app, "bench.send")
    for start in range(0, count, 10_000):
        send_task.enqueue_many([(TO, SUBJECT, NUMBER)] * min(10_000, count - start))
    settle(url)
    return app


def work_off(app: App, count: int) -> float:
    """Run a worker as a program does, until so many attempts have ended; the instant of the last."""
    process = app.worker(concurrency=CONCURRENCY)
    done: list[float] = []

    def watch() -> None:
        while process.finished < count:
            time.sleep(0.002)
        done.append(time.perf_counter())
        process.stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.run()
    watcher.join()
    return done[0]


def drain(url: str, count: int) -> float:
    app = filled(url, count)
    started = time.perf_counter()
    rate = count / (work_off(app, count) - started)
    app.close()
    return rate


def drain_two(url: str, count: int) -> float:
    filled(url, count).close()
    spawn = multiprocessing.get_context("spawn")
    barrier, finished = spawn.Barrier(3), spawn.Value("i", 0)
    workers = [spawn.Process(target=drain_beside, args=(url, count, barrier, finished)) for _ in range(2)]
    for worker in workers:
        worker.start()
    barrier.wait()

    def until_done() -> None:
        while finished.value < count:
            time.sleep(0.002)

    rate = rate_of(until_done, count)
    for worker in workers:
        worker.join()
    return rate


def drain_beside(url: str, count: int, barrier: Any, finished: Any) -> None:
    app = app_on(url)

    process = app.worker(concurrency=CONCURRENCY)

    def watch() -> None:
        told = 0
        while finished.value < count:
            time.sleep(0.002)
            now = process.finished
            with finished.get_lock():
                finished.value += now - told
            told = now
        process.stop()

    assert app.client.database
    barrier.wait()
    watcher = threading.Thread(target=watch)
    watcher.start()
    process.run()
    watcher.join()
    app.close()


def enqueue_bulk(url: str, count: int) -> float:
    app = app_on(url)
    send_task = task(app, "bench.send")
    send_task.enqueue(TO, SUBJECT, NUMBER)
    items = [(TO, SUBJECT, NUMBER)] * 1000

    def all_of_them() -> None:
        for _ in range(count // 1000):
            send_task.enqueue_many(items)

    rate = rate_of(all_of_them, count // 1000 * 1000)
    app.close()
    return rate


def enqueue_single(url: str, count: int) -> float:
    app = app_on(url)
    send_task = task(app, "bench.send")
    send_task.enqueue(TO, SUBJECT, NUMBER)

    def one_by_one() -> None:
        for _ in range(count):
            send_task.enqueue(TO, SUBJECT, NUMBER)

    rate = rate_of(one_by_one, count)
    app.close()
    return rate


def start_latency(url: str, count: int) -> tuple[float, float]:
    """SQLite: caller and worker in one process; PostgreSQL: the worker is a process of its own."""
    if url.startswith("sqlite"):
        return asyncio.run(latency_in_process(url, count))
    app = app_on(url)
    spawn = multiprocessing.get_context("spawn")
    ready, stop, results = spawn.Event(), spawn.Event(), spawn.Queue()
    worker = spawn.Process(target=mark_starts, args=(url, count, ready, stop, results))
    worker.start()
    ready.wait()
    mark_task = task(app, "bench.mark")
    for _ in range(count):
        mark_task.enqueue(time.perf_counter())
        time.sleep(GAP_SECONDS * 3)  # longer than the 10 ms for which hints are gathered: each enqueue finds the worker idle
    found = percentiles(results.get(timeout=30))
    worker.join()
    app.close()
    return found


def mark_starts(url: str, count: int, ready: Any, stop: Any, results: Any) -> None:
    app = app_on(url)

    async def work() -> None:
        async with app.running(concurrency=CONCURRENCY):
            await asyncio.sleep(0.2)
            ready.set()
            while len(STARTS) < count:  # noqa: ASYNC110  (another thread fills it)
                await asyncio.sleep(0.01)

    asyncio.run(work())
    results.put(STARTS)
    app.close()


async def latency_in_process(url: str, count: int) -> tuple[float, float]:
    app = app_on(url)
    mark_task = task(app, "bench.mark")
    STARTS.clear()

    def produce() -> None:
        for _ in range(count):
            mark_task.enqueue(time.perf_counter())
            time.sleep(GAP_SECONDS)

    async with app.running(concurrency=CONCURRENCY):
        await asyncio.sleep(0.2)
        await asyncio.to_thread(produce)
        while len(STARTS) < count:  # noqa: ASYNC110  (another thread fills it)
            await asyncio.sleep(0.01)
    app.close()
    return percentiles(STARTS)
