"""The parent's half of ``processes=N``: starts worker processes, replaces those that die, passes signals on, adds up what they did.

Each is a fresh interpreter (never a fork) in a session of its own, so that Ctrl-C and a service manager's signal to all of a group
reach it once, and in order. It opens no database itself. Not here: what happens inside such a process (``supervised``).
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from mainspring.errors import InvalidOption, MainspringError, WorldTrouble
from mainspring.operations.remaining import Remaining
from mainspring.runtime.child import Hello
from mainspring.runtime.runner import Report, Until
from mainspring.runtime.supervised import HURRY, STOP, WORN_OUT, Orders, Told, place_of

log = logging.getLogger("mainspring")

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
_LIVED_SECONDS = 10.0
_MOST_FALSE_STARTS = 5
_LAST_SECONDS = 30.0
_MOST_PROCESSES = 256

_PROGRAM = """\
import json, os, sys
left, said = {size}, b""
while len(said) < left:
    said += os.read({descriptor}, left - len(said))
greeting = json.loads(said)
sys.path[:] = greeting["hello"]["path"]
from mainspring.runtime.supervised import serve
serve({descriptor}, greeting)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """``processes`` workers of one App: where it can be imported, and what each is asked for (``options_of`` its number)."""

    processes: int
    module: str
    attribute: str
    settings: Callable[[], dict[str, str]]
    options_of: Callable[[int], dict[str, Any]]


def crew_of(app: object, processes: int, url: str, settings: Callable[[], dict[str, str]], options: Mapping[str, Any]) -> Crew:
    """The crew of an App, each with these options of ``app.worker``.

    Raises:
        InvalidOption: naming what several processes cannot have.
    """
    if not isinstance(processes, int) or isinstance(processes, bool) or not 1 <= processes <= _MOST_PROCESSES:
        raise InvalidOption(f"processes must be from 1 to {_MOST_PROCESSES}, not {processes!r}", option="processes")
    if url.removeprefix("sqlite://").strip("/") in {"", ":memory:"}:
        raise InvalidOption("a database in memory belongs to one process; give the App a file or a server", option="processes")
    place = place_of(app)
    if place is None:
        told = "each process imports the App anew, so it must be a variable of a module; write `app = App(…)` at the top of one"
        raise InvalidOption(told, option="processes")

    def options_of(number: int) -> dict[str, Any]:
        mine = {name: value for name, value in options.items() if value is not None}
        if "name" in mine:
            mine["name"] = f"{mine['name']}-{number}"
        if "metrics_port" in mine:
            mine["metrics_port"] += number - 1
        return {name: _plain(value) for name, value in mine.items()}

    return Crew(processes=processes, module=place[0], attribute=place[1], settings=settings, options_of=options_of)


def _plain(value: Any) -> Any:
    return f"{value.total_seconds()}s" if isinstance(value, timedelta) else value


