"""Schedules from files on every database: applied once, again, over changes by hand, beside other owners, under other names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mainspring.client import Client
from mainspring.core.durations import HOUR, MINUTE
from mainspring.core.rule_building import every
from mainspring.core.schedule_file import Action
from mainspring.errors import FileInvalid, InvalidOption, ScheduleConflict, UnknownSchedule
from mainspring.operations.schedule_files import Step
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.support.builders import AnyDatabase, Fleet

NIGHTLY = """
  - name: billing/nightly
    rule: {cron: "30 2 * * *", timezone: Europe/Berlin, dst: {gap: at_transition, overlap: first}}
    target: {task: billing.nightly, payload: {full: true}}
    overlap: {policy: queue_latest, max_concurrency: 1}
    misfire: {policy: catch_up, grace: 60s, window: 7d, max: 100, order: oldest_first, spacing: 2s}
    retry: {max_attempts: 5, backoff: exponential, initial: 30s, max: 15m}
    timeout: 10m
    pause_after_failures: 5
"""
POLL = """
  - name: billing/poll
    rule: {every: 5m, anchor: "2026-01-01T00:00:00Z"}
    target: {task: billing.poll}
    misfire: skip
"""
THIRD = """
  - {name: billing/third, rule: {every: 1h}, target: {task: third}}
