"""Redis Streams: one bounded stream for each namespace, read by everybody from where they were.

No consumer group: a group hands each message to one of its members, and a hint is for all of them, for the one that a group would
pick may be busy, paused, or serving other queues. So every reader keeps its own place, in memory: whoever comes anew, or comes
back, starts at the end of the stream and is told that some may have been missed.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainspring.errors import ConfigurationInvalid, TransportFailed
from mainspring.transports.message import Message
from mainspring.transports.transport import Answer, Backoff, Listening, OnHint, Subscription, refusal

if TYPE_CHECKING:
    import redis

log = logging.getLogger("mainspring")

SCHEMES = ("redis", "rediss", "unix")
_FIELD = b"m"
_READ_AT_ONCE = 500
_BLOCK_SECONDS = 0.25


class RedisTransport:
    """Messages over Redis 5 or newer. ``patience`` (seconds) bounds each wait for the server; ``kept`` the length of a stream.

    Raises:
        ConfigurationInvalid: redis-py is not installed, or cannot read the URL.
    """

    name = "Redis"

    def __init__(self, url: str, *, patience: float = 1.0, kept: int = 1_000, prefix: str = "mainspring:hints:") -> None:
        self._url = url
        self._patience = patience
        self._kept = kept
        self._prefix = prefix
        self._backoff = Backoff()
        self._rest_until = 0.0
        self._publisher = self._connect(tries_again=1)  # a connection that broke while nobody looked is opened anew
        self._open: list[Listening] = []

    def start(self) -> None:
        """Ask the server whether it is there; one that does not answer is tried again later.

        Raises:
            TransportFailed: it answers, and refuses us.
        """
        try:
            self._publisher.ping()
        except _errors().AuthenticationError as error:
            raise TransportFailed(f"Redis refuses us: {error}; correct the user and password of the URL") from error
        except (_errors().ConnectionError, _errors().TimeoutError) as error:
            log.warning("Redis does not answer, so the poll finds new work until it does: %s", error)
        except _errors().RedisError as error:
            raise TransportFailed(f"Redis refuses us: {error}") from error

    def close(self) -> None:
        """Give back connections and threads."""
        while self._open:
            self._open.pop().close()
        self._publisher.close()

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """Append to the streams, in one round trip. While the server is away nothing is tried more often than it makes sense."""
        if time.monotonic() < self._rest_until:
            return refusal(batch, "Redis did not answer a moment ago")
        try:
            with self._publisher.pipeline(transaction=False) as line:
                for message in batch:
                    line.xadd(self._stream(message.namespace), {_FIELD: message.encode()}, maxlen=self._kept, approximate=True)
                answers = line.execute(raise_on_error=False)
        except _errors().RedisError as error:
            self._rest_until = time.monotonic() + self._backoff.next_seconds()
            return refusal(batch, error)
        self._backoff.worked()
        return [Answer(str(answer)) if isinstance(answer, Exception) else Answer() for answer in answers]

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        """Read the namespace's stream in a thread, over a connection of its own."""
        reader = self._connect(tries_again=0)  # whatever breaks may have cost messages, so we want to know
        wanted = frozenset(queues)
        listening = Listening("mainspring-redis", lambda stop: self._read(reader, stop, namespace, wanted, on_hint))
        self._open.append(listening)
        return listening

    def _read(self, reader: "redis.Redis", stop: threading.Event, namespace: str, wanted: frozenset[str], on_hint: OnHint) -> None:
        backoff = Backoff()
        stream = self._stream(namespace)
        while not stop.is_set():
            try:
                place = _end_of(reader, stream)
                on_hint(None)
                backoff.worked()
                while not stop.is_set():
                    place = self._read_on(reader, stream, place, wanted, on_hint)
            except _errors().RedisError as error:
                log.warning("hints are lost until Redis answers again: %s", error)
                stop.wait(backoff.next_seconds())
        reader.close()

    def _read_on(self, reader: "redis.Redis", stream: str, place: bytes, wanted: frozenset[str], on_hint: OnHint) -> bytes:
        """Wait a moment for what comes after ``place``, tell it, and return the new place. A moment, so that a line that broke
        without a word is found out, and that ``close`` need not reach into a connection that waits."""
        found: Any = reader.xread({stream: place}, count=_READ_AT_ONCE, block=int(min(_BLOCK_SECONDS, self._patience / 2) * 1000))
        entries = _entries(found)
        for _, fields in entries:
            message = Message.decode(fields.get(_FIELD, b""))
            if message is not None and message.queue in wanted:
                on_hint(message)
        return entries[-1][0] if entries else place

    def _stream(self, namespace: str) -> str:
        return f"{self._prefix}{namespace}"

    def _connect(self, *, tries_again: int) -> "redis.Redis":
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ConfigurationInvalid(
                f"the Redis transport needs redis-py, which is not installed ({error}); run: pip install 'mainspring[redis]'"
            ) from None
        try:
            return redis.Redis.from_url(
                self._url,
                protocol=2,
                socket_timeout=self._patience,
                socket_connect_timeout=self._patience,
                retry=Retry(NoBackoff(), tries_again),
            )
        except (ValueError, redis.RedisError) as error:
            raise ConfigurationInvalid(f"the URL of the Redis transport cannot be read: {error}") from None


def _errors() -> Any:
    import redis

    return redis


def _end_of(reader: "redis.Redis", stream: str) -> bytes:
    """The place of the last message there is: whoever reads on from it misses nothing that is said from now on."""
    last: Any = reader.xrevrange(stream, count=1)
    return bytes(last[0][0]) if last else b"0-0"


def _entries(found: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The messages in an answer of XREAD, which is nothing, pairs, or a mapping, as the protocol has it."""
    pairs = found.items() if isinstance(found, dict) else found or ()
    return [(place, fields) for _, entries in pairs for place, fields in entries]
