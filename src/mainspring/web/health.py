"""Whether this process lives, whether it is ready, and its metrics: for whoever keeps it running. No namespace, and no secrets.

Not here: how the work is going (``api/status.py``).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mainspring.core.access import Operation
from mainspring.errors import CapabilityUnsupported, MainspringError
from mainspring.operations.upkeep_state import upkeep_state
from mainspring.store.migrate import require_current
from mainspring.web.endpoints import Answered, Asked, Endpoint, Nothing, Unscoped


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that has to be so, and what is wrong with it."""

    name: str
    ok: bool
    detail: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests should be sent here, and why not."""

    status: Literal["ready", "not_ready"]
    checks: list[Check]


def healthz(asked: Asked[Unscoped, Nothing]) -> Alive:
    """Whether the process lives; looks at nothing else."""
    return Alive()


def readyz(asked: Asked[Unscoped, Nothing]) -> Answered:
    """Whether the database can be reached, its migrations are current, and somebody makes passes of maintenance. 503 if not."""
    checks = [_reachable(asked)]
    if checks[0].ok:
        checks += [_current(asked), _ticking(asked)]
    is_ready = all(check.ok for check in checks)
    value = Ready(status="ready" if is_ready else "not_ready", checks=checks)
    return Answered(value=value, status=200 if is_ready else 503)


def metrics(asked: Asked[Unscoped, Nothing]) -> Answered:
    """Metrics of this process, as Prometheus reads them."""
    if asked.node.metrics is None:
        raise CapabilityUnsupported("this server counts nothing; start it with metrics")
    from prometheus_client import generate_latest

    return Answered(value=generate_latest(asked.node.metrics.registry))


def _reachable(asked: Asked[Unscoped, Nothing]) -> Check:
    try:
        asked.node.database.read("clock.now", lambda tx: tx.now)
    except MainspringError as error:
        return Check(name="database", ok=False, detail=f"cannot be reached ({error.code})")
    return Check(name="database", ok=True, detail="reachable")


def _current(asked: Asked[Unscoped, Nothing]) -> Check:
    try:
        require_current(asked.node.database)
    except MainspringError as error:
        return Check(name="migrations", ok=False, detail=error.message)
    return Check(name="migrations", ok=True, detail="current")


def _ticking(asked: Asked[Unscoped, Nothing]) -> Check:
    try:
        upkeep = asked.node.database.read("upkeep.state", upkeep_state)
    except MainspringError as error:
        return Check(name="upkeep", ok=False, detail=f"cannot be looked at ({error.code})")
    return Check(name="upkeep", ok=upkeep.is_ticking, detail=upkeep.told)


_PROMETHEUS = "text/plain; version=0.0.4"

ENDPOINTS = (
    Endpoint(
        method="GET", path="/healthz", operation="health.live", kind=None, handler=healthz,
        query=Unscoped, body=Nothing, gives=Alive,
    ),
    Endpoint(
        method="GET", path="/readyz", operation="health.ready", kind=None, handler=readyz,
        query=Unscoped, body=Nothing, gives=Ready, statuses=(200, 503),
    ),
    Endpoint(
        method="GET", path="/metrics", operation="health.metrics", kind=Operation.READ, handler=metrics,
        query=Unscoped, body=Nothing, gives=None, media=_PROMETHEUS,
    ),
)  # fmt: skip
