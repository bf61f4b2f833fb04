"""The audit log from outside: read, followed, pruned. Entries come from what is done; nobody adds one by hand."""

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mainspring.client.writing import write_again
from mainspring.core.access import EVERY, Identity, Operation, owner, require
from mainspring.core.audit import Entry, Place
from mainspring.core.durations import Duration, parse_duration
from mainspring.errors import InvalidOption, shown
from mainspring.operations import audit
from mainspring.operations.views import bound_page
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

EntryList: TypeAlias = list[Entry]
_ANCHOR = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


class EntryPage(NamedTuple):
    """Part of the entries, and the cursor of what follows; None at the end."""

    data: EntryList
    next_cursor: int | None


class Audit:
    """Who did what, in a chain of hashes."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(
        self,
        *,
        namespace: str = EVERY,
        subject: str = "",
        actor: str = "",
        action: str = "",
        limit: int = 50,
        cursor: int | None = None,
    ) -> EntryPage:
        """A page of entries, newest first: of one namespace, or of all and of what concerns all (``"*"``)."""
        most, place = bound_page(limit), "" if namespace == EVERY else namespace

        def page(tx: Transaction) -> EntryList:
            return audit.listing(tx, namespace=place, subject=subject, actor=actor, action=action, before=cursor, most=most)

        data: EntryList = self._client.database.read("audit.list", page)
        return EntryPage(data, data[-1].seq if len(data) == most else None)

    def verify(self, *, anchor: str | None = None) -> audit.Verdict:
        """Follow the whole chain while others add to it; the verdict says where it ends, and the first entry that does not hold.

        ``anchor`` is an end that an earlier verdict told (``NUMBER:HASH``) and that was kept somewhere else.

        Raises:
            InvalidOption: no anchor, or one that has been pruned.
        """
        return audit.verify(self._client.database.read, anchor=None if anchor is None else _anchor(anchor))

    def prune(self, *, older_than: Duration, by: Identity | None = None) -> int:
        """Remove entries older than that, and put it on record; how many went. The rest can still be followed.

        Raises:
            AuditBroken: the chain does not hold where it was to be cut. NotAllowed: ``by`` does not administer all namespaces.
        """
        age, asking = parse_duration(older_than, option="older_than"), by or owner(self._client.actor)
        require(asking, Operation.ADMINISTER, None)
        database = self._client.database
        before = database.read("audit.now", lambda tx: tx.now) - age
        removed, more = 0, True
        while more:
            done = write_again(
                database, "audit.prune", lambda tx: audit.prune(tx, before=before, most=audit.PAGE, actor=asking.actor)
            )
            removed, more = removed + done.entries, done.more
        return removed


def _anchor(text: str) -> Place:
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise InvalidOption(f"an anchor is NUMBER:HASH, as `mainspring audit verify` prints it, not {shown(text)}", option="anchor")
    return Place(seq=int(found[1]), hash=found[2])