class Supervisor:
    """Runs the crew in the current event loop. Looks like a ``Runner``."""

    def __init__(self, crew: Crew, grace_seconds: float, remaining: Callable[[], Remaining | None]) -> None:
        self._crew = crew
        self._grace_seconds = grace_seconds
        self._remaining = remaining
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._children: dict[int, _Child] = {}
        self._told: list[Told] = []

    @property
    def finished(self) -> int:
        """How many attempts have ended in the processes that are over."""
        return sum(told.finished for told in self._told)

    @property
    def pids(self) -> list[int]:
        """The processes at work."""
        return [child.pid for child in self._children.values()]

    def ask_to_stop(self) -> None:
        """Have every process stop in order; asked a second time, at once. In the loop."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()
        for child in tuple(self._children.values()):
            child.send(HURRY if self._hurry.is_set() else STOP)

    async def run(self, until: Until = "stopped") -> Report:
        """Keep all places filled until asked to stop, or until each process has found nothing left to do.

        Raises:
            WorldTrouble: while draining, a place could not be filled, again and again.
        """
        try:
            async with asyncio.TaskGroup() as places:
                for number in range(1, self._crew.processes + 1):
                    places.create_task(self._keep(number, until))
        except* WorldTrouble as errors:
            raise errors.exceptions[0] from None
        left = None if until == "stopped" else await asyncio.to_thread(self._look)
        return Report(
            finished=self.finished,
            lost_leases=sum(told.lost_leases for told in self._told),
            worn_out=any(told.worn_out for told in self._told),
            remaining=left,
        )

    def _look(self) -> Remaining | None:
        try:
            return self._remaining()
        except MainspringError as error:
            log.warning("could not look at what is left: %s", error)
            return None

    # -- one place --------------------------------------------------------------------------------------------------

    async def _keep(self, number: int, until: Until) -> None:
        """Keep one place filled."""
        loop, backoff, false_starts = asyncio.get_running_loop(), FIRST_BACKOFF_SECONDS, 0
        while not self._stop.is_set():
            began_at = loop.time()
            code = await self._fill(number, until)
            if self._stop.is_set() or (code == 0 and until != "stopped"):
                return
            if loop.time() - began_at >= _LIVED_SECONDS or code == WORN_OUT:
                backoff, false_starts = FIRST_BACKOFF_SECONDS, 0
            else:
                backoff, false_starts = min(backoff * 2, LONGEST_BACKOFF_SECONDS), false_starts + 1
            if until != "stopped" and false_starts >= _MOST_FALSE_STARTS:
                raise WorldTrouble(f"worker process {number} ended {false_starts} times in a row ({_cause(code)}); see the log")
            log.warning("worker process %d ended (%s); the next one starts in %.1f s", number, _cause(code), backoff)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), backoff)

    async def _fill(self, number: int, until: Until) -> int:
        """Start a process, and wait for its end; how it ended."""
        child = self._children[number] = await _Child.start(self._orders(number, until))
        if self._stop.is_set():
            child.send(HURRY if self._hurry.is_set() else STOP)
        watch = asyncio.create_task(self._end_what_does_not_stop(child))
        try:
            code, told = await child.ended()
        except BaseException:
            child.kill()
            raise
        finally:
            watch.cancel()
            self._children.pop(number, None)
        if told is not None:
            self._told.append(told)
        return code

    async def _end_what_does_not_stop(self, child: "_Child") -> None:
        await self._stop.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._grace_seconds)
        await asyncio.sleep(_LAST_SECONDS)
        log.error("worker process %d does not stop; it is killed, and its runs go to others when its lease is over", child.pid)
        child.kill()

    def _orders(self, number: int, until: Until) -> Orders:
        root = logging.getLogger()
        return Orders(
            hello=Hello.of_this_process(),
            module=self._crew.module,
            attribute=self._crew.attribute,
            settings=self._crew.settings(),
            options=self._crew.options_of(number),
            until=until,
            grace_seconds=self._grace_seconds,
            log_level=root.level if root.handlers else None,
        )


class _Child:
    """One worker process and the channel to it."""

    def __init__(self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.pid = process.pid

    @staticmethod
    async def start(orders: Orders) -> "_Child":
        """Start it from the loop's own thread, with which the kernel ties its life to ours."""
        greeting = json.dumps(msgspec.to_builtins(orders)).encode()
        ours, theirs = socket.socketpair()
        with theirs:
            flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            program = _PROGRAM.format(descriptor=theirs.fileno(), size=len(greeting))
            process = subprocess.Popen(  # noqa: ASYNC220  (it returns once the program is loaded)
                [sys.executable, *flags, "-c", program],
                stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(greeting)
        return _Child(process, reader, writer)

    async def ended(self) -> tuple[int, Told | None]:
        """Its exit status, and what it told; the channel ends when it does."""
        try:
            said = await self._reader.read()
        except ConnectionError:
            said = b""
        code = await asyncio.to_thread(self._process.wait)
        self._writer.transport.abort()
        with contextlib.suppress(msgspec.MsgspecError):
            return code, msgspec.json.decode(said, type=Told)
        return code, None

    def send(self, word: bytes) -> None:
        """Tell it to stop, or to hurry."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.write(word)

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _cause(code: int) -> str:
    if code == WORN_OUT:
        return "worn out by threads that do not end"
    return f"exit status {code}" if code >= 0 else f"signal {-code}"
