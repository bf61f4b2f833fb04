"""Attempts of runs that have no user code: which kinds a worker offers, and one attempt of one.

Here: what such a run is to the executor, and what its attempt left, as it is stored. Not here: what a kind does (``targets``), and
what this process allows (``client/targeting.py``).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mainspring.client import Client
from mainspring.client.targeting import Allowed, targets_of
from mainspring.core.attempts import Outcome
from mainspring.operations.receipts import Left
from mainspring.registry import Registry, TaskSpec
from mainspring.targets.receipts import Receipt

if TYPE_CHECKING:
    from mainspring.runtime.attempt import Attempt
    from mainspring.targets.protocol import Targets


class Offer:
    """The kinds that a worker offers, made when the first run of one comes."""

    def __init__(self, client: Client, allowed: Allowed) -> None:
        self.kinds = allowed.kinds
        self._client = client
        self._allowed = allowed
        self._targets: Targets | None = None
        self._specs: dict[str, TaskSpec] = {}

    def spec(self, kind: str) -> TaskSpec | None:
        """What a run of a kind is to whoever runs it: a coroutine with one JSON payload."""
        if kind not in self.kinds:
            return None
        if kind not in self._specs:
            spec = Registry(queue="default").add(_order, executor="async")
            self._specs[kind] = replace(spec, name=kind)
        return self._specs[kind]

    def has(self, spec: TaskSpec) -> bool:
        """Whether that is one of its kinds."""
        return self._specs.get(spec.name) is spec

    async def run(self, attempt: Attempt) -> Outcome:
        """Run one attempt. What it leaves is the attempt's, however it ends; asked to stop it stops what it began first."""
        if self._targets is None:
            self._targets = targets_of(self._client, self._allowed)
        claimed, lane = attempt.assignment.claimed, attempt.assignment.lane
        occurrence, is_repeat = await asyncio.to_thread(self._client.schedules.launched_for, claimed.id)
        ran = await self._targets.run(
            lane.task,
            claimed.body or b"{}",
            run_id=claimed.id,
            attempt=attempt.context().attempt,
            occurrence=occurrence,
            is_repeat=is_repeat,
        )
        attempt.receipts = tuple(self._stored(each, claimed.id) for each in ran.receipts)
        return ran.outcome

    def _stored(self, receipt: Receipt, run_id: str) -> Left:
        body = self._client.keeping.keep_receipt(receipt.encoded(), run_id=run_id)
        return Left(receipt.kind, receipt.size, receipt.kept, receipt.sha256, body)


async def _order(target: dict[str, Any], payload: Any = None, occurrence: Any = None, is_repeat: bool = False) -> None:
    """The shape of the payload; what runs is a target."""
