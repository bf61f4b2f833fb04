"""A transport that does everything a transport may do wrong: it loses, doubles, delays and reorders what another one carries."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from mainspring.transports import Answer, Message, OnHint, Subscription, Transport

_ROUND_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often which fault happens, from 0 to 1; a late message comes up to ``longest_seconds`` late, and after newer ones."""

    lost: float = 0.25
    doubled: float = 0.25
    late: float = 0.5
    longest_seconds: float = 0.2


class FaultyTransport:
    """``inner`` with faults, drawn from a seed. It answers "published" for what it loses, as a real one may.

    ``lost``, ``doubled`` and ``late`` count what it did.
    """

    def __init__(self, inner: Transport, *, faults: Faults | None = None, seed: int = 0) -> None:
        self.name = f"faulty {inner.name}"
        self.inner = inner
        self.lost = self.doubled = self.late = 0
        self._faults = faults or Faults()
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._waiting: list[Message] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the inner one, and the thread that sends what is late."""
        self.inner.start()
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._send_late, name="faulty-transport", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Close the inner one. What is late by then is lost."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.inner.close()

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """Lose some, send some twice, keep some for later, and send the rest in any order."""
        with self._lock:
            now = [message for message in batch for _ in range(self._copies())]
            self._dice.shuffle(now)
            kept = [message for message in now if self._happens(self._faults.late)]
            self._waiting += kept
            self.late += len(kept)
        for message in kept:
            now.remove(message)
        if now:
            self.inner.publish(now)
        return [Answer()] * len(batch)

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        """As the inner one does."""
        return self.inner.subscribe(namespace, queues, on_hint)

    def _copies(self) -> int:
        if self._happens(self._faults.lost):
            self.lost += 1
            return 0
        if self._happens(self._faults.doubled):
            self.doubled += 1
            return 2
        return 1

    def _happens(self, share: float) -> bool:
        return self._dice.random() < share

    def _send_late(self) -> None:
        share = _ROUND_SECONDS / max(self._faults.longest_seconds, _ROUND_SECONDS)
        while not self._stop.wait(_ROUND_SECONDS):
            with self._lock:
                going = [message for message in self._waiting if self._happens(2 * share)]
                self._waiting = _without(self._waiting, going)
                self._dice.shuffle(going)
            if going:
                self.inner.publish(going)


def _without(messages: list[Message], gone: list[Message]) -> list[Message]:
    left = list(messages)

    for message in gone:
        left.remove(message)
    return left
