"""SQLite's own disk access under real error numbers: what no VFS in Python can show, and that ours tells no tales.

Here: the system calls that write, replaced in SQLite's VFS for one file. Not here: everything that counts and repeats
(``campaign.py``), which goes by a VFS of our own and replaces SQLite's checkpoint after a commit by the same in Python.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from mainspring.errors import CommitUnknown, StorageUnavailable
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock
from tests.disk.states import healthy
from tests.support.builders import Fleet

_WRITE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, use_errno=True)


@contextmanager
def writes_failing(file: Path, number: int) -> Iterator[list[int]]:
    """Let SQLite's writes to one file fail with an error number; the list holds the offsets of those that did."""
    inode, struck = file.stat().st_ino, list[int]()
    vfs = apsw.VFS("system-calls", base="")
    names = [name for name in ("pwrite64", "pwrite") if _pointer(vfs, name)]
    assert names, "this SQLite writes by a system call that this test does not know"
    through = {name: _WRITE(_pointer(vfs, name)) for name in names}

    def instead(name: str) -> Any:
        def write(descriptor: int, data: int, size: int, offset: int) -> int:
            if _inode(descriptor) == inode:
                struck.append(offset)
                ctypes.set_errno(number)
                return -1
            return int(through[name](descriptor, data, size, offset))

        return _WRITE(write)

    ours = {name: instead(name) for name in names}
    for name, call in ours.items():
        vfs.xSetSystemCall(name, ctypes.cast(call, ctypes.c_void_p).value or 0)
    try:
        yield struck
    finally:
        for name in ours:
            vfs.xSetSystemCall(name, ctypes.cast(through[name], ctypes.c_void_p).value or 0)
        vfs.unregister()


def _pointer(vfs: apsw.VFS, name: str) -> int:
    return vfs.xGetSystemCall(name) or 0


def _inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    clock = SimulatedClock()
    with closing(SqliteDatabase(str(tmp_path / "runs.db"), clock=clock)) as database:
        migrate(database, dialect_name="sqlite")
        yield Fleet(database=database, clock=clock)
        healthy(database.path)
        invariants.check(database)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["broken", "full"])
def test_a_checkpoint_that_fails_fails_nobodys_commit_and_is_made_later(fleet: Fleet, tmp_path: Path, number: int) -> None:
    assert isinstance(fleet.database, SqliteDatabase)
    fleet.database._writer.wal_autocheckpoint(1)
    with writes_failing(tmp_path / "runs.db", number) as struck:
        accepted = [*fleet.enqueue_many(30), fleet.enqueue()]
    assert struck
    before = (tmp_path / "runs.db").stat().st_mtime_ns
    accepted.append(fleet.enqueue())
    assert (tmp_path / "runs.db").stat().st_mtime_ns > before
    with closing(SqliteDatabase(fleet.database.path, clock=SimulatedClock())) as another:
        assert len(another.read("test", lambda tx: tx.rows("views.states", ids=accepted))) == len(accepted)


@pytest.mark.parametrize(("number", "told"), [(errno.EIO, CommitUnknown), (errno.ENOSPC, StorageUnavailable)])
def test_a_commit_that_cannot_be_written_is_told_as_by_our_own_disk(
    fleet: Fleet, tmp_path: Path, number: int, told: type[Exception]
) -> None:
    first = fleet.enqueue()
    with writes_failing(tmp_path / "runs.db-wal", number) as struck, pytest.raises(told):
        fleet.enqueue()
    assert struck
    second = fleet.enqueue()
    assert fleet.sql("SELECT id FROM runs ORDER BY id") == [(first,), (second,)]
