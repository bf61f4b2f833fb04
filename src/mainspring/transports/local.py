"""Hints within one process: a list of who wants to know. For apps that share a process, and for tests."""

import threading
from collections.abc import Sequence

from mainspring.transports.message import Message
from mainspring.transports.transport import Answer, OnHint, Subscription


class LocalTransport:
    """Carries messages between whoever holds this object. It is never down, and it loses nothing.

    Give one object to several apps: ``App("shop", transport=bus)``, ``App("post", transport=bus)``.
    """

    name = "in-process"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[_Listener] = []

    def start(self) -> None:
        """There is nothing to start."""

    def close(self) -> None:
        """Nothing to give back: whoever subscribed closes that, for others may share this object."""

    def publish(self, batch: Sequence[Message]) -> list[Answer]:
        """Tell everybody who listens, here and now."""
        with self._lock:
            listeners = tuple(self._listeners)
        for message in batch:
            for listener in listeners:
                listener.tell(message)
        return [Answer()] * len(batch)

    def subscribe(self, namespace: str, queues: Sequence[str], on_hint: OnHint) -> Subscription:
        """Be told of these queues from now on."""
        listener = _Listener(self, namespace, queues, on_hint)
        with self._lock:
            self._listeners.append(listener)
        on_hint(None)
        return listener

    def forget(self, listener: "_Listener") -> None:
        """Take one from the list."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)


class _Listener:
    def __init__(self, bus: LocalTransport, namespace: str, queues: Sequence[str], on_hint: OnHint) -> None:
        self._bus = bus
        self._wanted = frozenset((namespace, queue) for queue in queues)
        self._on_hint = on_hint

    def tell(self, message: Message) -> None:
        if (message.namespace, message.queue) in self._wanted:
            self._on_hint(message)

    def close(self) -> None:
        self._bus.forget(self)
