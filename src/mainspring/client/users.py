"""People from outside: made, changed, kept out. How they come in is ``logins``."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from mainspring.client.writing import write_again
from mainspring.codec import passwords
from mainspring.core.access import Grant, Identity, grant_of, owner
from mainspring.core.logins import checked_password
from mainspring.core.names import check_name
from mainspring.operations import users
from mainspring.operations.users import User
from mainspring.operations.views import bound_page
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")
UserList: TypeAlias = list[User]


class UserPage(NamedTuple):
    """Part of the people, and the cursor of what follows; None at the end."""

    data: UserList
    next_cursor: str | None


class Users:
    """People with passwords. ``by`` is who asks, and bounds what they may do; without it that is whoever holds the database."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(
        self,
        name: str,
        password: str,
        role: str,
        *,
        namespaces: Iterable[str] | None = None,
        extras: Iterable[str] = (),
        by: Identity | None = None,
    ) -> User:
        """A new person, in these namespaces (without them: the client's; ``"*"`` among them: all).

        Raises:
            UserExists: the name is taken. InvalidOption: naming what to write. NotAllowed: ``by`` may not.
        """
        check_name(name, "name")
        grant, stored = self._grant(role, namespaces, extras), passwords.hashed(checked_password(password, name))
        asking = self._asking(by)

        def create(tx: Transaction) -> User:
            users.create(tx, name, password=stored, grant=grant, by=asking)
            return users.get(tx, name)

        return self._write("users.create", create)

    def set_password(self, name: str, password: str, *, by: Identity | None = None) -> None:
        """Give a person another password, and end all their logins.

        Raises:
            UnknownUser: nobody has that name. InvalidOption: it cannot be one. NotAllowed: ``by`` may not.
        """
        stored, asking = passwords.hashed(checked_password(password, name)), self._asking(by)
        self._write("users.set_password", lambda tx: users.set_password(tx, name, password=stored, by=asking))

    def set_grant(
        self,
        name: str,
        role: str,
        *,
        namespaces: Iterable[str] | None = None,
        extras: Iterable[str] = (),
        by: Identity | None = None,
    ) -> bool:
        """Let a person do something else from now on, in logins that are open too. False: they may do exactly that already.

        Raises:
            UnknownUser: nobody has that name. InvalidOption: naming what to write. NotAllowed: ``by`` may not.
        """
        grant, asking = self._grant(role, namespaces, extras), self._asking(by)
        return self._write("users.set_grant", lambda tx: users.set_grant(tx, name, grant, by=asking))

    def get(self, name: str) -> User:
        """One person.

        Raises:
            UnknownUser: nobody has that name.
        """
        found: User = self._client.database.read("users.get", lambda tx: users.get(tx, name))
        return found

    def list(self, *, limit: int = 50, cursor: str | None = None) -> UserPage:
        """A page of people, in the order of their names; ``cursor`` is the last name of the page before."""
        most = bound_page(limit)
        data: UserList = self._client.database.read("users.list", lambda tx: users.listing(tx, after=cursor or "", most=most))
        return UserPage(data, data[-1].name if len(data) == most else None)

    def disable(self, name: str, *, by: Identity | None = None) -> bool:
        """Keep a person out, and end all their logins. False: they were kept out already.

        Raises:
            UnknownUser: nobody has that name. NotAllowed: ``by`` may not.
        """
        asking = self._asking(by)
        return self._write("users.disable", lambda tx: users.disable(tx, name, by=asking))

    def enable(self, name: str, *, by: Identity | None = None) -> bool:
        """Let a person in again. False: they were not kept out.

        Raises:
            UnknownUser: nobody has that name. NotAllowed: ``by`` may not.
        """
        asking = self._asking(by)
        return self._write("users.enable", lambda tx: users.enable(tx, name, by=asking))

    def _grant(self, role: str, namespaces: Iterable[str] | None, extras: Iterable[str]) -> Grant:
        return grant_of(role, [self._client.namespace] if namespaces is None else namespaces, extras)

    def _asking(self, by: Identity | None) -> Identity:
        return by or owner(self._client.actor)

    def _write(self, name: str, fn: Callable[[Transaction], T]) -> T:
        return write_again(self._client.database, name, fn)
