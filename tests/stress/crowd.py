"""A crowd on one database: processes full of threads that all enqueue and all work, and a count that depends on none of them.

Every process keeps two logs of its own, written with one ``write`` a line: what its callers were told was accepted, and what
its tasks did. Afterwards the logs are compared: accepted but not done is lost; done more often than its run was interrupted
is twice. Here: the processes and the verdict. Not here: the command line (``__main__.py``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mainspring import App, Context
from mainspring.errors import MainspringError

ROOT = Path(__file__).resolve().parents[2]
_AHEAD = 2_000  # how many runs may wait before callers make a pause, so that the count is of a crowd and not of a backlog
_DRAIN_SECONDS = 300
_ACCEPTED_BYTES = len("00000000-0000-7000-8000-000000000000\n")
_DONE_BYTES = _ACCEPTED_BYTES + len(" 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What is to happen: everybody enqueues for ``seconds``; ``threads`` of a process are half callers and half places."""

    url: str
    folder: Path
    seconds: float
    processes: int = 4
    threads: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What did happen, from the logs."""

    accepted: int
    done: int
    lost: Sequence[str]
    twice: Sequence[str]
    unasked: Sequence[str]
    errors: Sequence[str]
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether each accepted run was done once and nobody was refused."""
        return self.accepted > 0 and not (self.lost or self.twice or self.unasked or self.errors)

    def table(self) -> str:
        """The figures, for people."""
        rows = [
            ("accepted", f"{self.accepted:,}"),
            ("done", f"{self.done:,}"),
            ("lost", f"{len(self.lost):,}"),
            ("twice", f"{len(self.twice):,}"),
            ("done unasked", f"{len(self.unasked):,}"),
            ("errors", f"{len(self.errors):,}" + "".join(f"\n    {error}" for error in sorted(set(self.errors))[:10])),
            ("seconds", f"{self.seconds:.1f}"),
            ("runs per second", f"{self.done / self.seconds:,.0f}"),
        ]
        return "\n".join(f"{name:16} {value}" for name, value in rows)


def crowd(plan: Crowd) -> Verdict:
    """Let the crowd loose and judge what it left behind."""
    with closing(App("stress", database=plan.url)) as app:
        app.migrate()
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.stress.crowd", plan.url, str(plan.folder), str(plan.seconds), str(plan.threads)]
    members = [
        subprocess.Popen([*command, str(number)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for number in range(plan.processes)
    ]
    errors = [
        f"process {place} ended with {m.returncode}: {said[-500:]}"
        for place, m in enumerate(members)
        if (said := m.communicate()[1]) is not None and m.returncode
    ]
    return judge(plan.folder, errors, time.monotonic() - began)


def judge(folder: Path, errors: Sequence[str], seconds: float) -> Verdict:
    """Compare what was accepted with what was done."""
    accepted = lines(folder, "accepted")
    done = Counter(line.split()[0] for line in lines(folder, "done"))
    refused = [*errors, *lines(folder, "errors")]
    known = set(accepted)
    return Verdict(
        accepted=len(known),
        done=sum(done.values()),
        lost=sorted(known - done.keys()),
        twice=sorted(run_id for run_id, count in done.items() if count > 1),
        unasked=sorted(done.keys() - known),
        errors=refused,
        seconds=seconds,
    )


def lines(folder: Path, kind: str) -> list[str]:
    """All lines of one kind of log, of all processes."""
    return [line for file in sorted(folder.glob(f"{kind}-*.log")) for line in file.read_text().splitlines()]


class Log:
    """A file that every thread may append lines to; a line is in the hands of the operating system when ``say`` returns."""

    def __init__(self, folder: Path, kind: str, number: int) -> None:
        self._file = os.open(folder / f"{kind}-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())


# -- one process -----------------------------------------------------------------------------------------------------------


class Member:
    """One process of the crowd."""

    def __init__(self, url: str, folder: Path, seconds: float, threads: int, number: int) -> None:
        self._app = App("stress", database=url)
        self._folder = folder
        self._seconds = seconds
        self._callers = max(1, threads // 2)
        self._places = max(1, threads - self._callers)
        self._number = number
        self._accepted, self._done, self._errors = (Log(folder, kind, number) for kind in ("accepted", "done", "errors"))
        done = self._done

        @self._app.task(name="stress.touch", executor="thread")
        def touch(ctx: Context, caller: int, place: int) -> int:
            done.say(f"{ctx.run_id} {ctx.token}")
            return caller * place

        self._touch = touch

    def run(self) -> None:
        """Enqueue and work for the time given, then work until nothing is left."""
        worker = self._app.worker(concurrency=self._places, poll="200ms")
        working = threading.Thread(target=self._guarded, args=(worker.run,))
        callers = [threading.Thread(target=self._guarded, args=(lambda n=n: self._call(n),)) for n in range(self._callers)]
        for thread in (working, *callers):
            thread.start()
        for thread in callers:
            thread.join()
        self._wait_until_all_is_done()
        worker.stop()
        working.join()
        self._app.close()

    def _call(self, caller: int) -> None:
        give_up_at = time.monotonic() + self._seconds
        place = 0
        while time.monotonic() < give_up_at:
            place += 1
            if place % 10 == 0:
                handles = self._touch.enqueue_many([(caller, place)] * 10)
            else:
                handles = [self._touch.enqueue(caller, place)]
            for handle in handles:
                self._accepted.say(handle.id)
            if place % 50 == 0:
                self._wait_while_crowded(give_up_at)

    def _wait_while_crowded(self, until: float) -> None:
        while self._waiting() > _AHEAD and time.monotonic() < until:
            time.sleep(0.05)

    def _waiting(self) -> int:
        """How many runs wait, from the lengths of the logs: asking the database would be a load of its own."""
        accepted, done = (sum(file.stat().st_size for file in self._folder.glob(f"{kind}-*.log")) for kind in ("accepted", "done"))
        return accepted // _ACCEPTED_BYTES - done // _DONE_BYTES

    def _wait_until_all_is_done(self) -> None:
        give_up_at = time.monotonic() + _DRAIN_SECONDS
        while time.monotonic() < give_up_at:
            if not (self._app.runs.counts().keys() - {"succeeded"}):
                return
            time.sleep(0.5)
        self._errors.say(f"not done after {_DRAIN_SECONDS} s: {self._app.runs.counts()}")

    def _guarded(self, act: object) -> None:
        try:
            act()  # type: ignore[operator]
        except MainspringError as error:
            self._errors.say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    url, folder, seconds, threads, number = sys.argv[1:]
    Member(url, Path(folder), float(seconds), int(threads), int(number)).run()
