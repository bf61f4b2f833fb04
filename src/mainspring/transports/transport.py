"""The protocol of a transport, and the pieces that every transport is made of. No server and no driver here."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from mainspring.transports.message import Message

#: What a subscriber is called with: a message, or None for "some may have been missed".
OnHint: TypeAlias = Callable[[Message | None], None]

_JOIN_SECONDS = 2.0


class Answer(NamedTuple):
    """What became of one message: handed over, or why not. Handed over is no promise that anybody heard it."""

    error: str | None = None

    @property
    def is_published(self) -> bool:
        """Whether the transport took it."""
        return self.error is None


class Subscription(Protocol):
    """What ``subscribe`` gives: being told, until it is closed."""

    def close(self) -> None:
        """Be told no more. A second call does nothing."""


class Transport(Protocol):
    """Carries messages between processes. Its methods may be called from any thread.

    It may lose, double, delay and reorder what it carries. What it must not do is wait: ``publish`` and ``subscribe`` return
    in bounded time whatever became of the other side, and a transport that is down comes back by itself.
    ``mainspring.testing.conformance.TransportSuite`` holds a transport of your own to all of this.
    """

    name: str

    def start(self) -> None:
        """Get ready; after ``close`` once more. Bounded: a server that does not answer is *down*, and tried again.

        Raises:
            TransportFailed: it will not work as configured (say, the server refuses the password).
        """

    def close(self) -> None:
        """Give back connections and threads, and those of its subscriptions. A second call does nothing."""

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """Hand messages over, one answer for each, in order. Never raises for a server that is away, and never waits for it."""

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        """Have ``on_hint`` called, from any thread, with each message for these queues, and with None whenever some may have been
        missed: once at the beginning, and after each time the transport was away. Returns at once."""


def refusal(batch: Sequence[Message], why: object) -> list[Answer]:
    """The same refusal for every message."""
    return [Answer(_first_line(why))] * len(batch)


def _first_line(why: object) -> str:
    return str(why).strip().partition("\n")[0][:300] or type(why).__name__


class Backoff:
    """How long to leave a server alone that does not answer: longer each time, up to a bound, and nothing once it answered."""

    def __init__(self, *, first_seconds: float = 0.05, longest_seconds: float = 1.0) -> None:
        self._first = first_seconds
        self._longest = longest_seconds
        self._next = first_seconds

    def next_seconds(self) -> float:
        """The pause after one more failure."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause

    def worked(self) -> None:
        """It answered."""
        self._next = self._first


class Listening:
    """A subscription with a thread of its own that runs ``work(stop)`` until ``stop`` is set."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=work, args=(self._stop,), name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for the thread as long as it may reasonably take."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)
