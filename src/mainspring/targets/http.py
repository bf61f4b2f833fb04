"""The target ``http``: one attempt is one request, its redirects included, and ends with what the answer means.

Here: the order of things, headers of ours, redirects, and reading an answer to its end in bounded memory. Not here: what may be
written (``requests``), who may be connected to (``guard``, ``transport``), and what an answer means (``core/answers.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin
from weakref import WeakValueDictionary

import msgspec

from mainspring.codec.redaction import Redactor
from mainspring.core import signing
from mainspring.core.answers import broken_condition, is_followed, judged, retry_after
from mainspring.core.attempts import Failed, Interrupted, Outcome, Stopped, Unworkable
from mainspring.core.launch import Launch, UnfilledError
from mainspring.core.outgoing import Place
from mainspring.errors import TargetRefused
from mainspring.targets.capture import Capture, Hiding, note
from mainspring.targets.guard import Guard, read_place
from mainspring.targets.receipts import Ran
from mainspring.targets.requests import Filled, HttpRequest, fill, read_request, sample
from mainspring.targets.secrets import SecretUnavailableError, Vault, disguises, fetched

if TYPE_CHECKING:
    import httpx2

MOST_READ = 10 * 1024 * 1024
MOST_JUDGED = 1024 * 1024  # of an answer with conditions, which is held whole
_MOST_HEADERS = 100
_LONGEST_HEADER = 2_048
_EVERYWHERE = frozenset({"accept", "accept-language", "user-agent"})  # what another origin may see of the author's headers


#: The headers of ours for a request, its signature included.
Sign = Callable[[Filled], Sequence[tuple[str, str]]]


class Places:
    """How many requests are under way: so many in all, and so many to each host."""

    def __init__(self, *, total: int = 200, each: int = 20) -> None:
        self._total = asyncio.Semaphore(total)
        self._each = each
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def taken(self, host: str) -> AsyncIterator[None]:
        """A place for the time of one request; waits for it. The host's first, so that one slow host holds no others up."""
        of_host = self._hosts.setdefault(host, asyncio.Semaphore(self._each))
        async with of_host, self._total:
            yield


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One attempt's traffic, as far as it got."""

    hiding: Hiding
    capture: Capture
    place: Place
    peer: str | None = None
    status: int | None = None
    headers: list[list[str]] = field(default_factory=list)
    hops: list[str] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    retry_after: str | None = None

    def tries(self, address: str) -> None:
        """An address is connected to."""
        self.peer = address

    def facts(self, method: str, seconds: float) -> dict[str, Any]:
        """What is known beside the body."""
        request = {"method": method, "url": self.hiding.text(self.place.url)}
        known = {"status": self.status, "headers": self.headers, "peer": self.peer, "redirects": self.hops, "request": request}
        return known | {"duration_seconds": round(seconds, 6)}


class TooLargeError(Exception):
    """The answer is larger than what is read of one."""


