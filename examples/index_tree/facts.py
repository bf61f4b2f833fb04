"""What is known of a file, found twice: by ``look`` in pieces, as the runs do it, and by ``plain_walk``, which knows no runs.

The two share no code but the definition of a fact, so that one can stand against the other.
"""

import hashlib
import os
import stat
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from examples.index_tree.tree import Tree, as_name

VANISHED = "vanished"
UNREADABLE = "unreadable"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One file. ``compiles`` is None for what is no Python source; ``problem`` says why there is no ``sha256``."""

    name: str
    sha256: str | None = None
    size: int = 0
    lines: int = 0
    compiles: bool | None = None
    problem: str | None = None
    seconds: float = 0.0


class Fact(NamedTuple):
    """The part of a file's facts that does not depend on who looks."""

    name: str
    sha256: str | None
    size: int
    lines: int
    compiles: bool | None


def look(name: str, path: str) -> FileFacts:
    """Read one file, piece by piece. A file that is gone or cannot be read is a fact, not an error."""
    began = time.perf_counter()
    try:
        sha256, size, lines, source = _read(path)
    except FileNotFoundError:
        return FileFacts(name=name, problem=VANISHED)
    except OSError as error:
        return FileFacts(name=name, problem=f"{UNREADABLE}: {error.strerror or type(error).__name__}")
    compiles = None if source is None else _compiles(source)
    return FileFacts(name=name, sha256=sha256, size=size, lines=lines, compiles=compiles, seconds=time.perf_counter() - began)


def _read(path: str) -> tuple[str, int, int, bytes | None]:
    """Digest, size, lines, and the source if it is Python."""
    digest, size, lines, last = hashlib.sha256(), 0, 0, b"\n"
    kept: list[bytes] | None = [] if path.endswith(".py") else None
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
            lines += piece.count(b"\n")
            last = piece[-1:]
            if kept is not None:
                kept.append(piece)
    return digest.hexdigest(), size, lines + (last != b"\n"), None if kept is None else b"".join(kept)


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "<indexed>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False
    return True


# -- the same, found by somebody who knows nothing of runs ------------------------------------------------------------


def plain_walk(tree: Tree) -> list[Fact]:
    """Every file of the tree, in one loop, in this process."""
    found: list[Fact] = []
    with warnings.catch_warnings(action="ignore"):  # other people's sources may be written badly
        for folder, below, files in os.walk(tree.root):
            below[:] = [name for name in below if tree.enters(name, os.path.join(folder, name))]
            found += [fact for name in files if (fact := _plain_fact(tree.root, Path(folder, name)))]
    return sorted(found)


def _plain_fact(root: Path, path: Path) -> Fact | None:
    name = as_name(str(path.relative_to(root)))
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        return Fact(name, None, 0, 0, None)
    lines = len(data.split(b"\n")) - (data[-1:] in {b"", b"\n"})
    compiles = None
    if path.name.endswith(".py"):
        try:
            compiles = compile(data, str(root), "exec", dont_inherit=True) is not None
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            compiles = False
    return Fact(name, hashlib.sha256(data).hexdigest(), len(data), lines, compiles)


# -- comparing --------------------------------------------------------------------------------------------------------


def indexed(facts: Iterable[FileFacts]) -> list[Fact]:
    """What the runs found, in the form of the plain walk: a file that was gone is not there."""
    present = (each for each in facts if each.problem != VANISHED)
    return sorted(Fact(each.name, each.sha256, each.size, each.lines, each.compiles) for each in present)


def digest(facts: Iterable[Fact]) -> str:
    """One number for a whole tree: equal if and only if every name, content, count and verdict is."""
    whole = hashlib.sha256()
    for fact in sorted(facts):
        whole.update(repr(tuple(fact)).encode() + b"\n")
    return whole.hexdigest()


def differences(ours: Iterable[Fact], plain: Iterable[Fact]) -> list[str]:
    """What differs, a line a file."""
    mine, theirs = {fact.name: fact for fact in ours}, {fact.name: fact for fact in plain}
    return [
        f"{name}: runs say {mine.get(name)}, the plain walk says {theirs.get(name)}"
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    ]
