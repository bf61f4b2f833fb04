"""``mainspring dev``: a worker that starts again when a file of the App's folder changes, with the HTTP API beside it; live counts
on a terminal."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import AppName, Flags, app_database, flags_of, load_app, module_folder
from mainspring.cli.worker import WORN_OUT, Concurrency, Queues
from mainspring.errors import WorldTrouble

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from mainspring.client import Client


_LOOK_SECONDS = 0.3
_STOP_SECONDS = 40.0
_MAINSPRING = (sys.executable, "-u", "-m", "mainspring.cli.tethered")


def dev(
    context: typer.Context,
    name: AppName,
    queue: Queues = None,
    concurrency: Concurrency = 16,
    port: Annotated[int, typer.Option("--port", help="The port of the HTTP API on this machine; 0 takes a free one.")] = 8710,
) -> None:
    """Run tasks while you write them: the worker starts again when a .py file beside the App changes. Ctrl-C ends it.

    It plans schedules too, and serves the HTTP API if mainspring[server] is installed. An empty database is given its schema;
    a PostgreSQL database that has an older one is left to `mainspring db migrate`, for others may use it.
    """
    app = load_app(context, name)
    folder, is_package = module_folder(name)
    command = _command(flags_of(context), name, queue, concurrency)
    from mainspring.client import Client

    with closing(Client(app_database(app), namespace=app.namespace)) as client:
        for step in client.make_schema():
            output.tell(f"applied {step}")
    app.client.workers()  # what is wrong with the database is said before anything starts
    output.tell(f"watching {folder}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _display() as display, _served(display, flags_of(context), app_database(app), port):
        try:
            _Supervisor(command, display).run(folder, is_package, app.client)
        except KeyboardInterrupt:
            output.tell("stopping")
    app.close()


@contextmanager
def _served(display: _Display, flags: Flags, database: str, port: int) -> Iterator[None]:
    """The HTTP API, in a process that imports no code of the user's, for as long as the block lasts."""
    if find_spec("litestar") is None or find_spec("uvicorn") is None:
        display.tell("no HTTP API: pip install 'mainspring[server]'")
        yield
        return
    given = [*_global_options(flags, database), "server", "--port", str(port), "--no-upkeep"]
    server = display.start([*_MAINSPRING, *given])
    try:
        yield
    finally:
        _end(server)


class _Supervisor:
    """Keeps one worker process going, in the newest version of its code."""

    def __init__(self, command: list[str], display: _Display) -> None:
        self._command = command
        self._display = display
        self._child: subprocess.Popen[str] | None = None

    def run(self, folder: Path, is_package: bool, client: Client) -> None:
        """Until interrupted."""
        seen = _changes(folder, is_package)
        self._start()
        try:
            while True:
                time.sleep(_LOOK_SECONDS)
                now = _changes(folder, is_package)
                if now != seen:
                    seen = now
                    self._display.tell("a file changed: starting again")
                    self._stop()
                    self._start()
                self._replace_if_worn_out()
                self._display.counts(client)
        finally:
            self._stop()

    def _start(self) -> None:
        self._child = self._display.start(self._command)

    def _replace_if_worn_out(self) -> None:
        if self._child is None or (code := self._child.poll()) is None:
            return
        self._child = None
        if code == WORN_OUT:
            self._start()
        else:
            self._display.tell(f"the worker ended with exit code {code}; it starts again when a file changes")

    def _stop(self) -> None:
        if self._child is not None:
            _end(self._child)
        self._child = None


def _end(child: subprocess.Popen[str]) -> None:
    """Ask a process to end, and see that it does."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()
            child.wait()


class _Display:
    """Where a worker's output goes: as it is, or above a line of live counts on a terminal."""

    def __init__(self, console: Console | None = None, line: Status | None = None) -> None:
        self._console = console
        self._line = line

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """A process whose output is shown. It is a group of its own, so that a Ctrl-C reaches it once, through us; and
        tethered by its standard input, so that it ends when we are killed."""
        if self._console is None:
            return subprocess.Popen(command, text=True, stdin=subprocess.PIPE, start_new_session=True)
        child = subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._copy, args=[child.stdout], daemon=True).start()
        return child

    def tell(self, text: str) -> None:
        """A line of our own."""
        if self._console is None:
            output.tell(text)
        else:
            self._console.print(text, style="dim", markup=False)

    def counts(self, client: Client) -> None:
        """How many runs are in each state, on the last line."""
        if self._line is None:
            return
        try:
            self._line.update(_counts_text(client.runs.counts()))
        except WorldTrouble as error:
            self._line.update(error.message)

    def _copy(self, lines: IO[str]) -> None:
        assert self._console is not None
        for line in lines:
            self._console.print(line.rstrip("\n"), markup=False, highlight=False)


@contextmanager
def _display() -> Iterator[_Display]:
    if not sys.stderr.isatty():
        yield _Display()
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as line:
        yield _Display(console, line)


def _counts_text(counts: Mapping[str, int]) -> str:
    from mainspring.core.states import State

    return "  ".join(f"{state} {counts[state]}" for state in State if counts.get(state)) or "no runs yet"


def _command(flags: Flags, name: str, queues: list[str] | None, concurrency: int) -> list[str]:
    options = _global_options(flags, flags.database)
    served = [part for queue in queues or [] for part in ("--queue", queue)]
    return [*_MAINSPRING, *options, "worker", name, *served, "--concurrency", str(concurrency), "--grace", "5s"]


def _global_options(flags: Flags, database: str | None) -> list[str]:
    given: list[Any] = [("--db", database), ("--namespace", flags.namespace), ("--log-level", flags.log_level)]
    return [part for option, value in given if value is not None for part in (option, value)]


def _changes(folder: Path, is_package: bool) -> dict[Path, int]:
    """When each file of the code was last changed."""
    files = folder.rglob("*.py") if is_package else folder.glob("*.py")
    return {file: changed for file in files if (changed := _changed_at(file)) is not None}


def _changed_at(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:  # an editor is replacing it
        return None
