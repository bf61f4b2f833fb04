"""Slots of schedules on every database: retries give theirs back and are first in line; who makes room for a newer occurrence."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.core.attempts import Failed
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.states import State
from mainspring.errors import InvalidOption
from mainspring.operations.claims import Claimed
from tests.conformance.test_schedules import STEP, Stage, stage
from tests.support.builders import AnyDatabase, together

__all__ = ["stage"]


def failed(after_us: int = 10 * MINUTE) -> Failed:
    return Failed(code="busy", message="not now", after_us=after_us)


def slots(stage: Stage) -> list[int]:
    return [int(row[0]) for row in stage.fleet.sql("SELECT slot FROM occurrences ORDER BY nominal_at, key")]


def told(stage: Stage, name: str) -> int:
    return len(stage.fleet.sql(f"SELECT seq FROM schedule_events WHERE type = '{name}'"))


def first_fails(stage: Stage, after_us: int = 10 * MINUTE, **options: Any) -> str:
    """The first occurrence fired, and its run waits for a retry."""
    stage.put(**options)
    stage.elapse()
    (held,) = stage.work(failed(after_us))
    return held.id


def running(stage: Stage) -> Claimed:
    (held,) = stage.fleet.claim("w1")
    return held


# -- retries -----------------------------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 42)
@pytest.mark.parametrize("policy", ["skip", "forbid", "buffer_one", "queue_latest"])
def test_a_retry_due_in_ten_minutes_neither_makes_a_fresh_occurrence_skipped_nor_is_skipped_by_one(
    stage: Stage, policy: str
) -> None:
    first = first_fails(stage, overlap=policy)
    assert stage.fleet.get(first).state is State.RETRYING
    stage.elapse()
    assert (stage.fates(), slots(stage)) == (["fired", "fired"], [2, 1])
    second = running(stage)
    stage.elapse(11 * MINUTE + 7 * SECOND)
    assert (stage.fleet.get(first).state, stage.fleet.get(first).reason) == (State.BLOCKED, "overlap")
    assert stage.fleet.claim("w1") == []
    stage.fleet.finish(second)
    stage.tick()
    assert [held.id for held in stage.fleet.claim("w1")] == [first]
    assert slots(stage)[:2] == [1, 0]


def test_a_retry_that_is_due_goes_before_those_who_wait(stage: Stage) -> None:
    first = first_fails(stage, after_us=90 * SECOND)
    stage.elapse()
    second = running(stage)
    stage.elapse()
    stage.elapse()
    assert stage.fates() == ["fired", "fired", "waiting", "waiting"]
    stage.fleet.finish(second)
    stage.tick()
    assert [held.id for held in stage.work()] == [first]
    stage.tick()
    assert [held.id for held in stage.fleet.claim("w1")] == [stage.ledger()[2].run_id]


def test_a_retry_that_finds_its_slot_free_takes_it(stage: Stage) -> None:
    first = first_fails(stage, after_us=5 * SECOND)
    stage.elapse(6 * SECOND)
    stage.tick()
    assert (stage.fleet.get(first).state, slots(stage)) == (State.QUEUED, [1])
    assert stage.fleet.story(first)[-4:] == ["claimed", "retry_scheduled", "due", "unblocked"]


def test_retries_that_hold_their_slot_keep_the_others_waiting(stage: Stage) -> None:
    first = first_fails(stage, overlap={"policy": "forbid", "retries_hold_slot": True})
    stage.elapse()
    assert (stage.fates(), slots(stage)) == (["fired", "waiting"], [1, 0])
    stage.elapse(10 * MINUTE + 7 * SECOND)
    assert [held.id for held in stage.fleet.claim("w1")] == [first]


def test_a_retry_made_due_by_hand_waits_for_a_slot_too(stage: Stage) -> None:
    first = first_fails(stage)
    stage.elapse()
    second = running(stage)
    stage.client.runs.reschedule(first, delay=0)
    stage.tick()
    assert stage.fleet.get(first).state is State.BLOCKED
    stage.fleet.finish(second)
    stage.tick()
    assert stage.fleet.get(first).state is State.QUEUED


@pytest.mark.parametrize("over", ["pause", "disable", "delete"])
def test_a_retry_goes_on_although_its_schedule_does_not(stage: Stage, over: str) -> None:
    first = first_fails(stage, after_us=5 * SECOND)
    if over == "pause":
        stage.client.schedules.pause("ping", reason="a person")
    elif over == "disable":
        stage.put(enabled=False)
    else:
        stage.client.schedules.delete("ping")
    stage.elapse(6 * SECOND)
    stage.tick()
    assert stage.fleet.get(first).state is State.QUEUED


def test_a_schedule_that_cannot_be_read_holds_up_no_retry_of_another(stage: Stage) -> None:
    first = first_fails(stage, after_us=59 * SECOND)
    stage.put(name="bad")
    stage.fleet.sql("UPDATE schedule_revisions SET spec = replace(spec, 'every', 'evry')"
                    " WHERE schedule_id = (SELECT id FROM schedules WHERE name = 'bad')")  # fmt: skip
    stage.fleet.pass_time(STEP)
    stage.fleet.make_due()
    stage.tick()
    assert stage.client.schedules.get("bad").state == "broken"
    assert stage.fleet.get(first).state is State.QUEUED


def test_a_retry_without_slot_that_is_cancelled_leaves_nothing_behind(stage: Stage) -> None:
    first = first_fails(stage, after_us=90 * SECOND)
    stage.elapse()
    running(stage)
    stage.elapse()
    assert stage.fleet.get(first).state is State.BLOCKED
    stage.fleet.cancel(first)
    stage.tick()
    assert slots(stage) == [0, 1, 0]


def test_two_planners_give_a_due_retry_one_slot(stage: Stage, rival: AnyDatabase) -> None:
    from mainspring.operations import planning

    first_fails(stage, after_us=5 * SECOND, overlap={"policy": "forbid", "max_concurrency": 1})
    stage.fleet.pass_time(STEP)
    stage.fleet.make_due()
    together(*[lambda db=db: db.write("plan", lambda tx: planning.plan_due(tx, most=10)) for db in (stage.fleet.database, rival)])
    stage.tick()
    assert sorted(slots(stage)) == [0, 1]
    assert len(stage.fleet.claim("w1")) == 1


# -- making room -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["replace", "terminate"])
def test_a_newer_occurrence_ends_an_older_run_that_waits_for_a_retry(stage: Stage, policy: str) -> None:
    first = first_fails(stage, overlap=policy)
    stage.elapse()
    run = stage.fleet.get(first)
    assert (run.state, run.reason) == (State.CANCELLED, "replaced")
    assert (stage.fates(), slots(stage)) == (["fired", "fired"], [0, 1])


def test_with_a_slot_for_both_nobody_ends(stage: Stage) -> None:
    first = first_fails(stage, overlap={"policy": "replace", "max_concurrency": 2})
    stage.elapse()
    assert stage.fleet.get(first).state is State.RETRYING
    stage.elapse()
    assert (stage.fleet.get(first).state, slots(stage)) == (State.CANCELLED, [0, 1, 1])


def test_terminate_fences_the_old_attempt_and_passes_its_slot_on(stage: Stage) -> None:
    stage.put(overlap="terminate")
    stage.elapse()
    old = running(stage)
    stage.elapse()
    run = stage.fleet.get(old.id)
    assert (run.state, run.reason, run.token) == (State.CANCELLED, "replaced", old.token + 1)
    stage.tick()
    assert (stage.fates(), slots(stage)) == (["fired", "fired"], [0, 1])
    assert stage.fleet.heartbeat(old) is False
    assert stage.fleet.finish(old) == {old.id}
    assert (stage.fleet.get(old.id).state, stage.fleet.get(old.id).seq) == (State.CANCELLED, run.seq)
    assert [held.id for held in stage.fleet.claim("w2")] == [stage.ledger()[1].run_id]


def test_terminate_gives_the_old_attempt_its_grace(stage: Stage) -> None:
    stage.put(overlap={"policy": "terminate", "replace_grace": "10s"})
    stage.elapse()
    old = running(stage)
    stage.elapse()
    assert stage.fleet.get(old.id).state is State.CANCELLING
    stage.elapse(11 * SECOND)
    stage.tick()
    assert (stage.fleet.get(old.id).state, stage.fates()) == (State.CANCELLED, ["fired", "fired"])


def test_under_replace_a_run_that_ignores_the_request_is_told_once_and_keeps_its_slot(stage: Stage) -> None:
    stage.put(overlap="replace")
    stage.elapse()
    old = running(stage)
    stage.elapse()
    assert told(stage, "replace_stalled") == 0
    stage.elapse(31 * SECOND)
    assert told(stage, "replace_stalled") == 1
    stage.elapse(5 * MINUTE + 7 * SECOND)
    stage.elapse(31 * SECOND)
    assert (told(stage, "replace_stalled"), stage.fleet.get(old.id).state) == (1, State.CANCELLING)
    assert slots(stage).count(1) == 1


def test_a_holder_that_nobody_asked_is_asked_with_a_later_look(stage: Stage) -> None:
    from mainspring.operations import planning

    stage.put(overlap="replace")
    stage.elapse()
    old = running(stage)
    stage.fleet.pass_time(STEP)
    stage.fleet.database.write("plan", lambda tx: planning.plan_due(tx, most=10))  # and the process ends here
    assert stage.fleet.get(old.id).state is State.RUNNING
    stage.elapse(6 * SECOND)
    assert stage.fleet.get(old.id).state is State.CANCELLING


@pytest.mark.parametrize("wrong", [{"retries_hold_slot": "yes"}, {"replace_grace": "soon"}])
def test_what_cannot_be_is_refused_by_name(stage: Stage, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        stage.put(overlap={"policy": "terminate"} | wrong)
