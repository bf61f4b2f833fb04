"""The target ``shell``: one attempt is one program, and ends with it; what it started ends too.

Here: the worker's side. Each attempt has a keeper (``keeper``), the process that starts the program and answers for what comes of
it. Output is streamed, and bounded while it is. Not here: what may be written (``programs``), and what an end means
(``core/exits.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pwd
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from mainspring.codec.redaction import Redactor
from mainspring.core.attempts import Failed, Interrupted, Outcome, Stopped, Unworkable
from mainspring.core.exits import judged
from mainspring.core.launch import Launch, UnfilledError
from mainspring.errors import TargetRefused
from mainspring.targets import programs
from mainspring.targets.capture import Capture, Hiding, note
from mainspring.targets.programs import Program, ProgramRules, read_program
from mainspring.targets.receipts import Ran, Receipt
from mainspring.targets.secrets import SecretUnavailableError, Vault, disguises, fetched

log = logging.getLogger("mainspring")

LINGER_SECONDS = 2.0  # how long what a program left may hold an attempt up
_LAST_SECONDS = 5.0  # how long the kernel may take to end what was killed
_CHUNK = 64 * 1024
_KEEPER = Path(__file__).with_name("keeper.py")
_LAST_WORDS = 500


class Ended(NamedTuple):
    """How a program ended: its status (a signal below zero), CPU seconds, and the most memory it had in KiB. ``trouble``: it did
    not even start."""

    status: int | None = None
    cpu_seconds: float = 0.0
    peak_kib: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What a program wrote, as far as it got."""

    stdout: Capture
    stderr: Capture

    def receipts(self, facts: Mapping[str, Any]) -> tuple[Receipt, ...]:
        """What is kept of it."""
        return self.stdout.receipt("stdout", **facts), self.stderr.receipt("stderr")


class ShellTarget:
    """Runs ``shell`` targets. One object serves a worker."""

    kind = "shell"

    def __init__(self, *, vault: Vault, rules: ProgramRules | None = None, redactor: Redactor | None = None) -> None:
        self._vault = vault
        self._rules = rules or ProgramRules()
        self._redactor = redactor or Redactor()

    # -- when it is written -----------------------------------------------------------------------------------------

    def read(self, written: object) -> Program:
        """See ``Target``."""
        return read_program(written)

    async def review(self, spec: Program) -> None:
        """See ``Target``."""
        self._rules.judge(spec)

    # -- one attempt ------------------------------------------------------------------------------------------------

    async def run(self, spec: Program, launch: Launch) -> Ran:
        """See ``Target``."""
        plain = Hiding(self._redactor)
        try:
            self._rules.judge(spec)
            secrets = await fetched(spec.secret_names(), self._vault.get)
            order = {
                "argv": programs.arguments(spec, launch),
                "env": programs.environment(spec, launch, secrets, self._rules.environment),
                "cwd": spec.cwd,
                "user": _user(spec.user),
                "limits": dict(spec.limits),
            }
        except TargetRefused as refused:
            return Ran(Failed(code="target_refused", message=f"{refused.message} (rule {refused.rule})", final=True))
        except SecretUnavailableError as error:
            return Ran(Interrupted("secret_unavailable"), (note(plain, str(error)),))
        except UnfilledError as error:
            return Ran(Unworkable("invalid_payload", plain.text(str(error))))
        hiding = Hiding(self._redactor, disguises(secrets))
        try:
            return await _attempt(spec, order, programs.standard_input(spec, launch), hiding)
        except OSError as error:
            log.error("no program could be started for run %s: %s", launch.run_id, error)
            return Ran(Interrupted("process_unavailable"), (note(hiding, str(error)),))


async def _attempt(spec: Program, order: Mapping[str, Any], given: bytes, hiding: Hiding) -> Ran:
    streams = Streams(stdout=Capture(hiding), stderr=Capture(hiding))
    began, is_stopped = asyncio.get_running_loop().time(), False
    async with kept(order, given, streams) as keeper:
        try:
            ended = await keeper.ended()
            keeper.ask()  # whatever it left
        except asyncio.CancelledError:
            is_stopped = True
            ended = await keeper.stop(spec.grace_us / 1e6)
        seconds = asyncio.get_running_loop().time() - began
        await keeper.clear_up()
    facts = {"status": ended.status, "duration_seconds": round(seconds, 6), "cpu_seconds": ended.cpu_seconds}
    receipts = streams.receipts(
        facts | {"peak_bytes": ended.peak_kib * 1024, "argv": [hiding.text(each) for each in order["argv"]]}
    )
    return Ran(Stopped() if is_stopped else _meaning(spec, ended, receipts[1], hiding), receipts)


def _meaning(spec: Program, ended: Ended, stderr: Receipt, hiding: Hiding) -> Outcome:
    if ended.trouble is not None:
        return Failed(code="launch_failed", message=hiding.text(ended.trouble))
    if ended.status is None:
        return Failed(code="process_died", message="the process that keeps the program was ended by somebody")
    lines = stderr.text.strip().splitlines()
    return judged(ended.status, spec.codes, last_words=lines[-1][:_LAST_WORDS] if lines else "")


