"""One failover for every check; more by ``python -m tests.failover``."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainspring.core.states import State
from mainspring.errors import StorageUnavailable
from mainspring.testing.postgres import find_postgres
from tests.failover.rounds import Round, plan, run
from tests.support.services import miss


def _shown(done: Round) -> str:
    return "\n".join([str(done), *map(str, done.violations[:10])])


@pytest.mark.serial
def test_a_failover_loses_nothing_that_was_acknowledged_and_work_goes_on(tmp_path: Path) -> None:
    try:
        find_postgres()
    except StorageUnavailable as missing:
        miss("postgres", missing.message)
    done = run(tmp_path, plan(seed=1), say=print)
    (outage,) = done.evidence.record.outages
    runs = done.evidence.runs.values()
    assert done.acknowledged > 0
    assert done.lost == 0, _shown(done)
    assert not done.violations, _shown(done)
    assert any(run.created_at < outage.began_at and run.state is State.SUCCEEDED for run in runs), _shown(done)
    assert any(run.created_at > outage.back_at and run.state is State.SUCCEEDED for run in runs), _shown(done)
