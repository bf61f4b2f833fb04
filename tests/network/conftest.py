"""A server of our own for this folder's tests, for it is killed here; migrated databases on it, and a proxy before one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from mainspring.errors import StorageUnavailable
from mainspring.store import postgres
from mainspring.store.postgres import PostgresDatabase
from mainspring.testing.postgres import PostgresServer
from tests.conformance.conftest import empty
from tests.network.episode import Ground
from tests.support.proxy import Proxy
from tests.support.services import miss


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    try:
        server = PostgresServer()
    except StorageUnavailable as missing:
        miss("postgres", missing.message)
    with server:
        yield Ground(server)


@pytest.fixture(scope="session")
def sound(ground: Ground) -> Iterator[PostgresDatabase]:
    with ground.database("lines") as url, closing(PostgresDatabase(url)) as database:
        yield database


@pytest.fixture
def direct(sound: PostgresDatabase) -> PostgresDatabase:
    """A migrated, empty database, on a line that is always sound."""
    empty(sound.conninfo)
    return sound


@pytest.fixture
def proxy(direct: PostgresDatabase) -> Iterator[Proxy]:
    with Proxy(direct.conninfo) as between:
        yield between


@pytest.fixture
def far(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresDatabase]:
    """The same database behind the proxy, with little patience, and less for whoever holds locks: as it is in earnest."""
    monkeypatch.setitem(postgres._SETTINGS, "idle_in_transaction_session_timeout", "100ms")
    monkeypatch.setattr(postgres, "_POOL_LOOK_SECONDS", 0.2)
    with closing(PostgresDatabase(f"{proxy.url}&connect_timeout=2")) as database:
        database.answer_seconds = 0.4
        yield database
