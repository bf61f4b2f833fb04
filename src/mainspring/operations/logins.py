"""Logins of people as rows: a try counted, one opened, found by who shows it, ended; opening and ending in the audit log.

A password is checked between two transactions, for that takes long: ``count_try`` before it, ``open_login`` after it was right.
Failed tries are counted and not audited: whoever guesses must not fill the log. Not here: the check itself (``codec/passwords``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.core.access import EVERY, Identity, Operation, read_grant, require
from mainspring.core.credentials import NOTED_EVERY_US, Presented, is_to_be_noted, matches
from mainspring.core.logins import ABSOLUTE_US, IDLE_US, MOST_LOGINS, Login, Throttle, bucket_of, is_over, next_try
from mainspring.errors import NotAuthenticated
from mainspring.operations import audit
from mainspring.operations.users import actor_of, identity_of
from mainspring.store.database import Transaction

_REFUSED = "the name or the password is wrong"


def count_try(tx: Transaction, name: str) -> str | None:
    """Count a try to log in, as failed until it succeeds; the hash to check the password against, None where nobody has the name.

    Raises:
        LoginThrottled: it comes too early after others; it is not counted.
    """
    bucket = bucket_of(name)
    tx.execute("logins.begin_throttle", bucket=bucket)
    row = tx.one("logins.throttle", bucket=bucket)
    now = next_try(None if row is None else Throttle(tries=row[0], opens_at=row[1]), tx.now)
    tx.execute("logins.count_try", bucket=bucket, tries=now.tries, opens_at=now.opens_at)
    found = tx.one("users.password", name=name)
    return None if found is None else str(found[0])


def refused() -> NotAuthenticated:
    """What whoever fails is told: the same for a wrong name, a wrong password, and somebody who is kept out."""
    return NotAuthenticated(_REFUSED)


def confirm(tx: Transaction, name: str, *, password: str, also: str | None = None) -> None:
    """Forgive the tries under a name, whose password was right: ``password`` is the hash it was checked against, and must still
    be theirs. ``also`` is the hash that an earlier try of this very act may have put in its place.

    Raises:
        NotAuthenticated: it was changed meanwhile, or they are kept out.
    """
    row = tx.one("users.to_log_in", name=name)
    if row is None or row[1] is not None or row[0] not in {password, also}:
        raise refused()
    tx.execute("logins.forgive", bucket=bucket_of(name))


def open_login(tx: Transaction, name: str, presented: Presented) -> None:
    """Put a login on record, after ``confirm``. A repeat changes nothing."""
    told = {"id": presented.id, "digest": presented.digest, "name": name}
    if not tx.execute("logins.open", idle=IDLE_US, absolute=ABSOLUTE_US, **told):
        return
    tx.execute("logins.forget", name=name, kept=MOST_LOGINS)
    _record(tx, name, "login.opened", actor_of(name), {"login": presented.id})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A good login that somebody showed, and what its person may do now. ``is_to_be_noted``: write down that it was used."""

    login: Login
    identity: Identity
    is_to_be_noted: bool


def shown_by(tx: Transaction, presented: Presented) -> Shown:
    """The login somebody showed. One read, by its id.

    Raises:
        NotAuthenticated: it was ended, or is over.
    """
    row = tx.one("logins.shown", id=presented.id)
    if not matches(presented, None if row is None else row[10]) or row is None:
        raise NotAuthenticated("this login was ended; log in again")
    login, now = _login(row), row[11]
    if is_over(login, now) or row[9] is not None:
        raise NotAuthenticated("this login is over; log in again")
    identity = identity_of(login.user, read_grant(row[6], row[7], row[8]))
    return Shown(login=login, identity=identity, is_to_be_noted=is_to_be_noted(login.seen_at, now))


def note_use(tx: Transaction, login_id: str) -> None:
    """Write down that a login was used, unless somebody has done so within the last minute."""
    tx.execute("logins.seen", id=login_id, every=NOTED_EVERY_US)


def listing(tx: Transaction, name: str) -> list[Login]:
    """The logins of a person that are not over, newest first."""
    return [_login(row) for row in tx.rows("logins.list", name=name, most=MOST_LOGINS)]


def close(tx: Transaction, presented: Presented) -> bool:
    """End the login that somebody shows. False: it was ended already."""
    row = tx.one("logins.shown", id=presented.id)
    if not matches(presented, None if row is None else row[10]) or row is None:
        return False
    name = _login(row).user
    if not tx.execute("logins.close", id=presented.id):
        return False
    _record(tx, name, "login.closed", actor_of(name), {"login": presented.id})
    return True


def close_all(tx: Transaction, name: str, *, by: Identity) -> int:
    """End every login of a person; how many there were. People may do so for themselves.

    Raises:
        NotAllowed: ``by`` is somebody else who may not.
    """
    if by.actor != actor_of(name):
        require(by, Operation.ADMINISTER, None)
    closed = tx.execute("logins.close_all", name=name)
    if closed:
        _record(tx, name, "login.all_closed", by.actor, {"logins_ended": closed})
    return closed


def _record(tx: Transaction, name: str, action: str, actor: str, data: dict[str, Any]) -> None:
    audit.record(tx, actor_of(name), action=action, namespace=EVERY, actor=actor, data=data)


def _login(row: Sequence[Any]) -> Login:
    return Login(id=row[0], user=row[1], opened_at=row[2], seen_at=row[3], idle_us=row[4], expires_at=row[5])
