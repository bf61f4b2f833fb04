"""Calls from outside a worker: create runs, wait for them, look at them, stop them.

A ``Client`` needs no task code: it speaks of tasks by name. An ``App`` has one inside, and adds the code.
"""

from mainspring.client.batches import Batches, BatchView, JoinedBatch
from mainspring.client.client import AsyncClient, Client
from mainspring.client.handles import BatchHandle, Handle, Member
from mainspring.client.limits import LimitsAtWork
from mainspring.client.queues import Queues
from mainspring.client.requests import Request, with_bodies
from mainspring.client.runs import Page, Runs
from mainspring.client.upstreams import condition_of, upstreams_of

__all__ = [
    "AsyncClient",
    "BatchHandle",
    "BatchView",
    "Batches",
    "Chunk",
    "Client",
    "Handle",
    "JoinedBatch",
    "LimitsAtWork",
    "Member",
    "Page",
    "Queues",
    "Request",
    "Runs",
    "condition_of",
    "stream",
    "upstreams_of",
    "with_bodies",
]
