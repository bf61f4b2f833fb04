"""A sample of the crash trials for every check, and the proof that their checker finds what it should."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mainspring.core.states import EventType, State
from mainspring.errors import CommitUnknown, StorageUnavailable
from mainspring.operations import attempts
from mainspring.testing.postgres import PostgresServer
from tests.crash import checker
from tests.crash.evidence import Event, Evidence, Line, Run, read_attempts, read_calls, read_requests, read_runs
from tests.crash.fleet import Record
from tests.crash.jobs import build
from tests.crash.ledger import Ledger
from tests.crash.outages import Outage, Restarted
from tests.crash.producer import Producer
from tests.crash.trial import Plan, Report, Trial
from tests.support.faults import Fault, Faulty
from tests.support.services import miss

SAMPLE = Plan(kills=30, seed=1, every_seconds=0.25, most_seconds=25.0, drain_seconds=35.0)
DUE = Plan(kills=10, seed=1, every_seconds=0.5, most_seconds=25.0, drain_seconds=35.0, workers=3, producers=1, schedules=5)
OUTAGES = Plan(kills=0, seed=1, every_seconds=2.0, outages=3, most_seconds=60.0, drain_seconds=35.0, workers=3)


def _shown(report: Report) -> str:
    return "\n".join([*map(str, report.violations[:10]), *report.lines()])


@pytest.mark.serial
def test_thirty_kills_on_sqlite_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    report = Trial(f"sqlite:///{tmp_path}/crash.db", tmp_path, SAMPLE, say=print).run()
    assert not report.violations, _shown(report)
    assert report.evidence.record.killed >= SAMPLE.kills


@pytest.mark.serial
def test_thirty_kills_on_postgresql_lose_nothing_and_do_nothing_twice(tmp_path: Path, fresh_postgres: str) -> None:
    report = Trial(fresh_postgres, tmp_path, SAMPLE, say=print).run()
    assert not report.violations, _shown(report)
    assert report.evidence.record.killed >= SAMPLE.kills


@pytest.mark.serial
def test_ten_kills_leave_every_due_instant_one_fate(tmp_path: Path) -> None:
    report = Trial(f"sqlite:///{tmp_path}/crash.db", tmp_path, DUE, say=print).run()
    assert not report.violations, _shown(report)
    assert report.evidence.record.killed >= DUE.kills
    assert sum(run.task == "due" for run in report.evidence.runs.values()) >= 10


@pytest.mark.serial
def test_three_deaths_of_postgresql_itself_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    try:
        server = PostgresServer()
    except StorageUnavailable as missing:
        miss("postgres", missing.message)
    with server:
        report = Trial(server.url, tmp_path, OUTAGES, say=print, server=Restarted(server)).run()
    assert not report.violations, _shown(report)
    assert len(report.evidence.record.outages) == OUTAGES.outages, _shown(report)


# -- the checker finds planted faults ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What a quiet trial leaves: real runs of every kind, worked off in this process, nobody killed."""
    folder = tmp_path_factory.mktemp("healthy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRASH_LEDGER", str(folder))
        patch.setenv("CRASH_NAME", "w1")
        return _work_quietly(folder)


def _work_quietly(folder: Path) -> Evidence:
    ledger = Ledger(folder, "w1")
    jobs = build(f"sqlite:///{folder}/crash.db", ledger)
    producer = Producer(jobs, ledger, random.Random(1))
    for ask in (producer.one, producer.many, producer.together, producer.keyed, producer.alone, producer.in_turn):
        ask()
        ask()
    for task in ("threaded", "laned", "flaky", "patient", "stepwise", "apart"):
        producer.single(task, {})
    (called_off,) = producer.single("slow", {})
    producer.ask_about("cancel", called_off)
    producer.ask_about("retry", called_off)
    jobs.app.worker(name="w1", concurrency=8, poll="50ms").run(until="empty")
    evidence = Evidence(
        runs=read_runs(jobs.app.client.database),
        calls=read_calls(folder),
        requests=read_requests(folder),
        lines=read_attempts(folder),
        record=Record(),
        holds=[],
        lease_us=2_000_000,
    )
    jobs.app.close()
    return evidence


def _some(evidence: Evidence, task: str) -> Run:
    return next(run for run in evidence.runs.values() if run.task == task and run.state is State.SUCCEEDED)


def _with(evidence: Evidence, run: Run) -> Evidence:
    return replace(evidence, runs={**evidence.runs, run.id: run})


def _without_a_run(evidence: Evidence) -> Evidence:
    gone = next(run_id for call in evidence.calls for run_id, _ in call.accepted or ())
    return replace(evidence, runs={key: run for key, run in evidence.runs.items() if key != gone})


