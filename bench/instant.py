"""A worker without user code: what it claims has succeeded at once, so that what is seen is the worker and the database alone.

Here: the executor and the worker on it.  Not here: a measurement; `bench/growth.py` and `tests/budgets` have those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainspring.core.attempts import Succeeded
from mainspring.runtime.worker import Assignment, Worker, WorkerPlan
from mainspring.system import System

BATCH = 100
RESULT = b'{"ok":true,"bytes":5120}'


class Instant:
    """An executor whose every attempt succeeds as soon as it is begun."""

    worker: Worker

    def begin(self, claims: Sequence[Assignment]) -> None:
        for assignment in claims:
            self.worker.ended(assignment.claimed, Succeeded(RESULT), seconds=0.001)

    def stop(self, run_id: str, token: int, why: str) -> None:
        """Nothing runs that could be stopped."""


def instant_worker(database: Any, system: System, *, queues: Sequence[str], task: str, ttl_us: int) -> Worker:
    """A worker with room for two turns: one at work, one ahead."""
    executor = Instant()
    plan = WorkerPlan(
        id="worker", namespace="default", queues=dict.fromkeys(queues), tasks={task: 1}, concurrency=2 * BATCH, ttl_us=ttl_us,
        poll_seconds=1.0,
    )  # fmt: skip
    executor.worker = Worker(database, executor, plan, system=system)
    return executor.worker
