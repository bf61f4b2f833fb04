"""The worker processes of the demo: started, killed with -9, replaced, stopped. Nothing here knows what they work on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

LEASE = "3s"
CONCURRENCY = 4
_STOP_SECONDS = 15.0


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Worker processes by name; a name is used once."""

    database: str
    log: BinaryIO
    living: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    started: int = 0

    def start(self) -> str:
        """Start one more worker; its name."""
        self.started += 1
        name = f"worker-{self.started}"
        self.living[name] = subprocess.Popen(
            [sys.executable, "-m", "examples.index_tree.work", name, LEASE, str(CONCURRENCY)],
            env=os.environ | {"MAINSPRING_DATABASE": self.database},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
        )
        return name

    def kill(self, name: str) -> None:
        """kill -9: no goodbye, no flush, nothing."""
        process = self.living.pop(name)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def bury(self) -> list[str]:
        """Workers that ended although nobody asked them to."""
        dead = [name for name, process in self.living.items() if process.poll() is not None]
        for name in dead:
            self.living.pop(name).communicate()
        return dead

    def stop(self) -> None:
        """Ask all to stop, and wait for them."""
        for process in self.living.values():
            process.terminate()
        for process in self.living.values():
            try:
                process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        self.living.clear()


@contextmanager
def running(database: str, *, workers: int, log: Path) -> Iterator[Fleet]:
    """A fleet of so many workers for the length of the block; what they say goes to a file."""
    with log.open("ab") as out:
        fleet = Fleet(database=database, log=out)
        try:
            for _ in range(workers):
                fleet.start()
            yield fleet
        finally:
            fleet.stop()
