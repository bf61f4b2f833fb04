"""What attempts leave, on every database: written with the finish, under its fence; bounded, and gone with the run."""

from __future__ import annotations

import pytest

from mainspring.core.attempts import Failed, Outcome, Succeeded
from mainspring.core.durations import DAY
from mainspring.core.states import TERMINAL, State
from mainspring.operations import attempts, receipts, retention, views
from mainspring.operations.attempts import Ended
from mainspring.operations.claims import Claimed
from mainspring.operations.receipts import Left, ReceiptRow
from mainspring.store.database import Transaction
from tests.support.builders import Fleet

BUSY = Failed(code="http_503", message="busy")


def finish(fleet: Fleet, held: Claimed, outcome: Outcome, *left: Left, worker: str = "w1") -> set[str]:
    def write(tx: Transaction) -> set[str]:
        policy = views.policies(tx, [held.policy_id])[held.policy_id]
        return attempts.finish(tx, [Ended(held, outcome, policy, 0.0, left)], actor=f"worker:{worker}")

    return fleet.database.write("attempts.finish", write)


def left(body: bytes, kind: str = "stdout") -> Left:
    return Left(kind, len(body), len(body), "ab" * 32, body)


def kept(fleet: Fleet, run_id: str) -> list[ReceiptRow]:
    return fleet.database.read("receipts.of_run", lambda tx: receipts.of_run(tx, run_id))


@pytest.mark.case("schedules", 55)
def test_a_result_after_the_lease_was_taken_over_leaves_nothing_and_a_failure_keeps_its_output(fleet: Fleet) -> None:
    late = fleet.running("w1")
    fleet.bury("w1")
    held = fleet.reclaim(late.id, "w2")
    assert finish(fleet, late, Succeeded(b"1"), left(b"late")) == {late.id}
    assert kept(fleet, late.id) == []
    assert finish(fleet, held, BUSY, left(b"out"), left(b"err", "stderr"), worker="w2") == set()
    assert [(row.attempt, row.kind, row.size) for row in kept(fleet, held.id)] == [(2, "stdout", 3), (2, "stderr", 3)]
    found = fleet.database.read("receipts.get", lambda tx: receipts.get(tx, held.id, 1))
    assert found is not None
    assert found[1] == b"err"


def test_a_finish_told_twice_leaves_its_receipts_once(fleet: Fleet) -> None:
    held = fleet.running()
    assert finish(fleet, held, BUSY, left(b"out")) == set()
    assert finish(fleet, held, BUSY, left(b"out")) == set()
    assert len(kept(fleet, held.id)) == 1


def test_a_run_that_was_asked_to_stop_keeps_what_it_left(fleet: Fleet) -> None:
    held = fleet.running()
    fleet.cancel(held.id)
    assert finish(fleet, held, BUSY, left(b"out")) == set()
    assert fleet.get(held.id).state in TERMINAL
    assert len(kept(fleet, held.id)) == 1


def test_receipts_of_attempts_long_before_are_forgotten(fleet: Fleet) -> None:
    held = fleet.running()

    def write(tx: Transaction, token: int) -> None:
        policy = views.policies(tx, [held.policy_id])[held.policy_id]
        receipts.write(tx, [Ended(held._replace(token=token), BUSY, policy, 0.0, (left(b"out"),))], lost=set())

    for token in (1, 2, receipts.MOST_ATTEMPTS + 1):
        fleet.database.write("receipts.create", lambda tx, token=token: write(tx, token))  # type: ignore[misc]
    assert [row.attempt for row in kept(fleet, held.id)] == [2, receipts.MOST_ATTEMPTS + 1]


def test_receipts_go_with_their_run(fleet: Fleet) -> None:
    held = fleet.running()
    finish(fleet, held, Succeeded(b"1"), left(b"out"))
    assert fleet.get(held.id).state is State.SUCCEEDED
    fleet.pass_time(60 * DAY)
    fleet.database.write("retention.remove", lambda tx: retention.remove(tx, [held.id]))
    assert kept(fleet, held.id) == []
