"""The ASGI application: Litestar routes made from the table of endpoints, and what is done to every request and answer.

``Application(node, gatekeeper)`` is it; there are no globals. Handlers run in a thread pool of their own, streams in the event
loop. Not here: what is answered (``answering.py``), and the socket (``serving.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from mainspring.errors import MainspringError
from mainspring.node import Node
from mainspring.web.access import Gatekeeper
from mainspring.web.answering import Answering, Raw, refusal
from mainspring.web.api import ENDPOINTS
from mainspring.web.endpoints import Endpoint
from mainspring.web.frames import MEDIA_TYPE as EVENT_STREAM
from mainspring.web.pages import documented
from mainspring.web.problems import Refused, refusal_of
from mainspring.web.repeating import Reply
from mainspring.web.streams import Streams

log = logging.getLogger("mainspring")

LARGEST_BODY = 1024 * 1024
THREADS = 16
REQUEST_ID = "X-Request-ID"
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 400: "malformed_request"}
_ID_KEY = "mainspring.request_id"
_PREFIX = "in_"  # of parameters of a path: Litestar keeps some plain names for itself


class Application:
    """The server over a node, for whoever the gatekeeper lets in, as an ASGI application. ``streams`` is there while it runs;
    ``stop_streams`` lets a server end gracefully. ``pace`` is that of the streams."""

    def __init__(self, node: Node, gatekeeper: Gatekeeper, **pace: float) -> None:
        self.endpoints = documented(ENDPOINTS)
        self.streams: Streams | None = None
        self._node = node
        self._pace = pace
        self._answering = Answering(node, gatekeeper)
        self.routes = Litestar(
            route_handlers=[self._route(endpoint) for endpoint in self.endpoints],
            exception_handlers={HTTPException: _not_routed, Exception: _broken},
            request_max_body_size=LARGEST_BODY,
            lifespan=[self._running],
            openapi_config=None,
            logging_config=None,
        )
        self._app = edged(self.routes, node)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        await self._app(scope, receive, send)

    def stop_streams(self) -> None:
        """End every stream, so that nobody waits for them; in the loop."""
        if self.streams is not None:
            self.streams.stop()

    @contextlib.asynccontextmanager
    async def _running(self, _: Litestar) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mainspring-web")
        asyncio.get_running_loop().set_default_executor(threads)
        self.streams = Streams(self._node, **self._pace)
        try:
            yield
        finally:
            self.stop_streams()

    def _route(self, endpoint: Endpoint) -> HTTPRouteHandler:
        """The route of an endpoint. What it does is done in a thread; only reading the body, and streams, are awaited."""

        async def answer(request: Request[Any, Any, Any]) -> Response[Any]:
            raw = _raw(request, await request.body() if endpoint.has_body else b"")
            if endpoint.follow is None or EVENT_STREAM not in raw.headers.get("accept", ""):
                return _response(await asyncio.to_thread(self._answering.answer, endpoint, raw))
            try:
                return await self._stream(endpoint, raw)
            except Refused as refused:
                return _response(refusal(refused, raw.request_id))
            except MainspringError as error:
                return _response(refusal(refusal_of(error), raw.request_id))

        path = re.sub(r"\{(\w+)\}", rf"{{{_PREFIX}\1:str}}", endpoint.path)
        options: dict[str, Any] = {"http_method": endpoint.method, "status_code": endpoint.statuses[0], "name": endpoint.operation}
        return HTTPRouteHandler(path, **options)(answer)

    async def _stream(self, endpoint: Endpoint, raw: Raw) -> Response[Any]:
        streams = self.streams
        assert endpoint.follow is not None
        assert streams is not None
        asked = await asyncio.to_thread(self._answering.read, endpoint, raw)
        with streams.place_for_one():
            frames = await endpoint.follow(streams, asked, raw.headers.get("last-event-id"))
        if frames is None:  # what browsers take as: do not connect again
            return Response(b"", status_code=204)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Stream(streams.bounded(frames), media_type=EVENT_STREAM, headers=headers)


def _raw(request: Request[Any, Any, Any], body: bytes) -> Raw:
    scope: Mapping[str, Any] = request.scope
    return Raw(
        method=request.method,
        url=scope["path"],
        query=scope["query_string"],
        headers=dict(request.headers),
        path={name.removeprefix(_PREFIX): str(value) for name, value in request.path_params.items()},
        body=body,
        client=request.client.host if request.client is not None else None,
        request_id=scope[_ID_KEY],
    )


def _response(reply: Reply) -> Response[bytes]:
    return Response(reply.body, status_code=reply.status, media_type=reply.media, headers=dict(reply.headers))


# -- what was never routed ---------------------------------------------------------------------------------------------


def _not_routed(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: no such path or method, a body that is too large."""
    status = error.status_code
    told = f"{http.HTTPStatus(status).phrase}: {request.method} {request.scope['path'][:200]}"
    refused = Refused(status, _CODES.get(status, "refused"), told, headers=error.headers)
    return _response(refusal(refused, _id_of(request)))


def _broken(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Our bug. The log has it by the id of the request, and the answer nothing of it."""
    request_id = _id_of(request)
    log.error("request %s: %s %s failed", request_id, request.method, request.scope["path"], exc_info=error)
    return _response(refusal(Refused(500, "internal", f"this is a bug of ours; the log tells of it as {request_id}"), request_id))


def _id_of(request: Request[Any, Any, Any]) -> str:
    scope: Mapping[str, Any] = request.scope
    return str(scope[_ID_KEY])


# -- every request and every answer ------------------------------------------------------------------------------------


def edged(inner: Any, node: Node) -> ASGIApp:
    """What is done at the edge: a request gets its id, and is routed by its path as it was sent, so that names may hold slashes;
    an answer tells the id, and says what browsers should not do with it."""

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) != "http":
            await inner(scope, receive, send)
            return
        request_id = _chosen_id(scope) or node.system.new_id()
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        within: Any = {**scope, "path": raw_path.partition(b"?")[0].decode("latin-1"), _ID_KEY: request_id}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                ours = [
                    (REQUEST_ID.lower().encode(), request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
                headers = [*message["headers"], *(pair for pair in ours if pair[0] not in present)]
                message = {**message, "headers": headers}
            await send(message)

        await inner(within, receive, told)

    return edge


def _chosen_id(scope: Scope) -> str | None:
    """The id that the caller gave the request, if it can be one."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == REQUEST_ID.lower().encode()]
    return next((text for text in given if _SANE_ID.fullmatch(text)), None)
