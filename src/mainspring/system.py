"""The world outside: the clock, ids, dice. Everything above takes these from a ``System``, so that time can be simulated."""

import os
import random
import socket
import time
from typing import Protocol

import uuid_utils

# On macOS it is the monotonic clock of this call (not of ``time.monotonic``) that counts sleep.
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


class System(Protocol):
    """Where instants, ids and random numbers come from."""

    def now(self) -> int:
        """UTC microseconds."""

    def monotonic(self) -> int:
        """Microseconds of a clock that never steps; only differences mean something."""

    def boottime(self) -> int:
        """The same of a clock that also counts while the machine sleeps."""

    def new_id(self) -> str:
        """A UUIDv7, later than the ones before."""

    def draw(self) -> float:
        """A random number in [0, 1)."""


class RealSystem:
    """This machine's clock, ids and dice."""

    def now(self) -> int:
        """UTC microseconds of the system clock."""
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        """Microseconds of the monotonic clock."""
        return time.monotonic_ns() // 1000

    def boottime(self) -> int:
        """Microseconds since boot, sleep included, where the system tells; elsewhere the monotonic clock."""
        return time.clock_gettime_ns(_BOOTTIME) // 1000 if _BOOTTIME is not None else self.monotonic()

    def new_id(self) -> str:
        """A UUIDv7."""
        return str(uuid_utils.uuid7())

    def draw(self) -> float:
        """A random number in [0, 1)."""
        return random.random()


def secret_bytes(count: int) -> bytes:
    """Bytes for a secret. No ``System`` gives them: what a seed could tell would be none."""
    return os.urandom(count)


def process_name() -> str:
    """Host and process, for the ids of workers: what an operator needs to find it."""
    return f"{socket.gethostname()[:40]}-{os.getpid()}"
