"""Endpoints of alerts: what is wrong with schedules, and who is told of it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mainspring.core.access import Operation
from mainspring.errors import TargetInvalid, TargetRefused
from mainspring.operations.webhooks import Webhook as WebhookView
from mainspring.web.access import require_scope
from mainspring.web.api.shapes import Id, Instant, Name, PageQuery, at, at_or_none, paged
from mainspring.web.endpoints import Asked, Body, Endpoint, Nothing, Scoped, reads

Url = Annotated[str, msgspec.Meta(max_length=2_000)]
Kinds = Annotated[list[str], msgspec.Meta(max_length=50)]


class AlertQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of a look at alerts: the page behind the id ``before``, of one ``schedule``, or only those that are open."""

    before: Id | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    schedule: Name | None = None
    only_open: bool = False


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An episode: what was wrong with a schedule from ``opened_at`` to ``recovered_at``; null: it still is."""

    id: Id
    schedule_id: Id
    schedule: str
    kind: str
    opened_at: Instant
    recovered_at: Instant | None
    why: str
    run_id: Id | None


class AlertPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of alerts, the newest first."""

    data: list[Alert]


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told, of which kinds. ``secret``: the name of the key that signs."""

    name: str
    url: str
    kinds: list[str]
    secret: str | None
    updated_at: Instant


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of webhooks, by name."""

    data: list[Webhook]
    next_cursor: str | None


class WantedWebhook(Body, frozen=True, kw_only=True):
    """Where to send what. ``kinds`` null: every kind; ``secret`` names the key that signs."""

    url: Url
    kinds: Kinds | None = None
    secret: Name | None = None
    queue: Name = "default"


class DeletedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there was one."""

    changed: bool


def list_alerts(asked: Asked[AlertQuery, Nothing]) -> AlertPage:
    """What is wrong with schedules, and what was, the newest first."""
    query = asked.query
    found = asked.client.alerts.list(schedule=query.schedule, only_open=query.only_open, before=query.before, limit=query.limit)
    return AlertPage(
        data=[
            Alert(
                id=each.id, schedule_id=each.schedule_id, schedule=each.schedule, kind=each.kind, opened_at=at(each.opened_at),
                recovered_at=at_or_none(each.recovered_at), why=each.why, run_id=each.run_id,
            )
            for each in found
        ]
    )  # fmt: skip


def list_webhooks(asked: Asked[PageQuery, Nothing]) -> WebhookPage:
    """Who is told of alerts."""
    page, cursor = paged(asked.client.webhooks.list(), lambda each: each.name, limit=asked.query.limit, cursor=asked.query.cursor)
    return WebhookPage(data=[_webhook(each) for each in page], next_cursor=cursor)


def put_webhook(asked: Asked[Scoped, WantedWebhook]) -> Webhook:
    """Send a signed POST to a URL when an alert opens or recovers, from now on."""
    require_scope(asked.identity, Operation.CALL_HTTP)
    body = asked.body
    return _webhook(asked.client.webhooks.put(asked.path["name"], body.url, kinds=body.kinds, secret=body.secret, queue=body.queue))


def delete_webhook(asked: Asked[Scoped, Nothing]) -> DeletedWebhook:
    """Tell it nothing more. What is under way is still sent."""
    return DeletedWebhook(changed=asked.client.webhooks.delete(asked.path["name"]))


def _webhook(found: WebhookView) -> Webhook:
    return Webhook(name=found.name, url=found.url, kinds=list(found.kinds), secret=found.secret, updated_at=at(found.updated_at))


ENDPOINTS = (
    reads("/alerts", "alerts.list", list_alerts, query=AlertQuery, gives=AlertPage),
    reads("/webhooks", "webhooks.list", list_webhooks, query=PageQuery, gives=WebhookPage),
    Endpoint(
        method="PUT", path="/api/v1/webhooks/{name}", operation="webhooks.put", kind=Operation.DEFINE, handler=put_webhook,
        query=Scoped, body=WantedWebhook, gives=Webhook, refusals=(TargetInvalid, TargetRefused), has_body=True, repeats=True,
    ),
    Endpoint(
        method="DELETE", path="/api/v1/webhooks/{name}", operation="webhooks.delete", kind=Operation.DEFINE,
        handler=delete_webhook, query=Scoped, body=Nothing, gives=DeletedWebhook, repeats=True,
    ),
)  # fmt: skip
