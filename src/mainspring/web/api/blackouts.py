"""Endpoints of blackouts: windows in which schedules do not fire, and the schedules they are over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from mainspring.core.access import Operation
from mainspring.errors import NeverDue, RuleInvalid, UnknownBlackout
from mainspring.operations.blackouts import BlackoutView
from mainspring.web.api.shapes import Instant, PageQuery, Span, Text, at, paged
from mainspring.web.endpoints import Asked, Body, Endpoint, Nothing, Scoped, acts, reads

Moment = Annotated[str, msgspec.Meta(max_length=64)]
Pattern = Annotated[str, msgspec.Meta(max_length=201)]


class WantedBlackout(Body, frozen=True, kw_only=True, rename={"first": "from", "end": "to", "length": "for"}):
    """A window, ``from`` and ``to``, or one ``for`` a while from each instant of a ``rule``; over all schedules of the namespace,
    those named (``etl/*``), or those with ``attributes``."""

    policy: Literal["skip", "defer"]
    first: Moment | None = None
    end: Moment | None = None
    rule: dict[str, Any] | None = None
    length: Span | None = None
    schedules: list[Pattern] | None = None
    attributes: dict[str, Any] | None = None
    reason: Text | None = None


class BlackoutState(msgspec.Struct, frozen=True, kw_only=True):
    """A blackout: what it says, and the schedules it is over."""

    name: str
    says: dict[str, Any]
    schedules: list[str]
    created_at: Instant
    updated_at: Instant
    updated_by: str


class BlackoutPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of blackouts, by name."""

    data: list[BlackoutState]
    next_cursor: str | None


class DeletedBlackout(msgspec.Struct, frozen=True, kw_only=True):
    """The name that is free."""

    name: str


def list_blackouts(asked: Asked[PageQuery, Nothing]) -> BlackoutPage:
    """The blackouts of this namespace."""
    query = asked.query
    page, cursor = paged(asked.client.blackouts.list(), lambda each: each.name, limit=query.limit, cursor=query.cursor)
    return BlackoutPage(data=[_told(each) for each in page], next_cursor=cursor)


def get_blackout(asked: Asked[Scoped, Nothing]) -> BlackoutState:
    """One blackout."""
    return _told(asked.client.blackouts.get(asked.path["name"]))


def put_blackout(asked: Asked[Scoped, WantedBlackout]) -> BlackoutState:
    """Make a blackout what the body says. The schedules it concerns are looked at at once."""
    said = {key: value for key, value in msgspec.to_builtins(asked.body).items() if value is not None}
    return _told(asked.client.blackouts.put_data(asked.path["name"], said))


def delete_blackout(asked: Asked[Scoped, Nothing]) -> DeletedBlackout:
    """End a blackout. What it ended stays so; what it deferred is settled by the misfire policy."""
    asked.client.blackouts.delete(asked.path["name"])
    return DeletedBlackout(name=asked.path["name"])


def _told(found: BlackoutView) -> BlackoutState:
    return BlackoutState(
        name=found.name, says=found.blackout.as_data(), schedules=list(found.schedules), created_at=at(found.created_at),
        updated_at=at(found.updated_at), updated_by=found.updated_by,
    )  # fmt: skip


_PATH = "/blackouts/{name}"

ENDPOINTS: tuple[Endpoint, ...] = (
    reads("/blackouts", "blackouts.list", list_blackouts, query=PageQuery, gives=BlackoutPage),
    reads(_PATH, "blackouts.get", get_blackout, query=Scoped, gives=BlackoutState, refusals=(UnknownBlackout,)),
    acts(
        "PUT", _PATH, "blackouts.put", put_blackout, body=WantedBlackout, gives=BlackoutState, kind=Operation.OPERATE,
        refusals=(RuleInvalid, NeverDue),
    ),
    acts(
        "DELETE", _PATH, "blackouts.delete", delete_blackout, body=Nothing, gives=DeletedBlackout, kind=Operation.OPERATE,
        refusals=(UnknownBlackout,),
    ),
)  # fmt: skip
