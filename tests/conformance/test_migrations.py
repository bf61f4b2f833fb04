"""Bringing a database to the schema: once, twice, many at once; and refusing what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.client import Client
from mainspring.errors import SchemaNewer, SchemaOlder, StorageUnavailable
from mainspring.store.migrate import current_version, migrate, migrations, pending, require_current
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock
from tests.support.builders import AnyDatabase, Fleet, together

Open = Callable[[], AnyDatabase]
LATEST = migrations()[-1].version


@pytest.fixture(params=["sqlite", "postgres"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens connections of their own to one database that nobody has migrated."""
    opened: list[AnyDatabase] = []

    def open_one() -> AnyDatabase:
        if request.param == "sqlite":
            opened.append(SqliteDatabase(str(tmp_path / "bare.db"), clock=SimulatedClock()))
        else:
            opened.append(PostgresDatabase(request.getfixturevalue("fresh_postgres")))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


def dialect_of(database: AnyDatabase) -> str:
    return "sqlite" if isinstance(database, SqliteDatabase) else "postgres"


def test_a_bare_database_is_at_version_zero_and_refused(bare: Open) -> None:
    database = bare()
    assert current_version(database) == 0
    with pytest.raises(SchemaOlder) as refused:
        require_current(database)
    assert "mainspring db migrate" in str(refused.value)


def test_migrating_applies_every_step_and_the_second_time_none(bare: Open) -> None:
    database = bare()
    assert [step.version for step in migrate(database, dialect_name=dialect_of(database))] == [m.version for m in migrations()]
    assert migrate(database, dialect_name=dialect_of(database)) == []
    assert current_version(database) == LATEST
    require_current(database)


def test_many_who_migrate_at_once_apply_each_step_once(bare: Open) -> None:
    databases = [bare() for _ in range(4)]
    applied = together(*(lambda d=d: migrate(d, dialect_name=dialect_of(d)) for d in databases))
    assert sorted(step.version for steps in applied for step in steps) == [m.version for m in migrations()]
    assert {current_version(database) for database in databases} == {LATEST}


def test_a_database_from_the_future_is_refused_and_not_touched(bare: Open) -> None:
    database = bare()
    migrate(database, dialect_name=dialect_of(database))
    database.script(f"INSERT INTO schema_migrations (version, name, applied_at) VALUES ({LATEST + 1}, 'later', 0)")
    for refuse in (require_current, pending, lambda d: migrate(d, dialect_name=dialect_of(d))):
        with pytest.raises(SchemaNewer) as refused:
            refuse(database)
        assert refused.value.details == {"database": LATEST + 1, "code": LATEST}
    assert current_version(database) == LATEST + 1


def test_migrating_keeps_what_is_there(bare: Open) -> None:
    database = bare()
    migrate(database, dialect_name=dialect_of(database))
    fleet = Fleet(database=database, clock=SimulatedClock())
    run_id = fleet.enqueue()
    migrate(database, dialect_name=dialect_of(database))
    assert [claimed.id for claimed in fleet.claim()] == [run_id]


def test_a_step_that_fails_leaves_nothing_behind(bare: Open) -> None:
    database = bare()
    database.script("CREATE TABLE schema_migrations (version INTEGER NOT NULL PRIMARY KEY, name TEXT, applied_at BIGINT)")
    with pytest.raises(Exception, match=r"(?i)syntax|no such"):
        database.migrate_step(1, "CREATE TABLE half (id INTEGER); SELECT * FROM missing_table, ;")
    assert current_version(database) == 0
    migrate(database, dialect_name=dialect_of(database))
    assert current_version(database) == LATEST


def test_steps_are_numbered_from_one_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, LATEST + 1))


def test_a_closed_database_closes_twice_and_says_that_it_is_closed(bare: Open) -> None:
    with closing(bare()) as database:
        pass
    database.close()
    with pytest.raises(StorageUnavailable):
        database.write("test", lambda tx: tx.now)


def test_an_empty_database_is_given_its_schema_and_an_older_one_is_left_to_whoever_uses_it(bare: Open) -> None:
    database = bare()
    with closing(Client(database)) as client:
        assert len(client.make_schema()) == len(migrations())
        assert client.make_schema() == []
        newest = migrations()[-1].version
        database.script(f"DELETE FROM schema_migrations WHERE version = {newest}")
        assert client.make_schema() == []
        assert current_version(database) == newest - 1
