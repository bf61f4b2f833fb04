"""What late instants wait outside: a schedule's backlogs as rows, and the pace that all schedules share.

Lock order: the pace is taken after the cursors of a transaction, and before its runs. Not here: who enters (``core/backlog.py``).
"""

from collections.abc import Iterable, Mapping, Sequence

from mainspring.core.backlog import Backlog
from mainspring.store.database import Row, Transaction


class Pace:
    """Until when the catch-up starts of all schedules are given out. Locked by whoever asks first; written if it moved."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._read: int | None = None
        self._moved = 0

    @property
    def until(self) -> int:
        """The pace, locked."""
        if self._read is None:
            row = self._tx.one("backlogs.pace")
            self._read = 0 if row is None else int(row[0])
        return max(self._read, self._moved)

    def move(self, until: int) -> None:
        """More of it is used up: only of one that was asked for."""
        self._moved = max(self._moved, until)

    def write(self) -> None:
        """Keep it."""
        if self._read is not None and self._moved > self._read:
            self._tx.execute("backlogs.move_pace", until=self._moved)


def by_schedule(rows: Iterable[Row]) -> dict[str, list[Backlog]]:
    """What ``backlogs.of`` answered: the backlogs of schedules, the oldest first."""
    found: dict[str, list[Backlog]] = {}
    for schedule_id, *row in rows:
        found.setdefault(str(schedule_id), []).append(Backlog(*row))
    return found


def keep(tx: Transaction, changes: Mapping[str, tuple[Sequence[Backlog], Sequence[Backlog]]]) -> None:
    """Write what is left of those that changed, given as they were and as they are."""
    changed = {key: after for key, (before, after) in sorted(changes.items()) if list(before) != list(after)}
    if not changed:
        return
    tx.execute("backlogs.clear", ids=sorted(changed))
    if rows := [(key, *each) for key, after in changed.items() for each in after]:
        tx.execute("backlogs.keep", batch=rows)
