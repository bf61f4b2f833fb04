"""``mainspring scheduler``: what is due is decided while no worker is there, and its end is a good one."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import pytest

from tests.cli.shell import PATIENCE_SECONDS, Shell


def fates(shell: Shell) -> list[Any]:
    return [each["disposition"] for each in shell.json("schedule", "occurrences", "hello")["data"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_schedules_are_planned_while_no_worker_is_there(shell: Shell, number: signal.Signals) -> None:
    shell.drain()
    shell.run("schedule", "put", "hello", "greet", "--every", "1s", "--payload", '{"who": "you"}')
    process = shell.start("scheduler")
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while "fired" not in fates(shell):
        assert time.monotonic() < give_up_at
    process.send_signal(number)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, told.splitlines()[-1]) == (0, "scheduler stopped")


def test_two_schedulers_fire_each_instant_once(shell: Shell) -> None:
    shell.drain()
    shell.run("schedule", "put", "hello", "greet", "--every", "1s", "--overlap", "allow", "--payload", '{"who": "you"}')
    both: list[subprocess.Popen[str]] = [shell.start("scheduler") for _ in range(2)]
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while len(fates(shell)) < 4:
        assert time.monotonic() < give_up_at
    for process in both:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    ledger = shell.json("schedule", "occurrences", "hello")["data"]
    assert len({each["nominal_at"] for each in ledger}) == len(ledger)
    assert len(shell.json("run", "list")["data"]) == len(ledger)
