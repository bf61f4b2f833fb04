"""API tokens as rows: created, found by who shows one, listed, revoked; each change in the audit log. No secret comes here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.core.access import (
    EVERY,
    Grant,
    Identity,
    Operation,
    read_grant,
    require,
    require_grant,
    spell,
    spell_namespaces,
)
from mainspring.core.api_tokens import ApiToken, require_good
from mainspring.core.credentials import NOTED_EVERY_US, Presented, is_credential_id, is_to_be_noted, matches
from mainspring.errors import NotAuthenticated, UnknownToken, shown
from mainspring.operations import audit
from mainspring.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token to put on record: its id and digest were made of its text by whoever will show that, once."""

    presented: Presented
    name: str
    grant: Grant
    expires_at: int | None


def create(tx: Transaction, new: NewToken, *, by: Identity) -> None:
    """Put a token on record. A repeat changes nothing.

    Raises:
        NotAllowed: ``by`` may not give that to anybody.
    """
    require_grant(by, new.grant)
    told = {
        "role": new.grant.role,
        "namespaces": spell_namespaces(new.grant.namespaces),
        "extras": spell(new.grant.extras),
        "name": new.name,
    }
    made = tx.execute(
        "api_tokens.create", id=new.presented.id, digest=new.presented.digest, actor=by.actor, expires_at=new.expires_at, **told
    )
    if made:
        _record(tx, new.presented.id, new.grant, "api_token.created", by, told | {"expires_at": new.expires_at})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A good token that somebody showed. ``is_to_be_noted``: write down that it was used."""

    token: ApiToken
    is_to_be_noted: bool


def shown_by(tx: Transaction, presented: Presented) -> Shown:
    """The token somebody showed. One read, by its id.

    Raises:
        NotAuthenticated: there is none like it, it was revoked, or it has expired.
    """
    row = tx.one("api_tokens.shown", id=presented.id)
    if not matches(presented, None if row is None else row[11]) or row is None:
        raise NotAuthenticated("there is no such API token: it was never given out, or is of another database")
    token, now = _token(row), row[12]
    require_good(token, now)
    return Shown(token=token, is_to_be_noted=is_to_be_noted(token.last_used_at, now))


def note_use(tx: Transaction, token_id: str) -> None:
    """Write down that a token was used, unless somebody has done so within the last minute."""
    tx.execute("api_tokens.used", id=token_id, every=NOTED_EVERY_US)


def get(tx: Transaction, token_id: str) -> ApiToken:
    """One token.

    Raises:
        UnknownToken: there is none of that id.
    """
    row = tx.one("api_tokens.get", id=token_id) if is_credential_id(token_id) else None
    if row is None:
        raise UnknownToken(f"no API token has the id {_named(token_id)}; `mainspring token list` shows those there are")
    return _token(row)


def listing(tx: Transaction, namespace: str, *, revoked: bool, before: ApiToken | None, most: int) -> list[ApiToken]:
    """A page of the tokens of a namespace (``"*"``: of any), newest first; ``before`` is the last of the page before."""
    rows = tx.rows(
        "api_tokens.list",
        namespaces="" if namespace == EVERY else namespace,
        revoked=int(revoked),
        before_id="" if before is None else before.id,
        before_at=0 if before is None else before.created_at,
        most=most,
    )
    return [_token(row) for row in rows]


def revoke(tx: Transaction, token_id: str, *, by: Identity) -> bool:
    """Let a token open nothing from now on. False: it was revoked already.

    Raises:
        UnknownToken: there is none of that id. NotAllowed: ``by`` does not administer all that it is good for.
    """
    token = get(tx, token_id)
    _require_admin(by, token.grant)
    if not tx.execute("api_tokens.revoke", id=token_id, actor=by.actor):
        return False
    _record(tx, token_id, token.grant, "api_token.revoked", by, {"name": token.name})
    return True


def _require_admin(by: Identity, grant: Grant) -> None:
    places: Sequence[str | None] = [None] if grant.namespaces is None else sorted(grant.namespaces)
    for place in places:
        require(by, Operation.ADMINISTER, place)


def _record(tx: Transaction, token_id: str, grant: Grant, action: str, by: Identity, data: dict[str, Any]) -> None:
    namespace = spell_namespaces(grant.namespaces)
    audit.record(tx, f"api_token:{token_id}", action=action, namespace=namespace, actor=by.actor, data=data)


def _named(token_id: object) -> str:
    """An id in a message; a whole token that was given in its place is not repeated."""
    return shown(token_id) if isinstance(token_id, str) and len(token_id) <= 20 else "that was given (11 characters, no more)"


def _token(row: Sequence[Any]) -> ApiToken:
    return ApiToken(
        id=row[0], name=row[1], grant=read_grant(row[2], row[3], row[4]), created_at=row[5], created_by=row[6], expires_at=row[7],
        last_used_at=row[8], revoked_at=row[9], revoked_by=row[10],
    )  # fmt: skip
