"""The worker: claims ahead within bounds, writes outcomes with its next claim, keeps its lease, and gives everything back.

A worker is a service: one ``step`` is one transaction that writes what ended, renews the lease and claims what there is room for.
User code runs in an ``Executor``; the two meet in three calls (``begin``, ``stop``, ``ended``). Nothing here waits.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from mainspring.core.attempts import Failed, Outcome, Succeeded, Unstarted
from mainspring.core.lanes import CLASS_SPAN, Lane
from mainspring.core.lease import trusted_until
from mainspring.core.policy import Policy
from mainspring.core.states import State
from mainspring.errors import CommitUnknown, LeaseLost, MainspringError, WorldTrouble
from mainspring.operations import attempts, claims, telemetry, views
from mainspring.operations.attempts import Beat, Ended
from mainspring.operations.claims import Claimed, Claimer
from mainspring.operations.receipts import Left
from mainspring.runtime.beats import Beats
from mainspring.runtime.claiming import Claiming, Company
from mainspring.runtime.service import Wake
from mainspring.store.database import Database, Transaction
from mainspring.system import System
from mainspring.telemetry.metrics import Metrics
from mainspring.telemetry.tracing import Spans, Trace

log = logging.getLogger("mainspring")

BATCH = 100
_QUICK_SECONDS = 0.1
_MEAN_WEIGHT = 0.05
_CHECK_US = 1_000_000
_FRESH_SHARE = 0.1


class Executor(Protocol):
    """Runs user code. Calls come from the worker's step; it answers through ``Worker.ended``."""

    def begin(self, claims: "Sequence[Assignment]") -> None:
        """Run these, now or when a place is free."""

    def stop(self, run_id: str, token: int, why: str) -> None:
        """Ask one attempt to stop (``cancelled``, ``lease_lost``). Unknown ones are left alone."""


class Assignment(NamedTuple):
    """A claimed run with the policy it captured and what an earlier attempt saved."""

    claimed: Claimed
    lane: Lane
    policy: Policy
    checkpoint: bytes | None
    trace: Trace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """Who a worker is and what it wants: fixed for its life. ``queues`` by weight (None: strictly by priority), ``tasks`` by the
    newest version it knows, ``capabilities`` by label."""

    id: str
    namespace: str
    queues: Mapping[str, int | None]
    tasks: Mapping[str, int]
    concurrency: int
    ttl_us: int
    poll_seconds: float
    capabilities: Mapping[str, str] = field(default_factory=dict)


class _Turn(NamedTuple):
    """What one transaction did."""

    lost: set[tuple[str, int]]
    claims: list[Assignment]
    held: list[attempts.HeldNow] | None
    limits: int
    renewed: bool
    had_room: bool = False


