"""Compares what was promised with what is there: one oracle for each promise, over the evidence of a trial.

Here: pure functions that yield what does not hold, and ``recovery``. Not here: reading (``evidence``), and the promises that
the database alone can break (``mainspring/testing/invariants.py``; the trial asks both).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from mainspring.core.durations import SECOND
from mainspring.core.states import EventType, State
from mainspring.testing.invariants import Violation
from tests.crash import jobs
from tests.crash.evidence import Call, Event, Evidence, Line, Run
from tests.crash.outages import Outage
from tests.support.logs import without_failures_of_tasks

Found = Iterator[Violation]

#: A dead worker's runs are taken over at most this long after its lease is over (and after the reaper's brake, where it held).
GRACE_US = 2 * SECOND

#: After an outage of the database, work that is asked for from then on is done within this by those who lived through it. Where
#: processes are killed as well, the next ones must first start, on a machine that is busy with starting them.
GO_ON_US = 10 * SECOND
GO_ON_FROM_SCRATCH_US = 30 * SECOND

#: A word within this share of the lease after a renewal need not renew it again.
_UNRENEWED = 0.1
_OWN_WORDS = {EventType.CLAIMED, EventType.SUCCEEDED, EventType.RETRY_SCHEDULED, EventType.RELEASED, EventType.CANCELLED}
#: What an error that says "nothing was done" is called, whatever was asked for.
_NOTHING_DONE = "storage_unavailable"
_NEVER_SAID = ("Traceback", "database is locked", "BrokenInvariant", "stopped:")


def violations(evidence: Evidence) -> list[Violation]:
    """Everything that does not hold."""
    return [each for oracle in ORACLES for each in oracle(evidence)]


def _broken(oracle: Callable[[Evidence], Found], subject: str, detail: str) -> Violation:
    return Violation(oracle.__name__, subject, detail)


# -- producers: P1, P6 -------------------------------------------------------------------------------------------------


def an_accepted_run_exists(evidence: Evidence) -> Found:
    """P1: whatever a producer was told was accepted is there."""
    for call in evidence.calls:
        for run_id, _ in call.accepted or ():
            if run_id not in evidence.runs:
                yield _broken(an_accepted_run_exists, run_id, f"accepted in call {call.id}, and gone")


def a_call_is_all_or_nothing(evidence: Evidence) -> Found:
    """P1: a call made all the runs it wanted, or none; none if it was told so; and none twice."""
    called_for = [run for run in evidence.runs.values() if run.key is None and run.rerun_of is None and run.task != jobs.DUE]
    made = Counter(run.call for run in called_for)
    nonces = Counter(run.payload.get("nonce") for run in called_for)
    for call in evidence.calls:
        if call.key is None and (wrong := _wrong_number(call, made[call.id])):
            yield _broken(a_call_is_all_or_nothing, call.id, wrong)
    for nonce, times in nonces.items():
        if times > 1:
            yield _broken(a_call_is_all_or_nothing, str(nonce), f"created {times} times")


def _wrong_number(call: Call, made: int) -> str:
    if made not in {0, call.size}:
        return f"{made} of {call.size} runs"
    if made and call.refused == _NOTHING_DONE:
        return f"told that nothing was created, and there are {made} runs"
    created = sum(outcome == "created" for _, outcome in call.accepted or ())
    return f"told of {created} new runs, and there are {made}" if call.accepted and created != made else ""


def a_key_names_one_run(evidence: Evidence) -> Found:
    """P6: everybody who used a key was given the same run, and there is one."""
    told: dict[str, set[str]] = defaultdict(set)
    for call in evidence.calls:
        if call.key is not None:
            told[call.key].update(run_id for run_id, _ in call.accepted or ())
    for run in evidence.runs.values():
        if run.key is not None:
            told[run.key].add(run.id)
    for key, owners in told.items():
        if len(owners) > 1:
            yield _broken(a_key_names_one_run, key, f"names {sorted(owners)}")


# -- operators: P11 ----------------------------------------------------------------------------------------------------


def a_cancel_is_final(evidence: Evidence) -> Found:
    """P11: a run that was called off stays so; one that had ended already, or whose cancel did not happen, was not."""
    for request in evidence.requests:
        run = evidence.runs.get(request.run)
        if request.verb != "cancel" or run is None or (request.told is None and request.code is None):
            continue
        if request.told is not None and not _was_called_off(run):
            yield _broken(a_cancel_is_final, run.id, f"answered {request.told}, and it is {run.state}")
        if request.code in {"run_terminal", _NOTHING_DONE} and run.state is State.CANCELLED:
            yield _broken(a_cancel_is_final, run.id, f"answered {request.code}, and it is {run.state}")


def _was_called_off(run: Run) -> bool:
    """An attempt may still fail after it was asked to stop, and then its run has failed."""
    asked = any(event.type is EventType.CANCEL_REQUESTED for event in run.events)
    return run.state is State.CANCELLED or (run.state is State.FAILED and run.task == "flaky" and asked)


def a_retry_makes_one_run(evidence: Evidence) -> Found:
    """A retry that was answered made the run it named, one that was refused made none, and none made two."""
    again: dict[str, list[str]] = defaultdict(list)
    for run in evidence.runs.values():
        if run.rerun_of is not None:
            again[run.rerun_of].append(run.id)
    for request in evidence.requests:
        if request.verb == "retry":
            made = again.pop(request.run, [])
            if request.told is not None and made != [request.told]:
                yield _broken(a_retry_makes_one_run, request.run, f"answered {request.told}, and there is {made}")
            if len(made) > 1 or (made and request.code in {"not_terminal", _NOTHING_DONE}):
                yield _broken(a_retry_makes_one_run, request.run, f"answered {request.code}, and there is {made}")
    for source, made in again.items():
        yield _broken(a_retry_makes_one_run, source, f"nobody asked, and there is {made}")


# -- runs: P1, P4, P5 --------------------------------------------------------------------------------------------------


def every_run_ended_as_it_should(evidence: Evidence) -> Found:
    """P1, P4: no task of a trial fails for good, so every run succeeds, with what its task returns for its payload; but for those
    that were called off, and the callbacks of their batches."""
    called_off = {request.run for request in evidence.requests if request.verb == "cancel"}
    for run in evidence.runs.values():
        if run.state is State.SUCCEEDED:
            if run.task != "gather" and run.result != (right := jobs.expected(run.task, run.payload)):
                yield _broken(every_run_ended_as_it_should, run.id, f"{run.result!r}, and not {right!r}")
        elif run.state is State.UPSTREAM_FAILED and run.task == "gather":
            continue  # judged with its members
        elif run.id not in called_off or not _was_called_off(run):
            yield _broken(every_run_ended_as_it_should, run.id, f"{run.task} is {run.state}")


def a_death_spends_no_failure(evidence: Evidence) -> Found:
    """The failures of a run are those its task raised, however often its workers died and its database was away."""
    for run in evidence.runs.values():
        own = jobs.failures(run.task, run.payload)
        if run.failures > own or (run.state is State.SUCCEEDED and run.failures < own):
            yield _broken(a_death_spends_no_failure, run.id, f"{run.failures} failures, and its task raised {own}")


def a_callback_saw_all_members(evidence: Evidence) -> Found:
    """P9: the callback of a batch ran after all its members and saw all their results; not if it wanted them all to succeed and
    one was called off."""
    members: dict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs.values():
        if run.batch_id is not None:
            members[run.call].append(run)
    for run in evidence.runs.values():
        if run.task == "gather" and run.state is not State.CANCELLED and (wrong := _seen_wrong(run, members[run.call])):
            yield _broken(a_callback_saw_all_members, run.id, wrong)


def _seen_wrong(callback: Run, members: list[Run]) -> str:
    is_wanted = jobs.fires_on(len(members)) == "done" or all(member.state is State.SUCCEEDED for member in members)
    told = {member.id: member.result if member.state is State.SUCCEEDED else None for member in members}
    if is_wanted != (callback.state is State.SUCCEEDED):
        return f"is {callback.state}, and its members are {[str(member.state) for member in members]}"
    return f"saw {callback.result}, and there were {told}" if is_wanted and callback.result != told else ""


# -- attempts: P3, P5, P8 ----------------------------------------------------------------------------------------------


def a_fence_was_used_once(evidence: Evidence) -> Found:
    """P3: user code began at most once under each token, ended at most once, and not without having begun."""
    for (run_id, token), lines in evidence.attempts().items():
        order = [line.what for line in lines if line.what != "saved"]
        if order not in (["begin"], ["begin", "end"], ["begin", "stop"]):
            yield _broken(a_fence_was_used_once, run_id, f"token {token}: {order}")


def an_attempt_belongs_to_its_claim(evidence: Evidence) -> Found:
    """P3: user code ran where its token was claimed, after the claim; and never under a claim that was given back unstarted."""
    attempts, said = evidence.attempts(), dict(evidence.logs)
    for run in evidence.runs.values():
        for token, claim, after in run.claims():
            lines = attempts.pop((run.id, token), None)
            if lines and (lines[0].by != claim.worker or lines[0].at < claim.at):
                yield _broken(an_attempt_belongs_to_its_claim, run.id, f"token {token} of {claim.actor} ran in {lines[0].by}")
            if lines and after is not None and after.type is EventType.GIVEN_BACK and not _was_cut_off(run, after, said):
                yield _broken(an_attempt_belongs_to_its_claim, run.id, f"token {token} was given back, and it had begun")
    for run_id, token in attempts:
        yield _broken(an_attempt_belongs_to_its_claim, run_id, f"token {token} ran, and was never claimed")


def _was_cut_off(run: Run, given_back: Event, said: Mapping[str, str]) -> bool:
    """A worker that could not reach the database stops what it runs and, its lease being its own after all, gives it back: an
    outage is nobody's interruption. It says so in its log."""
    return f"the lease of run {run.id} is lost" in said.get(given_back.worker, "")


