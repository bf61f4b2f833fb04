"""Looking at queues, and steering them while everything runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from mainspring.client.writing import write_again
from mainspring.core.limits import Limit, Rate
from mainspring.errors import InvalidOption
from mainspring.operations import queues

if TYPE_CHECKING:
    from mainspring.client.client import Client

QueueList: TypeAlias = list[queues.Queue]


class Queues:
    """Looking at queues, and steering them while everything runs."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self) -> QueueList:
        """Every queue."""
        found: QueueList = self._client.database.read("queues.list", lambda tx: queues.listing(tx, self._client.namespace))
        return found

    def declare(self, queue: str, *, limits: Sequence[Limit | Rate] = ()) -> None:
        """What code says of a queue; an operator's limit stays."""
        write_again(
            self._client.database,
            "queues.declare",
            lambda tx: queues.declare(tx, self._client.namespace, queue, limits=limits),
        )

    def pause(self, queue: str) -> bool:
        """Stop claims from a queue. False: it was paused already.

        Raises:
            UnknownQueue: there is none.
        """
        return write_again(
            self._client.database,
            "queues.pause",
            lambda tx: queues.pause(tx, self._client.namespace, queue, actor=self._client.actor),
        )

    def resume(self, queue: str) -> bool:
        """Let claims go on. False: it was not paused.

        Raises:
            UnknownQueue: there is none.
        """
        resumed = write_again(self._client.database, "queues.resume", lambda tx: queues.resume(tx, self._client.namespace, queue))
        self._client.tell_work([queue])
        return resumed

    def limit(self, queue: str, size: int | None) -> None:
        """At most ``size`` runs of a queue at once over the whole fleet; None takes the limit away.

        Raises:
            UnknownQueue: there is none. InvalidOption: a negative size.
        """
        if size is not None and (not isinstance(size, int) or size < 0):
            raise InvalidOption(f"a limit is a whole number from 0, or None for no limit, not {size!r}", option="limit")
        write_again(
            self._client.database,
            "limits.set",
            lambda tx: queues.set_limit(tx, self._client.namespace, queue, size),
        )
        self._client.tell_work([queue])
