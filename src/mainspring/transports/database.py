"""The database as its own carrier of hints: LISTEN/NOTIFY on PostgreSQL, the count of commits on a SQLite file."""

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from mainspring.errors import WorldTrouble
from mainspring.transports.message import Message
from mainspring.transports.transport import Answer, Backoff, Listening, OnHint, Subscription, refusal

log = logging.getLogger("mainspring")

CHANNEL = "mainspring_work"
_LOOK_SECONDS = 0.005


class Bus(Protocol):
    """A database that carries hints between processes."""

    def notify(self, channel: str, payloads: list[str]) -> bool:
        """Send payloads; whether they were sent."""

    def notifications(self, channel: str, stop: threading.Event) -> Iterator[str]:
        """Payloads as they come; '' whenever some may have been missed."""


class Counting(Protocol):
    """A database that says when another connection has committed."""

    def change_counter(self) -> int | None:
        """A number that differs whenever somebody else has committed since; None: it cannot be said at this moment."""


class ListenNotify:
    """PostgreSQL's LISTEN/NOTIFY, over the connections of an open database. One connection for each subscription."""

    name = "LISTEN/NOTIFY"

    def __init__(self, database: Bus) -> None:
        self._database = database
        self._open: list[Listening] = []

    def start(self) -> None:
        """The database is open, so there is nothing to do."""

    def close(self) -> None:
        """Close the subscriptions; the database is its owner's."""
        while self._open:
            self._open.pop().close()

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """One statement for all of them."""
        if not batch or self._database.notify(CHANNEL, [message.encode().decode() for message in batch]):
            return [Answer()] * len(batch)
        return refusal(batch, "the database did not take the notification")

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        """Listen in a thread; connect again when the line breaks."""
        wanted = frozenset((namespace, queue) for queue in queues)
        listening = Listening("mainspring-listen", lambda stop: self._listen(stop, wanted, on_hint))
        self._open.append(listening)
        return listening

    def _listen(self, stop: threading.Event, wanted: frozenset[tuple[str, str]], on_hint: OnHint) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                for payload in self._database.notifications(CHANNEL, stop):
                    backoff.worked()
                    message = Message.decode(payload) if payload else None
                    if not payload or (message is not None and (message.namespace, message.queue) in wanted):
                        on_hint(message)
            except WorldTrouble as error:
                log.warning("hints are lost until the database answers again: %s", error)
                stop.wait(backoff.next_seconds())


class ChangeCounter:
    """A SQLite file says by itself that somebody else has committed: looking costs a few µs, and nothing has to be sent."""

    name = "the file's change counter"

    def __init__(self, database: Counting) -> None:
        self._database = database
        self._open: list[Listening] = []

    def start(self) -> None:
        """The database is open, so there is nothing to do."""

    def close(self) -> None:
        """Close the subscriptions; the database is its owner's."""
        while self._open:
            self._open.pop().close()

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """Nothing to do: the commit was the message."""
        return [Answer()] * len(batch)

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        """Look at the counter every few milliseconds. It does not say whose queue it was, so each commit is a hint to all."""
        listening = Listening("mainspring-listen", lambda stop: self._look(stop, on_hint))
        self._open.append(listening)
        return listening

    def _look(self, stop: threading.Event, on_hint: OnHint) -> None:
        seen: int | None = None
        while not stop.wait(_LOOK_SECONDS):
            try:
                counter = self._database.change_counter()
            except WorldTrouble:
                return
            if counter is not None and counter != seen:
                seen = counter
                on_hint(None)
