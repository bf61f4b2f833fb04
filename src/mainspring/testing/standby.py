"""A primary and its synchronous standby: a failover on one machine, for tests.

Here: joining two throwaway servers, the URL that leads to whichever takes writes, and the failover. Not here: one server's
life (``postgres``), and when to fail over.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from mainspring.errors import StorageUnavailable
from mainspring.testing.postgres import POLL_SECONDS, START_SECONDS, PostgresServer

__all__ = ["PostgresPair"]


class PostgresPair:
    """A primary whose commits wait until its standby has them on disk; so what was acknowledged survives the primary.

    A context manager: both run in the block, and both are gone after it.
    """

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._servers = ExitStack()

    @property
    def url(self) -> str:
        """Connection URL that names both servers and goes to the one that takes writes."""
        there = urlsplit(self.primary.url)
        netloc = f"{there.netloc},127.0.0.1:{self.standby.port}"
        return urlunsplit(there._replace(netloc=netloc, query="target_session_attrs=read-write"))

    def __enter__(self) -> Self:
        with ExitStack() as servers:
            self.primary = servers.enter_context(PostgresServer(settings=self._settings))
            self.standby = servers.enter_context(PostgresServer(settings=self._settings, standby_of=self.primary))
            _make_synchronous(self.primary.url)
            self._servers = servers.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._servers.close()

    def kill_primary(self) -> None:
        """SIGKILL to the primary. It must not be started again: there would be two primaries."""
        self.primary.kill()

    def promote(self) -> None:
        """Make the standby the primary; it takes writes, and waits for nobody, when this returns."""
        if self.primary.pid is not None:
            raise StorageUnavailable("the primary still runs: promoting its standby would make two primaries; kill it first")
        self.standby.promote()


def _make_synchronous(url: str) -> None:
    """Have commits wait for the standby from now on. Set on the primary alone: the standby, once promoted, has none to wait for."""
    import psycopg  # an extra: whoever needs no PostgreSQL need not have it

    deadline = time.monotonic() + START_SECONDS
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        session.execute("SELECT pg_reload_conf()")
        while not session.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchall():
            if time.monotonic() > deadline:
                raise StorageUnavailable("the standby did not connect to its primary")
            time.sleep(POLL_SECONDS)
