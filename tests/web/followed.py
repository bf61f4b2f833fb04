"""A stream of events as a reader has it: frames as they come, from the application itself. A reader may be as slow as it likes."""

from __future__ import annotations

import asyncio
import json
import queue
from typing import Any, NamedTuple, Self

from tests.web.inside import PATIENCE_SECONDS, Inside


class Frame(NamedTuple):
    """One event: its kind, what it says, and its id."""

    kind: str
    data: Any
    id: str | None


class Followed:
    """A request whose answer is a stream. A context manager: at its end the reader is gone."""

    def __init__(self, server: Inside, path: str, *, after: str | None = None, stalled: bool = False) -> None:
        self._server = server
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        target, _, query = f"/api/v1{path}".partition("?")
        headers = [(b"host", b"localhost"), (b"accept", b"text/event-stream")]
        headers += [] if after is None else [(b"last-event-id", after.encode())]
        self._scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": target,
            "raw_path": target.encode(), "query_string": query.encode(), "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
        }  # fmt: skip
        self.status = 0
        self._stalled = stalled
        self._task: Any = None

    def __enter__(self) -> Self:
        self._gone, self._flowing = asyncio.Event(), asyncio.Event()
        if not self._stalled:
            self._flowing.set()
        self._task = asyncio.run_coroutine_threadsafe(self._read(), self._server._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._server._loop.call_soon_threadsafe(self._gone.set)
        self._server._loop.call_soon_threadsafe(self._flowing.set)
        self._task.result(PATIENCE_SECONDS)

    def flow(self) -> None:
        """Read on, after having been stalled."""
        self._server._loop.call_soon_threadsafe(self._flowing.set)

    def next(self) -> Frame | None:
        """The next event; None at the end of the stream. Heartbeats are passed over."""
        while (text := self.raw()) is not None:
            lines = dict(line.split(": ", 1) for line in text.decode().splitlines() if line and not line.startswith(":"))
            if lines:
                return Frame(lines["event"], json.loads(lines["data"]), lines.get("id"))
        return None

    def raw(self) -> bytes | None:
        """The next bytes."""
        return self._queue.get(timeout=PATIENCE_SECONDS)

    def rest(self) -> list[Frame]:
        """Everything up to the end."""
        return list(iter(self.next, None))

    async def _read(self) -> None:
        async def receive() -> dict[str, Any]:
            if not getattr(self, "_asked", False):
                self._asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                return
            await self._flowing.wait()
            if message["body"]:
                self._queue.put(message["body"])
            if not message.get("more_body"):
                self._gone.set()  # as a server says, once all is sent

        try:
            await self._server.app(self._scope, receive, send)  # type: ignore[arg-type]
        finally:
            self._queue.put(None)
