"""Servers on both databases in the test's own process, and an App beside them that works.

Here: fixtures. Not here: how a server is asked (``inside``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainspring import App, Client, Fail
from mainspring.node import Node
from tests.web.inside import Inside


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, up to date, of each kind."""
    found = f"sqlite:///{tmp_path / 'runs.db'}" if request.param == "sqlite" else str(request.getfixturevalue("fresh_postgres"))
    return _migrated(found)


@pytest.fixture
def node(url: str) -> Iterator[Node]:
    with Node(url, upkeep=False) as opened:
        yield opened


@pytest.fixture
def server(node: Node) -> Iterator[Inside]:
    """A server on each database."""
    with Inside(node) as inside:
        yield inside


@pytest.fixture
def small_node(tmp_path: Path) -> Iterator[Node]:
    """A node on SQLite, where the database makes no difference."""
    with Node(_migrated(f"sqlite:///{tmp_path / 'small.db'}"), upkeep=False) as opened:
        yield opened


@pytest.fixture
def small(small_node: Node) -> Iterator[Inside]:
    """A server on SQLite."""
    with Inside(small_node) as inside:
        yield inside


@pytest.fixture
def shop(url: str) -> Iterator[App]:
    """An App on the database of ``server``: ``greet`` succeeds, ``lose`` fails for good."""
    app = App("shop", database=url)
    app.queue("mail", limit=3)

    @app.task(name="greet")
    def greet(who: str) -> str:
        return f"hello {who}"

    @app.task(name="lose", max_attempts=1)
    def lose() -> None:
        raise Fail("no_good", "it is no good")

    yield app
    app.close()


@pytest.fixture
def work(shop: App) -> Callable[[], None]:
    """Do all that is due."""

    def drain() -> None:
        shop.worker(poll="50ms", concurrency=2).run(until="drained")

    return drain


def _migrated(url: str) -> str:
    client = Client(url)
    client.migrate()
    client.close()
    return url
