"""Compares what callers were told and attempts saw with what the database says: one oracle for each promise.

Here: reading a database, and pure functions that yield what does not hold. Not here: what the database alone can break
(``mainspring/testing/invariants.py``; an episode asks both).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import psycopg

from mainspring.core.states import State
from mainspring.errors import CommitUnknown, StorageConflict, StorageUnavailable
from mainspring.testing.invariants import Violation
from tests.network.jobs import Call, Line
from tests.support.logs import without_failures_of_tasks

Found = Iterator[Violation]

_NOTHING_DONE = {StorageUnavailable.code, StorageConflict.code}
_MAY_BE_TOLD = {*_NOTHING_DONE, CommitUnknown.code}
_NEVER_SAID = ("Traceback", "BrokenInvariant", "stopped:")


class Run(NamedTuple):
    """A run as the database has it at the end."""

    id: str
    state: State
    token: int
    key: str | None
    nonce: str
    result: Any

    @property
    def call(self) -> str:
        """The call that wanted it."""
        return self.nonce.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the oracles look at."""

    runs: Mapping[str, Run]
    calls: Sequence[Call]
    lines: Sequence[Line]
    log: str = ""
    longest_call_seconds: float


def read_runs(url: str) -> dict[str, Run]:
    """All runs of a database."""
    with psycopg.connect(url) as session:
        rows = session.execute(
            "SELECT r.id::text, r.state, r.token, r.idempotency_key, p.body, e.body FROM runs r"
            " LEFT JOIN events p ON p.run_id = r.id AND p.seq = r.payload_seq"
            " LEFT JOIN events e ON e.run_id = r.id AND e.seq = r.seq"
        ).fetchall()
    return {row[0]: Run(row[0], State(row[1]), row[2], row[3], _json(row[4])["nonce"], _json(row[5])) for row in rows}


def _json(body: bytes | None) -> Any:
    return msgspec.json.decode(body) if body else None


def violations(evidence: Evidence) -> list[Violation]:
    """Everything that does not hold."""
    return [each for oracle in ORACLES for each in oracle(evidence)]


def an_accepted_run_exists(evidence: Evidence) -> Found:
    """P1: whatever a caller was told was accepted is there."""
    for call in evidence.calls:
        for run_id, _ in call.accepted or ():
            if run_id not in evidence.runs:
                yield Violation("an_accepted_run_exists", run_id, f"accepted in call {call.id}, and gone")


def a_call_is_all_or_nothing(evidence: Evidence) -> Found:
    """P1: a call made all the runs it wanted, or none; none if it was told so; all if told that; and none twice."""
    made = Counter(run.call for run in evidence.runs.values() if run.key is None)
    for call in evidence.calls:
        if call.key is not None:
            continue
        if made[call.id] not in {0, call.size}:
            yield Violation("a_call_is_all_or_nothing", call.id, f"{made[call.id]} of {call.size} runs")
        elif made[call.id] and call.refused in _NOTHING_DONE:
            yield Violation("a_call_is_all_or_nothing", call.id, f"told {call.refused}, and there are {made[call.id]} runs")
        elif call.accepted and made[call.id] != call.size:
            yield Violation("a_call_is_all_or_nothing", call.id, f"accepted, and there are {made[call.id]} runs")
    for nonce, times in Counter(run.nonce for run in evidence.runs.values()).items():
        if times > 1:
            yield Violation("a_call_is_all_or_nothing", nonce, f"created {times} times")


def a_key_names_one_run(evidence: Evidence) -> Found:
    """P6: everybody who used a key was given the same run, there is one, and none where all were told that nothing was done."""
    told: dict[str, set[str]] = defaultdict(set)
    codes: dict[str, set[str | None]] = defaultdict(set)
    for call in evidence.calls:
        if call.key is not None:
            told[call.key].update(run_id for run_id, _ in call.accepted or ())
            codes[call.key].add(call.refused)
    for run in evidence.runs.values():
        if run.key is not None:
            told[run.key].add(run.id)
            if codes[run.key] <= _NOTHING_DONE:
                yield Violation("a_key_names_one_run", run.key, f"told only {codes[run.key]}, and there is {run.id}")
    for key, owners in told.items():
        if len(owners) > 1:
            yield Violation("a_key_names_one_run", key, f"names {sorted(owners)}")


def a_refusal_is_one_we_know(evidence: Evidence) -> Found:
    """Trouble of the network is told as what it means for the caller, and as nothing else."""
    for call in evidence.calls:
        if call.refused is not None and call.refused not in _MAY_BE_TOLD:
            yield Violation("a_refusal_is_one_we_know", call.id, call.refused)


def a_call_ends_in_time(evidence: Evidence) -> Found:
    """Whatever the line does, a caller gets an answer."""
    for call in evidence.calls:
        if call.seconds > evidence.longest_call_seconds:
            yield Violation("a_call_ends_in_time", call.id, f"took {call.seconds:.1f} s")


def every_run_succeeded_by_its_newest_fence(evidence: Evidence) -> Found:
    """P1, P3: every run succeeds in the end, with the result of the attempt that had the last token, which reached its end."""
    ends = {(line.run, line.token) for line in evidence.lines if line.what == "end"}
    for run in evidence.runs.values():
        if run.state is not State.SUCCEEDED:
            yield Violation("every_run_succeeded_by_its_newest_fence", run.id, f"is {run.state}")
        elif run.result != {"nonce": run.nonce, "token": run.token}:
            yield Violation("every_run_succeeded_by_its_newest_fence", run.id, f"token {run.token}, and the result {run.result}")
        elif (run.id, run.token) not in ends:
            yield Violation("every_run_succeeded_by_its_newest_fence", run.id, f"token {run.token} never reached its end")


def a_fence_was_used_once(evidence: Evidence) -> Found:
    """P3: user code began at most once under each token, and ended at most once."""
    attempts: dict[tuple[str, int], list[str]] = defaultdict(list)
    for line in evidence.lines:
        attempts[line.run, line.token].append(line.what)
    for (run_id, token), order in attempts.items():
        if order not in (["begin", "end"], ["begin", "stop"]):
            yield Violation("a_fence_was_used_once", run_id, f"token {token}: {order}")
        if run_id not in evidence.runs or token > evidence.runs[run_id].token:
            yield Violation("a_fence_was_used_once", run_id, f"token {token} ran, and was never claimed")


def nobody_spoke_of_a_bug(evidence: Evidence) -> Found:
    """Workers report trouble with the database in one line; a traceback that is not a task's is something we did not think of."""
    said = without_failures_of_tasks(evidence.log)
    for word in _NEVER_SAID:
        if word in said:
            at = said.index(word)
            yield Violation("nobody_spoke_of_a_bug", word, said[max(0, at - 300) : at + 2000])


ORACLES: tuple[Callable[[Evidence], Found], ...] = (
    an_accepted_run_exists,
    a_call_is_all_or_nothing,
    a_key_names_one_run,
    a_refusal_is_one_we_know,
    a_call_ends_in_time,
    every_run_succeeded_by_its_newest_fence,
    a_fence_was_used_once,
    nobody_spoke_of_a_bug,
)
