"""What only time shows: a snapshot that is held open under load, and hours at half load. Commands of `bench/growth.py`.

Here: the two, each a table with a row for every tenth of the time.  Not here: what much of something costs.
"""

from __future__ import annotations

import multiprocessing
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg

from mainspring import App
from mainspring.testing.postgres import fresh_database, postgres_server

ROWS = 10
LEAST_RATIO = 0.9
MOST_GROWTH = 1.2
CONCURRENCY = 100
PROBE = 10_000
PACE_SECONDS = 0.05
TELL_SECONDS = 0.5
TABLES = "SELECT sum(pg_total_relation_size(relid)), sum(n_dead_tup) FROM pg_stat_user_tables"
HOLD = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM runs"


# --- a snapshot that is held --------------------------------------------------------------------------------------------


def hold_a_snapshot(side_on: Callable[[str], Any], *, minutes: float) -> bool:
    """Work on PostgreSQL at full load, at first freely, then while somebody holds a snapshot, so that nothing dead can be swept
    away. Prints the rates; whether the last is nine tenths of the first."""
    rates: list[float] = []
    with ExitStack() as held:
        url = held.enter_context(fresh_database(held.enter_context(postgres_server())))
        side, looker = side_on(url), held.enter_context(psycopg.connect(url, autocommit=True))
        held.callback(side.client.close)
        holder = held.enter_context(psycopg.connect(url, autocommit=True))
        work_for(side, 2.0)
        print(f"{'minute':>8}{'claim and finish /s':>22}{'tables MiB':>12}{'dead rows':>12}")
        for row in range(ROWS + 1):
            if row == 1:
                holder.execute(HOLD.encode())
            rates.append(work_for(side, minutes * 60 / (ROWS + 1)))
            ((size, dead),) = looker.execute(TABLES).fetchall()
            told = "free" if row == 0 else f"{row * minutes / (ROWS + 1):.1f}"
            print(f"{told:>8}{rates[-1]:22,.0f}{size / 2**20:12,.0f}{int(dead):12,}", flush=True)
    ratio = rates[-1] / rates[0]
    print(f"held for {minutes:g} minutes: {ratio:.2f} of the free rate{'' if ratio >= LEAST_RATIO else ', below 0.9'}")
    return ratio >= LEAST_RATIO


def work_for(side: Any, seconds: float) -> float:
    """Enqueue and work off for so long; the median rate of working off."""
    rates: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or not rates:
        side.enqueue_at_once()
        rates.append(side.work())
    return statistics.median(rates)


# --- hours at half load -------------------------------------------------------------------------------------------------


def soak(kind: str, *, minutes: float) -> bool:
    """A worker process at half of what it can do. Prints what it holds and how late it starts; whether that stays as it was."""
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as held:
        if kind == "sqlite":
            url = f"sqlite:///{held.enter_context(tempfile.TemporaryDirectory(prefix='mainspring-soak-'))}/runs.db"
        else:
            url = held.enter_context(fresh_database(held.enter_context(postgres_server())))
        app = app_on(url, [])
        app.migrate()
        held.callback(app.close)
        starts: Any = spawn.Queue()
        ready, stop = spawn.Event(), spawn.Event()
        worker = spawn.Process(target=serve, args=(url, ready, stop, starts))
        worker.start()
        held.callback(worker.join)
        held.callback(stop.set)  # the last is called first
        ready.wait()
        touch = task_of(app)
        rate = probed(touch, starts) / 2
        print(f"{kind}: {rate:,.0f} runs a second for {minutes:g} minutes, half of what one worker process does")
        print(f"{'minute':>8}{'started':>10}{'p50 ms':>9}{'p99 ms':>9}{'RSS MiB':>9}{'fds':>6}{'threads':>9}{'tables MiB':>12}")
        seen = [tenth(url, touch, starts, worker.pid, rate, minutes, row) for row in range(1, ROWS + 1)]
    (rss, fds), (last_rss, last_fds) = seen[1], seen[-1]
    steady = last_rss <= rss * MOST_GROWTH and last_fds <= fds * MOST_GROWTH
    print("memory and files stay as they were" if steady else f"GROWS: {rss:.0f} -> {last_rss:.0f} MiB, {fds} -> {last_fds} fds")
    return steady


def app_on(url: str, late: list[float]) -> App:
    """The app of both processes; the worker's notes how late each run starts."""
    app = App("soak", database=url)

    @app.task(name="soak.touch")
    async def touch(sent_at: float) -> None:
        late.append(time.perf_counter() - sent_at)

    return app


def task_of(app: App) -> Any:
    """The task as a caller has it."""
    from mainspring.tasks import Task

    spec = app.registry.get("soak.touch")
    return Task(app, spec, spec.function, spec.options)


def serve(url: str, ready: Any, stop: Any, starts: Any) -> None:
    """The worker process: tells twice a second how late runs started, so that it keeps nothing itself."""
    late: list[float] = []
    app = app_on(url, late)
    process = app.worker(concurrency=CONCURRENCY)

    def tell() -> None:
        ready.set()
        while not stop.wait(TELL_SECONDS):
            some = late[: len(late)]
            del late[: len(some)]
            starts.put(some)
        process.stop()

    teller = threading.Thread(target=tell)
    teller.start()
    process.run()
    teller.join()
    app.close()


def probed(touch: Any, starts: Any) -> float:
    """What the worker does at most, runs a second."""
    touch.enqueue_many([(time.perf_counter(),)] * 100)
    took(starts, 100)
    began = time.perf_counter()
    for _ in range(PROBE // 1_000):
        touch.enqueue_many([(time.perf_counter(),)] * 1_000)
    took(starts, PROBE)
    return PROBE / (time.perf_counter() - began)


def took(starts: Any, wanted: int) -> None:
    """Waits until so many have started."""
    while wanted > 0:
        wanted -= len(starts.get(timeout=60))


def tenth(url: str, touch: Any, starts: Any, pid: int | None, rate: float, minutes: float, row: int) -> tuple[float, int]:
    """Load for a tenth of the time, and its row."""
    began, seconds, sent = time.monotonic(), minutes * 60 / ROWS, 0
    for turn in count(1):
        due = min(int(rate * (time.monotonic() - began)), int(rate * seconds)) - sent
        if due > 0:
            touch.enqueue_many([(time.perf_counter(),)] * due)
            sent += due
        if time.monotonic() - began >= seconds:
            break
        time.sleep(max(0.0, began + turn * PACE_SECONDS - time.monotonic()))
    late: list[float] = []
    while True:
        try:
            late += starts.get_nowait()
        except queue.Empty:
            break
    worker = psutil.Process(pid)
    rss, fds = worker.memory_info().rss / 2**20, worker.num_fds()
    cuts = statistics.quantiles(late or [0.0, 0.0], n=100, method="inclusive")
    print(f"{row * minutes / ROWS:8.1f}{len(late):10,}{cuts[49] * 1000:9.1f}{cuts[98] * 1000:9.1f}{rss:9.1f}{fds:6}"
          f"{worker.num_threads():9}{size_of(url):12,.0f}", flush=True)  # fmt: skip
    return rss, fds


def size_of(url: str) -> float:
    """MiB of the database's tables, or of its files."""
    if url.startswith("sqlite:"):
        path = Path(url.removeprefix("sqlite:///"))
        return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 2**20
    with psycopg.connect(url, autocommit=True) as session:
        ((size, _),) = session.execute(TABLES).fetchall()
    return float(size) / 2**20
