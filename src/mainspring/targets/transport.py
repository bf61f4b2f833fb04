"""How an outgoing request leaves: to an address the guard admitted, under the name that was asked for.

Here: the one place that connects. The address is put where the client would resolve the name, and the name stays in ``Host`` and
in the TLS handshake, against which the certificate is checked. No connection outlives its request, so none is ever shared by two
names. The client logs headers and URLs, which may hold secrets: what it says of us is kept out of every log.
Not here: what is sent (``http``), and who is admitted (``guard``).
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import cache

import httpx2

from mainspring.core.addresses import Address
from mainspring.core.outgoing import Place
from mainspring.targets.guard import Guard, read_place

_OUR_OWN = ContextVar("mainspring_outgoing", default=False)
_BASE = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "mainspring"}
_LOGGERS = ("httpx2", "httpcore2.connection", "httpcore2.http11")


@contextlib.asynccontextmanager
async def guarded_client(
    guard: Guard, *, tls: ssl.SSLContext | None, connect_seconds: float, silence_seconds: float, on_peer: Callable[[str], None]
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client for one attempt: it connects to what ``guard`` admits, asks no proxy, follows no redirect by itself, keeps no
    connection, and is not logged. ``tls`` is who is trusted, otherwise whom the system trusts."""
    context = _system_trust() if tls is None else tls
    timeout = httpx2.Timeout(silence_seconds, connect=connect_seconds, pool=None)
    with _quietly():
        async with PinnedTransport(guard, tls=context, on_peer=on_peer) as transport:
            yield httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False, headers=_BASE)


@cache
def _system_trust() -> ssl.SSLContext:
    """Whom this machine trusts; made once, for it takes as long as a request."""
    return httpx2.create_ssl_context(trust_env=False)


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to the first address its guard admits that answers; asks no proxy. ``on_peer`` hears of each that is tried."""

    def __init__(self, guard: Guard, *, tls: ssl.SSLContext, on_peer: Callable[[str], None]) -> None:
        self._guard = guard
        self._inner = httpx2.AsyncHTTPTransport(
            verify=tls, trust_env=False, limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        )
        self._on_peer = on_peer

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            TargetRefused: the guard says no. OSError: the name does not resolve. httpx2.TransportError: of the network.
        """
        place = read_place(str(request.url))
        return await self._first_answer(request, place, await self._guard.admit(place))

    async def _first_answer(self, request: httpx2.Request, place: Place, addresses: Sequence[Address]) -> httpx2.Response:
        *others, last = addresses
        for address in others:
            try:
                return await self._send(request, place, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent yet
        return await self._send(request, place, last)

    async def _send(self, request: httpx2.Request, place: Place, address: Address) -> httpx2.Response:
        self._on_peer(str(address))
        pinned = httpx2.Request(
            request.method,
            httpx2.URL(scheme=place.scheme, host=str(address), port=place.port, raw_path=place.target.encode()),
            headers=request.headers.raw,
            stream=request.stream,
            extensions=request.extensions | {"sni_hostname": place.host},
        )
        return await self._inner.handle_async_request(pinned)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


# -- not being logged ------------------------------------------------------------------------------------------------


class _OfOthers(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _OUR_OWN.get()


_OF_OTHERS = _OfOthers()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Nothing that the client does within is logged by it; what others do with it meanwhile is."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_OF_OTHERS)  # the same one twice is one
    token = _OUR_OWN.set(True)
    try:
        yield
    finally:
        _OUR_OWN.reset(token)
