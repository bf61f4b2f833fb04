"""Threads that share a commit, on a disk that fails: they share its fate too, each part's own mistake aside.

Here: ``together``, which puts calls into one commit, and ``Crowd``: rounds of it with a fault or a log for a power cut. Not here:
one caller and the whole life (``trials.py``).
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import apsw

from mainspring.errors import CommitUnknown, KeyConflict, StorageUnavailable, WorldTrouble
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock
from tests.disk.life import Life, opened
from tests.disk.platter import Acknowledged, Begun, Platter, Refused, Survivors
from tests.disk.states import Broken, healthy, shown
from tests.disk.vfs import Disk, Fault
from tests.support.builders import Fleet

ROUNDS = 6
CALLERS = 4
_RUNS = 12
_PATIENCE_SECONDS = 30
_BODY = b'["' + b"x" * 900 + b'"]'


def together(database: SqliteDatabase, *fns: Callable[[], Any]) -> list[Future[Any]]:
    """Call functions that write, each in a thread, so that they go into one commit, in this order."""
    with ThreadPoolExecutor(len(fns)) as threads:
        with database._writer_lock:
            futures = []
            for place, fn in enumerate(fns, start=1):
                futures.append(threads.submit(fn))
                wait_for(database, place)
        return futures


def wait_for(database: SqliteDatabase, waiting: int) -> None:
    """Return once so many writes wait. Nobody can say so by an event, for a write is queued before it asks for the lock."""
    never = threading.Event()
    for _ in range(_PATIENCE_SECONDS * 1000):
        if len(database._waiting) >= waiting:
            return
        never.wait(0.001)
    raise AssertionError(f"{len(database._waiting)} writes wait, not {waiting}")


class Crowd:
    """Rounds of calls in one commit. In each round the last caller makes a mistake of its own."""

    def __init__(self, folder: Path, fault: Fault | None = None) -> None:
        self.disk = Disk(fault)
        self.path = str(folder / "runs.db")
        self.told: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._clock = SimulatedClock()

    def run(self) -> None:
        """Do all rounds; what was not done when the fault struck is done again.

        Raises:
            Broken: somebody was told something that is not so.
        """
        with closing(self.disk), self._open() as database:
            fleet = Life.of(database, self._clock).fleet
            for number in range(ROUNDS):
                self._round(fleet, database, number)
            present = _present(self.path)
            if present != {call: _RUNS for call in range(ROUNDS * CALLERS) if not _is_mistaken(call)}:
                raise Broken(f"at the end there are {present}")
            healthy(self.path)
            invariants.check(database)

    @contextmanager
    def _open(self) -> Iterator[SqliteDatabase]:
        with self.disk.calm():
            database = opened(self.path, self._clock, self.disk.vfs)
            migrate(database, dialect_name="sqlite")
        try:
            yield database
        finally:
            with self.disk.calm():
                database.close()

    def _round(self, fleet: Fleet, database: SqliteDatabase, number: int) -> None:
        calls = range(number * CALLERS, (number + 1) * CALLERS)
        outcomes = self._call(fleet, database, calls)
        if len({told for call, told in outcomes.items() if not _is_mistaken(call)}) != 1:
            raise Broken(f"calls of one commit were told different things: {outcomes}")
        present = _present(self.path)
        for call, told in outcomes.items():
            found = present.get(call, 0)
            allowed = {"done": {_RUNS}, "unknown": {0, _RUNS}}.get(told, {0})
            if found not in allowed:
                raise Broken(f"call {call} was {told}, and {found} of its {_RUNS} runs are there")
        self.disk.repair()
        again = [call for call in calls if outcomes[call] in {"refused", "unknown"}]
        for call, told in self._call(fleet, database, again).items() if again else ():
            if told != ("mistaken" if _is_mistaken(call) else "done"):
                raise Broken(f"call {call} was {told} although the disk is well again")

    def _call(self, fleet: Fleet, database: SqliteDatabase, calls: Sequence[int]) -> dict[int, str]:
        for call in calls:
            self.disk.note(Begun(call))
        futures = together(database, *(_caller(fleet, call) for call in calls))
        outcomes = {call: _told(future) for call, future in zip(calls, futures, strict=True)}
        self.errors.update(shown(error, self.path) for future in futures if isinstance(error := future.exception(), WorldTrouble))
        for call, told in outcomes.items():
            self.told[told] += 1
            if told != "unknown":
                self.disk.note(Acknowledged(call) if told == "done" else Refused(call))
        return outcomes


def _caller(fleet: Fleet, call: int) -> Callable[[], Any]:
    """Enqueue runs that can be told from those of other calls; a mistaken call gives up after its last row."""
    new = [fleet.new(id=_run_id(call, number), body=_BODY) for number in range(_RUNS)]

    def fn(tx: Any) -> None:
        fleet.create(tx, new)
        if _is_mistaken(call):
            raise KeyConflict("planted")

    return lambda: fleet.database.write("runs.create", fn)


def _is_mistaken(call: int) -> bool:
    return call % CALLERS == CALLERS - 1


def _run_id(call: int, number: int) -> str:
    return f"01900000-0000-7000-8000-{call:06d}{number:06d}"


def _told(future: Future[Any]) -> str:
    """What a caller was told; anything but our own errors breaks the promise."""
    match future.exception():
        case None:
            return "done"
        case KeyConflict():
            return "mistaken"
        case CommitUnknown():
            return "unknown"
        case StorageUnavailable():
            return "refused"
        case other:
            raise Broken(f"a caller was told {other!r}") from other


def _present(path: str) -> dict[int, int]:
    """How many runs of each call there are."""
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        return Counter(int(str(run_id)[-12:-6]) for (run_id,) in connection.execute("SELECT id FROM runs"))


def outlive(folder: Path, platter: Platter, survivors: Survivors, dice: Random) -> None:
    """Cut the power: every call is whole or not there at all, and every acknowledged one is there."""
    folder.mkdir()
    platter.cut(folder, survivors, dice)
    with closing(opened(str(folder / "runs.db"), SimulatedClock())) as database:
        migrate(database, dialect_name="sqlite")
        healthy(database.path)
        invariants.check(database)
        present = _present(database.path)
    for call in range(ROUNDS * CALLERS):
        found = present.get(call, 0)
        if found not in {0, _RUNS} or (call in platter.acknowledged and not found) or (found and call not in platter.begun):
            raise Broken(f"{found} of the {_RUNS} runs of call {call} are there")
    shutil.rmtree(folder)
