"""Dead letters: listed, grouped, replayed once and dismissed with a reason; the run itself never changes again."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.core.attempts import Failed, Succeeded
from mainspring.errors import DeadLetterClosed, InvalidOption, UnknownRun
from mainspring.operations import dead_letters
from mainspring.operations.dead_letters import DeadLetter
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started


def failed(fleet: Fleet, code: str = "smtp_down", **options: Any) -> str:
    held = fleet.running(**options)
    fleet.finish(held, Failed(code=code, message="", final=True))
    return held.id


def letters(fleet: Fleet, **asked: Any) -> list[DeadLetter]:
    told: dict[str, Any] = {"task": None, "code": None, "open_only": True, "before": None, "most": 100} | asked
    return fleet.database.read("dead_letters.list", lambda tx: dead_letters.listing(tx, fleet.namespace, **told))


def replay(fleet: Fleet, run_id: str) -> tuple[str, bool]:
    new_id = fleet.new_id()
    told = {"namespace": fleet.namespace, "actor": "user:ann"}
    return fleet.database.write("dead_letters.replay", lambda tx: dead_letters.replay(tx, run_id, new_id, **told))


def dismiss(fleet: Fleet, run_id: str, reason: str = "not worth it") -> bool:
    told = {"namespace": fleet.namespace, "actor": "user:ann", "reason": reason}
    return fleet.database.write("dead_letters.dismiss", lambda tx: dead_letters.dismiss(tx, run_id, **told))


def test_dead_letters_are_listed_newest_first_page_by_page_and_by_task_and_code(fleet: Fleet) -> None:
    ids = [failed(fleet, code, task=task) for code, task in [("a", "one"), ("b", "one"), ("a", "two")]]
    assert [letter.run_id for letter in letters(fleet)] == ids[::-1]
    assert [letter.run_id for letter in letters(fleet, code="a", task="one")] == [ids[0]]
    assert [letter.run_id for letter in letters(fleet, most=2)] == ids[:0:-1]
    assert [letter.run_id for letter in letters(fleet, before=ids[1])] == [ids[0]]


def test_dead_letters_are_grouped_by_task_and_code(fleet: Fleet) -> None:
    for code, task in [("a", "one"), ("b", "one"), ("a", "two"), ("a", "one")]:
        failed(fleet, code, task=task)
    dismiss(fleet, failed(fleet, "c"))
    found = fleet.database.read("dead_letters.groups", lambda tx: dead_letters.groups(tx, fleet.namespace))
    assert [(group.task, group.code, group.count) for group in found] == [("one", "a", 2), ("one", "b", 1), ("two", "a", 1)]


@pytest.mark.case("jobs", 51)
def test_a_dead_letter_replayed_by_two_operators_at_once_is_one_new_run(fleet: Fleet, rival: AnyDatabase) -> None:
    run_id = failed(fleet)
    other = Fleet(database=rival, clock=fleet.clock)
    other._ids = iter(range(10_000, 20_000))
    with open_transaction(fleet.database) as tx:
        first, made = dead_letters.replay(tx, run_id, fleet.new_id(), namespace=fleet.namespace, actor="user:ann")
        second = started(rival, lambda: replay(other, run_id))
    assert made
    assert second() == (first, False)
    assert fleet.one("SELECT count(*) FROM runs WHERE rerun_of IS NOT NULL") == 1


@pytest.mark.case("jobs", 51)
def test_a_dead_letter_replayed_again_after_its_replay_has_ended_gives_that_run(fleet: Fleet) -> None:
    run_id = failed(fleet)
    again, _ = replay(fleet, run_id)
    fleet.finish(fleet.claim(), Succeeded(b"1"))
    assert replay(fleet, run_id) == (again, False)


@pytest.mark.case("jobs", 51)
def test_the_ledger_of_the_run_never_grows_whatever_is_done_about_its_dead_letter(fleet: Fleet) -> None:
    replayed, dismissed = failed(fleet), failed(fleet)
    before = {run_id: (fleet.get(run_id), fleet.ledger(run_id)) for run_id in (replayed, dismissed)}
    again, _ = replay(fleet, replayed)
    dismiss(fleet, dismissed, "nobody needs it")
    assert {run_id: (fleet.get(run_id), fleet.ledger(run_id)) for run_id in (replayed, dismissed)} == before
    found = {letter.run_id: letter for letter in letters(fleet, open_only=False)}
    assert (found[replayed].closed_how, found[replayed].closed_by, found[replayed].replayed_as) == ("replayed", "user:ann", again)
    assert (found[dismissed].closed_how, found[dismissed].close_reason) == ("dismissed", "nobody needs it")
    assert letters(fleet) == []


def test_a_retry_closes_the_dead_letter_as_a_replay_does(fleet: Fleet) -> None:
    run_id = failed(fleet)
    again, _ = fleet.retry(run_id)
    assert letters(fleet, open_only=False)[0].replayed_as == again
    assert replay(fleet, run_id) == (again, False)


def test_a_dismissed_dead_letter_is_not_replayed_and_its_run_can_be_retried(fleet: Fleet) -> None:
    run_id = failed(fleet)
    assert dismiss(fleet, run_id)
    assert not dismiss(fleet, run_id)
    with pytest.raises(DeadLetterClosed):
        replay(fleet, run_id)
    assert fleet.retry(run_id)[1]


def test_a_replayed_dead_letter_is_not_dismissed(fleet: Fleet) -> None:
    run_id = failed(fleet)
    replay(fleet, run_id)
    with pytest.raises(DeadLetterClosed):
        dismiss(fleet, run_id)


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_dismissal_needs_a_reason(fleet: Fleet, reason: str) -> None:
    with pytest.raises(InvalidOption):
        dismiss(fleet, failed(fleet), reason)


def test_a_run_without_a_dead_letter_is_refused(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held)
    for act in (replay, dismiss):
        with pytest.raises(DeadLetterClosed):
            act(fleet, held.id)
        with pytest.raises(UnknownRun):
            act(fleet, fleet.new_id())


@pytest.mark.case("jobs", 52)
def test_a_dismissed_dead_letter_lets_its_run_be_pruned(fleet: Fleet) -> None:
    run_id = failed(fleet)
    assert fleet.prune().runs == 0
    dismiss(fleet, run_id)
    assert fleet.prune().runs == 1
    assert letters(fleet, open_only=False) == []
