"""Webhooks: who is told of alerts.

Each telling is an ordinary run of an HTTP target, made in the transaction of the alert: it is sent at least once, tried again as
its policy says, and carries the same idempotency key on every attempt. Not here: sending (``targets/http.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from mainspring.core.durations import format_instant
from mainspring.core.ids import stable_uuid7
from mainspring.core.lanes import Lane
from mainspring.operations import audit, deliveries
from mainspring.operations.creation import NewRun, insertion, intern
from mainspring.store.database import Transaction

#: What the payload of a telling holds, each a text.
FIELDS = ("alert", "transition", "kind", "namespace", "schedule", "schedule_id", "opened_at", "at", "why", "run_id")
MOST = 100


class Change(NamedTuple):
    """An alert that opened or recovered (``is_over``). Instants in microseconds."""

    alert: str
    namespace: str
    schedule_id: str
    schedule: str
    kind: str
    is_over: bool
    opened_at: int
    at: int
    why: str
    run_id: str | None


class Order(NamedTuple):
    """What a webhook's runs are made of."""

    lane: Lane
    policy: tuple[int, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is told, and of what. ``secret``: the name of the key that signs; never the key."""

    name: str
    url: str
    kinds: tuple[str, ...]
    secret: str | None
    updated_at: int


def put(tx: Transaction, name: str, kinds: Sequence[str], order: Order, *, namespace: str, actor: str) -> Webhook:
    """Tell ``order`` of alerts of these kinds from now on. Said again, nothing changes."""
    before = {each.name: each for each in listing(tx, namespace=namespace)}
    tx.rows("runs.intern", lanes=intern([order.lane], [order.policy]).params["lanes"], policies=[order.policy])
    tx.execute(
        "webhooks.put", namespace=namespace, name=name, kinds=msgspec.json.encode(list(kinds)).decode(), lane_id=order.lane.id,
        policy_id=order.policy[0], body=order.body,
    )  # fmt: skip
    made = next(each for each in listing(tx, namespace=namespace) if each.name == name)
    was = before.get(name)
    if was is None or (was.url, was.kinds, was.secret) != (made.url, made.kinds, made.secret):
        data = {"kinds": list(kinds), "signed": made.secret is not None}
        audit.record(tx, f"webhook:{name}", action="webhook.put", namespace=namespace, actor=actor, data=data)
    return made


def delete(tx: Transaction, name: str, *, namespace: str, actor: str) -> bool:
    """Tell it nothing more; whether there was one. What is under way is still sent."""
    if not tx.execute("webhooks.delete", namespace=namespace, name=name):
        return False
    audit.record(tx, f"webhook:{name}", action="webhook.deleted", namespace=namespace, actor=actor)
    return True


def listing(tx: Transaction, *, namespace: str) -> list[Webhook]:
    """The webhooks of a namespace, by name."""
    return [_webhook(*row) for row in tx.rows("webhooks.list", namespace=namespace, most=MOST)]


def tell(tx: Transaction, changes: Sequence[Change]) -> None:
    """Make the runs that tell of these changes, in this transaction."""
    rows = tx.rows("webhooks.of", names=sorted({each.namespace for each in changes}))
    new: list[NewRun] = []
    for namespace, name, kinds, lane_id, policy_id, body in rows:
        wanted = set(msgspec.json.decode(kinds))
        told = [each for each in changes if each.namespace == namespace and each.kind in wanted]
        new += [_run(each, name, lane_id, policy_id, body) for each in told]
    if new:
        tx.rows(insertion(new).statement, **insertion(new).params)
        deliveries.follow(tx, [run.id for run in new])


def _run(change: Change, webhook: str, lane_id: int, policy_id: int, body: bytes) -> NewRun:
    transition = "recovered" if change.is_over else "opened"
    told = change._asdict() | {
        "transition": transition, "opened_at": format_instant(change.opened_at), "at": format_instant(change.at),
        "run_id": change.run_id or "",
    }  # fmt: skip
    order = msgspec.json.decode(body) | {"payload": {name: told[name] for name in FIELDS}}
    key = stable_uuid7(change.at, f"alert/{change.alert}/{transition}/{webhook}")
    return NewRun(
        id=key, lane_id=lane_id, policy_id=policy_id, body=msgspec.json.encode(order), actor=f"webhook:{webhook}",
    )  # fmt: skip


def _webhook(name: str, kinds: str, body: bytes, updated_at: int) -> Webhook:
    target: dict[str, Any] = msgspec.json.decode(body)["target"]
    signing = target.get("signing") or [None]
    secret = None if signing[0] is None else signing[0]["secret"]
    return Webhook(name=name, url=target["url"], kinds=tuple(msgspec.json.decode(kinds)), secret=secret, updated_at=updated_at)