def a_success_was_written_by_the_newest_fence(evidence: Evidence) -> Found:
    """P3, P5: the attempt with the run's last token reached its end, and its value is the result."""
    ends = {(line.run, line.token): line.value for line in evidence.lines if line.what == "end"}
    for run in evidence.runs.values():
        if run.state is State.SUCCEEDED and ends.get((run.id, run.token), _NOTHING) != run.result:
            told = ends.get((run.id, run.token), "no end")
            yield _broken(a_success_was_written_by_the_newest_fence, run.id, f"token {run.token} told {told}, not {run.result}")


_NOTHING = object()


def attempts_of_a_run_do_not_overlap(evidence: Evidence) -> Found:
    """P3: an attempt begins after the one before told its end, or after that one's lease was over and it was taken over.

    Whoever was taken over may run on for a moment (it was stopped, or cut off from time); it can change nothing any more.
    """
    attempts = evidence.attempts()
    for run in evidence.runs.values():
        over = 0
        for token, claim, after in run.claims():
            lines = attempts.get((run.id, token), [])
            if lines and lines[0].at < over:
                yield _broken(attempts_of_a_run_do_not_overlap, run.id, f"token {token} began {over - lines[0].at} µs too early")
            over = _over_at(lines, claim, after)


def _over_at(lines: list[Line], claim: Event, after: Event | None) -> int:
    """From when on the next attempt may begin."""
    if after is None:
        return claim.at
    return after.at if _is_taken(claim, after) else max([after.at, *(line.at for line in lines)])


