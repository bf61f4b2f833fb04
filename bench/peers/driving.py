"""What the driver scripts share: the command line, jobs counted as they run, two workers let go together, a producer.

Runs in the peers' environments, so it uses the standard library only.  Knows no peer.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

CHUNK = 1000
GAP_SECONDS = 0.005
LOOK_SECONDS = 0.02
IDLE_SECONDS = 1.0
WAIT_SECONDS = 30.0

Work = Callable[[str, int], Any]


def main(works: Mapping[str, Work]) -> None:
    """Runs the work named on the command line; its value is the last line of stdout, as JSON."""
    work, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    print(json.dumps({"work": work, "value": works[work](url, count)}), flush=True)


def rate(count: int, started: float) -> float:
    return count / (time.perf_counter() - started)


def chunks(count: int) -> Iterator[range]:
    return (range(at, min(at + CHUNK, count)) for at in range(0, count, CHUNK))


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[98] * 1000


def age(stamp: bytes | str | int) -> float:
    """Seconds since `time.monotonic_ns()` gave the stamp, in whichever process of this machine."""
    return (time.monotonic_ns() - int(stamp)) / 1e9


class Tally:
    """Jobs as they run, for workers that are told only when to stop. What such a worker takes to start is not counted."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seconds: list[float] = []
        self.first = self.last = 0.0
        self.ended = threading.Event()

    def mark(self, stamp: bytes | str | int | None = None) -> bool:
        """A job runs; whether it is the last. `stamp` is when it was enqueued."""
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.seconds.append(0.0 if stamp is None else age(stamp))
        if is_last := len(self.seconds) >= self.count:
            self.ended.set()
        return is_last

    def rate(self) -> float:
        return (len(self.seconds) - 1) / (self.last - self.first)

    def percentiles(self) -> tuple[float, float]:
        return percentiles(self.seconds)

    def await_idle(self) -> float:
        """Waits until no job has run for a second, or none came at all; the instant of the last."""
        began = time.monotonic()
        while time.monotonic() - (self.last + IDLE_SECONDS if self.last else began + WAIT_SECONDS) < 0:
            time.sleep(LOOK_SECONDS)
        return self.last or began


def command(module: str, work: str, url: str, count: int) -> list[str]:
    return [sys.executable, "-m", module, work, url, str(count)]


def two_workers(module: str, url: str, count: int) -> float:
    """The rate of two processes running the module's `worker`, let go together once both said they are ready."""
    workers = [
        subprocess.Popen(command(module, "worker", url, count), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "ready"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    spans = [json.loads(worker.communicate()[0].splitlines()[-1])["value"] for worker in workers]
    seconds: float = max(end for _, end in spans) - min(start for start, _ in spans)
    return count / seconds


def settle(url: str) -> None:
    """As `bench.settling` does for every side, in the benchmark's own interpreter."""
    subprocess.run([os.environ["BENCH_PYTHON"], "-m", "bench.settling", url], check=True)


def await_start() -> float:
    """Called by `worker` when it is ready: waits to be let go and gives the instant, comparable between processes."""
    print("ready", flush=True)
    sys.stdin.readline()
    return time.monotonic()


def start_producer(module: str, url: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(module, "produce", url, count), stdout=subprocess.DEVNULL)
