"""Who may come in: the seam between the server and whatever knows tokens and people.

Every endpoint declares the kind of operation it is; a ``Gatekeeper`` turns a request into an identity, or refuses. Here: the
protocol, ``Open``, which lets everybody in who comes from this machine, for development, and ``Credentials``, for API tokens and
logins of people. Not here: what a role may do (``core/access.py``), what a token or a login is (``client/api_tokens.py``,
``client/logins.py``), and how people log in (``api/logins.py``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from mainspring.core import access
from mainspring.core.access import NEEDS, ROLES, Extra, Operation, Role
from mainspring.core.names import check_name
from mainspring.errors import ConfigurationInvalid, NotAllowed, NotAuthenticated

if TYPE_CHECKING:
    from mainspring.client import Client
    from mainspring.client.definitions import Allow


#: Roles of people and programs, each of which may do what those before it may. A worker's token opens nothing here.
RANKS = (Role.VIEWER, Role.OPERATOR, Role.AUTHOR, Role.ADMIN)

#: Browsers send a cookie of such a name back to this very host only, and over TLS (or to their own machine).
COOKIE = "__Host-mainspring"
CSRF_HEADER = "Mainspring-CSRF"
_HARMLESS = frozenset({"GET", "HEAD"})
_TARGETS = {"http": Operation.CALL_HTTP, "shell": Operation.RUN_SHELL}


def role_of(kind: Operation) -> Role:
    """The least role that may do operations of this kind."""
    return next(role for role in RANKS if kind in ROLES[role])


def require(identity: Identity, kind: Operation, namespace: str | None) -> None:
    """Refuse what somebody's role or namespace does not allow, whatever let them in.

    Raises:
        NotAllowed: saying what is missing.
    """
    if kind not in ROLES[identity.role]:
        raise NotAllowed(f"{identity.actor} is {identity.role} here; to {kind} takes {role_of(kind)}", operation=kind)
    if namespace is not None and identity.namespace != namespace:
        raise NotAllowed(f"{identity.actor} may not act in namespace {namespace!r}", operation=kind)


def require_scope(identity: Identity, kind: Operation) -> None:
    """Refuse what takes an extra scope, beside the role, to whoever lacks it.

    Raises:
        NotAllowed: naming it.
    """
    require(identity, kind, identity.namespace)
    if (needed := NEEDS.get(kind)) is not None and needed not in identity.extras:
        raise NotAllowed(f"{identity.actor} may not {kind}: it lacks the scope {needed}", operation=kind)


def require_target(identity: Identity) -> Allow:
    """Refuses the kinds of targets for which whoever asks has no scope."""
    return lambda kind: require_scope(identity, _TARGETS[kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """A request as a gatekeeper sees it. ``namespace`` is the one it asks for, None: it leaves that to whoever admits it."""

    method: str
    path: str
    headers: Mapping[str, str]
    client: str | None
    operation: str
    kind: Operation
    namespace: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who asks, as the ledger will name them, and where they may act. ``sees_all``: they may know of other namespaces;
    ``extras``: what they may do beside their role."""

    actor: str
    namespace: str
    role: Role
    sees_all: bool = False
    extras: frozenset[Extra] = frozenset()


class Gatekeeper(Protocol):
    """Decides who may come in. Called in a thread for every request, before anything of it is read."""

    @property
    def is_open(self) -> bool:
        """Whether everybody is let in: such a server listens to its own machine only."""

    def admit(self, knock: Knock) -> Identity:
        """Who it is that asks.

        Raises:
            NotAuthenticated: nobody knows (401). NotAllowed: they may not do this, or not there (403).
        """


class Open:
    """Lets everybody in who is on this machine. A page of another site in somebody's browser is not: it names another host, or says
    where it comes from."""

    is_open = True

    def __init__(self, namespace: str = "default", *, actor: str = "user:local") -> None:
        self._namespace = namespace
        self._actor = actor

    def admit(self, knock: Knock) -> Identity:
        """Anybody, as an admin of whatever namespace they ask for.

        Raises:
            NotAllowed: the request was made by a page of another site.
        """
        host = knock.headers.get("host", "")
        if not is_loopback(_hostname(f"//{host}")):
            raise NotAllowed(f"this server answers to its own machine only, by localhost or 127.0.0.1, and not by {host!r}")
        origin = knock.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise NotAllowed(f"a page of {origin!r} may not use this server")
        if knock.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise NotAllowed("a page of another site may not use this server")
        wanted = self._namespace if knock.namespace is None else check_name(knock.namespace, "namespace")
        return Identity(actor=self._actor, namespace=wanted, role=Role.ADMIN, sees_all=True, extras=frozenset(Extra))


class Credentials:
    """Lets in who shows an API token, ``Authorization: Bearer mspt_…``, or the login of a person: the cookie that ``POST /login``
    gives, and, to change anything, the CSRF token of that login. Whoever may act in one namespace acts there; whoever may act in
    all says where (``?namespace=``), else in the server's own."""

    is_open = False

    def __init__(self, client: Client) -> None:
        self._client = client

    def admit(self, knock: Knock) -> Identity:
        """Who it is, as far as they reach.

        Raises:
            NotAuthenticated: nothing was shown, or what nobody has. NotAllowed: it is not good for this, or not there.
        """
        shown = self._shown(knock)
        reaches = shown.grant.namespaces
        own = self._client.namespace if reaches is None or self._client.namespace in reaches else min(reaches)
        namespace = own if knock.namespace is None else check_name(knock.namespace, "namespace")
        access.require(shown, knock.kind, namespace)
        grant = shown.grant
        return Identity(
            actor=shown.actor, namespace=namespace, role=grant.role, sees_all=reaches is None, extras=grant.extras
        )  # fmt: skip

    def _shown(self, knock: Knock) -> access.Identity:
        header = knock.headers.get("authorization")
        if header is not None:
            scheme, _, text = header.partition(" ")
            if scheme.lower() == "bearer" and text.strip():
                return self._client.api_tokens.verify(text.strip())
        elif (login := login_shown(knock.headers)) is not None:
            csrf = None if knock.method in _HARMLESS else knock.headers.get(CSRF_HEADER.lower(), "")
            return self._client.logins.verify(login, csrf=csrf).identity
        raise NotAuthenticated(
            "show an API token (Authorization: Bearer mspt_…; `mainspring token create` makes one), or log in: POST /api/v1/login"
        )


def login_shown(headers: Mapping[str, str]) -> str | None:
    """The login in the cookie of a request."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def check_bind(host: str, gatekeeper: Gatekeeper) -> None:
    """Refuse to listen to other machines where everybody would be let in.

    Raises:
        ConfigurationInvalid: saying what to do.
    """
    if gatekeeper.is_open and not is_loopback(host):
        raise ConfigurationInvalid(
            f"a server without authentication listens to its own machine only; bind 127.0.0.1 instead of {host}, or let"
            " in who shows an API token or a login: --auth required"
        )


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address is this machine's own, and nobody else reaches it."""
    if not host:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