def _with_half_a_call(evidence: Evidence) -> Evidence:
    part = next(run for run in evidence.runs.values() if run.batch_id is not None)
    return replace(evidence, runs={key: run for key, run in evidence.runs.items() if key != part.id})


def _with_a_second_run_of_a_call(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "threaded"), id="another"))


def _with_a_second_run_of_a_key(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "once"), id="another"))


def _with_an_unfinished_run(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "quick"), state=State.RUNNING))


def _with_a_wrong_result(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "quick"), result=-1))


def _with_a_spent_failure(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "quick"), failures=1))


def _with_a_callback_that_saw_less(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "gather"), result={}))


def _with_a_callback_that_did_not_run(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "gather"), state=State.UPSTREAM_FAILED))


def _with_a_run_nobody_called_off(evidence: Evidence) -> Evidence:
    return _with(evidence, replace(_some(evidence, "quick"), state=State.CANCELLED))


def _with_a_cancel_forgotten(evidence: Evidence) -> Evidence:
    called_off = next(run for run in evidence.runs.values() if run.state is State.CANCELLED)
    return _with(evidence, replace(called_off, state=State.SUCCEEDED))


def _with_a_cancel_that_was_said_to_have_failed(evidence: Evidence) -> Evidence:
    return replace(evidence, requests=[request._replace(told=None, code="storage_unavailable") for request in evidence.requests])


def _with_a_second_retry(evidence: Evidence) -> Evidence:
    again = next(run for run in evidence.runs.values() if run.rerun_of is not None)
    return _with(evidence, replace(again, id="another"))


def _with_a_retry_nobody_asked_for(evidence: Evidence) -> Evidence:
    return replace(evidence, requests=[request for request in evidence.requests if request.verb != "retry"])


def _with_an_outage_that_lasted(evidence: Evidence) -> Evidence:
    created_at = max(run.created_at for run in evidence.runs.values())
    return replace(evidence, record=Record(outages=[Outage(created_at, created_at, created_at)]))


def _with_a_second_begin(evidence: Evidence) -> Evidence:
    begin = next(line for line in evidence.lines if line.what == "begin")
    return replace(evidence, lines=[*evidence.lines, begin])


def _without_an_end(evidence: Evidence) -> Evidence:
    end = next(line for line in evidence.lines if line.what == "end")
    return replace(evidence, lines=[line for line in evidence.lines if line is not end])


def _with_a_begin_elsewhere(evidence: Evidence) -> Evidence:
    return replace(evidence, lines=[line._replace(by="w2") for line in evidence.lines])


def _with_an_attempt_given_back(evidence: Evidence) -> Evidence:
    run = _some(evidence, "quick")
    return _with(evidence, replace(run, events=[*run.events[:-1], run.events[-1]._replace(type=EventType.GIVEN_BACK)]))


def _with_an_early_second_attempt(evidence: Evidence) -> Evidence:
    run = _again(_some(evidence, "quick"), EventType.RETRY_SCHEDULED, by="w1")
    return replace(_with(evidence, run), lines=[*evidence.lines, _begin(evidence, run)])


def _reaped_too_early(evidence: Evidence) -> Evidence:
    return _with(evidence, _again(_some(evidence, "quick"), EventType.INTERRUPTED, by="w2"))


def _taken_over_too_late(evidence: Evidence) -> Evidence:
    run = _again(_some(evidence, "quick"), EventType.INTERRUPTED, by="w2", after_us=9_000_000)
    return replace(_with(evidence, run), record=Record(deaths={"w1": run.events[0].at}))


def _with_a_full_queue_overrun(evidence: Evidence) -> Evidence:
    run = _some(evidence, "threaded")
    lines = [line for line in evidence.lines if line.run == run.id]
    for copy in ("one", "two", "three"):
        evidence = _with(evidence, replace(run, id=copy))
        evidence = replace(evidence, lines=[*evidence.lines, *(line._replace(run=copy) for line in lines)])
    return evidence


def _with_a_dependant_too_early(evidence: Evidence) -> Evidence:
    run = _some(evidence, "after")
    upstream = evidence.runs[str(run.payload["upstream"])]
    late = upstream.events[-1]._replace(at=upstream.events[-1].at + 60_000_000)
    return _with(evidence, replace(upstream, events=[*upstream.events[:-1], late]))


def _with_a_checkpoint_from_nowhere(evidence: Evidence) -> Evidence:
    begin = next(line for line in evidence.lines if line.what == "begin")
    return replace(evidence, lines=[line._replace(checkpoint=3) if line is begin else line for line in evidence.lines])


def _with_a_process_that_fell(evidence: Evidence) -> Evidence:
    return replace(evidence, record=Record(failed={"w1": 1}))


