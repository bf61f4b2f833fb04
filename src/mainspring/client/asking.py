"""Asking for a run by the name of its task, without its code: for the command line and the API. Its worker checks the payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mainspring import codec
from mainspring.client.requests import Request
from mainspring.core.attributes import Value, checked
from mainspring.core.durations import Duration, parse_duration, parse_instant
from mainspring.core.lanes import Lane
from mainspring.core.names import check_key, check_name, check_priority
from mainspring.core.policy import Policy
from mainspring.errors import InvalidOption
from mainspring.operations.enqueue import DEFAULT_KEY_TTL, policy_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What may be said of a run beside its task and payload; what is left out is as for a task without options."""

    queue: str = "default"
    priority: int = 0
    version: int = 1
    at: datetime | str | None = None
    delay: Duration | None = None
    key: str | None = None
    singleton: str | None = None
    attributes: Mapping[str, Value] | None = None
    run_id: str | None = None


def request_by_name(namespace: str, task: str, payload: Mapping[str, Any], wish: Wish) -> Request:
    """The request that is meant.

    Raises:
        InvalidOption, PayloadInvalid, PayloadTooLarge: naming what cannot be.
    """
    if wish.at is not None and wish.delay is not None:
        raise InvalidOption("give at or delay, not both", option="at")
    if not isinstance(wish.version, int) or not 1 <= wish.version < 2**31:
        raise InvalidOption(f"version must be a whole number from 1, not {wish.version!r}", option="version")
    return Request(
        lane=Lane(
            namespace=namespace,
            queue=check_name(wish.queue, "queue"),
            task=check_name(task, "task"),
            priority=check_priority(wish.priority),
            version=wish.version,
        ),
        policy=policy_row(Policy()),
        body=codec.encode_json(payload, what="payload", largest=codec.LARGEST),
        due_at=None if wish.at is None else parse_instant(wish.at, option="at"),
        delay=0 if wish.delay is None else parse_duration(wish.delay, option="delay"),
        key=None if wish.key is None else check_key(wish.key, "key"),
        key_ttl=DEFAULT_KEY_TTL,
        singleton=None if wish.singleton is None else check_key(wish.singleton, "singleton"),
        attributes=checked(wish.attributes or {}),
        run_id=wish.run_id,
    )
