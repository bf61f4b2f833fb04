"""Logins of people from outside: opened with a password, recognised when somebody shows one, ended.

Each check of a password takes a tenth of a second and 64 MiB: whoever serves many bounds how many run at once.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from mainspring.client.writing import write_again
from mainspring.codec import passwords
from mainspring.core.access import Identity, owner
from mainspring.core.credentials import RANDOM_BYTES, Kind, compose, csrf_of, is_csrf_of, parse
from mainspring.core.logins import Login, checked_password, spelt_password
from mainspring.errors import NotAuthenticated
from mainspring.operations import logins, users
from mainspring.store.database import Transaction
from mainspring.system import secret_bytes

if TYPE_CHECKING:
    from mainspring.client.client import Client

LoginList: TypeAlias = list[Login]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLogin:
    """A new login: ``text`` is for the cookie, ``csrf`` for the page."""

    login: Login
    identity: Identity
    text: str = field(repr=False)
    csrf: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLogin:
    """A login that somebody showed, and what its person may do now."""

    login: Login
    identity: Identity
    csrf: str = field(repr=False)


class Logins:
    """Logins of people."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def open(self, name: str, password: str) -> OpenedLogin:
        """A new login.

        Raises:
            NotAuthenticated: the name or the password is wrong, or they are kept out; it is not said which.
            LoginThrottled: too many tries under that name failed; ``retry_after`` says how long to wait.
        """
        checked, rehashed = self._checked(name, password)
        text = compose(Kind.LOGIN, secret_bytes(RANDOM_BYTES))
        presented = parse(Kind.LOGIN, text)

        def open_login(tx: Transaction) -> logins.Shown:
            logins.confirm(tx, name, password=checked, also=rehashed)
            if rehashed is not None:
                users.rehash(tx, name, old=checked, new=rehashed)
            logins.open_login(tx, name, presented)
            return logins.shown_by(tx, presented)

        opened = write_again(self._client.database, "logins.open", open_login)
        return OpenedLogin(login=opened.login, identity=opened.identity, text=text, csrf=csrf_of(text))

    def verify(self, text: str, *, csrf: str | None = None) -> SeenLogin:
        """Who shows this login. Give ``csrf`` with every request that changes something: it must be the one of this login.

        Raises:
            NotAuthenticated: it is mistyped, was ended, is over, or the CSRF token is another's.
        """
        presented = parse(Kind.LOGIN, text)
        if csrf is not None and not is_csrf_of(csrf, text):
            raise NotAuthenticated("the CSRF token is not the one of this login; load the page again")
        database = self._client.database
        found: logins.Shown = database.read("logins.shown", lambda tx: logins.shown_by(tx, presented))
        if found.is_to_be_noted:
            write_again(database, "logins.seen", lambda tx: logins.note_use(tx, presented.id))
        return SeenLogin(login=found.login, identity=found.identity, csrf=csrf_of(text))

    def change_password(self, name: str, old: str, new: str) -> None:
        """What people do for themselves: another password, in exchange for the one they have. All their logins end.

        Raises:
            NotAuthenticated, LoginThrottled: as for ``open``. InvalidOption: the new one cannot be one.
        """
        checked, _ = self._checked(name, old)
        stored = passwords.hashed(checked_password(new, name))

        def change(tx: Transaction) -> None:
            logins.confirm(tx, name, password=checked, also=stored)
            themselves = users.identity_of(name, users.get(tx, name).grant)
            users.set_password(tx, name, password=stored, by=themselves)

        write_again(self._client.database, "logins.change_password", change)

    def list(self, name: str) -> LoginList:
        """The logins of a person that are not over, newest first."""
        found: LoginList = self._client.database.read("logins.list", lambda tx: logins.listing(tx, name))
        return found

    def close(self, text: str) -> bool:
        """End the login that somebody shows. False: it was ended already.

        Raises:
            NotAuthenticated: it is mistyped.
        """
        presented = parse(Kind.LOGIN, text)
        return write_again(self._client.database, "logins.close", lambda tx: logins.close(tx, presented))

    def close_all(self, name: str, *, by: Identity | None = None) -> int:
        """End every login of a person; how many there were. People may do so for themselves.

        Raises:
            NotAllowed: ``by`` is somebody else who may not.
        """
        asking = by or owner(self._client.actor)
        return write_again(self._client.database, "logins.close_all", lambda tx: logins.close_all(tx, name, by=asking))

    def _checked(self, name: str, password: str) -> tuple[str, str | None]:
        """The hash that a password is right for, and another to keep in its place if that one is outdated."""
        spelt = spelt_password(password)
        stored = write_again(self._client.database, "logins.count_try", lambda tx: logins.count_try(tx, name))
        if not passwords.is_right(spelt, stored or passwords.NOBODY) or stored is None:
            raise logins.refused()
        return stored, passwords.hashed(spelt) if passwords.is_outdated(stored) else None
