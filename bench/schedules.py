"""`python -m bench.schedules [install] [--only fires|crowd] [--db KIND]`: how late schedules fire, what a crowd of idle ones costs.

`fires`: a thousand schedules, each due every second, planned and run by one real worker process for a minute; lateness is from the
instant that was due to the claim of its run, APScheduler's (3, in an environment of its own, made by `install`) to the call of its
job. `crowd`: a planner's step over ten due schedules, alone and among 100,000 that are not due. Not here: how long the next
occurrence of an expression takes (`bench/occurrences.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from bench import machine
from bench.settling import settle
from mainspring import App, every
from mainspring.core.durations import SECOND
from mainspring.operations.planning import plan_due
from mainspring.testing.invariants import snapshot
from mainspring.testing.postgres import fresh_database, postgres_server

HOME = Path(__file__).resolve().parents[1] / ".bench" / "apscheduler"
PYTHON = HOME / "bin" / "python"
RESULTS = Path(__file__).parent / "results" / "schedules.json"
WARM_UP = 10 * SECOND
DUE, CROWD, ROUNDS = 10, 100_000, 15
IDLE = "idle"

THEIRS = """
import sys, time
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
count, seconds, store = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
late, calls = [], {}
def job(n, first):
    # Nothing is coalesced or skipped, so the k-th call of a job is that for its k-th second.
    calls[n] = calls.get(n, -1) + 1
    if calls[n] >= 10:
        late.append(time.time() - first - calls[n])
scheduler = BackgroundScheduler(executors={"default": ThreadPoolExecutor(20)})
if store:
    scheduler.add_jobstore("sqlalchemy", url="sqlite:///" + store)
begin = time.time() + 2 + count / 25  # adding them takes a while
scheduler.start(paused=True)
from datetime import datetime, timezone
for n in range(count):
    first = begin + n / count
    scheduler.add_job("__main__:job", "interval", seconds=1, args=[n, first], max_instances=100, misfire_grace_time=60,
                      coalesce=False, start_date=datetime.fromtimestamp(first, timezone.utc), id=str(n))