def _with_a_traceback(evidence: Evidence) -> Evidence:
    return replace(evidence, logs=[("w1", "Traceback (most recent call last): ...")])


def _again(run: Run, how: EventType, *, by: str, after_us: int = 0) -> Run:
    """The run with its success replaced by another end of the attempt, and a second claim."""
    claim = next(event for event in run.events if event.type is EventType.CLAIMED)
    end = Event(claim.seq + 1, how, claim.at + after_us, f"worker:{by}.1")
    return replace(run, token=2, events=[*run.events[: claim.seq], end, claim._replace(seq=end.seq + 1, at=end.at)])


def _begin(evidence: Evidence, run: Run) -> Line:
    first = next(line for line in evidence.lines if line.run == run.id)
    return first._replace(token=2)


PLANTED: dict[Callable[[Evidence], Evidence], Callable[..., object]] = {
    _without_a_run: checker.an_accepted_run_exists,
    _with_half_a_call: checker.a_call_is_all_or_nothing,
    _with_a_second_run_of_a_call: checker.a_call_is_all_or_nothing,
    _with_a_second_run_of_a_key: checker.a_key_names_one_run,
    _with_an_unfinished_run: checker.every_run_ended_as_it_should,
    _with_a_wrong_result: checker.every_run_ended_as_it_should,
    _with_a_spent_failure: checker.a_death_spends_no_failure,
    _with_a_callback_that_saw_less: checker.a_callback_saw_all_members,
    _with_a_callback_that_did_not_run: checker.a_callback_saw_all_members,
    _with_a_run_nobody_called_off: checker.every_run_ended_as_it_should,
    _with_a_cancel_forgotten: checker.a_cancel_is_final,
    _with_a_cancel_that_was_said_to_have_failed: checker.a_cancel_is_final,
    _with_a_second_retry: checker.a_retry_makes_one_run,
    _with_a_retry_nobody_asked_for: checker.a_retry_makes_one_run,
    _with_an_outage_that_lasted: checker.work_goes_on_after_an_outage,
    _with_a_second_begin: checker.a_fence_was_used_once,
    _without_an_end: checker.a_success_was_written_by_the_newest_fence,
    _with_a_begin_elsewhere: checker.an_attempt_belongs_to_its_claim,
    _with_an_attempt_given_back: checker.an_attempt_belongs_to_its_claim,
    _with_an_early_second_attempt: checker.attempts_of_a_run_do_not_overlap,
    _reaped_too_early: checker.no_worker_was_reaped_within_its_lease,
    _taken_over_too_late: checker.runs_of_the_dead_are_taken_over_in_time,
    _with_a_full_queue_overrun: checker.a_limit_holds_for_running_code,
    _with_a_dependant_too_early: checker.a_dependant_comes_after_its_upstream,
    _with_a_checkpoint_from_nowhere: checker.a_checkpoint_was_told_before,
    _with_a_process_that_fell: checker.a_process_ends_by_our_hand_only,
    _with_a_traceback: checker.a_process_ends_by_our_hand_only,
}


def test_a_quiet_trial_has_no_violations(healthy: Evidence) -> None:
    assert {run.task for run in healthy.runs.values()} >= {
        "quick",
        "threaded",
        "laned",
        "after",
        "apart",
        "gather",
        "once",
        "only",
        "stepwise",
    }
    assert {request.verb for request in healthy.requests} == {"cancel", "retry"}
    assert checker.violations(healthy) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_the_checker_finds_what_was_planted(healthy: Evidence, plant: Callable[[Evidence], Evidence]) -> None:
    found = {violation.invariant for violation in checker.violations(plant(healthy))}
    assert PLANTED[plant].__name__ in found


def test_every_oracle_is_shown_to_fail() -> None:
    assert set(PLANTED.values()) == set(checker.ORACLES)


# -- the fault wrapper -------------------------------------------------------------------------------------------------


def test_a_fault_before_the_commit_leaves_nothing_and_one_after_it_leaves_the_write(tmp_path: Path) -> None:
    app = build(f"sqlite:///{tmp_path}/faults.db", Ledger(tmp_path, "w1")).app
    faults = [Fault.parse("attempts.reap:1:before:raise"), Fault.parse("attempts.reap:2:after:raise")]
    database = Faulty(app.client.database, faults)

    def tick() -> None:
        database.write("attempts.reap", lambda tx: attempts.reap(tx, lambda *_: {}, ttl=1_000_000, actor="test"))

    with pytest.raises(StorageUnavailable):
        tick()
    assert database.read("fleet.tick", lambda tx: tx.one("fleet.tick")) is None
    with pytest.raises(CommitUnknown):
        tick()
    assert database.read("fleet.tick", lambda tx: tx.one("fleet.tick")) is not None
    tick()
    app.close()
