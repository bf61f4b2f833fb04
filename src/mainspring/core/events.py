"""The ledger's entries, and the fold that rebuilds a run from them.

Every change of a run is one event with the next ``seq``, written in the transaction that makes the change. ``fold`` is the
oracle of that promise: for every run, folding its events gives its row exactly. What moves without an event (lease expiry,
progress, checkpoints) is not a column of the run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mainspring.core.run import Run
from mainspring.core.states import ACTIVE, TERMINAL, EventType, State, check_move
from mainspring.errors import BrokenInvariant


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One append-only entry of a run's ledger.

    ``state`` is the state the run was in afterwards. ``data`` holds what the fold needs (see ``fold``) and what a person wants
    to know (a failure's code and message). ``body`` is the payload (``created``) or the result of an attempt.
    """

    run_id: str
    seq: int
    type: EventType
    state: State
    at: int
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None


def fold(events: Iterable[Event]) -> Run:
    """Rebuild a run from its whole ledger, in ``seq`` order.

    Raises:
        BrokenInvariant: the ledger has a gap, starts with something else than ``created``, or makes a move that
            ``core/states.py`` does not hold.
    """
    run: Run | None = None
    for event in events:
        run = _created(event) if run is None else _moved(run, event)
    if run is None:
        raise BrokenInvariant("a run without events")
    return run


def _created(event: Event) -> Run:
    if event.seq != 1 or event.type is not EventType.CREATED:
        raise BrokenInvariant(f"the ledger of {event.run_id} starts with {event.type} at seq {event.seq}")
    check_move(event.type, None, event.state)
    data = event.data
    return Run(
        id=event.run_id,
        lane_id=data["lane"],
        policy_id=data["policy"],
        state=event.state,
        reason=data.get("reason"),
        due_at=_due_at(event, otherwise=event.at),
        token=0,
        seq=1,
        failures=0,
        interruptions=0,
        releases=0,
        payload_seq=1,
        worker_id=None,
        idempotency_key=data.get("key"),
        singleton_key=data.get("singleton"),
        batch_id=data.get("batch"),
        rerun_of=data.get("rerun_of"),
        expires_at=_instant(event, "expires"),
        deadline_at=_instant(event, "deadline"),
        cancel_requested_at=None,
        created_at=event.at,
        ended_at=event.at if event.state in TERMINAL else None,
    )


def _moved(run: Run, event: Event) -> Run:
    if event.seq != run.seq + 1:
        raise BrokenInvariant(f"the ledger of {run.id} jumps from seq {run.seq} to {event.seq}")
    check_move(event.type, run.state, event.state)
    claimed = event.type is EventType.CLAIMED
    holder = event.actor.removeprefix("worker:") if claimed else run.worker_id
    return replace(
        run,
        state=event.state,
        seq=event.seq,
        lane_id=event.data.get("lane", run.lane_id),
        policy_id=event.data.get("policy", run.policy_id),
        payload_seq=event.seq if event.data.get("payload") else run.payload_seq,
        reason=event.data.get("reason"),
        due_at=_due_at(event, otherwise=run.due_at),
        token=run.token + (claimed or bool(event.data.get("fenced"))),
        worker_id=holder if event.state in ACTIVE else None,
        failures=run.failures + _spends_failure(run, event),
        interruptions=run.interruptions + (event.type is EventType.INTERRUPTED),
        releases=run.releases + (event.type is EventType.RELEASED),
        cancel_requested_at=event.at if event.type is EventType.CANCEL_REQUESTED else run.cancel_requested_at,
        ended_at=event.at if event.state in TERMINAL else None,
    )


def _spends_failure(run: Run, event: Event) -> bool:
    """An attempt that failed spends one; a person failing a parked run spends none."""
    failed_attempt = event.type is EventType.FAILED and run.state in ACTIVE
    return failed_attempt or event.type is EventType.RETRY_SCHEDULED


def _instant(event: Event, what: str) -> int | None:
    """The instant of a new run that its ``created`` event names: absolute (``…_at``), or so long after it (``…_in``)."""
    if f"{what}_at" in event.data:
        return int(event.data[f"{what}_at"])
    return event.at + int(event.data[f"{what}_in"]) if f"{what}_in" in event.data else None


def _due_at(event: Event, *, otherwise: int) -> int:
    """The due instant an event sets: ``due_at`` (absolute) or ``delay`` (µs after the event), else what it was."""
    if "due_at" in event.data:
        return max(int(event.data["due_at"]), event.at)
    if "delay" in event.data:
        return event.at + int(event.data["delay"])
    return otherwise
