"""Endpoints of logins: people come in with a name and a password, and go on with a cookie.

The cookie is for the browser alone (``HttpOnly``); whatever changes something shows the CSRF token too, which only a page of this
server can know. Not here: what is let in with them (``web/access.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec

from mainspring.core.access import Operation
from mainspring.core.durations import format_instant
from mainspring.core.logins import IDLE_US, LONGEST_PASSWORD
from mainspring.errors import InvalidOption, LoginThrottled, NotAuthenticated
from mainspring.web.access import COOKIE
from mainspring.web.api.shapes import Instant
from mainspring.web.endpoints import Answered, Asked, Body, Endpoint, Nothing, Unscoped, reads

_AT_ONCE = 2
_PATIENCE_SECONDS = 2.0
_checks = threading.BoundedSemaphore(_AT_ONCE)

Password = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_PASSWORD)]


class LogIn(Body, frozen=True, kw_only=True):
    """A person, and their password."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    password: Password


class NewPassword(Body, frozen=True, kw_only=True):
    """The password that somebody has, and the one that they want."""

    old: Password
    new: Password


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A new login. ``csrf`` goes into the header Mainspring-CSRF of whatever changes something."""

    actor: str
    role: str
    csrf: str
    expires_at: Instant


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and where they act. ``csrf`` is that of their login; a token needs none."""

    actor: str
    role: str
    namespace: str
    csrf: str | None


class LoggedOut(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there was a login to end."""

    ended: bool


class PasswordChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Whose password is another one now."""

    actor: str


def log_in(asked: Asked[Unscoped, LogIn]) -> Answered:
    """Log in. The cookie of the answer is the login; the same answer is given for a wrong name and for a wrong password."""
    with _one_of_few():
        opened = asked.client.logins.open(asked.body.name, asked.body.password)
    told = LoggedIn(
        actor=opened.identity.actor, role=opened.identity.grant.role, csrf=opened.csrf,
        expires_at=format_instant(opened.login.expires_at),
    )  # fmt: skip
    return Answered(value=told, status=201, headers={"Set-Cookie": _cookie(opened.text, IDLE_US // 1_000_000)})


def show_login(asked: Asked[Unscoped, Nothing]) -> Who:
    """Who you are here, and the CSRF token of your login."""
    who = asked.identity
    csrf = None if asked.login is None else asked.client.logins.verify(asked.login).csrf
    return Who(actor=who.actor, role=who.role, namespace=who.namespace, csrf=csrf)


def log_out(asked: Asked[Unscoped, Nothing]) -> Answered:
    """End the login of the cookie."""
    ended = asked.login is not None and asked.client.logins.close(asked.login)
    return Answered(value=LoggedOut(ended=ended), headers={"Set-Cookie": _cookie("", 0)})


def change_password(asked: Asked[Unscoped, NewPassword]) -> Answered:
    """Give yourself another password, in exchange for the one you have. All your logins end, this one too."""
    kind, _, name = asked.identity.actor.partition(":")
    if kind != "user":
        raise InvalidOption(f"{asked.identity.actor} is nobody who has a password", option="old")
    with _one_of_few():
        asked.client.logins.change_password(name, asked.body.old, asked.body.new)
    return Answered(value=PasswordChanged(actor=asked.identity.actor), headers={"Set-Cookie": _cookie("", 0)})


@contextmanager
def _one_of_few() -> Iterator[None]:
    """A check of a password takes a tenth of a second and 64 MiB, so few run at once, and the others wait a little."""
    if not _checks.acquire(timeout=_PATIENCE_SECONDS):
        raise LoginThrottled("many people log in at this moment; try again in a second", retry_after=1.0)
    try:
        yield
    finally:
        _checks.release()


def _cookie(text: str, seconds: int) -> str:
    return f"{COOKIE}={text}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"


ENDPOINTS = (
    Endpoint(
        method="POST", path="/api/v1/login", operation="logins.open", kind=None, handler=log_in, query=Unscoped, body=LogIn,
        gives=LoggedIn, statuses=(201,), refusals=(NotAuthenticated, LoginThrottled), has_body=True,
    ),
    reads("/login", "logins.show", show_login, query=Unscoped, gives=Who),
    Endpoint(
        method="DELETE", path="/api/v1/login", operation="logins.close", kind=Operation.READ, handler=log_out, query=Unscoped,
        body=Nothing, gives=LoggedOut,
    ),
    Endpoint(
        method="PUT", path="/api/v1/login/password", operation="logins.change_password", kind=Operation.READ,
        handler=change_password, query=Unscoped, body=NewPassword, gives=PasswordChanged, refusals=(LoginThrottled,), has_body=True,
    ),
)  # fmt: skip
