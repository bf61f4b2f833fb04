"""Requests that carry a key of their own: the first answer is kept for a day, and a repeat is given it.

A request is *taken* before it is answered, with the id of what it will make; so of two at once one waits, and one that is taken
over from a process that died makes the same thing and not a second one. Not here: what a request does, and HTTP.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from mainspring.core.durations import DAY, SECOND
from mainspring.store.database import Transaction

KEPT_US = 1 * DAY
#: How long an answer may take, before somebody who repeats the request may take it over.
PATIENCE_US = 60 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Whose key it is: keys of two actors never meet."""

    namespace: str
    actor: str
    key: str

    @property
    def params(self) -> dict[str, str]:
        """As statements take it."""
        return {"namespace": self.namespace, "actor": self.actor, "key": self.key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A request as it stands: ``mine`` to be answered now (making ``made``), ``answered`` already, ``under_way`` elsewhere, or the
    key was used for ``another`` request."""

    how: Literal["mine", "answered", "under_way", "another"]
    made: str
    status: int = 0
    headers: dict[str, str] | None = None
    body: bytes = b""


def take(tx: Transaction, named: Named, *, request: str, made: str) -> Taken:
    """Take up a request, or learn what became of it."""
    ours = tx.execute("request_keys.take", **named.params, request=request, made=made, patience=PATIENCE_US, kept=KEPT_US) == 1
    row: Any = tx.one("request_keys.get", **named.params)
    known, first, status, headers, body, _ = row
    if known != request:
        return Taken(how="another", made=first)
    if status is not None:
        return Taken(how="answered", made=first, status=status, headers=msgspec.json.decode(headers), body=body or b"")
    return Taken(how="mine" if ours or first == made else "under_way", made=first)


def answer(tx: Transaction, named: Named, *, status: int, headers: dict[str, str], body: bytes) -> None:
    """Keep the answer to a request that was taken."""
    told = msgspec.json.encode(headers).decode()
    tx.execute("request_keys.answer", **named.params, status=status, headers=told, body=body)


def drop(tx: Transaction, named: Named) -> None:
    """Forget a request that came to nothing: its repeat is a first try."""
    tx.execute("request_keys.drop", **named.params)


def forget(tx: Transaction) -> None:
    """Forget answers that are old enough."""
    tx.execute("request_keys.forget")
