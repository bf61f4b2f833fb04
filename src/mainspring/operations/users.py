"""People as rows: created, changed, kept out; each change in the audit log. Passwords come here as hashes.

People are of the whole database, so whoever administers them must be good for all namespaces. Not here: how they come in
(``logins``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.core.access import (
    EVERY,
    Grant,
    Identity,
    Operation,
    Role,
    read_grant,
    require,
    require_grant,
    spell,
    spell_namespaces,
)
from mainspring.errors import InvalidOption, UnknownUser, UserExists
from mainspring.operations import audit
from mainspring.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person without their password. ``changed_at`` is when that was set."""

    name: str
    grant: Grant
    created_at: int
    created_by: str
    changed_at: int
    disabled_at: int | None
    disabled_by: str | None


def actor_of(name: str) -> str:
    """How ledgers and the audit log name a person."""
    return f"user:{name}"


def identity_of(name: str, grant: Grant) -> Identity:
    """A person who has come in."""
    return Identity(actor=actor_of(name), grant=grant)


def create(tx: Transaction, name: str, *, password: str, grant: Grant, by: Identity) -> None:
    """Put a person on record. A repeat with the same hash changes nothing.

    Raises:
        UserExists: the name is taken. NotAllowed: ``by`` may not. InvalidOption: a role that is not for people.
    """
    _require_may(by, grant)
    told = _spelt(grant)
    if tx.execute("users.create", name=name, password=password, actor=by.actor, **told):
        _record(tx, name, "user.created", by, told)
    elif _password(tx, name) != password:
        raise UserExists(f"there is a person named {name!r} already; nothing was changed")


def get(tx: Transaction, name: str) -> User:
    """One person.

    Raises:
        UnknownUser: nobody has that name.
    """
    row = tx.one("users.get", name=name)
    if row is None:
        raise UnknownUser(f"no person is named {name!r}; `mainspring user list` shows those there are")
    return _user(row)


def listing(tx: Transaction, *, after: str, most: int) -> list[User]:
    """A page of people after a name, in the order of their names."""
    return [_user(row) for row in tx.rows("users.list", after=after, most=most)]


def set_password(tx: Transaction, name: str, *, password: str, by: Identity) -> None:
    """Give a person another password, and end all their logins. People may do so for themselves.

    Raises:
        UnknownUser: nobody has that name. NotAllowed: ``by`` may not.
    """
    if by.actor != actor_of(name):
        require(by, Operation.ADMINISTER, None)
    get(tx, name)
    if tx.execute("users.set_password", name=name, password=password):
        _record(tx, name, "user.password_set", by, {"logins_ended": tx.execute("logins.close_all", name=name)})


def rehash(tx: Transaction, name: str, *, old: str, new: str) -> None:
    """Keep the same password under another hash."""
    tx.execute("users.rehash", name=name, old=old, password=new)


def set_grant(tx: Transaction, name: str, grant: Grant, *, by: Identity) -> bool:
    """Let a person do something else from now on, in logins that are open too. False: they may do exactly that already.

    Raises:
        UnknownUser: nobody has that name. NotAllowed: ``by`` may not. InvalidOption: a role that is not for people.
    """
    _require_may(by, grant)
    before, told = get(tx, name), _spelt(grant)
    if not tx.execute("users.grant", name=name, **told):
        return False
    _record(tx, name, "user.granted", by, told | {"before": _spelt(before.grant)})
    return True


def disable(tx: Transaction, name: str, *, by: Identity) -> bool:
    """Keep a person out, and end all their logins. False: they were kept out already.

    Raises:
        UnknownUser: nobody has that name. NotAllowed: ``by`` may not.
    """
    require(by, Operation.ADMINISTER, None)
    get(tx, name)
    if not tx.execute("users.disable", name=name, actor=by.actor):
        return False
    _record(tx, name, "user.disabled", by, {"logins_ended": tx.execute("logins.close_all", name=name)})
    return True


def enable(tx: Transaction, name: str, *, by: Identity) -> bool:
    """Let a person in again. False: they were not kept out.

    Raises:
        UnknownUser: nobody has that name. NotAllowed: ``by`` may not.
    """
    require(by, Operation.ADMINISTER, None)
    get(tx, name)
    if not tx.execute("users.enable", name=name):
        return False
    _record(tx, name, "user.enabled", by, {})
    return True


def _require_may(by: Identity, grant: Grant) -> None:
    require(by, Operation.ADMINISTER, None)
    require_grant(by, grant)
    if grant.role is Role.WORKER:
        raise InvalidOption("worker is a role of tokens; a person is a viewer, operator, author or admin", option="role")


def _record(tx: Transaction, name: str, action: str, by: Identity, data: dict[str, Any]) -> None:
    audit.record(tx, actor_of(name), action=action, namespace=EVERY, actor=by.actor, data=data)


def _spelt(grant: Grant) -> dict[str, str]:
    return {"role": grant.role, "namespaces": spell_namespaces(grant.namespaces), "extras": spell(grant.extras)}


def _password(tx: Transaction, name: str) -> str | None:
    row = tx.one("users.password", name=name)
    return None if row is None else str(row[0])


def _user(row: Sequence[Any]) -> User:
    return User(
        name=row[0], grant=read_grant(row[1], row[2], row[3]), created_at=row[4], created_by=row[5], changed_at=row[6],
        disabled_at=row[7], disabled_by=row[8],
    )  # fmt: skip
