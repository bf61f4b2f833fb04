"""Serving: a socket, uvicorn, and an end that leaves nobody hanging. Not here: what is served (``app.py``)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from mainspring.errors import ConfigurationInvalid
from mainspring.node import Node
from mainspring.web.access import Gatekeeper, check_bind
from mainspring.web.app import Application

GRACE_SECONDS = 10


def serve(
    node: Node, gatekeeper: Gatekeeper, *, host: str = "127.0.0.1", port: int = 8710, on_listening: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C: then nothing new is taken on, streams end, and what is being answered may end.

    ``on_listening`` is called with the address, once there is somebody behind it.

    Raises:
        ConfigurationInvalid: the address cannot be had, or may not be without authentication.
    """
    check_bind(host, gatekeeper)
    with _bound(host, port) as listening:
        app = Application(node, gatekeeper)
        config = uvicorn.Config(
            app, lifespan="on", log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
        with _signals_taken():
            _Server(config, app, lambda: on_listening(_address(listening))).run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn, whose end ends our streams first: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, app: Application, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._on_started = on_started
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._on_started()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """A signal: end."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._app.stop_streams)


@contextlib.contextmanager
def _signals_taken() -> Iterator[None]:
    """uvicorn raises once more, at its end, the signal that ended it; whoever served to the end is not to be killed by it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server((host, port), family=found[0][0], backlog=512)
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or error
        raise ConfigurationInvalid(f"cannot listen on {host}:{port}: {told}; name another with --port") from None


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
