"""huey on SQLite, driven: `SqliteHuey` in WAL mode, one worker thread, its own polling; `HUEY_FSYNC` is 0 or 1.

Of a finished job it keeps nothing: the row is deleted when it is claimed (so a crash loses it), and a `None` result is
not stored.
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import logging
import os
import threading
import time

import huey

from bench.peers import driving

WORKERS = 1  # the fastest here of 1, 2, 4 and 8: the threads share one lock on the file


def queue(url: str) -> huey.SqliteHuey:
    logging.getLogger("huey").setLevel(logging.ERROR)
    return huey.SqliteHuey(filename=url.removeprefix("sqlite:///"), fsync=os.environ["HUEY_FSYNC"] == "1")


def counted(app: huey.SqliteHuey, count: int):
    """A no-op task that tells when it has run `count` times."""
    seconds: list[float] = []
    ended = threading.Event()

    @app.task()
    def stamped(at: int) -> None:
        seconds.append(driving.age(at))
        if len(seconds) >= count:
            ended.set()

    return stamped, seconds, ended


def drain(url: str, count: int) -> float:
    app = queue(url)
    task, _, ended = counted(app, count)
    for _ in range(count):
        task(0)
    consumer = app.create_consumer(workers=WORKERS, periodic=False)
    started = time.perf_counter()
    consumer.start()
    ended.wait()
    rate = driving.rate(count, started)
    consumer.stop(graceful=True)
    return rate


def enqueue_single(url: str, count: int) -> float:
    task, _, _ = counted(queue(url), count)
    started = time.perf_counter()
    for _ in range(count):
        task(0)
    return driving.rate(count, started)


def start_latency(url: str, count: int) -> tuple[float, float]:
    """One job at a time: the worker polls up to 0.1 s at first and longer when idle, so the next waits for the last."""
    app = queue(url)
    task, seconds, ended = counted(app, count)
    consumer = app.create_consumer(workers=1, periodic=False, max_delay=0.1)
    consumer.start()
    for n in range(count):
        task(time.monotonic_ns())
        while len(seconds) <= n:
            time.sleep(driving.GAP_SECONDS)
    ended.wait()
    consumer.stop(graceful=True)
    return driving.percentiles(seconds)


if __name__ == "__main__":
    driving.main({work.__name__: work for work in (drain, enqueue_single, start_latency)})
