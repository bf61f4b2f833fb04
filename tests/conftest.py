"""Fixtures of every test: the services, and the line at the end that says what could not be run.

Here: fixtures that several folders of tests use. Not here: how a service is found or started
(``tests/support/services.py``), and fixtures of one folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from mainspring.testing.postgres import fresh_database
from tests.support.services import Offer, miss, not_run, offered_postgres

# A time limit on an example would make a test of correctness a test of the machine.
settings.register_profile("mainspring", deadline=None, print_blob=True)
settings.load_profile("mainspring")

_SERVERS = pytest.StashKey[ExitStack]()
_POSTGRES = pytest.StashKey[Offer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--not-run", metavar="FILE", help="append to FILE what was skipped and why, a line a reason")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SERVERS] = ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_SERVERS].close()


def _start_postgres(config: pytest.Config) -> Offer:
    """Start the server of this run, once, owned by this process."""
    if _POSTGRES not in config.stash:
        config.stash[_POSTGRES] = config.stash[_SERVERS].enter_context(offered_postgres())
    return config.stash[_POSTGRES]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Parallel run: the controller owns the server, for it outlives each of its workers."""
    offer = _start_postgres(node.config)
    node.workerinput["postgres"] = (offer.url, offer.reason)


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """URL of the run's PostgreSQL server, shared by all tests; leave its database ``postgres`` as it is."""
    given = getattr(request.config, "workerinput", None)
    offer = _start_postgres(request.config) if given is None else Offer(url=given["postgres"][0], reason=given["postgres"][1])
    return offer.url or miss("postgres", offer.reason)


@pytest.fixture
def fresh_postgres(postgres_url: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database that belongs to this test alone."""
    with fresh_database(postgres_url) as url:
        yield url


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # the controller of a parallel run hears of every skip, and says it once
    lines = not_run([report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])])
    terminalreporter.write_line(f"could not be run: {'; '.join(lines) or 'nothing'}")
    if lines and (file := config.getoption("--not-run")):
        with Path(file).open("a") as out:
            out.writelines(f"{line}\n" for line in lines)
