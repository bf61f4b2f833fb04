"""The oracles can fail: each finds the damage it is for, and none cries over a healthy database."""

from __future__ import annotations

import pytest

from mainspring.client import Client
from mainspring.core.attempts import Failed, Succeeded
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.rule_building import every
from mainspring.operations import audit, planning
from mainspring.testing import invariants
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.support.builders import AnyDatabase, Fleet


@pytest.fixture
def inhabited(database: AnyDatabase, fleet: Fleet, clock: SimulatedClock) -> Fleet:
    """A database with a run in most situations (ended, failed, held under a limit, waiting, keyed, in a batch), a schedule of which
    one run is queued and two wait for its slot, and an audit log."""
    client = Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock))
    client.schedules.put("minutely", every("1m"), "scheduled", misfire="catch_up")
    fleet.pass_time(3 * MINUTE + 7 * SECOND)
    database.write("schedules.plan", lambda tx: planning.plan_due(tx, most=10))
    fleet.declare("main", limit=5)
    done, failed = fleet.running(key="done"), fleet.running(policy=None)
    fleet.finish(done, Succeeded(b"1"))
    fleet.finish(failed, Failed(code="bad", message="", final=True))
    fleet.batch([fleet.new(queue="slow"), fleet.new(queue="slow")])
    fleet.running(singleton="site", key="held")
    fleet.enqueue(delay=1_000_000, queue="slow")
    database.write(
        "audit.record", lambda tx: audit.record(tx, "queue:main", action="queue.paused", namespace="test", actor="user:ann")
    )
    assert invariants.violations(database) == []
    return fleet


DAMAGE = {
    "an_occurrence_is_where_its_run_is": "UPDATE occurrences SET disposition = 'waiting', slot = 0 WHERE disposition = 'fired'",
    "an_instant_is_decided_once_and_behind_the_cursor": "UPDATE schedule_cursors SET cursor_at = 0",
    "slots_are_kept": "UPDATE occurrences SET slot = 1",
    "the_ledger_is_gapless": "DELETE FROM events WHERE type = 'claimed' AND seq = 2",
    "folding_the_ledger_gives_the_row": "UPDATE runs SET failures = failures + 1 WHERE state = 'succeeded'",
    "a_run_ends_once_and_last": "UPDATE events SET state = 'succeeded' WHERE type = 'claimed' AND seq = 2",
    "the_fence_counts_the_claims": "UPDATE runs SET token = token + 1 WHERE state = 'succeeded'",
    "no_claim_found_the_run_held": "UPDATE events SET type = 'claimed', state = 'running' WHERE type = 'succeeded'",
    "no_timer_was_early": "UPDATE events SET type = 'due' WHERE seq = 1; "
    "UPDATE events SET type = 'created', data = replace(data, '{', '{\"due_at\":9000000000000000,') WHERE seq = 1; "
    "UPDATE events SET type = 'due' WHERE type = 'claimed'",
    "a_dependant_started_once": "UPDATE events SET type = 'unblocked' WHERE state <> 'queued'",
    "a_cancelled_run_was_not_revived": "UPDATE events SET type = 'cancel_requested' WHERE seq = 1",
    "the_payload_is_there": "UPDATE events SET body = NULL WHERE seq = 1",
    "the_audit_chain_is_unbroken": "UPDATE audit_entries SET actor = 'user:mallory'",
    "no_event_without_its_run": "DELETE FROM runs WHERE state = 'succeeded'",
    "a_run_has_its_lane_queue_and_policy": "DELETE FROM policies",
    "exactly_active_runs_have_a_holder": "DELETE FROM workers",
    "limits_are_kept": "UPDATE limits SET size = 0",
    "a_singleton_key_is_held_by_its_live_run": "UPDATE singletons SET key = 'other'",
    "a_live_singleton_run_holds_its_key": "DELETE FROM singletons",
    "an_idempotency_key_answers_for_its_owner": "UPDATE runs SET idempotency_key = 'other' WHERE idempotency_key = 'done'",
    "a_live_keyed_run_finds_its_key": "DELETE FROM idempotency_keys",
    "a_batch_counts_its_open_members": "UPDATE batches SET open = open + 1",
    "a_batch_counts_its_failed_members": "UPDATE batches SET failed = failed + 1",
    "a_dependant_waits_while_an_upstream_is_open": "UPDATE runs SET state = 'queued' WHERE state = 'blocked'",
    "what_is_decided_lets_its_dependants_go": "UPDATE batches SET open = 0",
    "nobody_is_let_go_before_it_is_decided": "UPDATE dependencies SET open = 0",
    "a_used_up_budget_leaves_a_dead_letter": "DELETE FROM dead_letters",
    "what_hangs_on_a_run_goes_with_it": "DELETE FROM runs WHERE state = 'failed'",
    "a_run_has_one_live_retry": "UPDATE runs SET rerun_of = (SELECT min(id) FROM runs) WHERE ended_at IS NULL; "
    "UPDATE events SET data = replace(data, '}', ',\"retry\":1}') WHERE seq = 1",
    "a_promised_run_is_not_there_before_its_turn": "UPDATE singletons SET next_id = run_id",
}


