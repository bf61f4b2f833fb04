"""Celery on Redis, driven: one process that runs its tasks itself (`solo`), 128 messages ahead, results ignored, as its guide to
optimising advises for short tasks. Its clock begins at the first job. A message is acknowledged before its task runs (the default).

Of a finished job it keeps nothing.
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import contextlib
import threading
import time

import celery
from celery.worker import state

from bench.peers import driving

MODULE = "bench.peers.drive_celery"
PREFETCH = 128
WARM_SECONDS = 1.0
WORKER = ["worker", "--pool=solo", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]


def application(url: str) -> celery.Celery:
    app = celery.Celery("bench", broker=url)
    app.conf.update(
        task_ignore_result=True,
        worker_redirect_stdouts=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=PREFETCH,
        broker_connection_retry_on_startup=True,
    )
    return app


def counted(app: celery.Celery, count: int):
    tally = driving.Tally(count)

    @app.task(name="noop")
    def noop(at: int) -> None:
        if tally.mark(at):
            stop()

    return noop, tally


def stop() -> None:
    state.should_stop = 0


def work(app: celery.Celery) -> None:
    with contextlib.suppress(SystemExit):
        app.worker_main(WORKER)


def drain(url: str, count: int) -> float:
    app = application(url)
    task, tally = counted(app, count)
    for _ in range(count):
        task.delay(0)
    work(app)
    return tally.rate()


def drain_two(url: str, count: int) -> float:
    task, _ = counted(application(url), count)
    for _ in range(count):
        task.delay(0)
    return driving.two_workers(MODULE, url, count)


def worker(url: str, count: int) -> tuple[float, float]:
    app = application(url)
    _, tally = counted(app, count + 1)
    driving.await_start()

    def until_idle() -> None:
        tally.await_idle()
        stop()

    threading.Thread(target=until_idle).start()
    work(app)
    return tally.first or tally.last, tally.last


def enqueue_single(url: str, count: int) -> float:
    task, _ = counted(application(url), count)
    task.delay(0)
    started = time.perf_counter()
    for _ in range(count):
        task.delay(0)
    return driving.rate(count, started)


def start_latency(url: str, count: int) -> tuple[float, float]:
    app = application(url)
    _, tally = counted(app, count)
    driving.start_producer(MODULE, url, count)
    work(app)
    return tally.percentiles()


def produce(url: str, count: int) -> None:
    task, _ = counted(application(url), count)
    time.sleep(2 * WARM_SECONDS)
    for _ in range(count):
        time.sleep(driving.GAP_SECONDS)
        task.delay(time.monotonic_ns())


if __name__ == "__main__":
    driving.main({work.__name__: work for work in (drain, drain_two, worker, enqueue_single, start_latency, produce)})
