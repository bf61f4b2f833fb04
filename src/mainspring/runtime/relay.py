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
_EVERY_SECONDS = 1.0


class Relay:
    """Publishes the deliveries of some queues, each by its transport. Writing them, reserving slots for them and giving them up is
    maintenance (``operations/upkeep``), and needs no transport.

    ``published`` and ``refused`` count messages.
    """

    name = "relay"

    def __init__(
        self,
        database: Database,
        namespace: str,
        transports: Mapping[str, Transport],
        *,
        system: System,
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._transports = dict(transports)
        self._queues = sorted(transports)
        self._system = system
        self.published = 0
        self.refused = 0

    def step(self) -> Wake:
        """One round of ``publish``."""
        return Wake(0) if self.publish() >= BATCH * BATCHES else Wake(_EVERY_SECONDS)

    def publish(self) -> int:
        """Publish what is due, at most 5 x 100 deliveries; how many were taken."""
        count = 0
        for _ in range(BATCHES):
            taken = self._database.write("deliveries.take", self._take)
            self._publish(taken)
            count += len(taken)
            if len(taken) < BATCH:
                break
        return count

    def dispatch(self, run_ids: Sequence[str]) -> None:
        """Publish the deliveries of runs that were just created, in the caller; what fails stays for ``step``."""
        if not run_ids:
            return
        try:
            self._publish(self._database.write("deliveries.take", lambda tx: dispatching.take_these(tx, run_ids)))
        except MainspringError as error:  # the runs are durable, and so are their deliveries
            log.warning("deliveries are left to the relay: %s", error)

    def _take(self, tx: Transaction) -> list[Taken]:
        return dispatching.take(tx, self._namespace, self._queues, most=BATCH)

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
