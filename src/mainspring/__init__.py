"""Mainspring: durable runs for Python. Jobs that survive kill -9, on SQLite or PostgreSQL.

The public names, and nothing else.
"""

from mainspring.app import App, Batch, Call, Task, batch
from mainspring.client import AsyncClient, BatchHandle, Client, Handle, Member, Page
from mainspring.context import Context
from mainspring.core.limits import Limit, Rate
from mainspring.core.retry import exponential, fixed, linear, steps
from mainspring.core.states import State
from mainspring.errors import (
    Cancelled,
    Fail,
    KeyConflict,
    LeaseLost,
    MainspringError,
    PayloadInvalid,
    Release,
    ResultTimeout,
    Retry,
    RunCancelled,
    RunFailed,
)
from mainspring.runtime.hosting import WorkerProcess

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncClient",
    "Batch",
    "BatchHandle",
    "Call",
    "Cancelled",
    "Client",
    "Context",
    "Fail",
    "Handle",
    "KeyConflict",
    "LeaseLost",
    "Limit",
    "MainspringError",
    "Member",
    "Page",
    "PayloadInvalid",
    "Rate",
    "Release",
    "ResultTimeout",
    "Retry",
    "RunCancelled",
    "RunFailed",
    "State",
    "Task",
    "WorkerProcess",
    "batch",
    "exponential",
    "fixed",
    "linear",
    "steps",
]
