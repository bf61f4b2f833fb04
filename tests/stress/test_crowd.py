"""A short sample of the crowd, for every run of the checks; ``python -m tests.stress --seconds 60`` is the whole of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.crowd import Crowd, Log, crowd, judge


@pytest.mark.serial
def test_a_crowd_on_one_sqlite_file_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    verdict = crowd(Crowd(url=f"sqlite:///{tmp_path / 'runs.db'}", folder=tmp_path, seconds=3.0))
    assert verdict.is_good, verdict.table()
    assert verdict.accepted > 100


def test_the_verdict_sees_what_was_lost_done_twice_or_done_unasked(tmp_path: Path) -> None:
    accepted, done = Log(tmp_path, "accepted", 0), Log(tmp_path, "done", 1)
    for run_id in ("a", "b", "c"):
        accepted.say(run_id)
    for line in ("a 1", "b 1", "b 2", "x 1"):
        done.say(line)
    verdict = judge(tmp_path, [], 1.0)
    assert (verdict.lost, verdict.twice, verdict.unasked) == (["c"], ["b"], ["x"])
    assert not verdict.is_good


def test_a_crowd_that_did_nothing_is_no_success(tmp_path: Path) -> None:
    assert not judge(tmp_path, [], 1.0).is_good
