"""The processes of a trial: started, killed, stopped for a while, replaced at once; and a record of what was done to whom.

Here: one process's life and the fleet as a whole. Not here: when somebody dies (``trial``) and what may follow (``checker``).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.crash.ledger import now
from tests.crash.outages import Outage
from tests.support.faults import Action, Fault, When

Role = Literal["worker", "producer"]

_TRANSACTIONS: Mapping[Role, tuple[tuple[str, int], ...]] = {
    "worker": (("worker.turn", 40), ("worker.turn", 8), ("attempts.start", 3), ("attempts.due", 8), ("attempts.reap", 6)),
    "producer": (("runs.create", 30), ("runs.intern", 6), ("batches.create", 3)),
}
_FAULTY_SHARE = 0.5
_RAISING_SHARE = 0.25


@dataclass(slots=True, kw_only=True)
class Process:
    """One process of the fleet. Instants are those of the ledger."""

    name: str
    role: Role
    popen: subprocess.Popen[bytes]
    fault: Fault | None
    paused_at: int | None = None
    resume_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was done to the processes: when each was killed, from when to when each was stopped, and who ended otherwise; and to
    their database."""

    deaths: dict[str, int] = field(default_factory=dict)
    pauses: list[tuple[str, int, int]] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=lambda: {"at random": 0, "at a transaction": 0})
    outages: list[Outage] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How many processes died of SIGKILL."""
        return sum(self.kills.values())


class Fleet:
    """So many workers and producers, kept up to number."""

    def __init__(self, *, database: str, folder: Path, lease_us: int, dice: random.Random) -> None:
        self.record = Record()
        self._folder = folder
        self._dice = dice
        self._environment = os.environ | {
            "CRASH_DATABASE": database,
            "CRASH_LEDGER": str(folder),
            "CRASH_LEASE_US": str(lease_us),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
        }
        self._living: dict[str, Process] = {}
        self._started = 0

    def start(self, role: Role, *, faulty: bool) -> None:
        """Start a process; a faulty one may strike itself at a named transaction."""
        self._started += 1
        name = f"{role[0]}{self._started}"
        fault = self._draw_fault(role) if faulty else None
        with (self._folder / f"{name}.log").open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", f"tests.crash.{role}", name],
                env=self._environment | {"CRASH_NAME": name, "CRASH_FAULT": str(fault or "")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._living[name] = Process(name=name, role=role, popen=popen, fault=fault)

    @property
    def names(self) -> frozenset[str]:
        """Who lives."""
        return frozenset(self._living)

    def replace_dead(self, *, faulty: bool) -> None:
        """Replace whoever has died; let go on whoever was stopped for long enough."""
        for process in tuple(self._living.values()):
            if process.paused_at is not None and time.monotonic() > process.resume_at:
                self._resume(process)
            if process.popen.poll() is not None:
                self._bury(process, "at a transaction")
                self.start(process.role, faulty=faulty)

    def kill_one(self) -> None:
        """SIGKILL to anybody, running or stopped, just born or in the middle of something."""
        self._kill(self._dice.choice(tuple(self._living.values())))

    def pause_one(self, seconds: float) -> None:
        """SIGSTOP to a worker, for so long."""
        workers = [p for p in self._living.values() if p.role == "worker" and p.paused_at is None]
        if workers:
            chosen = self._dice.choice(workers)
            chosen.paused_at, chosen.resume_at = now(), time.monotonic() + seconds
            chosen.popen.send_signal(signal.SIGSTOP)

    def kill_all(self) -> None:
        """SIGKILL to everybody at once. Nobody is replaced."""
        for process in tuple(self._living.values()):
            self._kill(process)
            self._bury(process, "at random")

    def dismiss(self, seconds: float, *, role: Role | None = None) -> None:
        """SIGTERM to everybody, or to everybody in that role, who then must end in good order and in time."""
        dismissed = [process for process in self._living.values() if role in {None, process.role}]
        for process in dismissed:
            process.popen.send_signal(signal.SIGTERM)
        give_up_at = time.monotonic() + seconds
        for process in dismissed:
            try:
                process.popen.wait(max(0.1, give_up_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
            self._bury(process, "after it was told to stop")

    def logs(self) -> Iterator[tuple[str, str]]:
        """What each process said aloud."""
        for path in sorted(self._folder.glob("*.log")):
            yield path.stem, path.read_text(errors="replace")

    def _kill(self, process: Process) -> None:
        self.record.deaths.setdefault(process.name, now())
        process.popen.kill()
        process.popen.wait()

    def _resume(self, process: Process) -> None:
        assert process.paused_at is not None
        process.popen.send_signal(signal.SIGCONT)
        self.record.pauses.append((process.name, process.paused_at, now()))
        process.paused_at = None

    def _bury(self, process: Process, how: str) -> None:
        del self._living[process.name]
        code = process.popen.returncode
        if process.paused_at is not None:
            self.record.pauses.append((process.name, process.paused_at, now()))
        if code == -signal.SIGKILL and how != "after it was told to stop":
            by_us = process.name in self.record.deaths
            self.record.deaths.setdefault(process.name, now())
            self.record.kills["at random" if by_us else "at a transaction"] += 1
        elif code != 0 or how != "after it was told to stop":
            self.record.failed[process.name] = code

    def _draw_fault(self, role: Role) -> Fault | None:
        if self._dice.random() > _FAULTY_SHARE:
            return None
        name, most = self._dice.choice(_TRANSACTIONS[role])
        when: When = self._dice.choice(("before", "after"))
        action: Action = "raise" if self._dice.random() < _RAISING_SHARE else "kill"
        return Fault(name=name, nth=self._dice.randrange(1, most + 1), when=when, action=action)
