"""What a caller asks for, before the database is asked."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mainspring import codec
from mainspring.operations.enqueue import Lane


class Request(NamedTuple):
    """One run somebody wants: everything that is decided before the database is asked."""

    lane: Lane
    policy: tuple[int, str]
    body: bytes
    due_at: int | None = None
    delay: int = 0
    key: str | None = None
    key_ttl: int = 0
    singleton: str | None = None
    decode: Callable[[bytes], Any] = codec.decode_json
