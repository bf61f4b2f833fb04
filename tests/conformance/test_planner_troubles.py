"""The planner in trouble, on every database: it dies at any statement, has a rival, sleeps, and its clock is set back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mainspring.client import Client
from mainspring.core.backlog import CATCH_UP_RATE
from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.core.rule_building import every
from mainspring.core.states import State
from mainspring.operations import planning, upkeep
from mainspring.runtime.maintenance import Maintenance
from mainspring.store.database import Transaction
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.conformance.test_schedules import STEP, Stage
from tests.support.builders import TTL, AnyDatabase, Fleet, together

T = TypeVar("T")
WRITTEN = ("runs", "events", "occurrences", "occurrence_ranges", "schedules", "schedule_events", "schedule_cursors")


class KilledError(Exception):
    """The process is gone."""


class Mortal:
    """A transaction whose process dies instead of sending its statement number ``left`` (from 0)."""

    def __init__(self, tx: Transaction, left: int) -> None:
        self._tx = tx
        self.left = left
        self.lived = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._tx, name)
        return self._counted(found) if name in {"rows", "one", "execute", "send", "ask"} else found

    def _counted(self, statement: Callable[..., T]) -> Callable[..., T]:
        def sent(*args: Any, **params: Any) -> T:
            if self.lived == self.left:
                raise KilledError(args[0])
            self.lived += 1
            return statement(*args, **params)

        return sent


@pytest.fixture
def stage(fleet: Fleet, database: AnyDatabase, clock: SimulatedClock) -> Stage:
    fleet.new(task="ping", queue="default")
    return Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


def _written(stage: Stage) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(stage.fleet.sql(f"SELECT * FROM {table}"), key=repr) for table in WRITTEN}


def _with_work_of_every_kind(stage: Stage) -> None:
    """What the next settlement has to do: fire, queue, let begin, supersede, skip, put away as ranges, pause, mend."""
    for name, overlap in {"allow": "allow", "queue": "buffer_all", "latest": "queue_latest"}.items():
        stage.put(name=name, overlap=overlap)
    stage.put(name="failing", pause_after_failures=1)
    stage.put(name="mended")
    stage.elapse()
    stage.elapse()
    stage.put(every("1s"), name="second", misfire={"policy": "catch_up", "max": 3}, overlap="allow")
    stage.fleet.sql("UPDATE schedules SET broken = 'it was' WHERE name = 'mended'")
    stage.fleet.sql("UPDATE schedule_cursors SET failure_streak = 1"
                    " WHERE schedule_id = (SELECT id FROM schedules WHERE name = 'failing')")  # fmt: skip
    stage.fleet.finish(stage.fleet.claim("w1"))
    stage.fleet.pass_time(3 * MINUTE + 5 * SECOND)


@pytest.mark.case("schedules", 36)
def test_a_crash_at_any_statement_of_settling_leaves_all_of_it_or_nothing(stage: Stage, database: AnyDatabase) -> None:
    _with_work_of_every_kind(stage)
    before, deaths = _written(stage), list[str]()
    while True:
        lives: list[Mortal] = []

        def settle(tx: Transaction, lives: list[Mortal] = lives) -> None:
            lives.append(Mortal(tx, len(deaths)))
            planning.plan_due(lives[-1], most=100)
            if lives[-1].lived == len(deaths):  # every statement was sent; it dies with nothing left but the commit
                raise KilledError("commit")

        with pytest.raises(KilledError) as death:
            database.write("schedules.plan", settle)
        deaths.append(str(death.value))
        assert _written(stage) == before, f"died at {deaths[-1]}, statement {len(deaths)}, and something stayed"
        if deaths[-1] == "commit":
            break
    assert {"occurrences.create", "occurrences.create_ranges", "occurrences.decide", "cursors.move"} <= set(deaths)
    stage.tick()
    assert _written(stage) != before
    runs = stage.fleet.one("SELECT count(*) FROM runs")
    assert runs == stage.fleet.one("SELECT count(*) FROM occurrences o JOIN runs r ON r.id = o.run_id")
    at = [each.nominal_at for each in stage.ledger("allow")]
    assert len(at) >= 5
    assert {later - earlier for earlier, later in itertools.pairwise(at)} == {MINUTE}


def live_an_hour(first: Callable[[], object], second: Callable[[], object], pass_time: Callable[[int], None]) -> None:
    """Two planners look at the same moment, minute after minute; 59, so that no two instants have one name."""
    for _ in range(59):
        pass_time(STEP)
        together(first, second)


@pytest.mark.case("schedules", 37)
def test_two_leaders_for_an_hour_fire_nothing_twice(stage: Stage, rival: AnyDatabase) -> None:
    stage.put(misfire="catch_up", overlap="allow")
    other = Fleet(database=rival, clock=stage.fleet.clock)
    live_an_hour(stage.fleet.tick, other.tick, stage.fleet.pass_time)
    stage.tick()
    ledger = stage.ledger()
    assert len(ledger) >= 59
    assert {later.nominal_at - each.nominal_at for each, later in itertools.pairwise(ledger)} == {MINUTE}
    assert set(stage.fates()) == {"fired"}
    assert stage.fleet.one("SELECT count(*) FROM runs") == len(ledger)
    assert len({each.run_id for each in ledger}) == len(ledger)


def _service(database: AnyDatabase, clock: SimulatedClock) -> Maintenance:
    return Maintenance(database, system=SimulatedSystem(clock), ttl_us=TTL, actor="leader", on_due=lambda: None)


def _sleep(stage: Stage, us: int) -> None:
    """Time passes of which a process is told nothing, but that the time since boot counts."""
    if stage.fleet.clock is None:
        stage.fleet.pass_time(us)
    else:
        stage.fleet.clock.advance_us(us)


@pytest.mark.case("schedules", 35)
def test_a_laptop_that_slept_settles_the_gap_on_waking_in_the_same_process(
    stage: Stage, database: AnyDatabase, clock: SimulatedClock
) -> None:
    stage.put()
    service = _service(database, clock)
    service.step()
    _sleep(stage, 8 * HOUR + 30 * SECOND)
    service.step()
    newest = stage.ledger()[-1]
    assert (newest.disposition, newest.covers_count) == ("fired", 480)
    assert stage.states()[-1] is State.QUEUED


@pytest.mark.case("schedules", 38)
def test_a_clock_set_a_year_ahead_and_corrected_leaves_no_schedule_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = SimulatedClock()
    with closing(SqliteDatabase(str(tmp_path / "runs.db"), clock=clock)) as database:  # a server's clock is not ours to set
        migrate(database, dialect_name="sqlite")
        fleet = Fleet(database=database, clock=clock)
        fleet.new(task="ping", queue="default")
        stage = Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))
        stage.put(misfire="catch_up", overlap="allow")
        service = _service(database, clock)
        service.step()
        clock.advance_us(90 * SECOND)
        service.step()
        clock.step_us(365 * DAY)
        clock.advance_us(MINUTE)
        service.step()
        assert stage.fates() == ["fired"]
        assert service.clock_ahead_us == 365 * DAY
        clock.step_us(-365 * DAY)
        clock.advance_us(MINUTE)
        service.step()
        assert stage.fates() == ["fired"] * 3
        assert service.clock_ahead_us == 0
    assert [record.levelname for record in caplog.records if "clock" in record.message] == ["CRITICAL", "WARNING"]


@pytest.mark.case("schedules", 38)
def test_a_clock_set_back_fires_nothing_again(stage: Stage) -> None:
    stage.put(misfire="catch_up", overlap="allow")
    for _ in range(10):
        stage.elapse()
    before = len(stage.ledger())
    stage.fleet.pass_time(-10 * MINUTE)
    for _ in range(9):
        stage.fleet.finish(stage.fleet.claim("w1", most=1))  # so that the planner has a reason to look
        stage.elapse()
        assert len(stage.ledger()) == before
    for _ in range(3):
        stage.elapse()
    ledger = stage.ledger()
    assert before < len(ledger) <= before + 3
    assert stage.client.schedules.get("ping").fired == len(ledger)
    assert {later.nominal_at - each.nominal_at for each, later in itertools.pairwise(ledger)} == {MINUTE}
    assert stage.fleet.one("SELECT count(*) FROM runs") == len(ledger)


@pytest.mark.case("schedules", 34)
def test_a_backlog_of_a_day_delays_no_other_schedule_and_live_ones_are_decided_on_time(stage: Stage) -> None:
    stage.put(name="other")
    stage.put(every("1s"), name="heavy", misfire={"policy": "catch_up", "max": 300}, overlap={"policy": "forbid", "buffer_max": 4})
    stage.fleet.pass_time(2 * DAY + 500_000)
    upkeep.make_pass(stage.fleet.database, upkeep.Terms(actor="leader", ttl=TTL))
    assert stage.fates("other")[-1] == "fired"
    stage.tick()
    outside = stage.fleet.one("SELECT sum(number) FROM schedule_backlogs")
    assert outside > 250, "the backlog enters as places free"
    for _ in range(2):
        stage.elapse(SECOND)
        newest = stage.ledger("heavy")[-1]
        assert not newest.is_late
        assert 0 <= newest.decided_at - newest.due_at < 10 * SECOND
        assert stage.fates("heavy").count("waiting") <= 4
    for _ in range(5):
        stage.work()
        stage.tick()
    assert stage.fleet.one("SELECT sum(number) FROM schedule_backlogs") < outside


def test_late_ones_of_all_schedules_start_at_one_pace(stage: Stage) -> None:
    for name in ("one", "two"):
        stage.put(every("1s"), name=name, misfire={"policy": "catch_up", "max": 100}, overlap="allow")
    stage.fleet.pass_time(HOUR + 500_000)

    def started() -> int:
        return sum(each.is_late and each.disposition == "fired" for name in ("one", "two") for each in stage.ledger(name))

    stage.tick()
    assert CATCH_UP_RATE <= started() < 3 * CATCH_UP_RATE  # a server's clock goes on meanwhile
    for _ in range(4):
        stage.elapse(1_037_000)  # so that no two instants have one name
    assert started() == 200
    assert stage.fleet.one("SELECT count(*) FROM schedule_backlogs") == 0


def test_a_backlog_runs_as_the_revision_said_under_which_it_came_due(stage: Stage) -> None:
    stage.put(every("1s"), misfire={"policy": "catch_up", "max": 20}, overlap={"policy": "forbid", "buffer_max": 2})
    stage.fleet.pass_time(HOUR + 500_000)
    stage.tick()
    stage.client.schedules.put("ping", every("1h"), "ping", payload={"n": 2})
    bodies = []
    for _ in range(30):
        bodies += [claimed.body for claimed in stage.work()]
        stage.tick()
    assert bodies.count(b'{"n":1}') >= 20
    assert {each.revision for each in stage.ledger() if each.is_late} == {1}
    assert stage.fleet.one("SELECT count(*) FROM schedule_backlogs") == 0


def test_a_backlog_is_withdrawn_with_its_schedule(stage: Stage) -> None:
    stage.put(every("1s"), misfire={"policy": "catch_up", "max": 20}, overlap={"policy": "forbid", "buffer_max": 2})
    stage.fleet.pass_time(HOUR + 500_000)
    stage.tick()
    outside = stage.fleet.one("SELECT sum(number) FROM schedule_backlogs")
    assert outside > 10
    stage.put(every("1s"), enabled=False)
    assert stage.fleet.one("SELECT count(*) FROM schedule_backlogs") == 0
    (withdrawn,) = [each for each in stage.client.schedules.ranges("ping") if each.disposition == "withdrawn"]
    assert outside - 2 <= withdrawn.count <= outside


@pytest.mark.case("schedules", 65)
@pytest.mark.parametrize(
    ("fault", "damage"),
    [
        ("lost", "DELETE FROM schedule_cursors"),
        ("stalled", "UPDATE schedule_cursors SET next_at = NULL, next_nominal_at = NULL"),
        ("distant", "UPDATE schedule_cursors SET next_at = next_at + 30000000000000"),
    ],
)
def test_a_cursor_that_was_lost_or_emptied_is_found_and_what_it_missed_is_settled(stage: Stage, fault: str, damage: str) -> None:
    stage.put(misfire="catch_up", overlap="allow")
    stage.put(name="healthy", overlap="allow")
    stage.elapse()
    stage.elapse()
    stage.fleet.sql(f"{damage} WHERE schedule_id = (SELECT id FROM schedules WHERE name = 'ping')")
    stage.fleet.pass_time(3 * MINUTE + SECOND)
    repaired = stage.fleet.tick().stages["cursors"]
    assert (repaired.done, repaired.error) == (1, None)
    assert stage.fleet.tick().done("cursors") == 0
    stage.tick()
    ledger = stage.ledger()
    assert [each.disposition.value for each in ledger] == ["fired"] * 5
    assert {later.nominal_at - each.nominal_at for each, later in itertools.pairwise(ledger)} == {MINUTE}
    assert stage.client.schedules.get("ping").fired == 5
    told = stage.fleet.sql("SELECT s.name, e.data FROM schedule_events e JOIN schedules s ON s.id = e.schedule_id"
                           " WHERE e.type = 'repaired'")  # fmt: skip
    assert told == [("ping", f'{{"cursor":"{fault}"}}')]
