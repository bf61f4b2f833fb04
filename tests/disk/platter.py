"""What a disk holds when the power goes: the log of what was asked of it, and what may have become of it.

Here: the entries of a log, and ``Platter``, which follows a log and says what a cut leaves behind. A write is durable once its
file was synced; a name is durable once its folder was. What is not durable survives whole, in part or not at all, sector by
sector and in any order, as the dice say. A write that was not made changes nothing beside it ("powersafe overwrite", as SQLite
expects of a disk). Not here: how the log comes about (``vfs.py``), and when the power is cut (``cuts.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple, TypeAlias

Survivors = Literal["nothing", "everything", "pages", "sectors"]
#: What becomes of unsynced writes; the last two tear them, at 4096 or 512 bytes.
SURVIVORS: tuple[Survivors, ...] = ("nothing", "everything", "pages", "sectors")

_SECTOR = {"pages": 4096, "sectors": 512}
_CHANCES = (0.1, 0.5, 0.9)


class Created(NamedTuple):
    """A file got its name."""

    file: str


class Deleted(NamedTuple):
    """A file lost its name; ``synced``: for good."""

    file: str
    synced: bool


class Written(NamedTuple):
    """Bytes went to a file."""

    file: str
    offset: int
    data: bytes


class Truncated(NamedTuple):
    """A file got a size."""

    file: str
    size: int


class Synced(NamedTuple):
    """A file was made durable; with ``names``, so were all names of the folder."""

    file: str
    names: bool


class SyncLost(NamedTuple):
    """A sync failed, and took with it part of what it was to make durable: no later sync will try that again."""

    file: str
    seed: int


class Begun(NamedTuple):
    """Somebody asked for this to be made durable."""

    what: int


class Refused(NamedTuple):
    """Somebody was told that this was not done."""

    what: int


class Acknowledged(NamedTuple):
    """Somebody was told that this is durable."""

    what: int


Entry: TypeAlias = Created | Deleted | Written | Truncated | Synced | SyncLost | Begun | Refused | Acknowledged


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written | Truncated] = field(default_factory=list)

    def settle(self, survivors: Survivors, dice: Random) -> bytearray:
        """What the file holds if only these unsynced writes survive."""
        image = bytearray(self.durable)
        chance = {"nothing": 0.0, "everything": 1.0}.get(survivors) or dice.choice(_CHANCES)
        if survivors == "nothing":
            return image
        for change in self.pending:
            if isinstance(change, Truncated):
                if dice.random() < chance:
                    _resize(image, change.size)
                continue
            for offset, piece in _sectors(change, _SECTOR.get(survivors)):
                if dice.random() < chance:
                    _put(image, offset, piece)
        return image


class Platter:
    """What followed from a log. ``begun`` and ``acknowledged`` say who asked for what, and was told."""

    def __init__(self, log: Iterable[Entry] = ()) -> None:
        self._named: dict[str, _File] = {}
        self._named_for_good: dict[str, _File] = {}
        self.begun: set[int] = set()
        self.acknowledged: set[int] = set()
        for entry in log:
            self.follow(entry)

    def follow(self, entry: Entry) -> None:
        """Do what the entry says."""
        match entry:
            case Created(file):
                self._named[file] = _File()
            case Deleted(file, synced):
                self._named.pop(file, None)
                if synced:
                    self._named_for_good = dict(self._named)
            case Written(file) | Truncated(file):
                self._named[file].pending.append(entry)
            case Synced(file, names):
                self._sync(self._named[file], "everything", Random(0))
                if names:
                    self._named_for_good = dict(self._named)
            case SyncLost(file, seed):
                self._sync(self._named[file], "sectors", Random(seed))
            case Begun(what):
                self.begun.add(what)
            case Refused(what):
                self.begun.discard(what)
            case Acknowledged(what):
                self.acknowledged.add(what)

    def _sync(self, file: _File, survivors: Survivors, dice: Random) -> None:
        file.durable = file.settle(survivors, dice)
        file.pending.clear()

    def cut(self, folder: Path, survivors: Survivors, dice: Random) -> None:
        """Put into an empty folder what a power cut now would leave."""
        for name in sorted({*self._named, *self._named_for_good}):
            now, before = self._named.get(name), self._named_for_good.get(name)
            late = now if survivors == "everything" or (survivors != "nothing" and dice.random() < 0.5) else before
            if late is not None:
                (folder / name).write_bytes(late.settle(survivors, dice))


def _sectors(change: Written, size: int | None) -> list[tuple[int, bytes]]:
    """A write in pieces that end where the disk's sectors do."""
    if size is None:
        return [(change.offset, change.data)]
    end = change.offset + len(change.data)
    edges = [change.offset, *range((change.offset // size + 1) * size, end, size), end]
    return [(start, change.data[start - change.offset : stop - change.offset]) for start, stop in pairwise(edges)]


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset:
        _resize(image, offset)
    image[offset : offset + len(data)] = data


def _resize(image: bytearray, size: int) -> None:
    del image[size:]
    image.extend(bytes(size - len(image)))
