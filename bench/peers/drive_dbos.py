"""DBOS on PostgreSQL, driven: workflows without steps on a queue without limits that is polled every 100 ms (the default is 1 s), a
connection pool of 20. Its clock begins at the first job.

Of a finished job it keeps the workflow's row with its input and result; a step would be a row more.
"""
# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, misc, untyped-decorator, no-any-return"

from __future__ import annotations

import os
import time

from dbos import DBOS, DBOSClient

from bench.peers import driving

MODULE = "bench.peers.drive_dbos"
POLL_SECONDS = 0.1
POOL = 20
TO_QUEUE = {"queue_name": "bench", "workflow_name": "noop"}


def launched(url: str, count: int) -> driving.Tally:
    tally = driving.Tally(count)
    DBOS(
        config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR",
                "sys_db_pool_size": POOL}
    )  # fmt: skip

    @DBOS.workflow(name="noop")
    def noop(at: int) -> None:
        tally.mark(at)

    DBOS.launch()
    return tally


def listen() -> None:
    DBOS.register_queue("bench", polling_interval_sec=POLL_SECONDS)


def client(url: str) -> DBOSClient:
    return DBOSClient(system_database_url=url)


def drain(url: str, count: int) -> float:
    tally, producer = launched(url, count), client(url)
    for _ in range(count):
        producer.enqueue(TO_QUEUE, 0)
    driving.settle(url)
    listen()
    tally.ended.wait()
    return tally.rate()


def enqueue_single(url: str, count: int) -> float:
    launched(url, count)
    producer = client(url)
    producer.enqueue(TO_QUEUE, 0)
    started = time.perf_counter()
    for _ in range(count):
        producer.enqueue(TO_QUEUE, 0)
    return driving.rate(count, started)


def start_latency(url: str, count: int) -> tuple[float, float]:
    """One at a time: with a poll between them, the next would only wait for the last."""
    tally, producer = launched(url, count), client(url)
    listen()
    for n in range(count):
        producer.enqueue(TO_QUEUE, time.monotonic_ns())
        while len(tally.seconds) <= n:
            time.sleep(driving.GAP_SECONDS)
    return tally.percentiles()


if __name__ == "__main__":
    driving.main({work.__name__: work for work in (drain, enqueue_single, start_latency)})
    os._exit(0)  # its threads poll on, and have nothing to say
