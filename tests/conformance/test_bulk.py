"""Acts on many runs: the preview says what would happen, carrying out does just that, and a crash in the middle is gone on from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainspring.client.filters import parse_filter
from mainspring.core.attempts import Failed
from mainspring.core.bulk import Action, effect_of
from mainspring.core.durations import HOUR
from mainspring.core.states import TERMINAL, WAITING, State
from mainspring.operations import bulk
from mainspring.operations.bulk import Item, Seen
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started

FATAL = Failed(code="smtp_down", message="", final=True)
WHO = "user:operator"


def look(fleet: Fleet, **asked: Any) -> Seen:
    return fleet.database.read("bulk.look", lambda tx: bulk.look(tx, fleet.namespace, parse_filter(asked)))  # type: ignore[arg-type]


def write_down(fleet: Fleet, seen: Seen, action: Action, *, whole: bool = True, **options: Any) -> str:
    act_id = fleet.new_id()
    told: dict[str, Any] = {
        "namespace": fleet.namespace,
        "action": action,
        "options": options,
        "actor": WHO,
        "total": len(seen.matches),
    }
    fleet.database.write("bulk.begin", lambda tx: bulk.begin(tx, act_id, **told))
    fleet.database.write("bulk.add", lambda tx: bulk.add(tx, act_id, seen.matches))
    if whole:
        fleet.database.write("bulk.ready", lambda tx: bulk.ready(tx, act_id))
    return act_id


def carry_out(fleet: Fleet, act_id: str) -> dict[str, Item]:
    for _ in bulk.carry_on(fleet.database, act_id, fleet.namespace):
        pass
    return outcomes(fleet, act_id)


def outcomes(fleet: Fleet, act_id: str) -> dict[str, Item]:
    page = fleet.database.read("bulk.outcomes", lambda tx: bulk.outcomes(tx, act_id, namespace=fleet.namespace))
    return {item.run_id: item for item in page}


def failed(fleet: Fleet, **options: Any) -> str:
    held = fleet.running(**options)
    fleet.finish(held, FATAL)
    return held.id


def in_every_state(fleet: Fleet) -> dict[State, str]:
    """A run in each state but those that a dependency makes."""
    found = {State.FAILED: failed(fleet)}
    done, cancelling, released, running = (fleet.running() for _ in range(4))
    fleet.finish(done)
    fleet.cancel(cancelling.id)
    fleet.finish(released, Failed(code="later", message=""))
    cancelled, parked = fleet.enqueue(), fleet.enqueue()
    fleet.cancel(cancelled)
    fleet.park(parked)
    found |= {State.SUCCEEDED: done.id, State.CANCELLED: cancelled, State.CANCELLING: cancelling.id, State.RETRYING: released.id}
    found |= {State.RUNNING: running.id, State.NEEDS_ATTENTION: parked, State.QUEUED: fleet.enqueue()}
    return found | {State.SCHEDULED: fleet.enqueue(delay=HOUR), State.BLOCKED: fleet.enqueue(blocked="gate")}


def test_a_preview_counts_says_the_effect_by_state_and_changes_nothing(fleet: Fleet) -> None:
    failed(fleet)
    fleet.enqueue_many(30)
    seen = look(fleet)
    assert (len(seen.matches), seen.is_exact, len(seen.sample)) == (31, True, bulk.SAMPLE)
    told = bulk.effects(Action.CANCEL, seen.by_state)
    assert {state: (count, effect.refused) for state, (count, effect) in told.items()} == {
        State.QUEUED: (30, None),
        State.FAILED: (1, "run_terminal"),
    }
    assert fleet.one("SELECT count(*) FROM bulk_actions") == 0


@pytest.mark.parametrize(
    ("action", "options"),
    [
        (Action.CANCEL, {"reason": "stop all"}),
        (Action.RETRY, {}),
        (Action.RERUN, {}),
        (Action.PRUNE, {}),
        (Action.SET_PRIORITY, {"priority": 5}),
        (Action.RESCHEDULE, {"due_at": 0}),
    ],
)
def test_an_act_does_to_each_run_what_its_preview_said(fleet: Fleet, action: Action, options: Any) -> None:
    made = in_every_state(fleet)
    before = {run_id: fleet.story(run_id) for run_id in made.values()}
    found = carry_out(fleet, write_down(fleet, look(fleet), action, **options))
    for state, run_id in made.items():
        refused = effect_of(action, state).refused
        item = found[run_id]
        if action is Action.PRUNE and state is State.FAILED:
            assert (item.outcome, item.code) == ("refused", "kept")  # its dead letter is open
        else:
            assert (item.outcome, item.code) == (("refused", refused) if refused else ("done", None)), state
        if refused:
            assert fleet.story(run_id) == before[run_id]
        if action in {Action.RETRY, Action.RERUN} and not refused:
            assert fleet.get(str(item.made)).rerun_of == run_id
    act = fleet.database.read("bulk.get", lambda tx: bulk.listing(tx, fleet.namespace))[0]
    assert (act.done, act.total, act.actor, act.finished_at is None) == (len(made), len(made), WHO, False)


def test_a_cancel_of_many_reaches_all_that_wait_or_run(fleet: Fleet) -> None:
    made = in_every_state(fleet)
    carry_out(fleet, write_down(fleet, look(fleet), Action.CANCEL, reason="stop all"))
    assert all(fleet.get(made[state]).state is State.CANCELLED for state in WAITING & made.keys())
    assert fleet.get(made[State.RUNNING]).state is State.CANCELLING
    assert fleet.ledger(made[State.QUEUED])[-1].data["reason"] == "stop all"


def test_a_run_that_moved_since_the_preview_is_left_alone(fleet: Fleet) -> None:
    moved, stays, gone = fleet.enqueue(), fleet.enqueue(), fleet.enqueue()
    seen = look(fleet)
    fleet.cancel(gone)
    fleet.prune()
    later = fleet.enqueue()
    held = next(claimed for claimed in fleet.claim() if claimed.id == moved)
    fleet.finish(held, Failed(code="later", message=""))
    found = carry_out(fleet, write_down(fleet, seen, Action.CANCEL, reason="x"))
    assert {run_id: item.outcome for run_id, item in found.items()} == {moved: "changed", stays: "changed", gone: "changed"}
    assert later not in found
    assert fleet.get(moved).state is State.RETRYING


def test_a_refusal_within_a_chunk_loses_none_of_its_neighbours(fleet: Fleet) -> None:
    ids = [failed(fleet, singleton="s" if place == 3 else None) for place in range(8)]
    fleet.enqueue(singleton="s")
    found = carry_out(fleet, write_down(fleet, look(fleet, state="failed"), Action.RETRY))
    assert {item.outcome for run_id, item in found.items() if run_id != ids[3]} == {"done"}
    assert (found[ids[3]].outcome, found[ids[3]].code, found[ids[3]].made) == ("refused", "key_conflict", None)
    assert fleet.one("SELECT count(*) FROM runs WHERE rerun_of IS NOT NULL") == 7


def test_an_act_that_was_cut_off_goes_on_where_it_was_and_does_nothing_twice(fleet: Fleet) -> None:
    ids = [failed(fleet) for _ in range(7)]
    act_id = write_down(fleet, look(fleet), Action.RETRY)

    def a_chunk(tx: Any) -> bulk.Step:
        return bulk.step(tx, act_id, namespace=fleet.namespace, most=3)

    assert fleet.database.write("bulk.step", a_chunk).act.done == 3

    def crash(tx: Any) -> None:
        a_chunk(tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # before the commit of the next chunk
        fleet.database.write("bulk.step", crash)
    found = carry_out(fleet, act_id)
    assert {item.outcome for item in found.values()} == {"done"}
    assert sorted(found) == sorted(ids)
    assert fleet.one("SELECT count(*) FROM runs WHERE rerun_of IS NOT NULL") == 7
    assert carry_out(fleet, act_id) == found


def test_maintenance_takes_up_an_act_whose_caller_is_gone_and_no_other(fleet: Fleet) -> None:
    fleet.enqueue_many(5)
    act_id = write_down(fleet, look(fleet), Action.CANCEL, reason="x")
    assert bulk.take_up(fleet.database, most=100) == 0
    fleet.pass_time(2 * bulk.ABANDONED_US)
    assert bulk.take_up(fleet.database, most=100) == 5
    assert bulk.take_up(fleet.database, most=100) == 0
    assert {item.outcome for item in outcomes(fleet, act_id).values()} == {"done"}


def test_an_act_that_was_not_written_down_whole_is_never_carried_out(fleet: Fleet) -> None:
    fleet.enqueue_many(3)
    act_id = write_down(fleet, look(fleet), Action.CANCEL, whole=False, reason="x")
    fleet.pass_time(2 * bulk.ABANDONED_US)
    assert bulk.take_up(fleet.database, most=100) == 0
    carry_out(fleet, act_id)
    assert fleet.one("SELECT count(*) FROM runs WHERE state = 'queued'") == 3


def test_two_who_carry_out_one_act_share_it(fleet: Fleet, rival: AnyDatabase) -> None:
    fleet.enqueue_many(6)
    act_id = write_down(fleet, look(fleet), Action.CANCEL, reason="x")
    with open_transaction(fleet.database) as tx:
        bulk.step(tx, act_id, namespace=fleet.namespace, most=3)
        other = started(
            rival, lambda: rival.write("bulk.step", lambda tx: bulk.step(tx, act_id, namespace=fleet.namespace, most=3))
        )
    assert other().act.finished_at is not None
    assert fleet.one("SELECT count(*) FROM events WHERE type = 'cancelled'") == 6


def test_an_act_about_nothing_is_over_at_once(fleet: Fleet) -> None:
    act_id = write_down(fleet, look(fleet, task="nobody"), Action.RETRY)
    act = fleet.database.read("bulk.get", lambda tx: bulk.get(tx, act_id, namespace=fleet.namespace))
    assert (act.total, act.finished_at is None) == (0, False)


def test_more_than_can_be_counted_is_said_to_be_more(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = fleet.enqueue_many(6)
    monkeypatch.setattr(bulk, "MOST", 4)
    seen = look(fleet)
    assert not seen.is_exact
    assert [match.run_id for match in seen.matches] == ids[:1:-1]


def test_the_table_of_effects_agrees_with_what_single_acts_refuse() -> None:
    single: dict[Action, Callable[[State], bool]] = {
        Action.RETRY: lambda state: state in {State.FAILED, State.CANCELLED},
        Action.RERUN: lambda state: state in TERMINAL,
        Action.PRUNE: lambda state: state in TERMINAL,
        Action.CANCEL: lambda state: state not in TERMINAL or state is State.CANCELLED,
        Action.SET_PRIORITY: lambda state: state in WAITING,
        Action.RESCHEDULE: lambda state: state in WAITING - {State.BLOCKED},
    }
    for action in Action:
        for state in State:
            assert (effect_of(action, state).refused is None) == single[action](state), (action, state)
