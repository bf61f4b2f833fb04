"""A workflow as a pure function from inputs, in ``seq`` order, to commands, in ordinal order.

An ``Instance`` is the code of one run, as far as it has come: one input is delivered, the code runs until nothing in it is ready,
and what it asked for is collected. ``advance`` does that for a history, holding what was committed against what is made again. So
neither where a turn ends nor how often it is replayed changes what a run does. Not here: clocks, threads, storage, and what
payloads mean.
"""

import asyncio
import random
import sys
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import PurePath
from types import FrameType
from typing import Any, assert_never

from mainspring import errors
from mainspring.core.commands import Command, Ended, EndsAs, Input, InputType, Kind, StepFailed, TurnRefused
from mainspring.core.loop import Loop, Timer
from mainspring.core.matching import match
from mainspring.errors import BrokenInvariant

#: What a run may have open at once, and what one input may lead to.
MOST_OPEN = 2_000

_OURS = tuple(f"{PurePath(file).parent}/" for file in (errors.__file__, asyncio.__file__))
_BOTTOM = Loop._run.__code__


@dataclass(slots=True, kw_only=True)
class _Asked:
    """A command on its way: it gets its ordinal when the delivery is over, unless it was undone before."""

    kind: Kind
    name: str = ""
    body: bytes = b""
    delay_us: int | None = None
    taken: int | None = None
    target: int | None = None
    where: str = ""
    ordinal: int | None = None
    undone: bool = False
    timer: Timer | None = None
    future: "asyncio.Future[Any] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one input led to."""

    cause: int
    commands: Sequence[Command] = ()
    ended: Ended | None = None


