"""The audit log as a chain: what an entry is, its hash, and how a row of entries is followed from a place known to be good.

Each entry's hash covers all of its columns and the hash before it, so no entry can be altered, added, removed or moved without
that being found at or before its place. Whoever can write the database could make the whole chain anew: against that, keep the
place that ``mainspring audit verify`` prints somewhere else, and give it back with ``--anchor``.

Not here: reading and writing it (``operations/audit``).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

#: The first bytes of what is hashed: a later layout of entries says another number.
_LAYOUT = b"mainspring audit 1"
#: Says that entries were pruned, and up to where.
PRUNED = "audit.pruned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An entry by number and hash: all up to it is as it was. Number 0 is before the first."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


#: Before the first entry.
BEGINNING = Place(seq=0, hash=hashlib.sha256(_LAYOUT).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that somebody did. ``data`` is JSON; the order is that of ``seq``, for ``at`` is when a transaction began."""

    seq: int
    at: int
    actor: str
    namespace: str
    action: str
    subject: str
    data: str
    previous: str
    hash: str

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(seq=self.seq, hash=self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first entry at which the chain does not hold, and what is wrong with it."""

    seq: int
    why: str


def sealed(entry: Entry) -> Entry:
    """An entry with the hash that its other columns give."""
    return replace(entry, hash=hash_of(entry))


def hash_of(entry: Entry) -> str:
    """SHA-256 over every column but the hash, each with its length, so that no two entries read alike."""
    digest = hashlib.sha256(_LAYOUT)
    parts = (
        str(entry.seq), str(entry.at), entry.actor, entry.namespace, entry.action, entry.subject, entry.data, entry.previous,
    )  # fmt: skip
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def follow(place: Place, entries: Iterable[Entry]) -> tuple[Place, Broken | None]:
    """How far the entries after a good place are good, and what is wrong with the next one, if something is."""
    for entry in entries:
        if why := _fault(place, entry):
            return place, Broken(seq=place.seq + 1, why=why)
        place = entry.place
    return place, None


def _fault(place: Place, entry: Entry) -> str:
    if entry.seq != place.seq + 1:
        return f"it is missing: entry {entry.seq} follows entry {place.seq}"
    if entry.previous != place.hash:
        return "it does not follow the entry before it: one of the two was altered or replaced"
    if entry.hash != hash_of(entry):
        return "it was altered: its hash does not fit its columns"
    return ""
