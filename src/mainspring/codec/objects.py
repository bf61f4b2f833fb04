"""``Objects``: blobs in an object store (S3, GCS, Azure, …). Needs the extra ``mainspring[object]``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mainspring.codec.blobs import Blob
from mainspring.errors import CapabilityUnsupported, StorageUnavailable

_PAGE = 1000


class Objects:
    """Blobs as objects of a store that ``obstore`` opened, below ``prefix``, which only one database may use::

    App("shop", blobs=Objects(obstore.store.from_url("s3://bucket"), prefix="shop/"))
    """

    def __init__(self, store: Any, *, prefix: str = "") -> None:
        try:
            import obstore
        except ImportError:
            raise CapabilityUnsupported("Objects needs the package obstore; install mainspring[object]") from None
        self._obstore = obstore
        self._store = store
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def __repr__(self) -> str:
        return f"Objects({self._store!r}, prefix={self._prefix!r})"

    def put(self, key: str, body: bytes) -> None:
        """See ``BlobStore.put``."""
        with _saying():
            self._obstore.put(self._store, self._prefix + key, body)

    def get(self, key: str) -> bytes:
        """See ``BlobStore.get``."""
        try:
            with _saying():
                return bytes(self._obstore.get(self._store, self._prefix + key).bytes())
        except FileNotFoundError:
            raise LookupError(key) from None

    def delete(self, keys: Sequence[str]) -> None:
        """See ``BlobStore.delete``."""
        for key in keys:
            try:
                with _saying():
                    self._obstore.delete(self._store, self._prefix + key)
            except FileNotFoundError:
                continue

    def list(self, *, after: str, most: int) -> Sequence[Blob]:
        """See ``BlobStore.list``."""
        offset = self._prefix + after if after else None
        found: list[Blob] = []
        with _saying():
            for page in self._obstore.list(self._store, self._prefix or None, offset=offset, chunk_size=min(most, _PAGE)):
                found += [Blob(meta["path"][len(self._prefix) :], int(meta["last_modified"].timestamp() * 1e6)) for meta in page]
                if len(found) >= most:
                    break
        return sorted(blob for blob in found if blob.key > after)[:most]


@contextmanager
def _saying() -> Iterator[None]:
    """Trouble of the store in our own words; what is not there is the caller's affair."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise StorageUnavailable(f"the blob store cannot be used: {error}") from error
