"""The relay: takes deliveries that are due, hands them to their queue's transport, and writes what became of them.

A service beside the worker, and a call in whoever enqueues into an eager queue. Every write is guarded by the delivery's claim
token, so any number of relays may work; one that dies between taking and writing is followed by another after half a minute.
"""

import logging
from collections.abc import Mapping, Sequence

from mainspring.errors import MainspringError
from mainspring.operations import dispatching, telemetry
from mainspring.operations.dispatching import Taken
from mainspring.runtime.service import Wake
from mainspring.store.database import Database, Transaction
from mainspring.system import System
from mainspring.transports import Message, Transport, published

log = logging.getLogger("mainspring")

BATCH = 100
BATCHES = 5
MOST_RESERVED = 500
_EVERY_SECONDS = 1.0
_CATCH_UP_US = 30_000_000


class Relay:
    """Publishes the deliveries of some queues, each by its transport. ``timeouts`` (µs) are those of bounded queues.

    ``published`` and ``refused`` count messages.
    """

    name = "relay"

    def __init__(
        self,
        database: Database,
        namespace: str,
        transports: Mapping[str, Transport],
        *,
        timeouts: Mapping[str, int],
        system: System,
        actor: str = "system",
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._transports = dict(transports)
        self._queues = sorted(transports)
        self._timeouts = dict(timeouts)
        self._system = system
        self._actor = actor
        self._caught_up_at: int | None = None
        self.published = 0
        self.refused = 0

    def step(self) -> Wake:
        """One round: reservations, lost dispatches, and at most 5 x 100 deliveries, each stage in transactions of its own."""
        if self._timeouts:
            self._database.write("deliveries.expire", dispatching.expire)
        self._database.write("deliveries.give_up", self._give_up)
        self._catch_up()
        if self._timeouts:
            self._database.write("deliveries.reserve", self._reserve)
        for _ in range(BATCHES):
            taken = self._database.write("deliveries.take", self._take)
            self._publish(taken)
            if len(taken) < BATCH:
                return Wake(_EVERY_SECONDS)
        return Wake(0)

    def dispatch(self, run_ids: Sequence[str]) -> None:
        """Publish the deliveries of runs that were just created, in the caller; what fails stays for ``step``."""
        if not run_ids:
            return
        try:
            self._publish(self._database.write("deliveries.take", lambda tx: dispatching.take_these(tx, run_ids)))
        except MainspringError as error:  # the runs are durable, and so are their deliveries
            log.warning("deliveries are left to the relay: %s", error)

    def close(self) -> None:
        """Close the transports."""
        for transport in {id(each): each for each in self._transports.values()}.values():
            transport.close()

    def _take(self, tx: Transaction) -> list[Taken]:
        return dispatching.take(tx, self._namespace, self._queues, most=BATCH)

    def _reserve(self, tx: Transaction) -> int:
        return dispatching.reserve(tx, self._namespace, self._timeouts, most=MOST_RESERVED)

    def _give_up(self, tx: Transaction) -> int:
        return dispatching.give_up(tx, self._namespace, self._queues, most=BATCH, actor=self._actor)

    def _catch_up(self) -> None:
        """Now and then: somebody may have created runs who had not heard that their queue has deliveries."""
        now = self._system.monotonic()
        if self._caught_up_at is not None and now - self._caught_up_at < _CATCH_UP_US:
            return
        self._caught_up_at = now
        self._database.write(
            "deliveries.catch_up", lambda tx: dispatching.catch_up(tx, self._namespace, self._queues, most=MOST_RESERVED)
        )

    def _publish(self, taken: Sequence[Taken]) -> None:
        if not taken:
            return
        traces = self._database.read("deliveries.traces", lambda tx: telemetry.traces(tx, [each.run_id for each in taken]))
        answers: list[tuple[Taken, str | None]] = []
        for queue in sorted({each.queue for each in taken}):
            mine = [each for each in taken if each.queue == queue]
            batch = [
                Message(
                    namespace=self._namespace, queue=queue, at=self._system.now(), run_id=each.run_id, trace=traces.get(each.run_id)
                )
                for each in mine
            ]
            told = published(self._transports[queue], batch)
            answers += [(each, answer.error) for each, answer in zip(mine, told, strict=True)]
        refused = [error for _, error in answers if error is not None]
        self.published += len(answers) - len(refused)
        self.refused += len(refused)
        if refused:
            log.warning("%d deliveries were refused, the first because: %s", len(refused), refused[0])
        self._database.write("deliveries.settle", lambda tx: dispatching.settle(tx, answers))
