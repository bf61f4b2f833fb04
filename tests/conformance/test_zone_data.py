"""Planners with zone data of different versions, on one database: the newer ones plan again, the older ones move nothing back.

The older data are real files: until the newer ones were published, Vancouver's clock was to go back with that of Los Angeles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import tzdata

from mainspring import zones
from mainspring.client import Client
from mainspring.core.durations import parse_instant
from mainspring.core.rule_building import cron
from mainspring.operations import schedule_rows
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from tests.conformance.test_schedules import Stage
from tests.support.builders import Fleet

_OLD, _NEW = "2026-11-02T16:30Z", "2026-11-02T15:30Z"


@contextmanager
def older_data() -> Iterator[None]:
    """A process of which the zone data are those of 2026.1."""
    file = zones._file

    def found(name: str) -> bytes | None:
        return file("America/Los_Angeles" if name == "America/Vancouver" else name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zones, "_file", found)
        patch.setattr(tzdata, "__version__", "2026.1")
        _forget()
        yield
    _forget()


def _forget() -> None:
    zones.zone.cache_clear()
    schedule_rows._table.cache_clear()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    clock = SimulatedClock("2026-11-02T00:00:00Z")
    with closing(SqliteDatabase(str(tmp_path / "runs.db"), clock=clock)) as database:  # a server's clock is not ours to set
        migrate(database, dialect_name="sqlite")
        fleet = Fleet(database=database, clock=clock)
        fleet.new(task="ping", queue="default")
        yield Stage(fleet, Client(database, namespace=fleet.namespace, system=SimulatedSystem(clock), actor="user:ana"))


def _at(text: str) -> int:
    return parse_instant(text, option="at")


def _to(stage: Stage, text: str) -> None:
    stage.elapse(_at(text) - stage.fleet.now)


def _put(stage: Stage) -> None:
    stage.put(cron("30 8 * * *", tz="America/Vancouver"))
    stage.tick()


def _next(stage: Stage) -> int | None:
    (next_at,) = stage.fleet.sql("SELECT next_nominal_at FROM schedule_cursors")[0]
    return next_at if next_at is None else int(next_at)


def _replanned(stage: Stage) -> list[dict[str, object]]:
    return [json.loads(data) for (data,) in stage.fleet.sql("SELECT data FROM schedule_events WHERE type = 'replanned'")]


@pytest.mark.case("schedules", 19)
def test_newer_data_plan_again_what_older_ones_planned_and_no_older_planner_moves_it_back(stage: Stage) -> None:
    with older_data():
        _put(stage)
        assert _next(stage) == _at(_OLD)
    _to(stage, "2026-11-02T00:20:00Z")
    stage.tick()
    assert _next(stage) == _at(_NEW)
    (told,) = _replanned(stage)
    assert (told["old"], told["new"], told["old_tz"]) == (_at(_OLD), _at(_NEW), "2026.1")
    with older_data():
        _to(stage, "2026-11-02T15:30:20Z")
        assert stage.ledger() == []
        assert _next(stage) == _at(_NEW)
        seen = stage.client.schedules.get("ping")
        assert seen.state == "broken"
        assert "tzdata_older" in (seen.reason or "")
    _to(stage, "2026-11-02T15:30:40Z")
    assert [(each.nominal_at, each.is_late) for each in stage.ledger()] == [(_at(_NEW), False)]
    assert stage.client.schedules.get("ping").state == "active"
    _to(stage, "2026-11-02T16:31:00Z")
    assert len(stage.ledger()) == 1
    assert len(_replanned(stage)) == 1


@pytest.mark.case("schedules", 19)
def test_what_is_past_and_undecided_under_the_new_data_is_late_and_settled(stage: Stage) -> None:
    with older_data():
        _put(stage)
        _to(stage, "2026-11-02T15:45:00Z")
        stage.client.schedules.trigger("ping", reason="a person")  # the cursor is moved to now
        assert [each.origin for each in stage.ledger()] == ["manual"]
    _to(stage, "2026-11-02T15:59:00Z")
    stage.tick()
    planned = [each for each in stage.ledger() if each.origin == "planned"]
    assert [(each.nominal_at, each.is_late) for each in planned] == [(_at(_NEW), True)]


@pytest.mark.case("schedules", 19)
def test_a_written_time_that_was_decided_is_not_decided_again(stage: Stage) -> None:
    _put(stage)  # these are the data that later ones take back
    _to(stage, "2026-11-02T15:31:00Z")
    assert [each.nominal_at for each in stage.ledger()] == [_at(_NEW)]
    with older_data(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tzdata, "__version__", "2999.1")
        _to(stage, "2026-11-02T15:50:00Z")
        _to(stage, "2026-11-02T16:31:00Z")
        assert len(stage.ledger()) == 1
        _to(stage, "2026-11-03T16:31:00Z")
        assert [each.nominal_at for each in stage.ledger()] == [_at(_NEW), _at("2026-11-03T16:30Z")]
