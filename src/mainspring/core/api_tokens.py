"""An API token as it is kept, and when one is good. Not here: its text (``credentials``), what it opens (``access``)."""

from dataclasses import dataclass

from mainspring.core.access import Grant, Identity
from mainspring.core.durations import format_instant
from mainspring.errors import NotAuthenticated


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """An API token without its secret, which nobody has but its holder. ``expires_at`` None: it does not expire."""

    id: str
    name: str
    grant: Grant
    created_at: int
    created_by: str
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    revoked_by: str | None

    @property
    def actor(self) -> str:
        """How ledgers and the audit log name whoever used it."""
        return f"token:{self.id}"

    @property
    def identity(self) -> Identity:
        """Who shows it, and what it opens."""
        return Identity(actor=self.actor, grant=self.grant)


def require_good(token: ApiToken, now: int) -> None:
    """Refuse a token whose time is over, to a holder who proved to have it.

    Raises:
        NotAuthenticated: it was revoked, or has expired, and when.
    """
    if token.revoked_at is not None:
        raise NotAuthenticated(f"the API token {token.id} was revoked at {format_instant(token.revoked_at)}")
    if token.expires_at is not None and token.expires_at <= now:
        raise NotAuthenticated(f"the API token {token.id} expired at {format_instant(token.expires_at)}; ask for another")
