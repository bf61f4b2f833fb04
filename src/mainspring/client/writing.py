"""Writing from outside a worker: a commit whose fate is unknown is simply tried again."""

from collections.abc import Callable
from typing import Any, TypeVar

from mainspring.errors import CommitUnknown
from mainspring.store.database import Transaction

T = TypeVar("T")

_COMMIT_TRIES = 5


def write_again(database: Any, name: str, fn: Callable[[Transaction], T]) -> T:
    """Write, and write again when it is unknown whether the commit happened. ``fn`` must change nothing when repeated."""
    for _ in range(_COMMIT_TRIES - 1):
        try:
            result: T = database.write(name, fn)
            return result
        except CommitUnknown:
            continue
    return database.write(name, fn)  # type: ignore[no-any-return]
