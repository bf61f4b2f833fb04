"""A TCP proxy on loopback between a client and PostgreSQL that makes a network's troubles happen at chosen moments.

Here: latency, cuts in the middle of a message, resets, silence on a line that stays open, refused connections; and as much of the
protocol as tells a commit's request and its answer from everything around them. Not here: what must hold afterwards.

One event loop in a thread of its own carries the bytes of all connections; every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")
_Side: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CHUNK = 65_536
_CALL_SECONDS = 10.0
_END_SECONDS = 0.5
_ROUNDS = 4
_ROUND_SECONDS = 0.005
_SSL, _CANCEL, _GSS = 80_877_103, 80_877_102, 80_877_104
_WRITES = (b"INSERT", b"UPDATE", b"DELETE")


class Point(StrEnum):
    """Where in a request's life something happens: the first three while it goes up, the last three while its answer comes down.
    From ``BEFORE_ANSWER`` on the server has done what was asked."""

    BEFORE_REQUEST = "before_request"
    IN_REQUEST = "in_request"
    AFTER_REQUEST = "after_request"
    BEFORE_ANSWER = "before_answer"
    IN_ANSWER = "in_answer"
    AFTER_ANSWER = "after_answer"


class Manner(StrEnum):
    """What happens to the connection: closed in order, reset, or silent with its sockets open."""

    CLOSE = "close"
    RESET = "reset"
    SILENCE = "silence"


class Target(StrEnum):
    """Which requests count: those that make something durable (a COMMIT, or a write outside a transaction), or all."""

    COMMIT = "commit"
    REQUEST = "request"


class Way(StrEnum):
    """A direction: from the client up to the server, or down."""

    UP = "up"
    DOWN = "down"


class Forgotten(StrEnum):
    """What becomes of lines that were silent when the network heals."""

    RESUMED = "resumed"
    SILENT = "silent"
    RESET = "reset"


_DOWNWARD = (Point.BEFORE_ANSWER, Point.IN_ANSWER, Point.AFTER_ANSWER)


@dataclass(slots=True, kw_only=True)
class Strike:
    """One fault, once: at the ``nth`` such request from when it was armed, or after ``after_bytes`` bytes in one direction."""

    point: Point = Point.BEFORE_REQUEST
    manner: Manner = Manner.CLOSE
    target: Target = Target.COMMIT
    nth: int = 1
    after_bytes: tuple[Way, int] | None = None
    hit: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        where = (
            f"{self.after_bytes[1]} bytes {self.after_bytes[0]}" if self.after_bytes else f"{self.point} {self.target} {self.nth}"
        )
        return f"{self.manner} at {where}"


@dataclass(slots=True)
class _Request:
    """A request whose answer is due, and who strikes at that answer."""

    strike: Strike | None = None
    held: bytearray = field(default_factory=bytearray)


class Proxy:
    """Listens on a port of its own for connections to the server of ``url``."""

    def __init__(self, url: str, *, seed: int = 0) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._server = (parts.hostname, parts.port or 5432)
        self._dice = random.Random(seed)
        self._lines: set[_Line] = set()
        self._visits: set[asyncio.Task[None]] = set()
        self._strikes: list[Strike] = []
        self._listener: socket.socket | None = None
        self._silent: set[Way] = set()
        self.latency = (0.0, 0.0)
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._wait(self._listen())
        secret = parts.netloc.rpartition("@")[0]
        there = parts._replace(netloc=f"{secret}@127.0.0.1:{self.port}", query="sslmode=disable&gssencmode=disable")
        self.url = urlunsplit(there)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- what may be asked for ------------------------------------------------------------------------------------------

    def arm(self, strike: Strike) -> Strike:
        """Have a fault strike; ``strike.hit`` is set once it has."""
        self._do(lambda: self._strikes.append(strike))
        return strike

    def cut(self, manner: Manner = Manner.RESET) -> int:
        """Cut every connection there is, now; how many there were."""
        return self._do(lambda: sum(line.strike(manner) for line in tuple(self._lines)))

    def silence(self, *ways: Way) -> None:
        """Carry nothing more in these directions (both, if none is named), also for connections to come; sockets stay open."""
        self._do(lambda: self._fall_silent(set(ways or Way)))

    def slow(self, seconds: float, jitter: float = 0.0) -> None:
        """Let every chunk wait so long, and at most ``jitter`` more."""
        self.latency = (seconds, jitter)

    def refuse(self) -> None:
        """Refuse new connections. Those there are stay."""
        self._wait(self._refuse())

    def heal(self, forgotten: Forgotten = Forgotten.RESUMED) -> None:
        """Take back everything that was asked for, and accept connections again."""
        self.latency = (0.0, 0.0)
        self._do(lambda: self._heal(forgotten))
        self._wait(self._listen())

    def close(self) -> None:
        """Reset every connection and stop."""
        self._wait(self._refuse())
        self._wait(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_SECONDS)
        self._loop.close()

    # -- in the loop ----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _hang_up(self) -> None:
        """Round after round: a connection that was being accepted is a line a moment later."""
        for _ in range(_ROUNDS):
            await asyncio.sleep(_ROUND_SECONDS)
            for line in tuple(self._lines):
                line.strike(Manner.RESET)
            visits = tuple(self._visits)
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            client, _ = listener.accept()
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no delay but the one asked for
            self.connections += 1
            visit = self._loop.create_task(self._visit(client))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)

    async def _visit(self, client: socket.socket) -> None:
        """A connection from its beginning to its end."""
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._carry((reader, writer), await asyncio.open_connection(*self._server))
        finally:
            writer.transport.abort()

    async def _carry(self, client: _Side, server: _Side) -> None:
        line = _Line(self, client, server)
        for way in self._silent:
            line.flows[way].clear()
        self._lines.add(line)
        try:
            await line.carry()
        finally:
            self._lines.discard(line)

    def _fall_silent(self, ways: set[Way]) -> None:
        self._silent |= ways
        for line in self._lines:
            for way in ways:
                line.flows[way].clear()

    def _heal(self, forgotten: Forgotten) -> None:
        self._silent.clear()
        self._strikes.clear()
        for line in tuple(self._lines):
            if line.is_silent and forgotten is Forgotten.RESET:
                line.strike(Manner.RESET)
            elif line.is_silent and forgotten is Forgotten.RESUMED:
                line.resume()

    def pause_seconds(self) -> float:
        """How long the next chunk waits."""
        base, jitter = self.latency
        return base + self._dice.random() * jitter

    def struck_by_request(self, is_commit: bool) -> Strike | None:
        """The fault whose time has come with this request, if there is one."""
        for strike in self._strikes:
            if strike.after_bytes is None and (is_commit or strike.target is Target.REQUEST):
                strike.nth -= 1
                if strike.nth <= 0:
                    self._strikes.remove(strike)
                    return strike
        return None

    def struck_by_bytes(self, way: Way, count: int) -> tuple[Strike, int] | None:
        """The fault whose time has come within these bytes, and how many still pass."""
        for strike in self._strikes:
            if strike.after_bytes is not None and strike.after_bytes[0] is way:
                left = strike.after_bytes[1]
                if left < count:
                    self._strikes.remove(strike)
                    return strike, left
                strike.after_bytes = (way, left - count)
        return None

    def _do(self, call: Callable[[], T]) -> T:
        async def inside() -> T:
            return call()

        done: T = self._wait(inside())
        return done

    def _wait(self, work: Any) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(_CALL_SECONDS)


class _Line:
    """One connection: two sockets, and what is known of the conversation between them."""

    def __init__(
        self,
        proxy: Proxy,
        client: _Side,
        server: _Side,
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._talk = _Conversation()
        self._pumps: list[asyncio.Task[None]] = []
        self._forgotten = False
        self.flows = {way: asyncio.Event() for way in Way}
        self.resume()

    @property
    def is_silent(self) -> bool:
        return not all(flow.is_set() for flow in self.flows.values())

    def resume(self) -> None:
        for flow in self.flows.values():
            flow.set()

    async def carry(self) -> None:
        """Until either side is done, or the line is cut."""
        self._pumps = [asyncio.create_task(self._pump(way)) for way in Way]
        try:
            await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            for _, writer in (self._client, self._server):
                await _end(writer)

    def strike(self, manner: Manner) -> bool:
        """Do it to this line."""
        if manner is Manner.SILENCE:
            for flow in self.flows.values():
                flow.clear()
            return True
        for _, writer in (self._client, self._server):
            if manner is Manner.RESET:
                with suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()
        for pump in self._pumps:
            pump.cancel()
        return True

    async def _pump(self, way: Way) -> None:
        reader = self._client[0] if way is Way.UP else self._server[0]
        writer = self._server[1] if way is Way.UP else self._client[1]
        with suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                if (seconds := self._proxy.pause_seconds()) > 0:
                    await asyncio.sleep(seconds)
                for message in self._talk.split(way, data):
                    await self.flows[way].wait()
                    await self._pass(way, message, writer)
                await writer.drain()
        await self.flows[way].wait()  # silence hides an end as well

    async def _pass(self, way: Way, message: bytes, writer: asyncio.StreamWriter) -> None:
        """A message goes on, or not, or in part."""
        if writer.is_closing():
            raise ConnectionAbortedError
        if cut := self._proxy.struck_by_bytes(way, len(message)):
            strike, left = cut
            writer.write(message[:left])
            await self._hit(strike)
            writer.write(message[left:])  # a silence may end
        elif way is Way.UP:
            await self._pass_up(message, writer)
        else:
            await self._pass_down(message, writer)

    async def _pass_up(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        talk = self._talk
        if (text := talk.text(message)) is not None:
            is_commit = talk.makes_durable(text)
            talk.asked.strike = talk.asked.strike or self._proxy.struck_by_request(is_commit)
        strike, message_left = talk.asked.strike, message
        if strike is not None and strike.point in {Point.BEFORE_REQUEST, Point.IN_REQUEST}:
            talk.asked.strike = None
            passed = len(message) // 2 if strike.point is Point.IN_REQUEST else 0
            writer.write(message[:passed])
            await self._hit(strike)
            message_left = message[passed:]
        writer.write(message_left)
        if talk.ends_a_request(message):
            talk.close_request()
            if strike is not None and strike.point is Point.AFTER_REQUEST:
                await self._hit(strike)

    async def _pass_down(self, message: bytes, writer: asyncio.StreamWriter) -> None:
        request = self._talk.due[0] if self._talk.due else None
        is_end = self._talk.ends_an_answer(message)
        if request is None or request.strike is None or request.strike.point not in _DOWNWARD:
            writer.write(message)
            return
        request.held += message
        if is_end:
            keep = {Point.BEFORE_ANSWER: 0, Point.IN_ANSWER: len(request.held) // 2, Point.AFTER_ANSWER: len(request.held)}
            writer.write(bytes(request.held[: keep[request.strike.point]]))
            await self._hit(request.strike)
            writer.write(bytes(request.held[keep[request.strike.point] :]))  # a silence may end

    async def _hit(self, strike: Strike) -> None:
        """Strike, and go on when (and if) the line does."""
        self.strike(strike.manner)
        strike.hit.set()
        if strike.manner is not Manner.SILENCE:
            raise ConnectionAbortedError
        for flow in self.flows.values():
            await flow.wait()


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close once what is on its way has gone, and soon."""
    writer.close()
    try:
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), _END_SECONDS)
    finally:
        writer.transport.abort()


