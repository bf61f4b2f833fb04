"""Our four transports under the suite that users run against theirs.

Here: how each is made and taken down. Not here: what is demanded (``mainspring/testing/conformance``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from mainspring.store.migrate import migrate
from mainspring.store.postgres import PostgresDatabase
from mainspring.testing.conformance import TransportSuite
from mainspring.transports import LocalTransport, Transport
from mainspring.transports.database import ListenNotify
from mainspring.transports.nats import NatsTransport
from mainspring.transports.redis import RedisTransport
from tests.support.brokers import Broker
from tests.support.proxy import Proxy


class TestLocal(TransportSuite):
    @pytest.fixture(autouse=True)
    def _bus(self) -> None:
        self.bus = LocalTransport()

    def make(self) -> Transport:
        return self.bus


class OverBroker(TransportSuite):
    """A server that is killed with SIGKILL for an outage."""

    has_outages = True
    broker: Broker

    def take_down(self) -> None:
        self.broker.kill()

    def bring_back(self) -> None:
        self.broker.start()


class TestRedis(OverBroker):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server: Broker) -> None:
        self.broker = redis_server

    def make(self) -> Transport:
        return RedisTransport(self.broker.url)


class TestNats(OverBroker):
    @pytest.fixture(autouse=True)
    def _server(self, nats_server: Broker) -> None:
        self.broker = nats_server

    def make(self) -> Transport:
        return NatsTransport(self.broker.url)


class TestListenNotify(TransportSuite):
    has_outages = True

    @pytest.fixture(autouse=True)
    def _database(self, fresh_postgres: str) -> Iterator[None]:
        with Proxy(fresh_postgres) as self.proxy, closing(PostgresDatabase(self.proxy.url)) as self.database:
            self.database.answer_seconds = 1.0
            migrate(self.database, dialect_name="postgres")
            yield

    def make(self) -> Transport:
        return ListenNotify(self.database)

    def take_down(self) -> None:
        self.proxy.refuse()
        self.proxy.cut()

    def bring_back(self) -> None:
        self.proxy.heal()
