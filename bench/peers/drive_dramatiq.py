"""Dramatiq on Redis, driven: one worker of eight threads (its default), 100 messages ahead, its default middleware. Its clock
begins at the first job.

Of a finished job it keeps nothing; a message is acknowledged after its job, in a thread.
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import os
import time

os.environ.setdefault("dramatiq_queue_prefetch", "100")  # read when it is imported

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import driving

MODULE = "bench.peers.drive_dramatiq"
THREADS = 8
WARM_SECONDS = 1.0


def counted(url: str, count: int):
    broker, tally = RedisBroker(url=url), driving.Tally(count)
    dramatiq.set_broker(broker)

    @dramatiq.actor(actor_name="noop", broker=broker)
    def noop(at: int) -> None:
        tally.mark(at)

    return broker, noop, tally


def drain(url: str, count: int) -> float:
    broker, actor, tally = counted(url, count)
    for _ in range(count):
        actor.send(0)
    worker = dramatiq.Worker(broker, worker_threads=THREADS)
    worker.start()
    tally.ended.wait()
    rate = tally.rate()
    worker.stop()
    return rate


def drain_two(url: str, count: int) -> float:
    _, actor, _ = counted(url, count)
    for _ in range(count):
        actor.send(0)
    return driving.two_workers(MODULE, url, count)


def worker(url: str, count: int) -> tuple[float, float]:
    broker, _, tally = counted(url, count)
    driving.await_start()
    working = dramatiq.Worker(broker, worker_threads=THREADS)
    working.start()
    ended = tally.await_idle()
    working.stop()
    return tally.first or ended, ended


def enqueue_single(url: str, count: int) -> float:
    _, actor, _ = counted(url, count)
    actor.send(0)
    started = time.perf_counter()
    for _ in range(count):
        actor.send(0)
    return driving.rate(count, started)


def start_latency(url: str, count: int) -> tuple[float, float]:
    broker, _, tally = counted(url, count)
    working = dramatiq.Worker(broker, worker_threads=THREADS)
    working.start()
    time.sleep(WARM_SECONDS)
    driving.start_producer(MODULE, url, count)
    tally.ended.wait()
    working.stop()
    return tally.percentiles()


def produce(url: str, count: int) -> None:
    _, actor, _ = counted(url, count)
    for _ in range(count):
        time.sleep(driving.GAP_SECONDS)
        actor.send(time.monotonic_ns())


if __name__ == "__main__":
    driving.main({work.__name__: work for work in (drain, drain_two, worker, enqueue_single, start_latency, produce)})
