"""Three schedules beside each other, a machine that goes down for a third of the time, and what the ledger says afterwards.

    python -m examples.above_cron [--seconds 60] [--home .demo-schedules]

A program backs up the database, a request asks the server for its own health, and a Python task reports. Server and worker are
killed with -9 after a third of the time and started again after another. Exit codes: 0 every instant has one fate, 1 not so, 2 bad
usage.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.above_cron.machine import tell_machine
from mainspring import Client, every, http, shell
from mainspring.core.durations import SECOND, format_instant

ROOT = Path(__file__).parents[2]
SPANS = {"backup": 10, "health": 4, "report": 6}
_MARK = ".gitignore"


def main() -> int:
    """Run it; the exit code."""
    console = Console(highlight=False)
    seconds, home = _arguments()
    tell_machine(console)
    port, database = _free_port(), home / "schedules.db"
    environment = os.environ | {
        "MAINSPRING_DATABASE": f"sqlite:///{database}", "MAINSPRING_HTTP_ALLOW": f"127.0.0.1:{port}",
        "MAINSPRING_SHELL_ENABLED": "true", "MAINSPRING_SHELL_ALLOW": sys.executable,
    }  # fmt: skip
    os.environ.update(environment)
    with closing(Client(environment["MAINSPRING_DATABASE"])) as client:
        client.migrate()
        with _processes(home, port):
            _put(client, database, home, port)
            began_at = time.monotonic()
            console.print(f"three schedules, a server and a worker; for {seconds} seconds")
            time.sleep(seconds / 3)
        console.print("both were killed with -9; nobody is there now")
        time.sleep(seconds / 3)
        with _processes(home, port):
            console.print("both are back")
            time.sleep(seconds / 3)
        return _tell(client, console, time.monotonic() - began_at)


def _put(client: Client, database: Path, home: Path, port: int) -> None:
    soon: dict[str, Any] = {"misfire": {"policy": "run_once_if_late", "grace": "1s"}, "timeout": "30s"}
    program = [sys.executable, "-m", "examples.above_cron.backup", str(database), str(home / "backup.db")]
    client.schedules.put("backup", _every("backup"), shell(program, cwd=str(ROOT)), **soon)
    client.schedules.put("health", _every("health"), http("GET", f"http://127.0.0.1:{port}/healthz"), **soon)
    client.schedules.put("report", _every("report"), "report", **soon)


def _every(name: str) -> Any:
    return every(f"{SPANS[name]}s")


@contextmanager
def _processes(home: Path, port: int) -> Iterator[None]:
    """The server and a worker; killed with -9 at the end of the block."""
    with (home / "log").open("ab") as log:
        told: dict[str, Any] = {"cwd": ROOT, "stdout": log, "stdin": subprocess.DEVNULL}
        mainspring = [sys.executable, "-m", "mainspring"]
        server = subprocess.Popen([*mainspring, "server", "--port", str(port)], stderr=subprocess.PIPE, text=True, **told)
        worker = subprocess.Popen([*mainspring, "worker", "examples.above_cron.tasks:app", "--lease", "3s"], stderr=log, **told)
        try:
            assert server.stderr is not None
            assert any(re.search(r"http://[\d.]+:\d+", line) for line in server.stderr), "the server did not start"
            yield
        finally:
            for process in (server, worker):
                process.send_signal(signal.SIGKILL)
                process.communicate()


def _tell(client: Client, console: Console, elapsed: float) -> int:
    """The ledger of each schedule; whether it knows of every instant."""
    table = Table("schedule", "every", "fates", "last ones, newest first")
    is_whole = True
    for name, span in SPANS.items():
        seen = client.schedules.occurrences(name, limit=500).data
        fates = Counter(each.disposition.value for each in seen)
        nominals = sorted(each.nominal_at for each in seen)
        is_even = all(later - sooner == span * SECOND for sooner, later in pairwise(nominals))
        is_whole &= is_even and fates["fired"] > 0 and len(seen) >= elapsed / span - 2
        last = "\n".join(f"{format_instant(each.nominal_at)} {each.disposition.value}" for each in seen[:3])
        table.add_row(name, f"{span} s", ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items())), last)
    console.print(table)
    for name in ("backup", "health"):
        done = [each for each in client.schedules.occurrences(name).data if client.runs.receipts(each.run_id)]
        if done:
            console.print(f"what the last {name} left: {client.runs.receipt(done[0].run_id, 0).text.strip()[:100]}", markup=False)
        is_whole &= bool(done)
    console.print("every instant has one fate" if is_whole else "SOMETHING IS MISSING")
    return 0 if is_whole else 1


# -- arguments --------------------------------------------------------------------------------------------------------


def _arguments() -> tuple[float, Path]:
    parser = argparse.ArgumentParser(prog="python -m examples.above_cron", description="Three schedules through a crash.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--home", type=Path, default=Path(".demo-schedules"), help="where it keeps its files")
    given = parser.parse_args()
    if not 20 <= given.seconds <= 3_600:
        parser.error("--seconds must be from 20 to 3600")
    home = given.home.resolve()
    if home.exists():
        if any(home.iterdir()) and not (home / _MARK).is_file():
            parser.error(f"{home} is not empty and was not made by this demo; name another folder")
        shutil.rmtree(home)
    home.mkdir(parents=True)
    (home / _MARK).write_text("*\n")
    return given.seconds, home


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
