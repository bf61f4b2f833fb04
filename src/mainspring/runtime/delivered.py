"""One attempt because of a message: read the run, claim that one, execute it here, and acknowledge.

What a process does that is called by somebody else: a function platform, a consumer of a queue. No polling, no maintenance: those
are other processes', and a run whose message got lost waits for the next message, or for a worker that polls.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from mainspring.client import Client
from mainspring.operations import dispatching
from mainspring.operations.claims import Claim, Claimed, Claimer, Walk
from mainspring.operations.dispatching import Verdict
from mainspring.operations.lanes import lanes_of
from mainspring.registry import Registry
from mainspring.runtime.single import Single
from mainspring.runtime.worker import WorkerPlan
from mainspring.store.database import Transaction
from mainspring.transports import Message


class Delivered(NamedTuple):
    """What became of a message: ``executed``, or why it was left alone. ``attempt`` is the number of the attempt it led to."""

    verdict: Verdict
    run_id: str | None = None
    attempt: int | None = None

    @property
    def is_executed(self) -> bool:
        """Whether an attempt was made; how it ended is the run's to say."""
        return self.verdict is Verdict.EXECUTED


async def execute(client: Client, registry: Registry, plan: WorkerPlan, given: Message | bytes | str) -> Delivered:
    """Execute the run that a message names, if it can be claimed; returns when the outcome is durable.

    Raises:
        StorageUnavailable, StorageConflict, CommitUnknown: the message may be given again.
    """
    message = given if isinstance(given, Message) else Message.decode(given)
    if message is None or message.run_id is None or message.namespace != plan.namespace:
        return Delivered(Verdict.UNKNOWN)
    one = _OneRun(message.run_id, message.queue)
    unique = replace(plan, id=f"{plan.id}.{client.system.new_id()[-8:]}", concurrency=1)
    await Single(client, registry, unique, one).run()
    return Delivered(one.verdict, message.run_id, one.claimed.token if one.claimed else None)


class _OneRun:
    """The claim of a worker that is there for one run. It may be made again after a conflict; what was committed counts."""

    def __init__(self, run_id: str, queue: str) -> None:
        self._run_id = run_id
        self._queue = queue
        self.verdict = Verdict.UNKNOWN
        self.claimed: Claimed | None = None

    def __call__(self, tx: Transaction, who: Claimer, walk: Walk, **_: Any) -> Claim:
        """As ``operations.claims.claim``."""
        self.verdict, self.claimed = dispatching.claim(tx, who, self._run_id, self._queue)
        if self.claimed is None:
            return Claim([], False, None)
        walk.lanes |= lanes_of(tx, [self.claimed.lane_id])
        return Claim([self.claimed], False, None)