def _is_taken(claim: Event, after: Event) -> bool:
    """Whether an attempt was ended by somebody else: by whoever takes over, or by its worker, which had let go of it."""
    if after.type is EventType.CANCELLED:
        return after.actor != claim.actor
    return after.type in {EventType.INTERRUPTED, EventType.GIVEN_BACK}


def no_worker_was_reaped_within_its_lease(evidence: Evidence) -> Found:
    """P3: whoever was taken over had not been heard of for a whole lease."""
    heard: dict[str, list[int]] = defaultdict(list)
    taken: list[tuple[Run, Event, Event]] = []
    for run in evidence.runs.values():
        for event in run.events:
            if event.type in _OWN_WORDS:
                heard[event.actor].append(event.at)
        for _, claim, after in run.claims():
            if after is not None and after.type is not EventType.GIVEN_BACK and _is_taken(claim, after):
                taken.append((run, claim, after))
    for run, claim, after in taken:
        silent = after.at - max(at for at in heard[claim.actor] if at <= after.at)
        if silent < evidence.lease_us * (1 - _UNRENEWED):
            said = f"{claim.actor} was taken over {silent} µs after a word of its own"
            yield _broken(no_worker_was_reaped_within_its_lease, run.id, said)


def a_limit_holds_for_running_code(evidence: Evidence) -> Found:
    """P8: never more units inside limited code than its limit, not counting whoever was taken over."""
    changes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    most: dict[str, int] = {}
    attempts = evidence.attempts()
    for run in evidence.runs.values():
        for name, (units, size) in jobs.limits_of(run.task, run.payload).items():
            most[name] = size
            for token, claim, after in run.claims():
                if lines := attempts.get((run.id, token)):
                    began_at = lines[0].at
                    changes[name] += [(began_at, units), (max(began_at, _out_at(evidence, lines, claim, after)), -units)]
    for name, told in changes.items():
        inside = 0
        for at, change in sorted(told):
            inside += change
            if inside > most[name]:
                yield _broken(a_limit_holds_for_running_code, name, f"{inside} of {most[name]} at {at}")


