"""A sample of the episodes for every check, and the proof that their oracles find what they should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import psycopg
import pytest

from mainspring import App
from mainspring.core.states import State
from mainspring.errors import CommitUnknown
from mainspring.runtime.worker import Assignment, Worker, WorkerPlan
from mainspring.store import postgres
from mainspring.store.postgres import PostgresDatabase
from mainspring.system import RealSystem
from tests.network import checker
from tests.network.checker import Evidence, Run
from tests.network.episode import Episode, Ground
from tests.network.jobs import Call, Line
from tests.support.proxy import Forgotten, Manner, Point, Proxy, Strike

SEEDS = (3,)
PATIENCE_SECONDS = 15.0


@pytest.mark.parametrize("seed", SEEDS)
def test_an_episode_of_network_trouble_loses_nothing_and_does_nothing_twice(ground: Ground, seed: int) -> None:
    report = Episode(ground, seed).run()
    assert not report.violations, "\n".join(map(str, [*report.violations[:10], *report.troubles]))
    assert report.troubles
    assert report.runs > 0


def test_a_server_that_is_killed_amid_work_loses_nothing_and_does_nothing_twice(ground: Ground) -> None:
    report = Episode(ground, 1, kills=2).run()
    assert not report.violations, "\n".join(map(str, report.violations[:10]))
    assert report.troubles == ["server killed"] * 2
    assert report.runs > 0


# -- a commit that arrives when its sender has given up ------------------------------------------------------------------


class _Hands:
    """An executor that writes down what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int]] = []

    def begin(self, claims: Sequence[Assignment]) -> None:
        self.given += [(claim.claimed.id, claim.claimed.token) for claim in claims]

    def stop(self, run_id: str, token: int, why: str) -> None:
        """There is nothing to stop."""


def test_a_claim_that_is_committed_late_is_given_back(
    direct: PostgresDatabase, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres._SETTINGS, "idle_in_transaction_session_timeout", "20s")  # late, and not too late
    far = PostgresDatabase(proxy.url)
    far.answer_seconds = 0.5
    app = App("late", database=direct.conninfo)
    task = app.task(name="late")(_nothing)
    hands = _Hands()
    plan = WorkerPlan(
        id="w", namespace="default", queues={"default": None}, tasks={"late": 1}, concurrency=2, ttl_us=30_000_000, poll_seconds=0.1
    )
    worker = Worker(far, hands, plan, system=RealSystem())
    worker.step()
    run = task.enqueue()
    strike = proxy.arm(Strike(point=Point.BEFORE_REQUEST, manner=Manner.SILENCE))
    with pytest.raises(CommitUnknown):
        worker.step()
    assert strike.hit.is_set()
    worker.step()  # it looks for what it may have claimed, and the commit is not there yet
    proxy.heal(Forgotten.RESUMED)
    _eventually(lambda: _state(direct, run.id) == "running")
    _eventually(lambda: bool(worker.step()) and hands.given == [(run.id, 2)])
    app.close()
    far.close()


def _nothing() -> None:
    """A task that is never run."""


def _state(database: PostgresDatabase, run_id: str) -> str:
    with psycopg.connect(database.conninfo) as session:
        (row,) = session.execute("SELECT state FROM runs WHERE id = %s", (run_id,)).fetchall()
        return str(row[0])


def _eventually(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < give_up_at, "it did not come to be"
        threading.Event().wait(0.02)


# -- the oracles find planted faults -------------------------------------------------------------------------------------

HEALTHY = Evidence(
    runs={
        "a": Run("a", State.SUCCEEDED, 2, None, "c-1.0", {"nonce": "c-1.0", "token": 2}),
        "b": Run("b", State.SUCCEEDED, 1, "key", "key", {"nonce": "key", "token": 1}),
    },
    calls=[
        Call("c-1", 1, None, [("a", "created")], None, 0.1),
        Call("c-2", 1, None, None, "storage_unavailable", 0.1),
        Call("c-3", 1, "key", None, "commit_unknown", 0.1),
        Call("c-4", 1, "key", [("b", "existing")], None, 0.1),
    ],
    lines=[
        Line("begin", "a", 1, "w0"),
        Line("stop", "a", 1, "w0"),
        Line("begin", "a", 2, "w1"),
        Line("end", "a", 2, "w1"),
        Line("begin", "b", 1, "w1"),
        Line("end", "b", 1, "w1"),
    ],
    longest_call_seconds=1.0,
)


def _with_run(run: Run) -> Evidence:
    return replace(HEALTHY, runs={**HEALTHY.runs, run.id: run})


def _with_call(call: Call) -> Evidence:
    return replace(HEALTHY, calls=[*HEALTHY.calls, call])


A, B = HEALTHY.runs["a"], HEALTHY.runs["b"]
PLANTED: list[tuple[Evidence, Callable[[Evidence], object]]] = [
    (replace(HEALTHY, runs={"b": B}), checker.an_accepted_run_exists),
    (_with_run(A._replace(id="c")), checker.a_call_is_all_or_nothing),
    (_with_run(A._replace(id="c", nonce="c-2.0")), checker.a_call_is_all_or_nothing),
    (_with_call(Call("c-5", 2, None, [("a", "created")], None, 0.1)), checker.a_call_is_all_or_nothing),
    (_with_run(B._replace(id="c")), checker.a_key_names_one_run),
    (replace(HEALTHY, calls=[Call("c-3", 1, "key", None, "storage_unavailable", 0.1)]), checker.a_key_names_one_run),
    (_with_call(Call("c-5", 1, None, None, "OSError()", 0.1)), checker.a_refusal_is_one_we_know),
    (_with_call(Call("c-5", 1, None, None, "commit_unknown", 2.0)), checker.a_call_ends_in_time),
    (_with_run(A._replace(state=State.RUNNING)), checker.every_run_succeeded_by_its_newest_fence),
    (_with_run(A._replace(result={"nonce": "c-1.0", "token": 1})), checker.every_run_succeeded_by_its_newest_fence),
    (replace(HEALTHY, lines=HEALTHY.lines[:-1]), checker.every_run_succeeded_by_its_newest_fence),
    (replace(HEALTHY, lines=[*HEALTHY.lines, Line("begin", "a", 2, "w0")]), checker.a_fence_was_used_once),
    (replace(HEALTHY, log="Traceback (most recent call last)"), checker.nobody_spoke_of_a_bug),
]


def test_a_healthy_episode_has_no_violations() -> None:
    assert checker.violations(HEALTHY) == []


@pytest.mark.parametrize(("evidence", "oracle"), PLANTED, ids=[oracle.__name__ for _, oracle in PLANTED])
def test_an_oracle_finds_what_was_planted(evidence: Evidence, oracle: Callable[[Evidence], object]) -> None:
    assert oracle.__name__ in {violation.invariant for violation in checker.violations(evidence)}


def test_every_oracle_is_shown_to_fail() -> None:
    assert {oracle for _, oracle in PLANTED} == set(checker.ORACLES)
