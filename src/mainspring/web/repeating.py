"""Requests with an ``Idempotency-Key``: the first answer is kept, and a repeat is given it. What is refused for now is not kept.

Not here: how long, and what becomes of a request whose server died (``operations/request_keys.py``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainspring.client.writing import write_again
from mainspring.operations import request_keys
from mainspring.operations.request_keys import Named
from mainspring.web.problems import FieldError, Refused, invalid

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
_KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")
_PASSING = frozenset({409, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer as it goes out."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"

    @property
    def is_final(self) -> bool:
        """Whether the same request would be given this again: trouble and collisions pass."""
        return self.status < 500 and self.status not in _PASSING


def checked(key: str) -> str:
    """The key, if it can be one.

    Raises:
        Refused: naming the header.
    """
    if _KEY.fullmatch(key) is None:
        raise invalid([FieldError(field=HEADER, message="must be 1-255 printable ASCII characters")])
    return key


def fingerprint(method: str, path: str, query: bytes, body: bytes, version: str | None) -> str:
    """What tells two requests under one key apart."""
    parts = (method.encode(), path.encode(), query, (version or "").encode(), body)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()


def once(database: Any, named: Named, *, request: str, new_id: str, answer: Callable[[str], Reply]) -> Reply:
    """The first answer to this request, which ``answer(id of what it makes)`` gives if there is none yet.

    Raises:
        Refused: the key was used for another request, or its first one is still under way.
    """
    taken = write_again(database, "request_keys.take", lambda tx: request_keys.take(tx, named, request=request, made=new_id))
    match taken.how:
        case "another":
            told = "this key was used for another request; take a new one for each"
            raise Refused(422, "idempotency_key_reused", told, [FieldError(field=HEADER, message=told)])
        case "under_way":
            raise Refused(409, "request_under_way", "the first request with this key is under way", headers={"Retry-After": "1"})
        case "answered":
            headers = dict(taken.headers or {})
            media = headers.pop("Content-Type", "application/json")
            return Reply(status=taken.status, body=taken.body, headers=headers | {REPLAYED: "true"}, media=media)
    reply = answer(taken.made)
    _keep(database, named, reply)
    return reply


def _keep(database: Any, named: Named, reply: Reply) -> None:
    if not reply.is_final:
        write_again(database, "request_keys.drop", lambda tx: request_keys.drop(tx, named))
        return
    headers = {**reply.headers, "Content-Type": reply.media}
    write_again(
        database,
        "request_keys.answer",
        lambda tx: request_keys.answer(tx, named, status=reply.status, headers=headers, body=reply.body),
    )
