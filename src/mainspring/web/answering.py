"""From a request to its answer: admit it, read it, call the handler, write what came of it. Runs in a thread.

Not here: how each of these is done, and ASGI (``app.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from mainspring.core.access import Role
from mainspring.errors import MainspringError
from mainspring.node import Node
from mainspring.operations.request_keys import Named
from mainspring.web import reading, repeating
from mainspring.web.access import Gatekeeper, Identity, Knock, login_shown, require
from mainspring.web.endpoints import Answered, Asked, Endpoint
from mainspring.web.problems import MEDIA_TYPE, FieldError, Refused, invalid, problem, refusal_of
from mainspring.web.repeating import Reply

#: Who asks what anybody may ask.
_ANYBODY = Identity(actor="nobody", namespace="default", role=Role.VIEWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A request as it came. ``path`` holds the parts of the path that are parameters, still encoded."""

    method: str
    url: str
    query: bytes
    headers: Mapping[str, str]
    path: Mapping[str, str]
    body: bytes
    client: str | None
    request_id: str


class Answering:
    """Answers requests, for whoever a gatekeeper lets in."""

    def __init__(self, node: Node, gatekeeper: Gatekeeper) -> None:
        self._node = node
        self._gatekeeper = gatekeeper

    def answer(self, endpoint: Endpoint, raw: Raw) -> Reply:
        """The answer to a request, a problem if it is refused."""
        try:
            return self._answer(endpoint, raw)
        except Refused as refused:
            return refusal(refused, raw.request_id)
        except MainspringError as error:
            return refusal(refusal_of(error), raw.request_id)

    def read(self, endpoint: Endpoint, raw: Raw) -> Asked[Any, Any]:
        """A request as its handler takes it.

        Raises:
            Refused, MainspringError: it is refused.
        """
        pairs = _pairs(raw.query)
        identity = self._admitted(endpoint, raw, pairs)
        return Asked(
            node=self._node,
            identity=identity,
            path={name: _decoded(value) for name, value in raw.path.items()},
            query=reading.read_query(endpoint.query, pairs),
            body=reading.read_body(endpoint.body, raw.headers.get("content-type", ""), raw.body if endpoint.has_body else b""),
            new_id=self._node.system.new_id(),
            version=_version(raw.headers.get("if-match")) if endpoint.edits else None,
            login=login_shown(raw.headers),
        )

    def _answer(self, endpoint: Endpoint, raw: Raw) -> Reply:
        asked = self.read(endpoint, raw)
        key = raw.headers.get(repeating.HEADER.lower()) if endpoint.repeats else None
        if key is None:
            return _reply(endpoint, endpoint.handler(asked))
        named = Named(namespace=asked.identity.namespace, actor=asked.identity.actor, key=repeating.checked(key))
        request = repeating.fingerprint(raw.method, raw.url, raw.query, raw.body, asked.version)
        return repeating.once(
            self._node.database,
            named,
            request=request,
            new_id=asked.new_id,
            answer=lambda made: self._first(endpoint, replace(asked, new_id=made), raw.request_id),
        )

    def _first(self, endpoint: Endpoint, asked: Asked[Any, Any], request_id: str) -> Reply:
        """The first answer under a key: a refusal is one, too."""
        try:
            return _reply(endpoint, endpoint.handler(asked))
        except Refused as refused:
            return refusal(refused, request_id)
        except MainspringError as error:
            return refusal(refusal_of(error), request_id)

    def _admitted(self, endpoint: Endpoint, raw: Raw, pairs: list[tuple[str, str]]) -> Identity:
        if endpoint.kind is None:
            return _ANYBODY
        wanted = next((value for name, value in pairs if name == "namespace"), None) if endpoint.is_scoped else None
        knock = Knock(
            method=raw.method, path=raw.url, headers=raw.headers, client=raw.client, operation=endpoint.operation,
            kind=endpoint.kind, namespace=wanted,
        )  # fmt: skip
        identity = self._gatekeeper.admit(knock)
        require(identity, endpoint.kind, wanted)
        return identity


def refusal(refused: Refused, request_id: str) -> Reply:
    """A problem as an answer."""
    body = msgspec.json.encode(problem(refused, request_id))
    return Reply(status=refused.status, body=body, headers=refused.headers, media=MEDIA_TYPE)


def _reply(endpoint: Endpoint, given: Any) -> Reply:
    answered = given if isinstance(given, Answered) else Answered(value=given)
    body = answered.value if isinstance(answered.value, bytes) else msgspec.json.encode(answered.value)
    return Reply(status=answered.status or endpoint.statuses[0], body=body, headers=answered.headers, media=endpoint.media)


def _pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:  # a sequence of bytes that is no UTF-8, or too many
        raise Refused(400, "malformed_query", "the query string cannot be read") from None


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise Refused(400, "malformed_path", "the path cannot be read") from None


def _version(header: str | None) -> str | None:
    """The version that ``If-Match`` names; ``*`` is any."""
    if header is None or header.strip() == "*":
        return None
    text = header.strip()
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')) or "," in text:
        raise invalid([FieldError(field="If-Match", message='must be one ETag as it was answered, such as "1f3a", or *')])
    return text[1:-1]
