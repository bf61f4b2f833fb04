"""One life: a worker process, a caller, and a message server between them that is killed in mid-drain and comes back.

Here: what happens and what is measured. Not here: how often, and what is printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from mainspring import App, Task
from mainspring.client import Handle
from mainspring.testing import invariants
from tests.support.brokers import Broker
from tests.transports.jobs import began

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
#: What the machine may add to any latency when it is busy.
SLACK_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class Figures:
    """Seconds from an enqueue to the start of its run, and from the server's return to the first hint that came through."""

    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    recovered_seconds: float = 0.0
    runs: int = 0

    def __str__(self) -> str:
        told = [f"{name} {median(values) * 1e3:.0f}/{max(values) * 1e3:.0f} ms" for name, values in self._phases() if values]
        return f"{self.runs} runs, each done once; start after enqueue, median/longest: {', '.join(told)}; " + (
            f"hints {self.recovered_seconds:.2f} s after the return"
        )

    def _phases(self) -> list[tuple[str, list[float]]]:
        return [("up", self.up), ("down", self.down), ("up again", self.again)]


def live(broker: Broker, url: str, *, runs: int, probes: int) -> Figures:
    """Drain while the server is killed and comes back.

    Raises:
        AssertionError: something was lost or done twice, or a run waited longer than the poll lets it.
    """
    app = App("transports", database=url, transport=broker.url)
    app.migrate()
    _ = app.client  # a SQLite file is there before anybody else opens it
    figures = Figures()
    try:
        task = app.task(name="began")(began.function)
        with _worker(url, broker.url):
            handles = [task.enqueue(0)]
            handles[0].result(timeout=PATIENCE_SECONDS)
            figures.up = [_latency(task.enqueue(n), handles) for n in range(probes)]
            handles += _drain_through_the_kill(task, broker, runs)
            figures.down = [_latency(task.enqueue(n), handles) for n in range(probes)]
            broker.start()
            back_at = time.monotonic()
            while _latency(task.enqueue(0), handles) > POLL_SECONDS / 4:
                assert time.monotonic() < back_at + PATIENCE_SECONDS, "no hint came through after the server's return"
            figures.recovered_seconds = time.monotonic() - back_at
            figures.again = [_latency(task.enqueue(n), handles) for n in range(probes)]
        figures.runs = _check_done(app, handles)
        invariants.check(app.client.database)
    finally:
        app.close()
    _check_bounds(figures)
    return figures


def _drain_through_the_kill(task: Task[[int], float], broker: Broker, runs: int) -> list[Handle[float]]:
    """Enqueue one by one, kill the server half way, and wait for all of them."""
    handles: list[Handle[float]] = []
    for n in range(runs):
        if n == runs // 2:
            broker.kill()
        handles.append(task.enqueue(n))
    for handle in handles:
        handle.result(timeout=PATIENCE_SECONDS)
    return handles


def _latency(handle: Handle[float], handles: list[Handle[float]]) -> float:
    """Seconds from this moment, just after the commit, to the start; negative differences of the two clocks' reading are 0."""
    asked_at = time.time()
    handles.append(handle)
    return max(0.0, handle.result(timeout=PATIENCE_SECONDS) - asked_at)


def _check_done(app: App, handles: list[Handle[float]]) -> int:
    counts = app.runs.counts()
    assert counts == {"succeeded": len(handles)}, counts
    again = [handle.id for handle in handles if app.runs.get(handle.id).run.token != 1]
    assert not again, f"claimed more than once: {again}"
    return len(handles)


def _check_bounds(figures: Figures) -> None:
    assert median(figures.up) < POLL_SECONDS / 2, f"hints did not shorten the wait: {figures}"
    assert max(figures.down) < POLL_SECONDS * 1.2 + SLACK_SECONDS, f"slower than the poll: {figures}"
    assert median(figures.again) < POLL_SECONDS / 2, f"hints did not come back: {figures}"


@contextmanager
def _worker(url: str, transport: str) -> Iterator[None]:
    """A worker in a process of its own, stopped in order."""
    command = [sys.executable, "-m", "mainspring", "worker", "tests.transports.jobs:app", "--poll", f"{POLL_SECONDS}s"]
    environment = os.environ | {"MAINSPRING_DATABASE": url, "MAINSPRING_TRANSPORT": transport}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            _, told = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, told = process.communicate()
    assert process.returncode == 0, f"the worker ended with {process.returncode}:\n{told}"
