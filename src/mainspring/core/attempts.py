"""How an attempt ended, and what becomes of its run. One decision, ``settle``, whoever asks: the worker or the reaper."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, assert_never

from mainspring.core.budgets import Exhausted, Retrying, Spent, after_failure, after_interruption, after_release
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, TERMINAL, EventType, State, check_move

# -- outcomes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Succeeded:
    """User code returned; ``result`` is its encoded value, None where no result is kept."""

    result: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """User code raised, timed out or answered with something that cannot be kept.

    ``final`` ends the budget now; ``after_us`` is the task's own delay before the next try; ``called_us`` is what its function of
    a back-off said, or ``note`` why it said nothing.
    """

    code: str
    message: str
    type: str | None = None
    traceback: str | None = None
    final: bool = False
    after_us: int | None = None
    called_us: int | None = None
    note: str | None = None

    def as_data(self) -> dict[str, Any]:
        """The failure as the ledger keeps it."""
        told = {"code": self.code, "message": self.message, "type": self.type, "traceback": self.traceback}
        fields = told | {"note": self.note}
        return {key: value for key, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveItselfBack:
    """User code said "not yet": due again ``after_us`` from now, or at the instant ``until``.

    ``payload`` is the payload from now on, of ``lane`` where that is another version's. ``in_a_row`` counts what asked to come back
    at once (1: this one, as far as user code knows). ``closes``: the rates that the run shares let nothing begin until then, all
    of them (""), or those of that limit.
    """

    after_us: int = 0
    until: int | None = None
    reason: str | None = None
    payload: bytes | None = None
    lane: Lane | None = None
    in_a_row: int = 0
    closes: str | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """User code said that there is nothing to do: the run ends ``skipped``."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The attempt was cut off by no fault of its own: its worker died, or shut down."""

    code: str
    shutdown: bool = False


