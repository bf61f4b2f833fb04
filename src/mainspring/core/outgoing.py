"""Where an outgoing request may go: a URL read strictly, and judged by our rules and by those of the operator.

Here: ``Place``, what a URL means once and for all, so that what was checked is what is connected to; and ``Rules``, the lists
``HTTP_ALLOW`` and ``HTTP_DENY``. Not here: resolving a name (``targets/guard.py``), and which addresses are whose (``addresses``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import NoReturn
from urllib.parse import quote, urlsplit

from mainspring.core.addresses import METADATA, Address, Network, ends_in_number, plain, refusal, spelled_ipv4
from mainspring.errors import ConfigurationInvalid, TargetRefused, shown

LONGEST_URL = 8_192
DEFAULT_PORTS = {"http": 80, "https": 443}

_PLAIN = "".join(set(map(chr, range(0x21, 0x7F))) - set('"<>`{}^|'))  # what stands in a target as it is; the rest is escaped
_LONE_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")
_UNFIT = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_ENTRY = re.compile(r"(?:\[(?P<inner>[^\]]+)\]|(?P<bare>[^:]*))(?::(?P<port>[0-9]{1,5}))?")
_UNREADABLE = "write a URL such as https://api.example.com/ping"

#: Names that lead to such an address wherever they lead anywhere, refused before they are resolved.
_NAMES = (
    ("loopback", ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")),
    (METADATA, ("metadata.google.internal", "metadata.goog", "instance-data.ec2.internal", "instance-data")),
)


# -- a URL -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request goes. ``host`` is in small ASCII letters without a final dot, or the plain text of ``address``."""

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Two places with the same origin share credentials."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and port as a URL and the header ``Host`` have them."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The place as a URL again."""
        return f"{self.scheme}://{self.authority}{self.target}"


def place_of(url: str, *, to_ascii: Callable[[str], str] | None = None) -> Place:
    """What a URL means. ``to_ascii`` turns a host in other letters into ASCII (IDNA); without it such a host is refused.

    Raises:
        TargetRefused: naming the rule (``url``, ``scheme``, ``user_info``, ``host``, ``zone``); what to write is in the message.
    """
    if len(url) > LONGEST_URL or _UNFIT.search(url):
        _refuse("url", f"{shown(url)} is too long, or holds a space, a control character or a backslash: {_UNREADABLE}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        _refuse("url", f"{shown(url)} is no URL: {_UNREADABLE}")
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS or not parts.netloc:
        _refuse("scheme", f"{shown(url)} is no absolute http or https URL: {_UNREADABLE}")
    if "@" in parts.netloc:
        _refuse("user_info", "a URL holds no user or password; put them into a header, as a secret")
    host, address = _host(_without_port(parts.netloc), to_ascii)
    path = parts.path or "/"
    _check_path(path)
    target = quote(_LONE_PERCENT.sub("%25", f"{path}?{parts.query}" if parts.query else path), safe=_PLAIN)
    return Place(scheme=scheme, host=host, port=DEFAULT_PORTS[scheme] if port is None else port, target=target, address=address)


def _without_port(authority: str) -> str:
    return re.sub(r":[0-9]*\Z", "", authority)


def _check_path(path: str) -> None:
    """Clients and servers take ``..`` away at different times, so that a path may mean what nobody wrote."""
    if any(segment.lower().replace("%2e", ".") in {".", ".."} for segment in path.split("/")):
        _refuse("url", "the path holds the segment . or ..; write the path that is meant")


def _host(written: str, to_ascii: Callable[[str], str] | None) -> tuple[str, Address | None]:
    if written.startswith("["):
        return _ipv6(written)
    name = written
    if not name.isascii():
        name = _refuse("host", f"the host {shown(written)} is not ASCII") if to_ascii is None else to_ascii(written)
    name = name.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        _refuse("host", f"{shown(written)} is no host; write a name such as api.example.com")
    if not ends_in_number(name):
        return name, None
    address = spelled_ipv4(name)
    if address is None:
        _refuse("host", f"{shown(written)} ends in a number and is no address; write 203.0.113.7, or a name")
    return str(address), address


def _ipv6(written: str) -> tuple[str, Address]:
    if "%" in written:
        _refuse("zone", f"the address {shown(written)} names a zone, which only this machine knows")
    try:
        address = IPv6Address(written[1:-1] if written.endswith("]") else "")
    except ValueError:
        _refuse("host", f"{shown(written)} is no IPv6 address; write [2001:db8::7]")
    return str(address), address


# -- rules of the operator -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a list: a host pattern, a network or neither; on ``port`` only, where there is one."""

    text: str
    pattern: str | None = None
    network: Network | None = None
    port: int | None = None

    def holds_port(self, port: int) -> bool:
        """Whether it speaks of that port."""
        return self.port is None or self.port == port

    def holds_host(self, place: Place) -> bool:
        """Whether it speaks of that host by name."""
        if self.pattern is None or place.address is not None:
            return False
        if self.pattern.startswith("*."):
            return place.host.endswith(self.pattern[1:])
        return place.host == self.pattern

    def holds_address(self, address: Address) -> bool:
        """Whether it speaks of that address, in whatever disguise."""
        return self.network is not None and (address in self.network or plain(address) in self.network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an operator allows beside the public network, and what he denies; denial wins."""

    allow: tuple[Entry, ...] = ()
    deny: tuple[Entry, ...] = ()

    @staticmethod
    def read(*, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> Rules:
        """The lists as they are written.

        Raises:
            ConfigurationInvalid: naming the line, and what to write.
        """
        return Rules(
            allow=tuple(_entry(line, "HTTP_ALLOW") for line in allow), deny=tuple(_entry(line, "HTTP_DENY") for line in deny)
        )


def judge(place: Place, addresses: Sequence[Address], rules: Rules) -> None:
    """See that a request may go to ``place``, whose name led to ``addresses``: every one of them, for who answers may choose.
    None at all: it was not resolved, and what can be said without is said.

    Raises:
        TargetRefused: naming the rule.
    """
    for entry in rules.deny:
        if entry.holds_port(place.port) and _speaks_of(entry, place, addresses):
            _refuse("HTTP_DENY", f"{place.host}:{place.port} is denied by HTTP_DENY ({entry.text})")
    allowing = [entry for entry in rules.allow if entry.holds_port(place.port)]
    is_named = any(entry.holds_host(place) for entry in allowing)
    _judge_port(place, addresses, allowing, is_named)
    _judge_name(place, allowing, is_named)
    for address in addresses:
        rule = refusal(address)
        lifted = (is_named and rule != METADATA) or any(entry.holds_address(address) for entry in allowing)
        if rule is not None and not lifted:
            _refuse(rule, f"{place.host} is at {address}, and no request may go there ({rule}); HTTP_ALLOW could name it")


def _speaks_of(entry: Entry, place: Place, addresses: Sequence[Address]) -> bool:
    is_port = entry.pattern is None and entry.network is None
    return is_port or entry.holds_host(place) or any(entry.holds_address(address) for address in addresses)


def _judge_port(place: Place, addresses: Sequence[Address], allowing: Sequence[Entry], is_named: bool) -> None:
    if place.port in DEFAULT_PORTS.values():
        return
    named = [entry for entry in allowing if entry.port is not None]
    is_open = any(entry.pattern is None and entry.network is None for entry in named)
    networks = [entry for entry in named if entry.network is not None]
    is_theirs = bool(networks) and all(any(entry.holds_address(address) for entry in networks) for address in addresses)
    if not (is_open or is_theirs or (is_named and any(entry.holds_host(place) for entry in named))):
        _refuse("port", f"port {place.port} is neither 80 nor 443; HTTP_ALLOW could name {place.host}:{place.port}")


def _judge_name(place: Place, allowing: Sequence[Entry], is_named: bool) -> None:
    for rule, names in _NAMES:
        is_one = place.host in names or (rule == "loopback" and place.host.endswith(".localhost"))
        if is_one and not (is_named and rule != METADATA) and not any(entry.network is not None for entry in allowing):
            _refuse(rule, f"no request may go to {place.host} ({rule})")


def _entry(line: str, option: str) -> Entry:
    text = line.strip()
    is_whole_ipv6 = text.count(":") > 1 and not text.startswith("[")
    found = re.fullmatch(r"(?P<inner>.+)(?P<bare>)(?P<port>)", text) if is_whole_ipv6 else _ENTRY.fullmatch(text)
    if found is None or not text:
        _unreadable(line, option)
    host, port = (found["inner"] or found["bare"]).lower().removesuffix("."), int(found["port"]) if found["port"] else None
    if port is not None and not 1 <= port <= 65_535:
        _unreadable(line, option)
    if not host:
        return Entry(text=text, port=port)
    try:
        return Entry(text=text, network=ip_network(host), port=port)
    except ValueError:
        if "/" in host or ends_in_number(host) or not _NAME.fullmatch(host.removeprefix("*.")):
            _unreadable(line, option)
        return Entry(text=text, pattern=host, port=port)


def _unreadable(line: str, option: str) -> NoReturn:
    raise ConfigurationInvalid(
        f"{option} holds {shown(line)}; write a host (api.example.com), hosts (*.example.com), a network (10.1.0.0/16, [fd00::]), "
        "each with or without a port (:8443), or a port alone"
    )


def _refuse(rule: str, told: str) -> NoReturn:
    raise TargetRefused(told, rule=rule)
