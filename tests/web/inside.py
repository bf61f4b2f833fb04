"""A server in the test's own process: the application in an event loop of its own thread, asked without a socket.

Here: asking, and gatekeepers for tests. Not here: what is expected (the tests), and a server as a program (``test_serving``).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpx

from mainspring.core.access import Extra, Role
from mainspring.errors import NotAuthenticated
from mainspring.node import Node
from mainspring.web.access import RANKS, Gatekeeper, Identity, Knock, Open
from mainspring.web.app import Application

T = TypeVar("T")

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    headers: httpx.Headers
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self.text
        return str(self.json["code"])

    @property
    def wrong(self) -> list[str]:
        """The fields that a problem names."""
        return sorted(each["field"] for each in self.json["errors"])


class Inside:
    """The application over a node. A context manager."""

    def __init__(self, node: Node, gatekeeper: Gatekeeper | None = None, **pace: float) -> None:
        self.node = node
        self.app = Application(node, gatekeeper or Open(), **({"look_seconds": 0.02, "heartbeat_seconds": 0.1} | pace))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="inside", daemon=True)
        self._over = asyncio.Event()
        self._begun: Future[None] = Future()
        self._life: Future[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._life = asyncio.run_coroutine_threadsafe(self._live(), self._loop)
        self._begun.result(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._life is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._life.result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    async def _live(self) -> None:
        async with self.app.routes.lifespan():
            self._begun.set_result(None)
            await self._over.wait()
        await self._loop.shutdown_default_executor()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the application's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """One request. ``body`` is sent as JSON; ``headers`` and ``content`` as httpx has them."""
        return self.wait(self._ask(method, path, body, options))

    def get(self, path: str, **options: Any) -> Any:
        """What a read answers."""
        answer = self.ask("GET", path, **options)
        assert answer.status == 200, answer.text
        return answer.json

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """What a write that succeeds answers."""
        answer = self.ask("POST", path, body, **options)
        assert answer.status < 300, answer.text
        return answer.json

    async def _ask(self, method: str, path: str, body: Any, options: dict[str, Any]) -> Answer:
        transport = httpx.ASGITransport(app=self.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            sent = options | ({} if body is None else {"json": body})
            got = await client.request(
                method, path if path.startswith(("/api/", "/health", "/ready", "/metr")) else f"/api/v1{path}", **sent
            )
        return Answer(got.status_code, got.headers, got.text)


class ByToken:
    """A gatekeeper that knows people by tokens: ``Bearer ROLE@NAMESPACE``, and ``+SCOPE`` after it for each extra scope."""

    is_open = False

    def admit(self, knock: Knock) -> Identity:
        token = knock.headers.get("authorization", "").removeprefix("Bearer ")
        role, _, rest = token.partition("@")
        namespace, *extras = rest.split("+")
        if role not in set(RANKS) or not namespace:
            raise NotAuthenticated("show a token: Authorization: Bearer …")
        return Identity(actor=f"token:{token}", namespace=namespace, role=Role(role), extras=frozenset(map(Extra, extras)))


def as_(role: str, namespace: str = "default") -> dict[str, Any]:
    """The headers of somebody whom ``ByToken`` knows."""
    return {"headers": {"Authorization": f"Bearer {role}@{namespace}"}}
