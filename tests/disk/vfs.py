"""The disk under test: an apsw VFS over SQLite's own that keeps a log, and fails where its fault says.

Here: ``Disk`` and its faults. Reads, locks and shared memory go to real files, so that several connections and other processes
see one database; a sync only goes into the log, for a file in the page cache outlives every test. Not here: what a power cut
leaves (``platter.py``).

One thing differs from a disk that fails below SQLite: SQLite forgives a checkpoint that fails at the end of a commit, but apsw
raises whatever a VFS in Python raised, so here such a commit seems to fail although it is done. ``test_checkpoints.py`` has the
real thing.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import apsw

from tests.disk.platter import Created, Deleted, Entry, Synced, SyncLost, Truncated, Written

Kind = Literal["write", "short", "read", "sync", "lost-sync", "full", "in-place", "gone"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Operation = Literal["write", "read", "sync"]

_names = (f"faulty-disk-{number}" for number in itertools.count(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Strike at the ``nth`` operation (from 1) of its sort.

    ``write`` writes nothing, ``short`` writes the first half; ``read`` and ``sync`` fail; ``lost-sync`` fails and loses part of
    what it was to make durable. These strike once. From ``full`` on there is no space for any write, from ``in-place`` on none
    for a file to grow, from ``gone`` on nothing works at all; these last until ``Disk.repair``.
    """

    kind: Kind
    nth: int

    @property
    def lasts(self) -> bool:
        """Whether somebody must repair it."""
        return self.kind in {"full", "in-place", "gone"}

    @property
    def counts(self) -> Operation | None:
        """What is counted; None: every operation."""
        match self.kind:
            case "gone":
                return None
            case "read":
                return "read"
            case "sync" | "lost-sync":
                return "sync"
            case _:
                return "write"

    def __str__(self) -> str:
        return f"{self.kind}:{self.nth}"


class Disk:
    """One disk; the files on it are those of connections opened with its ``vfs``."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.log: list[Entry] = []
        self.counts: Counter[str] = Counter()
        self.struck = False
        self.struck_at = 0  # the length of the log then
        self._broken = False
        self._calm = False
        self._lock = threading.RLock()
        self.vfs = next(_names)
        self._registered = _Vfs(self, self.vfs)

    def close(self) -> None:
        """Forget the name of the VFS."""
        self._registered.unregister()

    def plant(self, fault: Fault) -> None:
        """Count from here, and strike there."""
        self.fault, self.struck = fault, False
        self.counts.clear()

    def repair(self) -> None:
        """End a fault that lasts."""
        self._broken = False

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Neither fail nor count meanwhile: somebody else is looking. The log goes on."""
        before, self._calm = self._calm, True
        try:
            yield
        finally:
            self._calm = before

    def operations(self) -> dict[str, int]:
        """How often it was asked for what, and in all."""
        return {"every": self.counts.total(), **dict(self.counts.items())}

    def write(self, file: _File, data: bytes, offset: int) -> None:
        """Write through, and into the log: all of it, or what the fault lets pass."""
        with self._lock:
            fault = self._due("write")
            match fault:
                case "write" | "gone":
                    passes = 0
                case "short" | "full":
                    passes = len(data) // 2
                case "in-place":
                    passes = max(0, min(len(data), file.xFileSize() - offset))
                case _:
                    passes = len(data)
            if passes:
                file.through(data[:passes], offset)
                self.log.append(Written(file.name, offset, data[:passes]))
            if passes < len(data):
                raise failure(apsw.SQLITE_FULL if fault in {"full", "in-place"} else apsw.SQLITE_IOERR_WRITE)

    def read(self) -> None:
        """Let a read pass, or not."""
        with self._lock:
            if self._due("read") in {"read", "gone"}:
                raise failure(apsw.SQLITE_IOERR_READ)

    def sync(self, file: _File, names: bool) -> None:
        """Sync, in the log only."""
        with self._lock:
            fault = self._due("sync")
            if fault == "lost-sync":
                self.log.append(SyncLost(file.name, len(self.log)))
            if fault in {"sync", "lost-sync", "gone"}:
                raise failure(apsw.SQLITE_IOERR_FSYNC)
            self.log.append(Synced(file.name, names))

    def note(self, entry: Entry) -> None:
        """Add to the log what cannot fail here."""
        with self._lock:
            self.log.append(entry)

    def _due(self, operation: Operation) -> Kind | None:
        """The kind of the fault that this operation meets."""
        if self._calm:
            return None
        self.counts[operation] += 1
        if self.fault is None:
            return None
        if self._broken:
            return self.fault.kind
        counted = self.fault.counts
        if counted not in {None, operation}:
            return None
        if (self.counts[counted] if counted else self.counts.total()) != self.fault.nth:
            return None
        self.struck, self.struck_at = True, len(self.log)
        self._broken = self.fault.lasts
        return self.fault.kind


def failure(code: int) -> Exception:
    """What SQLite is told."""
    error: Exception = apsw.exception_for(code)
    error.args = ("database or disk is full" if code == apsw.SQLITE_FULL else "disk I/O error",)
    return error


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__(name, base="")
        self._disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        is_new = path is not None and not Path(path).exists()
        file = _File(self._disk, name, flags, Path(path or "nameless").name)
        if is_new:
            self._disk.note(Created(file.name))
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._disk.note(Deleted(Path(filename).name, bool(syncdir)))


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int], known_as: str) -> None:
        super().__init__("", name, flags)
        self.name = known_as
        self._disk = disk
        # The first sync of a journal or WAL syncs its folder as well.
        self._syncs_names = bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))

    def through(self, data: bytes, offset: int) -> None:
        """Write to the real file."""
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.read()
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._disk.write(self, bytes(data), offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._disk.note(Truncated(self.name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.sync(self, self._syncs_names)
        self._syncs_names = False
