"""The newest entries of all ledgers of a namespace, in the order of their instants: for whoever watches everything.

An entry's place is ``at``, run and ``seq``. An instant is that of the transaction's beginning, so an entry may appear a little
before the last one that was read; who follows looks back a little, and passes over what it has seen. On SQLite only the newest runs
are looked at (``sql/sqlite/feed.sql``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mainspring.core.ids import is_run_id
from mainspring.errors import InvalidOption, shown
from mainspring.operations.views import decode_data
from mainspring.store.database import Transaction

FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Place(NamedTuple):
    """Where an entry stands among all of them."""

    at: int
    run_id: str = FIRST_ID
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.at}.{self.run_id}.{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of one ledger, with what its run is."""

    run_id: str
    seq: int
    type: str
    state: str
    at: int
    actor: str
    data: Mapping[str, Any]
    task: str
    queue: str

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.at, self.run_id, self.seq)


def parse_place(text: str) -> Place:
    """A place as ``str`` of it was.

    Raises:
        InvalidOption: it is none.
    """
    at, _, rest = text.partition(".")
    run_id, _, seq = rest.partition(".")
    if not (at.isdigit() and len(at) <= 17 and seq.isdigit() and len(seq) <= 9 and (is_run_id(run_id) or run_id == FIRST_ID)):
        raise InvalidOption(f"{shown(text)} is no place in the feed; give the id of an event of it", option="Last-Event-ID")
    return Place(int(at), run_id, int(seq))


def after(tx: Transaction, namespace: str, place: Place, *, most: int) -> list[Entry]:
    """The next entries."""
    rows = tx.rows("feed.after", namespace=namespace, at=place.at, run_id=place.run_id, seq=place.seq, most=most)
    return [
        Entry(
            run_id=row[0], seq=row[1], type=row[2], state=row[3], at=row[4], actor=row[5], data=decode_data(row[6]), task=row[7],
            queue=row[8],
        )
        for row in rows
    ]  # fmt: skip
