"""The service that removes blobs nobody needs any more, a page at a time. Not here: which those are (``client/blobs.py``)."""

from mainspring.client import Client
from mainspring.runtime.service import Wake

_EVERY_SECONDS = 6 * 3600.0  # a blob is left alone for a day, so there is no hurry
_BETWEEN_PAGES_SECONDS = 1.0


class Sweeping:
    """The service. Any number of workers may run it: removing twice is removing."""

    name = "blobs"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cursor: str | None = None

    def step(self) -> Wake:
        """One page."""
        self._cursor = self._client.sweep_blobs(cursor=self._cursor).cursor
        return Wake(_EVERY_SECONDS if self._cursor is None else _BETWEEN_PAGES_SECONDS)
