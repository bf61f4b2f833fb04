"""Finding runs: by what they are and by their attributes, page by page, on every database."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from mainspring.client.filters import parse_filter
from mainspring.core.attempts import Failed
from mainspring.core.attributes import checked
from mainspring.core.durations import HOUR, format_instant
from mainspring.errors import InvalidOption
from mainspring.operations import searching
from mainspring.store.dialect import compile_sqlite
from mainspring.store.migrate import migrate
from mainspring.store.sqlite import SqliteDatabase
from mainspring.store.statements import load
from mainspring.testing.clock import SimulatedClock
from tests.support.builders import Fleet

LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
FATAL = Failed(code="smtp_down", message="", final=True)


def find(fleet: Fleet, *, most: int = 500, before: str | None = None, **asked: Any) -> list[str]:
    wanted = parse_filter(asked)  # type: ignore[arg-type]
    page = fleet.database.read("runs.find", lambda tx: searching.find(tx, fleet.namespace, wanted, before=before, most=most))
    return [view.run.id for view in page.data]


def labelled(fleet: Fleet, given: Mapping[str, Any], **options: Any) -> str:
    return fleet.enqueue(attributes=checked(given), **options)


def newest_first(*run_ids: str) -> list[str]:
    return sorted(run_ids, reverse=True)


def test_runs_are_found_by_state_and_by_class_of_states(fleet: Fleet) -> None:
    done, failed, running = fleet.running(), fleet.running(), fleet.running()
    fleet.finish(done)
    fleet.finish(failed, FATAL)
    queued, scheduled, blocked = fleet.enqueue(), fleet.enqueue(delay=HOUR), fleet.enqueue(blocked="gate")
    assert find(fleet, state="succeeded") == [done.id]
    assert find(fleet, state="failed") == [failed.id]
    assert find(fleet, state="active") == [running.id]
    assert find(fleet, state="waiting") == newest_first(queued, scheduled, blocked)
    assert find(fleet, state="terminal") == newest_first(done.id, failed.id)
    assert find(fleet, state=["queued", "failed"]) == newest_first(queued, failed.id)
    assert find(fleet, state="open") == newest_first(queued, scheduled, blocked, running.id)
    assert len(find(fleet)) == 6


def test_runs_are_found_by_each_thing_that_can_be_asked(fleet: Fleet) -> None:
    plain = fleet.enqueue()
    other = fleet.enqueue(task="mail", queue="mail")
    keyed, single = fleet.enqueue(key="k"), fleet.enqueue(singleton="s")
    fleet.batch([fleet.new()], batch_id=(batch := fleet.new_id()))
    (member,) = find(fleet, batch=batch)
    assert find(fleet, task="mail") == find(fleet, queue="mail") == [other]
    assert find(fleet, key="k") == [keyed]
    assert find(fleet, singleton="s") == [single]
    assert find(fleet, key="k", task="mail") == []
    assert find(fleet, actor="user:nobody") == []
    assert plain in find(fleet, actor="user:test")
    assert member in find(fleet, task="work")


def test_runs_are_found_by_the_code_of_their_failure_and_of_their_waiting(fleet: Fleet) -> None:
    failed, retrying = fleet.running(), fleet.running()
    fleet.finish(failed, FATAL)
    fleet.finish(retrying, Failed(code="smtp_down", message=""))
    assert find(fleet, code="smtp_down") == find(fleet, error="smtp_down") == newest_first(failed.id, retrying.id)
    assert find(fleet, code="smtp_down", state="retrying") == [retrying.id]
    assert find(fleet, code="other") == []


def test_runs_are_found_by_when_they_were_made(fleet: Fleet) -> None:
    old = fleet.enqueue()
    fleet.pass_time(2 * HOUR)
    young = fleet.enqueue()
    border = format_instant(fleet.now - HOUR)
    assert find(fleet, created_after=border) == [young]
    assert find(fleet, created_before=border) == [old]


@pytest.mark.parametrize("most", [1, 2, 7])
def test_pages_of_runs_made_at_one_instant_lose_none_and_repeat_none(fleet: Fleet, most: int) -> None:
    ids = fleet.enqueue_many(15)
    found: list[str] = []
    while page := find(fleet, most=most, before=found[-1] if found else None, state="queued"):
        found += page
    assert found == newest_first(*ids)


def test_a_page_says_where_the_next_one_begins_and_the_last_one_says_nothing(fleet: Fleet) -> None:
    fleet.enqueue_many(3)
    wanted = parse_filter({"task": "work"})
    first = fleet.database.read("runs.find", lambda tx: searching.find(tx, fleet.namespace, wanted, most=2))
    rest = fleet.database.read(
        "runs.find", lambda tx: searching.find(tx, fleet.namespace, wanted, before=first.next_cursor, most=2)
    )
    assert (len(first.data), len(rest.data), rest.next_cursor) == (2, 1, None)


def test_a_long_search_ends_early_and_its_cursor_goes_on(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    rare = fleet.enqueue(task="rare")
    fleet.enqueue_many(2_000)
    monkeypatch.setattr(searching, "LOOKS", 600)
    wanted, cursor, pages = parse_filter({"task": "rare"}), None, 0
    while True:
        page = fleet.database.read("runs.find", lambda tx: searching.find(tx, fleet.namespace, wanted, before=cursor, most=5))  # noqa: B023
        pages, cursor = pages + 1, page.next_cursor
        if page.data or cursor is None:
            break
    assert [view.run.id for view in page.data] == [rare]
    assert pages == 2


CONDITIONS: list[tuple[Any, Any]] = [
    (7, lambda value: value == 7 and not isinstance(value, bool)),
    ([7, "x"], lambda value: value in (7, "x") and not isinstance(value, bool)),
    (range(-3, 8), lambda value: not isinstance(value, (str, bool)) and -3 <= value < 8),
    ((">=", 7), lambda value: not isinstance(value, (str, bool)) and value >= 7),
    ((">", "a"), lambda value: isinstance(value, str) and value > "a"),
    ({">": -2.5, "<=": 100}, lambda value: not isinstance(value, (str, bool)) and -2.5 < value <= 100),
    (True, lambda value: value is True),
    ("Zebra", lambda value: value == "Zebra"),
    (..., lambda value: True),
]
VALUES = [7, 7.0, -3, -2.5, 0, 100, 7.25, 10**20, -(10**20), 1e-9, "a", "x", "Zebra", "äther", "", True, False]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS, ids=[str(condition) for condition, _ in CONDITIONS])
def test_attributes_mean_the_same_on_every_database(fleet: Fleet, condition: Any, holds: Any) -> None:
    made = {labelled(fleet, {"a": value, "b": place}): value for place, value in enumerate(VALUES)}
    labelled(fleet, {"c": 1})
    assert find(fleet, attributes={"a": condition}) == newest_first(*(run for run, value in made.items() if holds(value)))


def test_several_conditions_hold_together_and_beside_other_questions(fleet: Fleet) -> None:
    rng = random.Random(5)
    made: dict[str, tuple[str, dict[str, Any]]] = {}
    for _ in range(60):
        given: dict[str, Any] = {"order": rng.randrange(5), "total": rng.randrange(10), "who": rng.choice("ab")}
        task = rng.choice(["one", "two"])
        made[labelled(fleet, given, task=task)] = (task, given)
    found = find(fleet, task="one", state="queued", attributes={"order": 3, "total": (">=", 4), "who": ["a"]})
    assert found == newest_first(
        *(
            run
            for run, (task, given) in made.items()
            if task == "one" and given["order"] == 3 and given["total"] >= 4 and given["who"] == "a"
        )
    )


def test_attributes_go_with_their_run_and_with_its_retry(fleet: Fleet) -> None:
    held = fleet.running(attributes=checked({"order": 7}))
    fleet.finish(held, FATAL)
    again, _ = fleet.retry(held.id)
    assert find(fleet, attributes={"order": 7}) == newest_first(held.id, again)
    fleet.prune()
    assert find(fleet, attributes={"order": 7}) == [again]
    assert fleet.one(f"SELECT count(*) FROM run_attributes WHERE run_id = '{held.id}'") == 0


def test_enqueueing_twice_with_one_id_writes_the_attributes_once(fleet: Fleet) -> None:
    new = fleet.new(attributes=checked({"a": 1}))
    fleet.submit(new)
    fleet.submit(new)
    assert fleet.one("SELECT count(*) FROM run_attributes") == 1


@pytest.mark.parametrize(
    "asked", [{"state": "gone"}, {"colour": "red"}, {"code": "a", "error": "b"}, {"batch": "x"}, {"attributes": {"a": None}}]
)
def test_what_cannot_be_asked_is_refused(asked: Any) -> None:
    with pytest.raises(InvalidOption):
        parse_filter(asked)


def test_a_search_by_index_reads_no_history() -> None:
    """The plans of SQLite, which go by no statistics: what is asked of states, keys and attributes is read off its index."""
    plans: dict[str, tuple[dict[str, str], str]] = {
        "search.unhappy": ({"state": "failed"}, "runs_unhappy"),
        "search.queued": ({}, "runs_queued"),
        "search.waiting": ({}, "runs_waiting_for_time"),
        "search.held": ({}, "runs_held"),
        "search.key": ({"key": "k"}, "runs_of_key"),
        "search.singleton": ({"key": "k"}, "runs_of_singleton"),
        "search.batch": ({"batch": LAST}, "runs_of_batch"),
        "search.attribute": ({"namespace": "n", "name": "a", "value": "n1"}, "run_attributes_of_value"),
    }
    with closing(SqliteDatabase(":memory:", clock=SimulatedClock())) as database:
        migrate(database, dialect_name="sqlite")
        for name, (params, index) in plans.items():
            (command,) = compile_sqlite(load("sqlite")[name]).commands
            with database.exclusive() as connection:
                told = connection.execute(f"EXPLAIN QUERY PLAN {command}", {"before": LAST, "most": 5} | params)
                plan = " ".join(str(row[3]) for row in told)
            assert index in plan, (name, plan)