scheduler.resume()
time.sleep(max(0, begin - time.time()) + seconds)
scheduler.shutdown(wait=False)
import json
print(json.dumps(sorted(late)))
"""


def percentiles(lateness: Sequence[float]) -> dict[str, float]:
    """Milliseconds, of lateness in microseconds."""
    found = sorted(lateness)
    return {"count": len(found), "p50": found[len(found) // 2] / 1e3, "p99": found[len(found) * 99 // 100] / 1e3,
            "most": found[-1] / 1e3}  # fmt: skip


def fires(url: str, count: int, seconds: float) -> dict[str, float]:
    """How late the runs of so many schedules, each due every second, were claimed."""
    app = _app(url)
    for n in range(count):
        app.client.schedules.put(f"due-{n}", every("1s"), "noop", overlap="allow")
    began = time.time_ns() // 1000
    asyncio.run(_work(app, seconds))
    with snapshot(app.client.database) as select:
        rows = list(
            select(
                "SELECT o.due_at, e.at FROM occurrences o JOIN events e ON e.run_id = o.run_id AND e.type = 'claimed'"
                f" WHERE o.due_at > {began + WARM_UP}"
            )
        )
    app.client.close()
    return percentiles([at - due_at for due_at, at in rows])


async def _work(app: App, seconds: float) -> None:
    worker = app.worker(concurrency=200)
    working = asyncio.create_task(worker.arun())
    await asyncio.sleep(seconds)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def theirs(count: int, seconds: float, store: str) -> dict[str, float]:
    """The same of APScheduler, in memory or with its job store in a SQLite file, from the instants that its trigger named."""
    done = subprocess.run([PYTHON, "-c", THEIRS, str(count), str(seconds), store], check=True, capture_output=True, text=True)
    return percentiles([late * 1e6 for late in json.loads(done.stdout)])


class Crowded:
    """A database with ten schedules that are due every second, and so many that are not."""

    def __init__(self, url: str, crowd: int) -> None:
        self.app = _app(url)
        client = self.app.client
        for n in range(DUE):
            client.schedules.put(f"due-{n}", every("1s"), "noop", overlap="allow")
        client.schedules.put(IDLE, every("365d"), "noop")
        if crowd:
            self._copy(crowd)
        self.step()

    def step(self) -> float:
        """Milliseconds of one step of the planner, over whatever is due."""
        began = time.perf_counter()
        self.app.client.database.write("schedules.plan", partial(plan_due, most=100))
        return (time.perf_counter() - began) * 1e3

    def _copy(self, count: int) -> None:
        """So many copies of the schedule that is idle, in plain SQL, for it would take minutes otherwise."""
        database: Any = self.app.client.database
        if hasattr(database, "exclusive"):
            fresh, numbers = (
                "printf('00%06x-0000-7000-8000-%012x', n / 65536, n)",
                (f"(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c)"),
            )
            with database.exclusive() as connection:
                for statement in _copies(lambda sql: connection.execute(sql).fetchall(), fresh, numbers, "pragma"):
                    connection.execute(statement).fetchall()
            return
        fresh = "(lpad(to_hex(n / 65536), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
        with psycopg.connect(database.conninfo, autocommit=True) as session:
            asked = lambda sql: session.execute(sql.encode()).fetchall()  # noqa: E731
            for statement in _copies(asked, fresh, f"generate_series(1, {count}) AS n", "information_schema"):
                session.execute(statement.encode())
        settle(database.conninfo)


def _copies(ask: Callable[[str], list[Any]], fresh: str, numbers: str, source: str) -> Iterator[str]:
    for table, key in (("schedules", "id"), ("schedule_revisions", "schedule_id"), ("schedule_cursors", "schedule_id")):
        if source == "pragma":
            columns = [row[0] for row in ask(f"SELECT name FROM pragma_table_info('{table}')")]
        else:
            columns = [row[0] for row in ask(f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'")]
        values = [fresh if name == key else f"'{IDLE}-' || n" if name == "name" else f"t.{name}" for name in columns]
        yield (
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table} t CROSS JOIN {numbers}"
            f" WHERE t.{key} = (SELECT id FROM schedules WHERE name = '{IDLE}')"
        )


def crowd(alone: str, among: str) -> dict[str, float]:
    """Medians of a step alone and among the crowd, in turn, and their ratio."""
    sides = Crowded(alone, 0), Crowded(among, CROWD)
    took: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        time.sleep(1.1)  # each of the ten is due again
        for side, times in zip(sides, took, strict=True):
            times.append(side.step())
    few, many = map(statistics.median, took)
    for side in sides:
        side.app.client.close()
    return {"alone_ms": few, "among_ms": many, "ratio": many / few}


def _app(url: str) -> App:
    app = App("bench", database=url)

    @app.task(name="noop")
    async def noop() -> None:
        """Nothing: what is measured is when it begins."""

    from mainspring.client import Client

    with_schema = Client(url)
    with_schema.migrate()
    with_schema.close()
    return app


@contextmanager
def databases(kind: str, count: int) -> Iterator[list[str]]:
    """So many empty ones."""
    with ExitStack() as stack:
        if kind == "postgres":
            server = stack.enter_context(postgres_server())
            yield [stack.enter_context(fresh_database(server)) for _ in range(count)]
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mainspring-bench-"))
            yield [f"sqlite:///{folder}/{n}.db" for n in range(count)]


def install() -> None:
    """APScheduler 3, and what its job store needs, in an environment of its own."""
    venv.create(HOME, with_pip=True, clear=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "apscheduler<4", "sqlalchemy"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.schedules", description="How late schedules fire.")
    parser.add_argument("what", nargs="?", choices=["install"], help="install APScheduler to be measured beside us")
    parser.add_argument("--only", choices=["fires", "crowd"])
    parser.add_argument("--db", choices=["sqlite", "postgres"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--schedules", type=int, default=1_000)
    asked = parser.parse_args()
    if asked.what == "install":
        install()
        return
    found: dict[str, Any] = {"commit": machine.commit(), "machine": machine.describe(), "seconds": asked.seconds}
    for kind in ("sqlite", "postgres") if asked.db is None else (asked.db,):
        if asked.only != "crowd":
            with databases(kind, 1) as (url,):
                _keep(found, f"fires {kind}", fires(url, asked.schedules, asked.seconds + WARM_UP / SECOND))
        if asked.only != "fires":
            with databases(kind, 2) as (alone, among):
                _keep(found, f"crowd {kind}", crowd(alone, among))
    if asked.only != "crowd" and asked.db is None and PYTHON.exists():
        with tempfile.TemporaryDirectory(prefix="mainspring-bench-") as folder:
            _keep(found, "fires APScheduler in memory", theirs(asked.schedules, asked.seconds, ""))
            _keep(found, "fires APScheduler on SQLite", theirs(asked.schedules, asked.seconds, f"{folder}/jobs.db"))


def _keep(found: dict[str, Any], name: str, values: dict[str, float]) -> None:
    """Say it, and write the file anew: a run that is broken off leaves what it has."""
    print(f"{name:30}", "  ".join(f"{key} {value:,.2f}" for key, value in values.items()), flush=True)
    found[name] = values
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
