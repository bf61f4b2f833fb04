"""The guard of outgoing requests: resolves a name once, has every address judged, and hands out those that may be connected to.

Here: resolving, and the order of things. Not here: the rules (``core/outgoing.py``, ``core/addresses.py``), and connecting to what
was admitted, and to nothing else (``transport``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from mainspring.core.addresses import Address
from mainspring.core.outgoing import Place, Rules, judge, place_of
from mainspring.errors import TargetRefused, shown

_RESOLVING_SECONDS = 5.0

#: Finds the addresses of a name for a port.
#:
#: Raises:
#:     OSError: it cannot.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """What this machine says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Who may be connected to. Without arguments: the public network on ports 80 and 443."""

    rules: Rules = field(default_factory=Rules)
    resolve: Resolver = system_resolver

    async def admit(self, place: Place) -> tuple[Address, ...]:
        """The addresses that ``place`` has now, each of which may be connected to.

        Raises:
            TargetRefused: naming the rule. OSError: the name does not resolve.
        """
        judge(place, (), self.rules)  # nobody asks a name server about what is refused anyhow
        addresses = await self._addresses(place)
        judge(place, addresses, self.rules)
        return addresses

    async def review(self, url: str) -> Place:
        """What can be said of a URL when somebody writes it down; a name that resolves nowhere yet may do so later.

        Raises:
            TargetRefused: naming the rule.
        """
        place = read_place(url)
        with contextlib.suppress(OSError):
            await self.admit(place)
        return place

    async def _addresses(self, place: Place) -> tuple[Address, ...]:
        if place.address is not None:
            return (place.address,)
        async with asyncio.timeout(_RESOLVING_SECONDS):
            found = await self.resolve(place.host, place.port)
        if not found:
            raise OSError(f"{place.host} has no address")
        return tuple(dict.fromkeys(ip_address(text.partition("%")[0]) for text in found))


def read_place(url: str) -> Place:
    """What a URL means, its host in ASCII.

    Raises:
        TargetRefused: it is no URL that a request may go to.
    """
    return place_of(url, to_ascii=_ascii)


def _ascii(host: str) -> str:
    """A host in the letters that are sent, by the rules of the client itself."""
    import httpx2  # only a host in other letters needs it

    try:
        return httpx2.URL(scheme="http", host=host).raw_host.decode("ascii")
    except (httpx2.InvalidURL, UnicodeError):
        raise TargetRefused(f"{shown(host)} is no host that can be written in ASCII", rule="host") from None
