"""Blobs that nobody needs any more: finding and removing them. A blob is written before the transaction that points to it, so one
whose transaction failed stays behind, as do those of runs that were pruned."""

from typing import NamedTuple

from mainspring.codec import BlobStore
from mainspring.core.durations import DAY
from mainspring.operations.payloads import unneeded
from mainspring.store.database import Database

_PAGE = 500


class SweptBlobs(NamedTuple):
    """How many blobs were looked at and removed, and where the next call goes on; None at the end."""

    seen: int
    removed: int
    cursor: str | None


def sweep_blobs(
    database: Database, store: BlobStore, *, now: int, older_than_us: int = DAY, cursor: str | None = None, most: int = _PAGE
) -> SweptBlobs:
    """Look at up to ``most`` blobs, from ``cursor`` on, and remove those that nothing points to and that are older than that.

    The age is there for what is being written now. It must be longer than any transaction.

    Raises:
        StorageUnavailable: of the database or the blob store; what was removed was not needed.
    """
    page = store.list(after=cursor or "", most=most)
    old = [blob.key for blob in page if blob.written_at < now - older_than_us]
    gone: list[str] = database.read("blobs.unneeded", lambda tx: unneeded(tx, old)) if old else []
    if gone:
        store.delete(gone)
    return SweptBlobs(len(page), len(gone), page[-1].key if len(page) == most else None)