class _Conversation:
    """What the two sides said, as far as it matters: messages, statements by name, requests and their answers."""

    def __init__(self) -> None:
        self._rest = {way: bytearray() for way in Way}
        self._in_startup = True
        self._is_raw = False
        self._single_bytes = 0
        self._statements: dict[bytes, bytes] = {}
        self._is_open = False
        self.asked = _Request()
        self.due: deque[_Request] = deque()

    def split(self, way: Way, data: bytes) -> Iterator[bytes]:
        """Whole messages, as they become whole."""
        rest = self._rest[way]
        rest += data
        while size := self._size(way, rest):
            message = bytes(rest[:size])
            del rest[:size]
            yield message

    def _size(self, way: Way, rest: bytearray) -> int:
        """How long the next message is; 0 while it is not whole."""
        if self._is_raw:
            return len(rest)
        if way is Way.DOWN and self._single_bytes and rest:  # the answer to a request for encryption is one byte
            self._single_bytes -= 1
            return 1
        head = 0 if way is Way.UP and self._in_startup else 1
        if len(rest) < head + 4:
            return 0
        (length,) = struct.unpack_from("!i", rest, head)
        if len(rest) < head + length:
            return 0
        if head == 0:
            self._start(rest)
        return int(head + length)

    def _start(self, rest: bytearray) -> None:
        (code,) = struct.unpack_from("!i", rest, 4)
        if code in {_SSL, _GSS}:
            self._single_bytes += 1
        elif code == _CANCEL:
            self._is_raw = True
        else:
            self._in_startup = False

    def text(self, message: bytes) -> bytes | None:
        """The SQL that this message has run; None for a message of another kind."""
        kind, body = message[:1], message[5:]
        if kind == b"P":
            name, text = body.split(b"\0", 2)[:2]
            self._statements[name] = text.strip().upper()
            return None if name else self._statements[name]  # without a name it is for now
        if kind == b"B":
            name = body.split(b"\0", 2)[1]
            return self._statements.get(name, b"") if name else None
        return body.rstrip(b"\0").strip().upper() if kind == b"Q" else None

    def makes_durable(self, text: bytes) -> bool:
        """Whether, once this is answered, something is durable: a COMMIT, or a write outside a transaction."""
        was_open = self._is_open
        if text.startswith((b"BEGIN", b"COMMIT", b"ROLLBACK")):
            self._is_open = text.startswith(b"BEGIN")
            return text == b"COMMIT"
        return not was_open and any(word in text for word in _WRITES)

    def ends_a_request(self, message: bytes) -> bool:
        """Whether the server answers now: a simple query, or a Sync."""
        return not self._in_startup and message[:1] in b"QS"

    def close_request(self) -> None:
        """It is on its way; the next message belongs to another."""
        self.due.append(self.asked)
        self.asked = _Request()

    def ends_an_answer(self, message: bytes) -> bool:
        """Whether the server is ready for more. Forgets the request that this answers."""
        if message[:1] != b"Z" or len(message) != 6:
            return False
        if self.due:
            self.due.popleft()
        return True