class HttpTarget:
    """Runs ``http`` targets. One object serves a worker; ``now`` gives microseconds since 1970."""

    kind = "http"

    def __init__(
        self,
        *,
        vault: Vault,
        now: Callable[[], int],
        guard: Guard | None = None,
        redactor: Redactor | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._vault = vault
        self._now = now
        self._guard = guard or Guard()
        self._redactor = redactor or Redactor()
        self._tls = tls
        self._places = Places()

    # -- when it is written -----------------------------------------------------------------------------------------

    def read(self, written: object) -> HttpRequest:
        """See ``Target``."""
        return read_request(written)

    async def review(self, spec: HttpRequest) -> None:
        """See ``Target``."""
        await self._guard.review(sample(spec.url))

    # -- one attempt ------------------------------------------------------------------------------------------------

    async def run(self, spec: HttpRequest, launch: Launch) -> Ran:
        """See ``Target``."""
        plain = Hiding(self._redactor)
        try:
            secrets = await fetched(spec.secret_names(), self._vault.get)
            request = fill(spec, launch, secrets)
        except SecretUnavailableError as error:
            return Ran(Interrupted("secret_unavailable"), (note(plain, str(error)),))
        except UnfilledError as error:
            return Ran(Unworkable("invalid_payload", plain.text(str(error))))
        except TargetRefused as refused:
            return Ran(_refused(refused, plain))
        hiding = Hiding(self._redactor, disguises(secrets))
        keys = [secrets[key.name].encode() for key in spec.signing]
        exchange = Exchange(hiding=hiding, capture=Capture(hiding), place=request.place)
        began = asyncio.get_running_loop().time()
        sign = partial(_identity, launch, keys, self._now() // 1_000_000)
        outcome = await self._outcome(spec, request, exchange, sign)
        seconds = asyncio.get_running_loop().time() - began
        receipt = exchange.capture.receipt("http_response", **exchange.facts(request.method, seconds))
        return Ran(outcome, (receipt,))

    async def _outcome(self, spec: HttpRequest, request: Filled, exchange: Exchange, sign: Sign) -> Outcome:
        import httpx2

        try:
            await self._exchange(spec, request, exchange, sign)
            return self._meaning(spec, exchange)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()  # it was asked to stop, and this is how it says that it did
            return Stopped()
        except TargetRefused as refused:
            return _refused(refused, exchange.hiding)
        except TooLargeError as error:
            return Failed(code="answer_too_large", message=str(error), final=True)
        except httpx2.TimeoutException as error:
            return Failed(code="silent", message=_told(exchange, error))
        except (httpx2.ConnectError, OSError) as error:
            return Failed(code="unreachable", message=_told(exchange, error))
        except (httpx2.TransportError, httpx2.StreamError) as error:
            return Failed(code="broken_off", message=_told(exchange, error))

    def _meaning(self, spec: HttpRequest, exchange: Exchange) -> Outcome:
        assert exchange.status is not None
        broken = _broken(spec, bytes(exchange.body)) if spec.criteria.holds_code(exchange.status) else None
        return judged(
            exchange.status,
            spec.criteria,
            retry_after_us=retry_after(exchange.retry_after, self._now()),
            broken=None if broken is None else exchange.hiding.text(broken),
            result=msgspec.json.encode({"status": exchange.status}),
        )

    # -- the wire ---------------------------------------------------------------------------------------------------

    async def _exchange(self, spec: HttpRequest, request: Filled, exchange: Exchange, sign: Sign) -> None:
        """Send, follow what may be followed, and read the last answer to its end."""
        from mainspring.targets.transport import guarded_client

        opened = guarded_client(
            self._guard,
            tls=self._tls,
            connect_seconds=spec.connect_us / 1e6,
            silence_seconds=spec.silence_us / 1e6,
            on_peer=exchange.tries,
        )
        async with opened as client:
            for left in range(spec.redirects, -1, -1):
                headers = [*request.headers, *(() if request.is_abroad else sign(request))]
                sending = client.stream(request.method, request.place.url, headers=headers, content=request.body or None)
                async with self._places.taken(request.place.host), sending as answer:
                    onward = _redirected(request, answer, exchange) if left else None
                    if onward is None:
                        await _read(spec, answer, exchange)
                        return
                request = onward
                exchange.place = onward.place


def _identity(launch: Launch, keys: Sequence[bytes], at: int, request: Filled) -> list[tuple[str, str]]:
    """By which headers of ours a receiver knows the attempt, and that it comes from us."""
    key = launch.idempotency_key
    known = [
        ("Idempotency-Key", key),
        ("Mainspring-Run", launch.run_id),
        ("Mainspring-Attempt", str(launch.attempt)),
        ("Mainspring-Occurrence", None if launch.occurrence is None else launch.occurrence.key),
        ("traceparent", launch.trace),
    ]
    if keys:
        target = request.place.target
        mac = signing.signature(keys, at=at, method=request.method, target=target, idempotency_key=key, body=request.body)
        known.append((signing.HEADER, mac))
    return [(name, value) for name, value in known if value is not None]


def _redirected(request: Filled, answer: httpx2.Response, exchange: Exchange) -> Filled | None:
    """The request that a redirect asks for, with the same method; None where there is nothing to follow. Another origin gets
    neither what the author wrote beside plain headers, nor a signature, nor the body.

    Raises:
        TargetRefused: it leads to what is no URL a request may go to.
    """
    location = answer.headers.get("location")
    if location is None or not is_followed(request.method, answer.status_code):
        return None
    place = read_place(urljoin(request.place.url, location))
    exchange.hops.append(exchange.hiding.text(place.url))
    if place.origin == request.place.origin:
        return replace(request, place=place)
    kept = tuple((name, value) for name, value in request.headers if name.lower() in _EVERYWHERE)
    return replace(request, place=place, headers=kept, body=b"", is_abroad=True)


async def _read(spec: HttpRequest, answer: httpx2.Response, exchange: Exchange) -> None:
    """Read an answer to its end.

    Raises:
        TooLargeError: it has none within bounds.
    """
    exchange.status = answer.status_code
    exchange.retry_after = answer.headers.get("retry-after")
    shown = list(answer.headers.multi_items())[:_MOST_HEADERS]
    exchange.headers = [[name, exchange.hiding.member(name, value)[:_LONGEST_HEADER]] for name, value in shown]
    is_judged = bool(spec.criteria.conditions)
    most = MOST_JUDGED if is_judged else MOST_READ
    async for chunk in answer.aiter_raw():
        exchange.capture.add(chunk)
        if exchange.capture.size > most:
            raise TooLargeError(f"the answer ({answer.status_code}) is larger than the {most:,} bytes that are read of one")
        if is_judged:
            exchange.body += chunk


def _broken(spec: HttpRequest, body: bytes) -> str | None:
    """The condition that an answer does not meet."""
    if not spec.criteria.conditions:
        return None
    try:
        document: Mapping[str, Any] = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "its body is no JSON, and conditions are asked of it"
    return broken_condition(spec.criteria, document)


def _refused(refused: TargetRefused, hiding: Hiding) -> Failed:
    return Failed(code="target_refused", message=hiding.text(f"{refused.message} (rule {refused.rule})"), final=True)


def _told(exchange: Exchange, error: Exception) -> str:
    at = exchange.place.authority
    return exchange.hiding.text(f"{at}: {type(error).__name__}: {str(error)[:500] or 'no more is known'}")
