"""The planted bugs: one-line mistakes that somebody could make, each of which would break a promise.

Here: where each goes and what it does. Not here: planting and catching them (``tests/mutants/__main__.py``). Every line that is
replaced must be there exactly as written, so a mutant that no longer fits the code is noticed at once. Statements that
PostgreSQL overrides are mutated in their portable form, which the simulator runs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted bug: in ``file`` below ``src/mainspring``, ``old`` becomes ``new``. ``bug`` is what that would be. ``times``: the
    same condition is written so many times, each a guard of its own."""

    name: str
    bug: str
    file: str
    old: str
    new: str
    times: int = 1


_ATTEMPTS = "store/sql/attempts.sql"
_RUNS = "store/sql/runs.sql"
_LIMITS = "operations/limits.py"
_UPKEEP = "operations/upkeep.py"
_CLAIMS = "operations/claims.py"
_CLAIMING = "core/claiming.py"
_KEYS = "store/sql/keys.sql"
_SINGLETONS = "operations/singletons.py"

MUTANTS = (
    # -- fences
    Mutant(
        name="success-without-fence",
        bug="a success is written whoever holds the run now",
        file=_ATTEMPTS,
        old="WHERE r.id = i.id AND r.token = i.token AND r.state = 'running' AND r.seq = i.seq - 1 AND r.followed = 0;\nINSERT",
        new="WHERE r.id = i.id AND r.state = 'running';\nINSERT",
    ),
    Mutant(
        name="token-stays",
        bug="a claim does not raise the fence",
        file=_ATTEMPTS,
        old="SET state = 'running', token = r.token + 1, seq",
        new="SET state = 'running', token = r.token, seq",
    ),
    Mutant(
        name="heartbeat-without-fence",
        bug="an attempt whose lease is lost overwrites the checkpoint of the next",
        file=_ATTEMPTS,
        old="JOIN runs r {{by_id}} ON r.id = i.run_id\nWHERE r.token = i.token AND r.state IN",
        new="JOIN runs r {{by_id}} ON r.id = i.run_id\nWHERE r.state IN",
    ),
    Mutant(
        name="start-without-fence",
        bug="code begins under a lost lease although its start is put on record",
        file=_ATTEMPTS,
        old="SELECT id, token, {{now}}, {{now}}, NULL, NULL\nFROM runs\nWHERE id = :run_id AND token = :token AND",
        new="SELECT id, token, {{now}}, {{now}}, NULL, NULL\nFROM runs\nWHERE id = :run_id AND",
    ),
    # -- ledger
    Mutant(
        name="state-without-event",
        bug="a run becomes due and its ledger does not say so",
        file=_RUNS,
        old="SELECT id, seq + 1, 'due', 'queued', {{now}}, :actor, NULL, NULL\nFROM runs\nWHERE id",
        new="SELECT id, seq + 1, 'due', 'queued', {{now}}, :actor, NULL, NULL\nFROM runs\nWHERE failures = 0 AND id",
    ),
    Mutant(
        name="event-without-state",
        bug="a release is called due in its ledger and goes on waiting",
        file=_RUNS,
        old="SET state = 'queued', seq = seq + 1, reason = NULL\nWHERE id",
        new="SET state = 'queued', seq = seq + 1, reason = NULL\nWHERE state <> 'released' AND id",
    ),
    Mutant(
        name="reason-stays",
        bug="a claimed run keeps the reason of an earlier wait",
        file=_ATTEMPTS,
        old="worker_id = :worker_id, reason = NULL",
        new="worker_id = :worker_id",
    ),
    Mutant(
        name="failures-forgotten",
        bug="a run that waits for its retry forgets how often it failed",
        file=_RUNS,
        old="    failures = i.failures, interruptions",
        new="    failures = 0, interruptions",
    ),
    # -- leases
    Mutant(
        name="trust-beyond-the-lease",
        bug="a worker trusts its lease for longer than it lasts",
        file="core/lease.py",
        old="return confirmed_at + ttl * 9 // 10",
        new="return confirmed_at + ttl * 19 // 10",
    ),
    Mutant(
        name="lease-counted-from-the-answer",
        bug="a lease is counted from when the answer came and not from when the question went",
        file="runtime/worker.py",
        old="self._confirmed_at, self._limits = asked_at, turn.limits",
        new="self._confirmed_at, self._limits = self._system.monotonic(), turn.limits",
    ),
    Mutant(
        name="reap-early",
        bug="runs of a worker whose lease is not over yet are taken",
        file="store/sql/workers.sql",
        old="WHERE state = 'live' AND expires_at <= {{now}} ORDER BY",
        new="WHERE state = 'live' AND expires_at - ttl * 2 / 3 <= {{now}} ORDER BY",
    ),
    Mutant(
        name="no-brake",
        bug="after an outage of the database everybody is reaped at once",
        file="operations/attempts.py",
        old="    if hold > tx.now:\n        return 0",
        new="    if hold < 0:\n        return 0",
    ),
    Mutant(
        name="nobody-reaps",
        bug="the runs of dead workers are never taken",
        file=_UPKEEP,
        old='    Stage(name="leases", work=in_one("attempts.reap", _reap)),\n',
        new="",
    ),
    Mutant(
        name="orphans-stay",
        bug="a claim whose answer got lost is held for ever by a worker that does not know of it",
        file="runtime/worker.py",
        old="        if orphans := [now for now in held if now.run_id not in self._held]:",
        new="        if orphans := [now for now in held if now.run_id in self._held]:",
    ),
    Mutant(
        name="giving-back-costs",
        bug="a run that comes back unstarted pays for an interruption",
        file="core/attempts.py",
        old="            return move(held, EventType.GIVEN_BACK, running, State.QUEUED, actor=actor)",
        new="            return _settle_interruption(held, Interrupted('worker_lost'), spent, policy, actor)",
    ),
    Mutant(
        name="a-death-always-costs",
        bug="a run whose code provably never began pays for an interruption",
        file="operations/attempts.py",
        old='    return Interrupted("worker_lost") if began or run.interruptions == 0 else Unstarted()',
        new='    return Interrupted("worker_lost")',
    ),
    # -- commits whose fate is unknown
    Mutant(
        name="outcome-forgotten",
        bug="an outcome is forgotten when the database did not answer",
        file="runtime/worker.py",
        old="            if turn is None:  # whatever went wrong, nothing of what ended is forgotten",
        new="            if turn is not None and not ended:",
    ),
    Mutant(
        name="unknown-called-refused",
        bug="a caller is told that nothing was created when nobody knows",
        file="client/writing.py",
        old="            if unknown is None:\n                raise",
        new="            if unknown is None or True:\n                raise",
    ),
    Mutant(
        name="repeat-creates-again",
        bug="a call repeated after an unknown commit makes another run for its key",
        file="operations/enqueue.py",
        old="    answers = yield from _already_there([run for run in runs if run.id in keyed])",
        new="    answers = yield from _already_there([])",
    ),
    Mutant(
        name="beat-after-its-outcome",
        bug="the last checkpoint of an attempt is lost when its lease was in doubt",
        file="runtime/beats.py",
        old="if beat.token == ending.get(beat.run_id) or holds(",
        new="if holds(",
    ),
    # -- time
    Mutant(
        name="timer-early",
        bug="a run is due half a second early",
        file=_RUNS,
        old="due_at <= {{now}}",
        new="due_at <= {{now}} + 500000",
        times=5,
    ),
    Mutant(
        name="delay-ignored",
        bug="a task's own delay before its retry is not kept",
        file="core/budgets.py",
        old="    if after_us is not None:\n        return Retrying(spent=now_spent, delay_us=clamp_delay(after_us))",
        new="    if after_us is not None:\n        return Retrying(spent=now_spent, delay_us=0)",
    ),
    Mutant(
        name="lost-wake-up",
        bug="a worker waits for a hint that may never come",
        file="runtime/worker.py",
        old="        return Wake(min(seconds, self.plan.ttl_us / 3e6))",
        new="        return Wake(min(seconds, self.plan.ttl_us / 3e6) if self._held else 1e7)",
    ),
    Mutant(
        name="due-times-forgotten",
        bug="nobody looks again for what is due later",
        file="runtime/maintenance.py",
        old="            return self._longest",
        new="            return 1e7",
    ),
    # -- budgets
    Mutant(
        name="retry-without-budget",
        bug="a run is retried once more than was agreed",
        file="core/budgets.py",
        old="    if final or now_spent.failures >= budgets.max_attempts:",
        new="    if final or now_spent.failures > budgets.max_attempts:",
    ),
    Mutant(
        name="interruptions-without-budget",
        bug="a run that kills its workers loops for ever",
        file="core/budgets.py",
        old="    if now_spent.interruptions >= budgets.max_interruptions:",
        new="    if now_spent.interruptions > budgets.max_interruptions:",
    ),
    Mutant(
        name="releases-without-budget",
        bug="a run gives itself back once more than was agreed",
        file="core/budgets.py",
        old="spent.releases >= budgets.max_releases:",
        new="spent.releases > budgets.max_releases:",
    ),
    # -- cancels
    Mutant(
        name="cancel-leaves-it-waiting",
        bug="the cancel of a run that waits for its retry is not final",
        file="operations/runs.py",
        old="    target = State.CANCELLING if run.state in ACTIVE else State.CANCELLED\n",
        new="    target = State.CANCELLING\n    if run.state not in ACTIVE:\n        return 'cancelled'\n",
    ),
    Mutant(
        name="cancel-frees-the-key",
        bug="a cancelled owner loses its idempotency key, so that the work is done after all",
        file="operations/moves.py",
        old="    return m.state in {State.FAILED, State.SKIPPED, State.UPSTREAM_FAILED} and not was_asked",
        new="    return m.state in {State.FAILED, State.SKIPPED, State.UPSTREAM_FAILED, State.CANCELLED}",
    ),
    # -- limits and queues
    Mutant(
        name="slots-of-a-key-uncounted",
        bug="a claim takes what a limit allows, whatever is held of it already",
        file=_LIMITS,
        old="            found.free[number] = max(0, (gate.row.size or 0) - held.get(number, 0))",
        new="            found.free[number] = gate.row.size or 0",
    ),
    Mutant(
        name="units-counted-as-one",
        bug="a run that takes several units of a limit is counted as one",
        file=_LIMITS,
        old="held[gate] = held.get(gate, 0) + int(units) * cost",
        new="held[gate] = held.get(gate, 0) + int(units)",
    ),
    Mutant(
        name="limit-ignored-within-a-claim",
        bug="one claim takes more than its limit has free, because its groups do not know of each other",
        file=_CLAIMING,
        old="                left[gate] -= part * cost",
        new="                left[gate] -= 0",
    ),
    Mutant(
        name="rate-never-spent",
        bug="a rate lets its burst through with each claim",
        file=_LIMITS,
        old='        tx.send("rates.put", batch=batch)',
        new='        tx.send("rates.put", batch=batch[:0])',
    ),
    Mutant(
        name="paused-queue-claimed",
        bug="a paused queue hands out runs",
        file=_CLAIMS,
        old=" and lane.queue not in paused]",
        new="]",
    ),
    # -- keys
    Mutant(
        name="singleton-stays",
        bug="a singleton key stays with a run that has ended",
        file="operations/singletons.py",
        old='    tx.execute("keys.free_singletons", ids=ended)',
        new="    pass",
    ),
    Mutant(
        name="failed-owner-keeps-its-key",
        bug="a run that failed keeps its idempotency key, so that nobody does the work",
        file="operations/moves.py",
        old='        tx.execute("keys.free_failed", ids=keyed)',
        new="        pass",
    ),
    Mutant(
        name="key-expires-at-once",
        bug="an idempotency key is let go of before its retention is over",
        file=_KEYS,
        old="DELETE FROM idempotency_keys\nWHERE expires_at <= {{now}}",
        new="DELETE FROM idempotency_keys\nWHERE expires_at <= {{now}} + 4000000000",
    ),
    Mutant(
        name="live-owner-loses-its-key",
        bug="a run that lives beyond the time of its idempotency key loses it, so that the work is done twice",
        file=_KEYS,
        old="       OR EXISTS (SELECT 1 FROM runs r WHERE r.id = idempotency_keys.run_id AND r.ended_at IS NOT NULL));",
        new="       OR EXISTS (SELECT 1 FROM runs r WHERE r.id = idempotency_keys.run_id));",
    ),
    Mutant(
        name="successor-not-created",
        bug="the end of a run creates nothing of what was kept for afterwards",
        file=_SINGLETONS,
        old="    if following:\n",
        new="    if len(following) > 1:\n",
    ),
    Mutant(
        name="older-payload-afterwards",
        bug="a payload goes into a run that waits for its retry although an older one is kept for after it",
        file=_SINGLETONS,
        old="    if held.state in WAITING and owner.next_id is None:",
        new="    if held.state in WAITING:",
    ),
    Mutant(
        name="two-successors-promised",
        bug="each deferred call is promised a run of its own, and one is created",
        file=_KEYS,
        old="SET next_id = coalesce(next_id, :next_id), next_lane",
        new="SET next_id = :next_id, next_lane",
    ),
    Mutant(
        name="first-deferred-payload-stays",
        bug="of the payloads that are kept for afterwards the first one wins",
        file=_KEYS,
        old="next_body = :body, first_at",
        new="next_body = coalesce(next_body, :body), first_at",
    ),
    # -- batches, retries, retention
    Mutant(
        name="callback-early",
        bug="a batch's callback starts while its last member still runs",
        file="core/dependencies.py",
        old="        return self.sealed and self.open == 0",
        new="        return self.sealed and self.open <= 1",
    ),
    Mutant(
        name="member-not-counted",
        bug="a member that was cancelled is not counted, so that the callback waits for ever",
        file="operations/moves.py",
        old="    if members := [(held.batch_id, m.state) for held, m in ended if held.batch_id is not None]:",
        new="    if members := [(h.batch_id, m.state) for h, m in ended if h.batch_id is not None and m.state != 'cancelled']:",
    ),
    Mutant(
        name="callbacks-twice",
        bug="a batch whose creation is repeated after an unknown commit has each callback twice",
        file="client/batches.py",
        old="namespace=namespace, callbacks=then, seal=alone",
        new="namespace=namespace, callbacks={on: client._new_run(r) for on, r in callbacks.items()}, seal=alone",
    ),
    Mutant(
        name="first-upstream-suffices",
        bug="a run that waits for several begins after the first of them",
        file="operations/releasing.py",
        old="for run_id in held_back if run_id in lost or run_id not in still}",
        new="for run_id in held_back if run_id in lost or run_id in still or run_id not in still}",
    ),
    Mutant(
        name="ended-upstream-not-counted",
        bug="an upstream that ended before its dependant was created is waited for, for ever",
        file="operations/dependencies.py",
        old="        known |= {str(row[0]): by_run(str(row[0]), State(row[1])) for row in found}",
        new="        known |= {str(row[0]): by_run(str(row[0]), State.QUEUED) for row in found}",
    ),
    Mutant(
        name="two-live-retries",
        bug="two operators who retry a run make two runs",
        file="operations/runs.py",
        old="    if again:\n        return str(again[0]), False",
        new="    if again and False:\n        return str(again[0]), False",
    ),
    Mutant(
        name="dead-letter-missing",
        bug="a run uses up its budget and nobody is told",
        file="operations/moves.py",
        old='        tx.execute("dead_letters.open", batch=dead)',
        new="        pass",
    ),
    Mutant(
        name="prune-takes-the-young",
        bug="retention removes runs that ended just now",
        file="store/sql/retention.sql",
        old="AND r.ended_at < :cut_off",
        new="AND r.ended_at < :cut_off + 3600000000",
    ),
    # -- instants of a run's own
    Mutant(
        name="expired-is-claimed",
        bug="the claim does not look whether a run has expired",
        file="store/sql/sqlite/attempts.sql",
        old="(r.expires_at IS NULL OR r.token > 0 OR r.expires_at > {{now}})",
        new="(r.expires_at IS NULL OR r.token > 0 OR r.expires_at > 0)",
    ),
    Mutant(
        name="deadline-spares-the-queued",
        bug="a run that is ready to be claimed is not held to its deadline, and nobody may claim it either",
        file="store/sql/deadlines.sql",
        old="WHERE deadline_at <= {{now}} AND state IN",
        new="WHERE deadline_at <= {{now}} AND state <> 'queued' AND state IN",
    ),
    Mutant(
        name="late-run-is-cancelled",
        bug="a run that was stopped at its deadline ends as one that a person cancelled",
        file="core/attempts.py",
        old="isinstance(held, Run) and held.is_overdue",
        new="isinstance(held, Run) and not held.is_overdue and held.is_terminal",
    ),
    Mutant(
        name="new-payload-forgotten",
        bug="a run that gave itself back with another payload is handed the old one",
        file="core/attempts.py",
        old="payload=back.payload is not None, lane_id",
        new="payload=False, lane_id",
    ),
    # -- schedules
    Mutant(
        name="slot-outlives-its-run",
        bug="the end of a run does not free its slot",
        file="operations/occurrences.py",
        old='    tx.execute("occurrences.free", ids=sorted(row[5] for row in rows))\n',
        new='    tx.execute("occurrences.free", ids=[])\n',
    ),
    Mutant(
        name="cursor-passes-what-is-undecided",
        bug="the cursor is put a moment ahead, and whatever is due in between has no fate",
        file="core/planning.py",
        old="cursor_at=max(at, cursor.cursor_at),",
        new="cursor_at=max(at, cursor.cursor_at) + 1_500_000,",
    ),
    Mutant(
        name="slots-not-counted",
        bug="those who hold a slot are not counted when slots are given out",
        file="core/planning.py",
        old="    active = sum(each.holds_slot for each in standing)\n",
        new="    active = 0\n",
    ),
    Mutant(
        name="superseded-run-goes-on",
        bug="a run whose place a newer one took is left waiting",
        file="operations/visits.py",
        old="(run, move(run, EventType.SKIPPED, run.state, State.SKIPPED,",
        new="(run, move(run, EventType.UNBLOCKED, run.state, State.QUEUED,",
    ),
    Mutant(
        name="waiting-forgotten",
        bug="a slot that comes free is not offered to who waits",
        file="core/planning.py",
        old="ready = [each for each in waiting if each.ready_at <= now]",
        new="ready = [each for each in waiting if each.ready_at < 0]",
    ),
    Mutant(
        name="end-wakes-nobody",
        bug="the end of a run has nobody look at its schedule, though somebody waits for the slot",
        file="operations/occurrences.py",
        old='        tx.execute("cursors.poke_for_ends", ids=sorted(counted))\n',
        new="",
    ),
    Mutant(
        name="edit-takes-the-past-along",
        bug="what was due before an edit and is settled after it is settled by the new rule",
        file="operations/planning.py",
        old="    while schedule.revision > 1 and cursor.cursor_at < schedule.revised_at:\n",
        new="    while False:\n",
    ),
)
