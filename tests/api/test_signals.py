"""A worker in a process of its own, and the signals that a supervisor sends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mainspring import App
from mainspring.core.states import State

PROGRAM = """
import sys, threading
from mainspring import App, Context
app = App("signalled", database=sys.argv[1])
stubborn = threading.Event()

@app.task(name="wait", grace="20ms")
def wait(ctx: Context, stop: bool) -> str:
    print("begun", flush=True)
    while not ctx.stopping:
        stubborn.wait(0.005)
    print("stopping", flush=True)
    while not stop:
        ctx.check()
        stubborn.wait(0.005)
    return "stopped in time"

app.worker(concurrency=1, poll="50ms", grace=sys.argv[2]).run()
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("stop", "grace", "signals"), [(True, "30s", 1), (False, "20ms", 1), (False, "1h", 2)])
def test_a_signal_ends_a_worker_without_a_failure(
    tmp_path: Path, number: signal.Signals, stop: bool, grace: str, signals: int
) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    app = App("signalled", database=url)
    handle = app.client.enqueue("wait", stop=stop)
    waiting = app.client.enqueue("wait", stop=stop)
    with subprocess.Popen([sys.executable, "-c", PROGRAM, url, grace], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            process.send_signal(number)
            assert process.stdout.readline() == "stopping\n"
            if signals > 1:
                process.send_signal(number)
            said, _ = process.communicate(timeout=30)
        finally:
            process.kill()
        assert (process.returncode, said) == (0, "ended\n")
    run = app.runs.get(handle.id).run
    assert run.state is (State.SUCCEEDED if stop else State.QUEUED)
    assert (run.failures, run.interruptions) == (0, 0 if stop else 1)
    assert app.runs.get(waiting.id).run.interruptions == 0
    app.close()
