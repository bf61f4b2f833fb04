"""One pass of maintenance: what its stages do, that one which fails stops no other, and that any number may make it at once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from mainspring.client import Client
from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.core.states import State
from mainspring.errors import StorageUnavailable
from mainspring.operations import upkeep
from mainspring.operations.upkeep import STAGES, Terms
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock
from tests.support.builders import TTL, Fleet, together


def test_a_pass_does_everything_that_is_to_be_done_and_says_when_the_next_is(fleet: Fleet) -> None:
    held = fleet.running()
    due = fleet.enqueue(delay=SECOND)
    late = fleet.enqueue(deadline_in=SECOND)
    stale = fleet.enqueue(expires_in=SECOND)
    later = fleet.enqueue(delay=HOUR)
    fleet.pass_time(SECOND)
    fleet.calm()
    fleet.lapse("w1")
    made = fleet.tick()
    assert {name: report.done for name, report in made.stages.items() if report.done} == {
        "due": 1, "expiry": 1, "deadlines": 1, "leases": 1,
    }  # fmt: skip
    assert fleet.states([due, late, stale, held.id]) == [State.QUEUED, State.FAILED, State.SKIPPED, State.QUEUED]
    assert made.next_due_at == fleet.get(later).due_at
    assert list(made.stages) == [stage.name for stage in STAGES]
    assert not made.more


def test_more_than_one_transaction_takes_is_left_for_the_next_and_said(fleet: Fleet) -> None:
    fleet.enqueue_many(upkeep.MOST_DEADLINES + 1, deadline_in=SECOND)
    fleet.pass_time(SECOND)
    first = fleet.tick()
    assert (first.done("deadlines"), first.more) == (upkeep.MOST_DEADLINES, True)
    second = fleet.tick()
    assert (second.done("deadlines"), second.more) == (1, False)


@pytest.mark.case("jobs", 49)
def test_a_stage_that_fails_stops_no_other(fleet: Fleet) -> None:
    due, late, stale = fleet.enqueue(delay=SECOND), fleet.enqueue(deadline_in=SECOND), fleet.enqueue(expires_in=SECOND)
    fleet.pass_time(SECOND)
    _refuse_skips(fleet)
    try:
        made = fleet.tick()
    finally:
        _allow_skips(fleet)
    assert "refused" in str(made.stages["expiry"].error)
    assert (made.stages["expiry"].done, made.done("due"), made.done("deadlines")) == (0, 1, 1)
    assert fleet.states([due, late, stale]) == [State.QUEUED, State.FAILED, State.QUEUED]
    assert fleet.tick().done("expiry") == 1


def _refuse_skips(fleet: Fleet) -> None:
    """The database itself refuses that stage's write."""
    if isinstance(fleet.database, SqliteDatabase):
        fleet.sql(
            "CREATE TRIGGER refuse BEFORE UPDATE ON runs WHEN new.state = 'skipped' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        return
    fleet.sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$")
    fleet.sql("CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW WHEN (new.state = 'skipped') EXECUTE FUNCTION refuse()")


def _allow_skips(fleet: Fleet) -> None:
    if isinstance(fleet.database, SqliteDatabase):
        fleet.sql("DROP TRIGGER refuse")
    else:
        fleet.sql("DROP FUNCTION refuse() CASCADE")


@pytest.mark.case("jobs", 49)
def test_ten_passes_at_once_do_each_thing_once(fleet: Fleet, other: Fleet) -> None:
    for round_ in range(3):
        due = fleet.enqueue_many(30, delay=SECOND)
        late = fleet.enqueue_many(30, deadline_in=SECOND)
        stale = fleet.enqueue_many(30, expires_in=SECOND)
        lost = fleet.enqueue_many(5, queue="lost")
        fleet.claim(f"dead-{round_}", queues=["lost"])
        fleet.pass_time(SECOND)
        fleet.calm()
        fleet.lapse(f"dead-{round_}")
        made = together(*([fleet.tick, other.tick] * 5))
        for name, ids in (("due", due), ("deadlines", late), ("expiry", stale), ("leases", lost)):
            assert sum(each.done(name) for each in made) == len(ids), name
            assert {len(fleet.story(run_id)) for run_id in ids} == {3 if name == "leases" else 2}
        assert not [report.error for each in made for report in each.stages.values() if report.error]
        fleet.finish(fleet.claim("w1"))


def test_a_run_of_a_task_that_nobody_knows_is_parked_after_a_day_where_somebody_serves(fleet: Fleet) -> None:
    run_id = fleet.enqueue(task="forgotten")
    fleet.pass_time(2 * DAY)
    assert fleet.tick().done("unserved") == 0  # nobody is there at all: the next worker may know it
    fleet.register("w1", tasks='["work"]')
    assert fleet.tick().done("unserved") == 0  # it has just come, and others may follow
    fleet.sql(f"UPDATE workers SET started_at = started_at - {2 * HOUR}")
    assert fleet.tick().done("unserved") == 1
    assert (fleet.get(run_id).state, fleet.get(run_id).reason) == (State.NEEDS_ATTENTION, "unknown_task")


def test_a_client_makes_a_pass_on_request(fleet: Fleet) -> None:
    run_id = fleet.enqueue(delay=SECOND)
    later = fleet.enqueue(delay=HOUR)
    fleet.pass_time(SECOND)
    client = Client(fleet.database, namespace=fleet.namespace, actor="user:cron")
    made = client.tick()
    assert (made.stages["due"].done, made.more, made.errors) == (1, False, {})
    assert made.next_due_at is not None
    assert int(made.next_due_at.timestamp() * 1_000_000) == pytest.approx(fleet.get(later).due_at, abs=1)
    assert fleet.ledger(run_id)[-1].actor == "user:cron"


def test_calls_that_come_seldom_take_lapsed_leases_too(fleet: Fleet) -> None:
    held = fleet.running()
    client = Client(fleet.database, namespace=fleet.namespace)
    client.tick(every="1m")
    for _ in range(4):
        fleet.pass_time(MINUTE)
        client.tick(every="1m")
    assert fleet.get(held.id).interruptions == 1
    assert 4 * MINUTE > TTL


def test_a_pass_without_a_database_is_an_error(tmp_path: Path) -> None:
    with closing(SqliteDatabase(str(tmp_path / "runs.db"), clock=SimulatedClock())) as gone:
        migrate(gone, dialect_name="sqlite")
    with pytest.raises(StorageUnavailable):
        upkeep.make_pass(gone, Terms(actor="leader"))
