"""The command ``mainspring`` in a folder with an App: started as a person or a script starts it.

Here: starting commands and waiting for what they cause. Not here: what is expected of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainspring import Client

SHOP = """
import threading
import time
from pathlib import Path

from mainspring import App, Context, Fail

app = App("shop")
mail = app.queue("mail", limit=3)
not_an_app = 7


@app.task(name="greet")
def greet(who: str, times: int = 1) -> str:
    return ("hello " + who + " ") * times


@app.task(name="give_up", max_attempts=1)
def give_up() -> None:
    raise Fail("no_good", "it is no good")


@app.task(name="lose", max_attempts=1)
def lose() -> None:
    raise KeyError("nothing")


@app.task(name="wait_for", timeout="1m")
def wait_for(ctx: Context, file: str) -> str:
    Path(file + ".begun").touch()
    while not Path(file).exists():
        if ctx.is_cancelled:
            return "stopped"
        ctx.progress(1, 2, "waiting")
        time.sleep(0.01)
    return "seen"


@app.task(name="deaf", timeout="1m")
def deaf(file: str) -> None:
    Path(file + ".begun").touch()
    threading.Event().wait(60)
"""

PATIENCE_SECONDS = 30.0


@dataclass
class Shell:
    """The folder, the database, and the command."""

    folder: Path
    url: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(
        self, *arguments: str, url: str | None = "", stdin: str | None = None, tasks_raise: bool = False, **environment: str
    ) -> Answer:
        """Run a command to its end. ``url=None``: with no database named. ``tasks_raise``: its log may hold their tracebacks."""
        done = subprocess.run(
            [sys.executable, "-m", "mainspring", *arguments],
            cwd=self.folder,
            env=self._environment(url, environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
        )
        assert tasks_raise or "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        """What a read answers with ``--json``."""
        answer = self.run(*arguments, "--json")
        assert answer.code == 0, answer.err
        return json.loads(answer.out)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on; it is ended with the test."""
        process = subprocess.Popen(
            [sys.executable, "-m", "mainspring", *arguments],
            cwd=self.folder,
            env=self._environment("", {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def enqueue(self, task: str, **arguments: Any) -> str:
        """The id of a new run, made without the command."""
        with closing(self.client()) as client:
            return client.enqueue(task, **arguments).id

    def drain(self) -> None:
        """Run what is due."""
        assert self.run("worker", "shop:app", "--drain").code == 0

    def client(self) -> Client:
        """A client of the database, for the test to close."""
        return Client(self.url)

    def _environment(self, url: str | None, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAINSPRING_")}
        named = self.url if url == "" else url
        return kept | ({"MAINSPRING_DATABASE": named} if named else {}) | {"PYTHONUNBUFFERED": "1"} | more


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def wait_until(is_so: Callable[[], Any], what: str) -> None:
    """Look until it is so, at most half a minute."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < give_up_at, f"not within {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.02)
