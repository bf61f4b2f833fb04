"""The witness: what callers were told and what user code did, noted beside the database and compared with it.

Here: the oracles that the database alone cannot answer, because they are about promises made to somebody: an accepted run is
there, a refused one is not, a result is the one its own attempt returned, nobody runs what a trusted holder runs, a cancel is
final, nothing starts early, a checkpoint reaches the next attempt. Not here: what the rows say of themselves
(``testing/invariants.py``).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from mainspring.core.attempts import Dropped, Failed, GaveItselfBack, Outcome, Succeeded, Unworkable
from mainspring.core.events import Event
from mainspring.core.lanes import Lane
from mainspring.core.retry import clamp_delay
from mainspring.core.states import EventType, State
from mainspring.operations.claims import Claimed
from mainspring.runtime.worker import Assignment
from mainspring.testing import invariants
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.world import World

Fence = tuple[str, int]
#: What a limit is over: its scope and name.
Subject = tuple[str, str]


class Accepted(NamedTuple):
    """A run whose creation was acknowledged."""

    body: bytes
    due_at: int | None
    expires_at: int | None = None
    deadline_at: int | None = None


class Pace(NamedTuple):
    """A rate somebody was told is in force, and how many have begun since, by key where each has one."""

    n: int
    per: int
    burst: int
    set_at: int
    set_moment: int
    begun: dict[str | None, int]


def units(lane: Lane, subject: Subject) -> int:
    """What a run of a lane takes of the limit over a subject."""
    scope, name = subject
    match scope:
        case "queue":
            return int(lane.queue == name)
        case "each_key":
            return int(lane.queue == name and lane.concurrency_key is not None)
        case "task":
            return int(lane.task == name)
        case "pool":
            return dict(lane.uses).get(name, 0)
        case _:
            return 1


def _same_key(subject: Subject, lane: Lane, other: Lane) -> bool:
    return subject[0] != "each_key" or lane.concurrency_key == other.concurrency_key


class _Payload(msgspec.Struct):
    dice: int


_decode_payload = msgspec.json.Decoder(_Payload).decode


class Witness:
    """Sees every call and every attempt. ``broken`` collects what cannot be."""

    def __init__(self, world: World, *, tasks: tuple[str, ...], clock_is_true: bool) -> None:
        self.tasks = tasks
        self.clock_is_true = clock_is_true
        self.broken: list[Violation] = []
        self.accepted: dict[str, Accepted] = {}
        self.refused: set[str] = set()
        self.pruned: set[str] = set()
        self.cancelled: set[str] = set()
        self.paused: set[str] = set()
        self.limits: dict[Subject, tuple[int, int]] = {}  # -> size, and the moment it was set
        self.paces: dict[Subject, Pace] = {}
        self.troubled: set[str] = set()  # processes that may have lost their lease for a reason of their own
        self.lowered: set[str] = set()  # names of limits that were put below what ran
        self.claims: list[Assignment] = []
        self.attempts = 0
        self.is_trusted: Callable[[str], bool] = lambda node: False
        self.watchers: list[Callable[[Sequence[Assignment]], None]] = []  # whoever else sees what is handed out
        self._world = world
        self._moment = 0
        self._claimed_at: dict[Fence, int] = {}
        self._running: dict[Fence, tuple[str, Lane]] = {}  # -> node, lane
        self._reports: dict[Fence, Outcome] = {}
        self._began: set[Fence] = set()
        self._may_have_begun: set[Fence] = set()
        self._saved: defaultdict[Fence, list[bytes]] = defaultdict(list)
        self._dice: dict[bytes, int] = {}

    def accuse(self, invariant: str, subject: str, detail: str) -> None:
        """Something happened that must not."""
        self.broken.append(Violation(invariant, subject, detail))

    # -- callers ----------------------------------------------------------------------------------------------------

    def was_accepted(self, run_id: str, body: bytes, due_at: int | None = None) -> None:
        """A caller holds this run's handle."""
        self.accepted[run_id] = Accepted(body, due_at)

    def was_bounded(self, run_id: str, expires_at: int | None, deadline_at: int | None) -> None:
        """This run is to begin, and to end, by these instants."""
        self.accepted[run_id] = self.accepted[run_id]._replace(expires_at=expires_at, deadline_at=deadline_at)

    def was_refused(self, ids: Iterable[str]) -> None:
        """A caller was told that nothing was created."""
        self.refused.update(ids)

    def was_limited(self, subject: Subject, size: int | None) -> None:
        """An operator was told that this is the limit over a subject."""
        self._moment += 1
        if size is not None:
            self.limits[subject] = size, self._moment

    def was_paced(self, subject: Subject, n: int, per: int, burst: int) -> None:
        """An operator was told that this is the rate over a subject."""
        self._moment += 1
        self.paces[subject] = Pace(n, per, burst, self._world.clock.now, self._moment, {})

    def look_for_lowered(self) -> None:
        """A limit may have been put below what runs, whatever its operator was told."""
        each = "SELECT name FROM limits WHERE scope IN ('each_key', 'key')"  # named by their queue, whichever key it is
        over = {violation.subject for violation in invariants.limits_are_kept(self._world.look, frozenset())}
        self.lowered = over | {name for (name,) in self._world.look(each)}

    # -- user code --------------------------------------------------------------------------------------------------

    def payload_dice(self, claimed: Claimed) -> int:
        """The number in a run's payload that its script is written from."""
        assert claimed.body is not None
        if claimed.body not in self._dice:  # a run's payload may be replaced
            self._dice[claimed.body] = _decode_payload(claimed.body).dice
        return self._dice[claimed.body]

    def claimed(self, claims: Sequence[Assignment]) -> None:
        """A worker was given these, just now."""
        self._moment += 1
        self.claims += claims
        for watch in self.watchers:
            watch(claims)
        for assignment in claims:
            claimed = assignment.claimed
            self._claimed_at[claimed.id, claimed.token] = self._moment
            if assignment.lane.queue in self.paused:
                self.accuse("a_paused_queue_hands_out_nothing", claimed.id, f"claimed from {assignment.lane.queue}")
            if claimed.id in self.cancelled:
                self.accuse("a_cancel_is_final", claimed.id, f"claimed under token {claimed.token} after its cancel")
            if self.clock_is_true:
                self._check_time(claimed)

    def _check_time(self, claimed: Claimed) -> None:
        now = self._world.clock.now
        known = self.accepted.get(claimed.id)
        due_at = claimed.due_at if known is None or known.due_at is None else max(claimed.due_at, known.due_at)
        if due_at > now:
            self.accuse("nothing_starts_early", claimed.id, f"due at {due_at}, claimed at {now}")
        if known is not None and known.expires_at is not None and claimed.token == 1 and now >= known.expires_at:
            self.accuse("nothing_begins_after_its_expiry", claimed.id, f"expired at {known.expires_at}, claimed at {now}")
        if known is not None and known.deadline_at is not None and now >= known.deadline_at:
            self.accuse("nothing_begins_after_its_deadline", claimed.id, f"deadline at {known.deadline_at}, claimed at {now}")

    def may_begin(self, claimed: Claimed) -> None:
        """A start is about to be put on record; whether code follows depends on who lives that long."""
        self._may_have_begun.add((claimed.id, claimed.token))

    def began(self, node: str, assignment: Assignment) -> None:
        """User code begins."""
        self.attempts += 1
        claimed = assignment.claimed
        fence = claimed.id, claimed.token
        if fence in self._began:
            self.accuse("code_begins_once_under_a_fence", claimed.id, f"token {claimed.token}, again on {node}")
        self._began.add(fence)
        self._check_checkpoint(assignment)
        if claimed.interruptions:
            self._check_record(claimed)
        if self.clock_is_true and self.is_trusted(node):
            self._check_company(node, claimed)
            self._running[fence] = node, assignment.lane
            self._check_limits(fence, assignment.lane)
        else:
            self._running[fence] = node, assignment.lane
        if self.clock_is_true:
            self._check_paces(fence, assignment.lane)

    def saved(self, claimed: Claimed) -> bytes:
        """What an attempt saves next."""
        said = f"{claimed.token} {len(self._saved[claimed.id, claimed.token])}".encode()
        self._saved[claimed.id, claimed.token].append(said)
        return said

    def reported(self, claimed: Claimed, outcome: Outcome) -> None:
        """User code is over, and its worker was told how."""
        fence = claimed.id, claimed.token
        self._running.pop(fence, None)
        if fence in self._reports:
            self.accuse("an_attempt_reports_once", claimed.id, f"token {claimed.token}")
        self._reports[fence] = outcome

    def dropped(self, fence: Fence) -> None:
        """A worker let go of an attempt, whose lease is lost. Its code may go on for a while; nobody listens."""
        self._running.pop(fence, None)

    def _check_company(self, node: str, claimed: Claimed) -> None:
        for (run_id, token), (other, _) in self._running.items():
            if run_id == claimed.id and self.is_trusted(other):
                detail = f"token {claimed.token} begins on {node} while {other} trusts its lease under token {token}"
                self.accuse("a_run_has_one_trusted_holder", run_id, detail)

    def _check_limits(self, fence: Fence, lane: Lane) -> None:
        for subject, (size, set_at) in self.limits.items():
            if not units(lane, subject) or self._claimed_at.get(fence, 0) < set_at:
                continue
            alike = [
                (run_id, units(other, subject))
                for (run_id, _), (node, other) in self._running.items()
                if self.is_trusted(node) and _same_key(subject, lane, other)
            ]
            running = sum(count for _, count in alike)
            if running > size:
                running -= sum(count for run_id, count in alike if self._was_terminated(run_id))
            if running > size:
                self.accuse("a_limit_holds", fence[0], f"{running} units run under {subject}, whose limit is {size}")

    def _was_terminated(self, run_id: str) -> bool:
        """Whether a schedule ended a run over the head of its attempt, which is told later: its places are free by then."""
        ended = "SELECT 1 FROM events WHERE run_id = ? AND type = 'cancelled' AND data ->> 'outcome' = 'terminated'"
        return bool(self._world.look(ended, run_id))

    def _check_paces(self, fence: Fence, lane: Lane) -> None:
        """Since a rate was set no more may have begun under it than the time since then and one burst let through."""
        for subject, pace in self.paces.items():
            if not units(lane, subject) or self._claimed_at.get(fence, 0) < pace.set_moment:
                continue
            key = lane.concurrency_key if subject[0] == "each_key" else None
            pace.begun[key] = pace.begun.get(key, 0) + 1
            most = pace.burst + (self._world.clock.now - pace.set_at) * pace.n // pace.per + 1
            if pace.begun[key] > most:
                self.accuse("a_rate_holds", fence[0], f"{pace.begun[key]} began under {subject}, {most} is the most by now")

    def _check_record(self, claimed: Claimed) -> None:
        """What was interrupted before begins on the record, so not under a fence that is over."""
        ((token,),) = self._world.look("SELECT token FROM runs WHERE id = ?", claimed.id)
        if token != claimed.token:
            self.accuse("a_recorded_start_is_under_the_newest_fence", claimed.id, f"begins under {claimed.token}, is at {token}")

    def _check_checkpoint(self, assignment: Assignment) -> None:
        claimed, found = assignment.claimed, assignment.checkpoint
        if found is not None and not any(found in self._saved.get((claimed.id, token), ()) for token in range(claimed.token)):
            self.accuse("a_checkpoint_is_one_that_was_saved", claimed.id, repr(found))
        before = claimed.id, claimed.token - 1
        kept = isinstance(self._reports.get(before), (Failed, GaveItselfBack)) and self._outcome_counted(claimed)
        told = self._reports.get(before)
        if kept and isinstance(told, GaveItselfBack) and told.payload not in {None, claimed.body}:
            self.accuse("a_payload_given_back_counts", claimed.id, f"{claimed.body!r} instead of {told.payload!r}")
        if kept and (saved := self._saved.get(before)) and found != saved[-1]:
            self.accuse("a_checkpoint_reaches_the_next_attempt", claimed.id, f"{found!r} instead of {saved[-1]!r}")

    def _outcome_counted(self, claimed: Claimed) -> bool:
        """Whether the end of the attempt before is on record as its worker reported it."""
        ((count,),) = self._world.look(
            "SELECT count(*) FROM events e WHERE e.run_id = ? AND e.type IN ('retry_scheduled', 'released') AND e.seq >"
            " (SELECT max(c.seq) FROM events c WHERE c.run_id = e.run_id AND c.type = 'claimed' AND c.seq < ?)",
            claimed.id,
            claimed.seq,
        )
        return bool(count)

    # -- the end of the story ---------------------------------------------------------------------------------------

    def verify(self, ledgers: dict[str, list[Event]]) -> Iterator[Violation]:
        """Compare the ledgers with what was seen."""
        yield from self.broken
        for run_id, known in self.accepted.items():
            if run_id not in ledgers and run_id not in self.pruned:
                yield Violation("an_accepted_run_is_there", run_id, "gone")
            elif run_id in ledgers and ledgers[run_id][0].body != known.body:
                yield Violation("a_run_keeps_its_payload", run_id, f"{ledgers[run_id][0].body!r} instead of {known.body!r}")
        for run_id in self.refused & ledgers.keys():
            yield Violation("a_refused_run_is_not_there", run_id, "created, though its caller was told that nothing was")
        for run_id, ledger in ledgers.items():
            yield from self._verify_run(run_id, ledger)

    def _verify_run(self, run_id: str, ledger: Sequence[Event]) -> Iterator[Violation]:
        token = interruptions = 0
        holder = ""
        for event in ledger:
            if event.type is EventType.CLAIMED:
                token += 1
                holder = event.actor.removeprefix("worker:").split(".")[0]
            if event.type is EventType.INTERRUPTED:
                yield from self._verify_interruption(event, (run_id, token), holder, interruptions)
                interruptions += 1
            if detail := self._contradiction(event, self._reports.get((run_id, token))):
                yield Violation("the_ledger_says_what_the_attempt_said", run_id, f"seq {event.seq}, token {token}: {detail}")
        yield from self._verify_instants(run_id, ledger)
        if run_id in self.cancelled and ledger[-1].state not in {State.CANCELLED, State.CANCELLING, State.FAILED}:
            yield Violation("a_cancel_is_final", run_id, f"is {ledger[-1].state}")

    def _verify_instants(self, run_id: str, ledger: Sequence[Event]) -> Iterator[Violation]:
        """A run is skipped as expired or failed at its deadline only then and only if it had one; skipped only if nobody began."""
        known, last = self.accepted.get(run_id), ledger[-1]
        if known is None or not self.clock_is_true:
            return
        reason = last.data.get("reason")
        begun = any(event.type is EventType.CLAIMED for event in ledger)
        is_expired = last.state is State.SKIPPED and reason == "expired"
        if is_expired and (begun or known.expires_at is None or last.at < known.expires_at):
            yield Violation("only_what_expired_is_skipped", run_id, f"at {last.at}, expires {known.expires_at}, begun: {begun}")
        is_late = last.state is State.FAILED and reason == "deadline" and "releases_exhausted" not in last.data
        if is_late and (known.deadline_at is None or last.at < known.deadline_at):
            yield Violation("only_what_is_late_fails_at_its_deadline", run_id, f"at {last.at}, deadline {known.deadline_at}")
        asked = [event for event in ledger if event.type is EventType.CANCEL_REQUESTED and event.data.get("reason") == "deadline"]
        if asked and run_id not in self.cancelled and last.state is State.CANCELLED:
            yield Violation("a_late_run_fails", run_id, "was stopped at its deadline and is cancelled")

    def _verify_interruption(self, event: Event, fence: Fence, holder: str, before: int) -> Iterator[Violation]:
        """Who was well keeps what it holds, an outage of the database included; and what never began spends nothing, where it
        can be known."""
        if event.data.get("code") == "worker_lost":
            if self.clock_is_true and holder not in self.troubled:
                yield Violation("nobody_well_loses_a_lease", fence[0], f"seq {event.seq}: taken from {holder}")
            if before and fence not in self._began | self._may_have_begun:
                yield Violation("what_never_began_spends_nothing", fence[0], f"seq {event.seq}, token {fence[1]}")

    @staticmethod
    def _contradiction(event: Event, told: Outcome | None) -> str:
        """Why this event cannot follow from what the attempt reported; "" if it can."""
        match event.type:
            case EventType.SUCCEEDED:
                wanted = isinstance(told, Succeeded) and told.result == event.body
            case EventType.RETRY_SCHEDULED:
                wanted = isinstance(told, Failed) or type(told).__name__ == "Stopped"
                if isinstance(told, Failed) and told.after_us is not None:
                    wanted = event.data.get("delay") == clamp_delay(told.after_us)
            case EventType.RELEASED:
                wanted = isinstance(told, GaveItselfBack) and told.payload == event.body
            case EventType.SKIPPED if event.actor.startswith("worker:") and event.data.get("reason") != "expired":
                wanted = isinstance(told, Dropped) and told.reason == event.data.get("reason")
            case EventType.PARKED if event.actor.startswith("worker:"):
                wanted = isinstance(told, Unworkable)
            case _:
                wanted = True
        return "" if wanted else f"{event.type} with {dict(event.data)}, but the attempt said {told}"
