"""Facts about a database and its driver that only a person or ``doctor`` wants: versions, journal, integrity, clock.

Here: questions to one open database. Not here: what to think of the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a database is. ``behind_us`` is how far its clock is behind ours, in microseconds; None where it has none."""

    kind: str
    server: str
    driver: str
    journal: str | None
    behind_us: int | None


def facts(database: Any, now: int) -> Facts:
    """What ``database`` is; ``now`` is our clock."""
    if is_sqlite(database):
        ((library,),) = _ask(database, "SELECT sqlite_version()")
        ((journal,),) = _ask(database, "PRAGMA journal_mode")
        return Facts(kind="SQLite", server=library, driver=f"apsw {package('apsw')}", journal=journal, behind_us=None)
    ((server,),) = _ask(database, "SHOW server_version")
    theirs = database.read("clock.now", lambda tx: tx.now)
    return Facts(kind="PostgreSQL", server=server, driver=f"psycopg {package('psycopg')}", journal=None, behind_us=now - theirs)


def integrity(database: Any) -> list[str]:
    """What SQLite itself finds wrong with its file; nothing for PostgreSQL, which checks as it reads."""
    if not is_sqlite(database):
        return []
    return [row[0] for row in _ask(database, "PRAGMA integrity_check") if row[0] != "ok"]


def is_sqlite(database: Any) -> bool:
    """Whether this is the embedded database."""
    return hasattr(database, "exclusive")


def package(name: str) -> str:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _ask(database: Any, question: str) -> list[Any]:
    """A question without a name, on a reader's connection, so that nobody who writes has to wait."""
    answer: list[Any] = database.read("inspection", lambda tx: tx._connection.execute(question).fetchall())
    return answer
