"""The audit log: adding to it, reading it, following its chain, pruning it.

``record`` is what every administrative act calls, last in the transaction that does it. It takes the lock that orders the chain and
holds it until the commit, so such acts commit one after the other; nothing that runs do ever calls it.

Not here: what an entry's hash is made of (``core/audit``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import msgspec

from mainspring.codec.redaction import Redactor
from mainspring.core.audit import BEGINNING, PRUNED, Broken, Entry, Place, follow, sealed
from mainspring.core.names import check_text
from mainspring.errors import AuditBroken, BrokenInvariant, InvalidOption
from mainspring.operations.rows import encode_data
from mainspring.store.database import Transaction

PAGE = 500
_LAST = 2**62
_LARGEST_DATA = 16 * 1024

#: Runs a question in a transaction of its own: ``read(name, fn)`` of a database.
Read = Callable[[str, Callable[[Transaction], Any]], Any]


def record(
    tx: Transaction, subject: str, *, action: str, namespace: str, actor: str, data: Mapping[str, Any] | None = None
) -> Entry:
    """Put on record, in the transaction that does it, who did what: call it last, and only if something was changed.

    ``subject`` is ``KIND:NAME``, ``action`` is ``NOUN.VERB`` in the past, ``namespace`` is ``"*"`` for what concerns all. What
    looks like a secret in ``data`` is hidden; a secret that looks like nothing must not be in it.
    """
    end, _ = _chain(tx, "audit.end")
    if end is None:
        tx.execute("audit.begin", hash=BEGINNING.hash)
        end, _ = _chain(tx, "audit.end")
    assert end is not None
    entry = sealed(
        Entry(
            seq=end.seq + 1,
            at=tx.now,
            actor=check_text(actor, "actor"),
            namespace=namespace,
            action=action,
            subject=check_text(subject, "subject"),
            data=_told(data),
            previous=end.hash,
            hash="",
        )
    )
    added = tx.execute(
        "audit.append", seq=entry.seq, at=entry.at, actor=entry.actor, namespace=entry.namespace, action=entry.action,
        subject=entry.subject, data=entry.data, previous=entry.previous, hash=entry.hash,
    )  # fmt: skip
    if added != 1:
        raise BrokenInvariant("the end of the audit log moved under its lock", seq=entry.seq)
    return entry


def _told(data: Mapping[str, Any] | None) -> str:
    text = Redactor().json(encode_data(data) or "{}")
    return text if len(text) <= _LARGEST_DATA else msgspec.json.encode({"left_out_characters": len(text)}).decode()


def listing(
    tx: Transaction, *, namespace: str = "", subject: str = "", actor: str = "", action: str = "", before: int | None, most: int
) -> list[Entry]:
    """A page of entries, newest first; ``before`` is the number of the last entry of the page before."""
    rows = tx.rows(
        "audit.list", namespace=namespace, subject=subject, actor=actor, action=action, before=before or _LAST, most=most
    )
    return [_entry(row) for row in rows]


# -- following the chain -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What following the chain found: how many entries hold, from where (the last that was pruned) to where, and what does not."""

    checked: int
    start: Place
    end: Place
    broken: Broken | None


