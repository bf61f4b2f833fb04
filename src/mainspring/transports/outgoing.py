"""Sending hints without making anybody wait: gathered by queue, sent by a thread of its own, dropped rather than piled up.

An enqueue puts the name of its queue into a small table and goes on. Nothing a transport does, or fails to do, reaches it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from mainspring.transports.message import Message
from mainspring.transports.transport import Answer, Transport, refusal

log = logging.getLogger("mainspring")

COALESCE_SECONDS = 0.01
MOST_PENDING = 1_000
_LAST_WORD_SECONDS = 1.0


class Notifier:
    """Tells other processes of work: at once when it was quiet, else at most every 10 ms, each queue once.

    ``sent`` and ``lost`` count hints that the transport took and refused; ``dropped`` those that never got to it, because more
    than 1,000 queues were waiting to be named: the oldest go first.
    """

    def __init__(self, transport: Transport, namespace: str, *, now: Callable[[], int]) -> None:
        self._transport = transport
        self._namespace = namespace
        self._now = now
        self._lock = threading.Lock()
        self._pending: dict[str, None] = {}
        self._due = threading.Event()
        self._closed = False
        self._down = False
        self._thread: threading.Thread | None = None
        self.sent = 0
        self.lost = 0
        self.dropped = 0

    def work(self, queues: Sequence[str]) -> None:
        """There is work in these queues. Returns at once."""
        with self._lock:
            self._pending.update(dict.fromkeys(queues))
            while len(self._pending) > MOST_PENDING:
                del self._pending[next(iter(self._pending))]
                self.dropped += 1
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="mainspring-notify", daemon=True)
                self._thread.start()
        self._due.set()

    def close(self) -> None:
        """Send what is pending, unless that takes long, and stop. A second call does nothing."""
        self._closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(_LAST_WORD_SECONDS)

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            with self._lock:
                pending, self._pending = self._pending, {}
            if pending:
                self._send([Message(namespace=self._namespace, queue=queue, at=self._now()) for queue in pending])
            if self._closed:
                return
            time.sleep(COALESCE_SECONDS)

    def _send(self, batch: list[Message]) -> None:
        answers = published(self._transport, batch)
        sent = sum(answer.is_published for answer in answers)
        self.sent += sent
        self.lost += len(batch) - sent
        if (sent < len(batch)) is not self._down:
            self._down = not self._down
            if self._down:
                why = next(answer.error for answer in answers if answer.error is not None)
                log.warning("%s takes no hints, so the poll finds new work until it does: %s", self._transport.name, why)
            else:
                log.info("%s takes hints again", self._transport.name)


def published(transport: Transport, batch: Sequence[Message]) -> list[Answer]:
    """What ``transport`` answers, one for each message, whatever it does: it may be the user's."""
    try:
        answers = list(transport.publish(batch))
    except Exception as error:  # noqa: BLE001  (a transport of the user's; what it raises must not end whoever uses it)
        return refusal(batch, error)
    return answers if len(answers) == len(batch) else refusal(batch, "it gave no answer for each message")
