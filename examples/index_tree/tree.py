"""The files of a folder: which belong to it, and the names under which they travel through JSON. Nothing here opens a file."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HEX = "hex:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A folder to index. Regular files count; links are not followed, and folders named in ``skip`` are left out.

    ``apart`` is a folder that is never entered wherever it lies: the one that holds the index itself.
    """

    root: Path
    skip: frozenset[str] = frozenset()
    apart: Path | None = None

    def enters(self, name: str, path: str) -> bool:
        """Whether a folder found on the way belongs to the tree."""
        return name not in self.skip and (self.apart is None or Path(path) != self.apart)


@dataclass(slots=True, kw_only=True)
class Listing:
    """What a look at the tree found: sorted names of files, and how much was left out."""

    names: list[str] = field(default_factory=list)
    left_out: int = 0
    closed: int = 0


def list_files(tree: Tree) -> Listing:
    """The names of all files of the tree, in order. Links, special files and folders that cannot be read are counted."""
    found = Listing()
    for entry in _entries(tree, found):
        if entry.is_file(follow_symlinks=False):
            found.names.append(as_name(os.path.relpath(entry.path, tree.root)))
        else:
            found.left_out += 1
    found.names.sort()
    return found


def _entries(tree: Tree, found: Listing) -> Iterator[os.DirEntry[str]]:
    """Everything in the tree that is no folder."""
    folders = [str(tree.root)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            found.closed += 1
            continue
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif tree.enters(entry.name, entry.path):
                folders.append(entry.path)


def as_name(path: str) -> str:
    """A path as text that every database and JSON can hold; ``as_path`` undoes it.

    File names are bytes. Those that are not UTF-8 are written in hexadecimal, and so is a name that looks as if it were.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return HEX + os.fsencode(path).hex()
    return HEX + os.fsencode(path).hex() if path.startswith(HEX) else path


def as_path(name: str) -> str:
    """The path that ``as_name`` was given."""
    return os.fsdecode(bytes.fromhex(name.removeprefix(HEX))) if name.startswith(HEX) else name
