"""Carrying out acts on many runs for callers who do not wait: a service that goes on with each, one after the other.

What is to be done was written down before, so an act that is cut off here is taken up by maintenance of any process.
"""

from collections import deque

from mainspring.client import Client
from mainspring.runtime.service import Wake

_LONG_SECONDS = 3_600.0


class Carrying:
    """The service. ``add`` may be called from any thread; ring its bell afterwards."""

    name = "carrying"

    def __init__(self) -> None:
        self._acts: deque[tuple[Client, str]] = deque()

    def add(self, client: Client, act_id: str) -> None:
        """Carry out an act that was written down."""
        self._acts.append((client, act_id))

    def step(self) -> Wake:
        """Carry out the next act, to its end."""
        if not self._acts:
            return Wake(_LONG_SECONDS)
        client, act_id = self._acts.popleft()
        client.runs.bulk.apply(act_id)
        return Wake(0.0)
