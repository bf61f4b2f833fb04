"""What attempts told of themselves and is not written yet: checkpoints and progress, at most once a second, before any outcome.

Kept by fence, since an attempt that was replaced in the same process may still speak. Not here: writing (``operations/attempts``).
"""

import threading
from collections.abc import Callable, Mapping, Sequence

from mainspring.operations.attempts import Beat

_EVERY_US = 1_000_000


class Beats:
    """The pending words of a worker's attempts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Beat] = {}
        self._due_at = 0

    def tell(self, beat: Beat, *, now: bool) -> None:
        """An attempt says something; ``now``: it may not wait for its second."""
        with self._lock:
            self._add(beat)
            if now:
                self._due_at = 0

    def keep(self, beats: Sequence[Beat]) -> None:
        """These could not be written. What was said since is said over them."""
        with self._lock:
            for beat in beats:
                since = self._pending.pop((beat.run_id, beat.token), None)
                self._add(beat if since is None else since.over(beat))

    def take(self, now: int, ending: Mapping[str, int], *, holds: Callable[[str, int], bool]) -> list[Beat]:
        """Those whose second is over, and those of attempts that ended (run and fence): a checkpoint is saved before its outcome,
        also where the lease was in doubt meanwhile and the outcome is all that is left in hand. Others that are held by nobody here
        are forgotten."""
        if not self._pending:
            return []
        with self._lock:
            if now >= self._due_at:
                due, self._pending = list(self._pending.values()), {}
                self._due_at = now + _EVERY_US
            else:
                due = [self._pending.pop(fence) for fence in ending.items() if fence in self._pending]
        return [beat for beat in due if beat.token == ending.get(beat.run_id) or holds(beat.run_id, beat.token)]

    def _add(self, beat: Beat) -> None:
        fence = beat.run_id, beat.token
        before = self._pending.get(fence)
        self._pending[fence] = beat if before is None else beat.over(before)
