"""How far planning had come, as a process remembers it: in memory, and beside an SQLite database in a file that outlives it.

The file is ``NAME.mark`` and no part of a backup: a database that is behind it was restored. Not here: what follows from that
(``core/restoring.py``).
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from mainspring.core.restoring import Mark, Memory
from mainspring.store.database import Database

log = logging.getLogger("mainspring")


class _Kept(msgspec.Struct):
    incarnation: str
    steps: int
    at: int
    left: tuple[str, ...] = ()


def remembered(database: Database, new_id: Callable[[], str]) -> Memory:
    """What is known of a database."""
    path = getattr(database, "path", None)
    if not isinstance(path, str) or not Path(path).is_file():
        return Memory(new_id)
    file = Path(f"{path}.mark")
    found = _read(file)

    def keep(mark: Mark, left: tuple[str, ...]) -> None:
        if mark.incarnation is not None:
            _write(file, _Kept(mark.incarnation, mark.steps, mark.at, left))

    if found is None:
        return Memory(new_id, keep=keep)
    return Memory(new_id, seen=Mark(found.incarnation, found.steps, found.at), left=found.left, keep=keep)


def _read(file: Path) -> _Kept | None:
    """None: there is none, or none that can be read, and then nothing is known."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(file.read_bytes(), type=_Kept)
    return None


def _write(file: Path, kept: _Kept) -> None:
    """In one go. A disk that refuses it stops no planning: the process itself still knows."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        part.write_bytes(msgspec.json.encode(kept))
        part.replace(file)
    except OSError as error:
        log.warning("%s cannot be written: %s", file, error)
