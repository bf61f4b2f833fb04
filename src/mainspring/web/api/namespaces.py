"""Endpoints of namespaces: which there are, and how much is in each. One is there as soon as something is in it."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.operations import namespaces
from mainspring.web.api.shapes import PageSize, paged
from mainspring.web.endpoints import Asked, Nothing, Unscoped, reads


class NamespaceQuery(Unscoped, frozen=True, kw_only=True):
    """Query parameters of the list."""

    limit: PageSize = 50
    cursor: str | None = None


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace, and how many queues, live workers, queued runs (up to 10,000), held runs and open dead letters it has."""

    name: str
    queues: int
    workers: int
    queued: int
    held: int
    dead_letters: int


class NamespacePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of namespaces, by name."""

    data: list[Namespace]
    next_cursor: str | None


def list_namespaces(asked: Asked[NamespaceQuery, Nothing]) -> NamespacePage:
    """The namespaces of this database that you may know of, with what is in each."""
    found: Any = asked.node.database.read("namespaces.list", namespaces.listing)
    mine = [each for each in found if asked.identity.sees_all or each.name == asked.identity.namespace]
    page, cursor = paged(mine, lambda each: str(each.name), limit=asked.query.limit, cursor=asked.query.cursor)
    return NamespacePage(data=[_namespace(each) for each in page], next_cursor=cursor)


def _namespace(each: namespaces.Namespace) -> Namespace:
    return Namespace(
        name=each.name, queues=each.queues, workers=each.workers, queued=each.queued, held=each.held,
        dead_letters=each.dead_letters,
    )  # fmt: skip


ENDPOINTS = (reads("/namespaces", "namespaces.list", list_namespaces, query=NamespaceQuery, gives=NamespacePage),)
