"""Schedules on every database: what is due is decided once, with its run and its cursor; slots, pauses, triggers, edits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mainspring.client import Client
from mainspring.core.attempts import Failed, GaveItselfBack
from mainspring.core.durations import HOUR, MINUTE, SECOND
from mainspring.core.rule_building import cron, every, once
from mainspring.core.states import State
from mainspring.errors import InvalidOption, NeverDue, RuleInvalid, UnknownSchedule
from mainspring.operations import schedules
from mainspring.operations.claims import Claimed
from mainspring.operations.occurrences import Occurrence
from mainspring.operations.schedules import Triggered
from mainspring.store.database import Transaction
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.support.builders import AnyDatabase, Fleet, together

STEP = 61 * SECOND  # so that no two instants of a minute's grid have one name, where time passes by moving the past away


@dataclass
class Stage:
    """A fleet with schedules, of which one is called ``ping`` and runs a task of that name."""

    fleet: Fleet
    client: Client

    def put(self, rule: Any = None, name: str = "ping", **options: Any) -> Any:
        return self.client.schedules.put(name, rule or every("1m"), "ping", payload={"n": 1}, **options)

    def elapse(self, us: int = STEP) -> int:
        """Time passes and upkeep looks; how many schedules it looked at."""
        self.fleet.pass_time(us)
        return self.tick()

    def tick(self) -> int:
        made, looked = self.fleet.tick(), 0
        while True:
            report = made.stages["schedules"]
            if report.error is not None:
                raise report.error
            looked += report.done
            if not report.more:
                return looked
            made = self.fleet.tick()

    def ledger(self, name: str = "ping") -> list[Occurrence]:
        """Its occurrences, the oldest first."""
        return self.client.schedules.occurrences(name, limit=500).data[::-1]

    def fates(self, name: str = "ping") -> list[str]:
        return [each.disposition.value for each in self.ledger(name)]

    def states(self, name: str = "ping") -> list[State]:
        return [self.fleet.get(each.run_id).state for each in self.ledger(name)]

    def work(self, outcome: Any = None) -> list[Claimed]:
        """Whatever is queued is run to its end."""
        claimed = self.fleet.claim("w1")
        self.fleet.finish(claimed, outcome)
        return claimed

    def now_in(self, us: int) -> str:
        from mainspring.core.durations import format_instant

        return format_instant(self.fleet.now + us)


@pytest.fixture
def stage(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Stage:
    fleet.new(task="ping", queue="default")
    return Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


# -- what is due -------------------------------------------------------------------------------------------------------------


def test_nothing_is_due_at_creation_and_the_first_instant_fires_once(stage: Stage) -> None:
    stage.put()
    assert stage.tick() == 0
    stage.elapse()
    assert stage.fates() == ["fired"]
    assert stage.tick() == 0
    assert stage.states() == [State.QUEUED]


def test_a_run_carries_the_payload_and_says_who_made_it(stage: Stage) -> None:
    stage.put()
    stage.elapse()
    (claimed,) = stage.fleet.claim("w1")
    assert claimed.body == b'{"n":1}'
    assert stage.fleet.ledger(claimed.id)[0].actor == "schedule:ping"


@pytest.mark.case("schedules", 30)
def test_three_hours_down_fire_the_newest_minute_as_one_run(stage: Stage) -> None:
    stage.put()
    stage.elapse(3 * HOUR + 30 * SECOND)
    newest = stage.ledger()[-1]
    assert (newest.disposition, newest.covers_count) == ("fired", 180)
    (older,) = stage.client.schedules.ranges("ping")
    assert older.count + len(stage.ledger()) == 180
    assert {each.into_key for each in stage.ledger()[:-1]} == {newest.key}


@pytest.mark.case("schedules", 29)
def test_on_time_work_runs_under_skip_although_the_planner_sees_it_late(stage: Stage) -> None:
    stage.put(misfire="skip")
    stage.elapse(60 * SECOND + 40_000)
    assert stage.fates() == ["fired"]


@pytest.mark.case("schedules", 31)
def test_a_day_of_missed_seconds_stops_nothing_and_takes_a_bounded_number_of_rows(stage: Stage) -> None:
    stage.put(every("1s"), misfire={"policy": "catch_up", "max": 100}, overlap="allow")
    stage.elapse(30 * HOUR + 500_000)
    stage.elapse(2 * SECOND)  # at the pace of all late ones
    fates = stage.fates()
    assert fates.count("fired") >= 100
    assert sum(each.is_late for each in stage.ledger() if each.disposition == "fired") == 100
    ranges = stage.client.schedules.ranges("ping")
    missed = 30 * 3600
    assert missed <= sum(each.count for each in ranges) + len(fates) <= missed + 30  # a server's clock goes on meanwhile
    assert stage.client.schedules.get("ping").state == "active"


@pytest.mark.case("schedules", 32)
def test_an_interval_shorter_than_the_poll_loses_nothing(stage: Stage) -> None:
    stage.put(every("1s"), overlap="allow")
    stage.elapse(7 * SECOND + 300_000)
    assert stage.fates() == ["fired"] * 7


@pytest.mark.case("schedules", 28)
def test_a_spent_once_has_ended_and_writes_nothing_more(stage: Stage) -> None:
    at = stage.now_in(30 * SECOND)
    stage.put(once(at))
    if stage.fleet.clock is None:  # time passes by moving the past away, and this is no past yet
        stage.fleet.sql(f"UPDATE schedule_revisions SET spec = replace(spec, '{at}', '{stage.now_in(30 * SECOND - STEP)}')")
    stage.elapse()
    assert stage.fates() == ["fired"]
    stage.work()
    stage.tick()
    assert stage.client.schedules.get("ping").state == "ended"
    assert stage.elapse(HOUR) == 0


@pytest.mark.case("schedules", 28)
def test_a_once_in_the_past_is_refused_aloud(stage: Stage) -> None:
    with pytest.raises(NeverDue):
        stage.put(once("2001-01-01T00:00:00Z"))
    with pytest.raises(UnknownSchedule):
        stage.client.schedules.get("ping")


@pytest.mark.case("schedules", 24)
def test_a_date_that_never_comes_is_refused(stage: Stage) -> None:
    with pytest.raises((NeverDue, RuleInvalid)):
        stage.put(cron("0 0 30 2 *", tz="UTC"))


def test_max_runs_ends_the_schedule(stage: Stage) -> None:
    stage.put(max_runs=2, overlap="allow")
    for _ in range(4):
        stage.elapse()
    assert stage.fates() == ["fired"] * 2
    assert stage.client.schedules.get("ping").state == "ended"


def test_two_planners_at_once_decide_each_instant_once(stage: Stage, rival: AnyDatabase) -> None:
    for number in range(5):
        stage.put(name=f"s{number}", overlap="allow")
    stage.fleet.pass_time(3 * MINUTE + 7 * SECOND)
    other = Fleet(database=rival, clock=stage.fleet.clock)
    together(stage.fleet.tick, other.tick)
    stage.tick()
    for number in range(5):
        ledger = stage.ledger(f"s{number}")
        assert len({each.nominal_at for each in ledger}) == len(ledger) == 3
    assert len(stage.fleet.claim("w1")) == sum(stage.fates(f"s{n}").count("fired") for n in range(5))


@pytest.mark.case("schedules", 67)
def test_the_schedules_of_every_namespace_are_planned(stage: Stage) -> None:
    others = [
        Client(stage.client.database, namespace=name, system=stage.client.system, actor="user:bob") for name in ("east", "west")
    ]
    stage.put()
    for other in others:
        other.schedules.put("ping", every("1m"), "ping", payload={"n": 1})
    assert stage.elapse() == 3
    assert stage.fates() == ["fired"]
    for other in others:
        (seen,) = other.schedules.occurrences("ping").data
        assert (seen.disposition, other.runs.get(seen.run_id).run.state) == (
            "fired",
            "queued",
        )  # a run of another namespace is not found


@pytest.mark.case("schedules", 44)
def test_a_schedule_with_a_thousand_blocked_runs_delays_no_other(stage: Stage) -> None:
    options = {"overlap": {"policy": "forbid", "buffer_max": 1_000}}
    stage.put(every("1s"), name="crowd", misfire={"policy": "catch_up", "grace": "1s", "max": 1_001}, **options)
    stage.elapse(1_001 * SECOND + 300_000)
    assert stage.fates("crowd").count("waiting") >= 400  # of a page of 500
    stage.put()
    stage.fleet.pass_time(STEP + 300_000)
    report = stage.fleet.tick().stages["schedules"]  # one pass
    assert (report.error, stage.fates()) == (None, ["fired"])
    claimed = stage.fleet.claim("w1")
    assert stage.ledger()[0].run_id in {each.id for each in claimed}
    assert len(claimed) == 2  # it, and the one of the crowd that has the slot


@pytest.mark.case("schedules", 67)
def test_a_schedule_that_cannot_be_planned_says_so_and_holds_up_nobody(stage: Stage) -> None:
    stage.put(name="good")
    stage.put(name="bad")
    stage.fleet.sql("UPDATE schedule_revisions SET spec = replace(spec, 'every', 'evry')"
                    " WHERE schedule_id = (SELECT id FROM schedules WHERE name = 'bad')")  # fmt: skip
    stage.elapse()
    assert stage.fates("good") == ["fired"]
    assert stage.client.schedules.get("bad").state == "broken"
    assert "has one of" in (stage.client.schedules.get("bad").reason or "")
    stage.fleet.sql("UPDATE schedule_revisions SET spec = replace(spec, 'evry', 'every')")
    stage.elapse(2 * MINUTE)
    assert stage.client.schedules.get("bad").state == "active"
    assert stage.fates("bad")[-1] == "fired"


@pytest.mark.case("schedules", 67)
def test_an_edit_heals_a_schedule_whose_old_rule_no_longer_parses(stage: Stage) -> None:
    stage.put(cron("* * * * *", tz="UTC"))
    stage.elapse()
    assert stage.fates() == ["fired"]
    stage.work()
    stage.fleet.sql("UPDATE schedule_revisions SET spec = replace(spec, '* * * * *', '* * * *')")
    stage.elapse()
    assert stage.client.schedules.get("ping").state == "broken"
    stage.put(every("1m"))
    assert stage.client.schedules.get("ping").state == "active"
    assert "unreadable" in [each.type for each in stage.client.schedules.events("ping")]
    stage.elapse()
    assert stage.fates() == ["fired", "fired"]


# -- slots -------------------------------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 39)
def test_forbid_runs_three_caught_up_ones_oldest_first_one_by_one(stage: Stage) -> None:
    stage.put(misfire="catch_up")
    stage.elapse(3 * MINUTE + 7 * SECOND)
    assert stage.fates() == ["fired", "waiting", "waiting"]
    seen = []
    for _ in range(3):
        (claimed,) = stage.work()
        seen.append(claimed.id)
        stage.tick()
    assert seen == [each.run_id for each in stage.ledger()]
    assert stage.fates() == ["fired"] * 3


@pytest.mark.case("schedules", 39)
def test_with_three_slots_they_run_together(stage: Stage) -> None:
    stage.put(misfire="catch_up", overlap={"policy": "forbid", "max_concurrency": 3})
    stage.elapse(3 * MINUTE + 7 * SECOND)
    assert stage.fates() == ["fired"] * 3


@pytest.mark.case("schedules", 41)
@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("buffer_one", ["fired", "waiting", "skipped_overlap", "skipped_overlap"]),
        ("queue_latest", ["fired", "superseded", "superseded", "waiting"]),
        ("skip", ["fired", "skipped_overlap", "skipped_overlap", "skipped_overlap"]),
    ],
)
def test_behind_a_running_one_each_policy_tells_the_fate_of_three(stage: Stage, policy: str, told: list[str]) -> None:
    stage.put(overlap=policy)
    stage.elapse()
    assert stage.fleet.claim("w1")
    for _ in range(3):
        stage.elapse()
    assert stage.fates() == told
    assert [state for state in stage.states()[1:] if state is not State.BLOCKED] == [State.SKIPPED] * (3 - told.count("waiting"))


@pytest.mark.case("schedules", 40)
def test_replace_asks_the_active_run_to_stop_and_starts_the_newest_once_it_has(stage: Stage) -> None:
    stage.put(overlap="replace")
    stage.elapse()
    (active,) = stage.fleet.claim("w1")
    stage.elapse()
    stage.elapse()
    assert stage.fates() == ["fired", "superseded", "waiting"]
    assert stage.fleet.get(active.id).state is State.CANCELLING
    assert stage.fleet.claim("w1") == []
    stage.fleet.finish(active)
    stage.tick()
    assert stage.states()[0] is State.CANCELLED
    assert [run.id for run in stage.fleet.claim("w1")] == [stage.ledger()[2].run_id]


@pytest.mark.case("schedules", 43)
def test_after_the_crash_of_a_worker_the_slot_is_neither_doubled_nor_kept_for_ever(stage: Stage) -> None:
    stage.put()
    stage.elapse()
    assert len(stage.fleet.claim("w1")) == 1
    stage.fleet.bury("w1")
    stage.elapse()
    assert stage.fates() == ["fired", "waiting"]
    stage.work()
    stage.tick()
    assert stage.fates() == ["fired", "fired"]


def test_a_run_that_gives_itself_back_keeps_its_slot(stage: Stage) -> None:
    stage.put()
    stage.elapse()
    stage.work(GaveItselfBack(after_us=10 * MINUTE))
    stage.elapse()
    assert stage.fates() == ["fired", "waiting"]


def test_one_that_finds_no_slot_within_its_time_missed_its_window(stage: Stage) -> None:
    stage.put(every("1h"), start_within="10m")
    stage.elapse(HOUR + SECOND)
    stage.fleet.claim("w1")
    stage.elapse(HOUR + SECOND)
    assert stage.fates() == ["fired", "waiting"]
    stage.elapse(11 * MINUTE)
    late = stage.ledger()[1]
    assert (late.disposition.value, late.reason_code) == ("missed_window", "start_within")
    assert stage.states() == [State.RUNNING, State.SKIPPED]
    assert stage.fleet.get(late.run_id).reason == "expired"


def test_a_waiting_run_that_somebody_cancels_is_withdrawn(stage: Stage) -> None:
    stage.put()
    stage.elapse()
    stage.fleet.claim("w1")
    stage.elapse()
    stage.fleet.cancel(stage.ledger()[1].run_id)
    assert stage.fates() == ["fired", "withdrawn"]


def test_late_ones_beyond_those_that_may_wait_enter_as_places_free(stage: Stage) -> None:
    stage.put(misfire="catch_up", overlap={"policy": "forbid", "buffer_max": 2})
    stage.elapse(5 * MINUTE + 7 * SECOND)
    assert stage.fates() == ["fired", "waiting", "waiting"], "the last is live, and has its place; the others wait outside"
    for _ in range(5):
        stage.work()
        stage.tick()
    assert stage.fates() == ["fired"] * 5


def test_more_live_ones_than_may_wait_are_turned_away_and_said_to_be(stage: Stage) -> None:
    stage.put(overlap={"policy": "forbid", "buffer_max": 2})
    for _ in range(5):
        stage.elapse()
    assert stage.fates() == ["fired", "waiting", "waiting", "buffer_full", "buffer_full"]


def test_late_ones_that_are_spaced_out_start_one_after_the_other(stage: Stage) -> None:
    stage.put(misfire={"policy": "catch_up", "spacing": "10s"}, overlap="allow")
    stage.elapse(4 * MINUTE + 30 * SECOND)
    assert stage.fates() == ["fired", "waiting", "waiting", "fired"]
    stage.elapse(11 * SECOND)
    assert stage.fates() == ["fired", "fired", "waiting", "fired"]
    stage.elapse(11 * SECOND)
    assert stage.fates() == ["fired"] * 4


# -- control -----------------------------------------------------------------------------------------------------------------


@pytest.mark.case("schedules", 45)
def test_resume_settles_what_was_due_while_paused(stage: Stage) -> None:
    stage.put()
    stage.client.schedules.pause("ping", reason="upstream down")
    stage.elapse(3 * MINUTE + 7 * SECOND)
    assert stage.fates() == []
    assert (stage.client.schedules.get("ping").state, stage.client.schedules.get("ping").reason) == ("paused", "upstream down")
    stage.client.schedules.resume("ping")
    assert stage.fates() == ["coalesced", "coalesced", "fired"]


@pytest.mark.case("schedules", 46)
def test_a_pause_made_while_a_run_executes_still_holds_after_it_ends(stage: Stage) -> None:
    stage.put()
    stage.elapse()
    claimed = stage.fleet.claim("w1")
    stage.client.schedules.pause("ping", reason="wait")
    stage.fleet.finish(claimed)
    stage.elapse()
    assert stage.fates() == ["fired"]
    assert stage.client.schedules.get("ping").state == "paused"


@pytest.mark.case("schedules", 48)
def test_an_edit_settles_earlier_instants_by_the_old_rule_and_later_ones_by_the_new(stage: Stage) -> None:
    stage.put(overlap="allow")
    stage.fleet.pass_time(2 * MINUTE + 7 * SECOND)
    stage.put(every("1h"), overlap="allow")
    assert [each.revision for each in stage.ledger()] == [1, 1]
    stage.elapse(HOUR)
    assert [each.revision for each in stage.ledger()] == [1, 1, 2]


@pytest.mark.case("schedules", 48)
def test_an_edit_of_a_paused_schedule_leaves_what_was_due_before_to_the_old_rule(stage: Stage) -> None:
    stage.put(overlap="allow")
    stage.client.schedules.pause("ping", reason="wait")
    stage.fleet.pass_time(2 * MINUTE + 7 * SECOND)
    stage.put(every("30s"), overlap="allow")
    stage.fleet.pass_time(MINUTE)
    stage.put(every("1h"), overlap="allow")
    stage.fleet.pass_time(HOUR)
    assert stage.ledger() == []
    stage.client.schedules.resume("ping")
    stage.tick()
    assert [(each.revision, str(each.disposition)) for each in stage.ledger()] == [
        (1, "coalesced"), (1, "fired"), (2, "coalesced"), (2, "fired"), (3, "fired")
    ]  # fmt: skip


@pytest.mark.case("schedules", 48)
def test_what_jitter_puts_off_beyond_an_edit_is_still_due_by_the_old_rule(stage: Stage) -> None:
    jitter = {"max": "50s", "mode": "hash"}
    names = [stage.put(name=f"put-off-{number}", jitter=jitter).name for number in range(20)]
    stage.elapse()
    put_off = next(name for name in names if stage.ledger(name) == [])
    stage.put(every("1h"), name=put_off)
    stage.elapse()
    assert [each.revision for each in stage.ledger(put_off)] == [1]


def test_of_two_edits_at_once_both_become_revisions(stage: Stage, rival: AnyDatabase) -> None:
    stage.put()
    other = Stage(stage.fleet, Client(rival, namespace=stage.fleet.namespace, system=stage.client.system, actor="user:bob"))
    together(lambda: stage.put(every("1h")), lambda: other.put(every("2h")))
    rows = stage.fleet.sql("SELECT revision, spec, actor FROM schedule_revisions ORDER BY revision")
    assert [row[0] for row in rows] == [1, 2, 3]
    assert {row[2] for row in rows} == {"user:ana", "user:bob"}
    assert stage.client.schedules.get("ping").revision == 3


def test_of_two_that_make_one_name_at_once_the_second_edits(stage: Stage, rival: AnyDatabase) -> None:
    other = Stage(stage.fleet, Client(rival, namespace=stage.fleet.namespace, system=stage.client.system))
    first, second = together(lambda: stage.put(every("1h")), lambda: other.put(every("2h")))
    assert first.id == second.id
    assert stage.client.schedules.get("ping").revision == 2


@pytest.mark.case("schedules", 47)
def test_a_pause_that_outlasts_a_disabling_keeps_what_was_due_before_it(stage: Stage) -> None:
    stage.put()
    stage.client.schedules.pause("ping", reason="wait")
    stage.fleet.pass_time(2 * MINUTE + 7 * SECOND)
    stage.put(enabled=False)
    stage.fleet.pass_time(HOUR)
    stage.put()
    stage.client.schedules.resume("ping")
    stage.tick()
    assert [(each.revision, str(each.disposition)) for each in stage.ledger()] == [(1, "coalesced"), (1, "fired")]


def test_a_trigger_whose_commit_is_unknown_and_is_tried_again_is_one(stage: Stage) -> None:
    stage.put()
    stage.elapse()  # one runs, so that the trigger waits
    run_id = stage.client.system.new_id()

    def call(tx: Transaction) -> Triggered:
        return schedules.trigger(
            tx, "ping", run_id, namespace=stage.fleet.namespace, actor="user:ana", reason="now", body=None, as_of=None
        )

    first, again = (stage.fleet.database.write("schedules.trigger", call) for _ in range(2))
    assert (again, first.disposition) == (first, "waiting")
    assert stage.fates() == ["fired", "waiting"]


def test_putting_the_same_twice_changes_nothing(stage: Stage) -> None:
    first = stage.put()
    assert stage.put() == first


@pytest.mark.case("schedules", 49)
def test_a_manual_run_leaves_cursor_next_fire_and_max_runs_alone(stage: Stage) -> None:
    stage.put(max_runs=1)
    before = stage.client.schedules.get("ping")
    made = stage.client.schedules.trigger("ping", reason="after the outage", as_of=stage.now_in(HOUR))
    assert made.disposition == "fired"
    after = stage.client.schedules.get("ping")
    assert (after.next_nominal_at, after.fired) == (before.next_nominal_at, before.fired)
    stage.work()
    stage.elapse()
    manual, planned = sorted(stage.ledger(), key=lambda each: each.origin)
    assert (manual.reason, manual.actor, planned.disposition) == ("after the outage", "user:ana", "fired")


def test_a_trigger_works_while_paused_and_takes_its_own_payload(stage: Stage) -> None:
    stage.put()
    stage.client.schedules.pause("ping", reason="wait")
    made = stage.client.schedules.trigger("ping", reason="now", payload={"n": 2})
    (claimed,) = stage.fleet.claim("w1")
    assert (claimed.id, claimed.body) == (made.run_id, b'{"n":2}')
    assert stage.client.schedules.get("ping").state == "paused"


@pytest.mark.case("schedules", 50)
def test_deleting_a_schedule_with_a_running_occurrence_keeps_that_runs_result(stage: Stage) -> None:
    stage.put()
    stage.elapse()
    claimed = stage.fleet.claim("w1")
    stage.client.schedules.delete("ping")
    stage.fleet.finish(claimed)
    assert stage.fleet.get(claimed[0].id).state is State.SUCCEEDED
    stage.put()
    stage.elapse()
    assert stage.fates() == ["fired"]


@pytest.mark.parametrize("over", ["delete", "disable"])
def test_what_waits_is_withdrawn_when_its_schedule_is_over(stage: Stage, over: str) -> None:
    stage.put()
    stage.elapse()
    stage.fleet.claim("w1")
    stage.elapse()
    waiting = stage.ledger()[1]
    if over == "delete":
        stage.client.schedules.delete("ping")
    else:
        stage.put(enabled=False)
        assert stage.fates() == ["fired", "withdrawn"]
    assert stage.fleet.get(waiting.run_id).state is State.CANCELLED


def test_failures_in_a_row_pause_the_schedule_and_a_success_begins_anew(stage: Stage) -> None:
    stage.put(pause_after_failures=2)
    for outcome in (Failed(code="error", message="no", final=True), None, Failed(code="error", message="no", final=True)):
        stage.elapse()
        stage.work(outcome)
    assert stage.client.schedules.get("ping").failure_streak == 1
    stage.elapse()
    stage.work(Failed(code="error", message="no", final=True))
    stage.elapse()
    seen = stage.client.schedules.get("ping")
    assert (seen.state, seen.paused_by, len(stage.ledger())) == ("paused", "system", 4)
    stage.client.schedules.resume("ping")
    assert stage.client.schedules.get("ping").state == "active"


def test_a_disabled_schedule_has_nothing_due(stage: Stage) -> None:
    stage.put(enabled=False)
    stage.elapse(HOUR)
    assert (stage.fates(), stage.client.schedules.get("ping").state) == ([], "disabled")


@pytest.mark.case("schedules", 47)
def test_enabling_a_schedule_disabled_for_an_hour_starts_nothing_of_that_hour(stage: Stage) -> None:
    stage.put()
    stage.put(enabled=False)
    stage.elapse(HOUR)
    stage.put(enabled=True)
    assert stage.fates() == []
    stage.elapse()
    assert stage.fates() == ["fired"]


@pytest.mark.case("schedules", 62)
def test_pages_of_two_over_seven_give_seven_in_order(stage: Stage) -> None:
    stage.put(every("1s"), overlap="allow")
    stage.elapse(7 * SECOND + 300_000)
    seen, cursor = [], None
    while True:
        page = stage.client.schedules.occurrences("ping", limit=2, cursor=cursor)
        seen += page.data
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [each.nominal_at for each in seen] == sorted((each.nominal_at for each in seen), reverse=True)
    assert len({each.key for each in seen}) == 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"overlap": "never"}, {"misfire": {"policy": "skip", "graze": "1s"}}, {"max_runs": 0}, {"jitter": {}},
        {"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}, {"pause_after_failures": True},
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused_by_name(stage: Stage, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        stage.put(**wrong)


# -- lists -------------------------------------------------------------------------------------------------------------------


def test_schedules_are_found_by_whatever_they_can_be_found_by(stage: Stage) -> None:
    stage.put(every("1h"), name="etl/a", attributes={"team": "billing", "tier": 1})
    stage.put(cron("0 0 1 1 *", tz="UTC"), name="etl/b", attributes={"team": "billing"})
    stage.put(every("1h"), name="mail")
    stage.client.schedules.put("other", every("1h"), "elsewhere")
    stage.client.schedules.pause("mail", reason="a look")

    def found(**wanted: Any) -> list[str]:
        return [each.name for each in stage.client.schedules.list(**wanted)]

    assert found() == ["etl/a", "etl/b", "mail", "other"]
    assert found(prefix="etl/") == ["etl/a", "etl/b"]
    assert found(prefix="etl/", after="etl/a") == ["etl/b"]
    assert found(kind="cron") == ["etl/b"]
    assert found(state="paused") == ["mail"]
    assert found(state=["paused", "active"], kind="interval") == ["etl/a", "mail", "other"]
    assert found(target="elsewhere") == ["other"]
    assert found(attributes={"team": "billing", "tier": 1}) == ["etl/a"]
    assert found(next_before=stage.now_in(2 * HOUR)) == ["etl/a", "other"]
    assert found(prefix="none") == []
    for wrong in ({"state": "asleep"}, {"kind": "moon"}, {"next_before": "soon"}, {"limit": 0}):
        with pytest.raises(InvalidOption):
            found(**wrong)


def test_pages_of_schedules_that_are_wanted_give_each_once(stage: Stage) -> None:
    for number in range(7):
        stage.put(every("1h"), name=f"s{number}", attributes={"team": "billing"} if number % 2 else None)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = stage.client.schedules.find(after=after, limit=2, attributes={"team": "billing"})
        seen += [each.name for each in page.data]
        after = page.next_cursor
    assert seen == ["s1", "s3", "s5"]
