"""Looking at queues, and steering them while everything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias

from mainspring.client.writing import write_again
from mainspring.core.capacity import Overflow, check_bound
from mainspring.core.limits import Limit, Rate
from mainspring.errors import InvalidOption
from mainspring.operations import capacity, queues
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

QueueList: TypeAlias = list[queues.Queue]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEdit:
    """What is to be changed of a queue; ``...`` leaves it. ``limit`` and ``max_waiting`` None: none."""

    paused: bool | EllipsisType = ...
    limit: int | EllipsisType | None = ...
    max_waiting: int | EllipsisType | None = ...
    overflow: Overflow | EllipsisType = ...

    def check(self) -> None:
        """Refuse what cannot be, before anything is asked.

        Raises:
            InvalidOption: naming it.
        """
        if isinstance(self.limit, int):
            Limit(self.limit)
        if self.overflow is not ... and self.max_waiting is ...:
            raise InvalidOption("overflow says what becomes of more than max_waiting; give that too", option="overflow")
        if self.max_waiting is not ...:
            check_bound(self.max_waiting, self._overflow)

    def apply(self, tx: Transaction, *, namespace: str, queue: str, actor: str, version: str | None) -> queues.Queue:
        """Change it."""
        queues.require_version(tx, namespace, queue, version)
        if self.paused is True:
            queues.pause(tx, namespace, queue, actor=actor)
        if self.paused is False:
            queues.resume(tx, namespace, queue, actor=actor)
        if self.limit is not ...:
            queues.set_limit(tx, namespace, queue, self.limit, actor=actor)
        if self.max_waiting is not ...:
            capacity.bound(tx, namespace, queue, max_waiting=self.max_waiting, overflow=self._overflow, actor=actor)
        return queues.get(tx, namespace, queue)

    @property
    def _overflow(self) -> Overflow:
        return "refuse" if self.overflow is ... else self.overflow


class Queues:
    """Looking at queues, and steering them while everything runs."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self) -> QueueList:
        """Every queue."""
        found: QueueList = self._client.database.read("queues.list", lambda tx: queues.listing(tx, self._client.namespace))
        return found

    def get(self, queue: str) -> queues.Queue:
        """One queue.

        Raises:
            UnknownQueue: there is none.
        """
        namespace = self._client.namespace
        found: queues.Queue = self._client.database.read("queues.get", lambda tx: queues.get(tx, namespace, queue))
        return found

    def edit(self, queue: str, edit: QueueEdit, *, version: str | None = None) -> queues.Queue:
        """Change what an operator says of a queue, all of it or nothing; the queue as it is then. ``version`` is that of the queue
        as the caller saw it.

        Raises:
            UnknownQueue: there is none. InvalidOption: naming what to write. ChangedMeanwhile: it has another version by now.
        """
        edit.check()
        client = self._client
        who = {"namespace": client.namespace, "queue": queue, "actor": client.actor}
        edited = write_again(client.database, "queues.edit", lambda tx: edit.apply(tx, version=version, **who))
        client.tell_work([queue])
        return edited

    def declare(
        self,
        queue: str,
        *,
        limits: Sequence[Limit | Rate] = (),
        max_waiting: int | None = None,
        overflow: Overflow = "refuse",
    ) -> None:
        """What code says of a queue; what an operator said stays."""
        namespace = self._client.namespace

        def declare(tx: Transaction) -> None:
            queues.declare(tx, namespace, queue, limits=limits)
            if max_waiting is not None:
                capacity.declare(tx, namespace, queue, max_waiting=max_waiting, overflow=overflow)

        write_again(self._client.database, "queues.declare", declare)

    def bound(self, queue: str, max_waiting: int | None, *, overflow: Overflow = "refuse") -> None:
        """At most ``max_waiting`` runs wait in a queue from now on, None: any number; what waits already stays. One more is
        refused, put on record as skipped (``"skip"``), or takes the place of the oldest that is queued (``"drop_oldest"``). Code
        does not change it, until ``reset_bound``.

        Raises:
            UnknownQueue: there is none. InvalidOption: naming what to write.
        """
        check_bound(max_waiting, overflow)
        client = self._client
        write_again(
            client.database,
            "queues.bound",
            lambda tx: capacity.bound(tx, client.namespace, queue, max_waiting=max_waiting, overflow=overflow, actor=client.actor),
        )

    def reset_bound(self, queue: str) -> None:
        """Let code say again how much may wait in a queue, from its next start on; nothing is bounded until then.

        Raises:
            UnknownQueue: there is none.
        """
        client = self._client
        write_again(
            client.database,
            "queues.bound",
            lambda tx: capacity.reset_bound(tx, client.namespace, queue, actor=client.actor),
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
        client = self._client
        resumed = write_again(
            client.database, "queues.resume", lambda tx: queues.resume(tx, client.namespace, queue, actor=client.actor)
        )
        client.tell_work([queue])
        return resumed

    def limit(self, queue: str, size: int | None) -> None:
        """At most ``size`` runs of a queue at once over the whole fleet; None takes the limit away.

        Raises:
            UnknownQueue: there is none. InvalidOption: a negative size.
        """
        if size is not None and (not isinstance(size, int) or size < 0):
            raise InvalidOption(f"a limit is a whole number from 0, or None for no limit, not {size!r}", option="limit")
        client = self._client
        write_again(
            client.database, "limits.set", lambda tx: queues.set_limit(tx, client.namespace, queue, size, actor=client.actor)
        )
        client.tell_work([queue])
