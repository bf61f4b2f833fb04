"""From a URL to a database. Drivers are imported only when their database is asked for."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mainspring.errors import ConfigurationInvalid
from mainspring.store.migrate import current_version, migrate, require_current

if TYPE_CHECKING:
    from mainspring.store.postgres import PostgresDatabase
    from mainspring.store.sqlite import SqliteDatabase

EXAMPLES = 'write "sqlite:///path/to/file.db" or "postgresql://user@host/database"'


def open_database(url: str, *, clock: Callable[[], int]) -> "SqliteDatabase | PostgresDatabase":
    """Open a database by URL. A SQLite file is created and brought up to date; PostgreSQL is left as it is (see ``ready``).

    Raises:
        ConfigurationInvalid: the URL is of no kind we know, or its driver is not installed.
        StorageUnwritable, StorageUnavailable: it cannot be written or reached.
        SchemaNewer: it was migrated by a newer Mainspring.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from mainspring.store.sqlite import SqliteDatabase

        sqlite = SqliteDatabase(_sqlite_path(url), clock=clock)
        migrate(sqlite, dialect_name="sqlite")
        return sqlite
    if scheme in {"postgresql", "postgres"}:
        return _open_postgres(url)
    raise ConfigurationInvalid(f"{url!r} names no database this Mainspring knows; {EXAMPLES}")


def ready(database: "SqliteDatabase | PostgresDatabase") -> None:
    """Refuse a database whose schema is not this code's.

    Raises:
        SchemaOlder, SchemaNewer: and what to do about it.
    """
    require_current(database)


def migrate_database(database: "SqliteDatabase | PostgresDatabase") -> list[str]:
    """Apply what is pending; the names of the steps applied."""
    dialect_name = "postgres" if hasattr(database, "conninfo") else "sqlite"
    return [f"{step.version:04d} {step.name}" for step in migrate(database, dialect_name=dialect_name)]


def has_schema(database: "SqliteDatabase | PostgresDatabase") -> bool:
    """Whether any Mainspring made tables there."""
    return current_version(database) > 0


def _open_postgres(url: str) -> "PostgresDatabase":
    try:
        from mainspring.store.postgres import PostgresDatabase
    except ImportError as error:
        raise ConfigurationInvalid(
            f"PostgreSQL needs psycopg, which is not installed ({error}); run: pip install 'mainspring[postgres]'"
        ) from None
    return PostgresDatabase(url)


def _sqlite_path(url: str) -> str:
    _, _, path = url.partition("sqlite://")
    path = path.removeprefix("/")
    if path in {"", ":memory:"}:
        return ":memory:"
    return path
