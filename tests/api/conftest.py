"""Apps on both databases, closed at the end of each test; and a worker in the test's own process.

Here: ``new_app`` and ``drain``. Not here: what a worker does inside (``tests/runtime``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from mainspring import App
from mainspring.runtime.runner import Report


class NewApp(Protocol):
    """Makes an app on the database of the test; every app of one test shares it."""

    def __call__(self, name: str = "shop", **options: Any) -> App: ...


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "back_end" in metafunc.fixturenames:
        metafunc.parametrize("back_end", ["sqlite", "postgres"], scope="function")


@pytest.fixture
def url(request: pytest.FixtureRequest, back_end: str, tmp_path: Path) -> str:
    """URL of an empty database, up to date."""
    if back_end == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    url: str = request.getfixturevalue("fresh_postgres")
    app = App("migration", database=url)
    app.migrate()
    app.close()
    return url


@pytest.fixture
def new_app(url: str) -> Iterator[NewApp]:
    made: list[App] = []

    def new(name: str = "shop", **options: Any) -> App:
        made.append(App(name, **({"database": url} | options)))
        return made[-1]

    yield new
    for app in made:
        app.close()


@pytest.fixture
def app(new_app: NewApp) -> App:
    """An app on the database of the test."""
    return new_app()


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[App]:
    """An app for declaring tasks; its database is never opened."""
    app = App("idle", database=f"sqlite:///{tmp_path / 'never.db'}")
    yield app
    assert not (tmp_path / "never.db").exists()
    app.close()


Drain = Callable[[App], Report]


@pytest.fixture
def drain() -> Drain:
    """Do all that is due, here and now."""
    return lambda app: app.worker(poll="50ms", concurrency=4).run(until="drained")
