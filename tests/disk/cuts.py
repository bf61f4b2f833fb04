"""The power goes: everything acknowledged is there after it, whatever became of the rest.

Here: the log of a life, and what SQLite makes of what a cut leaves of it. The life is lived once; every point of its log is a
moment at which the power may go. Not here: the rules by which unsynced writes survive (``platter.py``).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from mainspring.store.migrate import migrations
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock
from tests.disk.life import STEPS, Life, Open, opened
from tests.disk.platter import Acknowledged, Begun, Entry, Platter, Survivors, Synced, Written
from tests.disk.states import Broken, Course, State, differences, healthy, state
from tests.disk.vfs import Disk


def lived(folder: Path, open_database: Open = opened) -> list[Entry]:
    """Live a life without faults in an empty folder; the log of its disk."""
    disk, clock = Disk(), SimulatedClock()
    with closing(disk), closing(open_database(str(folder / "runs.db"), clock, disk.vfs)) as database:
        life = Life.of(database, clock)
        for number in range(len(STEPS)):
            disk.note(Begun(number))
            life.live(number)
            disk.note(Acknowledged(number))
        return list(disk.log)


def moments(log: Sequence[Entry]) -> list[int]:
    """How much of a log there was when the power went: before and after each sync, and at the end."""
    syncs = [place for place, entry in enumerate(log) if isinstance(entry, Synced)]
    return sorted({*syncs, *(place + 1 for place in syncs), len(log)})


def after_writes(log: Sequence[Entry]) -> list[int]:
    """How much of a log there was after each write."""
    return [place + 1 for place, entry in enumerate(log) if isinstance(entry, Written)]


def outlive(folder: Path, course: Course, platter: Platter, survivors: Survivors, dice: Random, *, go_on: bool) -> None:
    """Cut the power and look at what SQLite finds; live the rest of the life on it if asked.

    Raises:
        Broken: something acknowledged is gone, or half of something is there, or the file is damaged.
    """
    folder.mkdir()
    platter.cut(folder, survivors, dice)
    clock = SimulatedClock()
    with closing(opened(str(folder / "runs.db"), clock)) as database:
        number = _reached(state(database.path), course, platter)
        healthy(database.path)
        if number > len(migrations()):
            invariants.check(database)
        if go_on:
            life = Life.of(database, clock)
            for earlier in range(number):
                life.note(earlier, course.answers[earlier])
            for later in range(number, len(STEPS)):
                life.live(later)
            if _reached(state(database.path), course, platter, everything=True) != len(STEPS):
                raise Broken("the life could not be lived to its end")
    shutil.rmtree(folder)


def _reached(found: State, course: Course, platter: Platter, *, everything: bool = False) -> int:
    """How many steps are in what was found: all that were acknowledged, and no more than were begun."""
    least = len(STEPS) if everything else max(platter.acknowledged, default=-1) + 1
    most = len(STEPS) if everything else max(platter.begun, default=-1) + 1
    for number in range(least, most + 1):
        if found == course.states[number]:
            return number
    lost = [number for number in range(least) if found == course.states[number]]
    what = f"what was acknowledged since {STEPS[lost[-1]].__name__} is lost" if lost else "that is no state of any moment"
    raise Broken(f"acknowledged: {least} steps, begun: {most}; {what}; differs in ({differences(found, course.states[least])})")
