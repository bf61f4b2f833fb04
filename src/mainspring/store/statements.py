"""Reading ``.sql`` files: from text to named statements for one database. Nothing here knows a table or a driver.

A file holds statements of one noun. Each opens with comment lines::

    -- name: runs.get
    -- One run by its id.
    -- moves: queued -> running            only where the statement moves runs
    -- input batch: id uuid, token int     a list parameter used as a table: {{batch}}; may go on in a second such line
    -- columns: id text, body bytes        only where it answers rows; `bytes` may be NULL
    SELECT ...;

A statement may be a script of several commands, each ending in ``;`` at the end of a line; they run in order with the same
parameters, and the one that answers rows gives the answer. Parameters are written ``:name``; what the two databases spell
differently is a ``{{fragment}}`` of ``dialect.py``. A file under ``sql/postgres/`` or ``sql/sqlite/`` replaces the portable
statement of the same name there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from mainspring.core.states import State
from mainspring.errors import BrokenInvariant

_HEADER = re.compile(r"^-- (?P<key>name|moves|columns|input (?P<list>\w+)): (?P<value>.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One named statement as written, before a dialect spells it."""

    name: str
    sentence: str
    moves: frozenset[tuple[State | None, State]]
    columns: tuple[tuple[str, str], ...]
    inputs: Mapping[str, tuple[tuple[str, str], ...]]
    commands: tuple[str, ...]


def parse(text: str) -> Iterator[Statement]:
    """The statements of one file, in order."""
    for chunk in re.split(r"^(?=-- name: )", text, flags=re.MULTILINE)[1:]:
        yield _statement(chunk)


def _statement(chunk: str) -> Statement:
    headers: dict[str, list[str]] = {"name": [], "moves": [], "columns": []}
    inputs: dict[str, list[str]] = {}
    prose: list[str] = []
    body: list[str] = []
    for line in chunk.splitlines():
        header = _HEADER.match(line)
        if header and header["list"]:
            inputs.setdefault(header["list"], []).append(header["value"])
        elif header:
            headers[header["key"]].append(header["value"].strip())
        elif line.startswith("--"):
            prose.append(line.removeprefix("--").strip())
        else:
            body.append(line)
    commands = tuple(part.strip() for part in re.split(r";[ \t]*$", "\n".join(body), flags=re.MULTILINE) if part.strip())
    return Statement(
        name=headers["name"][0],
        sentence=" ".join(prose),
        moves=frozenset(move for line in headers["moves"] for move in _moves(line)),
        columns=tuple(_columns(", ".join(headers["columns"]))),
        inputs={name: tuple(_columns(", ".join(lines))) for name, lines in inputs.items()},
        commands=commands,
    )


def _moves(line: str) -> Iterator[tuple[State | None, State]]:
    """``running, cancelling -> failed`` is two moves; ``none`` is before the run existed."""
    origins, _, targets = line.partition("->")
    for origin in origins.split(","):
        for target in targets.split(","):
            name = origin.strip()
            yield (None if name == "none" else State(name), State(target.strip()))


def _columns(text: str) -> Iterator[tuple[str, str]]:
    for column in filter(None, (part.strip() for part in text.split(","))):
        name, _, kind = column.partition(" ")
        yield name, kind.strip()


@cache
def load(dialect: str) -> Mapping[str, Statement]:
    """Every statement as ``dialect`` runs it: the portable ones, replaced by its own where it has one."""
    root = resources.files("mainspring.store") / "sql"
    found: dict[str, Statement] = {}
    for file in _sql_files(root):
        for statement in parse(file.read_text()):
            if statement.name in found:
                raise BrokenInvariant(f"two statements named {statement.name}")
            found[statement.name] = statement
    for file in _sql_files(root / dialect):
        found |= {statement.name: statement for statement in parse(file.read_text())}
    return found


def _sql_files(folder: Traversable) -> list[Traversable]:
    if not folder.is_dir():
        return []
    return sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
