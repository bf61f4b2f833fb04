"""Redis and NATS killed with SIGKILL in mid-drain: nothing is lost, the poll takes over, and hints come back.

Here: one small life for each server and database. Not here: how often it goes well (``python -m tests.transports``).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.brokers import Broker
from tests.transports.episode import live


@pytest.fixture(params=["redis", "nats"])
def broker(request: pytest.FixtureRequest) -> Broker:
    server: Broker = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database."""
    return f"sqlite:///{tmp_path / 'runs.db'}" if request.param == "sqlite" else request.getfixturevalue("fresh_postgres")


@pytest.mark.case("jobs", 16)
@pytest.mark.case("jobs", 48)
def test_a_server_killed_in_mid_drain_loses_nothing_and_its_hints_come_back(broker: Broker, url: str) -> None:
    figures = live(broker, url, runs=60, probes=3)
    assert figures.runs >= 60
