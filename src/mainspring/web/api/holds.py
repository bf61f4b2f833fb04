"""Endpoints of what is held back since the database was restored: look at it, and decide."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainspring.core.access import Operation
from mainspring.errors import InvalidOption, UnknownSchedule
from mainspring.web.api.shapes import Id, Instant, Name, PageQuery, Reason, at
from mainspring.web.endpoints import Asked, Body, Endpoint, Nothing, Scoped, acts, reads


class HeldSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule whose instants after ``after`` and up to ``upto`` wait for a person."""

    schedule_id: Id
    name: str
    after: Instant
    upto: Instant


class HoldPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of held schedules, by name."""

    data: list[HeldSchedule]
    next_cursor: str | None


class Decision(Body, frozen=True, kw_only=True):
    """What becomes of what is held: ``policy`` settles it as late, ``suppress`` runs none of it. Of one ``schedule``, or of
    ``all`` that are held."""

    policy: Literal["policy", "suppress"]
    reason: Reason
    schedule: Name | None = None
    all: bool = False


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """For how many schedules it was decided."""

    schedules: int


def list_holds(asked: Asked[PageQuery, Nothing]) -> HoldPage:
    """Schedules that were due between a backup and its restore."""
    query = asked.query
    found = asked.client.holds.list(after=query.cursor or "", limit=query.limit + 1)
    page = [
        HeldSchedule(schedule_id=each.schedule_id, name=each.name, after=at(each.after), upto=at(each.upto))
        for each in found[: query.limit]
    ]
    return HoldPage(data=page, next_cursor=page[-1].name if len(found) > query.limit else None)


def decide_holds(asked: Asked[Scoped, Decision]) -> Decided:
    """Decide what becomes of what a schedule holds back, or all of them. The ledger names who decided."""
    body = asked.body
    if (body.schedule is None) is not body.all:
        raise InvalidOption("name a schedule, or say all", option="schedule")
    return Decided(schedules=asked.client.holds.decide(body.schedule, policy=body.policy, reason=body.reason))


ENDPOINTS: tuple[Endpoint, ...] = (
    reads("/holds", "holds.list", list_holds, query=PageQuery, gives=HoldPage),
    acts(
        "POST", "/holds/decide", "holds.decide", decide_holds, body=Decision, gives=Decided, kind=Operation.OPERATE,
        refusals=(InvalidOption, UnknownSchedule),
    ),
)  # fmt: skip
