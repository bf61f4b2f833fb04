"""A PostgreSQL that a trial takes away for a while: killed and started again, or replaced by its standby.

Here: the ways to do it, and the record of it. Not here: when (``trial``), and what may follow (``checker``).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from mainspring.testing.postgres import PostgresServer
from mainspring.testing.standby import PostgresPair


class Outage(NamedTuple):
    """When the server was killed, when it was asked to come back, and when it took connections again. Instants of the ledger."""

    began_at: int
    called_at: int
    back_at: int


class Server(Protocol):
    """What a trial can take away."""

    def take_away(self) -> None:
        """SIGKILL."""

    def give_back(self) -> None:
        """Have the same data served again at the same URL; returns when it is."""


class Restarted:
    """One server: it recovers from its own disk."""

    def __init__(self, server: PostgresServer) -> None:
        self.take_away = server.kill
        self.give_back = server.start


class FailedOver:
    """A primary that stays dead, and its standby. Once."""

    def __init__(self, pair: PostgresPair) -> None:
        self.take_away = pair.kill_primary
        self.give_back = pair.promote