class Instance:
    """The code of one run. ``main`` is given the instance, and asks it for everything that lasts."""

    def __init__(self, main: Callable[["Instance"], Coroutine[Any, Any, object]], *, seed: bytes) -> None:
        self._main = main
        self._seed = seed
        self._uuids = 0
        self._loop = Loop(self)
        self._task: asyncio.Task[object] | None = None
        self._began_at = 0
        self._made: list[_Asked] = []
        self._ordinal = 0
        self._open: dict[int, _Asked] = {}
        self._waiters: dict[str, list[_Asked]] = {}
        self._inbox: dict[str, deque[tuple[int, bytes]]] = {}
        self._values: deque[bytes] | None = None
        self._cancelled = False
        self.random = random.Random(int.from_bytes(blake2b(seed, person=b"random").digest()))
        self.now_us = 0
        self.seq = 0
        self.ended: Ended | None = None

    # -- for the code -----------------------------------------------------------------------------------------------

    def step(self, kind: Kind, name: str, body: bytes) -> "asyncio.Future[bytes]":
        """Ask for a step. Its result, or ``StepFailed``, comes as a later input; who cancels the future cancels the step."""
        future = self._loop.create_future()
        asked = self._ask(_Asked(kind=kind, name=name, body=body, future=future))
        future.add_done_callback(lambda done: self._step_over(asked))
        return future

    async def sleep(self, delay_us: int) -> None:
        """Wait for a durable timer; 0 only lets others run.

        Raises:
            ValueError: less than nothing, or more than ten years.
        """
        if delay_us < 0:
            raise ValueError(f"a workflow cannot sleep for {delay_us} µs")
        await asyncio.sleep(delay_us / 1e6)

    async def signal(self, name: str, *, timeout_us: int | None = None) -> bytes:
        """The next signal of this name: one that is here, the oldest first, or one that comes.

        Raises:
            TimeoutError: none came in time.
        """
        if inbox := self._inbox.get(name):
            seq, body = inbox.popleft()
            self._ask(_Asked(kind=Kind.WAIT, name=name, taken=seq))
            return body
        future = self._loop.create_future()
        asked = self._ask(_Asked(kind=Kind.WAIT, name=name, delay_us=timeout_us, future=future))
        self._waiters.setdefault(name, []).append(asked)
        try:
            return bytes(await future)
        finally:
            self._wait_over(asked)

    def value(self, name: str, make: Callable[[], bytes]) -> bytes:
        """What ``make`` reads of the world; a replay gets what was recorded. Visible at once: for reading, never for acting."""
        body = self._values.popleft() if self._values else make()
        self._ask(_Asked(kind=Kind.VALUE, name=name, body=body))
        return body

    def uuid(self) -> uuid.UUID:
        """A random UUID, the same in every replay."""
        self._uuids += 1
        drawn = blake2b(self._seed + self._uuids.to_bytes(8), digest_size=16, person=b"uuid").digest()
        return uuid.UUID(bytes=drawn, version=4)

    # -- for whoever drives it --------------------------------------------------------------------------------------

    @property
    def inline(self) -> list[tuple[int, str, bytes]]:
        """The inline steps that are to be run now: ordinal, name and arguments."""
        return [(ordinal, asked.name, asked.body) for ordinal, asked in self._open.items() if asked.kind is Kind.INLINE]

    @property
    def unread(self) -> Mapping[str, int]:
        """How many signals of each name nobody has taken."""
        return {name: len(inbox) for name, inbox in sorted(self._inbox.items()) if inbox}

    def deliver(self, given: Input, recorded: Sequence[Command] | None = None) -> Delivery:
        """Let the code see one input, and collect what it asks for. ``recorded``: what it asked for when this was committed.

        Raises:
            TurnRefused: the code makes other commands than were recorded, too many, or does not come to rest. Nothing of this
                instance is to be used any more.
        """
        if given.seq <= self.seq or (given.type is InputType.CREATED) is not (self.seq == 0):
            raise BrokenInvariant(f"input #{given.seq} {given.type} after #{self.seq}", seq=given.seq)
        self.seq, self.now_us = given.seq, max(self.now_us, given.at)
        if self.ended is not None:
            return Delivery(cause=given.seq)
        self._values = None if recorded is None else deque(each.body for each in recorded if each.kind is Kind.VALUE)
        self._resolve(given)
        self._loop.run_until_quiet()
        made = self._collect(given.seq)
        if recorded is not None:
            match(given, recorded, made)
        if max(len(made), len(self._open)) > MOST_OPEN:
            raise TurnRefused("limit", f"more than {MOST_OPEN:,} commands at once, or steps, timers and waits open at a time")
        self.ended = self._end()
        return Delivery(cause=given.seq, commands=made, ended=self.ended)

    def close(self) -> None:
        """Forget it. No clean-up of the code can ask for anything, and nothing is a command any more."""
        self._loop.close()
        self._made.clear()

    # -- inputs -----------------------------------------------------------------------------------------------------

    def _resolve(self, given: Input) -> None:
        match given.type:
            case InputType.CREATED:
                self._began_at = given.at
                self._task = self._loop.create_task(self._main(self), name="main")
            case InputType.STEP_RECORDED | InputType.STEP_SUCCEEDED | InputType.STEP_FAILED:
                self._step_ended(given)
            case InputType.TIMER_FIRED:
                self._loop.set_time((self.now_us - self._began_at) / 1e6)
                self._fired(given)
            case InputType.SIGNAL_RECEIVED:
                self._hand_out(given)
            case InputType.CANCEL_REQUESTED:
                if not self._cancelled and self._task is not None:
                    self._cancelled = True
                    self._task.cancel()
            case _:
                assert_never(given.type)
        self._loop.set_time((self.now_us - self._began_at) / 1e6)

    def _step_ended(self, given: Input) -> None:
        asked = self._open.pop(given.ordinal or 0, None)
        if asked is None or asked.future is None or asked.future.done():
            return
        if given.failure is None:
            asked.future.set_result(given.body)
        else:
            asked.future.set_exception(StepFailed(asked.name, given.failure))

    def _fired(self, given: Input) -> None:
        asked = self._open.get(given.ordinal or 0)
        if asked is None:
            return
        if asked.timer is not None:
            del self._open[given.ordinal or 0]
            self._loop.fire(asked.timer)
        elif asked.kind is Kind.WAIT and asked.future is not None and not asked.future.done():
            asked.delay_us = None
            asked.future.set_exception(TimeoutError(f"no signal {asked.name!r} came in time"))

    def _hand_out(self, given: Input) -> None:
        """To the first who waits for it; else it is kept. Who is given a message is the first to run, so it is never lost."""
        for asked in self._waiters.get(given.name, ()):
            if asked.future is not None and not asked.future.done():
                asked.future.set_result(given.body)
                return
        self._inbox.setdefault(given.name, deque()).append((given.seq, given.body))

    # -- commands ---------------------------------------------------------------------------------------------------

    def _ask(self, asked: _Asked) -> _Asked:
        if self._loop.is_closed():
            raise RuntimeError("this workflow is not in memory any more: nothing can be asked for")
        asked.where = _line()
        self._made.append(asked)
        return asked

    def _take_back(self, asked: _Asked, kind: Kind) -> None:
        """Cancel what was asked for: by a command where it was committed, or will be; else it never was."""
        if asked.ordinal is None:
            asked.undone = True
        elif not self._loop.is_closed():
            self._ask(_Asked(kind=kind, target=asked.ordinal))

    def _step_over(self, asked: _Asked) -> None:
        if asked.future is None or not asked.future.cancelled():
            return
        self._open.pop(asked.ordinal or 0, None)
        if asked.kind is Kind.ACTIVITY or asked.ordinal is None:
            self._take_back(asked, Kind.CANCEL_STEP)

    def _wait_over(self, asked: _Asked) -> None:
        self._waiters[asked.name].remove(asked)
        self._open.pop(asked.ordinal or 0, None)
        if asked.ordinal is None or asked.delay_us is not None:
            self._take_back(asked, Kind.CANCEL_TIMER)

    def timer_started(self, timer: Timer) -> None:
        """The loop's word: code waits for time to pass."""
        timer.ticket = self._ask(_Asked(kind=Kind.TIMER, delay_us=timer.delay_us, timer=timer))

    def timer_cancelled(self, timer: Timer) -> None:
        """The loop's word: nobody waits any more."""
        asked: _Asked = timer.ticket
        if asked.ordinal is None or self._open.pop(asked.ordinal, None) is not None:
            self._take_back(asked, Kind.CANCEL_TIMER)

    def _collect(self, cause: int) -> list[Command]:
        """Number what was asked for and not undone."""
        made, commands = self._made, []
        self._made = []
        for asked in made:
            if asked.undone:
                continue
            self._ordinal += 1
            asked.ordinal = self._ordinal
            if asked.future is not None or asked.timer is not None:
                self._open[self._ordinal] = asked
            commands.append(
                Command(
                    ordinal=self._ordinal,
                    cause=cause,
                    kind=asked.kind,
                    name=asked.name,
                    body=asked.body,
                    delay_us=asked.delay_us,
                    taken=asked.taken,
                    target=asked.target,
                    where=asked.where,
                )
            )
        return commands

    def _end(self) -> Ended | None:
        if self._loop.trouble is not None:
            return Ended(state=EndsAs.FAILED, error=self._loop.trouble)
        if self._task is None or not self._task.done():
            return None
        if self._task.cancelled():
            told = asyncio.CancelledError("the workflow cancelled itself; nobody had asked it to")
            return Ended(state=EndsAs.CANCELLED) if self._cancelled else Ended(state=EndsAs.FAILED, error=told)
        if (error := self._task.exception()) is not None:
            return Ended(state=EndsAs.FAILED, error=error)
        return Ended(state=EndsAs.CANCELLED if self._cancelled else EndsAs.SUCCEEDED, value=self._task.result())