def a_dependant_comes_after_its_upstream(evidence: Evidence) -> Found:
    """P9: a run that waits for another's success is claimed only after that, and does not wait for ever.

    Its own ledger tells the order: it was let go, and then claimed. An event has the instant at which its transaction began, so a
    claim that saw it let go a moment ago may have begun before.
    """
    for run in evidence.runs.values():
        if run.task != "after" or not run.token:
            continue
        upstream = evidence.runs.get(str(run.payload["upstream"]))
        first = next(event for event in run.events if event.type is EventType.CLAIMED)
        let_go = max(
            (event for event in run.events if event.type is EventType.UNBLOCKED and event.seq < first.seq),
            key=lambda event: event.seq,
            default=None,
        )
        at = first.at if let_go is None else let_go.at
        if upstream is None or upstream.state is not State.SUCCEEDED or upstream.events[-1].at > at:
            state = "gone" if upstream is None else upstream.state
            yield _broken(a_dependant_comes_after_its_upstream, run.id, f"claimed while its upstream is {state}")


def _out_at(evidence: Evidence, lines: list[Line], claim: Event, after: Event | None) -> int:
    """When an attempt was over for the limit: it ended, its process died, or it was taken over."""
    ends = [line.at for line in lines[1:]]
    ends += [at for worker, at in evidence.record.deaths.items() if worker == claim.worker]
    ends += [after.at] if after is not None and _is_taken(claim, after) else []
    return min(ends, default=0)


def a_checkpoint_was_told_before(evidence: Evidence) -> Found:
    """What an attempt finds as its checkpoint was told by an earlier fence, and no later attempt finds less."""
    told: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.lines:
        if line.what in {"saved", "begin"}:
            told[line.run].append(line)
    for run_id, lines in told.items():
        newest = 0
        for begin in sorted((line for line in lines if line.what == "begin"), key=lambda line: line.token):
            saved = {line.checkpoint for line in lines if line.what == "saved" and line.token < begin.token}
            found = begin.checkpoint or 0
            if found < newest or (found and found not in saved):
                yield _broken(a_checkpoint_was_told_before, run_id, f"token {begin.token} found {found} after {newest} of {saved}")
            newest = found


# -- processes: P7 -----------------------------------------------------------------------------------------------------


class Takeover(NamedTuple):
    """A run that a killed worker held: how long until the fleet took it, how much of that is more than allowed, and whether
    the reaper's brake (after a silence of the whole fleet) was what it waited for."""

    run_id: str
    worker: str
    after_us: int
    late_us: int
    braked: bool


