"""Blob stores: where values go that are too large for a row. A folder here; object stores in ``objects``.

A key is ``RUN_ID/NAME``. A blob is written once, before the transaction whose row points to it, and never changed. Not here: what
a row holds instead (``keeping``), and which blobs nobody needs any more (``operations/blobs.py``).
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from mainspring.errors import InvalidOption, StorageUnavailable

_SHARD = 6  # characters of a run id that say when it was made, to about five hours: no folder gets too many entries


class Blob(NamedTuple):
    """A blob as its store lists it; ``written_at`` in UTC microseconds."""

    key: str
    written_at: int


@runtime_checkable
class BlobStore(Protocol):
    """Keeps large values. Called from any thread; every call may block."""

    def put(self, key: str, body: bytes) -> None:
        """Keep ``body``, durable when this returns: all of it or nothing. The same key comes with the same body.

        Raises:
            StorageUnavailable: it could not be kept.
        """

    def get(self, key: str) -> bytes:
        """What was kept.

        Raises:
            LookupError: there is none of that key. StorageUnavailable: it cannot be known.
        """

    def delete(self, keys: Sequence[str]) -> None:
        """Remove; keys that are not there are left alone."""

    def list(self, *, after: str, most: int) -> Sequence[Blob]:
        """Up to ``most`` blobs with keys greater than ``after``, in the order of their keys."""


class Directory:
    """Blobs as files below one folder, which only one database may use. Any file system that can rename will do."""

    def __init__(self, path: str | Path) -> None:
        if not str(path):
            raise InvalidOption("Directory needs the path of a folder", option="path")
        self._root = Path(path)

    def __repr__(self) -> str:
        return f"Directory({str(self._root)!r})"

    def put(self, key: str, body: bytes) -> None:
        """See ``BlobStore.put``: written beside its place, synced, and renamed."""
        file = self._file(key)
        try:
            with _saying("written to"):
                made = _make(file.parent)
                _write(file, body)
                for folder in (file.parent, *made):
                    _sync(folder)
        except FileNotFoundError as error:  # a sweep took the folder away between our making and our using it
            raise StorageUnavailable(f"the blob store cannot be written to: {error}") from error

    def get(self, key: str) -> bytes:
        """See ``BlobStore.get``."""
        try:
            with _saying("read"):
                return self._file(key).read_bytes()
        except FileNotFoundError:
            raise LookupError(key) from None

    def delete(self, keys: Sequence[str]) -> None:
        """See ``BlobStore.delete``; folders go with their last file."""
        with _saying("written to"):
            for key in keys:
                file = self._file(key)
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
                for folder in (file.parent, file.parent.parent):
                    with contextlib.suppress(OSError):  # others are in it, or somebody was faster
                        folder.rmdir()

    def list(self, *, after: str, most: int) -> Sequence[Blob]:
        """See ``BlobStore.list``."""
        found: list[Blob] = []
        with _saying("read"):
            for run_id, name, entry in self._walk(after):
                if (key := f"{run_id}/{name}") > after and not name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        found.append(Blob(key, entry.stat().st_mtime_ns // 1000))
                if len(found) == most:
                    break
        return found

    def _walk(self, after: str) -> Iterator[tuple[str, str, Path]]:
        run_id = after.partition("/")[0]
        for shard in _entries(self._root, run_id[:_SHARD]):
            for run in _entries(shard, run_id if shard.name == run_id[:_SHARD] else ""):
                for file in _entries(run, ""):
                    yield run.name, file.name, file

    def _file(self, key: str) -> Path:
        run_id, _, name = key.partition("/")
        if not name or "/" in name or ".." in key:
            raise InvalidOption(f"{key!r} is no key of a blob", option="key")
        return self._root / run_id[:_SHARD] / run_id / name


def _entries(folder: Path, first: str) -> list[Path]:
    """What is in a folder, from the name ``first`` on, in order."""
    try:
        return sorted(entry for entry in folder.iterdir() if entry.name >= first)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make(folder: Path) -> list[Path]:
    """Make a folder; the folders that must be synced, so that it is still there after a power cut."""
    missing = []
    at = folder
    while not at.exists():
        missing.append(at.parent)
        at = at.parent
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _write(file: Path, body: bytes) -> None:
    """All of it or nothing."""
    descriptor, aside = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with open(descriptor, "wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        Path(aside).replace(file)
    finally:
        Path(aside).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    """Trouble of the file system in our own words; what is not there is the caller's affair."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageUnavailable(f"the blob store cannot be {what}: {error}") from error


class Memory:
    """Blobs in this process, for tests."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def put(self, key: str, body: bytes) -> None:
        """See ``BlobStore.put``."""
        self._kept[key] = body

    def get(self, key: str) -> bytes:
        """See ``BlobStore.get``."""
        return self._kept[key]

    def delete(self, keys: Sequence[str]) -> None:
        """See ``BlobStore.delete``."""
        for key in keys:
            self._kept.pop(key, None)

    def list(self, *, after: str, most: int) -> Sequence[Blob]:
        """See ``BlobStore.list``; everything is as old as can be."""
        return [Blob(key, 0) for key in sorted(self._kept) if key > after][:most]
