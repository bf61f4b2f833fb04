"""Addresses and hosts: how one is spelled, and whether a connection to it may leave the house.

Here: the table of networks that no outgoing request may reach, IPv4 addresses hidden in IPv6 ones, and the odd spellings of an
address. The table follows IANA's registries of special-purpose addresses; where they leave a doubt, it refuses.
Not here: names (they are resolved by ``targets/guard.py``), and what an operator allows or denies (``core/outgoing.py``).
"""

from __future__ import annotations

import re
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: The rule that not even an allowed host name lifts: who reads it has the machine's own credentials.
METADATA = "metadata"

#: The first that holds an address decides.
_REFUSED = (
    ("metadata", (
        "169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32", "168.63.129.16/32",
        "192.0.0.192/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128",
    )),
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("loopback", ("127.0.0.0/8", "::1/128")),
    ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    ("shared", ("100.64.0.0/10",)),
    ("link_local", ("169.254.0.0/16", "fe80::/10")),
    ("unique_local", ("fc00::/7",)),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("nat64_local", ("64:ff9b:1::/48",)),   # where the IPv4 address stands in it, only its network knows
    ("teredo", ("2001::/32",)),
    ("reserved", (
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "3fff::/20",
    )),
)  # fmt: skip

#: Networks whose addresses hold an IPv4 address, and how many bits stand behind it.
_EMBEDDING = (("::ffff:0:0/96", 0), ("64:ff9b::/96", 0), ("2002::/16", 80))

_PUBLIC_IPV6 = IPv6Network("2000::/3")  # nothing else was ever given to anybody
_NUMBER = re.compile(r"0x(?P<hex>[0-9a-f]*)|0(?P<octal>[0-7]+)|(?P<decimal>0|[1-9][0-9]*)")


def refusal(address: Address) -> str | None:
    """The rule by which no request may go to ``address``; None if one may."""
    inner = _embedded(address)
    if inner is not None:
        return refusal(inner)
    for rule, networks in _table():
        if any(address in network for network in networks):
            return rule
    return "reserved" if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6 else None


def plain(address: Address) -> Address:
    """An address without disguise: the IPv4 one that it holds, or itself."""
    return _embedded(address) or address


def ends_in_number(host: str) -> bool:
    """Whether resolvers may take ``host`` (small letters) for an IPv4 address, however odd."""
    last = host.rpartition(".")[2]
    return last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last) is not None


def spelled_ipv4(host: str) -> IPv4Address | None:
    """The address that ``host`` (small letters) spells: one to four numbers, decimal, octal (``0177``) or hexadecimal, of which
    the last fills what is left. None if it spells none."""
    parts = [_number(part) for part in host.split(".")]
    numbers = [number for number in parts if number is not None]
    if not 1 <= len(numbers) == len(parts) <= 4:
        return None
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        return None
    return IPv4Address(sum(number << (24 - 8 * place) for place, number in enumerate(leading)) + last)


def _number(text: str) -> int | None:
    found = _NUMBER.fullmatch(text)
    if found is None or len(text) > 64:
        return None
    if found["hex"] is not None:
        return int(found["hex"] or "0", 16)
    return int(found["octal"], 8) if found["octal"] is not None else int(found["decimal"])


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv6Address):
        for network, behind in _EMBEDDING:
            if address in IPv6Network(network):
                return IPv4Address(int(address) >> behind & 0xFFFF_FFFF)
    return None


@cache
def _table() -> tuple[tuple[str, tuple[Network, ...]], ...]:
    return tuple((rule, tuple(map(ip_network, networks))) for rule, networks in _REFUSED)