@dataclass(frozen=True, slots=True)
class Unstarted:
    """The lease comes back before user code began: nothing happened and nothing is spent."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """User code stopped because it was asked to."""


@dataclass(frozen=True, slots=True)
class Unworkable:
    """There is no automatic way forward (say, a payload that cannot be read): a person decides. Nothing is spent."""

    code: str
    message: str


Outcome = Succeeded | Failed | GaveItselfBack | Dropped | Interrupted | Unstarted | Stopped | Unworkable


# -- moves -----------------------------------------------------------------------------------------------------------


class Held(Protocol):
    """What a decision about a run needs to know of it: a whole ``Run``, or what a claim handed out."""

    @property
    def id(self) -> str: ...
    @property
    def token(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def interruptions(self) -> int: ...
    @property
    def releases(self) -> int: ...
    @property
    def batch_id(self) -> str | None: ...
    @property
    def idempotency_key(self) -> str | None: ...
    @property
    def singleton_key(self) -> str | None: ...


class Move(NamedTuple):
    """One change of one run: a row of the statement ``runs.move``, which applies it only where ``id``, ``origin``, ``token``
    and ``seq - 1`` still hold. ``due_at`` (instant) or ``delay`` (µs from now) set the due time, else it stays; so do lane and
    policy. ``payload`` 1: ``body`` is the payload from now on."""

    id: str
    origin: State
    token: int
    seq: int
    type: EventType
    state: State
    reason: str | None
    due_at: int | None
    delay: int | None
    failures: int
    interruptions: int
    releases: int
    holds: int
    requested: int
    ended: int
    actor: str
    data: Mapping[str, Any] | None
    body: bytes | None
    lane_id: int | None = None
    policy_id: int | None = None
    payload: int = 0


def move(
    held: Held,
    event: EventType,
    origin: State,
    target: State,
    *,
    actor: str,
    reason: str | None = None,
    due_at: int | None = None,
    delay: int | None = None,
    spent: Spent | None = None,
    data: Mapping[str, Any] | None = None,
    body: bytes | None = None,
    lane_id: int | None = None,
    policy_id: int | None = None,
    payload: bool = False,
) -> Move:
    """A checked move of ``held``; what is not named stays as it is. ``reason``, due time, lane and policy go into the ledger too.
    ``payload``: ``body`` is the payload from now on."""
    check_move(event, origin, target)
    told = {"reason": reason, "due_at": due_at, "delay": delay, "lane": lane_id, "policy": policy_id, "payload": payload or None}
    kept = {key: value for key, value in told.items() if value is not None} | dict(data or {})
    return Move(
        id=held.id,
        origin=origin,
        token=held.token,
        seq=held.seq + 1,
        type=event,
        state=target,
        reason=reason,
        due_at=due_at,
        delay=delay,
        failures=spent.failures if spent else held.failures,
        interruptions=spent.interruptions if spent else held.interruptions,
        releases=spent.releases if spent else held.releases,
        holds=int(target in ACTIVE),
        requested=int(event is EventType.CANCEL_REQUESTED),
        ended=int(target in TERMINAL),
        actor=actor,
        data=kept or None,
        body=body,
        lane_id=lane_id,
        policy_id=policy_id,
        payload=int(payload),
    )


# -- the decision ----------------------------------------------------------------------------------------------------


def settle(held: Held, origin: State, outcome: Outcome, policy: Policy, *, draw: float, actor: str) -> Move:
    """What becomes of a run whose attempt ended with ``outcome``; ``draw`` in [0, 1) is the jitter's number.

    A run asked to stop (``cancelling``) ends ``cancelled``, keeping what the attempt achieved, unless the attempt failed; one that
    was asked because of its deadline fails.
    """
    if origin is State.CANCELLING and isinstance(held, Run) and held.is_overdue:
        return _settle_overdue(held, outcome, actor)
    if origin is State.CANCELLING:
        return _settle_cancelling(held, outcome, actor)
    if type(outcome) is Succeeded:  # the common case, without the ceremony of the others
        return Move(
            held.id, State.RUNNING, held.token, held.seq + 1, EventType.SUCCEEDED, State.SUCCEEDED, None, None, None,
            held.failures, held.interruptions, held.releases, 0, 0, 1, actor, None, outcome.result,
        )  # fmt: skip
    return _settle_running(held, outcome, policy, draw, actor)


def _settle_running(held: Held, outcome: Outcome, policy: Policy, draw: float, actor: str) -> Move:
    running, spent = State.RUNNING, Spent(
        failures=held.failures, interruptions=held.interruptions, releases=held.releases
    )  # fmt: skip
    match outcome:
        case Succeeded(result):
            return move(held, EventType.SUCCEEDED, running, State.SUCCEEDED, actor=actor, body=result)
        case Failed():
            return _settle_failure(held, outcome, spent, policy, draw, actor)
        case GaveItselfBack():
            return _settle_release(held, outcome, spent, policy, actor)
        case Dropped(reason):
            return move(held, EventType.SKIPPED, running, State.SKIPPED, actor=actor, reason=reason)
        case Interrupted():
            return _settle_interruption(held, outcome, spent, policy, actor)
        case Unstarted():
            return move(held, EventType.GIVEN_BACK, running, State.QUEUED, actor=actor)
        case Stopped():
            unasked = Failed(code="cancelled", message="the task stopped itself; nobody had asked it to", final=True)
            return _settle_failure(held, unasked, spent, policy, draw, actor)
        case Unworkable(code, message):
            target = State.NEEDS_ATTENTION
            return move(held, EventType.PARKED, running, target, actor=actor, reason=code, data={"message": message})
        case _:
            assert_never(outcome)


def _settle_failure(held: Held, failed: Failed, spent: Spent, policy: Policy, draw: float, actor: str) -> Move:
    verdict = after_failure(
        spent,
        policy.budgets,
        backoff=policy.backoff,
        jitter=policy.jitter,
        draw=draw,
        after_us=failed.after_us,
        called_us=failed.called_us,
        final=failed.final,
    )
    data, running = failed.as_data(), State.RUNNING
    if isinstance(verdict, Retrying):
        return move(
            held, EventType.RETRY_SCHEDULED, running, State.RETRYING, actor=actor, reason=failed.code,
            delay=verdict.delay_us, spent=verdict.spent, data=data,
        )  # fmt: skip
    return move(held, EventType.FAILED, running, State.FAILED, actor=actor, reason=failed.code, spent=verdict.spent, data=data)


def _settle_release(held: Held, back: GaveItselfBack, spent: Spent, policy: Policy, actor: str) -> Move:
    verdict = after_release(spent, policy.budgets, after_us=back.after_us, in_a_row=back.in_a_row)
    if isinstance(verdict, Exhausted):
        data = {"message": f"released {spent.releases} times, which is its bound", "releases_exhausted": True}
        spent = Spent(failures=spent.failures + 1, interruptions=spent.interruptions, releases=spent.releases)
        return move(held, EventType.FAILED, State.RUNNING, State.FAILED, actor=actor, reason="deadline", data=data, spent=spent)
    delay = None if back.until is not None else verdict.delay_us
    return move(
        held, EventType.RELEASED, State.RUNNING, State.RELEASED, actor=actor, reason=back.reason, due_at=back.until,
        delay=delay, spent=verdict.spent, data={"at_once": back.in_a_row} if back.in_a_row else None, body=back.payload,
        payload=back.payload is not None, lane_id=None if back.lane is None else back.lane.id,
    )  # fmt: skip


def _settle_interruption(held: Held, cut: Interrupted, spent: Spent, policy: Policy, actor: str) -> Move:
    verdict = after_interruption(spent, policy.budgets, shutdown=cut.shutdown)
    if isinstance(verdict, Exhausted):
        target, delay, reason = State.FAILED, None, "interrupted"
    else:
        target = State.RETRYING if verdict.delay_us else State.QUEUED
        delay, reason = verdict.delay_us, cut.code
    data = {"code": cut.code}
    return move(
        held, EventType.INTERRUPTED, State.RUNNING, target, actor=actor, reason=reason, delay=delay,
        spent=verdict.spent, data=data,
    )  # fmt: skip


def _settle_overdue(held: Run, outcome: Outcome, actor: str) -> Move:
    """The deadline is what ended it; what its attempt came to meanwhile is told beside that."""
    spent = Spent(failures=held.failures + 1, interruptions=held.interruptions, releases=held.releases)
    told = outcome.as_data() if isinstance(outcome, Failed) else {"message": "the run was stopped at its deadline"}
    data = told | {"code": "deadline", "outcome": type(outcome).__name__.lower()}
    return move(held, EventType.FAILED, State.CANCELLING, State.FAILED, actor=actor, reason="deadline", spent=spent, data=data)


def overdue(run: Run, actor: str) -> Move:
    """What becomes of a run whose deadline is over: one that waits fails; one that is held is asked to stop, and fails then."""
    if run.state in ACTIVE:
        return move(run, EventType.CANCEL_REQUESTED, run.state, State.CANCELLING, actor=actor, reason="deadline")
    data = {"code": "deadline", "message": "the run did not end before its deadline"}
    return move(run, EventType.FAILED, run.state, State.FAILED, actor=actor, reason="deadline", data=data)


def _settle_cancelling(held: Held, outcome: Outcome, actor: str) -> Move:
    if isinstance(outcome, Failed):
        spent = Spent(failures=held.failures + 1, interruptions=held.interruptions, releases=held.releases)
        return move(
            held, EventType.FAILED, State.CANCELLING, State.FAILED, actor=actor, reason=outcome.code, spent=spent,
            data=outcome.as_data(),
        )  # fmt: skip
    data = {"outcome": type(outcome).__name__.lower()}
    body = outcome.result if isinstance(outcome, Succeeded) else None
    return move(held, EventType.CANCELLED, State.CANCELLING, State.CANCELLED, actor=actor, data=data, body=body)