"""


def file_of(*entries: str) -> dict[str, str]:
    return {"all.yaml": "version: 1\nschedules:" + ("".join(entries) or " []\n")}


@dataclass
class Desk:
    """A client at a set called ``ours``."""

    fleet: Fleet
    client: Client

    def apply(self, *entries: str, set: str = "ours", **options: Any) -> dict[str, Step]:
        return {step.name: step for step in self.client.schedule_files.apply(file_of(*entries), set=set, **options)}

    def diff(self, *entries: str, set: str = "ours", **options: Any) -> dict[str, Step]:
        return {step.name: step for step in self.client.schedule_files.diff(file_of(*entries), set=set, **options)}

    def actions(self, steps: dict[str, Step]) -> dict[str, str]:
        return {name.removeprefix("billing/"): str(step.action) for name, step in steps.items()}

    def names(self) -> list[str]:
        return [each.name for each in self.client.schedules.list()]


@pytest.fixture
def desk(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Desk:
    return Desk(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


@pytest.mark.case("schedules", 66)
def test_applying_the_same_files_twice_changes_nothing(desk: Desk) -> None:
    made = desk.apply(NIGHTLY, POLL)
    assert desk.actions(made) == {"nightly": "create", "poll": "create"}
    desk.fleet.pass_time(MINUTE)
    before = desk.client.schedules.list()
    again = desk.apply(NIGHTLY, POLL)
    assert [step.is_done for step in again.values()] == [True, True]
    assert desk.client.schedules.list() == before
    assert not any(step.changes or step.before or step.after for step in again.values())


@pytest.mark.case("schedules", 66)
def test_prune_deletes_what_the_set_owns_and_spares_other_owners(desk: Desk) -> None:
    desk.client.schedules.put("by-hand", every("1h"), "task")
    desk.apply(THIRD.replace("billing", "theirs"), set="theirs")
    desk.apply(NIGHTLY, POLL, THIRD)
    assert desk.actions(desk.apply(NIGHTLY, POLL)) == {"nightly": "unchanged", "poll": "unchanged"}
    assert len(desk.names()) == 5
    assert desk.actions(desk.apply(NIGHTLY, POLL, prune=True))["third"] == "delete"
    assert desk.names() == ["billing/nightly", "billing/poll", "by-hand", "theirs/third"]


@pytest.mark.case("schedules", 66)
def test_no_apply_unpauses(desk: Desk) -> None:
    desk.apply(POLL)
    desk.client.schedules.pause("billing/poll", reason="upstream down")
    desk.apply(POLL)
    changed = desk.apply(POLL.replace("5m", "10m"))["billing/poll"]
    assert changed.is_paused
    desk.apply(POLL, force=True)
    renamed = POLL.replace("name: billing/poll", "name: billing/ask\n    renamed_from: billing/poll")
    desk.apply(renamed, prune=True)
    view = desk.client.schedules.get("billing/ask")
    assert (view.state.value, view.reason, view.paused_by) == ("paused", "upstream down", "user:ana")


def test_more_than_half_of_a_set_goes_only_if_somebody_says_so(desk: Desk) -> None:
    desk.apply(NIGHTLY, POLL, THIRD)
    with pytest.raises(InvalidOption, match="2 of the 3") as caught:
        desk.apply(NIGHTLY, prune=True)
    assert caught.value.details["option"] == "allow_large"
    assert len(desk.names()) == 3
    desk.apply(NIGHTLY, prune=True, allow_large=True)
    assert desk.names() == ["billing/nightly"]


def test_half_of_a_set_may_go(desk: Desk) -> None:
    desk.apply(NIGHTLY, POLL)
    desk.apply(NIGHTLY, prune=True)
    assert desk.names() == ["billing/nightly"]


def test_a_field_changed_by_hand_is_a_conflict_until_forced(desk: Desk) -> None:
    desk.apply(POLL, NIGHTLY)
    desk.client.schedules.put("billing/poll", every("7m", anchor="2026-01-01T00:00:00Z"), "billing.poll", misfire="skip")
    with pytest.raises(ScheduleConflict, match="billing/poll: rule") as caught:
        desk.apply(POLL.replace("5m", "6m"), NIGHTLY.replace("10m", "11m"))
    assert [each["field"] for each in caught.value.errors] == ["rule"]
    assert desk.diff(NIGHTLY)["billing/nightly"].is_done, "nothing of a refused apply is written"
    made = desk.apply(POLL, force=True)["billing/poll"]
    assert made.changes[0].before == {"every": "7m", "anchor": "2026-01-01T00:00:00Z"}
    assert desk.diff(POLL)["billing/poll"].is_done


def test_what_was_changed_by_hand_to_what_the_file_says_is_none(desk: Desk) -> None:
    desk.apply(POLL)
    desk.client.schedules.put("billing/poll", every("7m", anchor="2026-01-01T00:00:00Z"), "billing.poll", misfire="skip")
    assert desk.apply(POLL.replace("5m", "7m"))["billing/poll"].is_done
    assert desk.apply(POLL.replace("5m", "8m"))["billing/poll"].action is Action.UPDATE, "it is the set's again"


def test_schedules_of_nobody_are_taken_over_where_they_agree(desk: Desk) -> None:
    desk.client.schedules.put("billing/third", every("1h"), "third")
    desk.client.schedules.put("billing/poll", every("7m"), "billing.poll")
    with pytest.raises(ScheduleConflict, match="nobody's files own it"):
        desk.apply(POLL, THIRD)
    assert desk.actions(desk.apply(THIRD)) == {"third": "adopt"}
    assert desk.actions(desk.apply(POLL, force=True)) == {"poll": "update"}
    assert desk.client.schedules.get("billing/third").revision == 1


def test_what_another_set_owns_is_taken_by_force_only(desk: Desk) -> None:
    desk.apply(THIRD, set="theirs")
    with pytest.raises(ScheduleConflict, match="the set 'theirs' owns it"):
        desk.apply(THIRD)
    desk.apply(THIRD, force=True)
    assert desk.actions(desk.apply(THIRD)) == {"third": "unchanged"}
    with pytest.raises(ScheduleConflict):
        desk.apply(THIRD, set="theirs")


def test_a_renamed_schedule_keeps_its_history(desk: Desk) -> None:
    desk.apply(POLL)
    before = desk.client.schedules.get("billing/poll")
    desk.client.schedules.trigger("billing/poll", reason="see")
    renamed = POLL.replace("name: billing/poll", "name: billing/ask\n    renamed_from: billing/poll")
    for _ in range(2):
        desk.apply(renamed, prune=True)
        with pytest.raises(UnknownSchedule):
            desk.client.schedules.get("billing/poll")
        view = desk.client.schedules.get("billing/ask")
        assert (view.id, view.revision, view.created_at) == (before.id, 1, before.created_at)
        assert [each.reason for each in desk.client.schedules.occurrences("billing/ask").data] == ["see"]


def test_two_that_both_exist_are_not_made_one(desk: Desk) -> None:
    desk.apply(POLL, THIRD)
    both = THIRD.replace("name: billing/third,", "name: billing/third, renamed_from: billing/poll,")
    with pytest.raises(FileInvalid, match=r"all.yaml:3:5: billing/poll and billing/third both exist"):
        desk.apply(both)


def test_a_diff_shows_fields_and_the_next_fires_and_writes_nothing(desk: Desk) -> None:
    desk.apply(POLL)
    made = desk.diff(POLL.replace("5m", "10m"), NIGHTLY, prune=True)
    poll, nightly = made["billing/poll"], made["billing/nightly"]
    assert [(each.field, each.before["every"], each.after["every"]) for each in poll.changes] == [("rule", "5m", "10m")]
    assert (len(poll.before), len(poll.after)) == (50, 50)
    assert len(set(poll.after) & set(poll.before)) == 25
    assert nightly.action is Action.CREATE
    assert nightly.before == ()
    assert len(nightly.after) == 50
    assert desk.names() == ["billing/poll"]
    assert desk.actions(desk.diff(NIGHTLY, prune=True)) == {"nightly": "create", "poll": "delete"}


def test_an_edit_from_a_file_settles_what_was_due_before_by_the_old_rule(desk: Desk) -> None:
    desk.apply(POLL.replace("misfire: skip", "misfire: catch_up"))
    desk.fleet.pass_time(HOUR)
    desk.apply(POLL.replace("5m", "1h"))
    assert len(desk.client.schedules.occurrences("billing/poll", limit=100).data) == 12


def test_an_export_is_a_file_that_changes_nothing(desk: Desk) -> None:
    full = NIGHTLY + (
        "    enabled: false\n    start_at: 2026-01-01T00:00:00Z\n    max_runs: 9\n    jitter: {max: 30s, mode: random}\n"
        "    priority: 7\n    queue: slow\n    attributes: {team: '12'}\n    deadline: 2h\n    start_within: 1h\n"
        "    keep: {run: 3d}\n"
    )
    other = """
  - name: billing/steps
    rule: {any: [{cron: "0 3 * * 1-5", timezone: UTC}, {at: ["2036-12-31T23:00:00Z"]}], except: ["2036-05-01"], timezone: UTC}
    target: {http: {method: POST, url: "https://93.184.215.14/ping"}, payload: {a: "10:30", b: [1, 1.5, null, "yes", "1e3"]}}
    retry: {backoff: steps, delays: [1s, 1m], on: [builtins.ConnectionError]}
    overlap: allow
    timeout: 42s
