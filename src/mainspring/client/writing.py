"""Writing from outside a worker: a commit whose fate is unknown is simply tried again."""

from collections.abc import Callable
from typing import Any, TypeVar

from mainspring.errors import CommitUnknown, StorageConflict, StorageUnavailable
from mainspring.store.database import Transaction

T = TypeVar("T")

_COMMIT_TRIES = 5


def write_again(database: Any, name: str, fn: Callable[[Transaction], T]) -> T:
    """Write, and write again when it is unknown whether the commit happened. ``fn`` must change nothing when repeated.

    Raises:
        StorageUnavailable, StorageConflict: nothing was committed.
        CommitUnknown: some try may have been committed, and no later one could find out.
    """
    unknown: CommitUnknown | None = None
    for _ in range(_COMMIT_TRIES):
        try:
            result: T = database.write(name, fn)
            return result
        except CommitUnknown as error:
            unknown = error
        except (StorageUnavailable, StorageConflict) as error:
            if unknown is None:
                raise
            raise CommitUnknown(f"{unknown.message}; and the next try: {error.message}") from error
    assert unknown is not None
    raise unknown
