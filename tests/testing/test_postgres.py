"""The throwaway PostgreSQL: it survives a crash with its data, and leaves nothing behind however its maker ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from mainspring.errors import StorageUnavailable
from mainspring.testing.postgres import PostgresServer, find_postgres, fresh_database
from tests.support import services

MAKER = """
import sys
from mainspring.testing.postgres import PostgresServer
with PostgresServer() as server:
    print(server.pid, server.folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    try:
        find_postgres()
    except StorageUnavailable as missing:
        services.miss("postgres", missing.message)


def test_a_killed_server_starts_again_with_what_was_committed() -> None:
    with PostgresServer() as server, fresh_database(server.url) as url:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.kill()
        assert server.pid is None
        server.start()
        with psycopg.connect(url) as session:
            assert session.execute("SELECT answer FROM kept").fetchall() == [(42,)]


def test_the_server_syncs_and_answers_on_both_its_addresses() -> None:
    with PostgresServer() as server:
        for url in (server.url, server.socket_url):
            with psycopg.connect(url) as session:
                assert session.execute("SHOW fsync").fetchall() == [("on",)]
        folder = server.folder
    assert not folder.exists()


def test_a_killed_maker_leaves_neither_server_nor_data() -> None:
    maker = subprocess.Popen([sys.executable, "-c", MAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with maker:
        assert maker.stdout is not None
        pid, folder = maker.stdout.readline().split()
        server = psutil.Process(int(pid))
        watch = next(child for child in psutil.Process(maker.pid).children() if "watch()" in " ".join(child.cmdline()))
        maker.send_signal(signal.SIGKILL)
        watch.wait(30)
    assert not server.is_running()
    assert not Path(folder).exists()


def test_a_fresh_database_is_empty_and_goes_away_with_sessions_still_open(postgres_url: str) -> None:
    with fresh_database(postgres_url) as url:
        left_open = psycopg.connect(url)
        count = left_open.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert count == (0,)
    left_open.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
