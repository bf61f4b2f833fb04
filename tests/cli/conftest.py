"""A folder with an App, a database of either kind, and the command ``mainspring`` to run there."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring import App
from tests.cli.shell import SHOP, Shell


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with ``shop.py``."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture(params=["sqlite", "postgres"])
def shell(request: pytest.FixtureRequest, shop: Path) -> Iterator[Shell]:
    """The command, on each database, migrated."""
    url = "sqlite:///shop.db" if request.param == "sqlite" else request.getfixturevalue("fresh_postgres")
    yield from _opened(Shell(shop, _absolute(url, shop)))


@pytest.fixture(params=["sqlite", "postgres"])
def on_empty(request: pytest.FixtureRequest, shop: Path) -> Iterator[Shell]:
    """The command, on each database, in which nothing is yet."""
    url = "sqlite:///shop.db" if request.param == "sqlite" else request.getfixturevalue("fresh_postgres")
    yield from _opened(Shell(shop, _absolute(url, shop)), migrated=False)


@pytest.fixture
def on_sqlite(shop: Path) -> Iterator[Shell]:
    """The command, on SQLite, where the database makes no difference."""
    yield from _opened(Shell(shop, _absolute("sqlite:///shop.db", shop)))


def _opened(shell: Shell, *, migrated: bool = True) -> Iterator[Shell]:
    if migrated:
        App("shop", database=shell.url).migrate()
    yield shell
    for process in shell.started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()


def _absolute(url: str, folder: Path) -> str:
    return url.replace("sqlite:///", f"sqlite:///{folder}/")
