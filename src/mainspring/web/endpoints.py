"""An endpoint as a value: where it is, who may call it, what it reads and what it answers. From these the server is made, its
document, and its tests.

A handler is a plain function from ``Asked`` to an answer: it translates, calls the client, translates back. Not here: which there
are (``api/``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec

from mainspring.client import Client
from mainspring.core.access import Operation
from mainspring.errors import MainspringError
from mainspring.node import Node
from mainspring.web.access import Identity

Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)
A = TypeVar("A", bound=msgspec.Struct)

JSON = "application/json"


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What bodies of requests derive from: a field that nobody knows is refused."""


class Unscoped(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters of what belongs to no namespace: none."""


class Scoped(msgspec.Struct, frozen=True, kw_only=True):
    """Query parameters of everything that belongs to a namespace; without one it is the caller's own."""

    namespace: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._/-]{1,200}$")] | None = None


class Nothing(Body, frozen=True, kw_only=True):
    """A body in which nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Generic[Q, B]):
    """A request, read: who asks, what for, and what of. ``new_id`` names what it makes, the same if it is asked again under one
    key; ``version`` is what ``If-Match`` names, ``login`` what the cookie holds."""

    node: Node
    identity: Identity
    path: Mapping[str, str]
    query: Q
    body: B
    new_id: str
    version: str | None = None
    login: str | None = None

    @property
    def client(self) -> Client:
        """The client that acts for whoever asks, in their namespace."""
        return self.node.client(self.identity.namespace, self.identity.actor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer that is more than its value: another status, headers, or a text that is not JSON."""

    value: msgspec.Struct | bytes
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


#: Follows what an endpoint tells (by the server's ``Streams``) from after the event of an id on; None: there will be no more.
Follow: TypeAlias = Callable[[Any, Asked[Any, Any], str | None], Awaitable[AsyncIterator[bytes] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint. ``kind`` None: anybody may ask. ``repeats``: it takes an ``Idempotency-Key``; ``edits``: it takes ``If-Match``;
    ``follow``: it can be followed as a stream of events. ``statuses`` are all with which it may succeed, ``refusals`` the errors it
    may meet."""

    method: str
    path: str
    operation: str
    kind: Operation | None
    handler: Callable[[Asked[Any, Any]], Any]
    query: type[msgspec.Struct]
    body: type[msgspec.Struct]
    gives: type[msgspec.Struct] | None
    statuses: tuple[int, ...] = (200,)
    refusals: tuple[type[MainspringError], ...] = ()
    media: str = JSON
    has_body: bool = False
    repeats: bool = False
    edits: bool = False
    follow: Follow | None = None

    @property
    def is_scoped(self) -> bool:
        """Whether it belongs to a namespace."""
        return issubclass(self.query, Scoped)

    @property
    def told(self) -> str:
        """What it does, from its handler's docstring."""
        return " ".join((self.handler.__doc__ or "").split())

    @property
    def tag(self) -> str:
        """The noun it belongs to."""
        return self.operation.partition(".")[0]


def reads(
    path: str,
    operation: str,
    handler: Callable[[Asked[Q, Nothing]], A | Answered],
    *,
    query: type[Q],
    gives: type[A],
    refusals: tuple[type[MainspringError], ...] = (),
    follow: Follow | None = None,
) -> Endpoint:
    """An endpoint that only looks."""
    return Endpoint(
        method="GET", path=f"/api/v1{path}", operation=operation, kind=Operation.READ, handler=handler, query=query, body=Nothing,
        gives=gives, refusals=refusals, follow=follow,
    )  # fmt: skip


def acts(
    method: str,
    path: str,
    operation: str,
    handler: Callable[[Asked[Scoped, B]], A | Answered],
    *,
    body: type[B],
    gives: type[A],
    kind: Operation = Operation.OPERATE,
    statuses: tuple[int, ...] = (200,),
    refusals: tuple[type[MainspringError], ...] = (),
    edits: bool = False,
) -> Endpoint:
    """An endpoint that changes something, and takes an ``Idempotency-Key``."""
    return Endpoint(
        method=method, path=f"/api/v1{path}", operation=operation, kind=kind, handler=handler, query=Scoped, body=body, gives=gives,
        statuses=statuses, refusals=refusals, has_body=body is not Nothing, repeats=True, edits=edits,
    )  # fmt: skip
