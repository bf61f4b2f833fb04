"""After a restored backup nothing between backup and now fires until somebody decides, on every database."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from mainspring.client import Client
from mainspring.core.durations import HOUR, MINUTE, SECOND
from mainspring.core.rule_building import every
from mainspring.core.states import State
from mainspring.errors import InvalidOption, UnknownSchedule
from mainspring.runtime.maintenance import Maintenance
from mainspring.store.database import Database
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.conformance.test_schedules import Stage
from tests.support.builders import TTL, AnyDatabase, Fleet


@pytest.fixture
def stage(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Stage:
    fleet.new(task="ping", queue="default")
    return Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


def _held(stage: Stage) -> None:
    """A minutely schedule whose database came back from a backup of five minutes ago; an hourly one was not due since."""
    stage.put(misfire="catch_up", overlap="allow")
    stage.put(every("1h"), name="hourly")
    stage.elapse()
    stage.fleet.pass_time(5 * MINUTE)
    assert stage.client.holds.restored() == 1
    stage.tick()
    stage.elapse()
    assert stage.fates() == ["fired"]


@pytest.mark.case("schedules", 64)
def test_what_was_due_since_the_backup_waits_and_is_told(stage: Stage) -> None:
    _held(stage)
    seen = stage.client.schedules.get("ping")
    assert (seen.state, "restored" in (seen.reason or "")) == ("held", True)
    assert stage.client.schedules.get("hourly").state == "active"
    (hold,) = stage.client.holds.list()
    assert hold.name == "ping"
    assert hold.after < hold.upto < stage.fleet.now
    assert stage.client.holds.list(after="ping") == []
    assert stage.client.schedules.trigger("ping", reason="a person").disposition == "fired"


@pytest.mark.case("schedules", 64)
def test_suppressed_ones_never_run_later_ones_do_and_the_ledger_names_who_decided(stage: Stage) -> None:
    _held(stage)
    assert stage.client.holds.decide(policy="suppress", reason="they ran before the disk died") == 1
    stage.tick()
    fates = stage.fates()
    assert fates == ["fired"] + ["suppressed_by_restore"] * 5 + ["fired"]
    gone = [each for each in stage.ledger() if each.disposition == "suppressed_by_restore"]
    assert {each.actor for each in gone} == {"user:ana"}
    assert {stage.fleet.get(each.run_id).reason for each in gone} == {"restore"}
    ((actor, data),) = stage.fleet.sql("SELECT actor, data FROM schedule_events WHERE type = 'hold_decided'")
    assert (actor, json.loads(data)) == ("user:ana", {"policy": "suppress", "reason": "they ran before the disk died"})
    assert stage.client.holds.list() == []
    assert stage.client.schedules.get("ping").state == "active"
    stage.elapse()
    assert stage.fates() == [*fates, "fired"]


@pytest.mark.case("schedules", 64)
def test_by_policy_what_was_held_is_settled_as_late(stage: Stage) -> None:
    _held(stage)
    assert stage.client.holds.decide("ping", policy="policy", reason="none of it ran") == 1
    stage.tick()
    assert stage.fates() == ["fired"] * 7
    assert stage.client.holds.decide("ping", policy="policy", reason="again") == 0


def test_a_decision_says_what_it_cannot_be(stage: Stage) -> None:
    with pytest.raises(InvalidOption, match="policy, suppress"):
        stage.client.holds.decide(policy="run", reason="a person")
    with pytest.raises(InvalidOption, match="reason"):
        stage.client.holds.decide(policy="policy", reason=" ")
    with pytest.raises(UnknownSchedule):
        stage.client.holds.decide("none", policy="policy", reason="a person")


def test_what_is_edited_while_held_is_suppressed_under_the_old_rule_and_none_is_left_out(stage: Stage) -> None:
    _held(stage)
    stage.put(every("30s"), misfire="catch_up", overlap="allow")
    stage.client.holds.decide("ping", policy="suppress", reason="a person")
    stage.tick()
    gone = [each for each in stage.ledger() if each.disposition == "suppressed_by_restore"]
    assert [each.revision for each in gone] == [1] * 5


def _service(database: Database, clock: SimulatedClock) -> Maintenance:
    return Maintenance(database, system=SimulatedSystem(clock), ttl_us=TTL, actor="leader", on_due=lambda: None)


@pytest.mark.case("schedules", 64)
@pytest.mark.parametrize("process", ["goes on", "is new"])
def test_a_backup_put_in_the_place_of_the_database_is_noticed(tmp_path: Path, process: str) -> None:
    clock, file, backup = SimulatedClock(), tmp_path / "runs.db", tmp_path / "backup.db"

    def opened() -> SqliteDatabase:
        return SqliteDatabase(str(file), clock=clock)

    def pass_minutes(service: Maintenance, count: int) -> None:
        for _ in range(count):
            clock.advance_us(MINUTE + SECOND)
            service.step()

    with closing(opened()) as database:
        migrate(database, dialect_name="sqlite")
        fleet = Fleet(database=database, clock=clock)
        fleet.new(task="ping", queue="default")
        stage = Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))
        stage.put(overlap="allow")
        service = _service(database, clock)
        pass_minutes(service, 2)
    shutil.copy(file, backup)
    with closing(opened()) as database:
        service = _service(database, clock)
        pass_minutes(service, 3)
        before = database.read("count", lambda tx: tx.one("holds.mark"))
    shutil.copy(backup, file)
    with closing(opened()) as database:
        if process == "goes on":
            (tmp_path / "runs.db.mark").unlink()
            service._database = database
        else:
            service = _service(database, clock)
        stage.client = Client(database, namespace="test", system=SimulatedSystem(clock), actor="user:ana")
        pass_minutes(service, 2)
        assert stage.fates() == ["fired"] * 2
        assert stage.client.schedules.get("ping").state == "held"
        after = database.read("count", lambda tx: tx.one("holds.mark"))
        assert before is not None
        assert after is not None
        assert before[0] != after[0], "another life of the database"
        stage.client.holds.decide(policy="suppress", reason="a person")
        pass_minutes(service, 1)
        assert stage.fates().count("suppressed_by_restore") == 4
        assert stage.fates()[-1] == "fired"


@pytest.mark.case("schedules", 64)
def test_what_a_backup_left_unfinished_is_parked_until_a_person_lets_it_go_on(stage: Stage) -> None:
    fleet, client = stage.fleet, stage.client
    held = fleet.enqueue()
    (claimed,) = fleet.claim("w1")
    ended = fleet.enqueue()
    fleet.finish(fleet.claim("w1"))
    queued, later, behind = fleet.enqueue(), fleet.enqueue(due_at=fleet.now + HOUR), fleet.enqueue(blocked="dependencies")
    client.holds.restored()
    stage.tick()
    assert fleet.claim("w2") == []
    parked = {run: (fleet.get(run).state, fleet.get(run).reason) for run in (held, queued, later)}
    assert set(parked.values()) == {(State.NEEDS_ATTENTION, "restore")}
    assert fleet.get(ended).state is State.SUCCEEDED
    assert fleet.get(behind).state is State.BLOCKED
    fleet.finish([claimed])  # a late word of its old holder
    assert fleet.get(held).state is State.NEEDS_ATTENTION
    client.runs.resume(queued, reason="it did not run")
    assert [run.id for run in fleet.claim("w2")] == [queued]
    new = fleet.enqueue()
    stage.tick()
    assert [run.id for run in fleet.claim("w2")] == [new]
