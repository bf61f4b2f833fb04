"""Where a number was measured: machine, disk, versions, commit.  Read only; measures nothing but one fdatasync."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import apsw
import psycopg

ROOT = Path(__file__).resolve().parents[1]
SYNCS = 50


def describe() -> dict[str, str | int | float]:
    """What a reader needs to judge a table of numbers."""
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "fdatasync_us": round(sync_microseconds()),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "psycopg": psycopg.__version__,
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def sync_microseconds() -> float:
    """The median time of writing 4 KiB and forcing it to the disk that temporary files are on."""
    took: list[float] = []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            started = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6


def server_settings(url: str) -> dict[str, str]:
    """The settings of the PostgreSQL at `url` that decide what a commit costs."""
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
    with psycopg.connect(url) as connection:
        return {name: str(connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0]) for name in names}  # type: ignore[index]


def redis_settings() -> dict[str, str]:
    """The Redis of this machine, and what of its settings decides what is lost; empty where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        return {}
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = told.partition("v=")[2].partition(" ")[0]
    return {"server_version": version, "appendonly": "yes", "appendfsync": "everysec"}


def commit() -> str:
    """The commit that is checked out, with a `+` when the library or the benchmarks differ from it; `none` outside git."""
    found = git("rev-parse", "--short=10", "HEAD")
    return (found + "+" * bool(git("status", "--porcelain", "--", "src", "bench/*.py"))) or "none"


def git(*arguments: str) -> str:
    ended = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return ended.stdout.strip() if ended.returncode == 0 else ""
