"""Endpoints of limits: how many at once and how many in a span, over queues, keys, tasks, namespaces, pools and everything.

A limit is named in the path by ``/limits/SCOPE/NAME/MEASURE``; the name of what has none (``total``, ``namespace``) is ``-``, and
one key of a queue is named by the query parameter ``key``.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mainspring.core.access import Operation
from mainspring.core.limits import Limit as AtOnce
from mainspring.core.limits import Rate, Scope
from mainspring.errors import ChangedMeanwhile, InvalidOption, NotAllowed, UnknownLimit
from mainspring.operations import limits
from mainspring.web.api.shapes import Instant, Key, PageQuery, Span, at_or_none, paged, seconds
from mainspring.web.endpoints import Answered, Asked, Body, Endpoint, Nothing, Scoped, reads

NAMELESS = "-"
Size = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Whole = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class OfKey(Scoped, frozen=True, kw_only=True):
    """Query parameters that name one concurrency key of a queue."""

    key: Key | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit: ``used`` of ``size`` at once, or ``size`` in ``per_seconds``, with a ``burst``. No ``size``: it is lifted."""

    scope: str
    name: str
    key: str
    measure: str
    size: int | None
    per_seconds: float | None
    burst: int
    cost: int
    strict: bool
    source: str
    used: int | None
    opens_at: Instant | None


class LimitPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of limits, by scope and name."""

    data: list[Limit]
    next_cursor: str | None


class Setting(Body, frozen=True, kw_only=True):
    """How much. ``size`` null lifts the limit; ``per`` (a span), ``burst``, ``cost`` and ``strict`` are of a rate."""

    size: Size | None
    per: Span | None = None
    burst: Whole | None = None
    cost: Whole | None = None
    strict: bool | None = None


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an operator had said anything. From its next start on, code says again what the limit is."""

    changed: bool


def list_limits(asked: Asked[PageQuery, Nothing]) -> LimitPage:
    """Every limit that binds runs of this namespace, with what is held of it."""
    query = asked.query
    page, cursor = paged(asked.client.limits.list(), _place, limit=query.limit, cursor=query.cursor)
    return LimitPage(data=[_limit(each) for each in page], next_cursor=cursor)


def get_limit(asked: Asked[OfKey, Nothing]) -> Answered:
    """One limit. Its ``ETag`` names what is said of it, for ``If-Match``."""
    return _with_version(asked.client.limits.get(**_named(asked)))


def put_limit(asked: Asked[OfKey, Setting]) -> Answered:
    """Set a limit, or lift it. It holds until it is reset, whatever a deploy says; what runs already goes on, and counts."""
    named = _named(asked)
    return _with_version(asked.client.limits.edit(**named, limit=_said(asked.body, rate=named["rate"]), version=asked.version))


def reset_limit(asked: Asked[OfKey, Nothing]) -> Reset:
    """Let code say again what a limit is, from its next start on."""
    return Reset(changed=asked.client.limits.reset(**_named(asked)))


def _named(asked: Asked[OfKey, Any]) -> dict[str, Any]:
    """The limit that the path and the query name."""
    scope, name, measure = (asked.path[part] for part in ("scope", "name", "measure"))
    if measure not in {"at_once", "rate"}:
        raise InvalidOption(f"a limit is at_once or a rate, not {measure!r}", option="measure")
    if scope == Scope.TOTAL and not asked.identity.sees_all:
        raise NotAllowed("the limit of everything belongs to no namespace")
    return {"scope": scope, "name": "" if name == NAMELESS else name, "key": asked.query.key or "", "rate": measure == "rate"}


def _said(body: Setting, *, rate: bool) -> AtOnce | Rate | None:
    given = {name: getattr(body, name) for name in ("per", "burst", "cost", "strict") if getattr(body, name) is not None}
    if given and (not rate or body.size is None):
        raise InvalidOption(f"{min(given)} belongs to a rate that is set, and only there", option=min(given))
    if body.size is None:
        return None
    if not rate:
        return AtOnce(body.size)
    if "per" not in given:
        raise InvalidOption("a rate is so many in a span: give per", option="per")
    return Rate(body.size, **given)


def _place(found: limits.LimitView) -> str:
    return "\n".join((found.scope, found.name, found.key, found.measure))


def _with_version(found: limits.LimitView) -> Answered:
    return Answered(value=_limit(found), headers={"ETag": f'"{found.version}"'})


def _limit(found: limits.LimitView) -> Limit:
    return Limit(
        scope=found.scope, name=found.name, key=found.key, measure=found.measure, size=found.size,
        per_seconds=seconds(found.per_us), burst=found.burst, cost=found.cost, strict=found.strict, source=found.source,
        used=found.used, opens_at=at_or_none(found.opens_at),
    )  # fmt: skip


_PATH = "/api/v1/limits/{scope}/{name}/{measure}"

ENDPOINTS = (
    reads("/limits", "limits.list", list_limits, query=PageQuery, gives=LimitPage),
    Endpoint(
        method="GET", path=_PATH, operation="limits.get", kind=Operation.READ, handler=get_limit,
        query=OfKey, body=Nothing, gives=Limit, refusals=(UnknownLimit,),
    ),
    Endpoint(
        method="PUT", path=_PATH, operation="limits.put", kind=Operation.OPERATE, handler=put_limit,
        query=OfKey, body=Setting, gives=Limit, refusals=(ChangedMeanwhile,), has_body=True, repeats=True, edits=True,
    ),
    Endpoint(
        method="DELETE", path=_PATH, operation="limits.reset", kind=Operation.OPERATE, handler=reset_limit,
        query=OfKey, body=Nothing, gives=Reset, repeats=True,
    ),
)  # fmt: skip