def _user(name: str | None) -> dict[str, Any] | None:
    """Whom to switch to.

    Raises:
        TargetRefused: this worker may not, or there is nobody of that name.
    """
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise TargetRefused(f"there is no user {name} where this worker runs", rule="user") from None
    if entry.pw_uid == os.geteuid() != 0:
        return None
    if os.geteuid() != 0 or entry.pw_uid == 0:
        raise TargetRefused(f"this worker may run no program as {name}", rule="user")
    return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": os.getgrouplist(name, entry.pw_gid)}


# -- the keeper, seen from the worker --------------------------------------------------------------------------------


class Kept:
    """A program and its keeper."""

    def __init__(self, process: asyncio.subprocess.Process, channel: socket.socket, pumps: list[asyncio.Task[None]]) -> None:
        self._process = process
        self._channel = channel
        self._pumps = pumps
        self._heard = asyncio.create_task(self._hear())
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def ended(self) -> Ended:
        """Wait for the program's end."""
        return await asyncio.shield(self._ended)

    def ask(self) -> None:
        """TERM to the group."""
        self._say(b"T")

    async def stop(self, grace_seconds: float) -> Ended:
        """End the program: ask, and after the grace (or when asked again) kill."""
        _undisturbed()
        self.ask()
        try:
            async with asyncio.timeout(grace_seconds):
                return await self.ended()
        except (TimeoutError, asyncio.CancelledError):
            _undisturbed()
            self._say(b"K")
            return await self.ended()

    async def clear_up(self) -> None:
        """Give what the program left a moment, then kill it, and read what is still to be read."""
        rest = asyncio.gather(self._heard, *self._pumps, self._process.wait())
        for last in (False, True):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS if last else LINGER_SECONDS):
                    await asyncio.shield(rest)
                    return
            self._say(b"K")
        log.warning("something of a program could not be killed; its keeper (process %d) is left with it", self._process.pid)
        rest.cancel()

    async def close(self) -> None:
        """Let go, whatever state it is in: without its worker the keeper kills what is left, and ends."""
        for task in (self._heard, *self._pumps):
            task.cancel()
        await asyncio.gather(self._heard, *self._pumps, return_exceptions=True)
        self._channel.close()

    def _say(self, order: bytes) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(order)

    async def _hear(self) -> None:
        """Listen until nobody is left."""
        loop, held = asyncio.get_running_loop(), b""
        with contextlib.suppress(ConnectionError):
            while part := await loop.sock_recv(self._channel, 4096):
                held += part
                *lines, held = held.split(b"\n")
                for line in lines:
                    self._note(json.loads(line))
        if not self._ended.done():
            self._ended.set_result(Ended())

    def _note(self, told: Mapping[str, Any]) -> None:
        if "failed" in told:
            self._ended.set_result(Ended(trouble=str(told["failed"])))
        else:
            self._ended.set_result(Ended(told["ended"], told["cpu_seconds"], told["peak_kib"]))


def _undisturbed() -> None:
    """Take back the request to stop that was just heard: it is being answered."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()


@contextlib.asynccontextmanager
async def kept(order: Mapping[str, Any], given: bytes, streams: Streams) -> AsyncIterator[Kept]:
    """A program under a keeper, its output going to ``streams``.

    Raises:
        OSError: the system starts no more processes.
    """
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as opened:
        opened.callback(ours.close)
        ours.setblocking(False)
        opened.enter_context(theirs)
        stdin = opened.enter_context(_stdin(given))
        pipes = [os.pipe(), os.pipe()]
        reading = [opened.enter_context(os.fdopen(read, "rb", buffering=0)) for read, _ in pipes]
        writing = [os.fdopen(write, "wb", buffering=0) for _, write in pipes]
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_KEEPER), str(theirs.fileno())),
                stdin=stdin,
                stdout=writing[0],
                stderr=writing[1],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd="/",
                env={},
            )
        finally:
            theirs.close()
            for file in (stdin, *writing):
                file.close()
        pumps = [
            asyncio.create_task(_pump(read, capture))
            for read, capture in zip(reading, (streams.stdout, streams.stderr), strict=True)
        ]
        keeper = Kept(process, ours, pumps)
        try:
            body = json.dumps(order).encode()
            await asyncio.get_running_loop().sock_sendall(ours, len(body).to_bytes(4, "big") + body)
            yield keeper
        finally:
            await keeper.close()


async def _pump(source: IO[bytes], capture: Capture) -> None:
    """Read a pipe to its end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    try:
        while chunk := await reader.read(_CHUNK):
            capture.add(chunk)
    finally:
        transport.close()


def _stdin(given: bytes) -> IO[bytes]:
    """A file that holds ``given`` and has no name; in memory, where the system can."""
    has_memory = hasattr(os, "memfd_create")
    file = os.fdopen(os.memfd_create("stdin"), "w+b") if has_memory else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(given)
    file.seek(0)
    return file
