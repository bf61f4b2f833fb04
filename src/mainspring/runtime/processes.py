"""The worker's half of the process executor: starts warm children, gives each one attempt at a time, and ends them.

A child is a fresh interpreter (never a fork of the worker) in a session of its own: a signal meant for the worker does not
reach it, and killing its group kills what the task started too. Not here: what happens inside a child (``child``).
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Self, assert_never

import msgspec

from mainspring.core.attempts import Failed, Interrupted, Outcome, Stopped, Unstarted
from mainspring.runtime.child import LENGTH_BYTES, Ended, Hello, Job, Order, Quit, Report, Stop, Told, framed

__all__ = ["Job", "ProcessPool"]

log = logging.getLogger("mainspring")

#: Saves a checkpoint and progress: ``tell(details, progress, now)``.
Tell = Callable[[bytes | None, str | None, bool], None]

_GOODBYE_SECONDS = 2.0
_LAST_WORDS_SECONDS = 1.0
_reports = msgspec.msgpack.Decoder(Report)

# sys.path first: what follows may not be importable without it. The greeting waits in the channel before the child exists.
_PROGRAM = """\
import json, os, sys
greeting = json.loads(os.read({descriptor}, {size}))
sys.path[:] = greeting["path"]
from mainspring.runtime.child import serve
serve({descriptor}, greeting)
"""


class ProcessPool:
    """At most ``size`` children, started at need and kept warm; a child is replaced after ``recycle_after`` attempts.

    Everything happens in one event loop. Children die with the thread it runs in.
    """

    def __init__(self, size: int, *, recycle_after: int = 1000) -> None:
        self._recycle_after = recycle_after
        self._places = asyncio.Semaphore(size)
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._attempts: dict[str, _Attempt] = {}
        self._closed = False

    async def run(self, job: Job, tell: Tell) -> Outcome:
        """Run one attempt in a child, once one is free; ``tell`` is called here for each heartbeat of user code.

        A child that dies makes the attempt ``Failed("process_died")``; one that was killed on purpose, ``Stopped``. Cancelling
        this call kills the child.
        """
        attempt = self._attempts[job.id] = _Attempt(job.token)
        try:
            async with self._places:
                return await self._run(attempt, job, tell)
        finally:
            if self._attempts.get(job.id) is attempt:
                del self._attempts[job.id]

    def ask_to_stop(self, run_id: str, why: str, *, token: int | None = None) -> None:
        """Have ``ctx.is_cancelled`` turn true in the child, and its next check raise. Unknown ids, and attempts under another
        token, are left alone."""
        if (attempt := self._attempts.get(run_id)) is not None and token in {None, attempt.token}:
            attempt.is_stopped = True
            if attempt.child is not None:
                attempt.child.send(Stop(run_id, why))

    async def kill(self, run_id: str) -> None:
        """Kill the child of that run now, with every process its task started. Unknown ids are left alone."""
        if (attempt := self._attempts.get(run_id)) is not None:
            attempt.is_stopped = True
            if attempt.child is not None:
                attempt.child.kill()
                await attempt.child.gone()

    async def close(self) -> None:
        """End every child: ask, wait two seconds, kill. What would run later never starts."""
        self._closed = True
        await asyncio.gather(*(self._end(child) for child in tuple(self._children)))

    async def _run(self, attempt: "_Attempt", job: Job, tell: Tell) -> Outcome:
        if self._closed:
            return Unstarted()
        try:
            child = await self._free_child()
        except OSError as error:
            log.error("no process could be started for run %s: %s", job.id, error)
            return Interrupted("process_unavailable")
        attempt.child = child
        try:
            return Stopped() if attempt.is_stopped else await child.attempt(job, tell)
        finally:
            self._put_back(child)

    async def _free_child(self) -> "_Child":
        while self._idle:
            child = self._idle.pop()
            if child.is_alive and child.attempts < self._recycle_after:
                return child
            await self._end(child)
        child = await _Child.start(self._children.discard)
        self._children.add(child)
        return child

    def _put_back(self, child: "_Child") -> None:
        if child.is_resting:
            self._idle.append(child)
        else:
            child.drop()

    async def _end(self, child: "_Child") -> None:
        child.send(Quit())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.gone(), _GOODBYE_SECONDS)
        child.drop()
        await child.gone()


class _Attempt:
    """One attempt under way, with or without a child yet."""

    __slots__ = ("child", "is_stopped", "token")

    def __init__(self, token: int) -> None:
        self.token = token
        self.child: _Child | None = None
        self.is_stopped = False


class _Child:
    """One child process, seen from the worker."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._is_killed = False
        self._clearing = asyncio.create_task(self._clear_up())
        self.is_resting = True
        self.attempts = 0

    @classmethod
    async def start(cls, on_gone: "Callable[[_Child], None]") -> Self:
        """Start a child; it is ready for an attempt at once, and begins it when it is up.

        Raises:
            OSError: the system starts no more processes.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await _spawn(ours, theirs)
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()  # a child that did start ends itself when its channel ends
            raise
        child = cls(process, reader, writer)
        child._clearing.add_done_callback(lambda _: on_gone(child))
        return child

    @property
    def is_alive(self) -> bool:
        """Whether it can be given an attempt."""
        return self._process.returncode is None and not self._reader.at_eof()

    def send(self, order: Order) -> None:
        """Send an order; to a dead child, nothing happens."""
        if not self._writer.is_closing():
            self._writer.write(framed(order))

    def kill(self) -> None:
        """Kill it and its group, if it lives."""
        if self._process.returncode is None:
            self._is_killed = True
            self._kill_group()

    def drop(self) -> None:
        """Kill it, and hear no more of it."""
        self.kill()
        self._writer.transport.abort()

    async def gone(self) -> None:
        """Wait until it is dead."""
        await asyncio.shield(self._clearing)

    async def attempt(self, job: Job, tell: Tell) -> Outcome:
        """Run one attempt. The child rests again when this returns what the attempt itself said."""
        self.attempts += 1
        self.is_resting = False
        try:
            self.send(job)
            while True:
                match await self._hear():
                    case Told() as told:
                        tell(told.details, told.progress, told.now)
                    case Ended() as ended:
                        outcome = ended.outcome()
                        self.is_resting = True
                        return outcome
                    case other:
                        assert_never(other)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError):
            return await self._death()

    async def _hear(self) -> Report:
        size = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
        report: Report = _reports.decode(await self._reader.readexactly(size))
        return report

    async def _death(self) -> Outcome:
        if self._is_killed:
            return Stopped()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone(), _LAST_WORDS_SECONDS)
        return Failed(code="process_died", message=_cause(self._process.returncode))

    async def _clear_up(self) -> None:
        """After its death, end what its task left running, and the channel: such a process may hold its other end open."""
        await self._process.wait()
        self._kill_group()
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._writer.transport.abort)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def _spawn(ours: socket.socket, theirs: socket.socket) -> asyncio.subprocess.Process:
    greeting = _greeting()
    ours.sendall(greeting)
    program = _PROGRAM.format(descriptor=theirs.fileno(), size=len(greeting))
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *flags,
        "-c",
        program,
        stdin=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
    )


def _greeting() -> bytes:
    return json.dumps(msgspec.to_builtins(Hello.of_this_process())).encode()


def _cause(code: int | None) -> str:
    """Why a child died, for people."""
    if code is None:
        return "the task closed the channel between its process and the worker"
    if code >= 0:
        return f"the task ended its process with exit status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = "; nobody here sent it, so perhaps the system was out of memory" if -code == signal.SIGKILL else ""
    return f"the task's process was ended by {name}{hint}"
