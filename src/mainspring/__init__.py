"""Mainspring: durable runs for Python. Jobs that survive kill -9, on SQLite or PostgreSQL.

The public names, and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mainspring.app import App
from mainspring.client import AsyncClient, BatchHandle, Client, Handle, Member, Page
from mainspring.codec import Directory, Encrypted, Objects
from mainspring.composing import Batch, Call, Chain, ChainHandle, batch, chain, result_of
from mainspring.context import Context
from mainspring.core.collecting import Collect
from mainspring.core.debounce import Debounce
from mainspring.core.limits import Limit, Rate
from mainspring.core.retry import exponential, fixed, linear, steps
from mainspring.core.signals import Cancelled, Fail, RateLimited, Release, Retry, Skip
from mainspring.core.states import State
from mainspring.errors import (
    KeyConflict,
    LeaseLost,
    MainspringError,
    PayloadInvalid,
    QueueFull,
    ResultTimeout,
    RunCancelled,
    RunFailed,
    RunSkipped,
)
from mainspring.tasks import Task

if TYPE_CHECKING:
    from mainspring.core.rule_building import after, any_of, cron, every, in_calendar, on_calendar, once, rrule
    from mainspring.runtime.hosting import WorkerProcess
    from mainspring.targets.programs import shell
    from mainspring.targets.requests import http
    from mainspring.targets.secrets import secret

__version__ = "0.1.0"

_RULES = "mainspring.core.rule_building"
#: Builders of rules and targets, what executes, and where they are: imported at first use, for that takes a while.
_LATE = dict.fromkeys(("after", "any_of", "cron", "every", "in_calendar", "on_calendar", "once", "rrule"), _RULES) | {
    "WorkerProcess": "mainspring.runtime.hosting",
    "http": "mainspring.targets.requests",
    "secret": "mainspring.targets.secrets",
    "shell": "mainspring.targets.programs",
}

__all__ = [
    "App",
    "AsyncClient",
    "Batch",
    "BatchHandle",
    "Call",
    "Cancelled",
    "Chain",
    "ChainHandle",
    "Client",
    "Collect",
    "Context",
    "Debounce",
    "Directory",
    "Encrypted",
    "Fail",
    "Handle",
    "KeyConflict",
    "LeaseLost",
    "Limit",
    "MainspringError",
    "Member",
    "Objects",
    "Page",
    "PayloadInvalid",
    "QueueFull",
    "Rate",
    "RateLimited",
    "Release",
    "ResultTimeout",
    "Retry",
    "RunCancelled",
    "RunFailed",
    "RunSkipped",
    "Skip",
    "State",
    "Task",
    "WorkerProcess",
    "after",
    "any_of",
    "batch",
    "chain",
    "cron",
    "every",
    "exponential",
    "fixed",
    "http",
    "in_calendar",
    "linear",
    "on_calendar",
    "once",
    "result_of",
    "rrule",
    "secret",
    "shell",
    "steps",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
