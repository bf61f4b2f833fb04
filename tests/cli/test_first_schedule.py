"""The commands of ``docs/guides/first-schedule.md``, typed in order: real processes, SQLite, a kill -9.

Here: that a new user's walk goes as the page tells. Not here: what each command promises.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli.shell import Shell, wait_until
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs/guides/first-schedule.md"
NAMES = ("by-command", "by-file", "by-http")
DOWN_SECONDS = 8.0


@dataclass
class Reader:
    """Somebody who types what the page says, and looks before going on."""

    shell: Shell
    dev: subprocess.Popen[str] | None = None
    address: str = ""
    killed_at: float = 0.0
    when: str = ""
    told: list[str] = field(default_factory=list)

    def types(self, line: str) -> None:
        """One command of the page."""
        words = shlex.split(line.replace("http://127.0.0.1:8710", self.address).replace("$WHEN", self.when))
        if words[:2] == ["mainspring", "dev"]:
            self._start(words[1:-1])
        elif words[0] == "kill":
            self._kill()
        elif words[0] == "curl":
            subprocess.run(words, check=True, capture_output=True, timeout=30)
        elif words[0] == "mainspring":
            self._looks_first(words)
            answer = self.shell.run(*words[1:])
            assert answer.code == 0, (line, answer)
            self.told.append(answer.out)
        else:
            assert words[:2] == ["pip", "install"], line

    def seen(self, name: str, *more: str) -> list[dict[str, Any]]:
        """The occurrences of a schedule."""
        found: list[dict[str, Any]] = self.shell.json("schedule", "occurrences", name, *more)["data"]
        return found

    def missed(self) -> list[dict[str, Any]]:
        """What was due by the file while nobody was there."""
        after = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.killed_at + 1))
        return [each for each in self.seen("by-file", "--disposition", "skipped_misfire") if each["nominal_at"] > after]

    def _start(self, words: list[str]) -> None:
        self.dev = self.shell.start(*words, "--port", "0")
        assert self.dev.stderr is not None
        self.address = next(found.group() for line in self.dev.stderr if (found := re.search(r"http://[\d.]+:\d+", line)))

    def _kill(self) -> None:
        assert self.dev is not None
        self.dev.send_signal(signal.SIGKILL)
        self.dev.communicate(timeout=30)  # its pipes end with the last of its processes
        self.killed_at = time.time()
        wait_until(lambda: time.time() > self.killed_at + DOWN_SECONDS, "instants were due meanwhile")

    def _looks_first(self, words: list[str]) -> None:
        if "--disposition" in words:
            wait_until(self.missed, "what was missed is in the ledger")
            self.when = self.missed()[0]["nominal_at"]
        elif words[2] == "occurrences":
            wait_until(lambda: any(each["disposition"] == "fired" for each in self.seen(words[3])), f"{words[3]} has fired")


def test_a_new_user_makes_schedules_in_three_ways_kills_the_server_and_sees_what_was_missed(tmp_path: Path) -> None:
    shell = Shell(tmp_path, f"sqlite:///{tmp_path / 'mainspring.db'}")
    reader = Reader(shell)
    try:
        for block in blocks(PAGE):
            if named := re.match(r"# (\w+\.(?:py|yaml))\n", block.text):
                (tmp_path / named[1]).write_text(block.text)
            elif block.language == "console":
                for line in block.text.splitlines():
                    reader.types(line.removeprefix("$ "))
        missed = reader.missed()
        assert len(missed) >= DOWN_SECONDS / 2 - 2
        assert "skipped_misfire" in reader.told[-2]
        assert "misfire" in reader.told[-1]
        assert {name: any(each["disposition"] == "fired" for each in reader.seen(name)) for name in NAMES} == dict.fromkeys(
            NAMES, True
        )
    finally:
        for process in shell.started:
            process.terminate()
            process.communicate(timeout=60)
