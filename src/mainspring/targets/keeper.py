"""The process between a worker and a program it runs: starts the program under its limits, and leaves nothing of it behind.

It is a script of the standard library alone, run by ``shell`` in a fresh interpreter with one thread, where a fork is safe. It
adopts whatever the program leaves (Linux), and hears of the worker's death by the end of their channel. On the channel, the worker
sends the order, then ``T`` (TERM to the group) and ``K`` (KILL to all); it hears a line of JSON for what happened, and the end of
the channel when nobody is left. Not here: output, which goes straight to the worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

LENGTH_BYTES = 4
TERM, KILL = b"T", b"K"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_AGAIN_SECONDS = 0.05
_IS_LINUX = sys.platform == "linux"
_LIMITS = {
    "cpu": resource.RLIMIT_CPU,
    "memory": resource.RLIMIT_AS,
    "files": resource.RLIMIT_NOFILE,
    "file_size": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
}
#: Those that can be set. Python, we, or whoever started the worker (a shell in the background, nohup) left some otherwise than a
#: program expects.
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Keeper:
    """Keeps one program."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel: socket.socket | None = channel
        self._woken = _wake_on_children()
        self._program = 0  # 0 once it has ended
        self._is_killing = False

    def keep(self, order: Mapping[str, Any]) -> None:
        """Run the program to its end, and wait until all that it started is gone."""
        self._program = program = start(order)
        while not self._reaped(program):
            watched = [self._woken] if self._channel is None else [self._woken, self._channel.fileno()]
            ready, _, _ = select.select(watched, [], [], _LOOK_AGAIN_SECONDS if self._is_killing else None)
            if self._woken in ready:
                os.read(self._woken, 4096)
            if self._channel is not None and self._channel.fileno() in ready:
                self._hear(self._channel)
            if self._is_killing:
                self._signal(signal.SIGKILL, to_all=True)

    def _reaped(self, program: int) -> bool:
        """Take note of everybody who ended; whether nobody is left."""
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            while True:
                pid, status, used = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return False
                if pid == program:
                    self._program = 0
                    if not _IS_LINUX:  # where nobody can be adopted, the group goes with its first
                        os.killpg(program, signal.SIGKILL)
                    code = os.waitstatus_to_exitcode(status)
                    self._tell({"ended": code, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_kib": used.ru_maxrss})
        return True

    def _hear(self, channel: socket.socket) -> None:
        heard = b""
        with contextlib.suppress(ConnectionError):
            heard = channel.recv(64)
        if not heard:  # the worker is gone, and nobody hears how this ends
            channel.close()
            self._channel = None
        self._is_killing |= not heard or KILL in heard
        if TERM in heard:
            self._signal(signal.SIGTERM, to_all=not self._program)

    def _tell(self, what: Mapping[str, Any]) -> None:
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.sendall(json.dumps(what).encode() + b"\n")

    def _signal(self, number: int, *, to_all: bool) -> None:
        """Signal the program's group while it lives (its number may be another's later), and whoever else came of it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._program:
                os.killpg(self._program, number)
        for pid in descendants(os.getpid()) if to_all else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


# -- starting --------------------------------------------------------------------------------------------------------


def start(order: Mapping[str, Any]) -> int:
    """Start the program; its process id.

    Raises:
        OSError: it cannot be started; the message says why.
    """
    heard, said = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(order, keeper, said)
    os.close(said)
    with open(heard, "rb") as stream:
        trouble = stream.read()
    if trouble:
        os.waitpid(pid, 0)
        raise OSError(trouble.decode("utf-8", "replace"))
    return pid


def _become(order: Mapping[str, Any], keeper: int, said: int) -> NoReturn:
    """Turn this process into the program. Never returns."""
    doing = "starting"
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if (user := order["user"]) is not None:
            doing = "switching to its user"
            os.setgroups(user["groups"])
            os.setgid(user["gid"])
            os.setuid(user["uid"])
        _die_with(keeper)
        doing = f"entering {order['cwd']}"
        os.chdir(order["cwd"])
        doing = "setting its limits"
        _limit(order["limits"])
        doing = f"executing {order['argv'][0]}"
        os.execve(order["argv"][0], [os.fsencode(each) for each in order["argv"]], _bytes(order["env"]))
    except (OSError, ValueError, MemoryError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        os.write(said, f"{doing}: {told}".encode("utf-8", "replace")[:4096])
    finally:
        os._exit(127)  # whatever happens, this process never goes on as the keeper


def _bytes(env: Mapping[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


def _limit(limits: Mapping[str, int]) -> None:
    os.nice(limits.get("nice", 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, kind in _LIMITS.items():
        if name in limits:
            _, hard = resource.getrlimit(kind)
            most = limits[name] if hard == resource.RLIM_INFINITY else min(limits[name], hard)
            resource.setrlimit(kind, (most, most + 1 if name == "cpu" and hard == resource.RLIM_INFINITY else most))


def _die_with(keeper: int) -> None:
    if _IS_LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(127)


# -- what came of it -------------------------------------------------------------------------------------------------


def descendants(ancestor: int) -> list[int]:
    """Every process below ``ancestor``, as far as this system tells."""
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """Every process with its parent."""
    for name in os.listdir("/proc") if _IS_LINUX else ():
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as stream:
                yield int(name), int(stream.read().rpartition(b")")[2].split()[1])


def _wake_on_children() -> int:
    """A descriptor that can be read when a child ends. Other signals are the worker's to decide on."""
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return woken


def main(descriptor: int) -> None:
    """Take the order from the channel, and carry it out."""
    with socket.socket(fileno=descriptor) as channel:
        channel.set_inheritable(False)
        if _IS_LINUX:
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        with channel.makefile("rb", buffering=0) as stream:
            size = int.from_bytes(_exactly(stream, LENGTH_BYTES), "big")
            order = json.loads(_exactly(stream, size))
        try:
            Keeper(channel).keep(order)
        except OSError as error:
            with contextlib.suppress(OSError):
                channel.sendall(json.dumps({"failed": str(error)}).encode() + b"\n")


def _exactly(stream: Any, size: int) -> bytes:
    held = b""
    while len(held) < size and (part := stream.read(size - len(held))):
        held += part
    if len(held) < size:
        os._exit(1)  # the worker died before it had said what to do
    return held


if __name__ == "__main__":
    main(int(sys.argv[1]))
