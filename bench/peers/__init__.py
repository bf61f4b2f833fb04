"""The other job systems that are measured beside us: which, how they are installed, how one measurement of one is run.

Each peer lives in a virtual environment of its own under `.bench/` and is driven by a script there that prints one line
of JSON.  Nothing of a peer is imported into this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".bench"
TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One system as its documentation recommends it for throughput, with durable settings unless the name says not."""

    name: str
    home: str
    driver: str
    database: str
    requirements: tuple[str, ...]
    keeps: str
    works: frozenset[str]
    environment: Mapping[str, str]

    @property
    def python(self) -> Path:
        return HOME / self.home / "bin" / "python"

    @property
    def installed(self) -> bool:
        return self.python.exists()


ALL_WORKS = frozenset({"drain", "drain_two", "enqueue_bulk", "enqueue_single", "start_latency"})
PEERS = (
    Peer(
        name="pgqueuer",
        home="pgqueuer",
        driver="bench.peers.drive_pgqueuer",
        database="postgres",
        requirements=("pgqueuer", "asyncpg", "uvloop"),
        keeps="a log row a status; the job row is deleted; no result",
        works=ALL_WORKS,
        environment={},
    ),
    Peer(
        name="procrastinate",
        home="procrastinate",
        driver="bench.peers.drive_procrastinate",
        database="postgres",
        requirements=("procrastinate", "psycopg[binary]", "psycopg-pool"),
        keeps="the job row and an event row a status; no result",
        works=ALL_WORKS - {"drain_two"},
        environment={},
    ),
    Peer(
        name="huey",
        home="huey",
        driver="bench.peers.drive_huey",
        database="sqlite",
        requirements=("huey",),
        keeps="nothing",
        works=ALL_WORKS - {"drain_two", "enqueue_bulk"},
        environment={"HUEY_FSYNC": "1"},
    ),
    Peer(
        name="huey, fsync off",
        home="huey",
        driver="bench.peers.drive_huey",
        database="sqlite",
        requirements=("huey",),
        keeps="nothing",
        works=ALL_WORKS - {"drain_two", "enqueue_bulk"},
        environment={"HUEY_FSYNC": "0"},
    ),
)


def install() -> None:
    """Makes the virtual environments, from PyPI.  Peers already there are brought up to date."""
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n")
    for peer in {peer.home: peer for peer in PEERS}.values():
        print(f"{peer.home}: {', '.join(peer.requirements)}", flush=True)
        venv.create(HOME / peer.home, with_pip=True)
        pip = [str(peer.python), "-m", "pip", "install", "-q", "--upgrade", "--disable-pip-version-check"]
        subprocess.run([*pip, *peer.requirements], check=True)


def version(peer: Peer) -> str:
    """The installed version of the peer's first requirement."""
    code = f"from importlib.metadata import version; print(version({peer.requirements[0]!r}))"
    return subprocess.run([str(peer.python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def measure(peer: Peer, work: str, url: str, count: int) -> float | tuple[float, float] | None:
    """One measurement in the peer's own Python; `None`, with the reason on stderr, when it failed or took too long."""
    command = [str(peer.python), "-m", peer.driver, work, url, str(count)]
    environment = {**os.environ, **peer.environment, "PYTHONPATH": str(ROOT)}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, env=environment, check=True)
    except subprocess.TimeoutExpired:
        print(f"{peer.name} {work}: stopped after {TIMEOUT_SECONDS} s", file=sys.stderr)
        return None
    except subprocess.CalledProcessError as error:
        print(f"{peer.name} {work}: {error.stderr.strip()[-2000:]}", file=sys.stderr)
        return None
    value = json.loads(ended.stdout.splitlines()[-1])["value"]
    return tuple(value) if isinstance(value, list) else float(value)
