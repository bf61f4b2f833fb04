"""The namespaces of a database, with what there is in each. Only reading: a namespace is there as soon as something is in it."""

from dataclasses import dataclass

from mainspring.store.database import Transaction

#: Queued runs of a namespace are counted up to here.
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace, and how many queues, live workers, queued runs (up to 10,000), held runs and open dead letters are in it."""

    name: str
    queues: int
    workers: int
    queued: int
    held: int
    dead_letters: int


def listing(tx: Transaction) -> list[Namespace]:
    """Every namespace, by name."""
    found = [
        Namespace(name=row[0], queues=row[1], workers=row[2], queued=row[3], held=row[4], dead_letters=row[5])
        for row in tx.rows("namespaces.list", most=MOST_COUNTED)
    ]
    return sorted(found, key=lambda each: each.name)  # here: databases disagree on the order of text