# -- a history -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the ledger of a run holds for its code. Every input up to ``seen`` was delivered by a turn that was committed."""

    inputs: Sequence[Input]
    commands: Sequence[Command] = field(default=())
    seen: int = 0


def advance(instance: Instance, history: History) -> list[Delivery]:
    """Deliver what ``instance`` has not seen yet. Answers what is new: the deliveries behind ``history.seen``, to be committed.

    Raises:
        TurnRefused: as of ``Instance.deliver``.
        BrokenInvariant: the history has commands without the input that caused them: it was not read whole.
    """
    causes: dict[int, list[Command]] = {given.seq: [] for given in history.inputs}
    for command in history.commands:
        if command.cause > instance.seq:
            if command.cause not in causes or command.cause > history.seen:
                raise BrokenInvariant(f"command {command.ordinal} was made by input #{command.cause}, which is not there")
            causes[command.cause].append(command)
    fresh = []
    for given in history.inputs:
        if given.seq <= instance.seq:
            continue
        is_committed = given.seq <= history.seen
        delivery = instance.deliver(given, causes[given.seq] if is_committed else None)
        if not is_committed:
            fresh.append(delivery)
    return fresh


def _line() -> str:
    """The line of the user's code that is just asking; nothing where a task of its own does, without any."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not _BOTTOM:
        if path := _theirs(frame.f_code.co_filename):
            return f"{path}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""


@lru_cache(maxsize=1_000)
def _theirs(file: str) -> str:
    """How a file of the user's is told: by its name and folder. One of ours, or of asyncio's: not at all."""
    return "" if file.startswith(_OURS) else "/".join(PurePath(file).parts[-2:])
