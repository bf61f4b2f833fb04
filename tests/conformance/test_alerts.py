"""Alerts of schedules on every database: each opens and recovers once an episode, with what decides it, and is told."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.client import Client
from mainspring.core.attempts import Failed
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.rule_building import every
from mainspring.errors import ScheduleInvalid
from mainspring.operations import alerting, holds, mending, planning
from mainspring.store.database import Transaction
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.conformance.test_schedules import Stage
from tests.support.builders import AnyDatabase, Fleet

Told = list[tuple[str, bool]]


@pytest.fixture
def stage(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Stage:
    fleet.new(task="ping", queue="default")
    return Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


def told(stage: Stage) -> Told:
    """Every episode, the oldest first: its kind, and whether it is over."""
    found = [(each.opened_at, each.kind, each.recovered_at is not None) for each in stage.client.alerts.list()]
    return [(kind, is_over) for _, kind, is_over in sorted(found)]


def logged(stage: Stage) -> list[str]:
    return [each.type for each in stage.client.schedules.events("ping") if each.type.startswith("alert_")]


def failed(stage: Stage) -> None:
    stage.elapse()
    stage.work(Failed(code="error", message="no", final=True))


def test_a_run_that_does_not_start_is_late_once_and_recovers_when_it_has_begun(stage: Stage) -> None:
    stage.put(every("1h"), alerts={"late_after": "5m", "kinds": ["late"]})
    stage.elapse(61 * MINUTE)
    assert told(stage) == []
    stage.elapse(5 * MINUTE)
    assert told(stage) == [("late", False)]
    stage.elapse(2 * MINUTE)
    assert told(stage) == [("late", False)]
    stage.work()
    stage.tick()
    assert told(stage) == [("late", True)]
    assert logged(stage) == ["alert_opened", "alert_recovered"]


def test_an_instant_without_a_success_in_its_time_is_missed_until_a_later_one_succeeds(stage: Stage) -> None:
    stage.put(every("1h"), alerts={"succeed_within": "10m", "kinds": ["missed"]})
    stage.elapse(61 * MINUTE)
    stage.work(Failed(code="error", message="no", final=True))
    assert told(stage) == []
    stage.elapse(10 * MINUTE)
    assert told(stage) == [("missed", False)]
    stage.elapse(2 * MINUTE)
    assert told(stage) == [("missed", False)]
    stage.elapse(50 * MINUTE)
    stage.work()
    assert told(stage) == [("missed", True)]


def test_no_success_for_a_span_is_told_at_its_end_and_recovers_with_a_success(stage: Stage) -> None:
    stage.put(every("1h"), alerts={"no_success_for": "90m", "kinds": ["no_success_for"]})
    stage.elapse(61 * MINUTE)
    stage.elapse(30 * MINUTE)
    assert told(stage) == [("no_success_for", False)]
    stage.work()
    assert told(stage) == [("no_success_for", True)]


def test_a_failure_is_told_with_the_end_of_the_run_and_recovers_with_a_success(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["failed"]})
    failed(stage)
    assert told(stage) == [("failed", False)]
    failed(stage)
    assert told(stage) == [("failed", False)]
    stage.elapse()
    stage.work()
    assert told(stage) == [("failed", True)]
    failed(stage)
    assert told(stage) == [("failed", True), ("failed", False)]


def test_a_dead_letter_is_told_with_its_run_and_recovers_when_it_is_dismissed(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["dead_letter"]})
    failed(stage)
    (alert,) = stage.client.alerts.list()
    assert alert.run_id is not None
    assert (alert.kind, alert.recovered_at) == ("dead_letter", None)
    stage.elapse()
    stage.work()
    assert told(stage) == [("dead_letter", False)]
    stage.client.dead_letters.dismiss(alert.run_id, reason="known")
    stage.elapse(MINUTE)
    assert told(stage) == [("dead_letter", True)]


def test_a_full_buffer_is_told_once_and_recovers_when_there_is_room(stage: Stage) -> None:
    stage.put(overlap={"policy": "forbid", "buffer_max": 1}, alerts={"kinds": ["buffer_full"]})
    for _ in range(4):
        stage.elapse()
    assert "buffer_full" in stage.fates()
    assert told(stage) == [("buffer_full", False)]
    stage.work()
    stage.tick()
    assert told(stage) == [("buffer_full", True)]


def test_a_pause_for_failures_is_told_and_recovers_when_it_is_resumed(stage: Stage) -> None:
    stage.put(pause_after_failures=1, alerts={"kinds": ["paused_by_failures"]})
    failed(stage)
    stage.tick()
    assert told(stage) == [("paused_by_failures", False)]
    stage.client.schedules.resume("ping")
    assert told(stage) == [("paused_by_failures", True)]


def test_a_schedule_that_cannot_be_planned_is_told_of_and_recovers_when_it_can(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["broken"]})
    ((spec,),) = stage.fleet.sql("SELECT spec FROM schedule_revisions")
    stage.fleet.sql("UPDATE schedule_revisions SET spec = replace(spec, '\"rule\":', '\"ruled\":')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "table_of", _unreadable)
        stage.fleet.sql("UPDATE schedule_revisions SET spec = '" + spec + "'")
        stage.elapse()
        assert told(stage) == [("broken", False)]
    stage.elapse(2 * MINUTE)
    assert told(stage) == [("broken", True)]


def _unreadable(*_: Any, **__: Any) -> Any:
    raise ScheduleInvalid("its zone is gone")


def test_a_schedule_that_a_restore_holds_back_is_told_of_until_somebody_decides(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["held"]})
    stage.fleet.pass_time(2 * MINUTE)
    assert stage.client.holds.restored() == 1
    assert told(stage) == [("held", False)]
    stage.client.holds.decide("ping", policy="suppress", reason="done by hand")
    assert told(stage) == [("held", True)]


def test_a_cursor_that_the_audit_repairs_is_told_of_until_it_is_planned_by(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["audit"]})
    stage.fleet.sql("DELETE FROM schedule_cursors")
    assert mending.audit(stage.client.database, actor="test").repaired == 1
    assert told(stage) == [("audit", False)]
    stage.tick()
    assert told(stage) == [("audit", True)]


def test_a_run_that_does_not_stop_for_the_next_is_told_of_until_it_has_ended(stage: Stage) -> None:
    stage.put(overlap="replace", alerts={"kinds": ["replace_stalled"]})
    stage.elapse()
    held = stage.fleet.claim("w1")
    stage.elapse()
    stage.elapse(31 * SECOND)
    assert told(stage) == [("replace_stalled", False)]
    stage.fleet.finish(held)
    stage.tick()
    assert told(stage) == [("replace_stalled", True)]


def test_a_transaction_that_is_lost_leaves_neither_alert_nor_telling(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["failed", "held"]})
    stage.fleet.pass_time(2 * MINUTE)
    ping = stage.client.schedules.get("ping").id

    def lost(tx: Transaction) -> None:
        holds.restored(tx, "another", actor="test")
        assert tx.rows("alerts.open_of", ids=[ping])
        raise RuntimeError("the process died")

    with pytest.raises(RuntimeError):
        stage.client.database.write("test", lost)
    assert told(stage) == []
    assert logged(stage) == []


def test_what_is_open_recovers_when_nobody_wants_to_know_any_more(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["failed"]})
    failed(stage)
    stage.put()
    assert told(stage) == [("failed", True)]
    assert stage.fleet.sql("SELECT count(*) FROM alert_watches") == [(0,)]
    failed(stage)
    assert told(stage) == [("failed", True)]


def test_what_is_open_recovers_when_its_schedule_is_deleted(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["failed"]})
    failed(stage)
    stage.client.schedules.delete("ping")
    assert told(stage) == [("failed", True)]


def test_everything_that_is_wrong_with_alerts_is_told_at_once(stage: Stage) -> None:
    with pytest.raises(ScheduleInvalid) as refused:
        stage.put(alerts={"late_after": "soon", "kinds": ["missed", "tired"], "sound": True})
    paths = {each["path"] for each in refused.value.details["errors"]}
    assert paths == {"alerts.late_after", "alerts.kinds", "alerts.kinds[1]", "alerts.sound"}


def test_an_edit_that_says_nothing_of_alerts_keeps_the_episodes(stage: Stage) -> None:
    stage.put(alerts={"kinds": ["failed"]})
    failed(stage)
    stage.put(every("2m"), alerts={"kinds": ["failed"]})
    assert told(stage) == [("failed", False)]


def test_a_webhook_is_told_once_of_each_transition_by_runs_of_an_http_target(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSPRING_HTTP_ALLOW", "127.0.0.1:9")
    hooks = stage.client.webhooks
    hooks.put("ops", "http://127.0.0.1:9/", kinds=["failed"])
    hooks.put("others", "http://127.0.0.1:9/", kinds=["held"])
    stage.put(alerts={"kinds": ["failed"]})
    failed(stage)
    failed(stage)
    sent = "SELECT count(*) FROM runs r JOIN lanes l ON l.id = r.lane_id WHERE l.task = 'http'"
    assert stage.fleet.sql(sent) == [(1,)]
    assert [each.name for each in hooks.list()] == ["ops", "others"]
    assert hooks.delete("ops")
    assert not hooks.delete("ops")
    assert [entry.action for entry in stage.client.audit.list(subject="webhook:ops")[0]] == ["webhook.deleted", "webhook.put"]


def test_however_many_schedules_want_alerts_a_look_takes_the_same_statements(stage: Stage) -> None:
    def count(tx: Transaction) -> int:
        asked: list[str] = []
        ask = tx.ask

        class Counting:
            now = tx.now

            def __getattr__(self, name: str) -> Any:
                inner = getattr(tx, name)

                def called(statement: str, **params: Any) -> Any:
                    asked.append(statement)
                    return inner(statement, **params)

                return called

        assert ask is not None
        alerting.judge(Counting(), sorted(row[0] for row in tx.rows("alerts.due", most=100)))
        return len(asked)

    counts = []
    for number in (1, 9):
        for nth in range(number):
            stage.put(name=f"s{number}-{nth}", alerts={"kinds": ["late"]})
        counts.append(stage.client.database.write("test", count))
    assert counts[0] == counts[1]