@dataclass(slots=True, kw_only=True)
class _Walk:
    """How far the chain was followed. ``is_vouched``: an entry was met that tells of the prune from which the chain goes on."""

    start: Place
    place: Place
    checked: int = 0
    is_vouched: bool = False

    def verdict(self, broken: Broken | None) -> Verdict:
        return Verdict(checked=self.checked, start=self.start, end=self.place, broken=broken)

    def go_on(self, entries: Sequence[Entry]) -> Broken | None:
        self.is_vouched |= any(each.action == PRUNED and _tells_of(each, self.start) for each in entries)
        before = self.place
        self.place, broken = follow(before, entries)
        self.checked += self.place.seq - before.seq
        return broken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A page of the chain, and its ends as they were at that moment."""

    start: Place
    end: Place
    entries: list[Entry]


def verify(read: Read, *, anchor: Place | None = None, page: int = PAGE) -> Verdict:
    """Follow the whole chain, a page in a transaction, while others add to it; what is wrong with the first entry that is.

    ``anchor`` is a place that somebody kept elsewhere: the chain must still go through it. Only that tells of a chain that was made
    anew as a whole, or cut at its end together with the row that says where it ends.

    Raises:
        InvalidOption: the anchor has been pruned.
    """
    walk = _Walk(start=BEGINNING, place=BEGINNING)
    while True:
        look: _Look = read("audit.verify", partial(_look, after=walk.place.seq, most=page))
        if look.start.seq > walk.place.seq:  # what would have come next was pruned, long ago or meanwhile
            walk = _Walk(start=look.start, place=look.start, checked=walk.checked)
            _require_kept(anchor, look.start)
        broken = _against(anchor, [look.start, *(each.place for each in look.entries)]) or walk.go_on(look.entries)
        if broken is not None or len(look.entries) < page:
            return walk.verdict(broken or _at_the_end(walk, look, anchor))


def _look(tx: Transaction, *, after: int, most: int) -> _Look:
    end, start = _chain(tx, "audit.chain")
    return _Look(start=start, end=end or BEGINNING, entries=_page(tx, max(after, start.seq), most))


def _require_kept(anchor: Place | None, start: Place) -> None:
    if anchor is not None and anchor.seq < start.seq:
        raise InvalidOption(f"entry {anchor.seq} has been pruned; the oldest anchor there can be is {start}", option="anchor")


def _against(anchor: Place | None, places: Sequence[Place]) -> Broken | None:
    """What the anchor says of these places."""
    if anchor is None or not any(place.seq == anchor.seq and place.hash != anchor.hash for place in places):
        return None
    return Broken(seq=anchor.seq, why="it is not the one of the anchor: the chain up to it was made anew")


def _at_the_end(walk: _Walk, look: _Look, anchor: Place | None) -> Broken | None:
    """What is wrong although every entry follows the one before it."""
    if walk.place != look.end:
        return Broken(seq=walk.place.seq + 1, why=f"it is missing, or was added beside the log, which should end with {look.end}")
    if look.start.seq == 0 and look.start != BEGINNING:
        return Broken(seq=1, why="it does not follow the beginning that is on record")
    if walk.start.seq and not walk.is_vouched:
        return Broken(seq=walk.start.seq, why="it and those before it were removed, and no entry tells of it")
    if anchor is not None and anchor.seq > walk.place.seq:
        return Broken(seq=walk.place.seq + 1, why=f"it is missing: the anchor says that there were {anchor.seq}")
    return None


# -- pruning -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many entries went. ``more``: the next slice may follow."""

    entries: int
    more: bool


def prune(tx: Transaction, *, before: int, most: int, actor: str) -> Pruned:
    """Remove up to ``most`` of the oldest entries, up to the first that is not older than ``before``; put that on record.

    Raises:
        AuditBroken: the chain does not hold there. Pruning would hide that, so nothing is removed.
    """
    _, start = _chain(tx, "audit.end")
    old = list(takewhile(lambda entry: entry.at < before, _page(tx, start.seq, most)))
    place, broken = follow(start, old)
    if broken is not None:
        raise AuditBroken(f"entry {broken.seq} of the audit log does not hold: {broken.why}; nothing was removed", seq=broken.seq)
    if not old:
        return Pruned(entries=0, more=False)
    tx.execute("audit.prune", seq=place.seq, hash=place.hash)
    told = {"through": place.seq, "hash": place.hash, "entries": len(old)}
    record(tx, "audit", action=PRUNED, namespace="*", actor=actor, data=told)
    return Pruned(entries=len(old), more=len(old) == most)


def _tells_of(entry: Entry, start: Place) -> bool:
    try:
        told = msgspec.json.decode(entry.data)
    except msgspec.DecodeError:
        return False
    return isinstance(told, dict) and (told.get("through"), told.get("hash")) == (start.seq, start.hash)


def _chain(tx: Transaction, statement: str) -> tuple[Place | None, Place]:
    """The end of the chain, None where nothing was ever added; and the place it was pruned up to."""
    row = tx.one(statement)
    if row is None:
        return None, BEGINNING
    return Place(seq=row[0], hash=row[1]), Place(seq=row[2], hash=row[3])


def _page(tx: Transaction, after: int, most: int) -> list[Entry]:
    return [_entry(row) for row in tx.rows("audit.page", after=after, most=most)]


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(
        seq=row[0], at=row[1], actor=row[2], namespace=row[3], action=row[4], subject=row[5], data=row[6], previous=row[7],
        hash=row[8],
    )  # fmt: skip