class Worker:
    """Holds the leases of one process. Thread-safe where it says so."""

    name = "worker"

    def __init__(
        self,
        database: Database,
        executor: Executor,
        plan: WorkerPlan,
        *,
        system: System,
        on_finished: Callable[[Sequence[Ended]], None] = lambda ended: None,
        spans: Spans | None = None,
        metrics: Metrics | None = None,
        claiming: Claiming = claims.claim,
        on_freed: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_finished = on_finished
        self._on_freed = on_freed
        self._claiming = claiming
        self.company: Company | None = None  # set where tasks take their runs many at a time
        self._spans = spans
        self._metrics = metrics
        self.plan = plan
        self._database = database
        self._executor = executor
        self._system = system
        self._held: dict[str, Claimed] = {}
        self.concluding: set[tuple[str, int]] = set()  # fences whose success user code writes: they may be found ended
        self._policies: dict[int, Policy] = {}
        self._walk = claims.Walk(place=int(system.draw() * CLASS_SPAN))
        self._lanes = self._walk.lanes
        self._ended: deque[Ended] = deque()
        self._claims: list[Assignment] = []
        self._beats = Beats()
        self._checked_at = 0
        self._confirmed_at = 0
        self._limits = 0
        self._registered = False
        self._stopping = False
        self._claims_are_over = False
        self._mean_seconds: float | None = None
        self._suspicious = False
        self._id = plan.id
        self._lives = 1
        self._claim_again = False
        self._opens_in: int | None = None
        self.lost_leases = 0
        self.finished = 0
        self.steps = 0
        self.found_nothing = False

    # -- for the executor and the runner, from any thread -----------------------------------------------------------

    def ended(self, held: Claimed, outcome: Outcome, *, seconds: float | None = None, receipts: tuple[Left, ...] = ()) -> None:
        """An attempt is over. The next step writes its outcome and what it left; ``seconds`` is how long user code ran."""
        if self._metrics is not None:
            self._metrics.ran(self._lanes[held.lane_id], seconds)
        if seconds is not None:
            mean = self._mean_seconds
            self._mean_seconds = seconds if mean is None else mean + _MEAN_WEIGHT * (seconds - mean)
        draw = 0.0 if type(outcome) is Succeeded else self._system.draw()
        self._ended.append(Ended(held, outcome, self._policies[held.policy_id], draw, receipts))

    def tell(self, held: Claimed, details: bytes | None, progress: str | None, now: bool) -> None:
        """An attempt saves a checkpoint or progress; written at most once a second, and before its outcome."""
        self._beats.tell(Beat(held.id, held.token, details, progress), now=now)

    def start(self, held: Claimed) -> bool:
        """Put on record that user code is about to begin. False: the lease is lost."""
        return self._database.write("attempts.start", lambda tx: attempts.start(tx, held.id, held.token))

    def stop(self) -> None:
        """Claim no more."""
        self._stopping = True

    @property
    def id(self) -> str:
        """The name under which this worker holds its leases now."""
        return self._id

    @property
    def database(self) -> Database:
        """Where its runs are."""
        return self._database

    @property
    def opens_in(self) -> int | None:
        """µs until a rate lets something begin that its last claim passed over."""
        return self._opens_in

    @property
    def is_stopping(self) -> bool:
        """Whether it claims no more."""
        return self._stopping

    @property
    def is_done(self) -> bool:
        """Whether it has stopped for good: it has nothing, and no claim that began before the stop is still on its way."""
        return self._claims_are_over and self.has_nothing

    @property
    def has_nothing(self) -> bool:
        """Whether it holds no run, as far as the database knows too, and has told everything."""
        return not self._held and not self._ended and not self._suspicious

    @property
    def is_trusted(self) -> bool:
        """Whether its lease may still be believed, by its own clock: nine tenths of the TTL since the last renewal."""
        return not self._registered or self._system.monotonic() < trusted_until(self._confirmed_at, self.plan.ttl_us)

    def distrust(self) -> None:
        """The lease can no longer be believed: stop every attempt, and report nothing of them."""
        self._suspicious = True  # should the lease prove to be ours after all, what we let go of must go back
        for run_id, held in tuple(self._held.items()):
            self._lose(run_id, held.token)

    # -- the step ---------------------------------------------------------------------------------------------------

    def step(self) -> Wake:
        """One transaction: outcomes, beats, renewal, claim. Answers when the next is due."""
        was_stopping = self._stopping
        try:
            return self._step()
        finally:
            self._claims_are_over = was_stopping

    def _step(self) -> Wake:
        ended = self._take_ended()
        beats = self._due_beats(ended)
        room = self._room(len(ended))
        self._claim_again, self._opens_in = False, None
        asked_at = self._system.monotonic()
        check = self._suspicious or asked_at - self._checked_at >= self._check_interval()
        turn = None
        try:
            turn = self._database.write("worker.turn", lambda tx: self._turn(tx, ended, beats, room, check))
        except LeaseLost:
            self._be_reborn()
            return Wake(0)
        except CommitUnknown:
            self._suspicious = True
            raise
        except WorldTrouble:
            raise
        except (MainspringError, TypeError, ValueError):  # refused by the database, or by the encoding on the way
            if not ended:
                raise
            self._write_alone(ended)
            ended = []
            return Wake(0)
        finally:
            self._hand_over()
            if turn is None:  # whatever went wrong, nothing of what ended is forgotten
                self._keep(ended, beats)
        self._settle(ended, turn, asked_at)
        self._claims = turn.claims
        wake = self._next(room, len(turn.claims))
        if turn.held is not None:
            self._checked_at, self._suspicious = asked_at, False
        if wake.after_seconds > 0 or turn.held is not None or not self._database.capabilities.skip_locked:
            self._hand_over()  # what it lets go of was not in what is compared next, so it makes suspicious anew
        if turn.held is not None:
            self._compare(turn.held, {a.claimed.id for a in turn.claims})
        self.found_nothing = not turn.claims and room > 0 and not self._claim_again
        self.steps += 1
        return wake

    def _take_ended(self) -> list[Ended]:
        """What ended, each run once: of two attempts at one run only the newer has a word."""
        ended = [self._ended.popleft() for _ in range(min(len(self._ended), 2 * BATCH))]
        if len({end.held.id for end in ended}) == len(ended):
            return ended
        newest: dict[str, int] = {}
        for end in ended:
            newest[end.held.id] = max(newest.get(end.held.id, 0), end.held.token)
        return [end for end in ended if end.held.token == newest[end.held.id]]

    def _write_alone(self, ended: Sequence[Ended]) -> None:
        """One of these outcomes cannot be written: write each by itself, and let that one fail alone."""
        for end in ended:
            try:
                lost = self._finish_one(end)
            except WorldTrouble:
                self._ended.append(end)
                continue
            except (MainspringError, TypeError, ValueError) as error:
                log.error("the outcome of run %s could not be stored: %s", end.held.id, error)
                told = Failed(code="result_invalid", message="the outcome could not be stored", final=True)
                lost = self._finish_one(end._replace(outcome=told))
            self._settle([end], _Turn({(end.held.id, end.held.token)} if lost else set(), [], None, self._limits, False), 0)

    def _finish_one(self, end: Ended) -> set[str]:
        return self._database.write("worker.turn", lambda tx: attempts.finish(tx, [end], actor=f"worker:{self._id}", limits=True))

    def _hand_over(self) -> None:
        """Have what was claimed run, unless the turn took so long that its lease can no longer be believed: then it goes back
        unstarted. A busy worker does this once its next question to a server is on its way: user code holds the interpreter."""
        claims, self._claims = self._claims, []
        if not claims:
            return
        if self.is_trusted:
            self._executor.begin(claims)
            return
        for assignment in claims:
            self._held.pop(assignment.claimed.id, None)
        self._suspicious = True

    def _turn(self, tx: Transaction, ended: Sequence[Ended], beats: Sequence[Beat], room: int, check: bool) -> _Turn:
        if room <= 0:  # there will be no claim to wait for
            self._hand_over()
        fresh = self._is_fresh()
        limits = self._limits if fresh else self._renew(tx)
        actor = f"worker:{self._id}"
        kept = attempts.heartbeat(tx, beats)
        lost = {(beat.run_id, beat.token) for beat in beats if beat.run_id not in kept}
        held = None
        if check:
            ending = {end.held.id for end in ended}
            held = [now for now in attempts.held(tx, self._id) if now.run_id not in ending]
        wants = room > 0 or (self.company is not None and not self._stopping and self.company.is_wanted)
        gone, claims = attempts.finish_and(
            tx, ended, lambda: self._claim(tx, room) if wants else [], actor=actor, limits=limits > 0
        )
        lost |= {(end.held.id, end.held.token) for end in ended if end.held.id in gone}
        return _Turn(lost, claims, held, limits, renewed=not fresh, had_room=room > 0)

    def _is_fresh(self) -> bool:
        """Whether the last renewal is so young that this turn needs none."""
        return self._registered and self._system.monotonic() - self._confirmed_at < self.plan.ttl_us * _FRESH_SHARE

    def _renew(self, tx: Transaction) -> int:
        if not self._registered:
            self._register(tx)
        limits = attempts.renew(tx, self._id)
        if limits is None:
            raise LeaseLost(f"worker {self._id} was declared gone")
        return limits

    def _claim(self, tx: Transaction, room: int) -> list[Assignment]:
        plan = self.plan
        asked_at = 0 if self._spans is None else self._system.now()
        claim = (self.company or self._claiming)(
            tx,
            Claimer(
                worker_id=self._id,
                namespace=plan.namespace,
                queues=plan.queues,
                tasks=plan.tasks,
                capabilities=plan.capabilities,
            ),
            self._walk,
            most=max(0, min(room, BATCH)),
            meanwhile=self._hand_over,
        )
        self._claim_again, self._opens_in = claim.more, claim.opens_in
        claimed = claim.runs
        if not claimed:
            return []
        if unknown := {run.policy_id for run in claimed} - self._policies.keys():
            self._policies |= views.policies(tx, list(unknown))
        claimed.sort(key=lambda run: (-self._lanes[run.lane_id].priority, run.due_at, run.id))
        lanes, policies, saved = self._lanes, self._policies, _checkpoints(tx, claimed)
        made = [Assignment(run, lanes[run.lane_id], policies[run.policy_id], saved.get(run.id)) for run in claimed]
        return made if self._spans is None else self._traced(tx, made, asked_at)

    def _traced(self, tx: Transaction, made: Sequence[Assignment], asked_at: int) -> list[Assignment]:
        """The same, each with the span it was created under."""
        parents, now = telemetry.traces(tx, [each.claimed.id for each in made]), self._system.now()
        return [each._replace(trace=Trace(parents.get(each.claimed.id), asked_at, now)) for each in made]

    def _register(self, tx: Transaction) -> None:
        plan = self.plan
        attempts.register(
            tx,
            self._id,
            namespace=plan.namespace,
            tasks=_json_list(list(plan.tasks)),
            queues=_json_list(list(plan.queues)),
            concurrency=plan.concurrency,
            ttl=plan.ttl_us,
            skills=msgspec.json.encode({"versions": dict(plan.tasks), "capabilities": dict(plan.capabilities)}).decode(),
        )

    # -- what follows from a step -----------------------------------------------------------------------------------

    def _settle(self, ended: Sequence[Ended], turn: _Turn, asked_at: int) -> None:
        self._registered = True
        if turn.renewed:
            self._confirmed_at, self._limits = asked_at, turn.limits
        if self._spans is not None:
            self._spans.settled([(end.held.id, end.held.token) for end in ended], turn.lost)
        if self._metrics is not None:
            self._metrics.turned(ended, turn.lost, turn.claims, self._lanes, had_room=turn.had_room, renewed=turn.renewed)
        for end in ended:
            self._drop(end.held.id, end.held.token)
        for run_id, token in turn.lost:
            self._lose(run_id, token)
        self._held.update((assignment.claimed.id, assignment.claimed) for assignment in turn.claims)
        self.finished += len(ended)
        if ended:
            self._on_finished(ended)
            if turn.limits and len(ended) > len(turn.claims):  # what was freed was not taken again here: others may want it
                self._on_freed()

    def _compare(self, held: Sequence[attempts.HeldNow], new: set[str]) -> None:
        """Bring what the database says together with what we know: cancels, lost leases, claims we were never told of."""
        by_id = {now.run_id: now for now in held}
        in_hand = {end.held.id for end in tuple(self._ended)}
        for run_id, mine in tuple(self._held.items()):
            now = by_id.get(run_id)
            if run_id in new or run_id in in_hand:
                continue
            if now is None and (run_id, mine.token) in self.concluding:
                continue
            if now is None or now.token != mine.token:
                self._lose(run_id, mine.token)
            elif now.state is State.CANCELLING:
                self._executor.stop(run_id, mine.token, now.why)
        if orphans := [now for now in held if now.run_id not in self._held]:
            self._give_back(orphans)

    def _give_back(self, orphans: Sequence[attempts.HeldNow]) -> None:
        """What the database says is ours and we do not have goes back unspent: either its claim was committed by a call whose
        answer got lost, or we cut it off ourselves because the lease was in doubt, and neither is a fault of the run."""
        self._database.write(
            "attempts.give_back",
            lambda tx: attempts.give_back(tx, orphans, views.policies, actor=f"worker:{self._id}"),
        )

    def _drop(self, run_id: str, token: int) -> bool:
        """Let go of a run, unless it is held under a newer fence by now."""
        if self.concluding:
            self.concluding.discard((run_id, token))
        return self._holds(run_id, token) and self._held.pop(run_id, None) is not None

    def _lose(self, run_id: str, token: int) -> None:
        if self._drop(run_id, token):
            self.lost_leases += 1
            if self._metrics is not None:
                self._metrics.lost()
            log.warning("the lease of run %s is lost; its attempt is stopped and reports nothing", run_id)
            self._executor.stop(run_id, token, "lease_lost")

    def _keep(self, ended: Sequence[Ended], beats: Sequence[Beat]) -> None:
        self._ended.extendleft(reversed(ended))
        self._beats.keep(beats)

    def _be_reborn(self) -> None:
        """Declared gone: everything in hand is lost, and work goes on under a new name."""
        log.warning("worker %s was declared gone; it goes on under a new name", self._id)
        self.distrust()
        self._lives += 1
        self._id = f"{self.plan.id}.{self._lives}"
        self._registered = False

    # -- arithmetic -------------------------------------------------------------------------------------------------

    def _room(self, leaving: int) -> int:
        """How many more runs there is room for: free places, and as many ahead while attempts are quick."""
        if self._stopping:
            return 0
        quick = self._mean_seconds is not None and self._mean_seconds < _QUICK_SECONDS
        places = self.plan.concurrency * (2 if quick else 1) + (0 if self.company is None else self.company.surplus)
        return places - (len(self._held) - leaving) + len(self._ended)

    def _next(self, room: int, claimed: int) -> Wake:
        if self._ended or (room > 0 and self._claim_again and self._room(0) > 0):
            return Wake(0)
        seconds = self.plan.poll_seconds * (0.9 + 0.2 * self._system.draw())
        if room > 0 and self._opens_in is not None:
            seconds = min(seconds, self._opens_in / 1e6)
        return Wake(min(seconds, self.plan.ttl_us / 3e6))

    def _check_interval(self) -> int:
        return min(_CHECK_US, self.plan.ttl_us // 3)

    def _due_beats(self, ended: Sequence[Ended]) -> list[Beat]:
        ending = {end.held.id: end.held.token for end in ended}
        due = self._beats.take(self._system.monotonic(), ending, holds=self._holds)
        return [beat for beat in due if (beat.run_id, beat.token) not in self.concluding]

    def _holds(self, run_id: str, token: int) -> bool:
        held = self._held.get(run_id)
        return held is not None and held.token == token


def unstarted(assignment: Assignment) -> tuple[Claimed, Outcome]:
    """What to tell of an assignment that was never begun."""
    return assignment.claimed, Unstarted()


def _checkpoints(tx: Transaction, claimed: Sequence[Claimed]) -> dict[str, bytes]:
    """What earlier attempts saved; a first attempt has none, so nobody asks."""
    again = [run.id for run in claimed if run.token > 1]
    return attempts.checkpoints(tx, again) if again else {}


def _json_list(names: Sequence[str]) -> str:
    return "[" + ",".join(f'"{name}"' for name in names) + "]"
