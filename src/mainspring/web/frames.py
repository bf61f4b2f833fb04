"""Server-sent events as bytes: one event, a heartbeat. And what they carry."""

from __future__ import annotations

from typing import Any

import msgspec

MEDIA_TYPE = "text/event-stream"

HEARTBEAT = b": still here\n\n"


def frame(kind: str, data: Any, *, place: str | None = None) -> bytes:
    """One event. ``place`` is what a reader names to go on after it."""
    head = b"" if place is None else f"id: {place}\n".encode()
    return head + b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
