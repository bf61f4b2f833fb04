"""Many cases of everything that can happen to a disk, each in a folder of its own and on its own.

Here: which cases there are, and the run of one. A case is told by a line of text that ``python -m tests.disk --only`` does
again. Not here: what a case does (``trials.py``, ``crowd.py``, ``cuts.py``).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple, get_args

from tests.disk import crowd, cuts
from tests.disk.crowd import Crowd
from tests.disk.platter import SURVIVORS, Entry, Platter, Survivors
from tests.disk.states import Course, course
from tests.disk.trials import Trial
from tests.disk.vfs import KINDS, Fault, Kind

#: In memory where the machine has such a folder: a case makes many small files and nobody reads them again.
_MEMORY = Path("/dev/shm")
_CUTS_AFTER: dict[Kind, int] = {"sync": 4, "lost-sync": 8}
_WHERE = ("life", "crowd")


class Case(NamedTuple):
    """``life`` or ``crowd``; a fault and its number, or ``cut`` and the length of the log; and the seed of all that is chance."""

    where: str
    what: str
    nth: int
    seed: int

    def __str__(self) -> str:
        return f"{self.where}:{self.what}:{self.nth}:{self.seed}"

    @staticmethod
    def parse(text: str) -> Case:
        """A case as ``str`` writes it."""
        where, what, nth, seed = text.split(":")
        if where not in _WHERE or what not in {*KINDS, *(f"cut-{survivors}" for survivors in SURVIVORS)}:
            raise ValueError(f"{text!r} is no case; write life|crowd:fault:number:seed")
        return Case(where, what, int(nth), int(seed))


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What cases of one sort came to: how many, in how many the fault struck, what callers were told, and what broke."""

    cases: int = 0
    struck: int = 0
    told: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Count another one in."""
        self.cases += other.cases
        self.struck += other.struck
        self.told += other.told
        self.errors += other.errors
        self.broken += other.broken


def cases(*, most: int, seed: int) -> list[Case]:
    """Up to ``most`` cases of each sort: every n if there are no more, and otherwise a sample. Every sync is among the cuts."""
    dice = Random(seed)
    chosen: list[Case] = []
    for where in _WHERE:
        operations, log = _life() if where == "life" else _crowd()
        for kind in KINDS:
            chosen += (Case(where, kind, nth, seed + nth) for nth in _sample(range(1, _count(operations, kind) + 1), most, dice))
        for survivors in SURVIVORS:
            places = [*_sample(cuts.moments(log), most, dice), *_sample(cuts.after_writes(log), most, dice)]
            chosen += (Case(where, f"cut-{survivors}", place, seed + place) for place in places)
    return chosen


def _sample(numbers: Sequence[int], most: int, dice: Random) -> list[int]:
    return list(numbers) if len(numbers) <= most else sorted(dice.sample(numbers, most))


def _count(operations: dict[str, int], kind: Kind) -> int:
    return operations[Fault(kind=kind, nth=1).counts or "every"]


def run(case: Case) -> Verdict:
    """One case."""
    with tempfile.TemporaryDirectory(prefix="mainspring-disk-", dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        verdict = Verdict(cases=1)
        try:
            if case.what in get_args(Kind):
                _fault(case, Path(name), verdict)
            else:
                _cut(case, Path(name), case.what.removeprefix("cut-"), verdict)  # type: ignore[arg-type]
        except Exception as error:
            verdict.broken.append(f"{case}: {type(error).__name__}: {error}")
        return verdict


def _fault(case: Case, folder: Path, verdict: Verdict) -> None:
    """Live with the fault, and then cut the power at some moments after it."""
    fault = Fault(kind=case.what, nth=case.nth)  # type: ignore[arg-type]
    tried: Trial | Crowd = Trial(folder, _course(), fault) if case.where == "life" else Crowd(folder, fault)
    try:
        tried.run()
    finally:
        verdict.struck += tried.disk.struck
        verdict.told, verdict.errors = tried.told, tried.errors
    dice = Random(case.seed)
    for number in range(_CUTS_AFTER.get(fault.kind, 1)):
        length = dice.randint(tried.disk.struck_at, len(tried.disk.log))
        _outlive(case, folder / f"cut-{number}", tried.disk.log[:length], dice.choice(SURVIVORS), dice)


def _cut(case: Case, folder: Path, survivors: Survivors, verdict: Verdict) -> None:
    log = (_life() if case.where == "life" else _crowd())[1]
    verdict.struck += 1
    _outlive(case, folder / "cut", log[: case.nth], survivors, Random(case.seed))


def _outlive(case: Case, folder: Path, log: Sequence[Entry], survivors: Survivors, dice: Random) -> None:
    if case.where == "crowd":
        crowd.outlive(folder, Platter(log), survivors, dice)
    else:
        cuts.outlive(folder, _course(), Platter(log), survivors, dice, go_on=dice.random() < 0.1)


def run_all(chosen: Sequence[Case], *, processes: int) -> Iterator[tuple[Case, Verdict]]:
    """All cases, in order."""
    if processes == 1:
        yield from ((case, run(case)) for case in chosen)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from zip(chosen, pool.map(run, chosen, chunksize=20), strict=True)


@cache
def _course() -> Course:
    with tempfile.TemporaryDirectory() as folder:
        return course(Path(folder))


@cache
def _life() -> tuple[dict[str, int], list[Entry]]:
    with tempfile.TemporaryDirectory() as folder:
        return _course().operations, cuts.lived(Path(folder))


@cache
def _crowd() -> tuple[dict[str, int], list[Entry]]:
    with tempfile.TemporaryDirectory() as folder:
        quiet = Crowd(Path(folder))
        quiet.run()
        return quiet.disk.operations(), quiet.disk.log