@pytest.mark.parametrize("invariant", DAMAGE)
def test_each_oracle_finds_the_damage_it_is_for(inhabited: Fleet, database: AnyDatabase, invariant: str) -> None:
    damage = DAMAGE[invariant].replace("min(id)", "min(id::text)::uuid") if inhabited.clock is None else DAMAGE[invariant]
    for statement in damage.split("; "):
        inhabited.sql(statement)

    found = {violation.invariant for violation in invariants.violations(database)}

    wipe(inhabited)
    assert invariant in found


def test_a_backlog_over_what_has_a_fate_is_found(inhabited: Fleet, database: AnyDatabase) -> None:
    span = "SELECT schedule_id, min(nominal_at), max(nominal_at), 3, 1, 0 FROM occurrences GROUP BY schedule_id"
    inhabited.sql(f"INSERT INTO schedule_backlogs (schedule_id, first_at, last_at, number, revision, ready_at) {span}")

    found = {violation.invariant for violation in invariants.violations(database)}

    wipe(inhabited)
    inhabited.sql("DELETE FROM schedule_backlogs")
    assert found == {"an_instant_is_decided_once_and_behind_the_cursor"}


def test_every_oracle_is_tried_by_some_damage() -> None:
    oracles = {oracle.__name__ for oracle in (*invariants.LEDGER_ORACLES, *invariants.TABLE_ORACLES)}
    assert set(DAMAGE) == oracles | {
        "limits_are_kept", "slots_are_kept", "no_event_without_its_run", "the_audit_chain_is_unbroken",
    }  # fmt: skip


def test_a_broken_invariant_is_told_with_its_name_its_run_and_what_differs(inhabited: Fleet, database: AnyDatabase) -> None:
    run_id = inhabited.one("SELECT id FROM runs WHERE state = 'succeeded'")
    inhabited.sql(f"UPDATE runs SET releases = 7 WHERE id = '{run_id}'")

    with pytest.raises(AssertionError) as told:
        invariants.check(database)

    wipe(inhabited)
    assert f"folding_the_ledger_gives_the_row: {run_id}: releases is 7, folded 0" in str(told.value)


def wipe(fleet: Fleet) -> None:
    """Leave nothing behind that the check after the test would find."""
    for table in (
        "occurrences",
        "schedules",
        "schedule_revisions",
        "schedule_cursors",
        "runs",
        "events",
        "limits",
        "singletons",
        "idempotency_keys",
        "batches",
        "dependencies",
        "checkpoints",
        "dead_letters",
        "audit_entries",
        "audit_chain",
    ):
        fleet.sql(f"DELETE FROM {table}")
