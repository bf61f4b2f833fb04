"""The throwaway pair: what was committed is on the standby, and there are never two primaries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from mainspring.errors import StorageUnavailable
from mainspring.testing.postgres import find_postgres
from mainspring.testing.standby import PostgresPair
from tests.support import services


@pytest.fixture
def pair() -> Iterator[PostgresPair]:
    try:
        find_postgres()
    except StorageUnavailable as missing:
        services.miss("postgres", missing.message)
    with PostgresPair() as running:
        yield running


def test_what_the_primary_acknowledged_is_on_the_promoted_standby_and_one_url_leads_to_both(pair: PostgresPair) -> None:
    with psycopg.connect(pair.url, autocommit=True) as session:
        assert session.info.port == pair.primary.port
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    pair.kill_primary()
    pair.promote()
    with psycopg.connect(pair.url, autocommit=True) as session:
        assert session.info.port == pair.standby.port
        session.execute("INSERT INTO kept VALUES (43)")
        assert session.execute("SELECT answer FROM kept ORDER BY answer").fetchall() == [(42,), (43,)]


def test_a_commit_waits_for_the_standby(pair: PostgresPair) -> None:
    writer, looker = (psycopg.connect(pair.primary.url, autocommit=True) for _ in range(2))
    with closing(writer), closing(looker):
        pair.standby.kill()
        writer.pgconn.send_query(b"CREATE TABLE waiting ()")
        deadline = time.monotonic() + 20.0
        while not looker.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchall():
            assert time.monotonic() < deadline, "the commit did not wait for its standby"


def test_a_standby_is_not_promoted_beside_a_living_primary(pair: PostgresPair) -> None:
    with pytest.raises(StorageUnavailable, match="two primaries"):
        pair.promote()
    with psycopg.connect(pair.standby.url) as session, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        session.execute("CREATE TABLE refused ()")
