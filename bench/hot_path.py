"""Where the time of a no-op run goes: `python -m bench.hot_path postgres|sqlite [--runs N] [--rounds N] [--limit] [--profile]`.

Drains a queue with one worker, as `bench/ours.py` does, and prints per run: wall time, CPU of the worker's thread, of the event
loop's thread and of the database's server, how often each thread had to wait, transactions and statements, and bytes of WAL.
CPU per run moves far less with what else the machine does than runs a second.  `--limit` prints the same of `bench/limit.py`;
`--profile` prints the profile of each thread after it (which makes everything slower: look at shares).  Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from bench import limit, ours
from bench.works import fresh
from mainspring.runtime.driver import Driver
from mainspring.testing.postgres import postgres_server

TICK = 1e6 / os.sysconf("SC_CLK_TCK")


def cpu_of_threads() -> dict[str, tuple[float, int]]:
    """µs of CPU and waits of each thread of this process, by name."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found: dict[str, tuple[float, int]] = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            waits = next(
                int(line.split()[1]) for line in (task / "status").read_text().splitlines() if line.startswith("voluntary")
            )
            found[names.get(int(task.name), task.name)] = (nanoseconds / 1000, waits)
    return found


def cpu_of_server(url: str) -> dict[str, float]:
    """µs of CPU of every process of the server on this machine, by what it is."""
    with psycopg.connect(url, autocommit=True) as connection:
        mine = connection.info.backend_pid
        postmaster = int(Path(f"/proc/{mine}/stat").read_text().rsplit(")", 1)[1].split()[1])
    found: dict[str, float] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == postmaster and int(process.name) != mine:
                spent = int((process / "schedstat").read_text().split()[0]) / 1000
                title = (process / "cmdline").read_text().replace("\0", " ").removeprefix("postgres: ").split()
                kind = " ".join(title[:2]) if "[local]" not in title and not any("(" in word for word in title) else "backends"
                found[kind] = found.get(kind, 0.0) + spent
    return found


def wal(url: str) -> tuple[int, int, int]:
    """Bytes of WAL so far, committed transactions, and updates that were HOT."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, xact_commit, "
            "(SELECT coalesce(sum(n_tup_hot_upd), 0)::bigint FROM pg_stat_user_tables) "
            "FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


@contextlib.contextmanager
def profiled(profiles: dict[str, cProfile.Profile]) -> Iterator[None]:
    """Profile the threads of services from their start."""
    plain = Driver._run

    def run(self: Driver, service: Any, bell: Any) -> None:
        profile = profiles.setdefault(service.name, cProfile.Profile())
        profile.enable()
        try:
            plain(self, service, bell)
        finally:
            profile.disable()

    Driver._run = run  # type: ignore[method-assign]
    loop = profiles.setdefault("loop", cProfile.Profile())
    loop.enable()
    try:
        yield
    finally:
        loop.disable()
        Driver._run = plain  # type: ignore[method-assign]


def work_off(app: Any, count: int, at_the_end: Callable[[], None]) -> tuple[float, int]:
    """As `ours.work_off`, and a look at the threads while they are there."""
    process = app.worker(concurrency=ours.CONCURRENCY)
    seconds: list[float] = []
    started = time.perf_counter()

    def watch() -> None:
        while process.finished < count:
            time.sleep(0.01)
        seconds.append(time.perf_counter() - started)
        at_the_end()
        process.stop()

    watcher = threading.Thread(target=watch, name="watcher")
    watcher.start()
    process.run()
    watcher.join()
    return seconds[0], count


def measure(url: str, count: int, *, bare: bool, profiles: dict[str, cProfile.Profile] | None) -> dict[str, float]:
    """One drain, µs and numbers per run."""
    is_postgres = url.startswith("postgresql")
    app = None if bare else ours.filled(url, count)
    table = limit.filled(url, count) if bare else None
    before, after = cpu_of_threads(), dict[str, tuple[float, int]]()
    server, log = (cpu_of_server(url), wal(url)) if is_postgres else ({}, (0, 0, 0))
    if table is not None:
        started = time.perf_counter()
        limit.work_off(table)
        seconds = time.perf_counter() - started
        after = cpu_of_threads()
    else:
        with profiled(profiles) if profiles is not None else contextlib.nullcontext():
            seconds, _ = work_off(app, count, lambda: after.update(cpu_of_threads()))
    found = {"runs/s": count / seconds, "wall us": seconds * 1e6 / count}
    for name, (spent, waits) in after.items():
        us = (spent - before.get(name, (0, 0))[0]) / count
        if us > 0.5:
            found[f"{name} us"] = us
            found[f"{name} waits/100"] = (waits - before.get(name, (0, 0))[1]) * 100 / count
    if is_postgres:
        time.sleep(0.05)
        log_now = wal(url)
        for kind, spent in cpu_of_server(url).items():
            if (us := (spent - server.get(kind, 0)) / count) > 0.3:
                found[f"server {kind} us"] = us
        found["WAL bytes"] = (log_now[0] - log[0]) / count
        found["HOT updates"] = (log_now[2] - log[2]) / count
        found["commits/100"] = (log_now[1] - log[1]) * 100 / count
    (app or table).close()  # type: ignore[union-attr]
    return found


def printed(profile: cProfile.Profile, lines: int) -> str:
    out = io.StringIO()
    pstats.Stats(profile, stream=out).strip_dirs().sort_stats("tottime").print_stats(lines)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hot_path", description="Where the time of a no-op run goes.")
    parser.add_argument("database", choices=["postgres", "sqlite"])
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", action="store_true", help="the bare SQL limit as well, in alternation")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--lines", type=int, default=30, help="lines of each profile")
    parser.add_argument("--server", help="the URL of a PostgreSQL that runs already")
    chosen = parser.parse_args()
    profiles: dict[str, cProfile.Profile] | None = {} if chosen.profile else None
    with contextlib.ExitStack() as stack:
        server = chosen.server
        if chosen.database == "postgres" and server is None:
            server = stack.enter_context(postgres_server())
        for _ in range(chosen.rounds):
            for bare in (True, False) if chosen.limit else (False,):
                with fresh(chosen.database, server) as url:
                    found = measure(url, chosen.runs, bare=bare, profiles=profiles)
                print("limit" if bare else "us   ", "; ".join(f"{name} {value:,.1f}" for name, value in found.items()), flush=True)
    for name, profile in (profiles or {}).items():
        if name in {"loop", "worker"}:
            print(f"\n-- {name}\n{printed(profile, chosen.lines)}")


if __name__ == "__main__":
    main()