"""
    desk.apply(full, POLL, THIRD, other)
    text = desk.client.schedule_files.export(set="ours")
    again = desk.client.schedule_files.apply({"exported.yaml": text}, set="ours", prune=True)
    assert {step.name: step.changes for step in again if not step.is_done} == {}
    for name in desk.names():
        desk.client.schedules.delete(name)
    desk.client.schedule_files.apply({"exported.yaml": text}, set="ours")
    assert desk.client.schedule_files.export(set="ours") == text
    assert desk.client.schedule_files.export() == text
    assert desk.client.schedule_files.export(set="theirs") == "version: 1\nschedules: []\n"


def test_a_schedule_put_by_a_program_is_exported_with_its_whole_policy(desk: Desk) -> None:
    desk.client.schedules.put("by-hand", every("1h"), "task", timeout="9m", max_attempts=7, priority=3)
    text = desk.client.schedule_files.export()
    (step,) = desk.client.schedule_files.apply({"f": text}, set="ours")
    assert step.action is Action.ADOPT


def test_all_that_is_wrong_is_told_at_once_with_its_place(desk: Desk) -> None:
    with pytest.raises(FileInvalid) as caught:
        desk.apply(
            '\n  - name: a\n    rule: {cron: "61 * * * *", timezone: Mars/Olympus}\n    target: {task: "no good"}\n'
            "    overlap: never\n"
            "\n  - name: b\n    rule: {every: 1h}\n    target: {task: t}\n    alarms: {}\n    enabled: yes\n"
            "\n  - {name: c, rule: {every: 1h}, target: {workflow: w}, retry: {backoff: fixed}}\n"
        )
    told = {(each["line"], each["path"]) for each in caught.value.errors}
    assert {path for _, path in told} == {
        "schedules[0].rule.cron", "schedules[0].rule.timezone", "schedules[0].target.task", "schedules[0].overlap.policy",
        "schedules[1].alarms", "schedules[1].enabled", "schedules[2].target",
    }  # fmt: skip
    assert {line for line, path in told if path.startswith("schedules[1]")} == {11, 12}
    assert desk.names() == []


def test_a_name_twice_and_a_rule_that_is_never_due_are_refused_with_their_place(desk: Desk) -> None:
    with pytest.raises(FileInvalid, match="there twice"):
        desk.apply(THIRD, THIRD)
    with pytest.raises(FileInvalid, match=r"all.yaml:\d+:5: .*50 years"):
        desk.apply(THIRD, '\n  - {name: z, rule: {cron: "0 0 30 2 *", timezone: UTC}, target: {task: t}}\n')
    assert desk.names() == []


@pytest.mark.parametrize("noticed", [True, False])
def test_a_schedule_that_can_no_longer_be_read_stops_no_apply_and_is_revised(desk: Desk, noticed: bool) -> None:
    desk.apply(POLL, THIRD)
    desk.fleet.sql("UPDATE schedule_revisions SET spec = replace(spec, '\"every\"', '\"evry\"')")
    if noticed:
        desk.fleet.pass_time(2 * HOUR)
        desk.fleet.tick()
        assert desk.client.schedules.get("billing/poll").state == "broken"
        assert "billing" not in desk.client.schedule_files.export()
    assert desk.actions(desk.apply(POLL, THIRD)) == {"poll": "update", "third": "update"}
    view = desk.client.schedules.get("billing/poll")
    assert (view.revision, view.spec is None) == (2, False)
    assert desk.apply(POLL, THIRD)["billing/poll"].is_done
