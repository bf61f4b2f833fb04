"""A sample of the disk's cases for every check, and the proof that they find what they should."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from mainspring.errors import CommitUnknown, StorageUnavailable
from mainspring.store.sqlite import SqliteDatabase
from tests.disk import campaign, cuts
from tests.disk.life import Open, opened
from tests.disk.platter import SURVIVORS, Acknowledged, Entry, Platter, Refused
from tests.disk.states import Broken, Course, course
from tests.disk.trials import Trial
from tests.disk.vfs import KINDS, Fault

SAMPLE = 8
SEED = 1


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A life without faults."""
    return course(tmp_path_factory.mktemp("quiet"))


@pytest.mark.parametrize("what", [*KINDS, *(f"cut-{survivors}" for survivors in SURVIVORS)])
@pytest.mark.parametrize("where", ["life", "crowd"])
def test_what_was_acknowledged_is_there_and_what_was_refused_is_not(where: str, what: str) -> None:
    chosen = [case for case in campaign.cases(most=SAMPLE, seed=SEED) if (case.where, case.what) == (where, what)]
    verdict = campaign.Verdict()
    for case in chosen:
        verdict.add(campaign.run(case))
    assert verdict.broken == []
    assert verdict.struck == len(chosen) > 0


def test_a_case_is_told_by_its_text() -> None:
    chosen = campaign.cases(most=1, seed=3)
    assert [campaign.Case.parse(str(case)) for case in chosen] == chosen


# -- the harness finds planted faults ----------------------------------------------------------------------------------


def _with_syncs(level: str, path: str, clock: Any, vfs: str | None = None) -> SqliteDatabase:
    database = opened(path, clock, vfs)
    database._writer.execute(f"PRAGMA synchronous = {level}").fetchall()
    return database


def _lost(folder: Path, quiet: Course, log: list[Entry]) -> int:
    """After how many of the acknowledged steps a power cut loses something."""
    lost = 0
    for place, entry in enumerate(log, start=1):
        if isinstance(entry, Acknowledged):
            try:
                cuts.outlive(folder / str(place), quiet, Platter(log[:place]), "nothing", Random(0), go_on=False)
            except Broken:
                lost += 1
    return lost


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_the_harness_sees_lost_commits_when_syncs_are_off(tmp_path: Path, quiet: Course, level: str) -> None:
    log = cuts.lived(tmp_path, partial(_with_syncs, level))
    assert _lost(tmp_path, quiet, log) > 20


def test_no_commit_is_lost_when_syncs_are_on(tmp_path: Path, quiet: Course) -> None:
    log = cuts.lived(tmp_path)
    assert _lost(tmp_path, quiet, log) == 0


class _Silent(SqliteDatabase):
    """Says nothing when a commit fails."""

    def _commit(self) -> None:
        try:
            super()._commit()
        except (CommitUnknown, apsw.Error):
            return


class _Untranslated(SqliteDatabase):
    """Lets the driver's errors out."""

    def write(self, name: str, fn: Callable[[Any], Any], /) -> Any:
        try:
            return super().write(name, fn)
        except (CommitUnknown, StorageUnavailable) as error:
            raise error.__cause__ or error from None


class _Refusing(SqliteDatabase):
    """Says that a commit was refused when it is unknown."""

    def _commit(self) -> None:
        try:
            super()._commit()
        except CommitUnknown as error:
            raise StorageUnavailable("refused") from error


def _opened_as(kind: type[SqliteDatabase]) -> Open:
    return lambda path, clock, vfs: opened(path, clock, vfs, kind)


@pytest.mark.parametrize("kind", [_Silent, _Untranslated], ids=lambda kind: kind.__name__.strip("_").lower())
def test_the_harness_sees_a_store_that_treats_errors_wrongly(tmp_path: Path, quiet: Course, kind: type[SqliteDatabase]) -> None:
    with pytest.raises((Broken, apsw.Error)):
        Trial(tmp_path, quiet, Fault(kind="sync", nth=44), _opened_as(kind)).run()


def test_the_harness_sees_a_refused_commit_come_back_after_a_power_cut(tmp_path: Path, quiet: Course) -> None:
    """Why a commit that fails is unknown and not refused: what it wrote may be found when the WAL is read again."""
    trial = Trial(tmp_path, quiet, Fault(kind="sync", nth=20), _opened_as(_Refusing))
    trial.run()
    log = trial.disk.log[: trial.disk.struck_at + 1]
    assert isinstance(log[-1], Refused)
    with pytest.raises(Broken):
        cuts.outlive(tmp_path / "cut", quiet, Platter(log), "everything", Random(0), go_on=False)
