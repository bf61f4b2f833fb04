"""Bringing a database to the schema this code was written for: numbered steps, applied in order, under a lock.

Steps are immutable once released. A database newer than the code is refused, so that an old worker cannot write what it does
not understand.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Protocol

from mainspring.errors import SchemaNewer, SchemaOlder
from mainspring.store import dialect
from mainspring.store.database import Database

_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version     INTEGER NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    applied_at  BIGINT NOT NULL
);
"""


class Migratable(Database, Protocol):
    """A database that can also run plain commands in one transaction under its migration lock."""

    def script(self, sql: str) -> None:
        """Run commands, all or none."""

    def migrate_step(self, version: int, sql: str) -> bool:
        """Run a step unless ``schema_migrations`` has it, asked and done under the migration lock. Whether it ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered step."""

    version: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Every step this code knows, in order."""
    folder = resources.files("mainspring.store") / "migrations"
    files = sorted(file.name for file in folder.iterdir() if re.fullmatch(r"\d{4}_\w+\.sql", file.name))
    return tuple(Migration(version=int(name[:4]), name=name[5:-4], sql=(folder / name).read_text()) for name in files)


def current_version(database: Migratable) -> int:
    """The version the database is at; 0 before the first step. Only looks."""
    if not database.read("schema.exists", lambda tx: tx.rows("schema.exists")):
        return 0
    row = database.read("schema.version", lambda tx: tx.one("schema.version"))
    return int(row[0]) if row else 0


def pending(database: Migratable) -> list[Migration]:
    """The steps a database still needs.

    Raises:
        SchemaNewer: the database has steps this code does not know.
    """
    version = current_version(database)
    latest = migrations()[-1].version
    if version > latest:
        raise SchemaNewer(
            f"the database is at schema version {version} and this Mainspring knows only {latest}; install a newer Mainspring",
            database=version,
            code=latest,
        )
    return [step for step in migrations() if step.version > version]


def migrate(database: Migratable, *, dialect_name: str) -> list[Migration]:
    """Apply what is pending and return it. Several processes may call at once: one applies, the others find nothing to do."""
    if not pending(database):
        return []
    database.script(_HISTORY)
    return [step for step in migrations() if database.migrate_step(step.version, _text(step, dialect_name))]


def require_current(database: Migratable) -> None:
    """Refuse a database that is not at this code's version.

    Raises:
        SchemaOlder: run ``mainspring db migrate``.
        SchemaNewer: install a newer Mainspring.
    """
    missing = pending(database)
    if missing:
        names = ", ".join(f"{step.version:04d} {step.name}" for step in missing)
        raise SchemaOlder(f"the database lacks {names}; run `mainspring db migrate`", missing=[s.version for s in missing])


def _text(step: Migration, dialect_name: str) -> str:
    recorded = f"INSERT INTO schema_migrations (version, name, applied_at) VALUES ({step.version}, '{step.name}', {{{{now}}}});"
    return dialect.spell(f"{step.sql}\n{recorded}\n", dialect_name)