def recovery(evidence: Evidence) -> list[Takeover]:
    """Each takeover of a run from a worker that was killed."""
    deaths = evidence.record.deaths
    return [
        _takeover(evidence, run, claim, after, max(deaths[claim.worker], claim.at))
        for run in evidence.runs.values()
        for _, claim, after in run.claims()
        if after is not None and claim.worker in deaths and after.worker != claim.worker and after.at >= deaths[claim.worker]
    ]


def _takeover(evidence: Evidence, run: Run, claim: Event, after: Event, died_at: int) -> Takeover:
    over_at = died_at + evidence.lease_us
    brakes = [until for until in evidence.holds if over_at < until <= after.at]
    returns = [outage.back_at for outage in evidence.record.outages if outage.back_at <= after.at]
    allowed_until = max([over_at, *brakes, *returns]) + GRACE_US
    return Takeover(run.id, claim.worker, after.at - died_at, after.at - allowed_until, bool(brakes))


def runs_of_the_dead_are_taken_over_in_time(evidence: Evidence) -> Found:
    """P7: within lease + 2 s of a worker's death; where the reaper's brake held meanwhile, within 2 s of its end; and where the
    database was away, of its return."""
    for each in recovery(evidence):
        if each.late_us > 0:
            said = f"{each.worker} died, taken over after {each.after_us / 1e6:.2f} s, {each.late_us / 1e6:.2f} s too late"
            yield _broken(runs_of_the_dead_are_taken_over_in_time, each.run_id, said)


def going_on(evidence: Evidence) -> list[tuple[Outage, int | None]]:
    """For each outage, when the first run that was created after it was done. None: there was no such run."""
    done = sorted(
        (event.at, run.created_at) for run in evidence.runs.values() for event in run.events if event.type is EventType.SUCCEEDED
    )
    return [(outage, next((at for at, created in done if created > outage.back_at), None)) for outage in evidence.record.outages]


def work_goes_on_after_an_outage(evidence: Evidence) -> Found:
    """A run that is asked for after the database has come back is done within ten seconds of that, by whoever lived on."""
    bound = GO_ON_FROM_SCRATCH_US if evidence.record.deaths else GO_ON_US
    for outage, at in going_on(evidence):
        if at is None or at - outage.back_at > bound:
            said = "never" if at is None else f"after {(at - outage.back_at) / 1e6:.2f} s"
            yield _broken(work_goes_on_after_an_outage, str(outage.back_at), f"the first new run was done {said}")


def a_process_ends_by_our_hand_only(evidence: Evidence) -> Found:
    """No process ended but by SIGKILL, or with 0 after it was told to stop; and none spoke of a bug."""
    for name, code in evidence.record.failed.items():
        yield _broken(a_process_ends_by_our_hand_only, name, f"ended with {code}")
    for name, log in evidence.logs:
        said = without_failures_of_tasks(log)
        for word in _NEVER_SAID:
            if word in said:
                yield _broken(a_process_ends_by_our_hand_only, name, said[max(0, said.index(word) - 200) :][:1500])
                break


ORACLES: tuple[Callable[[Evidence], Found], ...] = (
    an_accepted_run_exists,
    a_call_is_all_or_nothing,
    a_key_names_one_run,
    a_cancel_is_final,
    a_retry_makes_one_run,
    every_run_ended_as_it_should,
    a_death_spends_no_failure,
    a_callback_saw_all_members,
    a_fence_was_used_once,
    an_attempt_belongs_to_its_claim,
    a_success_was_written_by_the_newest_fence,
    attempts_of_a_run_do_not_overlap,
    no_worker_was_reaped_within_its_lease,
    a_limit_holds_for_running_code,
    a_dependant_comes_after_its_upstream,
    a_checkpoint_was_told_before,
    runs_of_the_dead_are_taken_over_in_time,
    work_goes_on_after_an_outage,
    a_process_ends_by_our_hand_only,
)
