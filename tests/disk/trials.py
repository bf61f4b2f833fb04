"""A life on a disk that fails once, or for a while: what was told to callers must be what the database holds.

Here: ``Trial``, which lives the life until the fault strikes, looks at everything, and lives it to its end. Not here: power
cuts (``cuts.py``), and threads that share a commit (``crowd.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from mainspring.errors import CommitUnknown, MainspringError, StorageUnavailable, StorageUnwritable
from mainspring.store.migrate import pending
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock
from tests.disk.life import STEPS, Life, Open, opened
from tests.disk.platter import Acknowledged, Begun, Refused
from tests.disk.states import Broken, Course, State, differences, healthy, shown, state
from tests.disk.vfs import Disk, Fault

Told = Literal["done", "refused", "unknown"]


class Trial:
    """One life and one fault."""

    def __init__(self, folder: Path, course: Course, fault: Fault, open_database: Open = opened) -> None:
        self.course = course
        self._opened = open_database
        self.disk = Disk(fault)
        self.clock = SimulatedClock()
        self.path = str(folder / "runs.db")
        self.told: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._databases: list[SqliteDatabase] = []

    def run(self) -> None:
        """Live to the end.

        Raises:
            Broken: something was lost, is there although it was refused, or does not work any more.
        """
        with closing(self.disk), self._named():
            life = Life.of(self._open(), self.clock)
            for number in range(len(STEPS)):
                self._take(life, number)
                life.fleet.database = self._databases[number % len(self._databases)]
            self._expect(self.course.states[-1], "at the end")
            self._check(life.database)
            self._close()
            self._expect(self.course.states[-1], "after the end")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say which trial it was that failed."""
        with ExitStack() as stack:
            stack.callback(self._close)
            try:
                yield
            except Exception as error:
                error.add_note(f"fault {self.disk.fault}")
                raise

    def _open(self) -> SqliteDatabase:
        """Open the database; if that fails, once more when the disk is well again."""
        try:
            database = self._opened(self.path, self.clock, self.disk.vfs)
        except (StorageUnavailable, StorageUnwritable) as error:
            self._hear(error, "while opening")
            self.disk.repair()
            database = self._opened(self.path, self.clock, self.disk.vfs)
        self._databases.append(database)
        with self.disk.calm():
            if (mode := database._writer.pragma("journal_mode")) != "wal":
                raise Broken(f"the database was opened in journal mode {mode}")
        return database

    def _take(self, life: Life, number: int) -> None:
        """Do one step. If the fault strikes meanwhile, look at everything and do what was not done."""
        struck_before = self.disk.struck
        told, answer = self._try(life, number)
        if self.disk.struck == struck_before and told == "done":
            return
        if told != "done" and not self.disk.struck:
            raise Broken(f"{STEPS[number].__name__} was {told} and no fault had struck")
        happened = self._happened(number, told)
        if self.disk.fault and self.disk.fault.lasts:
            happened = self._endure(life, number, happened)
        self._open()
        self._check(life.database, self._databases[-1])
        if happened:
            life.note(number, self.course.answers[number])
            return
        told, answer = self._try(life, number)
        if told != "done":
            raise Broken(f"{STEPS[number].__name__} was {told} although the disk is well again")
        if answer != self.course.answers[number]:
            raise Broken(f"{STEPS[number].__name__} answered {answer!r} after the fault, {self.course.answers[number]!r} without")
        self._expect(self.course.states[number + 1], f"after {STEPS[number].__name__} was done again")

    def _endure(self, life: Life, number: int, happened: bool) -> bool:
        """Go on while the disk does not work: writes are refused or done, and without space everything can be read."""
        fault = self.disk.fault
        if fault and fault.kind != "gone" and number > 1:
            life.database.read("test.now", lambda tx: tx.rows("views.states", ids=[]))
            with closing(SqliteDatabase(self.path, clock=self.clock, vfs=self.disk.vfs)) as another:
                another.read("test.now", lambda tx: tx.rows("views.states", ids=[]))
        for _ in range(0 if happened else 2):
            told, _ = self._try(life, number)
            happened = self._happened(number, told)
            if happened:
                break
        self.disk.repair()
        return happened

    def _try(self, life: Life, number: int) -> tuple[Told, Any]:
        """Do a step and say what its caller was told. Anything but our own errors breaks the trial."""
        self.disk.note(Begun(number))
        try:
            answer = life.live(number)
            self.disk.note(Acknowledged(number))
            self.told["done"] += 1
            return "done", answer
        except CommitUnknown as error:
            return self._hear(error, STEPS[number].__name__), None
        except (StorageUnavailable, StorageUnwritable) as error:
            self.disk.note(Refused(number))
            return self._hear(error, STEPS[number].__name__), None

    def _hear(self, error: MainspringError, where: str) -> Told:
        told: Told = "unknown" if isinstance(error, CommitUnknown) else "refused"
        self.told[told] += 1
        self.errors[shown(error, self.path)] += 1
        if not self.disk.struck:
            raise Broken(f"{where}: {error!r}, and no fault had struck") from error
        return told

    def _happened(self, number: int, told: Told) -> bool:
        """Whether a step changed the database, which must fit what its caller was told."""
        before, after = self.course.states[number], self.course.states[number + 1]
        with self.disk.calm():
            found = state(self.path, self.disk.vfs)
        allowed = {"done": [after], "refused": [before], "unknown": [before, after]}[told]
        if found not in allowed:
            raise Broken(
                f"{STEPS[number].__name__} was {told}, and the database differs from before in ({differences(found, before)}),"
                f" from after in ({differences(found, after)})"
            )
        return told == "done" or (before != after and found == after)

    def _expect(self, wanted: State, when: str) -> None:
        with self.disk.calm():
            found = state(self.path, self.disk.vfs)
        if found != wanted:
            raise Broken(f"{when}: {differences(found, wanted)} differ")

    def _check(self, *databases: SqliteDatabase) -> None:
        with self.disk.calm():
            healthy(self.path, self.disk.vfs)
            for database in databases:
                if not pending(database):  # one whose migration was cut short lacks tables, and no promise about them
                    invariants.check(database)

    def _close(self) -> None:
        with self.disk.calm():
            while self._databases:
                self._databases.pop().close()
