"""Reading: pages that are stable while runs are made, attempts from the ledger, endings, workers, and why a run waits."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Succeeded, Unstarted
from mainspring.core.durations import HOUR, SECOND, format_instant
from mainspring.core.states import State
from mainspring.errors import UnknownRun
from mainspring.operations import queues, views
from tests.support.builders import Fleet


def page(fleet: Fleet, before: str | None = None, **filters: object) -> list[str]:
    found = fleet.database.read(
        "views.list",
        lambda tx: views.listing(tx, fleet.namespace, before=before, most=4, **filters),  # type: ignore[arg-type]
    )
    return [view.run.id for view in found]


def test_runs_are_listed_newest_first_page_by_page_and_none_is_lost_or_doubled_by_inserts(fleet: Fleet) -> None:
    ids = fleet.enqueue_many(10)
    seen = page(fleet)
    while following := page(fleet, before=seen[-1]):
        seen += following
        fleet.enqueue_many(3)
    assert seen == ids[::-1]


def test_a_page_has_at_most_five_hundred_runs(fleet: Fleet) -> None:
    fleet.enqueue_many(510)
    found = fleet.database.read("views.list", lambda tx: views.listing(tx, fleet.namespace, most=10_000))
    assert len(found) == 500


def test_runs_are_found_by_state_task_and_queue(fleet: Fleet) -> None:
    mail = fleet.enqueue(task="send", queue="mail")
    later = fleet.enqueue(delay=HOUR)
    plain = fleet.enqueue()
    assert page(fleet, task="send") == [mail]
    assert page(fleet, queue="main") == [plain, later]
    assert page(fleet, states=[State.SCHEDULED]) == [later]
    assert page(fleet, states=[State.SCHEDULED], task="send") == []
    fleet.namespace = "elsewhere"
    assert page(fleet) == []


def test_a_run_is_read_with_what_its_lane_says(fleet: Fleet) -> None:
    view = fleet.view(fleet.enqueue(task="send", queue="mail", priority=7))
    assert (view.task, view.queue, view.priority, view.version, view.progress) == ("send", "mail", 7, 1, None)


def test_an_unknown_run_is_told(fleet: Fleet) -> None:
    with pytest.raises(UnknownRun):
        fleet.view(fleet.new_id())


def test_a_ledger_is_read_in_pages(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.finish(held)
    first = fleet.database.read("views.events", lambda tx: views.events(tx, held.id, most=2))
    rest = fleet.database.read("views.events", lambda tx: views.events(tx, held.id, after=first[-1].seq, most=2))
    assert [event.seq for event in first + rest] == [1, 2, 3]


def test_attempts_are_read_off_the_ledger(fleet: Fleet) -> None:
    held = fleet.running("w1")
    fleet.finish(held, Failed(code="smtp_down", message="no route"))
    fleet.finish(fleet.reclaim(held.id, "w2"), GaveItselfBack(after_us=SECOND, reason="busy"), worker="w2")
    fleet.reclaim(held.id, "w3")
    fleet.bury("w3")
    fleet.finish(fleet.reclaim(held.id, "w4"), Unstarted(), worker="w4")
    fleet.reclaim(held.id, "w5")
    tries = views.attempts(fleet.ledger(held.id))
    assert [(each.token, each.worker_id, each.outcome, each.code, each.message) for each in tries] == [
        (1, "w1", "retry_scheduled", "smtp_down", "no route"),
        (2, "w2", "released", "busy", None),
        (3, "w3", "interrupted", "worker_lost", None),
        (4, "w4", "given_back", None, None),
        (5, "w5", None, None, None),
    ]
    assert [each.ended_at is None for each in tries] == [False] * 4 + [True]


def test_an_attempt_that_was_asked_to_stop_ends_with_its_true_end(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    (running,) = views.attempts(fleet.ledger(held.id))
    assert running.outcome is None
    fleet.finish(held)
    (ended,) = views.attempts(fleet.ledger(held.id))
    assert ended.outcome == "cancelled"


def test_endings_tell_state_reason_and_result(fleet: Fleet) -> None:
    done, failed, waiting = fleet.running(), fleet.running(), fleet.enqueue()
    fleet.finish(done, Succeeded(b"42"))
    fleet.finish(failed, Failed(code="bad", message="text", final=True))
    asked = [done.id, failed.id, waiting, fleet.new_id()]
    found = fleet.database.read("views.endings", lambda tx: views.endings(tx, asked))
    assert set(found) == set(asked[:3])
    assert (found[done.id].state, found[done.id].body) == (State.SUCCEEDED, b"42")
    assert (found[failed.id].reason, found[failed.id].data["message"]) == ("bad", "text")
    assert fleet.database.read("views.ended", lambda tx: views.ended(tx, asked)) == {done.id, failed.id}


def test_workers_are_listed(fleet: Fleet) -> None:
    fleet.register("w1", tasks='["send"]', queues='["mail", "main"]')
    (worker,) = fleet.database.read("workers.list", lambda tx: views.workers(tx, fleet.namespace))
    assert (worker.id, worker.state, worker.tasks, worker.queues) == ("w1", "live", ("send",), ("mail", "main"))
    assert worker.expires_at > worker.started_at


def test_runs_are_counted_by_state(fleet: Fleet) -> None:
    fleet.enqueue_many(3)
    fleet.finish(fleet.claim(most=1))
    rows = fleet.database.read("views.counts", lambda tx: tx.rows("views.counts", namespace=fleet.namespace))
    assert sorted(rows) == [("queued", 2), ("succeeded", 1)]


# -- why a run waits ---------------------------------------------------------------------------------------------------


@pytest.mark.case("jobs", 53)
def test_a_run_waiting_for_its_instant_says_which_and_why(fleet: Fleet) -> None:
    scheduled = fleet.enqueue(delay=HOUR)
    held = fleet.running()
    fleet.finish(held, Failed(code="smtp_down", message=""))
    assert fleet.why(scheduled) == f"due at {format_instant(fleet.get(scheduled).due_at)}"
    assert fleet.why(held.id) == f"due at {format_instant(fleet.get(held.id).due_at)} (smtp_down)"


@pytest.mark.case("jobs", 53)
def test_a_queued_run_names_its_hold_in_the_order_the_claim_tests_them(fleet: Fleet) -> None:
    fleet.declare("main", limit=1)
    fleet.running()
    run_id = fleet.enqueue()
    fleet.database.write("queues.pause", lambda tx: queues.pause(tx, fleet.namespace, "main", actor="user:ann"))
    assert str(fleet.why(run_id)).startswith("queue main is paused by user:ann since ")
    fleet.database.write("queues.resume", lambda tx: queues.resume(tx, fleet.namespace, "main", actor="user:operator"))
    assert str(fleet.why(run_id)).startswith("queue main is full (1/1, oldest ")
    fleet.set_limit("main", 2)
    assert str(fleet.why(run_id)).startswith("no live worker takes work from queue main: ")
    fleet.register("w9", tasks='["work"]', queues='["main"]')
    assert fleet.why(run_id) == "nothing holds it: a worker takes it at its next look"
    assert [claimed.id for claimed in fleet.claim("w9")] == [run_id]


@pytest.mark.case("jobs", 53)
@pytest.mark.parametrize("task", ["axb", "a_bc", "xa_b"])
def test_a_worker_with_a_task_of_a_similar_name_does_not_serve(fleet: Fleet, task: str) -> None:
    run_id = fleet.enqueue(task="a_b")
    fleet.register("w9", tasks=f'["{task}"]', queues='["main"]')
    assert fleet.why(run_id) == "no live worker takes a_b from queue main: nearest is w9, which does not have the task a_b"


@pytest.mark.case("jobs", 53)
def test_a_dead_worker_does_not_serve(fleet: Fleet) -> None:
    run_id = fleet.enqueue()
    fleet.register("w9", tasks='["work"]', queues='["main"]')
    fleet.lapse("w9")
    assert fleet.why(run_id) == "no live worker takes work from queue main: no worker is live"


def test_blocked_and_parked_runs_say_their_reason(fleet: Fleet) -> None:
    blocked, parked = fleet.enqueue(blocked="gate"), fleet.enqueue()
    fleet.park(parked, "unknown_task")
    assert (fleet.why(blocked), fleet.why(parked)) == ("blocked: gate", "needs a person: unknown_task; release, fail or cancel it")


def test_a_run_that_runs_or_has_ended_waits_for_nothing(fleet: Fleet) -> None:
    held = fleet.running()
    assert fleet.why(held.id) is None
    fleet.finish(held)
    assert fleet.why(held.id) is None
