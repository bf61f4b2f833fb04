"""The servers of these tests: one Redis and one NATS for each process, started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.brokers import Broker
from tests.support.services import nats, redis


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Broker]:
    """A Redis of this process's own; whoever kills it starts it again."""
    with redis() as broker:
        yield broker


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Broker]:
    """A NATS of this process's own; whoever kills it starts it again."""
    with nats() as broker:
        yield broker
