"""NATS: a subject for each queue, told to whoever listens at that moment. Core NATS, no JetStream: nothing is kept, nor need it be.

The client library lives in an event loop; so this transport has one, in a thread of its own. Connecting again is ours and not the
library's, for whoever was away has to be told so.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, TypeVar

from mainspring.errors import ConfigurationInvalid, TransportFailed
from mainspring.transports.message import Message
from mainspring.transports.transport import Answer, Backoff, OnHint, Subscription, refusal

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger("mainspring")
T = TypeVar("T")

SCHEMES = ("nats", "tls")
_PING_SECONDS = 2
_CLOSE_SECONDS = 2.0
_LOOK_SECONDS = 0.25
_REFUSED = ("authorization", "authentication", "permission")


class NatsTransport:
    """Messages over NATS. ``patience`` (seconds) bounds each wait for the server.

    Raises:
        ConfigurationInvalid: nats-py is not installed.
    """

    name = "NATS"

    def __init__(self, url: str, *, patience: float = 1.0, prefix: str = "mainspring") -> None:
        try:
            import nats  # noqa: F401  (said now rather than at the first message)
        except ImportError as error:
            raise ConfigurationInvalid(
                f"the NATS transport needs nats-py, which is not installed ({error}); run: pip install 'mainspring[nats]'"
            ) from None
        self._url = url
        self._patience = patience
        self._prefix = prefix
        self._lock = threading.Lock()
        self._home: _Home | None = None

    def start(self) -> None:
        """Connect; a server that does not answer within ``patience`` is tried again and again meanwhile.

        Raises:
            TransportFailed: it answers, and refuses us.
        """
        with self._lock:
            if self._home is not None:
                return
            home = self._home = _Home(self._url, self._patience, self._prefix)
        refused = home.wait_for_first_try()
        if refused is not None:
            self.close()
            raise TransportFailed(f"NATS refuses us: {refused}; correct the user and password of the URL")

    def close(self) -> None:
        """Give back the connection and the thread."""
        with self._lock:
            home, self._home = self._home, None
        if home is not None:
            home.close()

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """Send, and wait until the server has read it all; at once refused while there is no connection."""
        home = self._home
        if home is None:
            return refusal(batch, "the transport is not started")
        try:
            return home.do(home.publish(batch), self._patience * 2)
        except (FutureTimeout, TimeoutError):
            return refusal(batch, "NATS did not answer in time")

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        """Be told of these queues, over the one connection.

        Raises:
            TransportFailed: the transport is not started.
        """
        home = self._home
        if home is None:
            raise TransportFailed("the transport is not started; call start() first")
        listener = _Listener(home, [home.subject(namespace, queue) for queue in queues], on_hint)
        home.later(home.enlist(listener))
        return listener


class _Listener:
    def __init__(self, home: "_Home", subjects: list[str], on_hint: OnHint) -> None:
        self._home = home
        self.subjects = subjects
        self.on_hint = on_hint
        self.is_closed = False

    async def heard(self, received: "Msg") -> None:
        message = Message.decode(received.data)
        if message is not None and not self.is_closed:
            self.on_hint(message)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._home.later(self._home.dismiss(self))


class _Home:
    """The event loop in its thread, the connection in it, and who listens. Coroutines run in the loop, the rest anywhere."""

    def __init__(self, url: str, patience: float, prefix: str) -> None:
        self._url = url
        self._patience = patience
        self._prefix = prefix
        self._tried = threading.Event()
        self._refused: str | None = None
        self._connection: Client | None = None
        self._listeners: list[_Listener] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="mainspring-nats", daemon=True)
        self._thread.start()

    def subject(self, namespace: str, queue: str) -> str:
        """The subject of a queue. A dot would begin a new part of it, and no name has a percent sign."""
        return ".".join([self._prefix, *(name.replace(".", "%2E") for name in (namespace, queue))])

    def wait_for_first_try(self) -> str | None:
        """Why the server refuses us, if it answered so in time."""
        self._tried.wait(self._patience * 1.5)
        return self._refused

    def do(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run ``work`` in the loop and wait for it."""
        future = self.later(work)
        try:
            return future.result(seconds)
        except FutureTimeout:
            future.cancel()
            raise

    def later(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run ``work`` in the loop."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # closed meanwhile
            work.close()
            done: Future[T] = Future()
            done.set_exception(TimeoutError("the transport is closed"))
            return done

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._life.cancel)
        self._thread.join(_CLOSE_SECONDS)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._life = self._loop.create_task(self._stay_connected())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._life)
        rest = asyncio.all_tasks(self._loop)
        for task in rest:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        self._loop.close()

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        was_up = True
        while True:
            gone = asyncio.Event()
            try:
                await self._connect(gone)
                was_up = True
                backoff.worked()
                await self._until_gone(gone)
                why: object = "the connection broke"
            except _troubles() as error:
                why = error
            finally:
                await self._disconnect()
            self._note(why)
            if was_up:
                log.warning("hints are lost until NATS answers again: %s", why)
            was_up = False
            await asyncio.sleep(backoff.next_seconds())

    async def _until_gone(self, gone: asyncio.Event) -> None:
        """While there is a connection. The library may fail to tell of its end, so it is asked too."""
        while not gone.is_set() and self._connection is not None and self._connection.is_connected:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(gone.wait(), _LOOK_SECONDS)

    def _note(self, why: object) -> None:
        """The first try failed: was it for good?"""
        if not self._tried.is_set():
            text = str(why)
            self._refused = text if any(word in text.lower() for word in _REFUSED) else None
            self._tried.set()

    async def _connect(self, gone: asyncio.Event) -> None:
        from nats.aio.client import Client

        async def closed() -> None:
            gone.set()

        async def troubled(error: Exception) -> None:
            log.debug("NATS: %s", error)

        connection = Client()
        await asyncio.wait_for(
            connection.connect(
                self._url,
                allow_reconnect=False,
                connect_timeout=max(1, int(self._patience)),
                ping_interval=_PING_SECONDS,
                max_outstanding_pings=2,
                closed_cb=closed,
                disconnected_cb=closed,
                error_cb=troubled,
            ),
            self._patience,
        )
        self._connection = connection
        self._tried.set()
        for listener in tuple(self._listeners):
            await self._listen(connection, listener)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_troubles()):
                await asyncio.wait_for(connection.close(), self._patience)

    async def enlist(self, listener: _Listener) -> None:
        """One more who wants to know; if there is no connection now, once there is."""
        self._listeners.append(listener)
        if self._connection is not None:
            with contextlib.suppress(*_troubles()):
                await self._listen(self._connection, listener)

    async def _listen(self, connection: "Client", listener: _Listener) -> None:
        for subject in listener.subjects:
            await connection.subscribe(subject, cb=listener.heard)
        await connection.flush(max(1, int(self._patience)))
        if not listener.is_closed:
            listener.on_hint(None)

    async def dismiss(self, listener: _Listener) -> None:
        """One less. What the server still sends for it goes nowhere."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """Send a batch and wait for the server to have read it."""
        connection = self._connection
        if connection is None or not connection.is_connected:
            return refusal(batch, "there is no connection to NATS")
        try:
            answers = [await self._publish_one(connection, message) for message in batch]
            await connection.flush(max(1, int(self._patience)))
        except _troubles() as error:
            return refusal(batch, error)
        return answers

    async def _publish_one(self, connection: "Client", message: Message) -> Answer:
        from nats.errors import BadSubjectError, MaxPayloadError

        try:
            await connection.publish(self.subject(message.namespace, message.queue), message.encode())
        except (BadSubjectError, MaxPayloadError) as error:  # of this message alone
            return Answer(str(error))
        return Answer()


def _troubles() -> tuple[type[Exception], ...]:
    """What may go wrong on the way to a server."""
    from nats.errors import Error

    return (Error, OSError, asyncio.TimeoutError)
