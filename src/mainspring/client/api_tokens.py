"""API tokens from outside: made and shown once, looked at, revoked, and recognised when somebody shows one."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mainspring.client.writing import write_again
from mainspring.core.access import Identity, grant_of, owner
from mainspring.core.api_tokens import ApiToken
from mainspring.core.credentials import RANDOM_BYTES, Kind, compose, parse
from mainspring.core.durations import Duration, parse_duration
from mainspring.core.names import check_name
from mainspring.errors import InvalidOption
from mainspring.operations import api_tokens
from mainspring.operations.api_tokens import NewToken
from mainspring.operations.views import bound_page
from mainspring.store.database import Transaction
from mainspring.system import secret_bytes

if TYPE_CHECKING:
    from mainspring.client.client import Client

TokenList: TypeAlias = list[ApiToken]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeToken:
    """A new token, and its text: to be shown now, for nobody can ever show it again."""

    token: ApiToken
    text: str = field(repr=False)


class TokenPage(NamedTuple):
    """Part of the tokens, and the cursor of what follows; None at the end."""

    data: TokenList
    next_cursor: str | None


class ApiTokens:
    """Tokens of programs. ``by`` is who asks, and bounds what they may do; without it that is whoever holds the database."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(
        self,
        name: str,
        role: str,
        *,
        namespace: str | None = None,
        extras: Iterable[str] = (),
        expires_in: Duration | None = "90d",
        by: Identity | None = None,
    ) -> MadeToken:
        """A new token for a namespace (without one: the client's; ``"*"``: all of them). ``name`` is for people and need not be
        unique. ``expires_in`` None: it does not expire.

        Raises:
            InvalidOption: naming what to write. NotAllowed: ``by`` may not give that to anybody.
        """
        grant = grant_of(role, [self._client.namespace if namespace is None else namespace], extras)
        check_name(name, "name")
        span = None if expires_in is None else parse_duration(expires_in, option="expires_in")
        if span == 0:
            raise InvalidOption("expires_in must be more than nothing; None is for ever", option="expires_in")
        text = compose(Kind.API_TOKEN, secret_bytes(RANDOM_BYTES))
        presented, asking = parse(Kind.API_TOKEN, text), by or owner(self._client.actor)

        def create(tx: Transaction) -> ApiToken:
            expires_at = None if span is None else tx.now + span
            new = NewToken(presented=presented, name=name, grant=grant, expires_at=expires_at)
            api_tokens.create(tx, new, by=asking)
            return api_tokens.get(tx, presented.id)

        return MadeToken(token=write_again(self._client.database, "api_tokens.create", create), text=text)

    def verify(self, text: str) -> Identity:
        """Who shows this token, and what they may do. A mistyped one is told without a look-up, any other costs one read.

        Raises:
            NotAuthenticated: it is mistyped, unknown, revoked, or has expired.
        """
        presented = parse(Kind.API_TOKEN, text)
        database = self._client.database
        found: api_tokens.Shown = database.read("api_tokens.shown", lambda tx: api_tokens.shown_by(tx, presented))
        if found.is_to_be_noted:
            write_again(database, "api_tokens.used", lambda tx: api_tokens.note_use(tx, presented.id))
        return found.token.identity

    def get(self, token_id: str) -> ApiToken:
        """One token.

        Raises:
            UnknownToken: there is none of that id.
        """
        found: ApiToken = self._client.database.read("api_tokens.get", lambda tx: api_tokens.get(tx, token_id))
        return found

    def list(self, *, namespace: str | None = None, revoked: bool = False, limit: int = 50, cursor: str | None = None) -> TokenPage:
        """A page of the tokens of a namespace (without one: the client's; ``"*"``: of any), newest first; with ``revoked`` those
        that were revoked too. ``cursor`` is the id of the last of the page before."""
        most, place = bound_page(limit), self._client.namespace if namespace is None else namespace

        def page(tx: Transaction) -> TokenList:
            before = None if cursor is None else api_tokens.get(tx, cursor)
            return api_tokens.listing(tx, place, revoked=revoked, before=before, most=most)

        data: TokenList = self._client.database.read("api_tokens.list", page)
        return TokenPage(data, data[-1].id if len(data) == most else None)

    def revoke(self, token_id: str, *, by: Identity | None = None) -> bool:
        """Let a token open nothing from now on. False: it was revoked already.

        Raises:
            UnknownToken: there is none of that id. NotAllowed: ``by`` does not administer all that it is good for.
        """
        asking = by or owner(self._client.actor)
        return write_again(self._client.database, "api_tokens.revoke", lambda tx: api_tokens.revoke(tx, token_id, by=asking))
